"""Scripted: hand-made controllers, as baselines of the tasks."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .task import Task


class Scripted:
    """A hand-made controller with the inputs of a network. Each task's file has one, named ``Baseline``.

    It sets ``spec`` and overrides ``act``, and ``reset`` if it has a memory.
    """

    spec: ClassVar[Task]  # has the sizes that a controller's spec has

    def __init__(self) -> None:
        self.reset()

    def __copy__(self) -> Self:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def reset(self) -> None:
        """Go back to the start of an episode."""

    def act(self, u: NDArray[Any]) -> Any:
        """Return the actions for one observation."""
        raise NotImplementedError

    def step(self, u: NDArray[Any]) -> NDArray[np.float32]:
        """Return the actions, clipped into their limits, as a new array."""
        pairs = zip(self.act(u), self.spec.output_limits, strict=True)
        return np.array([min(max(value, low), high) for value, (low, high) in pairs], np.float32)
