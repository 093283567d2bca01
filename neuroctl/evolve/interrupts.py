"""Ctrl-C and SIGTERM: they end a study, but never between two files that belong together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self


class Interrupts:
    """While open, Ctrl-C and SIGTERM raise KeyboardInterrupt, while held back only at the release.

    A second signal that is held back raises at once. Signals that were ignored, or handled by the caller's own
    handlers, are left to those. Outside the main thread, where Python handles no signals, nothing is changed.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._shields = 0
        self._pending = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
            for number, default in defaults.items():
                if signal.getsignal(number) is default:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._shields and not self._pending:
            self._pending = True
            return
        raise KeyboardInterrupt

    def hold(self) -> None:
        """Hold signals back until as many calls of ``release``."""
        self._shields += 1

    def release(self) -> None:
        """Undo one ``hold``; after the last, a signal that was held back raises KeyboardInterrupt."""
        self._shields -= 1
        if self._pending and not self._shields:
            self._pending = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Hold a signal back until the block is done; an error in the block goes first."""
        self.hold()
        try:
            yield
        except BaseException:
            self._shields -= 1
            raise
        self.release()
