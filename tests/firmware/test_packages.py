"""The forms of an export: their layouts, their build systems' files, and that they build where the tools are."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import firmware_export
from firmware_export.packages import PACKAGES
from neuroctl.errors import ExportError
from tests.firmware.helpers import CC, CELLS, STRICT_C, compiled, controller, needs_cc

SPLIT = [name for name in PACKAGES if PACKAGES[name].source]
needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None, reason="cmake is not installed: the package was NOT built"
)
needs_avr = pytest.mark.skipif(shutil.which("avr-g++") is None, reason="avr-g++ is not installed: it was NOT built")

ARDUINO_H = """
#include <stdint.h>
#define OUTPUT 1
#define LED_BUILTIN 13
enum { A0 = 14, A1, A2, A3, A4, A5, A6, A7 };
#define RAMSTART 0x100
#define RAMEND 0x8FF
extern "C" {
void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int analogRead(uint8_t pin);
void analogWrite(uint8_t pin, int value);
unsigned long millis(void);
unsigned long micros(void);
void delay(unsigned long ms);
}
void setup(void);
void loop(void);
"""
NAMES = {"input_names": ("pole angle [rad]", "b", "c", "d"), "output_names": ("force [N]", "torque [Nm]")}
ARDUINO_CORE = """
static unsigned long ticks;
void pinMode(uint8_t pin, uint8_t mode) { (void)pin; (void)mode; }
void digitalWrite(uint8_t pin, uint8_t value) { (void)pin; (void)value; }
int analogRead(uint8_t pin) { return pin * 10; }
void analogWrite(uint8_t pin, int value) { (void)pin; *(volatile uint8_t *)0x48 = (uint8_t)value; }
unsigned long millis(void) { return ticks++; }
unsigned long micros(void) { return ticks += 100; }
void delay(unsigned long ms) { ticks += 1000 * ms; }
int main(void) { setup(); for (;;) loop(); }
"""
"""A core as small as can be: what the example calls, and Arduino's main."""

SERIAL_H = """
#include <stddef.h>
struct SerialPort {
    void begin(unsigned long baud);
    int available(void);
    int read(void);
    size_t write(const uint8_t *bytes, size_t size);
};
extern SerialPort Serial;
"""
SERIAL = (
    SERIAL_H
    + """
#define UART (*(volatile uint8_t *)0xC6)
SerialPort Serial;
void SerialPort::begin(unsigned long baud) { UART = (uint8_t)baud; }
int SerialPort::available(void) { return UART & 1; }
int SerialPort::read(void) { return UART; }
size_t SerialPort::write(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) UART = bytes[i];
    return size;
}
"""
)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_layout_and_manifest(package, tmp_path):
    header = firmware_export.export(controller(), tmp_path / "fw", package=package)
    form, files = PACKAGES[package], contents(tmp_path / "fw")
    places = [form.header, form.source, *form.files, "{name}.npz", "{name}.json"]
    assert set(files) == {place.format(name="ctl") for place in places if place}
    assert header == tmp_path / "fw" / form.header.format(name="ctl")
    manifest = json.loads(files["ctl.json"])
    assert set(manifest["files"]) == set(files) - {"ctl.json"}
    assert manifest["certificate"]["net"][1] < manifest["certificate_limit"] == 1 << 30
    assert all(b"{{" not in content for name, content in files.items() if not name.endswith(".npz"))


@needs_cc
@pytest.mark.parametrize(("package", "cell"), [("cmake", cell) for cell in CELLS] + [(name, "ctrnn") for name in SPLIT])
def test_the_c_file_and_a_user_in_another_language_agree(package, cell, tmp_path):
    """The strictest flags; the header alone compiles as C++ too; verify proves the package as it lies there."""
    folder = tmp_path / "fw"
    header = firmware_export.export(controller(cell=cell), folder, package=package)
    source = folder / PACKAGES[package].source.format(name="ctl")
    compiled(CC, [*STRICT_C, f"-I{header.parent}", "-c"], source.read_text(), tmp_path, "alone")
    report = firmware_export.verify(folder, steps=500, targets=["host"])
    assert report.ok, report.targets[0].result
    assert report.notes == ()


@needs_cc
@needs_cmake
def test_cmake_builds_and_its_test_passes(tmp_path):
    firmware_export.export(controller(cell="elman"), tmp_path / "fw", name="pilot", package="cmake")
    run(
        "cmake",
        "-S",
        str(tmp_path / "fw"),
        "-B",
        str(tmp_path / "build"),
        "-DCMAKE_C_FLAGS=-Wall -Werror",
        cwd=tmp_path,
    )
    run("cmake", "--build", str(tmp_path / "build"), cwd=tmp_path)
    assert "100% tests passed" in run("ctest", cwd=tmp_path / "build")


