"""Effort: what actions cost in tasks that reward quiet control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WEIGHT: Final = 0.1
"""Cost of each share, in units of the reward that a task's goal earns."""


class Effort:
    """Size and change of a task's actions, as shares of the largest possible ones.

    Args:
        limits: largest magnitude of each action, float > 0.

    """

    def __init__(self, limits: Sequence[float]):
        self._scales = [1.0 / (len(limits) * limit) for limit in limits]
        self.reset()

    def reset(self) -> None:
        """Begin an episode: the action before the first one is 0."""
        self._last = [0.0] * len(self._scales)

    def of(self, values: list[float]) -> float:
        """Return the sum of two shares, each from 0 to 1, and keep the action for the next call.

        The first is the mean of |a| / limit over the actions a, the second that of |a - a'| / (2 limit), with the
        action a' of the step before.
        """
        total = 0.0
        for scale, value, last in zip(self._scales, values, self._last, strict=True):
            total += scale * (abs(value) + 0.5 * abs(value - last))
        self._last = values
        return total
