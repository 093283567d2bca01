"""Vector helpers that every cell's step is written with: linear algebra and activations over flat arrays.

A vector is a flat array and an offset: slices cost about 10 ns each in a jitted call, offsets nothing. An array is
``[K]`` for one controller or ``[K, W]`` for a block of lanes, its elements are numbers or packs: see ``maths.packs``.
Parameters ``[K]`` with data ``[K, W]`` are lanes that share their weights. Nothing allocates or raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.activations import HARD_TANH, IDENTITY, LOGISTIC, RELU, TANH, decay, hard_tanh, logistic, relu, tanh
from neuroctl.maths.jit import jit_inline
from neuroctl.maths.packs import like, load, select, store
from neuroctl.maths.scalars import one, zero

Array = NDArray[Any]
# Offsets are cast to unsigned before a loop: a signed index makes Numba test for negative ones, which keeps LLVM
# from vectorising (at 128 neurons a step took 9.6 us with signed indices and 1.9 us with these).
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
def trace(alpha: Any, y: Array, state: Array, ok: Any, s: Any, n: Any) -> None:
    """s_i = alpha s_i + y_i where ok: a decaying memory of the outputs y."""
    ok, s, n = U(ok), U(s), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, s + i)
        store(state, s + i, select(good != zero(good), alpha * before + load(y, i), before))


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
def _store_four(y: Array, yi: Any, totals: Any) -> None:
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
        _store_four(y, yo + i, _four_dots(a, row, x, xo, cols, b0, b1, b2, b3))
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
        _store_four(state, y + i, (s0, s1, s2, s3))
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
        _store_four(state, y + i, _four_dots(theta, b + i * nz, state, z, nz, s[0], s[1], s[2], s[3]))
    for i in range(fours, n):
        s0 = _dot(theta, a + i * nx, state, x, nx, zero(load(state, y)))
        store(state, y + i, _dot(theta, b + i * nz, state, z, nz, s0))


@jit_inline
def activate(y: Array, yo: Any, theta: Array, gain: Any, bias: Any, s: Array, so: Any, n: Any) -> None:
    """s_i = logistic(g_i (y_i + b_i)); ``gain`` and ``bias`` are offsets in theta."""
    yo, gain, bias, so, n = U(yo), U(gain), U(bias), U(so), U(n)
    for i in range(n):
        store(s, so + i, logistic(load(theta, gain + i) * (load(y, yo + i) + load(theta, bias + i))))


@jit_inline
def rates(theta: Array, tau: Any, dt_s: Any, exact: Any, state: Array, rate: Any, n: Any) -> None:
    """r_i = dt/tau_i, or 1 - exp(-dt/tau_i) if exact: how far a step goes to where the neuron is heading."""
    tau, rate, n = U(tau), U(rate), U(n)
    if exact != 0:
        for i in range(n):
            store(state, rate + i, decay(dt_s / load(theta, tau + i)))
    else:
        for i in range(n):
            store(state, rate + i, dt_s / load(theta, tau + i))


@jit_inline
def relax(state: Array, net: Any, rate: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i += r_i (net_i - y_i) where ok. All are offsets in state."""
    net, rate, ok, y, n = U(net), U(rate), U(ok), U(y), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, y + i)
        after = before + load(state, rate + i) * (load(state, net + i) - before)
        store(state, y + i, select(good != zero(good), after, before))


@jit_inline
def stage(state: Array, net: Any, rate: Any, a: Any, b: Any, y0: Any, total: Any, y: Any, n: Any) -> None:
    """One Runge-Kutta stage: k = r_i (net_i - y_i); total_i += b k; y_i = y0_i + a k."""
    net, rate, y0, total, y, n = U(net), U(rate), U(y0), U(total), U(y), U(n)
    for i in range(n):
        slope = load(state, rate + i) * (load(state, net + i) - load(state, y + i))
        store(state, total + i, load(state, total + i) + b * slope)
        store(state, y + i, load(state, y0 + i) + a * slope)


