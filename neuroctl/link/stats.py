"""What a link counts, and how long its round trips take."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Final

_PER_OCTAVE: Final = 8
_BUCKETS: Final = 24 * _PER_OCTAVE  # 1 us to 16 s


class RoundTrips:
    """A histogram of times in fixed memory: eight buckets an octave, so within 9 %, from 1 microsecond to 16 s."""

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.worst_us = 0.0

    def add(self, time_us: float) -> None:
        """Count one round trip, in microseconds."""
        index = int(_PER_OCTAVE * math.log2(time_us)) if time_us > 1.0 else 0
        self.counts[min(index, _BUCKETS - 1)] += 1
        self.worst_us = max(self.worst_us, time_us)

    def percentile(self, share: float) -> float:
        """Return the time in microseconds that ``share`` (0 to 1) of the round trips stay below; NaN if there are none.

        It is the upper edge of a bucket, never above the worst.
        """
        left = share * sum(self.counts)
        for index, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return min(self.worst_us, math.exp2((index + 1) / _PER_OCTAVE))
        return math.nan


@dataclass
class Stats:
    """Counts since the link was opened.

    Args:
        sent: requests, each once, however often it was repeated.
        answered: requests that got their answer, a refusal too.
        retried: repetitions.
        lost: requests that got no answer.
        bad: frames that were dropped: damaged, foreign, or of a wrong length.
        stale: answers that nobody waited for (any more).
        reports: REPORTs that came; ``reports_lost`` are those whose seq is missing.
        bytes_in: bytes read.

    """

    sent: int = 0
    answered: int = 0
    retried: int = 0
    lost: int = 0
    bad: int = 0
    stale: int = 0
    reports: int = 0
    reports_lost: int = 0
    bytes_in: int = 0
    round_trips: RoundTrips = field(default_factory=RoundTrips)

    def to_dict(self) -> dict[str, Any]:
        """Return counts, and the round trips' median, 99th percentile and worst in microseconds, for JSON."""
        figures = asdict(self)
        del figures["round_trips"]
        trips = self.round_trips
        times = {"p50_us": trips.percentile(0.5), "p99_us": trips.percentile(0.99), "worst_us": trips.worst_us}
        return figures | {"round_trip": times if self.answered else None}
