"""Running a linked image on an emulated Arm Cortex-M or RISC-V core, and counting the instructions of a step."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, NamedTuple

from neuroctl.errors import ExportError, require

from .elf import Elf

RAM: Final = 0x2000_0000
RAM_BYTES: Final = 16 << 20
_STACK_BYTES: Final = 1 << 20
BUFFER_BYTES: Final = RAM_BYTES - (2 << 20)
"""Size of ``buffer``: the RAM without the image's variables and the stack."""
_RETURN: Final = 0x0800_0000
_PAGE: Final = 4096
_PATTERN: Final = b"\xa5"
_TIMEOUT_S: Final = 60


class Crashed(ExportError):
    """The firmware read or wrote outside its memory, met an unknown instruction, or did not return."""


class Core(NamedTuple):
    """Unicorn's names of a core and its registers.

    ``thumb`` is added to addresses of code.
    """

    family: str
    mode: tuple[str, ...]
    model: str
    arguments: tuple[str, ...]
    stack: str
    link: str
    counter: str
    thumb: int


def _cortex_m(model: str) -> Core:
    mode = ("UC_MODE_THUMB", "UC_MODE_MCLASS")
    return Core("ARM", mode, f"UC_CPU_ARM_CORTEX_{model}", ("R0", "R1", "R2", "R3"), "SP", "LR", "PC", 1)


CORES: Final = MappingProxyType(
    {model: _cortex_m(model) for model in ("M0", "M3", "M4", "M7", "M33")}
    | {"RV32": Core("RISCV", ("UC_MODE_RISCV32",), "", ("A0", "A1", "A2", "A3"), "SP", "RA", "PC", 0)}
)
"""One line per core."""


class Machine:
    """One emulated core with a loaded image; calls functions by name.

    Args:
        image: a linked executable.
        core: a row of ``CORES``.

    Raises:
        BackendUnavailable: the emulator is not installed.

    """

    def __init__(self, image: Elf, core: str):
        self._uc = require("unicorn", "export")
        self._core = CORES[core]
        family = self._core.family
        self._constants = require(f"unicorn.{family.lower()}_const", "export")
        self._image = image
        mode = sum(getattr(self._uc, name) for name in self._core.mode)
        self._cpu = self._uc.Uc(getattr(self._uc, f"UC_ARCH_{family}"), mode)
        if self._core.model:
            self._cpu.ctl_set_cpu_model(getattr(self._constants, self._core.model))
        self._blocks: dict[tuple[int, int], int] = {}
        self._load(image)

    def _load(self, image: Elf) -> None:
        self._cpu.mem_map(RAM, RAM_BYTES)
        self._cpu.mem_map(_RETURN, _PAGE, self._uc.UC_PROT_READ | self._uc.UC_PROT_EXEC)
        flash = [segment for segment in image.segments if segment[0] < RAM]
        low = min(address for address, _, _ in flash) // _PAGE * _PAGE
        high = max(address + size for address, _, size in flash)
        protection = self._uc.UC_PROT_READ | self._uc.UC_PROT_EXEC
        self._cpu.mem_map(low, -(-(high - low) // _PAGE) * _PAGE, protection)
        for address, content, _ in image.segments:
            if content:
                self._cpu.mem_write(address, content)
        end = max([RAM, *(address + size for address, _, size in image.segments if address >= RAM)])
        self.buffer = -(-end // _PAGE) * _PAGE
        """Address of free RAM, ``BUFFER_BYTES`` long."""
        self._stack = RAM + RAM_BYTES

    def write(self, address: int, content: bytes) -> None:
        """Copy bytes into RAM."""
        self._cpu.mem_write(address, content)

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of RAM."""
        return bytes(self._cpu.mem_read(address, size))

    def call(self, function: str, *arguments: int) -> int:
        """Call a function with up to four words, and return its signed result.

        Raises:
            Crashed: it crashed or did not return in time.

        """
        core = self._core
        for register, value in zip(core.arguments, arguments, strict=False):
            self._cpu.reg_write(self._register(register), value)
        self._cpu.reg_write(self._register(core.stack), self._stack)
        self._cpu.reg_write(self._register(core.link), _RETURN | core.thumb)
        start = self._image.symbols[function] | core.thumb
        try:
            self._cpu.emu_start(start, _RETURN, timeout=_TIMEOUT_S * 1_000_000)
        except self._uc.UcError as error:
            place = self._cpu.reg_read(self._register(core.counter))
            raise Crashed(f"{function}: {error} at {place:#010x}") from None
        if self._cpu.reg_read(self._register(core.counter)) != _RETURN:
            raise Crashed(f"{function}: did not return within {_TIMEOUT_S} s")
        value = self._cpu.reg_read(self._register(core.arguments[0])) & 0xFFFFFFFF
        return int(value - (1 << 32) if value >> 31 else value)

    def _register(self, name: str) -> int:
        return int(getattr(self._constants, f"UC_{self._core.family}_REG_{name}"))

    def count(self, function: str, *arguments: int) -> int:
        """Call a function and return the number of instructions executed.

        They are counted block by block: one call of Python for about ten instructions.

        Raises:
            Crashed: it crashed or did not return in time.

        """
        counted = [0]

        def on_block(_cpu: Any, address: int, size: int, _data: Any) -> None:
            counted[0] += self._block(address, size)

        self._cpu.ctl_flush_tb()  # blocks that were translated without the hook would not call it
        hook = self._cpu.hook_add(self._uc.UC_HOOK_BLOCK, on_block)
        try:
            self.call(function, *arguments)
        finally:
            self._cpu.hook_del(hook)
        return counted[0]

    def paint_stack(self) -> None:
        """Fill the stack with a pattern."""
        self.write(self._stack - _STACK_BYTES, _PATTERN * _STACK_BYTES)

    def stack_bytes(self) -> int:
        """Return the greatest depth of the stack since it was painted, in bytes."""
        content = self.read(self._stack - _STACK_BYTES, _STACK_BYTES)
        return -(-len(content.lstrip(_PATTERN)) // 4) * 4

    def _block(self, address: int, size: int) -> int:
        """Return the number of instructions in a block; the first halfword of each tells its length, one or two."""
        key = (address, size)
        if key not in self._blocks:
            count, at, code = 0, 0, self.read(address, size)
            while at < size:
                wide = code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) if self._core.thumb else code[at] & 3 == 3
                at += 4 if wide else 2
                count += 1
            self._blocks[key] = count
        return self._blocks[key]
