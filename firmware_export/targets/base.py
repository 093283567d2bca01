"""What an entry of the table of targets says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One kind of core.

    Args:
        name: what the user writes.
        hint: one sentence for the header's comment: how to compile for it.
        cpu: the compiler's name of the core for ``-mcpu``; empty where the machine's own compiler is used.
        emulator: the emulator's name of the core; empty where the program runs on this machine.
        verified: whether ``verify`` builds for it and runs it.

    """

    name: str
    hint: str
    cpu: str = ""
    emulator: str = ""
    verified: bool = True
