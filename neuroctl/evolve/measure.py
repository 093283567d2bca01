"""Measures: what an objective returns besides the fitness, to sort behaviours by or as goals of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuroctl.errors import StudyError


@dataclass(frozen=True)
class Measure:
    """One number besides the fitness.

    Args:
        name: with its unit.
        low: where an archive begins; lower values count as this one.
        high: where it ends.

    Raises:
        StudyError: low is not below high, or not finite.

    """

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the range."""
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (self.low, self.high))
        if not isinstance(self.name, str) or not numbers or not -math.inf < self.low < self.high < math.inf:
            raise StudyError(f"measure: {self.name!r} from {self.low!r} to {self.high!r}; allowed: low below high")
