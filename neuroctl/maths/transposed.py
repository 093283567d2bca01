"""Products that gradients need: with a transposed matrix, and of two vectors, summed over time and lanes.

Arrays, offsets and elements are as in ``maths.vectors``. Sums over lanes are made where the parameters ``[K]`` are
shared by lanes ``[K, W]``, and are made in an order that depends on nothing but the number of lanes in a block.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from neuroctl.maths.jit import jit_inline
from neuroctl.maths.packs import accumulate, load, store
from neuroctl.maths.scalars import zero
from neuroctl.maths.vectors import U, store_four

Array = NDArray[Any]


@jit_inline
def _four_columns(
    a: Array, ao: Any, cols: Any, x: Array, xo: Any, rows: Any, total: Any, total1: Any, total2: Any, total3: Any
) -> Any:
    """Return totals + sum_i A_ij x_i for four neighboring columns; ``ao`` is the first one's offset."""
    for i in range(rows):
        value, row = load(x, xo + i), ao + i * cols
        total = total + load(a, row) * value
        total1 = total1 + load(a, row + U(1)) * value
        total2 = total2 + load(a, row + U(2)) * value
        total3 = total3 + load(a, row + U(3)) * value
    return total, total1, total2, total3


@jit_inline
def _column(a: Array, ao: Any, cols: Any, x: Array, xo: Any, rows: Any, total: Any) -> Any:
    for i in range(rows):
        total = total + load(a, ao + i * cols) * load(x, xo + i)
    return total


@jit_inline
def two_transposed(
    theta: Array, a: Any, na: Any, x: Array, xo: Any, b: Any, nb: Any, z: Array, zo: Any, y: Array, yo: Any, n: Any
) -> None:  # fmt: skip
    """Set y = A^T x + B^T z: matrices ``[na, n]`` and ``[nb, n]`` in theta at a and b; vectors at offsets."""
    a, na, xo, b, nb, zo, yo, n = U(a), U(na), U(xo), U(b), U(nb), U(zo), U(yo), U(n)
    fours = n - n % U(4)
    for j in range(U(0), fours, U(4)):
        none = zero(load(y, yo))
        s = _four_columns(theta, a + j, n, x, xo, na, none, none, none, none)
        store_four(y, yo + j, _four_columns(theta, b + j, n, z, zo, nb, s[0], s[1], s[2], s[3]))
    for j in range(fours, n):
        total = _column(theta, a + j, n, x, xo, na, zero(load(y, yo)))
        store(y, yo + j, _column(theta, b + j, n, z, zo, nb, total))


@jit_inline
def add_transposed(theta: Array, a: Any, na: Any, x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """Y += A^T x: matrix ``[na, n]`` in theta at a; vectors at offsets."""
    a, na, xo, yo, n = U(a), U(na), U(xo), U(yo), U(n)
    fours = n - n % U(4)
    for j in range(U(0), fours, U(4)):
        k = yo + j
        y0, y1, y2, y3 = load(y, k), load(y, k + U(1)), load(y, k + U(2)), load(y, k + U(3))
        store_four(y, k, _four_columns(theta, a + j, n, x, xo, na, y0, y1, y2, y3))
    for j in range(fours, n):
        store(y, yo + j, _column(theta, a + j, n, x, xo, na, load(y, yo + j)))


@jit_inline
def transposed(theta: Array, a: Any, na: Any, x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """Set y = A^T x: matrix ``[na, n]`` in theta at a; vectors at offsets."""
    two_transposed(theta, a, na, x, xo, a, 0, x, xo, y, yo, n)


@jit_inline
def add_outer(
    d: Array, do: Any, d_step: Any, x: Array, xo: Any, x_step: Any, steps: Any, g: Array, go: Any, rows: Any, cols: Any
) -> None:  # fmt: skip
    """G_ij += sum_t d_i(t) x_j(t); d and x lie ``d_step`` and ``x_step`` apart from one time to the next.

    Tiles of 4 x 2 sums stay in registers over all steps.
    """
    do, d_step, xo, x_step, steps = U(do), U(d_step), U(xo), U(x_step), U(steps)
    go, rows, cols = U(go), U(rows), U(cols)
    fours, twos = rows - rows % U(4), cols - cols % U(2)
    for i in range(U(0), fours, U(4)):
        for j in range(U(0), twos, U(2)):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero(load(d, do))
            for t in range(steps):
                p, q = do + t * d_step + i, xo + t * x_step + j
                x0, x1 = load(x, q), load(x, q + U(1))
                d0, d1, d2, d3 = load(d, p), load(d, p + U(1)), load(d, p + U(2)), load(d, p + U(3))
                a0, b0 = a0 + d0 * x0, b0 + d0 * x1
                a1, b1 = a1 + d1 * x0, b1 + d1 * x1
                a2, b2 = a2 + d2 * x0, b2 + d2 * x1
                a3, b3 = a3 + d3 * x0, b3 + d3 * x1
            k = go + i * cols + j
            accumulate(g, k, a0)
            accumulate(g, k + U(1), b0)
            accumulate(g, k + cols, a1)
            accumulate(g, k + cols + U(1), b1)
            accumulate(g, k + U(2) * cols, a2)
            accumulate(g, k + U(2) * cols + U(1), b2)
            accumulate(g, k + U(3) * cols, a3)
            accumulate(g, k + U(3) * cols + U(1), b3)
        for j in range(twos, cols):
            _add_column(d, do + i, d_step, x, xo + j, x_step, steps, g, go + i * cols + j, U(4), cols)
    for j in range(cols):
        _add_column(d, do + fours, d_step, x, xo + j, x_step, steps, g, go + fours * cols + j, rows - fours, cols)


@jit_inline
def _add_column(
    d: Array, do: Any, d_step: Any, x: Array, xo: Any, x_step: Any, steps: Any, g: Array, go: Any, rows: Any, cols: Any
) -> None:  # fmt: skip
    for i in range(rows):
        total = zero(load(d, do))
        for t in range(steps):
            total = total + load(d, do + t * d_step + i) * load(x, xo + t * x_step)
        accumulate(g, go + i * cols, total)


@jit_inline
def add_rows(sums: Array, so: Any, g: Array, go: Any, n: Any) -> None:
    """G_i += sum_i, of all lanes where they share G."""
    so, go, n = U(so), U(go), U(n)
    for i in range(n):
        accumulate(g, go + i, load(sums, so + i))
