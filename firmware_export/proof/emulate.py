"""Run a linked image on an emulated Arm Cortex-M core, and count what a step costs."""

from __future__ import annotations

import struct
from typing import Any, Final

from firmware_export.proof.elf import Elf
from neuroctl.errors import ExportError, require

RAM: Final = 0x2000_0000
RAM_BYTES: Final = 16 << 20
_STACK_BYTES: Final = 1 << 20
BUFFER_BYTES: Final = RAM_BYTES - (2 << 20)
"""What ``buffer`` may hold: the RAM without the image's variables and the stack."""
_RETURN: Final = 0x0800_0000
_PAGE: Final = 4096
_PATTERN: Final = b"\xa5"
_TIMEOUT_S: Final = 60


class Fault(ExportError):
    """The emulated firmware read or wrote outside its memory, met an unknown instruction, or did not return."""


class Machine:
    """One emulated core with a loaded image; calls functions by name.

    Args:
        image: a linked executable.
        core: the emulator's name of the core, such as ``"M4"``.

    Raises:
        BackendUnavailable: the emulator is not installed.

    """

    def __init__(self, image: Elf, core: str):
        self._uc = require("unicorn", "export")
        self._reg = require("unicorn.arm_const", "export")
        self._image = image
        self._cpu = self._uc.Uc(self._uc.UC_ARCH_ARM, self._uc.UC_MODE_THUMB | self._uc.UC_MODE_MCLASS)
        self._cpu.ctl_set_cpu_model(getattr(self._reg, f"UC_CPU_ARM_CORTEX_{core}"))
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
            Fault: it crashed or did not return in time.

        """
        for register, value in zip(("R0", "R1", "R2", "R3"), arguments, strict=False):
            self._set(register, value)
        self._set("SP", self._stack)
        self._set("LR", _RETURN | 1)
        try:
            self._cpu.emu_start(self._image.symbols[function] | 1, _RETURN, timeout=_TIMEOUT_S * 1_000_000)
        except self._uc.UcError as error:
            place = self._cpu.reg_read(self._reg.UC_ARM_REG_PC)
            raise Fault(f"{function}: {error} at {place:#010x}") from None
        if self._cpu.reg_read(self._reg.UC_ARM_REG_PC) != _RETURN:
            raise Fault(f"{function}: did not return within {_TIMEOUT_S} s")
        result: int = struct.unpack("<i", struct.pack("<I", self._cpu.reg_read(self._reg.UC_ARM_REG_R0)))[0]
        return result

    def _set(self, register: str, value: int) -> None:
        self._cpu.reg_write(getattr(self._reg, f"UC_ARM_REG_{register}"), value)

    def count(self, function: str, *arguments: int) -> int:
        """Call a function and return how many instructions it executed.

        Counted a block at a time, which calls Python back once for some ten instructions.

        Raises:
            Fault: it crashed or did not return in time.

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
        """Return how deep the stack has been since it was painted."""
        content = self.read(self._stack - _STACK_BYTES, _STACK_BYTES)
        return -(-len(content.lstrip(_PATTERN)) // 4) * 4

    def _block(self, address: int, size: int) -> int:
        """Return the instructions in a block of Thumb code: those whose first halfword says so take two."""
        key = (address, size)
        if key not in self._blocks:
            count, at, code = 0, 0, self.read(address, size)
            while at < size:
                at += 4 if code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
                count += 1
            self._blocks[key] = count
        return self._blocks[key]
