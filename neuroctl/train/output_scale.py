"""Outputs in units of their range, for training, and the readout that gives them in physical units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import layout
from neuroctl.spec import Limits, Spec

Array = NDArray[Any]


@dataclass(frozen=True)
class OutputScale:
    """The map y = middle + half z between physical outputs y and those in units of their range, z.

    An affine readout without activation or limits takes it in: only ``W_out`` and ``b_out`` differ.

    Args:
        middle: of each output's range, float64 ``[outputs]``.
        half: half of its width, greater than 0, float64 ``[outputs]``.

    Example:
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=1, outputs=1, dt_s=0.01)
        >>> scale = OutputScale(np.array([100.0]), np.array([50.0]))
        >>> scale.physical(spec, np.array([1.0, 1.0, 0.0, 0.5, 0.1])).tolist()  # W_in, U, bias, W_out, b_out
        [1.0, 1.0, 0.0, 25.0, 105.0]

    """

    middle: Array
    half: Array

    @classmethod
    def of_ranges(cls, lows: ArrayLike, highs: ArrayLike) -> Self:
        """Return the scale of ranges by their ends, ``[outputs]`` each."""
        low, high = np.asarray(lows, np.float64), np.asarray(highs, np.float64)
        return cls(0.5 * (low + high), 0.5 * (high - low))

    @property
    def ranges(self) -> Limits:
        """Lowest and highest value of each output's range."""
        low, high = self.middle - self.half, self.middle + self.half
        return tuple(zip(low.tolist(), high.tolist(), strict=True))

    def physical(self, spec: Spec, theta: Array) -> Array:
        """Return the parameters ``[n_params]`` that give y, float64, of those that give z."""
        numbers = theta.astype(np.float64)
        p = layout(spec).views(numbers)
        p["W_out"][:] *= self.half[:, None]
        p["b_out"][:] = self.half * p["b_out"] + self.middle
        return numbers

    def scaled(self, spec: Spec, theta: Array) -> Array:
        """Return the parameters ``[n_params]`` that give z, float64, of those that give y."""
        numbers = theta.astype(np.float64)
        p = layout(spec).views(numbers)
        p["W_out"][:] /= self.half[:, None]
        p["b_out"][:] = (p["b_out"] - self.middle) / self.half
        return numbers
