"""Vector helpers that every cell's step is written with, polymorphic in rank.

A vector is a flat array and an offset: slices cost about 10 ns each in a jitted call, offsets nothing.

- Rank 1, ``a[K]``: one controller; loops run over neurons.
- Rank 2, ``a[K, P]``: a population of P; loops run over lanes, row by row, in small functions that are told that
  what they write overlaps nothing else: the form that LLVM vectorises without run-time checks.
- Parameters of rank 1 with data of rank 2: P sequences that share their weights.

Numba resolves ``ndim`` at compile time, so each call holds only its own form. Nothing allocates or raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.activations import HARD_TANH, IDENTITY, LOGISTIC, RELU, TANH, decay, hard_tanh, logistic, relu, tanh
from neuroctl.maths.jit import jit_inline, jit_rows, jit_step
from neuroctl.maths.scalars import one, zero

Array = NDArray[Any]
# Offsets are cast to unsigned before a loop: a signed index makes Numba test for negative ones, which keeps LLVM
# from vectorising (at 128 neurons a step took 9.6 us with signed indices and 1.9 us with these).
U = np.uint64


# --- Rows of lanes: the inner loops of rank 2 ------------------------------------------------------------------------


@jit_step
def lane(theta: Array, k: Any, p: Any) -> Any:
    """Return parameter k of lane p; one vector of rank 1 is shared by all lanes."""
    if theta.ndim == 1:
        return theta[k]
    else:  # noqa: RET505 - Numba drops the branch that its types exclude only from an if with an else
        return theta[k, p]


@jit_rows
def _rows_sum(a: Array, ao: Any, x: Array, xo: Any, y: Array, yo: Any, rows: Any, cols: Any, fresh: Any) -> None:
    """y_i = (y_i or, if fresh, 0) + sum_j A_ij x_j; four products at a time: y is written a quarter as often."""
    fours = cols - cols % U(4)
    for i in range(rows):
        row, yi = ao + i * cols, yo + i
        if fresh:
            for p in range(U(y.shape[1])):
                y[yi, p] = zero(y[yi, p])
        for j in range(U(0), fours, U(4)):
            for p in range(U(y.shape[1])):
                y[yi, p] += (
                    lane(a, row + j, p) * x[xo + j, p]
                    + lane(a, row + j + U(1), p) * x[xo + j + U(1), p]
                    + lane(a, row + j + U(2), p) * x[xo + j + U(2), p]
                    + lane(a, row + j + U(3), p) * x[xo + j + U(3), p]
                )
        for j in range(fours, cols):
            for p in range(U(y.shape[1])):
                y[yi, p] += lane(a, row + j, p) * x[xo + j, p]


@jit_rows
def _row_fma(a: Array, row: Any, x: Array, xi: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        y[yi, p] += lane(a, row, p) * x[xi, p]


@jit_rows
def _row_add(x: Array, xi: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        y[yi, p] += lane(x, xi, p)


@jit_rows
def _row_trace(alpha: Any, y: Array, yi: Any, state: Array, ok: Any, trace: Any) -> None:
    for p in range(U(state.shape[1])):
        value = alpha * state[trace, p] + y[yi, p]
        state[trace, p] = value if state[ok, p] != 0 else state[trace, p]


@jit_rows
def _row_copy(x: Array, xi: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        y[yi, p] = lane(x, xi, p)


@jit_rows
def _row_fill(value: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        y[yi, p] = value


@jit_rows
def _rows_activate(y: Array, yo: Any, theta: Array, gain: Any, bias: Any, s: Array, so: Any, n: Any) -> None:
    for i in range(n):
        for p in range(U(s.shape[1])):
            s[so + i, p] = logistic(lane(theta, gain + i, p) * (y[yo + i, p] + lane(theta, bias + i, p)))


@jit_rows
def _row_rates(theta: Array, tau: Any, dt_s: Any, exact: Any, state: Array, rate: Any) -> None:
    if exact != 0:
        for p in range(U(state.shape[1])):
            state[rate, p] = decay(dt_s / lane(theta, tau, p))
    else:
        for p in range(U(state.shape[1])):
            state[rate, p] = dt_s / lane(theta, tau, p)


@jit_rows
def _rows_relax(state: Array, net: Any, rate: Any, ok: Any, y: Any, n: Any) -> None:
    for i in range(n):
        for p in range(U(state.shape[1])):
            change = state[rate + i, p] * (state[net + i, p] - state[y + i, p])
            state[y + i, p] = state[y + i, p] + change if state[ok, p] != 0 else state[y + i, p]


@jit_rows
def _row_stage(state: Array, net: Any, rate: Any, a: Any, b: Any, y0: Any, total: Any, y: Any) -> None:
    for p in range(U(state.shape[1])):
        slope = state[rate, p] * (state[net, p] - state[y, p])
        state[total, p] += b * slope
        state[y, p] = state[y0, p] + a * slope


@jit_rows
def _row_land(state: Array, y0: Any, total: Any, ok: Any, y: Any) -> None:
    for p in range(U(state.shape[1])):
        state[y, p] = state[y0, p] + state[total, p] if state[ok, p] != 0 else state[y0, p]


@jit_rows
def _row_take(state: Array, x: Any, ok: Any, y: Any) -> None:
    for p in range(U(state.shape[1])):
        state[y, p] = state[x, p] if state[ok, p] != 0 else state[y, p]


@jit_rows
def _row_apply(code: Any, y: Array, yi: Any) -> None:
    if code == LOGISTIC:
        for p in range(U(y.shape[1])):
            y[yi, p] = logistic(y[yi, p])
    elif code == TANH:
        for p in range(U(y.shape[1])):
            y[yi, p] = tanh(y[yi, p])
    elif code == RELU:
        for p in range(U(y.shape[1])):
            y[yi, p] = relu(y[yi, p])
    elif code == HARD_TANH:
        for p in range(U(y.shape[1])):
            y[yi, p] = hard_tanh(y[yi, p])


@jit_rows
def _row_accept(u: Array, ui: Any, offset: Any, gain: Any, state: Array, x: Any, ok: Any) -> None:
    for p in range(U(state.shape[1])):
        value = (lane(u, ui, p) - offset) * gain
        state[x, p] = value
        state[ok, p] = state[ok, p] if abs(value) < np.inf else zero(value)


@jit_rows
def _row_clip(low: Any, high: Any, y: Array, yi: Any, state: Array, ok: Any) -> None:
    for p in range(U(y.shape[1])):
        value = low if y[yi, p] < low else y[yi, p]
        value = high if value > high else value
        y[yi, p] = value
        state[ok, p] = state[ok, p] if abs(value) < np.inf else zero(value)


@jit_rows
def _row_hold(state: Array, ok: Any, held: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        value = y[yi, p] if state[ok, p] != 0 else state[held, p]
        y[yi, p] = value
        state[held, p] = value


@jit_rows
def _row_latch(state: Array, ok: Any, fault: Any) -> None:
    for p in range(U(state.shape[1])):
        state[fault, p] = state[fault, p] if state[ok, p] != 0 else one(state[ok, p])


# --- Vectors: what steps are written with ----------------------------------------------------------------------------


@jit_step
def fill(value: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = value."""
    yo, n = U(yo), U(n)
    for i in range(n):
        if y.ndim == 1:
            y[yo + i] = value
        else:
            _row_fill(value, y, yo + i)


