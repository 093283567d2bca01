"""Compile the exported header with the harness: with this machine's compiler, and for the emulated cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from firmware_export.targets import Target
from neuroctl.errors import ExportError, require

_HARNESS: Final = Path(__file__).parent / "harness"
_TIMEOUT_S: Final = 300
_WARNINGS: Final = ("-Wall", "-Wextra", "-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration")
_CORE_FLAGS: Final = (
    "-target",
    "thumb-freestanding-eabi",
    "-std=c99",
    "-ffreestanding",
    "-g0",
    "-ffunction-sections",
    "-fdata-sections",
    # What firmware compilers do by themselves, and this one does not.
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-sanitize=all",
)


def host_compiler() -> str | None:
    """Return the path of this machine's C compiler, or None."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def build_host(compiler: str, header: Path, defines: Mapping[str, object], scratch: Path) -> Path:
    """Compile the harness for this machine.

    Raises:
        ExportError: it does not compile; says the compiler's first error.

    """
    program = scratch / "harness"
    sources = [_HARNESS / f"{part}.c" for part in ("control", "selftest", "run", "main")]
    flags = ["-std=c99", "-O2", *_WARNINGS, *_flags(header, defines)]
    _run([compiler, *flags, *map(str, sources), "-o", str(program)], header, "host", scratch)
    return program


def build_core(target: Target, header: Path, defines: Mapping[str, object], scratch: Path) -> tuple[Path, Path, Path]:
    """Compile the harness for an emulated core.

    Linked without any runtime library: the firmware needs none, not even for arithmetic.

    Returns:
        The executable, the object that holds the firmware alone, and the same object compiled for size.

    Raises:
        ExportError: it does not compile; says the compiler's first error.
        BackendUnavailable: the cross compiler is not installed.

    """
    require("ziglang", "export")
    zig = [sys.executable, "-m", "ziglang", "cc", *_CORE_FLAGS, f"-mcpu={target.cpu}"]
    compile_ = [*zig, *_WARNINGS, *_flags(header, defines), "-c"]

    def compiled(part: str, optimise: str = "-O2") -> Path:
        out = scratch / f"{part}{optimise}.o"
        _run([*compile_, optimise, str(_HARNESS / f"{part}.c"), "-o", str(out)], header, target.name, scratch)
        return out

    objects = [compiled(part) for part in ("control", "selftest", "run")]
    small = compiled("control", "-Os")
    image = scratch / "image.elf"
    script = ["-nostdlib", f"-Wl,-T,{_HARNESS / 'cortex_m.ld'}", "-Wl,-e,nc_v_run", "-Wl,--no-gc-sections"]
    _run([*zig, "-O2", *script, *map(str, objects), "-o", str(image)], header, target.name, scratch)
    return image, objects[0], small


def _flags(header: Path, defines: Mapping[str, object]) -> list[str]:
    named = {"NC_V_HEADER": f'"{header.name}"', **defines}
    return [f"-I{header.parent}", *(f"-D{key}={value}" for key, value in named.items())]


def _run(command: Sequence[str], header: Path, target: str, scratch: Path) -> None:
    # Nothing of the cross compiler's own has to be built, so that its cache need not outlive the proof.
    cache = str(scratch / "zig-cache")
    environment = {**os.environ, "LC_ALL": "C", "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    try:
        done = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"{header.name}: compiling for {target} took more than {_TIMEOUT_S} s") from None
    except OSError as error:
        raise ExportError(f"{command[0]}: cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise ExportError(f"{header.name}: does not compile for {target}: {_first_error(done.stderr)}")


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
    place, _, message = found.partition(" ")
    return f"{os.path.basename(place)} {message}"[:300]
