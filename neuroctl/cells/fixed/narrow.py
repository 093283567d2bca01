"""Weights of so few bits that it pays to have the largest saturate: the closest format, and what they become in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.layout import Layout
from neuroctl.maths.fixed import QFormats, widest_frac_bits

Array = NDArray[Any]

WEIGHT_BITS: Final = (2, 3, 4, 8, 16)
MAX_WEIGHT_FRAC_BITS: Final = 24
_MAX_NARROW_BITS: Final = 4
_MAX_CLIPPED_BITS: Final = 7  # one weight clipped to a 128th of itself outweighs 16,384 of a 128th


def is_narrow(bits: int) -> bool:
    """Whether weights are stored in so few bits that it pays to have the largest ones saturate."""
    return bits <= _MAX_NARROW_BITS


def closest_frac_bits(w: Array, bits: int, most: Any = MAX_WEIGHT_FRAC_BITS) -> Array:
    """Return the fractional bits that leave weights the smallest sum of squared errors, int64 ``[P]``.

    From where no weight saturates upwards; the fewest of those that are as good.

    Args:
        w: the weights ``[P, to, from]``.
        bits: of storage.
        most: the most fractional bits allowed: an integer, or ``[P]``.

    """
    fitting = fitting_frac_bits(w, bits, most)
    candidates = np.minimum(most, fitting + np.arange(_MAX_CLIPPED_BITS + 1)[:, None])
    squares = [((_rounded(w, bits, frac_bits) - w) ** 2).reshape(len(w), -1) for frac_bits in candidates]
    errors = [np.cumsum(square, axis=-1)[:, -1] for square in squares]  # in order: the same bits on every CPU
    closest: Array = candidates[np.argmin(errors, axis=0), np.arange(len(w))]
    return closest


def fitting_frac_bits(w: Array, bits: int, most: Any) -> Array:
    """Return the most fractional bits with which no weight saturates, ``[P]``."""
    fitting: Array = widest_frac_bits(np.abs(w).max(axis=(-2, -1)), bits, most)
    return fitting


def _rounded(w: Array, bits: int, frac_bits: Array) -> Array:
    """Return weights ``[P, to, from]`` as a format has them."""
    rounded: Array = np.ldexp(QFormats(bits, frac_bits).quantize(w).astype(np.float64), -frac_bits[:, None, None])
    return rounded


def with_rounded(blocks: Layout, theta: Array, weight_bits: Mapping[str, int]) -> Array:
    """Return theta ``[P, n_params]`` with its narrow weights as the integers will have them; theta itself without such.

    Rounded so coarsely, weights may add up to much more than they did: all other formats have to follow from these.
    """
    narrow = {name: bits for name, bits in weight_bits.items() if is_narrow(bits)}
    if not narrow:
        return theta
    theta = theta.copy()
    for name, w in blocks.rows(theta).items():
        if name in narrow:
            exact = w.astype(np.float64)
            w[:] = _rounded(exact, narrow[name], closest_frac_bits(exact, narrow[name]))
    return theta
