"""A link's counts, and the durations of its round trips."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from neuroctl.histogram import Histogram


@dataclass
class Stats:
    """Counts since the link was opened.

    Args:
        sent: requests, without their repetitions.
        answered: requests that got an answer, including refusals.
        retried: repetitions.
        lost: requests that got no answer.
        bad: dropped frames: damaged, foreign, or of a wrong length.
        stale: answers that nobody was waiting for.
        reports: REPORTs received.
        reports_lost: REPORTs whose seq is missing, or that were dropped unread.
        bytes_in: bytes read.
        round_trips: durations from request to answer.

    Example:
        >>> from neuroctl.link import Link
        >>> with Link(port, q) as link:  # a board that runs q
        ...     link.ping().mode.name, link.stats.lost, link.stats.answered == link.stats.sent
        ('IDLE', 0, True)

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
        """Return the counts, and the round trips' median, 99th percentile and maximum in microseconds, for JSON."""
        counts = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "round_trips"}
        trips = self.round_trips.to_dict()
        times = {"p50_us": trips["p50_us"], "p99_us": trips["p99_us"], "worst_us": trips["max_us"]}
        return counts | {"round_trip": times if self.answered else None}
