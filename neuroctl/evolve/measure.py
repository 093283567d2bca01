"""Measures: what an objective returns besides the fitness, the axes of an archive or further objectives of NSGA-II."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuroctl.checks import real
from neuroctl.errors import StudyError


@dataclass(frozen=True)
class Measure:
    """One number besides the fitness.

    Args:
        name: name, with its unit.
        low: lower end of an archive's axis; lower values count as this one.
        high: upper end of the axis.

    Raises:
        StudyError: low is not below high, or not finite.

    Example:
        >>> from neuroctl import Spec
        >>> from neuroctl.evolve import StudyConfig
        >>> spec = Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.02)
        >>> height = Measure("height [m]", 0.0, 0.5)
        >>> StudyConfig(spec=spec, task="walk", optimizer="map-elites", measures=(height,)).measures[0].high
        0.5

    """

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the range."""
        low, high = real(self.low), real(self.high)
        if not isinstance(self.name, str) or not -math.inf < low < high < math.inf:
            raise StudyError(f"measure: {self.name!r} from {self.low!r} to {self.high!r}; allowed: low below high")
        for name, number in (("low", low), ("high", high)):
            if not isinstance(getattr(self, name), (int, float)):  # NumPy's, which JSON does not have
                object.__setattr__(self, name, number)
