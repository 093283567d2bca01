"""Ctrl-C and SIGTERM end a study, but never between the writes of two related files."""

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
    """A ``with`` block in which Ctrl-C and SIGTERM raise KeyboardInterrupt.

    Between ``hold`` and ``release`` the first signal is delayed until the release; a second signal raises at once.
    Ignored signals and the caller's own handlers are left alone. Outside the main thread nothing changes, as Python
    handles signals only there.
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
        """Delay signals until the matching call of ``release``; calls may be nested."""
        self._shields += 1

    def release(self) -> None:
        """Undo one ``hold``. The outermost release raises KeyboardInterrupt if a signal is pending."""
        self._shields -= 1
        if self._pending and not self._shields:
            self._pending = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Delay signals until the end of a ``with`` block. An error in the block takes precedence."""
        self.hold()
        try:
            yield
        except BaseException:
            self._shields -= 1
            raise
        self.release()


class Aside:
    """Calls functions in a separate thread while the caller waits and can handle signals.

    If a signal handler raises, the wait ends with its exception; the function still runs to its end, and its result is
    lost. KeyboardInterrupt never reaches the function. This matters for third-party optimizers, which may catch every
    exception.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function with the arguments in the thread, and return its result or raise its exception."""
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
        """Tell the thread to end after its current call, without waiting for it. A later call starts a new thread."""
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
