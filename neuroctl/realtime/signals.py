"""SIGINT and SIGTERM end the running loops in order: the plants go safe, and the reports name the signal."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Final

from neuroctl.realtime.ticks import Ticks

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While installed, the first signal asks the loop to end; another, or one after the watchdog tripped, raises.

    A signal reaches all loops that are installed; who handled it before does so again after the last of them. Signals
    that the process ignores stay ignored. Python handles signals in its main thread only.
    """

    _installed: Final[list[Signals]] = []
    _before: Final[dict[signal.Signals, Any]] = {}

    def __init__(self, ticks: Ticks) -> None:
        self._ticks = ticks
        self._seen = False

    def install(self) -> None:
        """Have the two signals end the loop, or note why not."""
        if threading.current_thread() is not threading.main_thread():
            self._ticks.messages.append("signals: not handled, as the loop was not started by the main thread")
            return
        self._installed.append(self)
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, _handle):
                self._before[number] = signal.signal(number, _handle)

    def restore(self) -> None:
        """Let the loop go; from another thread than the main one this does nothing."""
        if threading.current_thread() is threading.main_thread():
            self._installed[:] = [one for one in self._installed if one is not self and not one._ticks.over]
            if not self._installed:
                _give_back()

    def _take(self, number: int) -> bool:
        """Ask the loop to end; return whether a callback that hangs in the main thread has to be left by force."""
        again, self._seen = self._seen, True
        self._ticks.request(signal.Signals(number).name)
        # A plant on its way to its safe state is not left.
        return (again or self._ticks.reason == "watchdog") and not self._ticks.going_safe


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
    elif any([one._take(number) for one in alive]):  # a list: each of them has to know
        raise KeyboardInterrupt


class _Held(threading.local):
    """The signals' mask of a thread that is about to fork."""

    mask: Any = None


_held: Final = _Held()


def _hold() -> None:
    """Let SIGTERM wait while the process forks: Python drops what reaches a child before it is ready."""
    if Signals._installed:
        _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release() -> None:
    if _held.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)
        _held.mask = None


def _forget() -> None:
    """No loop runs in a process that was forked from one where it does."""
    Signals._installed.clear()
    _give_back()
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
