"""Limits of a controller's inputs: measuring undeclared ones over recorded inputs, and counting numbers beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import FINITE, array, number
from neuroctl.errors import LayoutError

Limits = tuple[tuple[float, float], ...]


def limits_from(
    recorded: ArrayLike,
    declared: Sequence[Sequence[float]] | None = None,
    *,
    tail: float = 0.001,
    margin: float = 0.5,
) -> Limits:
    """Return limits for ``Spec(input_limits=...)``, measured over recorded inputs.

    Each input's range is that of the recording without a share ``tail`` of the numbers at either end, which a rare
    spike would set, and is widened at both ends by ``margin`` of itself, as other controllers lead elsewhere. The
    defaults double the range: that costs one bit of the 16 that an input has in fixed point. An input that did not
    move gets its value plus and minus the value's magnitude, at least 1. Limits are rounded to
    1 % of the power of ten below their distance.

    Args:
        recorded: inputs ``[T, inputs]`` in physical units, finite.
        declared: (low, high) of each input, ``[inputs, 2]``; a finite side is kept, an infinite one measured.
        tail: share of the numbers left out at either end, 0 to 0.4.
        margin: share of the range added at either end, at least 0.

    Raises:
        LayoutError: an argument has the wrong shape or value, or an input's whole range lies beyond a declared side.

    """
    number("tail", tail, 0.0, 0.4, "a number from 0 to 0.4", error=LayoutError)
    number("margin", margin, 0.0, FINITE, "a number from 0", error=LayoutError)
    numbers = _matrix("recorded", recorded)
    width = numbers.shape[1]
    known = np.tile([-np.inf, np.inf], (width, 1)) if declared is None else _pairs(declared, width)
    low, high = np.quantile(numbers, [tail, 1.0 - tail], axis=0)
    still = low == high
    spread = np.where(still, np.maximum(np.abs(low), 1.0), margin * (high - low))
    measured = zip((low - spread).tolist(), (high + spread).tolist(), strict=True)
    limits = []
    for index, ((below, above), (low_limit, high_limit)) in enumerate(zip(measured, known.tolist(), strict=True)):
        digits = 2 - math.floor(math.log10(above - below)) if above > below else 0
        pair = (
            low_limit if math.isfinite(low_limit) else round(below, digits),
            high_limit if math.isfinite(high_limit) else round(above, digits),
        )
        if not pair[0] < pair[1]:
            allowed = "limits that recorded inputs lie within"
            raise LayoutError(f"declared[{index}]: ({low_limit}, {high_limit}); allowed: {allowed}")
        limits.append(pair)
    return tuple(limits)


def _matrix(name: str, values: ArrayLike) -> NDArray[np.float64]:
    numbers = array(name, values, "numbers (T, inputs)")
    if numbers.ndim != 2 or numbers.size == 0:
        raise LayoutError(f"{name}: shape {numbers.shape}; allowed: (T, inputs), T at least 1")
    if not (finite := np.isfinite(numbers)).all():
        row, column = np.argwhere(~finite)[0]
        raise LayoutError(
            f"{name}[{row}, {column}]: {numbers[row, column]}, of input {column}; allowed: finite numbers"
        )
    return numbers.astype(np.float64, copy=False)


def _pairs(declared: Sequence[Sequence[float]], width: int) -> NDArray[np.float64]:
    pairs = array("declared", declared, "(low, high) of each input").astype(np.float64, copy=False)
    if pairs.shape != (width, 2) or np.isnan(pairs).any():
        raise LayoutError(f"declared: shape {pairs.shape}; allowed: ({width}, 2), no NaN")
    return pairs


def beyond_limits(limits: Sequence[Sequence[float]] | None, recorded: ArrayLike | None) -> BeyondLimits | None:
    """Count the recorded inputs ``[T, inputs]`` beyond their limits; None without limits or a recording."""
    return None if limits is None or recorded is None else BeyondLimits(limits).count(recorded)


class BeyondLimits:
    """Counts input numbers beyond their declared limits; fixed point clips those, float does not.

    Args:
        limits: (low, high) of each input, ``[inputs, 2]``.

    """

    def __init__(self, limits: Sequence[Sequence[float]]):
        lows, highs = np.array(limits, np.float64).T
        with np.errstate(over="ignore"):  # A float32 reading of exactly the limit is not beyond it.
            self._lows = np.minimum(lows, lows.astype(np.float32))
            self._highs = np.maximum(highs, highs.astype(np.float32))
        self.by_input: NDArray[np.int64] = np.zeros(len(self._lows), np.int64)
        """Count of numbers beyond for each input, int64 ``[inputs]``."""
        self.rows = 0
        """Number of steps counted."""

    @property
    def numbers(self) -> int:
        """Count of numbers beyond for all inputs."""
        return int(self.by_input.sum())

    def count(self, inputs: ArrayLike) -> BeyondLimits:
        """Count inputs ``[T, inputs]``, or one step's ``[inputs]``; NaN is not beyond."""
        rows = np.atleast_2d(np.asarray(inputs))
        self.by_input += ((rows < self._lows) | (rows > self._highs)).sum(axis=0)
        self.rows += len(rows)
        return self

    def __str__(self) -> str:
        total = max(1, self.rows * len(self.by_input))
        worst = int(self.by_input.argmax())
        share, steps = 100 * self.numbers / total, 100 * self.by_input[worst] / max(1, self.rows)
        text = f"{self.numbers} of {total} numbers ({share:.3g} %) lie beyond input_limits"
        pair = f"{self._lows[worst]:g} to {self._highs[worst]:g}"
        return f"{text}, most of input {worst} ({pair}): {steps:.3g} % of the steps" if self.numbers else text

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"numbers": self.numbers, "steps": self.rows, "by_input": self.by_input.tolist()}
