"""Vector helpers that every cell's step is written with, polymorphic in rank.

A vector is a flat array and an offset: slices cost about 10 ns each in a jitted call, offsets nothing.

- Rank 1, ``a[K]``: one controller; loops run over neurons.
- Rank 2, ``a[K, P]``: a population of P; loops run over lanes, so each helper hands whole rows to a small
  function, the form that LLVM vectorises.
- Parameters of rank 1 with data of rank 2: P sequences that share their weights.

Numba resolves ``ndim`` at compile time, so each call holds only its own form. Nothing allocates or raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.activations import HARD_TANH, IDENTITY, LOGISTIC, RELU, TANH, decay, hard_tanh, logistic, relu, tanh
from neuroctl.maths.jit import jit_step

Array = NDArray[Any]
# Offsets are cast to unsigned before a rank 1 loop: a signed index makes Numba test for negative ones, which
# keeps LLVM from vectorising (at 128 neurons a step took 9.6 us with signed indices and 1.9 us with these).
U = np.uint64


@jit_step
def _row_fma(a: Array, x: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] += a[p] * x[p]


@jit_step
def _row_scale_add(a: Any, x: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] += a * x[p]


@jit_step
def _row_copy(x: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] = x[p]


@jit_step
def _row_fill(value: Any, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] = value


@jit_step
def _row_logistic(y: Array, gain: Array, bias: Array, s: Array) -> None:
    for p in range(s.shape[0]):
        s[p] = logistic(gain[p] * (y[p] + bias[p]))


@jit_step
def _row_logistic_shared(y: Array, gain: Any, bias: Any, s: Array) -> None:
    for p in range(s.shape[0]):
        s[p] = logistic(gain * (y[p] + bias))


@jit_step
def _row_relax(net: Array, tau_s: Array, dt_s: Any, exact: Any, ok: Array, y: Array) -> None:
    if exact != 0:
        for p in range(y.shape[0]):
            change = decay(dt_s / tau_s[p]) * (net[p] - y[p])
            y[p] = y[p] + change if ok[p] != 0 else y[p]
    else:
        for p in range(y.shape[0]):
            change = dt_s / tau_s[p] * (net[p] - y[p])
            y[p] = y[p] + change if ok[p] != 0 else y[p]


@jit_step
def _row_relax_shared(net: Array, tau_s: Any, dt_s: Any, exact: Any, ok: Array, y: Array) -> None:
    rate = decay(dt_s / tau_s) if exact != 0 else dt_s / tau_s
    for p in range(y.shape[0]):
        change = rate * (net[p] - y[p])
        y[p] = y[p] + change if ok[p] != 0 else y[p]


@jit_step
def _row_stage(net: Array, tau_s: Array, dt_s: Any, a: Any, b: Any, y0: Array, total: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        slope = dt_s / tau_s[p] * (net[p] - y[p])
        total[p] += b * slope
        y[p] = y0[p] + a * slope


@jit_step
def _row_stage_shared(net: Array, tau_s: Any, dt_s: Any, a: Any, b: Any, y0: Array, total: Array, y: Array) -> None:
    rate = dt_s / tau_s
    for p in range(y.shape[0]):
        slope = rate * (net[p] - y[p])
        total[p] += b * slope
        y[p] = y0[p] + a * slope


@jit_step
def _row_land(y0: Array, total: Array, ok: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] = y0[p] + total[p] if ok[p] != 0 else y0[p]


@jit_step
def _row_take(x: Array, ok: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] = x[p] if ok[p] != 0 else y[p]


@jit_step
def _row_apply(code: Any, y: Array) -> None:
    if code == LOGISTIC:
        for p in range(y.shape[0]):
            y[p] = logistic(y[p])
    elif code == TANH:
        for p in range(y.shape[0]):
            y[p] = tanh(y[p])
    elif code == RELU:
        for p in range(y.shape[0]):
            y[p] = relu(y[p])
    elif code == HARD_TANH:
        for p in range(y.shape[0]):
            y[p] = hard_tanh(y[p])


@jit_step
def _row_and_finite(u: Array, ok: Array) -> None:
    for p in range(u.shape[0]):
        ok[p] = ok[p] if abs(u[p]) < np.inf else ok[p] * 0


@jit_step
def _row_clip(low: Any, high: Any, y: Array) -> None:
    for p in range(y.shape[0]):
        value = low if y[p] < low else y[p]
        y[p] = high if value > high else value


@jit_step
def _row_hold(ok: Array, held: Array, y: Array) -> None:
    for p in range(y.shape[0]):
        y[p] = y[p] if ok[p] != 0 else held[p]
        held[p] = y[p]


@jit_step
def _row_latch(ok: Array, fault: Array) -> None:
    for p in range(ok.shape[0]):
        fault[p] = fault[p] if ok[p] != 0 else ok[p] + 1


@jit_step
def fill(value: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = value."""
    if y.ndim == 1:
        yo = U(yo)
        for i in range(U(n)):
            y[yo + i] = value
    else:
        for i in range(n):
            _row_fill(value, y[yo + i])


