"""The Arduino sketches as they stand, run on a core of a few lines: what they read, when they step, what is safe."""

import shutil
import subprocess

import numpy as np
import pytest

import firmware_export
from tests.firmware.helpers import CC, CXX, controller, needs_cxx

ARDUINO_H = """
#include <stddef.h>
#include <stdint.h>
#define OUTPUT 1
enum { A0 = 14, A1, A2, A3, A4, A5, A6, A7 };
extern "C" int pilot_selftest(void);
void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int analogRead(uint8_t pin);
void analogReadResolution(int bits);
void analogWrite(uint8_t pin, int value);
unsigned long millis(void);
unsigned long micros(void);
void delay(unsigned long ms);
struct SerialPort {
    void begin(unsigned long) {}
    int available(void) { return 0; }
    int read(void) { return -1; }
    size_t write(const uint8_t *, size_t size) { return size; }
};
extern SerialPort Serial;
"""
CORE = """
#include <stdio.h>
#include <stdlib.h>
#include "Arduino.h"
void setup(void);
void loop(void);
SerialPort Serial;
static unsigned long now = 123;
static int bits = 10, delays;
void pinMode(uint8_t pin, uint8_t) { printf("pinMode %d\\n", pin); }
void digitalWrite(uint8_t pin, uint8_t) { printf("digitalWrite %d\\n", pin); }
int analogRead(uint8_t pin) { printf("%lu read %d\\n", now, pin); return (1 << bits) - 1; }
void analogReadResolution(int wanted) { printf("resolution %d\\n", wanted); bits = wanted; }
void analogWrite(uint8_t pin, int value) { printf("%lu write %d %d\\n", now, pin, value); }
unsigned long millis(void) { return now / 1000; }
unsigned long micros(void) { return now += 10; }
void delay(unsigned long) { if (++delays == 3) exit(0); }
#ifdef FAILING
int pilot_selftest(void) { return 1; }
#endif
int main(void)
{
    setup();
    for (int step = 0; step < STEPS; step++) {
        if (step == STALL) now += 60 * 20000 + 7000;
        loop();
    }
    return 0;
}
"""
SKETCHES = ("loop", "link")


