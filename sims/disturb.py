"""Disturbances: noisy or late observations, to measure how much of them a controller tolerates."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, real
from neuroctl.errors import TaskError

from . import problems, registry
from .episodes import EpisodeReturn
from .sensors import Sensors

Array = NDArray[np.float64]


class Disturbed:
    """A controller whose observations are noisy and late.

    Args:
        controller: an object with ``spec``, ``reset`` and ``step``.
        limits: see ``Sensors``.
        noise: see ``Sensors``.
        latency: see ``Sensors``.
        seed: seed of the noise, the same in every episode.

    """

    def __init__(
        self, controller: Any, limits: Sequence[tuple[float, float]], *, noise: float, latency: int, seed: int = 0
    ):
        self.spec = controller.spec
        self._controller, self._seed = controller, seed
        self._sensors = Sensors(limits, noise, latency)
        self.reset()

    def __copy__(self) -> Self:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def reset(self) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng(self._seed)
        self._sensors.reset()
        self._controller.reset()

    def step(self, u: Any) -> Any:
        """Return the controller's outputs for the disturbed observation."""
        return self._controller.step(self._sensors.see(u, self._rng))

    def rollout(self, inputs: Any) -> Any:
        """Step through a sequence ``[T, inputs]``; return the outputs ``[T, outputs]``."""
        return np.stack([np.array(self.step(u)) for u in np.asarray(inputs, self.spec.dtype)])

    def __getattr__(self, name: str) -> Any:
        """Look up further attributes of the controller, for a fitness."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._controller, name)


def robustness(
    task: str, controller: Any, noises: Sequence[float], latencies: Sequence[int], seeds: Sequence[int]
) -> Array:
    """Return the episodes' returns ``[len(noises), len(latencies), len(seeds)]`` under noise and latency.

    Args:
        task: name of the task, or anything else that ``problem`` takes.
        controller: float, fixed-point or hand-made.
        noises: standard deviations, numbers >= 0, as shares of half an observation's declared range.
        latencies: delays in control steps, integers from 0 to 1000.
        seeds: seeds of the episodes, the same for each noise and latency.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    if not len(noises) or not all(0 <= real(noise) < np.inf for noise in noises):
        raise TaskError(f"noise: {list(noises)}; allowed: numbers from 0")
    if not len(latencies):
        raise TaskError("latency: none; allowed: integers from 0 to 1000")
    latencies = [integer("latency", steps, 0, 1000, error=TaskError) for steps in latencies]
    episode, limits = _undisturbed(task, controller)
    returns = np.empty((len(noises), len(latencies), len(seeds)))
    try:
        for i, noise in enumerate(noises):
            for k, latency in enumerate(latencies):
                disturbed = Disturbed(controller, limits, noise=noise, latency=latency)
                returns[i, k] = [problems.value_of(episode, disturbed, seed) for seed in seeds]
    finally:
        getattr(episode, "close", lambda: None)()
    return returns


def _undisturbed(task: str, controller: Any) -> tuple[Any, Sequence[tuple[float, float]]]:
    """Return the function that evaluates a controller in a task, and the limits that scale the noise.

    Raises:
        TaskError: neither the task nor the controller has limits.

    """
    if registry.known(task):
        return EpisodeReturn(task), registry.get(task).input_limits
    returns, about = problems.returns_of(task, controller)
    limits = about.input_limits if np.isfinite(about.input_limits).all() else controller.spec.input_limits
    if limits is None:
        raise TaskError("input_limits: None; allowed for noise: a controller whose spec declares them")
    return returns, limits
