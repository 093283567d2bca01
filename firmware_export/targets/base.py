"""An entry of the table of targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Board(NamedTuple):
    """A board that QEMU emulates: its name, and its start address."""

    machine: str
    base: int = 0


@dataclass(frozen=True)
class Target:
    """One kind of core.

    Args:
        name: name for users.
        hint: one sentence for the header's comment on compiling for it.
        host: whether it is the machine that runs this program.
        zig: flags of ``python -m ziglang cc``; empty if it does not support the core.
        gcc: the command of its GCC, then flags.
        unicorn: Unicorn's name of the core, see ``proof.emulate.CORES``.
        qemu: QEMU's board with such a core.
        simavr: simavr's name of the microcontroller.
        flash_bytes: the part's flash; 0 if parts differ too much.
        ram_bytes: the part's RAM; 0 if parts differ too much.

    Example:
        >>> import firmware_export
        >>> firmware_export.TARGETS["host"].host, firmware_export.TARGETS["host"].ram_bytes
        (True, 0)

    """

    name: str
    hint: str
    host: bool = False
    zig: tuple[str, ...] = ()
    gcc: tuple[str, ...] = ()
    unicorn: str = ""
    qemu: Board | None = None
    simavr: str = ""
    flash_bytes: int = 0
    ram_bytes: int = 0

    @property
    def verified(self) -> bool:
        """Whether ``verify`` builds for it and runs it."""
        return self.host or bool(self.unicorn or self.qemu or self.simavr)


def cortex_m(number: str, text: str, *, unicorn: str = "", qemu: Board | None = None, features: str = "") -> Target:
    """Return an Arm Cortex-M core's target: ``number`` such as ``"m4"``; ``features`` are flags for zig."""
    return Target(
        name=f"cortex-{number}",
        hint=f"{text} Compile with -mcpu=cortex-{number} -mthumb -O2, or -Os for size.",
        zig=("-target", "thumb-freestanding-eabi", f"-mcpu=cortex_{number}{features}"),
        gcc=("arm-none-eabi-gcc", f"-mcpu=cortex-{number}", "-mthumb"),
        unicorn=unicorn,
        qemu=qemu,
    )