@jit_step
def copy(x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = x_i; x may be a shared vector of rank 1 where y has lanes."""
    xo, yo, n = U(xo), U(yo), U(n)
    for i in range(n):
        if y.ndim == 1:
            y[yo + i] = x[xo + i]
        else:
            _row_copy(x, xo + i, y, yo + i)


@jit_step
def add(x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i += x_i; x may be a shared vector of rank 1 where y has lanes."""
    xo, yo, n = U(xo), U(yo), U(n)
    for i in range(n):
        if y.ndim == 1:
            y[yo + i] += x[xo + i]
        else:
            _row_add(x, xo + i, y, yo + i)


@jit_step
def product_add(a: Array, ao: Any, x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i += a_i x_i, with a in theta."""
    ao, xo, yo, n = U(ao), U(xo), U(yo), U(n)
    for i in range(n):
        if y.ndim == 1:
            y[yo + i] += a[ao + i] * x[xo + i]
        else:
            _row_fma(a, ao + i, x, xo + i, y, yo + i)


@jit_step
def trace(alpha: Any, y: Array, state: Array, ok: Any, s: Any, n: Any) -> None:
    """s_i = alpha s_i + y_i where ok: a decaying memory of the outputs y."""
    ok, s, n = U(ok), U(s), U(n)
    if state.ndim == 2:
        for i in range(n):
            _row_trace(alpha, y, i, state, ok, s + i)
    elif state[ok] != 0:
        for i in range(n):
            state[s + i] = alpha * state[s + i] + y[i]


@jit_inline
def _four_rows(a: Array, row: Any, x: Array, xo: Any, y: Array, yi: Any, cols: Any) -> None:
    """Add four rows of a product at once: x is read a quarter as often, and short rows start one loop, not four."""
    row1 = row + cols
    row2 = row1 + cols
    row3 = row2 + cols
    total, total1, total2, total3 = y[yi], y[yi + U(1)], y[yi + U(2)], y[yi + U(3)]
    for j in range(cols):
        value = x[xo + j]
        total += a[row + j] * value
        total1 += a[row1 + j] * value
        total2 += a[row2 + j] * value
        total3 += a[row3 + j] * value
    y[yi], y[yi + U(1)], y[yi + U(2)], y[yi + U(3)] = total, total1, total2, total3


@jit_step
def matvec_add(a: Array, ao: Any, x: Array, xo: Any, y: Array, yo: Any, rows: Any, cols: Any) -> None:
    """y_i += sum_j A_ij x_j, with A row-major ``[rows, cols]`` = ``[to, from]``."""
    ao, xo, yo, rows, cols = U(ao), U(xo), U(yo), U(rows), U(cols)
    if y.ndim == 1:
        fours = rows - rows % U(4)
        for i in range(U(0), fours, U(4)):
            _four_rows(a, ao + i * cols, x, xo, y, yo + i, cols)
        for i in range(fours, rows):
            row = ao + i * cols
            total = y[yo + i]
            for j in range(cols):
                total += a[row + j] * x[xo + j]
            y[yo + i] = total
    else:
        _rows_sum(a, ao, x, xo, y, yo, rows, cols, False)


@jit_inline
def _four_sums(
    theta: Array, a: Any, b: Any, state: Array, x: Any, z: Any, y: Any, nx: Any, nz: Any
) -> None:  # fmt: skip
    a1 = a + nx
    a2 = a1 + nx
    a3 = a2 + nx
    b1 = b + nz
    b2 = b1 + nz
    b3 = b2 + nz
    total = total1 = total2 = total3 = zero(state[y])
    for j in range(nx):
        value = state[x + j]
        total += theta[a + j] * value
        total1 += theta[a1 + j] * value
        total2 += theta[a2 + j] * value
        total3 += theta[a3 + j] * value
    for j in range(nz):
        value = state[z + j]
        total += theta[b + j] * value
        total1 += theta[b1 + j] * value
        total2 += theta[b2 + j] * value
        total3 += theta[b3 + j] * value
    state[y], state[y + U(1)], state[y + U(2)], state[y + U(3)] = total, total1, total2, total3


@jit_step
def two_matvecs(
    theta: Array, a: Any, b: Any, state: Array, x: Any, z: Any, y: Any, n: Any, nx: Any, nz: Any
) -> None:  # fmt: skip
    """Set y = A x + B z: matrices ``[n, nx]`` and ``[n, nz]`` in theta, vectors in state; all are offsets."""
    a, b, x, z, y, n, nx, nz = U(a), U(b), U(x), U(z), U(y), U(n), U(nx), U(nz)
    if state.ndim == 2:
        _rows_sum(theta, a, state, x, state, y, n, nx, True)
        _rows_sum(theta, b, state, z, state, y, n, nz, False)
    else:
        fours = n - n % U(4)
        for i in range(U(0), fours, U(4)):
            _four_sums(theta, a + i * nx, b + i * nz, state, x, z, y + i, nx, nz)
        if fours < n:
            fill(0, state, y + fours, n - fours)
            matvec_add(theta, a + fours * nx, state, x, state, y + fours, n - fours, nx)
            matvec_add(theta, b + fours * nz, state, z, state, y + fours, n - fours, nz)


@jit_step
def activate(y: Array, yo: Any, theta: Array, gain: Any, bias: Any, s: Array, so: Any, n: Any) -> None:
    """s_i = logistic(g_i (y_i + b_i)); ``gain`` and ``bias`` are offsets in theta."""
    yo, gain, bias, so, n = U(yo), U(gain), U(bias), U(so), U(n)
    if y.ndim == 2:
        _rows_activate(y, yo, theta, gain, bias, s, so, n)
    else:
        for i in range(n):
            s[so + i] = logistic(theta[gain + i] * (y[yo + i] + theta[bias + i]))


@jit_step
def rates(theta: Array, tau: Any, dt_s: Any, exact: Any, state: Array, rate: Any, n: Any) -> None:
    """r_i = dt/tau_i, or 1 - exp(-dt/tau_i) if exact: how far a step goes to where the neuron is heading."""
    tau, rate, n = U(tau), U(rate), U(n)
    if state.ndim == 2:
        for i in range(n):
            _row_rates(theta, tau + i, dt_s, exact, state, rate + i)
    elif exact != 0:
        for i in range(n):
            state[rate + i] = decay(dt_s / theta[tau + i])
    else:
        for i in range(n):
            state[rate + i] = dt_s / theta[tau + i]


@jit_step
def relax(state: Array, net: Any, rate: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i += r_i (net_i - y_i) where ok. All are offsets in state."""
    net, rate, ok, y, n = U(net), U(rate), U(ok), U(y), U(n)
    if state.ndim == 2:
        _rows_relax(state, net, rate, ok, y, n)
    elif state[ok] != 0:
        for i in range(n):
            state[y + i] += state[rate + i] * (state[net + i] - state[y + i])


@jit_step
def stage(state: Array, net: Any, rate: Any, a: Any, b: Any, y0: Any, total: Any, y: Any, n: Any) -> None:
    """One Runge-Kutta stage: k = r_i (net_i - y_i); total_i += b k; y_i = y0_i + a k."""
    net, rate, y0, total, y, n = U(net), U(rate), U(y0), U(total), U(y), U(n)
    for i in range(n):
        if state.ndim == 1:
            slope = state[rate + i] * (state[net + i] - state[y + i])
            state[total + i] += b * slope
            state[y + i] = state[y0 + i] + a * slope
        else:
            _row_stage(state, net + i, rate + i, a, b, y0 + i, total + i, y + i)


@jit_step
def land(state: Array, y0: Any, total: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = y0_i + total_i where ok, else y0_i: the end of a Runge-Kutta step."""
    y0, total, ok, y, n = U(y0), U(total), U(ok), U(y), U(n)
    if state.ndim == 1:
        scale = state[ok]
        for i in range(n):
            state[y + i] = state[y0 + i] + state[total + i] if scale != 0 else state[y0 + i]
    else:
        for i in range(n):
            _row_land(state, y0 + i, total + i, ok, y + i)


@jit_step
def take(state: Array, x: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = x_i where ok: a new state replaces the old one unless an input was bad."""
    x, ok, y, n = U(x), U(ok), U(y), U(n)
    if state.ndim == 1:
        if state[ok] != 0:
            for i in range(n):
                state[y + i] = state[x + i]
    else:
        for i in range(n):
            _row_take(state, x + i, ok, y + i)


@jit_step
def apply(code: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = f(y_i), f chosen by a code of ``ACTIVATIONS``."""
    yo, n = U(yo), U(n)
    if y.ndim == 2:
        for i in range(n):
            _row_apply(code, y, yo + i)
    elif code == LOGISTIC:
        for i in range(n):
            y[yo + i] = logistic(y[yo + i])
    elif code == TANH:
        for i in range(n):
            y[yo + i] = tanh(y[yo + i])
    elif code == RELU:
        for i in range(n):
            y[yo + i] = relu(y[yo + i])
    elif code == HARD_TANH:
        for i in range(n):
            y[yo + i] = hard_tanh(y[yo + i])


@jit_step
def accept(u: Array, n: Any, scales: Array, so: Any, state: Array, x: Any, ok: Any) -> None:
    """x_i = (u_i - offset_i) gain_i; ``state[ok]`` = whether all are finite. Offsets, then gains: ``scales[so:]``."""
    n, so, x, ok = U(n), U(so), U(x), U(ok)
    if state.ndim == 1:
        for i in range(n):
            state[x + i] = (u[i] - scales[so + i]) * scales[so + n + i]
        bad = zero(state[ok])
        for i in range(n):
            bad += zero(bad) if abs(state[x + i]) < np.inf else one(bad)
        state[ok] = zero(bad) if bad > zero(bad) else one(bad)
    else:
        fill(1, state, ok, 1)
        for i in range(n):
            _row_accept(u, i, scales[so + i], scales[so + n + i], state, x + i, ok)


@jit_step
def release(low_high: Array, lo: Any, state: Array, ok: Any, held: Any, y: Array, n: Any) -> None:
    """Clip the outputs y into their limits; let them out and remember them if all is finite, else hold the last ones.

    Lows then highs from ``low_high[lo:]``. A held output latches the fault flag, ``state[ok + 1]``.
    """
    low, high, ok, held, n = U(lo), U(lo) + U(n), U(ok), U(held), U(n)
    if state.ndim == 2:
        for i in range(n):
            _row_clip(low_high[low + i], low_high[high + i], y, i, state, ok)
        for i in range(n):
            _row_hold(state, ok, held + i, y, i)
        _row_latch(state, ok, ok + U(1))
    else:
        bad = one(state[ok]) - state[ok]
        for i in range(n):
            value = low_high[low + i] if y[i] < low_high[low + i] else y[i]
            value = low_high[high + i] if value > low_high[high + i] else value
            bad += zero(value) if abs(value) < np.inf else one(value)
            y[i] = value
        if bad > zero(bad):
            state[ok], state[ok + U(1)] = 0, 1
            for i in range(n):
                y[i] = state[held + i]
        else:
            for i in range(n):
                state[held + i] = y[i]


@jit_step
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
