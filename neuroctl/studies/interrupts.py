"""Ctrl-C and SIGTERM: they end a study, but never between two files that belong together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

_LOOK_S: Final = 0.1


class Interrupts:
    """While open, Ctrl-C and SIGTERM raise KeyboardInterrupt; while held, only at the release.

    A second signal while held raises at once. Signals that are ignored, or handled by the caller's own handlers, stay
    so. Outside the main thread, where Python handles no signals, nothing changes.
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
        """Hold signals back until the matching call of ``release``."""
        self._shields += 1

    def release(self) -> None:
        """Undo one ``hold``; after the last, a held signal raises KeyboardInterrupt."""
        self._shields -= 1
        if self._pending and not self._shields:
            self._pending = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Hold signals back until the end of the block; an error in the block takes precedence."""
        self.hold()
        try:
            yield
        except BaseException:
            self._shields -= 1
            raise
        self.release()


class Aside:
    """Calls functions in a thread of its own while this one waits, so that signals are handled during long calls.

    A signal handler that raises abandons the call, which runs to its end; its result is lost. Optimizers are
    third-party code that may catch every exception: no KeyboardInterrupt reaches them here.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the function's result, or raise what it raises."""
        if self._thread is None:  # a daemon: the end of the process does not wait for it
            self._thread = threading.Thread(target=_serve, args=(self._calls,), daemon=True)
            self._thread.start()
        result: Future[Any] = Future()
        self._calls.put((result, partial(copy_context().run, function, *arguments)))
        while True:  # a signal caught by another thread does not wake this one
            try:
                value: T = result.result(_LOOK_S)
                return value
            except TimeoutError:
                if result.done():
                    raise

    def close(self) -> None:
        """Let the thread end."""
        self._calls.put(None)
        self._thread = None


def _serve(calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (call := calls.get()) is not None:
        result, function = call
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)
        del result, function, call
