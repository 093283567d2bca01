"""Requests to the operating system and the interpreter while a loop runs; refusals are reported."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from neuroctl.checks import integer
from neuroctl.errors import LoopError
from neuroctl.realtime.arguments import flag

_SET_TIMERSLACK, _GET_TIMERSLACK = 29, 30  # of prctl
_LOCK_CURRENT_AND_FUTURE: Final = 3  # of mlockall
_SWITCH_S: Final = 1e-4

Note = Callable[[str], None]
Undo = list[Callable[[], Any]]


class _Shared:
    """A setting that several loops may request at once: made for the first of them, undone after the last."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._undo: Undo = []

    def ask(self, do: Callable[[Undo], None], undo: Undo) -> None:
        """Make the setting unless it is made; append to ``undo`` the call that withdraws this request."""
        with self._lock:
            if not self._undo:  # the first request, or one that was refused
                do(self._undo)
            self._users += 1
        undo.append(self._leave)

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            while self._undo and not self._users:
                self._undo.pop()()


class _SharedByThread(threading.local):
    """Settings of one thread, which several loops share as asyncio's tasks do."""

    def __init__(self) -> None:
        self.slack, self.core, self.scheduler = _Shared(), _Shared(), _Shared()


_INTERVAL, _GARBAGE, _MEMORY, _THREAD = _Shared(), _Shared(), _Shared(), _SharedByThread()


@dataclass(frozen=True)
class System:
    """Settings of the system while a loop runs. All are undone when the loop, or the last of several, ends.

    Loops that share a thread, as asyncio's tasks do, share the first one's priority and core.

    Args:
        fifo: priority of the loop's thread under SCHED_FIFO, 1 to 99; None keeps the scheduler.
        cpu: core that the loop's thread is bound to; None leaves it free.
        mlock: keep all memory of the process in RAM, so that no tick waits for the disk.
        no_gc: collect garbage before the loop and not while it runs; cyclic garbage of the callbacks piles up then.

    Raises:
        LoopError: a value is not allowed.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> from neuroctl.realtime import Loop
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.001))
        >>> loop = Loop(ctl, read=lambda u: u.fill(0.5), write=lambda y: None, system=System(mlock=True))
        >>> loop.run(ticks=5).reason  # what the system refused stands in the report's messages
        'finished'

    """

    fifo: int | None = None
    cpu: int | None = None
    mlock: bool = False
    no_gc: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        if self.fifo is not None:
            integer("fifo", self.fifo, 1, 99, error=LoopError)
        if self.cpu is not None:
            integer("cpu", self.cpu, 0, (os.cpu_count() or 1) - 1, error=LoopError)
        flag("mlock", self.mlock)
        flag("no_gc", self.no_gc)

    @contextmanager
    def applied(self, note: Note) -> Iterator[None]:
        """Apply this to the calling thread and the process; ``note`` gets each refusal with its reason."""
        undo: Undo = []
        try:
            _INTERVAL.ask(_switch_often, undo)
            if self.no_gc:
                _GARBAGE.ask(_stop_collecting, undo)
            if self.mlock:
                _MEMORY.ask(partial(_lock_memory, note), undo)
            _THREAD.slack.ask(partial(_wake_promptly, note), undo)
            if self.cpu is not None:
                _THREAD.core.ask(partial(_bind, note, self.cpu), undo)
            if self.fifo is not None:
                _THREAD.scheduler.ask(partial(_prioritise, note, self.fifo), undo)
            yield
        finally:
            while undo:
                undo.pop()()


def _switch_often(undo: Undo) -> None:
    """Let other threads have the interpreter's lock for 0.1 ms at most; the usual 5 ms are many ticks."""
    interval = sys.getswitchinterval()
    undo.append(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(min(_SWITCH_S, interval))


def _lock_memory(note: Note, undo: Undo) -> None:
    if _libc("mlockall", _LOCK_CURRENT_AND_FUTURE, note, "mlock: memory is not locked") == 0:
        undo.append(lambda: _libc("munlockall", None, note, "mlock"))


def _bind(note: Note, cpu: int, undo: Undo) -> None:
    if not hasattr(os, "sched_setaffinity"):
        note(f"cpu: the thread is not bound to core {cpu}: this system has no sched_setaffinity")
        return
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        note(f"cpu: the thread is not bound to core {cpu}: {error.strerror}")
    else:
        undo.append(lambda: os.sched_setaffinity(0, cores))


def _prioritise(note: Note, fifo: int, undo: Undo) -> None:
    if not hasattr(os, "sched_setscheduler"):
        note("fifo: the thread does not run under SCHED_FIFO: this system has no sched_setscheduler")
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        # Threads that a callback starts do not inherit it.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(fifo))
    except OSError as error:
        hint = "allowed with CAP_SYS_NICE or an rtprio limit, see docs/realtime.md"
        note(f"fifo: the thread does not run under SCHED_FIFO: {error.strerror}; {hint}")
    else:
        undo.append(lambda: os.sched_setscheduler(0, *before))


def _stop_collecting(undo: Undo) -> None:
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.collect()
    gc.disable()
    if enabled:
        undo.append(gc.enable)
    if frozen == 0:  # else the program froze objects itself; thawing would undo that too
        gc.freeze()
        undo.append(gc.unfreeze)


def _wake_promptly(note: Note, undo: Undo) -> None:
    """Let the kernel end this thread's sleeps when they end, and not up to 50 us later."""
    slack = _libc("prctl", _GET_TIMERSLACK, note, "timer slack", 0, 0, 0, 0)
    if slack > 1 and _libc("prctl", _SET_TIMERSLACK, note, "timer slack: wake-ups are later", 1, 0, 0, 0) == 0:
        undo.append(lambda: _libc("prctl", _SET_TIMERSLACK, note, "timer slack", slack, 0, 0, 0))


def _libc(name: str, argument: int | None, note: Note, what: str, *more: int) -> int:
    """Call a function of the C library; return its result, below 0 for a refusal, which is noted."""
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError, TypeError):  # Windows needs the name of a library
        note(f"{what}: this system has no {name}")
        return -1
    kind = ctypes.c_ulong if more else ctypes.c_int
    result = int(function(*(kind(value) for value in (argument, *more) if value is not None)))
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        note(f"{what}: {reason}; allowed with CAP_IPC_LOCK or a memlock limit, see docs/realtime.md" if "mlock" in name
             else f"{what}: {reason}")  # fmt: skip
    return result