@needs_avr
@pytest.mark.parametrize("limits", [True, False])
def test_the_arduino_library_builds_with_tables_in_flash(limits, tmp_path):
    """As the Arduino IDE does: the library's C as gnu11, the sketch as gnu++11, with a core of a few lines."""
    options = {} if limits else {"output_limits": None} | NAMES
    q = controller(16, 4, 2, **options)
    folder = firmware_export.export(q, tmp_path / "fw", name="pilot", package="arduino").parents[1]
    (tmp_path / "core.cpp").write_text(ARDUINO_H + ARDUINO_CORE)
    (tmp_path / "sketch.cpp").write_text(ARDUINO_H + (folder / "examples/loop/loop.ino").read_text())
    avr = ["-mmcu=atmega328p", "-Os", "-Wall", "-Wextra", "-Werror", f"-I{folder / 'src'}", "-c"]
    run("avr-gcc", "-std=gnu11", *avr, str(folder / "src/pilot.c"), "-o", "pilot.o", cwd=tmp_path)
    for part in ("core", "sketch"):
        run("avr-g++", "-std=gnu++11", *avr, f"{part}.cpp", "-o", f"{part}.o", cwd=tmp_path)
    run("avr-g++", "-mmcu=atmega328p", "pilot.o", "core.o", "sketch.o", "-o", "sketch.elf", cwd=tmp_path)
    flash, data = (int(word) for word in run("avr-size", "sketch.elf", cwd=tmp_path).splitlines()[1].split()[:2])
    assert flash < 8192
    assert data <= 16, "tables take RAM"


@needs_avr
@pytest.mark.parametrize("limits", [True, False])
def test_the_arduino_sketch_with_a_link_builds_and_fits(limits, tmp_path):
    """The whole of it, tables and buffers, in an ATmega328P: half of its flash, less than half of its RAM."""
    options = {} if limits else {"output_limits": None} | NAMES
    q = controller(16, 4, 2, **options)
    folder = firmware_export.export(q, tmp_path / "fw", name="pilot", package="arduino").parents[1]
    (tmp_path / "core.cpp").write_text(ARDUINO_H + ARDUINO_CORE + SERIAL)
    (tmp_path / "sketch.cpp").write_text(ARDUINO_H + SERIAL_H + (folder / "examples/link/link.ino").read_text())
    avr = ["-mmcu=atmega328p", "-Os", "-Wall", "-Wextra", "-Werror", f"-I{folder / 'src'}", "-c"]
    for part in ("pilot", "nc_link"):
        run("avr-gcc", "-std=gnu11", *avr, str(folder / f"src/{part}.c"), "-o", f"{part}.o", cwd=tmp_path)
    for part in ("core", "sketch"):
        run("avr-g++", "-std=gnu++11", *avr, f"{part}.cpp", "-o", f"{part}.o", cwd=tmp_path)
    objects = [f"{part}.o" for part in ("pilot", "nc_link", "core", "sketch")]
    run("avr-g++", "-mmcu=atmega328p", *objects, "-o", "sketch.elf", cwd=tmp_path)
    text, data, bss = (int(word) for word in run("avr-size", "sketch.elf", cwd=tmp_path).splitlines()[1].split()[:3])
    assert text + data < 16384
    assert data + bss < 1024


