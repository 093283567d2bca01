"""Running means and deviations of what a network sees, and their way into the weights of the controller."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.cells.base import first_weights, input_map
from neuroctl.spec import Spec

Array = NDArray[Any]

MEAN, VARIANCE, COUNT = range(3)
"""Rows of moments, float64 ``[3, columns]``."""
_LEAST: Final = 1e-8  # of a variance: what never changes stays as it is


def moments(columns: int) -> Array:
    """Return the moments of nothing: mean 0, variance 1."""
    return np.stack([np.zeros(columns), np.ones(columns), np.zeros(columns)])


def merged(known: Array, values: Array, axes: tuple[int, ...]) -> Array:
    """Return moments with more values taken in, along these axes of theirs.

    T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    1979, eq. 2.1.
    """
    count = float(np.prod([values.shape[axis] for axis in axes]))
    mean = values.mean(axis=axes, dtype=np.float64)
    shape = [1 if axis in axes else size for axis, size in enumerate(values.shape)]
    variance = np.square(values - mean.reshape(shape), dtype=np.float64).mean(axis=axes)
    total = known[COUNT] + count
    apart = mean - known[MEAN]
    squares = known[COUNT] * known[VARIANCE] + count * variance + apart**2 * known[COUNT] * count / total
    return np.stack([known[MEAN] + apart * count / total, squares / total, total])


def scale(known: Array, dtype: str) -> Array:
    """Return what is taken off values, and their factor, ``[2, columns]``."""
    return np.stack([known[MEAN], 1.0 / np.sqrt(np.maximum(known[VARIANCE], _LEAST))]).astype(dtype)


class InputNormalizer:
    """The normalizer of a controller's inputs: (u - mean) / deviation, folded into its weights.

    The deviation goes into the weights of the inputs, the mean into the bias that is added to them. A CTRNN without an
    encoder has none there, as its bias acts behind the leak: its inputs are taken from the middle of their declared
    range instead of the mean, and with ``scale_inputs`` the network does so itself.

    Args:
        spec: of the controller that is written.

    """

    def __init__(self, spec: Spec):
        self._layout = layout(spec)
        self._weights = first_weights(self._layout)
        bias = {"W_enc.0": "b_enc.0", "W_in": "bias", "W_in.0": "bias.0"}[self._weights]
        self._bias = None if spec.cell == "ctrnn" and not spec.encoder else bias
        self._offset, self._gain = input_map(spec)

    def centered(self, known: Array) -> Array:
        """Return moments about the numbers that inputs are taken from."""
        if self._bias is not None:
            return known
        about = known.copy()
        about[VARIANCE] += (known[MEAN] - self._offset) ** 2
        about[MEAN] = self._offset
        return about

    def fold(self, theta: Array, known: Array) -> Array:
        """Return the parameters, float64, that take inputs as they are, of those that take them normalized."""
        numbers = theta.astype(np.float64)
        p = self._layout.views(numbers)
        mean, factor = scale(self.centered(known), "float64")
        weights = p[self._weights]
        if self._bias is not None:
            p[self._bias][:] += weights @ ((self._offset - mean) * factor)
        weights *= factor / self._gain
        return numbers
