"""Linear algebra over flat arrays, which every cell's step is written with.

A vector is a flat array and an offset: slices cost about 10 ns each in a jitted call, offsets nothing. An array is
``[K]`` for one controller or ``[K, W]`` for a block of lanes, its elements are numbers or packs: see ``maths.packs``.
Parameters ``[K]`` with data ``[K, W]`` are lanes that share their weights. Nothing allocates or raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.jit import jit_inline
from neuroctl.maths.packs import like, load, store
from neuroctl.maths.scalars import zero

Array = NDArray[Any]
# Offsets are cast to unsigned before a loop: a signed index makes Numba test for negative ones, which keeps LLVM
# from vectorizing (at 128 neurons a step took 9.6 us with signed indices and 1.9 us with these).
U = np.uint64


@jit_inline
def fill(value: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = value."""
    yo, n = U(yo), U(n)
    for i in range(n):
        store(y, yo + i, like(load(y, yo + i), value))


@jit_inline
def copy(x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = x_i; x may be a shared vector where y has lanes."""
    xo, yo, n = U(xo), U(yo), U(n)
    for i in range(n):
        store(y, yo + i, load(x, xo + i))


@jit_inline
def add(x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i += x_i; x may be a shared vector where y has lanes."""
    xo, yo, n = U(xo), U(yo), U(n)
    for i in range(n):
        store(y, yo + i, load(y, yo + i) + load(x, xo + i))


@jit_inline
def sum_of(state: Array, a: Any, b: Any, y: Any, n: Any) -> None:
    """y_i = a_i + b_i; all are offsets in state."""
    a, b, y, n = U(a), U(b), U(y), U(n)
    for i in range(n):
        store(state, y + i, load(state, a + i) + load(state, b + i))


@jit_inline
def _dot(a: Array, row: Any, x: Array, xo: Any, cols: Any, total: Any) -> Any:
    """Return total + sum_j a_j x_j."""
    for j in range(cols):
        total = total + load(a, row + j) * load(x, xo + j)
    return total


@jit_inline
def _four_dots(
    a: Array, row: Any, x: Array, xo: Any, cols: Any, total: Any, total1: Any, total2: Any, total3: Any
) -> Any:
    """Do ``_dot`` for four rows at once: x is read a quarter as often, and short rows start one loop, not four."""
    row1 = row + cols
    row2 = row1 + cols
    row3 = row2 + cols
    for j in range(cols):
        value = load(x, xo + j)
        total = total + load(a, row + j) * value
        total1 = total1 + load(a, row1 + j) * value
        total2 = total2 + load(a, row2 + j) * value
        total3 = total3 + load(a, row3 + j) * value
    return total, total1, total2, total3


@jit_inline
def store_four(y: Array, yi: Any, totals: Any) -> None:
    """y_yi and the three after it = totals."""
    store(y, yi, totals[0])
    store(y, yi + U(1), totals[1])
    store(y, yi + U(2), totals[2])
    store(y, yi + U(3), totals[3])


@jit_inline
def _as_wide(x: Array, xo: Any, b: Array, k: Any) -> Any:
    """Return b_k, in all lanes where x has lanes."""
    return like(load(x, xo), load(b, k))


@jit_inline
def linear(
    a: Array, ao: Any, x: Array, xo: Any, b: Array, bo: Any, y: Array, yo: Any, rows: Any, cols: Any
) -> None:  # fmt: skip
    """y_i = b_i + sum_j A_ij x_j, with A row-major ``[rows, cols]`` = ``[to, from]``. y may be b itself."""
    ao, xo, bo, yo, rows, cols = U(ao), U(xo), U(bo), U(yo), U(rows), U(cols)
    fours = rows - rows % U(4)
    for i in range(U(0), fours, U(4)):
        k, row = bo + i, ao + i * cols
        b0, b1 = _as_wide(x, xo, b, k), _as_wide(x, xo, b, k + U(1))
        b2, b3 = _as_wide(x, xo, b, k + U(2)), _as_wide(x, xo, b, k + U(3))
        store_four(y, yo + i, _four_dots(a, row, x, xo, cols, b0, b1, b2, b3))
    for i in range(fours, rows):
        store(y, yo + i, _dot(a, ao + i * cols, x, xo, cols, _as_wide(x, xo, b, bo + i)))


@jit_inline
def matvec_add(a: Array, ao: Any, x: Array, xo: Any, y: Array, yo: Any, rows: Any, cols: Any) -> None:
    """y_i += sum_j A_ij x_j."""
    linear(a, ao, x, xo, y, yo, y, yo, rows, cols)


@jit_inline
def _recall(theta: Array, r: Any, state: Array, h: Any, total: Any) -> Any:
    return total + load(theta, r) * load(state, h)


@jit_inline
def independent(
    theta: Array, a: Any, r: Any, b: Any, state: Array, x: Any, h: Any, y: Any, rows: Any, cols: Any
) -> None:  # fmt: skip
    """y_i = b_i + sum_j A_ij x_j + r_i h_i: matrix and vectors a, r, b in theta; x, h, y in state; all are offsets."""
    a, r, b, x, h, y, rows, cols = U(a), U(r), U(b), U(x), U(h), U(y), U(rows), U(cols)
    fours = rows - rows % U(4)
    for i in range(U(0), fours, U(4)):
        b0, b1 = _as_wide(state, x, theta, b + i), _as_wide(state, x, theta, b + i + U(1))
        b2, b3 = _as_wide(state, x, theta, b + i + U(2)), _as_wide(state, x, theta, b + i + U(3))
        s = _four_dots(theta, a + i * cols, state, x, cols, b0, b1, b2, b3)
        ri, hi = r + i, h + i
        s0, s1 = _recall(theta, ri, state, hi, s[0]), _recall(theta, ri + U(1), state, hi + U(1), s[1])
        s2, s3 = _recall(theta, ri + U(2), state, hi + U(2), s[2]), _recall(theta, ri + U(3), state, hi + U(3), s[3])
        store_four(state, y + i, (s0, s1, s2, s3))
    for i in range(fours, rows):
        total = _dot(theta, a + i * cols, state, x, cols, _as_wide(state, x, theta, b + i))
        store(state, y + i, _recall(theta, r + i, state, h + i, total))


@jit_inline
def two_matvecs(
    theta: Array, a: Any, b: Any, state: Array, x: Any, z: Any, y: Any, n: Any, nx: Any, nz: Any
) -> None:  # fmt: skip
    """Set y = A x + B z: matrices ``[n, nx]`` and ``[n, nz]`` in theta, vectors in state; all are offsets."""
    a, b, x, z, y, n, nx, nz = U(a), U(b), U(x), U(z), U(y), U(n), U(nx), U(nz)
    fours = n - n % U(4)
    for i in range(U(0), fours, U(4)):
        none = zero(load(state, y))
        s = _four_dots(theta, a + i * nx, state, x, nx, none, none, none, none)
        store_four(state, y + i, _four_dots(theta, b + i * nz, state, z, nz, s[0], s[1], s[2], s[3]))
    for i in range(fours, n):
        s0 = _dot(theta, a + i * nx, state, x, nx, zero(load(state, y)))
        store(state, y + i, _dot(theta, b + i * nz, state, z, nz, s0))