@jit_step
def copy(x: Array, xo: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = x_i; x may be a shared vector of rank 1 where y has lanes."""
    if y.ndim == 1:
        xo, yo = U(xo), U(yo)
        for i in range(U(n)):
            y[yo + i] = x[xo + i]
    elif x.ndim == 1:
        for i in range(n):
            _row_fill(x[xo + i], y[yo + i])
    else:
        for i in range(n):
            _row_copy(x[xo + i], y[yo + i])


@jit_step
def matvec_add(a: Array, ao: Any, x: Array, xo: Any, y: Array, yo: Any, rows: Any, cols: Any) -> None:
    """y_i += sum_j A_ij x_j, with A row-major ``[rows, cols]`` = ``[to, from]``."""
    if y.ndim == 1:
        ao, xo, yo, cols = U(ao), U(xo), U(yo), U(cols)
        for i in range(U(rows)):
            total = y[yo + i]
            row = ao + i * cols
            for j in range(cols):
                total += a[row + j] * x[xo + j]
            y[yo + i] = total
    elif a.ndim == 1:
        for i in range(rows):
            for j in range(cols):
                _row_scale_add(a[ao + i * cols + j], x[xo + j], y[yo + i])
    else:
        for i in range(rows):
            for j in range(cols):
                _row_fma(a[ao + i * cols + j], x[xo + j], y[yo + i])


@jit_step
def activate(y: Array, yo: Any, theta: Array, gain: Any, bias: Any, s: Array, so: Any, n: Any) -> None:
    """s_i = logistic(g_i (y_i + b_i)); ``gain`` and ``bias`` are offsets in theta."""
    if y.ndim == 1:
        yo, gain, bias, so = U(yo), U(gain), U(bias), U(so)
        for i in range(U(n)):
            s[so + i] = logistic(theta[gain + i] * (y[yo + i] + theta[bias + i]))
    elif theta.ndim == 1:
        for i in range(n):
            _row_logistic_shared(y[yo + i], theta[gain + i], theta[bias + i], s[so + i])
    else:
        for i in range(n):
            _row_logistic(y[yo + i], theta[gain + i], theta[bias + i], s[so + i])


@jit_step
def relax(state: Array, net: Any, theta: Array, tau: Any, dt_s: Any, exact: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i += r (net_i - y_i) where ok, with r = dt/tau_i, or 1 - exp(-dt/tau_i) if exact.

    ``net``, ``ok``, ``y`` are offsets in state, ``tau`` in theta.
    """
    if state.ndim == 1:
        if state[ok] != 0:
            net, tau, y = U(net), U(tau), U(y)
            if exact != 0:
                for i in range(U(n)):
                    state[y + i] += decay(dt_s / theta[tau + i]) * (state[net + i] - state[y + i])
            else:
                for i in range(U(n)):
                    state[y + i] += dt_s / theta[tau + i] * (state[net + i] - state[y + i])
    elif theta.ndim == 1:
        for i in range(n):
            _row_relax_shared(state[net + i], theta[tau + i], dt_s, exact, state[ok], state[y + i])
    else:
        for i in range(n):
            _row_relax(state[net + i], theta[tau + i], dt_s, exact, state[ok], state[y + i])


@jit_step
def stage(
    state: Array, net: Any, theta: Array, tau: Any, dt_s: Any, a: Any, b: Any, y0: Any, total: Any, y: Any, n: Any
) -> None:
    """One Runge-Kutta stage: k = dt/tau_i (net_i - y_i); total_i += b k; y_i = y0_i + a k."""
    if state.ndim == 1:
        net, tau, y0, total, y = U(net), U(tau), U(y0), U(total), U(y)
        for i in range(U(n)):
            slope = dt_s / theta[tau + i] * (state[net + i] - state[y + i])
            state[total + i] += b * slope
            state[y + i] = state[y0 + i] + a * slope
    elif theta.ndim == 1:
        for i in range(n):
            _row_stage_shared(state[net + i], theta[tau + i], dt_s, a, b, state[y0 + i], state[total + i], state[y + i])
    else:
        for i in range(n):
            _row_stage(state[net + i], theta[tau + i], dt_s, a, b, state[y0 + i], state[total + i], state[y + i])


@jit_step
def land(state: Array, y0: Any, total: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = y0_i + total_i where ok, else y0_i: the end of a Runge-Kutta step."""
    if state.ndim == 1:
        y0, total, y = U(y0), U(total), U(y)
        scale = state[ok]
        for i in range(U(n)):
            state[y + i] = state[y0 + i] + state[total + i] if scale != 0 else state[y0 + i]
    else:
        for i in range(n):
            _row_land(state[y0 + i], state[total + i], state[ok], state[y + i])


@jit_step
def take(state: Array, x: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = x_i where ok: a new state replaces the old one unless an input was bad."""
    if state.ndim == 1:
        if state[ok] != 0:
            x, y = U(x), U(y)
            for i in range(U(n)):
                state[y + i] = state[x + i]
    else:
        for i in range(n):
            _row_take(state[x + i], state[ok], state[y + i])


@jit_step
def apply(code: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = f(y_i), f chosen by a code of ``ACTIVATIONS``."""
    if y.ndim == 1:
        _row_apply(code, y[yo : yo + n])
    else:
        for i in range(n):
            _row_apply(code, y[yo + i])


@jit_step
def and_finite(u: Array, uo: Any, n: Any, state: Array, ok: Any) -> None:
    """Clear ``state[ok]`` where one of u is NaN or Inf."""
    if state.ndim == 1:
        uo = U(uo)
        for i in range(U(n)):
            if not abs(u[uo + i]) < np.inf:
                state[ok] = 0
    else:
        for i in range(n):
            _row_and_finite(u[uo + i], state[ok])


@jit_step
def clip(low_high: Array, lo: Any, y: Array, n: Any) -> None:
    """Clip y_i into [low_i, high_i]; lows then highs from ``low_high[lo:]``."""
    if y.ndim == 1:
        low, high = U(lo), U(lo + n)
        for i in range(U(n)):
            y[i] = low_high[low + i] if y[i] < low_high[low + i] else y[i]
            y[i] = low_high[high + i] if y[i] > low_high[high + i] else y[i]
    else:
        for i in range(n):
            _row_clip(low_high[lo + i], low_high[lo + n + i], y[i])


@jit_step
def hold(state: Array, ok: Any, held: Any, y: Array, n: Any) -> None:
    """Where ok, remember the outputs y; elsewhere give the remembered ones and latch ``state[ok + 1]``, the fault."""
    if state.ndim == 1:
        held = U(held)
        if state[ok] != 0:
            for i in range(U(n)):
                state[held + i] = y[i]
        else:
            state[ok + 1] = 1
            for i in range(U(n)):
                y[i] = state[held + i]
    else:
        for i in range(n):
            _row_hold(state[ok], state[held + i], y[i])
        _row_latch(state[ok], state[ok + 1])


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
