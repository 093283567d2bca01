"""Ticks between asyncio's other tasks: callbacks may be coroutine functions."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

from neuroctl.realtime.ticks import Ticks, named, refuse_undone

_PATIENCE_S: Final = 0.5
"""How long the watchdog's thread waits for a coroutine: an event loop that hangs awaits none."""


class AwaitingTicks(Ticks):
    """One run of a loop as a coroutine. ``prepare``, ``tick`` and ``go_safe`` have forms that await the callbacks."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._events, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._cancelled: asyncio.CancelledError | None = None
        self._awaited_safe = False

    async def prepare_awaiting(self) -> None:
        """As ``prepare``."""
        self.reset()
        if self._arm is not None and self.may_arm():
            try:
                await _settled(self._arm())
            except Exception as error:
                self.end("arm", f"arm raised {named(error)}", error)

    async def tick_awaiting(self) -> None:
        """As ``tick``."""
        self._y = self._unknown
        if await self._sense_awaiting() and self._think() and await self._act_awaiting():
            self._finish()

    async def _sense_awaiting(self) -> bool:
        self._before_read()
        try:
            fresh = self._read(self._u)
            if hasattr(fresh, "__await__"):
                fresh = await fresh
        except BaseException as error:
            return self._failed("read", f"read raised {named(error)}", error)
        return self._sensed(fresh)

    async def _act_awaiting(self) -> bool:
        if not self._may_act():
            return False
        try:
            await _settled(self._write(self._out))
        except BaseException as error:
            return self._failed("write", f"write raised {named(error)}", error)
        return True

    async def go_safe_awaiting(self) -> None:
        """As ``go_safe``. A cancellation of the task meanwhile is raised once the plant is safe.

        Raises:
            CancelledError: the task was cancelled meanwhile.

        """
        self.beat, self.going_safe, self._awaited_safe = self._now(), True, True
        for call, name in self._ways_to_safe():
            try:
                result = await self._unbroken(call())
            except BaseException as error:
                self._note(f"{name} raised {named(error)}")
            else:
                if self._is_safe_by(call, result):
                    break
        self.beat, self.going_safe = self._now(), True
        self._log_failure()
        if self._cancelled is not None:
            raise self._cancelled

    async def _unbroken(self, result: Any) -> Any:
        """Await to the end, and return the result. A cancellation breaks in only once the watchdog allows it."""
        if not hasattr(result, "__await__"):
            refuse_undone(result)
            return result
        inner = asyncio.ensure_future(result)
        while not inner.done():
            try:
                await asyncio.wait([inner])
            except asyncio.CancelledError as error:
                self._cancelled = error
                if not self.going_safe:
                    inner.cancel()
        return inner.result()

    def go_safe(self) -> None:
        """Go safe without awaiting, if ``go_safe_awaiting`` did not run."""
        if not self._awaited_safe:
            super().go_safe()

    def _conclude(self, result: Any) -> None:
        """In the watchdog's thread, have the event loop await the result."""
        if not hasattr(result, "__await__") or threading.get_ident() == self._thread:
            return refuse_undone(result)
        future = asyncio.run_coroutine_threadsafe(_settled(result), self._events)
        try:
            future.result(_PATIENCE_S)
        except TimeoutError:
            future.cancel()
            raise TimeoutError(f"the event loop did not get to it in {_PATIENCE_S:g} s") from None


async def _settled(result: Any) -> None:
    """Await a result if it is awaitable."""
    if hasattr(result, "__await__"):
        await result
    else:
        refuse_undone(result)
