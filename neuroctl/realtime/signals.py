"""Signals that would end the process end the running loops in order, and name themselves in the reports."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Final

from neuroctl.errors import LoopError
from neuroctl.realtime.ticks import Ticks

_ALWAYS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""Signals that end the loops even if the program handles them; others do so only if nobody handles them."""
_SPARED: Final = frozenset(
    number
    for name in (
        "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP",  # the program itself is broken
        "SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH", "SIGINFO",  # end nothing
    )
    if (number := getattr(signal, name, None)) is not None
)  # fmt: skip
_REAL_TIME: Final = "SIGRTMIN+"
_ENDING: Final = tuple(sorted(signal.valid_signals() - _SPARED))


class Signals:
    """While installed, the first signal asks the loop to end; SIGINT or SIGTERM after one raises.

    So does any signal after the watchdog tripped, as a callback hangs then.

    A signal reaches all loops that are installed; the earlier handlers come back after the last of them. Signals that
    the process ignores stay ignored. Python handles signals in its main thread only.
    """

    _installed: Final[list[Signals]] = []
    _before: Final[dict[int, Any]] = {}
    _ended_by: Final[list[str]] = []

    def __init__(self, ticks: Ticks) -> None:
        self._ticks = ticks
        self._asked = False

    def install(self) -> None:
        """Have signals end the loop, or note why not."""
        if threading.current_thread() is not threading.main_thread():
            self._ticks.messages.append("signals: not handled, as the loop was not started by the main thread")
            return
        self._installed.append(self)
        caught = _caught_by_others()
        for number in _ENDING:
            handler = signal.getsignal(number)
            if number in _ALWAYS:
                wanted = handler not in (signal.SIG_IGN, _handle, None)  # None: one that Python could not restore
            else:
                wanted = handler == signal.SIG_DFL and not caught >> (number - 1) & 1
            if wanted:
                with contextlib.suppress(OSError):  # some, such as SIGKILL, cannot be handled
                    self._before[number] = signal.signal(number, _handle)

    def restore(self) -> None:
        """Stop handling signals for this loop; does nothing outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._installed[:] = [one for one in self._installed if one is not self and not one._ticks.over]
            if not self._installed:
                _give_back()

    def _take(self, number: int, name: str) -> bool:
        """Ask the loop to end; return whether a callback that hangs in the main thread has to be left by force."""
        again, self._asked = self._asked and number in _ALWAYS, True
        self._ticks.request(name)
        # A plant on its way to its safe state is not left.
        return (again or self._ticks.reason == "watchdog") and not self._ticks.going_safe


def refuse_after_signal() -> None:
    """Refuse to run a loop after a signal ended one: it was meant for the program.

    Raises:
        LoopError: a signal did, and ``clear_signal`` was not called since.

    """
    if Signals._ended_by:
        why = f"{Signals._ended_by[0]} has ended the loops of this program"
        raise LoopError(f"run: {why}; allowed: after neuroctl.realtime.clear_signal()")


def clear_signal() -> str | None:
    """Let loops run again after a signal ended those that ran; return its name, or None if there was none.

    For programs that go on after Ctrl-C, such as one with a menu. Loops refuse to run otherwise: a script that runs
    episode after episode would drive the motors again.
    """
    name = Signals._ended_by[0] if Signals._ended_by else None
    Signals._ended_by.clear()
    return name


def name_of(number: int) -> str:
    """Return a signal's name, such as ``SIGTERM``."""
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time signals, which some systems lack, only the first and the last have one
        return f"{_REAL_TIME}{number - signal.SIGRTMIN}"


def number_of(name: str) -> int | None:
    """Return a signal's number by its name from ``name_of``; None for another name."""
    if name.startswith(_REAL_TIME):
        return signal.SIGRTMIN + int(name.removeprefix(_REAL_TIME))
    return signal.Signals[name].value if name in signal.Signals.__members__ else None


def _caught_by_others() -> int:
    """Return a mask of the signals that this process handles, bit 0 for number 1; 0 if the system does not tell.

    Python takes those handled by C code for unhandled, such as ``faulthandler.register``, which writes tracebacks.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1], 16) for line in file if line.startswith("SigCgt:")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def _give_back() -> None:
    # Nothing is forgotten before all is done: a signal that comes meanwhile is handled in the middle, and does it all.
    for number, before in list(Signals._before.items()):
        if signal.getsignal(number) is _handle:  # else somebody has taken it over since
            signal.signal(number, before)
    Signals._before.clear()


def _handle(number: int, _frame: FrameType | None) -> None:
    alive = [one for one in Signals._installed if not one._ticks.over]
    if not alive:  # the loops have ended, but nobody joined them yet
        Signals._installed.clear()
        _give_back()
        signal.raise_signal(number)
        return
    name = name_of(number)
    Signals._ended_by.append(name)
    if any([one._take(number, name) for one in alive]):  # a list: each of them has to know
        raise KeyboardInterrupt


class _Held(threading.local):
    """The signals' mask of a thread that is about to fork."""

    mask: Any = None


_held: Final = _Held()


def _hold() -> None:
    """Let signals wait while the process forks: Python drops what reaches a child before it is ready."""
    if Signals._installed and hasattr(signal, "pthread_sigmask"):
        _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, Signals._before.keys())


def _release() -> None:
    if _held.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)
        _held.mask = None


def _forget() -> None:
    """No loop runs in a process that was forked from one where it does."""
    Signals._installed.clear()
    _give_back()
    _release()


if hasattr(os, "register_at_fork"):  # else the system has no fork
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
