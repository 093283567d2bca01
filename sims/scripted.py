"""Scripted: hand-made controllers that stand in where a network does, as baselines of the tasks."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .task import Task


class Scripted:
    """A controller written by hand, which sees what a network sees. A task's file has its own, named ``Baseline``.

    It sets ``spec`` and overrides ``act``, and ``reset`` if it remembers anything.
    """

    spec: ClassVar[Task]  # has the sizes that a controller's spec has

    def __init__(self) -> None:
        self.reset()

    def __copy__(self) -> Self:
        """Return a copy with buffers and a memory of its own."""
        return copy.deepcopy(self)

    def reset(self) -> None:
        """Go back to the start of an episode."""

    def act(self, u: NDArray[Any]) -> Any:
        """Return the actions for one observation."""
        raise NotImplementedError

    def step(self, u: NDArray[Any]) -> NDArray[np.float32]:
        """Return the actions, within their limits: a new array."""
        pairs = zip(self.act(u), self.spec.output_limits, strict=True)
        return np.array([min(max(value, low), high) for value, (low, high) in pairs], np.float32)