@jit_inline
def land(state: Array, y0: Any, total: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = y0_i + total_i where ok, else y0_i: the end of a Runge-Kutta step."""
    y0, total, ok, y, n = U(y0), U(total), U(ok), U(y), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, y0 + i)
        store(state, y + i, select(good != zero(good), before + load(state, total + i), before))


@jit_inline
def _put(good: Any, value: Any, state: Array, k: Any) -> None:
    store(state, k, select(good, value, load(state, k)))


@jit_inline
def activate_where(code: Any, state: Array, x: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = f(x_i) where ok, f chosen by a code of ``ACTIVATIONS``: a new state, unless an input was bad."""
    x, ok, y, n = U(x), U(ok), U(y), U(n)
    good = load(state, ok) != zero(load(state, ok))
    if code == LOGISTIC:
        for i in range(n):
            _put(good, logistic(load(state, x + i)), state, y + i)
    elif code == TANH:
        for i in range(n):
            _put(good, tanh(load(state, x + i)), state, y + i)
    elif code == RELU:
        for i in range(n):
            _put(good, relu(load(state, x + i)), state, y + i)
    elif code == HARD_TANH:
        for i in range(n):
            _put(good, hard_tanh(load(state, x + i)), state, y + i)
    else:
        for i in range(n):
            _put(good, load(state, x + i), state, y + i)


@jit_inline
def apply(code: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = f(y_i), f chosen by a code of ``ACTIVATIONS``."""
    yo, n = U(yo), U(n)
    if code == LOGISTIC:
        for i in range(n):
            store(y, yo + i, logistic(load(y, yo + i)))
    elif code == TANH:
        for i in range(n):
            store(y, yo + i, tanh(load(y, yo + i)))
    elif code == RELU:
        for i in range(n):
            store(y, yo + i, relu(load(y, yo + i)))
    elif code == HARD_TANH:
        for i in range(n):
            store(y, yo + i, hard_tanh(load(y, yo + i)))


@jit_inline
def _bad(value: Any) -> Any:
    """Return 1 where a value is NaN or Inf, else 0."""
    return select(abs(value) < like(value, np.inf), zero(value), one(value))


@jit_inline
def accept(u: Array, n: Any, scales: Array, so: Any, state: Array, x: Any, ok: Any) -> None:
    """x_i = (u_i - offset_i) gain_i; ``state[ok]`` = whether all are finite. Offsets, then gains: ``scales[so:]``."""
    n, so, x, ok = U(n), U(so), U(x), U(ok)
    for i in range(n):
        store(state, x + i, (load(u, i) - scales[so + i]) * scales[so + n + i])
    good = load(state, ok)
    bad = zero(good)
    for i in range(n):
        bad = bad + _bad(load(state, x + i))
    store(state, ok, select(bad > zero(bad), zero(bad), one(bad)))


@jit_inline
def release(low_high: Array, lo: Any, state: Array, ok: Any, held: Any, y: Array, n: Any) -> None:
    """Clip the outputs y into their limits; let them out and remember them if all is finite, else hold the last ones.

    Lows then highs from ``low_high[lo:]``. A held output latches the fault flag, ``state[ok + 1]``.
    """
    low, high, ok, held, n = U(lo), U(lo) + U(n), U(ok), U(held), U(n)
    good = load(state, ok)
    bad = one(good) - good
    for i in range(n):
        value = load(y, i)
        value = select(value < low_high[low + i], low_high[low + i], value)
        value = select(value > low_high[high + i], low_high[high + i], value)
        bad = bad + _bad(value)
        store(y, i, value)
    for i in range(n):
        value = select(bad > zero(bad), load(state, held + i), load(y, i))
        store(y, i, value)
        store(state, held + i, value)
    store(state, ok, select(bad > zero(bad), zero(bad), good))
    store(state, ok + U(1), select(bad > zero(bad), one(bad), load(state, ok + U(1))))


@jit_inline
def readout(
    theta: Array, w_out: Any, state: Array, s: Any, n: Any, y: Array, q: Any, affine: Any, code: Any, low_high: Array,
    lo: Any, ok: Any, held: Any,
) -> None:  # fmt: skip
    """Write outputs: y = clip(f(W_out s + b_out)), or s itself; NaN and Inf never leave: see ``release``.

    ``w_out`` is W_out's offset in theta, with b_out behind it; ``s``, ``ok``, ``held`` are offsets in state.
    """
    if affine != 0:
        copy(theta, w_out + q * n, y, 0, q)
        matvec_add(theta, w_out, state, s, y, 0, q, n)
        if code != IDENTITY:
            apply(code, y, 0, q)
    else:
        copy(state, s, y, 0, q)
    release(low_high, lo, state, ok, held, y, q)
