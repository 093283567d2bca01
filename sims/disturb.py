"""Disturbances: what a controller sees is noisy or late, to find out how much of that it bears."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import TaskError
from sims import registry
from sims.episodes import EpisodeReturn

Array = NDArray[np.float64]


class Disturbed:
    """A controller whose observations are noisy and late.

    Args:
        controller: resets and steps.
        limits: (low, high) of each observation; noise is a share of half their distance.
        noise: standard deviation of the noise, from 0.
        latency: control steps that an observation is late, from 0; before there is one that old, the first is seen.
        seed: of the noise; every episode has the same.

    """

    def __init__(
        self, controller: Any, limits: Sequence[tuple[float, float]], *, noise: float, latency: int, seed: int = 0
    ):
        self.spec = controller.spec
        self._controller, self._seed = controller, seed
        low, high = np.array(limits, np.float64).T
        self._scale = (noise * 0.5 * (high - low)).astype(np.float32)
        self._late: deque[Any] = deque(maxlen=latency + 1)
        self.reset()

    def reset(self) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng(self._seed)
        self._late.clear()
        self._controller.reset()

    def step(self, u: Any) -> Any:
        """Return what the controller answers to what it sees."""
        self._late.append(np.array(u))
        seen = self._late[0]
        noise = self._scale * self._rng.standard_normal(len(seen), np.float32)
        return self._controller.step((seen + noise).astype(seen.dtype))


def robustness(
    task: str, controller: Any, noises: Sequence[float], latencies: Sequence[int], seeds: Sequence[int]
) -> Array:
    """Return the returns ``[len(noises), len(latencies), len(seeds)]`` under noise and latency.

    Args:
        task: name of the task.
        controller: float, fixed-point or hand-made.
        noises: standard deviations, as shares of half an observation's declared range.
        latencies: in control steps.
        seeds: of the episodes, the same in every cell.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    if not len(noises) or not all(np.isfinite(noise) and noise >= 0 for noise in noises):
        raise TaskError(f"noise: {list(noises)}; allowed: numbers from 0")
    if not len(latencies) or not all(isinstance(steps, int) and 0 <= steps <= 1000 for steps in latencies):
        raise TaskError(f"latency: {list(latencies)}; allowed: whole control steps from 0 to 1000")
    limits = registry.get(task).input_limits
    episode = EpisodeReturn(task)
    found = np.empty((len(noises), len(latencies), len(seeds)))
    try:
        for i, noise in enumerate(noises):
            for k, latency in enumerate(latencies):
                disturbed = Disturbed(controller, limits, noise=noise, latency=latency)
                found[i, k] = [episode(disturbed, seed) for seed in seeds]
    finally:
        episode.close()
    return found
