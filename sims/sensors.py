"""What lies between a scene and a controller: observations that are noisy and late."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np


class Sensors:
    """Noise and latency.

    Args:
        limits: (low, high) of each observation; noise is a share of half their distance.
        noise: standard deviation of the noise, from 0.
        latency: control steps that an observation is late, from 0; before there is one that old, the first is seen.

    """

    def __init__(self, limits: Sequence[tuple[float, float]], noise: float, latency: int):
        low, high = np.array(limits, np.float64).T
        self._scale = (noise * 0.5 * (high - low)).astype(np.float32)
        self._late: deque[Any] = deque(maxlen=latency + 1)

    def reset(self) -> None:
        """Forget what was seen."""
        self._late.clear()

    def see(self, observation: Any, rng: np.random.Generator) -> Any:
        """Return what is seen when ``observation`` is what is there: a new array."""
        self._late.append(np.array(observation))
        seen = self._late[0]
        return (seen + self._scale * rng.standard_normal(len(seen), np.float32)).astype(seen.dtype)