def ran(tmp_path, sketch, *defines, steps=10, stall=-1, **fields):
    """Return what a sketch did, line by line, and the folder of its library."""
    q = controller(4, 2, 2, **fields)
    library = firmware_export.export(q, tmp_path / "fw", name="pilot", package="arduino").parents[1]
    (tmp_path / "Arduino.h").write_text("#pragma once\n" + ARDUINO_H)
    text = (library / f"examples/{sketch}/{sketch}.ino").read_text()
    (tmp_path / "sketch.cpp").write_text(f"#include <Arduino.h>\n{text}")
    (tmp_path / "core.cpp").write_text(CORE)
    hidden = ["-Dpilot_selftest=unused_selftest"] if "-DFAILING" in defines else []
    shared = [*defines, f"-DSTEPS={steps}", f"-DSTALL={stall}"]
    parts = [(CC, [*hidden], path) for path in sorted((library / "src").glob("*.c"))]
    parts += [(CXX, shared, tmp_path / f"{part}.cpp") for part in ("core", "sketch")]
    for compiler, flags, path in parts:
        command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", f"-I{library / 'src'}", *flags]
        done = subprocess.run([*command, "-c", str(path)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    subprocess.run([CXX, *(f"{path.stem}.o" for _, _, path in parts), "-o", "program"], cwd=tmp_path, check=True)
    done = subprocess.run([str(tmp_path / "program")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    return q, done.stdout.splitlines()


def written(lines):
    """The values written to pins, in order."""
    return [tuple(int(word) for word in line.split()[2:]) for line in lines if " write " in line]


@needs_cxx
@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize(
    ("limits", "pulses"),
    [(((-10.0, 10.0), (-10.0, 10.0)), [128, 128]), (((2.0, 5.0), (-5.0, -2.0)), [0, 255])],
    ids=["0", "next to 0"],
)
def test_a_failed_self_test_leaves_the_outputs_safe(sketch, limits, pulses, tmp_path):
    """A pulse of 0 is the lower limit, a motor's full reverse: the pins hold 0 or the limit next to it instead."""
    _, lines = ran(tmp_path, sketch, "-DFAILING", output_limits=limits)
    assert written(lines) == list(zip([3, 5], pulses, strict=True))
    assert not any("read" in line for line in lines), "no step is made"


@needs_cxx
@pytest.mark.parametrize("sketch", SKETCHES)
def test_outputs_are_safe_before_the_self_test(sketch, tmp_path):
    _, lines = ran(tmp_path, sketch, steps=0)
    assert written(lines) == [(3, 128), (5, 128)]
    assert lines.index("resolution 10") > max(k for k, line in enumerate(lines) if "write" in line)


@needs_cxx
@pytest.mark.parametrize("sketch", SKETCHES)
def test_an_esp32_without_a_led_reads_all_its_bits_on_its_own_pins(sketch, tmp_path):
    _, lines = ran(tmp_path, sketch, "-DARDUINO_ARCH_ESP32")
    assert "resolution 12" in lines
    assert {pin for pin, _ in written(lines)} == {4, 14}, "neither flash nor the serial port's"
    assert not any(line.startswith("digitalWrite") for line in lines)
    if sketch == "loop":
        assert {int(line.split()[-1]) for line in lines if " read " in line} == {14, 17}


@needs_cxx
def test_a_core_that_says_its_resolution_is_believed(tmp_path):
    _, lines = ran(tmp_path, "loop", "-DADC_RESOLUTION=14", "-DLED_BUILTIN=13")
    assert "resolution 14" in lines


@needs_cxx
def test_full_scale_is_the_upper_limit_with_any_width(tmp_path):
    """The outputs of a step are those of the integer controller at the inputs' upper limits, less one count."""
    pulses = []
    for width in (10, 12):
        (tmp_path / str(width)).mkdir()
        q, lines = ran(tmp_path / str(width), "loop", f"-DADC_RESOLUTION={width}", steps=3)
        pulses.append(written(lines)[2:])
    q.reset()
    raw = np.array([q.step(np.array([2.0, 2.0], np.float32)).copy() for _ in range(3)])
    expected = (raw.ravel() + 10) / 20 * 255
    for pulse in pulses:
        assert np.abs(np.array([value for _, value in pulse]) - expected).max() <= 1.0


@needs_cxx
def test_a_stall_is_not_caught_up(tmp_path):
    """60 periods are missed: one step comes late, the next at the next period of the old rhythm."""
    _, lines = ran(tmp_path, "loop", steps=12, stall=5)
    at = np.array([int(line.split()[0]) for line in lines if line.endswith("read 14")])
    assert len(at) == 12
    gaps = np.diff(at)
    assert gaps[4] > 1_200_000
    assert (gaps[5:] > 20000 - 7000 - 500).all()
    assert (gaps[6:] > 19900).all()
    assert ((at - at[0]) % 20000 < 200)[[*range(5), *range(6, 12)]].all(), "the rhythm is the old one"


@pytest.mark.skipif(shutil.which("avr-g++") is None, reason="avr-g++ is not installed: it was NOT built")
@pytest.mark.parametrize("sketch", SKETCHES)
def test_a_state_too_large_for_the_chip_is_said_when_the_sketch_is_compiled(sketch, tmp_path):
    """The export's target was generic: the sketch, which knows the chip, refuses."""
    library = firmware_export.export(controller(300, 1, cell="indrnn"), tmp_path / "fw", package="arduino").parents[1]
    text = (library / f"examples/{sketch}/{sketch}.ino").read_text()
    (tmp_path / "sketch.cpp").write_text(f"#include <avr/io.h>\n{ARDUINO_H.replace('pilot', 'ctl')}{text}")
    flags = ["-mmcu=atmega328p", "-Os", "-std=gnu++11", f"-I{library / 'src'}", "-fsyntax-only", "sketch.cpp"]
    done = subprocess.run(["avr-g++", *flags], cwd=tmp_path, capture_output=True, text=True)
    assert "the self-test does not fit this chip's RAM" in done.stderr


@pytest.mark.skipif(shutil.which("avr-g++") is None, reason="avr-g++ is not installed: it was NOT built")
def test_the_link_of_the_quadruped_is_refused_by_an_atmega168(tmp_path):
    """With the serial port its variables take 945 of 1024 bytes, and the self-test 134 of stack."""
    q = controller(12, 17, 12)
    library = firmware_export.export(q, tmp_path / "fw", package="arduino").parents[1]
    text = (library / "examples/link/link.ino").read_text()
    (tmp_path / "sketch.cpp").write_text(f"#include <avr/io.h>\n{ARDUINO_H.replace('pilot', 'ctl')}{text}")
    results = {}
    for chip in ("atmega168", "atmega328p"):
        flags = [f"-mmcu={chip}", "-Os", "-std=gnu++11", f"-I{library / 'src'}", "-fsyntax-only", "sketch.cpp"]
        done = subprocess.run(["avr-g++", *flags], cwd=tmp_path, capture_output=True, text=True)
        results[chip] = "the self-test does not fit this chip's RAM" in done.stderr
    assert results == {"atmega168": True, "atmega328p": False}


@pytest.mark.parametrize(("inputs", "outputs", "said"), [(6, 6, False), (7, 1, True), (1, 7, True)])
@pytest.mark.parametrize("sketch", SKETCHES)
def test_more_pins_than_an_uno_has_are_said_where_they_stand(sketch, inputs, outputs, said, tmp_path):
    header = firmware_export.export(controller(2, inputs, outputs), tmp_path / "fw", package="arduino")
    text = (header.parents[1] / f"examples/{sketch}/{sketch}.ino").read_text()
    assert ("// An Uno has six of each:" in text) is said
