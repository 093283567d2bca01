"""Disturbances: what a controller sees is noisy or late, to find out how much of that it bears."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, real
from neuroctl.errors import TaskError

from . import foreign, registry
from .episodes import EpisodeReturn
from .sensors import Sensors

Array = NDArray[np.float64]


class Disturbed:
    """A controller whose observations are noisy and late.

    Args:
        controller: resets and steps.
        limits: see ``Sensors``, and so for noise and latency.
        noise: see there.
        latency: see there.
        seed: of the noise; every episode has the same.

    """

    def __init__(
        self, controller: Any, limits: Sequence[tuple[float, float]], *, noise: float, latency: int, seed: int = 0
    ):
        self.spec = controller.spec
        self._controller, self._seed = controller, seed
        self._sensors = Sensors(limits, noise, latency)
        self.reset()

    def __copy__(self) -> Self:
        """Return a copy with buffers and a memory of its own."""
        return copy.deepcopy(self)

    def reset(self) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng(self._seed)
        self._sensors.reset()
        self._controller.reset()

    def step(self, u: Any) -> Any:
        """Return what the controller answers to what it sees."""
        return self._controller.step(self._sensors.see(u, self._rng))

    def rollout(self, inputs: Any) -> Any:
        """Step through a sequence ``[T, inputs]``; return the outputs ``[T, outputs]``."""
        return np.stack([np.array(self.step(u)) for u in np.asarray(inputs, self.spec.dtype)])

    def __getattr__(self, name: str) -> Any:
        """Let a fitness see the rest of the controller."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._controller, name)


def robustness(
    task: str, controller: Any, noises: Sequence[float], latencies: Sequence[int], seeds: Sequence[int]
) -> Array:
    """Return the returns ``[len(noises), len(latencies), len(seeds)]`` under noise and latency.

    Args:
        task: name of the task, or anything else that ``problem`` takes.
        controller: float, fixed-point or hand-made.
        noises: standard deviations, as shares of half an observation's declared range.
        latencies: in control steps.
        seeds: of the episodes, the same in every cell.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    if not len(noises) or not all(0 <= real(noise) < np.inf for noise in noises):
        raise TaskError(f"noise: {list(noises)}; allowed: numbers from 0")
    if not len(latencies):
        raise TaskError("latency: none; allowed: integers from 0 to 1000")
    latencies = [integer("latency", steps, 0, 1000, error=TaskError) for steps in latencies]
    episode, limits = _undisturbed(task, controller)
    found = np.empty((len(noises), len(latencies), len(seeds)))
    try:
        for i, noise in enumerate(noises):
            for k, latency in enumerate(latencies):
                disturbed = Disturbed(controller, limits, noise=noise, latency=latency)
                found[i, k] = [foreign.value_of(episode, disturbed, seed) for seed in seeds]
    finally:
        getattr(episode, "close", lambda: None)()
    return found


def _undisturbed(task: str, controller: Any) -> tuple[Any, Sequence[tuple[float, float]]]:
    """Return what evaluates a controller in a task, and the limits that noise is a share of.

    Raises:
        TaskError: neither the task nor the controller has limits.

    """
    if registry.known(task):
        return EpisodeReturn(task), registry.get(task).input_limits
    returns, about = foreign.returns_of(task, controller)
    limits = about.input_limits if np.isfinite(about.input_limits).all() else controller.spec.input_limits
    if limits is None:
        raise TaskError("input_limits: None; allowed for noise: a controller whose spec declares them")
    return returns, limits
