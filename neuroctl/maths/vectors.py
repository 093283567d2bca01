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
from neuroctl.maths.jit import jit_rows, jit_step
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
def _row_fma4(a: Array, row: Any, x: Array, xi: Any, y: Array, yi: Any) -> None:
    # Four products at a time: y is read and written a quarter as often.
    for p in range(U(y.shape[1])):
        y[yi, p] += (
            lane(a, row, p) * x[xi, p]
            + lane(a, row + U(1), p) * x[xi + U(1), p]
            + lane(a, row + U(2), p) * x[xi + U(2), p]
            + lane(a, row + U(3), p) * x[xi + U(3), p]
        )


@jit_rows
def _row_fma(a: Array, row: Any, x: Array, xi: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        y[yi, p] += lane(a, row, p) * x[xi, p]


@jit_rows
def _row_add(x: Array, xi: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        y[yi, p] += x[xi, p]


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
def _row_activate(y: Array, yi: Any, theta: Array, gain: Any, bias: Any, s: Array, si: Any) -> None:
    for p in range(U(s.shape[1])):
        s[si, p] = logistic(lane(theta, gain, p) * (y[yi, p] + lane(theta, bias, p)))


@jit_rows
def _row_rates(theta: Array, tau: Any, dt_s: Any, exact: Any, state: Array, rate: Any) -> None:
    if exact != 0:
        for p in range(U(state.shape[1])):
            state[rate, p] = decay(dt_s / lane(theta, tau, p))
    else:
        for p in range(U(state.shape[1])):
            state[rate, p] = dt_s / lane(theta, tau, p)


@jit_rows
def _row_relax(state: Array, net: Any, rate: Any, ok: Any, y: Any) -> None:
    for p in range(U(state.shape[1])):
        change = state[rate, p] * (state[net, p] - state[y, p])
        state[y, p] = state[y, p] + change if state[ok, p] != 0 else state[y, p]


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
def _row_and_finite(u: Array, ui: Any, state: Array, ok: Any) -> None:
    for p in range(U(u.shape[1])):
        state[ok, p] = state[ok, p] if abs(u[ui, p]) < np.inf else zero(state[ok, p])


@jit_rows
def _row_clip(low: Any, high: Any, y: Array, yi: Any) -> None:
    for p in range(U(y.shape[1])):
        value = low if y[yi, p] < low else y[yi, p]
        y[yi, p] = high if value > high else value


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
    """y_i += x_i."""
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


@jit_step
def matvec_add(a: Array, ao: Any, x: Array, xo: Any, y: Array, yo: Any, rows: Any, cols: Any) -> None:
    """y_i += sum_j A_ij x_j, with A row-major ``[rows, cols]`` = ``[to, from]``."""
    ao, xo, yo, rows, cols = U(ao), U(xo), U(yo), U(rows), U(cols)
    for i in range(rows):
        row = ao + i * cols
        if y.ndim == 1:
            total = y[yo + i]
            for j in range(cols):
                total += a[row + j] * x[xo + j]
            y[yo + i] = total
        else:
            fours = cols - cols % U(4)
            for j in range(U(0), fours, U(4)):
                _row_fma4(a, row + j, x, xo + j, y, yo + i)
            for j in range(fours, cols):
                _row_fma(a, row + j, x, xo + j, y, yo + i)


@jit_step
def activate(y: Array, yo: Any, theta: Array, gain: Any, bias: Any, s: Array, so: Any, n: Any) -> None:
    """s_i = logistic(g_i (y_i + b_i)); ``gain`` and ``bias`` are offsets in theta."""
    yo, gain, bias, so, n = U(yo), U(gain), U(bias), U(so), U(n)
    for i in range(n):
        if y.ndim == 1:
            s[so + i] = logistic(theta[gain + i] * (y[yo + i] + theta[bias + i]))
        else:
            _row_activate(y, yo + i, theta, gain + i, bias + i, s, so + i)


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
        for i in range(n):
            _row_relax(state, net + i, rate + i, ok, y + i)
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
def and_finite(u: Array, uo: Any, n: Any, state: Array, ok: Any) -> None:
    """Clear ``state[ok]`` where one of u is NaN or Inf."""
    uo, n, ok = U(uo), U(n), U(ok)
    for i in range(n):
        if state.ndim == 1:
            if not abs(u[uo + i]) < np.inf:
                state[ok] = 0
        else:
            _row_and_finite(u, uo + i, state, ok)


@jit_step
def clip(low_high: Array, lo: Any, y: Array, n: Any) -> None:
    """Clip y_i into [low_i, high_i]; lows then highs from ``low_high[lo:]``."""
    low, high, n = U(lo), U(lo) + U(n), U(n)
    for i in range(n):
        if y.ndim == 1:
            y[i] = low_high[low + i] if y[i] < low_high[low + i] else y[i]
            y[i] = low_high[high + i] if y[i] > low_high[high + i] else y[i]
        else:
            _row_clip(low_high[low + i], low_high[high + i], y, i)


@jit_step
def hold(state: Array, ok: Any, held: Any, y: Array, n: Any) -> None:
    """Where ok, remember the outputs y; elsewhere give the remembered ones and latch ``state[ok + 1]``, the fault."""
    ok, held, n = U(ok), U(held), U(n)
    if state.ndim == 1:
        if state[ok] != 0:
            for i in range(n):
                state[held + i] = y[i]
        else:
            state[ok + U(1)] = 1
            for i in range(n):
                y[i] = state[held + i]
    else:
        for i in range(n):
            _row_hold(state, ok, held + i, y, i)
        _row_latch(state, ok, ok + U(1))


@jit_step
def readout(
    theta: Array, w_out: Any, state: Array, s: Any, n: Any, y: Array, q: Any, affine: Any, code: Any, low_high: Array,
    lo: Any, ok: Any, held: Any,
) -> None:  # fmt: skip
    """Write outputs: y = clip(f(W_out s + b_out)), or s itself; NaN and Inf never leave: see ``hold``.

    ``w_out`` is W_out's offset in theta, with b_out behind it; ``s``, ``ok``, ``held`` are offsets in state.
    """
    if affine != 0:
        copy(theta, w_out + q * n, y, 0, q)
        matvec_add(theta, w_out, state, s, y, 0, q, n)
        if code != IDENTITY:
            apply(code, y, 0, q)
    else:
        copy(state, s, y, 0, q)
    clip(low_high, lo, y, q)
    and_finite(y, 0, q, state, ok)
    hold(state, ok, held, y, q)
