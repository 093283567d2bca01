"""Interval arithmetic over integers, of P controllers at once: what proves that 32 bits suffice."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Range = tuple[Array, Array]
"""Lowest and highest integers: of each controller ``[P]``, or of each of its rows ``[P, n]``."""
RANGE_CEILING: Final = 1 << 40
"""What ranges are cut at: far beyond what is refused, and no sum of such overflows."""


def row_ranges(w: Array, low: Any, high: Any) -> Range:
    """Range of any partial sum of w_j x_j in each row w, with each x_j in [low, high] and low <= 0 <= high.

    Args:
        w: int64 ``[P, rows, columns]``.
        low: an integer, or ``[P, 1]``.
        high: as ``low``.

    """
    ups = np.maximum(w, 0).sum(axis=-1)
    downs = w.sum(axis=-1) - ups
    return ups * low + downs * high, ups * high + downs * low


def plus(*ranges: Range) -> Range:
    """Return the range of a sum."""
    (low, high), *others = ranges
    for other_low, other_high in others:
        low, high = low + other_low, high + other_high
    return low, high


def signed(low: int, high: int) -> tuple[str, int, int]:
    """Return the smallest signed storage, int16 or int32, of words in a range, and the range."""
    return ("int16" if low >= -(1 << 15) and high < 1 << 15 else "int32", low, high)


def hull(range_: Range) -> Range:
    """Return the smallest range ``[P]`` that holds those of all rows ``[P, n]``."""
    return range_[0].min(axis=-1), range_[1].max(axis=-1)


def shifted(range_: Range, shift: Array) -> Range:
    """Return a range after a rounding shift by ``[P]`` bits; see ``maths.fixed.round_shift``.

    Cut at 2^40: beyond 2^30 a controller is refused, whatever comes after.
    """
    shift = shift if range_[0].ndim == 1 else shift[:, None]
    right, left = np.maximum(shift, 0), np.maximum(-shift, 0)
    cut = (np.clip(end, -(1 << 32), 1 << 32) if (left > 0).any() else end for end in range_)
    low, high = (((end << left) + ((np.int64(1) << right) >> 1)) >> right for end in cut)
    return np.maximum(low, -RANGE_CEILING), np.minimum(high, RANGE_CEILING)
