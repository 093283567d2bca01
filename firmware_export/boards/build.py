"""Building an exported folder into a simulated board."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from neuroctl.errors import BackendUnavailable, ExportError
from neuroctl.quant import QuantController

from ..proof.build import check_room, host_compilers, run, zig_command
from ..proof.elf import read_elf
from ..proof.harness import HARNESS, DeviceUnderTest
from ..targets import TARGETS as CORES
from ..verifying import load

_HERE: Final = Path(__file__).parent
_WARNINGS: Final = ("-Wall", "-Wextra")
_FLASH_ONLY: Final = ("simavr-uno",)  # too little RAM for two banks of parameters


class Build(NamedTuple):
    """The command that starts a board, and the controller on it."""

    command: list[Any]
    q: QuantController


def build(folder: Path, target: str, faults: Mapping[str, int], tunable: bool, scratch: Path) -> Build:
    """Build a board of an exported folder.

    Args:
        folder: a folder that ``export`` wrote; nothing is generated again.
        target: a row of ``TARGETS``.
        faults: macros of ``board.h``.
        tunable: whether parameters are in RAM, if there is room for them.
        scratch: an existing folder for the program.

    Raises:
        ExportError: the folder holds no export, or it does not compile.
        BackendUnavailable: a compiler or an emulator is missing.

    """
    folder, scratch = folder.absolute(), scratch.absolute()  # compilers run in another folder
    device = load(folder)
    name, big = device.name, device.name.upper()
    places = [device.header.parent, *([device.source.parent] if device.source else [])]
    link = next((path for path in (place / "nc_link.c" for place in places) if path.is_file()), None)
    if link is None:
        raise ExportError(f"source: {folder} holds no nc_link.c; export it again")
    (scratch / "board_model.h").write_text(
        f'#include "{name}_link.h"\ntypedef {name}_link_t board_link_t;\n#define board_link_init {name}_link_init\n'
        f"#define BOARD_INPUTS {big}_INPUTS\n#define BOARD_OUTPUTS {big}_OUTPUTS\n"
    )
    defines = [f"-D{macro}={count}u" for macro, count in faults.items() if count]
    flags = [
        *_WARNINGS,
        *defines,
        *([f"-D{big}_TUNABLE"] if tunable and target not in _FLASH_ONLY else []),
        *(f"-I{p}" for p in (scratch, *places)),
    ]
    sources = [str(link), *([str(device.source)] if device.source else [])]
    return Build(TARGETS[target](device, [*flags, *sources], scratch), device.q)


def _host(device: DeviceUnderTest, arguments: list[str], scratch: Path) -> list[Any]:
    compilers = host_compilers()
    if not compilers:
        raise BackendUnavailable("cc: not on PATH; install gcc or clang")
    program = scratch / "board"
    run([compilers[0], "-std=c99", "-O2", *arguments, str(_HERE / "host.c"), "-o", str(program)], "host", scratch)
    return [program]


def _qemu_m4(device: DeviceUnderTest, arguments: list[str], scratch: Path) -> list[Any]:
    core = CORES["cortex-m4"]
    if shutil.which("qemu-system-arm") is None:
        raise BackendUnavailable("qemu-system-arm: not on PATH; install QEMU for Arm")
    command = list(core.gcc) if shutil.which(core.gcc[0]) else zig_command(core)
    script = ["-nostdlib", f"-Wl,-T,{HARNESS / 'qemu.ld'}", "-Wl,--defsym=nc_v_base=0", "-Wl,-e,nc_v_main"]
    image = scratch / "board.elf"
    flags = ["-std=c99", "-ffreestanding", "-O2", *arguments, str(_HERE / "qemu_m4.c"), *script, "-o", str(image)]
    run([*command, *flags], core.name, scratch)
    options = ["-nographic", "-monitor", "none", "-serial", "pty", "-kernel", image]
    return ["qemu-system-arm", "-M", "mps2-an386", *options]


def _simavr_uno(device: DeviceUnderTest, arguments: list[str], scratch: Path) -> list[Any]:
    core, compilers = CORES["avr"], host_compilers()
    if shutil.which(core.gcc[0]) is None or not compilers:
        missing = "avr-gcc" if compilers else "cc"
        raise BackendUnavailable(f"{missing}: not on PATH; install gcc-avr, avr-libc and a C compiler for this machine")
    image, simulator = scratch / "board.elf", scratch / "board"
    flags = ["-std=gnu99", "-Os", *arguments, str(_HERE / "avr.c"), "-o", str(image)]
    run([*core.gcc, *flags, "-fstack-usage"], core.name, scratch)
    check_room(read_elf(image), core, scratch)
    libraries = ["-lsimavr", "-o", str(simulator)]
    try:
        run([compilers[0], "-std=c99", "-O2", str(_HERE / "simavr.c"), *libraries], "simavr", scratch)
    except ExportError as error:
        raise BackendUnavailable(f"simavr: {error}; install libsimavr-dev") from None
    return [simulator, image]


TARGETS: Final[Mapping[str, Callable[[DeviceUnderTest, list[str], Path], list[Any]]]] = MappingProxyType(
    {"host": _host, "qemu-m4": _qemu_m4, "simavr-uno": _simavr_uno}
)
"""One function per board; it builds the board and returns the command that starts it."""
