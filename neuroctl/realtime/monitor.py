"""The watchdog: a thread that brings the plant into its safe state when no tick ends, and stops an orphaned loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from neuroctl.realtime.ticks import Ticks

_LOOK_S: Final = 0.1


class Monitor(threading.Thread):
    """Watches a loop's ticks from outside. It notices a callback that hangs, unless that holds the interpreter's lock.

    Args:
        ticks: the run to watch.
        timeout_s: longest time without the end of a tick; None: watch only the host.
        host: the thread that the loop belongs to; when it has ended, so does the loop.
        on_trip: called once the plant is in its safe state.

    """

    def __init__(
        self, ticks: Ticks, timeout_s: float | None, host: threading.Thread, on_trip: Callable[[], None]
    ) -> None:
        super().__init__(name="neuroctl watchdog", daemon=True)
        self._ticks, self._host, self._on_trip = ticks, host, on_trip
        self._timeout_ns = None if timeout_s is None else int(1e9 * timeout_s)
        self._look_s = _LOOK_S if timeout_s is None else min(_LOOK_S, timeout_s / 8)
        self._over = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Watch until ``stop``."""
        last = time.monotonic_ns()
        # Time in which this thread did not run does not count: a stopped process does not tick.
        asleep_ns = beat = 0
        while not self._over.wait(self._look_s):
            now = time.monotonic_ns()
            if self._ticks.beat != beat:
                beat, asleep_ns = self._ticks.beat, 0
            asleep_ns += max(0, now - last - int(2e9 * self._look_s))
            last = now
            if not self._host.is_alive():
                self._ticks.request("host ended", "the thread that the loop belongs to has ended")
            if self._timeout_ns is not None and now - beat - asleep_ns > self._timeout_ns:
                self._trip(1e-9 * (now - beat))

    def _trip(self, silent_s: float) -> None:
        if self._ticks.end("watchdog", f"tick {self._ticks.ticks}: no tick ended for {silent_s:.3f} s"):
            self._ticks.make_safe()
            self._on_trip()
        else:  # the loop's own way out hangs: a signal may break into it now
            self._ticks.going_safe = False
