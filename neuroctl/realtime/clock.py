"""Clocks: the machine's, and the protocol that others implement."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A loop's source of time. All times are integer nanoseconds from an arbitrary zero, and never go back."""

    def now(self) -> int:
        """Return the time."""
        ...

    def cpu(self) -> int:
        """Return the CPU time that the calling thread has used."""
        ...

    def sleep(self, seconds: float) -> None:
        """Sleep for this time, or somewhat longer."""
        ...


class MonotonicClock:
    """``CLOCK_MONOTONIC``, which no change of the wall clock moves, and ``CLOCK_THREAD_CPUTIME_ID``."""

    # Built-in functions themselves: a method around each would cost 0.1 us, some ten times a tick.
    now = staticmethod(time.monotonic_ns)
    cpu = staticmethod(time.thread_time_ns)
    sleep = staticmethod(time.sleep)
