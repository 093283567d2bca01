"""What the operating system and the interpreter are asked for while a loop runs; what is refused is said."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from neuroctl.errors import LoopError

_SET_TIMERSLACK, _GET_TIMERSLACK = 29, 30  # of prctl
_LOCK_CURRENT_AND_FUTURE: Final = 3  # of mlockall
_SWITCH_S: Final = 1e-4

Note = Callable[[str], None]


@dataclass(frozen=True)
class System:
    """What a loop asks for. All of it is undone when the loop ends.

    Args:
        fifo: priority 1 to 99 of the loop's thread under SCHED_FIFO; None leaves the scheduler alone.
        cpu: core that the loop's thread is bound to; None leaves it free.
        mlock: keep all memory of the process in RAM, so that no tick waits for the disk.
        no_gc: collect garbage before the loop, and not while it runs; cyclic garbage of the callbacks then piles up.

    Raises:
        LoopError: a value is not allowed.

    """

    fifo: int | None = None
    cpu: int | None = None
    mlock: bool = False
    no_gc: bool = True

    def __post_init__(self) -> None:
        """Check the priority and the core."""
        if self.fifo is not None and not 1 <= self.fifo <= 99:
            raise LoopError(f"fifo: {self.fifo}; allowed: priorities from 1 to 99")
        cores = os.cpu_count() or 1
        if self.cpu is not None and not 0 <= self.cpu < cores:
            raise LoopError(f"cpu: {self.cpu}; allowed: 0 to {cores - 1}")

    @contextmanager
    def applied(self, note: Note) -> Iterator[None]:
        """Apply this to the calling thread and the process; ``note`` is told what was refused and why."""
        undo: list[Callable[[], Any]] = []
        try:
            self._process(note, undo)
            self._thread(note, undo)
            yield
        finally:
            while undo:
                undo.pop()()

    def _process(self, note: Note, undo: list[Callable[[], Any]]) -> None:
        # Other threads get the interpreter's lock for so long at most; the usual 5 ms are many ticks.
        interval = sys.getswitchinterval()
        undo.append(lambda: sys.setswitchinterval(interval))
        sys.setswitchinterval(min(_SWITCH_S, interval))
        if self.no_gc:
            _stop_collecting(undo)
        if self.mlock:
            if _libc("mlockall", _LOCK_CURRENT_AND_FUTURE, note, "mlock: memory is not locked") == 0:
                undo.append(lambda: _libc("munlockall", None, note, "mlock"))

    def _thread(self, note: Note, undo: list[Callable[[], Any]]) -> None:
        _wake_promptly(note, undo)
        if self.cpu is not None:
            cores = os.sched_getaffinity(0)
            undo.append(lambda: os.sched_setaffinity(0, cores))
            try:
                os.sched_setaffinity(0, {self.cpu})
            except OSError as error:
                note(f"cpu: the thread is not bound to core {self.cpu}: {error.strerror}")
        if self.fifo is not None:
            before = os.sched_getscheduler(0), os.sched_getparam(0)
            try:
                # Threads that a callback starts do not inherit it.
                os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(self.fifo))
            except OSError as error:
                hint = "allowed with CAP_SYS_NICE or an rtprio limit, see docs/realtime.md"
                note(f"fifo: the thread does not run under SCHED_FIFO: {error.strerror}; {hint}")
            else:
                undo.append(lambda: os.sched_setscheduler(0, *before))


def _stop_collecting(undo: list[Callable[[], Any]]) -> None:
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.collect()
    gc.disable()
    if enabled:
        undo.append(gc.enable)
    if frozen == 0:  # else somebody froze objects of his own; thawing would undo that too
        gc.freeze()
        undo.append(gc.unfreeze)


def _wake_promptly(note: Note, undo: list[Callable[[], Any]]) -> None:
    """Let the kernel end this thread's sleeps when they end, and not up to 50 us later."""
    slack = _libc("prctl", _GET_TIMERSLACK, note, "timer slack", 0, 0, 0, 0)
    if slack > 1 and _libc("prctl", _SET_TIMERSLACK, note, "timer slack: wake-ups are later", 1, 0, 0, 0) == 0:
        undo.append(lambda: _libc("prctl", _SET_TIMERSLACK, note, "timer slack", slack, 0, 0, 0))


def _libc(name: str, argument: int | None, note: Note, what: str, *more: int) -> int:
    """Call a function of the C library; below 0 is a refusal, which is told."""
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        note(f"{what}: this system has no {name}")
        return -1
    kind = ctypes.c_ulong if more else ctypes.c_int
    result = int(function(*(kind(value) for value in (argument, *more) if value is not None)))
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        note(f"{what}: {reason}; allowed with CAP_IPC_LOCK or a memlock limit, see docs/realtime.md" if "mlock" in name
             else f"{what}: {reason}")  # fmt: skip
    return result
