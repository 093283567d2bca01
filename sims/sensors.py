"""Sensors between a scene and a controller: noisy and late observations."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np


class Sensors:
    """Noise and latency.

    Args:
        limits: (low, high) of each observation; noise is a share of half their distance.
        noise: standard deviation of the noise as such a share, a number >= 0.
        latency: delay in control steps, an integer >= 0; at the start of an episode its first observation is returned.

    """

    def __init__(self, limits: Sequence[tuple[float, float]], noise: float, latency: int):
        low, high = np.array(limits, np.float64).T
        self._scale = (noise * 0.5 * (high - low)).astype(np.float32)
        self._late: deque[Any] = deque(maxlen=latency + 1)

    def reset(self) -> None:
        """Forget earlier observations."""
        self._late.clear()

    def see(self, observation: Any, rng: np.random.Generator) -> Any:
        """Return the noisy, late reading for the true ``observation``, as a new array."""
        self._late.append(np.array(observation))
        oldest = self._late[0]
        return (oldest + self._scale * rng.standard_normal(len(oldest), np.float32)).astype(oldest.dtype)
