"""Compile the exported headers with the harness: with this machine's compilers, and for other cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from neuroctl.errors import ExportError, require

from ..targets import Target
from .elf import Elf, read_elf
from .harness import HARNESS

PAINTED_BYTES: Final = 299
"""Part of an AVR's stack that is painted to measure the depth of a step."""
_CALLS_BYTES: Final = 64
"""Stack of return addresses and an interrupt's registers."""
_TIMEOUT_S: Final = 300
_WARNINGS: Final = ("-Wall", "-Wextra", "-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration")
_CORE_FLAGS: Final = ("-std=c99", "-ffreestanding", "-g0", "-ffunction-sections", "-fdata-sections")
# Defaults of firmware compilers, but not of zig.
_ZIG_FLAGS: Final = (
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-sanitize=all",
    "-Wno-unused-command-line-argument",
)


class DoesNotFit(ExportError):
    """A core has no room for firmware and harness together; this is no fault of the firmware."""


class Objects(NamedTuple):
    """A linked program, and the object of the firmware alone, compiled with -O2 and with -Os."""

    program: Path
    firmware: Path
    small: Path


def zig_command(target: Target) -> list[str]:
    """Return the command that compiles for a core with zig's C compiler.

    Raises:
        BackendUnavailable: it is not installed.

    """
    require("ziglang", "export")
    return [sys.executable, "-m", "ziglang", "cc", *target.zig, *_ZIG_FLAGS]


def host_compilers() -> list[str]:
    """Return the names of this machine's C compilers, the default one first."""
    return [name for name in ("gcc", "clang") if shutil.which(name)] or [name for name in ("cc",) if shutil.which(name)]


def build_host(compiler: str, scratch: Path) -> Path:
    """Compile the harness for this machine.

    Raises:
        ExportError: it does not compile; names the compiler's first error.

    """
    program = scratch / f"harness-{compiler}"
    sources = [f"{part}.c" for part in ("control", "selftest", "run", "main")]
    run([compiler, "-std=c99", "-O2", *_WARNINGS, *sources, "-o", str(program)], "host", scratch)
    return program


def build_core(command: Sequence[str], target: Target, scratch: Path, *, qemu: bool = False) -> Objects:
    """Compile the harness for a core, for Unicorn or for one of QEMU's boards.

    It is linked without any library: the firmware needs none, not even for arithmetic.

    Raises:
        ExportError: it does not compile; names the compiler's first error.

    """
    compile_ = [*command, *_CORE_FLAGS, *_WARNINGS, "-c"]
    place = scratch / f"{os.path.basename(command[0])}-{target.name}{'-qemu' if qemu else ''}"
    place.mkdir()

    def compiled(part: str, *flags: str) -> Path:
        out = place / f"{part}{flags[0]}.o"
        run([*compile_, *flags, f"{part}.c", "-o", str(out)], target.name, scratch)
        return out

    objects = [compiled(part, "-O2") for part in ("control", "selftest", "run")]
    small = objects[0] if qemu else compiled("control", "-Os")
    image = place / "image.elf"
    script = ["-nostdlib", "-Wl,--no-gc-sections"]
    if qemu and target.qemu is not None:
        objects.append(compiled("main", "-O2", "-DNC_V_QEMU"))
        script += [f"-Wl,-T,{HARNESS / 'qemu.ld'}", f"-Wl,--defsym=nc_v_base={target.qemu.base:#x}", "-Wl,-e,nc_v_main"]
    else:
        script += [f"-Wl,-T,{HARNESS / 'core.ld'}", "-Wl,-e,0x10000"]
    run([*command, "-O2", *script, *map(str, objects), "-o", str(image)], target.name, scratch)
    return Objects(image, objects[0], small)


def build_avr(command: Sequence[str], target: Target, defines: Sequence[str], scratch: Path) -> Objects:
    """Compile the harness for an AVR, with its C library.

    Raises:
        ExportError: it does not compile; names the compiler's first error.
        DoesNotFit: flash or RAM are too small for the program.

    """
    flags = ["-std=gnu99", "-ffunction-sections", "-fdata-sections", "-fstack-usage", *_WARNINGS, *defines]
    for level in ("-O2", "-Os"):
        run([*command, *flags, level, "-c", "control.c", "-o", f"avr{level}.o"], target.name, scratch)
    image = scratch / "avr.elf"
    rest = ["selftest.c", "run.c", "avr.c", "-Wl,--gc-sections"]
    run([*command, *flags, "-O2", "avr-O2.o", *rest, "-o", str(image)], target.name, scratch)
    check_room(read_elf(image), target, scratch, PAINTED_BYTES)
    return Objects(image, scratch / "avr-O2.o", scratch / "avr-Os.o")


def check_room(image: Elf, target: Target, scratch: Path, stack_bytes: int = 0) -> None:
    """Refuse an AVR's program that does not fit its flash, or whose stack would reach its variables.

    The compiler reports the frames; the self-test's and the others are in use one after the other.

    Args:
        image: the program.
        target: the core.
        scratch: the folder with the files of ``-fstack-usage``.
        stack_bytes: further bytes that the program itself puts on its stack.

    Raises:
        DoesNotFit: names the bytes needed and available.

    """
    frames: dict[bool, int] = {True: 0, False: stack_bytes}
    for path in scratch.glob("*.su"):
        if not path.name.endswith("-Os.su"):
            depths = [int(line.split("\t")[1]) for line in path.read_text().splitlines()]
            frames[path.name.endswith("selftest.su")] += sum(depths)
    flash = sum(len(content) for _, content, _ in image.segments)
    ram = image.data_bytes + max(frames.values()) + _CALLS_BYTES
    for what, takes, has in (("flash", flash, target.flash_bytes), ("RAM", ram, target.ram_bytes)):
        if takes > has:
            raise DoesNotFit(f"the program takes {takes} bytes of {what}, of which there are {has}")


def run(command: Sequence[str], target: str, scratch: Path) -> None:
    """Run a compiler in a folder.

    Raises:
        ExportError: it fails; names its first error.
        DoesNotFit: the linker finds too little memory.

    """
    # The cross compiler has to build nothing of its own, so its cache need not outlive this run.
    cache = str(scratch / "zig-cache")
    environment = {**os.environ, "LC_ALL": "C", "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    try:
        done = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"compiling for {target} took more than {_TIMEOUT_S} s") from None
    except OSError as error:
        raise ExportError(f"{command[0]}: cannot be run: {error.strerror}") from None
    if done.returncode != 0 and (over := re.search(r"overflowed by (\d+) bytes", done.stderr)):
        raise DoesNotFit(f"the program is {over[1]} bytes larger than the flash of {target}")
    if done.returncode != 0 and "is not within region `data'" in done.stderr:  # GNU ld's message for an AVR's RAM
        raise DoesNotFit(f"the program's variables are more than the RAM of {target} holds")
    if done.returncode != 0:
        raise ExportError(f"does not compile for {target}: {_first_error(done.stderr)}")


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
    place, _, message = first.partition(" ")
    return f"{os.path.basename(place)} {message}"[:300]
