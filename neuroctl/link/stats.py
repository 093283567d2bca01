"""What a link counts, and how long its round trips take."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from neuroctl.histogram import Histogram


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
        round_trips: how long answers took.

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
    round_trips: Histogram = field(default_factory=Histogram)

    def to_dict(self) -> dict[str, Any]:
        """Return counts, and the round trips' median, 99th percentile and worst in microseconds, for JSON."""
        counts = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "round_trips"}
        trips = self.round_trips.to_dict()
        times = {"p50_us": trips["p50_us"], "p99_us": trips["p99_us"], "worst_us": trips["max_us"]}
        return counts | {"round_trip": times if self.answered else None}
