"""SIGINT and SIGTERM end a loop in order: the plant goes safe, and the report names the signal."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final

from neuroctl.realtime.ticks import Ticks

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While installed, the first signal asks the loop to end; another, or one after the watchdog tripped, raises.

    Signals that the process ignores stay ignored. Python handles signals in its main thread only.
    """

    def __init__(self, ticks: Ticks) -> None:
        self._ticks = ticks
        self._before: dict[signal.Signals, Any] = {}
        self._seen = False

    def install(self) -> None:
        """Take the two signals over, or note why not."""
        if threading.current_thread() is not threading.main_thread():
            self._ticks.messages.append("signals: not handled, as the loop was not started by the main thread")
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back to who handled them before; from another thread than the main one this does nothing."""
        if threading.current_thread() is threading.main_thread():
            while self._before:
                signal.signal(*self._before.popitem())

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._ticks.over:  # the loop has ended, but nobody joined it yet
            self.restore()
            signal.raise_signal(number)
            return
        again, self._seen = self._seen, True
        self._ticks.request(signal.Signals(number).name)
        # A callback that hangs in the main thread is left by force; a plant on its way to its safe state is not.
        if (again or self._ticks.reason == "watchdog") and not self._ticks.going_safe:
            raise KeyboardInterrupt