def test_what_build_systems_read(tmp_path):
    """Each file's format, and the fields that its build system asks for."""
    for package in SPLIT:
        firmware_export.export(controller(), tmp_path / package, name="pilot", package=package)
    library = dict(
        line.split("=", 1) for line in (tmp_path / "arduino/library.properties").read_text().splitlines() if line
    )
    assert {
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
    } <= set(library)
    assert re.fullmatch(r"\d+\.\d+\.\d+", library["version"])
    assert library["category"] in ("Device Control", "Other")
    data = json.loads((tmp_path / "platformio/library.json").read_text())
    assert {"name", "version", "description", "keywords", "frameworks", "platforms"} <= set(data)
    assert all((tmp_path / "platformio" / e["base"] / f).is_file() for e in data["examples"] for f in e["files"])
    yaml = pytest.importorskip("yaml")
    module = yaml.safe_load((tmp_path / "zephyr/zephyr/module.yml").read_text())
    assert module == {"name": "pilot", "build": {"cmake": ".", "kconfig": "Kconfig"}}
    assert "config PILOT\n\tbool " in (tmp_path / "zephyr/Kconfig").read_text()
    assert "CONFIG_PILOT=y" in (tmp_path / "zephyr/samples/loop/prj.conf").read_text()
    sample = yaml.safe_load((tmp_path / "zephyr/samples/loop/sample.yaml").read_text())
    assert set(sample) == {"sample", "tests"}
    component = yaml.safe_load((tmp_path / "espidf/idf_component.yml").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", component["version"])
    assert re.match(
        r'idf_component_register\(SRCS "src/pilot.c" "src/nc_link.c" INCLUDE_DIRS "include"\)',
        (tmp_path / "espidf/CMakeLists.txt").read_text(),
    )


@needs_cc
def test_counts_of_converters_and_timers(tmp_path):
    q = controller(4, 2, 1, input_limits=((-2.0, 2.0), (0.0, 5.0)), output_limits=((-10.0, 10.0),))
    header = firmware_export.export(q, tmp_path / "fw")
    source = f"""#include <stdio.h>
#include "{header}"
int main(void) {{
    int c;
    for (c = 0; c < 4096; c++) {{
        const uint16_t count = (uint16_t)c;
        printf("%d %d\\n", ctl_in_from_counts(0, count, 12), ctl_in_from_counts(1, count, 12));
    }}
    for (c = CTL_OUT_LOW; c <= CTL_OUT_HIGH; c++) printf("%d\\n", (int)ctl_out_to_counts(0, (ctl_out_t)c, 1000));
    for (c = 1023; c <= 65535; c += 4096) {{
        const uint16_t count = (uint16_t)c;
        printf("%d %d\\n", ctl_in_from_counts(0, count, 10), ctl_in_from_counts(1, count, 10));
    }}
    printf("%d %d\\n", (int)ctl_out_to_counts(0, INT16_MIN, 1000), (int)ctl_out_to_counts(0, INT16_MAX, 1000));
    return 0;
}}
"""
    low, high = (int(v) for v in q.formats["out"].quantize([-10.0, 10.0]))
    flags = ["-std=c99", f"-DCTL_OUT_LOW={low}", f"-DCTL_OUT_HIGH={high}"]
    lines = subprocess.run([compiled(CC, flags, source, tmp_path)], capture_output=True, text=True).stdout.splitlines()
    counts = np.array([[int(v) for v in line.split()] for line in lines[:4096]])
    physical = counts * q.formats["u"].lsb
    exact = np.array([-2.0, 0.0]) + np.arange(4096)[:, None] / 4096 * np.array([4.0, 5.0])
    assert np.abs(physical - exact).max() <= 0.6 * q.formats["u"].lsb
    levels = high - low + 1
    pulses = np.array([int(line) for line in lines[4096 : 4096 + levels]])
    assert (pulses[0], pulses[-1]) == (0, 1000)
    assert np.abs(pulses - np.linspace(0, 1000, len(pulses))).max() <= 0.5 + 1e-9
    *beyond, outside = [[int(v) for v in line.split()] for line in lines[4096 + levels :]]
    upper = q.quantize_input(np.array([2.0, 5.0])).tolist()
    assert len(beyond) == 16
    assert all(pair == upper for pair in beyond[1:]), "a 12-bit or 16-bit count where 10 bits are said"
    assert beyond[0] < upper
    assert outside == [0, 1000]


@pytest.mark.parametrize("package", SPLIT)
def test_export_again_and_edits(package, tmp_path):
    folder = tmp_path / "fw"
    firmware_export.export(controller(seed=1), folder, package=package)
    firmware_export.export(controller(seed=2), folder, package=package)
    before = contents(folder)
    source = folder / PACKAGES[package].source.format(name="ctl")
    source.write_text(source.read_text() + "/* mine */\n")
    with pytest.raises(ExportError, match=r"src/ctl\.c was edited"):
        firmware_export.export(controller(seed=3), folder, package=package)
    source.write_bytes(before["src/ctl.c"])
    (folder / "src" / "more.c").write_text("mine")
    with pytest.raises(ExportError, match=r"holds 'src/more\.c'"):
        firmware_export.export(controller(seed=3), folder, package=package)
    assert contents(folder) == before | {"src/more.c": b"mine"}


def test_a_failure_removes_the_folders_that_it_made(tmp_path, monkeypatch):
    calls = [0]
    real = os.replace

    def failing(*args):
        calls[0] += 1
        if calls[0] == 4:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ExportError, match="No space left"):
        firmware_export.export(controller(), tmp_path / "fw", package="zephyr")
    assert not (tmp_path / "fw").exists()
    assert Path(tmp_path).exists()


@pytest.mark.parametrize("scaled", [False, True])
def test_scaled_inputs_are_said_where_integers_are(scaled, tmp_path):
    """A sensor of 0 to 5 V: its integer is not value * 2^14, and neither text says so."""
    q = controller(inputs=1, input_limits=((0, 5),), scale_inputs=scaled)
    header = firmware_export.export(q, tmp_path / "fw", package="cmake")
    readme = (tmp_path / "fw/README.md").read_text()
    assert ("for `in` an input's limits are -1 and 1, times 2^14" in " ".join(readme.split())) is scaled
    assert ("integers: value * 2^12 and" in readme) is not scaled
    assert ("value is scaled: -1 at its lower limit, 1 at its upper one" in header.read_text()) is scaled


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_to_do_with_it(package, tmp_path):
    header = firmware_export.export(controller(), tmp_path / "fw", package=package)
    readme = tmp_path / "fw" / ("ctl_README.md" if package == "header" else "README.md")
    text = readme.read_text()
    assert PACKAGES[package].text.format(name="ctl") in text
    assert all(word in text for word in ("ctl_init(&state)", "ctl_step(&state, in, out)", "neuroctl verify ."))
    assert max(map(len, text.splitlines())) <= 150
    assert header.is_file()


def test_a_header_beside_a_programs_own_files_leaves_their_readme_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    for name in ("left", "right"):
        firmware_export.export(controller(), tmp_path, name=name, force=True)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / "left_README.md").is_file() and (tmp_path / "right_README.md").is_file()
