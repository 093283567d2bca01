"""The README's two ways to a board, followed to the letter on emulated ones: an Arduino Uno and a Cortex-M4."""

import os
import re
import shutil
import subprocess
import tty
from pathlib import Path

import pytest

import firmware_export
from firmware_export import boards
from firmware_export.proof.harness import HARNESS
from neuroctl.link import Shadow
from tests.firmware.helpers import extreme_inputs
from tests.link.helpers import controller, linked

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs/link.md"
CORE = Path("/usr/share/arduino/hardware/arduino/avr")
TOO_NEW = {"WString.cpp"}  # Debian's AVR-GCC has no DECIMAL_DIG, and the sketch no String
needs_core = pytest.mark.skipif(
    not CORE.exists() or shutil.which("avr-g++") is None or not Path("/usr/include/simavr").exists(),
    reason="arduino-core-avr or simavr is not installed: the sketch was NOT built with Arduino's own core",
)
needs_arm = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="arm-none-eabi-gcc or QEMU is not installed: the document's Cortex-M board was NOT built",
)


def run(*command, cwd):
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Started:
    """A board that a command runs until the block ends; its terminal's path is among what the command says."""

    def __init__(self, *command):
        self._process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        self.port = next(name[0] for line in self._process.stdout if (name := re.search(r"/dev/pts/\d+", line)))

    def __enter__(self):
        self._held = os.open(self.port, os.O_RDWR | os.O_NOCTTY)  # QEMU looks once a second whether it is open
        tty.setraw(self._held)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        os.close(self._held)


def differing_bits(board, q, steps):
    """Return how many of so many steps were answered, and in how many bits host and board differ."""
    with linked(board, q, timeout_s=1.0, hello_s=5.0) as link:
        assert link.hello.name == "balance"
        with Shadow(link, timeout_s=10.0) as shadow:
            for u in extreme_inputs(q.spec.inputs, steps, seed=1):
                shadow.step_int(u)
    return shadow.steps, shadow.differing_bits


def uno_program(library, folder):
    """Build the library's sketch as the Arduino IDE does: the core as it is, ``Arduino.h`` in front of the sketch."""
    board = ["-mmcu=atmega328p", "-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_AVR_UNO", "-DARDUINO_ARCH_AVR"]
    places = [f"-I{CORE / 'cores/arduino'}", f"-I{CORE / 'variants/standard'}", f"-I{library / 'src'}"]
    common = ["-c", "-Os", "-flto", "-ffunction-sections", "-fdata-sections", *board, *places]
    plus = ["avr-g++", "-std=gnu++11", "-fpermissive", "-fno-exceptions", "-fno-threadsafe-statics", *common]
    plain = ["avr-gcc", "-std=gnu11", *common]
    core = sorted((CORE / "cores/arduino").iterdir())
    run(*plain, "-w", *(path for path in core if path.suffix == ".c"), cwd=folder)
    run(*plain, "-x", "assembler-with-cpp", *(path for path in core if path.suffix == ".S"), cwd=folder)
    run(*plus, "-w", *(p for p in core if p.suffix == ".cpp" and p.name not in TOO_NEW), cwd=folder)
    run(*plain, "-Wall", "-Wextra", "-Werror", *sorted((library / "src").glob("*.c")), cwd=folder)
    sketch = (library / "examples/link/link.ino").read_text()
    (folder / "sketch.cpp").write_text(f"#include <Arduino.h>\n{sketch}")
    run(*plus, "-Wall", "-Wextra", "-Werror", "sketch.cpp", cwd=folder)
    linker = ["avr-gcc", "-Os", "-flto", "-fuse-linker-plugin", "-Wl,--gc-sections", "-mmcu=atmega328p"]
    run(*linker, *sorted(folder.glob("*.o")), "-lm", "-o", "sketch.elf", cwd=folder)
    return folder / "sketch.elf"


@needs_core
def test_the_sketch_with_arduinos_own_core_runs_on_an_uno(tmp_path):
    q = controller()
    header = firmware_export.export(q, tmp_path / "balance", name="balance", package="arduino")
    program = uno_program(header.parents[1], tmp_path)
    run("cc", "-O2", Path(boards.__file__).with_name("simavr.c"), "-lsimavr", "-o", "simulator", cwd=tmp_path)
    with Started(tmp_path / "simulator", program) as board:
        assert differing_bits(board, q, 200) == (200, 0)


@needs_arm
def test_the_documents_cortex_m_board_runs(tmp_path):
    q = controller()
    header = firmware_export.export(q, tmp_path / "balance", name="balance")
    section = DOCUMENT.read_text().split("### A Cortex-M")[1]
    (tmp_path / "document.h").write_text(re.search(r"```c\n(.*?)```", section, re.DOTALL)[1])
    shutil.copy(header.parent / "balance_link_example.c", tmp_path / "main.c")
    flags = ["-mcpu=cortex-m4", "-mthumb", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-Werror"]
    script = ["-nostdlib", f"-Wl,-T,{HARNESS / 'qemu.ld'}", "-Wl,--defsym=nc_v_base=0", "-Wl,-e,nc_v_main"]
    sources = ["main.c", HERE / "cortex_m.c", header.parent / "nc_link.c"]
    places = [f"-I{header.parent}", f"-I{tmp_path}"]
    run("arm-none-eabi-gcc", *flags, *places, *sources, *script, "-o", "board.elf", cwd=tmp_path)
    options = ["-display", "none", "-monitor", "none", "-serial", "pty", "-kernel", tmp_path / "board.elf"]
    with Started("qemu-system-arm", "-M", "mps2-an386", *options) as board:
        assert differing_bits(board, q, 500) == (500, 0)
