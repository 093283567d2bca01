"""Histograms of durations in fixed memory, after HdrHistogram (G. Tene): linear buckets within each power of two."""

from __future__ import annotations

from functools import cache
from operator import index
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import share, shown
from neuroctl.errors import LayoutError
from neuroctl.maths.jit import jit_integer

BITS: Final = 6
"""2^BITS buckets per power of two: a bucket is at most 1/64 of its values wide, and exactly 1 ns below 128 ns."""
LARGEST: Final = (1 << 40) - 1
"""Largest duration [ns], 18 minutes; longer ones count as this."""
BUCKETS: Final = (40 - BITS + 1) << BITS
SUM, MAX, SIZE = BUCKETS, BUCKETS + 1, BUCKETS + 2
"""Indices in a row after its buckets, for the sum and the largest of the durations; the row's length."""


@jit_integer
def bucket_of(value: Any) -> Any:
    """Return the bucket of a duration [ns] from 0 to ``LARGEST``."""
    shift = 0
    while value >> shift >= 2 << BITS:
        shift += 1
    return (shift << BITS) + (value >> shift)


@jit_integer
def record_into(rows: Any, row: Any, value: Any) -> None:
    """Count a duration.

    rows: int64[histograms, SIZE], written.
    row: index of the histogram.
    value: [ns]; below 0 counts as 0, above ``LARGEST`` as that.
    Allocates nothing, raises nothing.
    """
    value = min(max(value, 0), LARGEST)
    rows[row, bucket_of(value)] += 1
    rows[row, SUM] += value
    rows[row, MAX] = max(rows[row, MAX], value)


def _upper_edges() -> NDArray[np.int64]:
    """Return the largest duration of each bucket."""
    index = np.arange(BUCKETS)
    shift = np.maximum((index >> BITS) - 1, 0)
    edges: NDArray[np.int64] = ((index - (shift << BITS) + 1) << shift) - 1
    return edges


EDGES: Final = _upper_edges()


@cache
def _compile() -> None:
    """Compile before anything is timed: at a link's first answer, its board is already counting down."""
    record_into(np.zeros((1, SIZE), np.int64), 0, 0)


class Histogram:
    """Durations in nanoseconds: count, mean, quantiles to 1/64, and the exact largest.

    Args:
        row: int64[SIZE] to count in; None: a new, empty one.

    Raises:
        LayoutError: row has another dtype or shape.

    Example:
        >>> ticks = Histogram()
        >>> for nanoseconds in (900, 1000, 5000):
        ...     ticks.record(nanoseconds)
        >>> ticks.count, ticks.mean, ticks.max
        (3, 2300.0, 5000)

    """

    def __init__(self, row: NDArray[np.int64] | None = None):
        row = np.zeros(SIZE, np.int64) if row is None else row
        if not isinstance(row, np.ndarray) or row.dtype != np.int64 or row.shape != (SIZE,):
            raise LayoutError(f"row: {shown(row)}; allowed: int64[{SIZE}]")
        self._rows = row.reshape(1, SIZE)
        _compile()

    def record(self, value: int) -> None:
        """Count one duration in nanoseconds, a Python or NumPy integer.

        Raises:
            LayoutError: ``value`` is no integer.

        """
        try:
            value = min(max(index(value), 0), LARGEST)
        except TypeError:
            raise LayoutError(f"value: {shown(value)}; allowed: integers") from None
        record_into(self._rows, 0, value)

    def add(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        largest = max(self.max, other.max)
        self._rows += other._rows
        self._rows[0, MAX] = largest

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of durations in each bucket, int64[BUCKETS]; ``EDGES`` are the buckets' largest values."""
        return self._rows[0, :BUCKETS]

    @property
    def count(self) -> int:
        """Number of durations."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean in nanoseconds; 0 if empty."""
        return float(self._rows[0, SUM]) / max(self.count, 1)

    @property
    def max(self) -> int:
        """Largest duration in nanoseconds; 0 if empty."""
        return int(self._rows[0, MAX])

    def quantile(self, q: float) -> int:
        """Return the smallest bucket's edge [ns] that a share ``q`` of the durations does not exceed; 0 if empty.

        It is never below the true quantile, and at most 1/64 above it.

        Raises:
            LayoutError: ``q`` is no number from 0 to 1.

        """
        share("q", q, error=LayoutError)
        total = np.cumsum(self.counts)
        rank = max(1, int(np.ceil(q * total[-1] - 1e-9)))
        return min(int(EDGES[np.searchsorted(total, rank)]), self.max) if total[-1] else 0

    def to_dict(self) -> dict[str, float]:
        """Return count, mean, quantiles and largest, in microseconds."""
        quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}
        figures: dict[str, float] = {"count": self.count, "mean_us": self.mean / 1e3}
        figures |= {f"{name}_us": self.quantile(q) / 1e3 for name, q in quantiles.items()}
        return figures | {"max_us": self.max / 1e3}
