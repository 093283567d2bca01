"""What steps of several cells have in common: inputs, leaks and Runge-Kutta stages, activations, outputs.

Arrays, offsets and elements are as in ``maths.vectors``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.activations import HARD_TANH, IDENTITY, LOGISTIC, RELU, TANH, decay, hard_tanh, logistic, relu, tanh
from neuroctl.maths.jit import jit_inline
from neuroctl.maths.packs import like, load, select, store
from neuroctl.maths.scalars import one, zero
from neuroctl.maths.vectors import U, copy, matvec_add

Array = NDArray[Any]


@jit_inline
def decay_add(alpha: Any, y: Array, state: Array, ok: Any, s: Any, n: Any) -> None:
    """s_i = alpha s_i + y_i where ok: a decaying memory of the outputs y."""
    ok, s, n = U(ok), U(s), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, s + i)
        store(state, s + i, select(good != zero(good), alpha * before + load(y, i), before))


@jit_inline
def activate(y: Array, yo: Any, theta: Array, gain: Any, bias: Any, s: Array, so: Any, n: Any) -> None:
    """s_i = logistic(g_i (y_i + b_i)); ``gain`` and ``bias`` are offsets in theta."""
    yo, gain, bias, so, n = U(yo), U(gain), U(bias), U(so), U(n)
    for i in range(n):
        store(s, so + i, logistic(load(theta, gain + i) * (load(y, yo + i) + load(theta, bias + i))))


@jit_inline
def alphas(theta: Array, tau: Any, dt_s: Any, exact: Any, state: Array, alpha: Any, n: Any) -> None:
    """alpha_i = dt/tau_i, or 1 - exp(-dt/tau_i) if exact: how far a step goes to where the neuron is heading."""
    tau, alpha, n = U(tau), U(alpha), U(n)
    if exact != 0:
        for i in range(n):
            store(state, alpha + i, decay(dt_s / load(theta, tau + i)))
    else:
        for i in range(n):
            store(state, alpha + i, dt_s / load(theta, tau + i))


@jit_inline
def leaky_step(state: Array, net: Any, alpha: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i += alpha_i (net_i - y_i) where ok. All are offsets in state."""
    net, alpha, ok, y, n = U(net), U(alpha), U(ok), U(y), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, y + i)
        after = before + load(state, alpha + i) * (load(state, net + i) - before)
        store(state, y + i, select(good != zero(good), after, before))


@jit_inline
def rk_slope(state: Array, net: Any, alpha: Any, b: Any, total: Any, y: Any, n: Any) -> None:
    """net_i becomes the slope of a Runge-Kutta stage, k_i = alpha_i (net_i - y_i); total_i += b k_i."""
    net, alpha, total, y, n = U(net), U(alpha), U(total), U(y), U(n)
    for i in range(n):
        slope = load(state, alpha + i) * (load(state, net + i) - load(state, y + i))
        store(state, total + i, load(state, total + i) + b * slope)
        store(state, net + i, slope)


@jit_inline
def rk_stage(state: Array, slope: Any, a: Any, y: Any, y_k: Any, n: Any) -> None:
    """Where the next stage looks for its slope: y_k_i = y_i + a slope_i."""
    slope, y, y_k, n = U(slope), U(y), U(y_k), U(n)
    for i in range(n):
        store(state, y_k + i, load(state, y + i) + a * load(state, slope + i))


@jit_inline
def rk_finish(state: Array, total: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i += total_i where ok: the end of a Runge-Kutta step."""
    total, ok, y, n = U(total), U(ok), U(y), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, y + i)
        store(state, y + i, select(good != zero(good), before + load(state, total + i), before))


@jit_inline
def _put(good: Any, value: Any, a: Array, k: Any) -> None:
    store(a, k, select(good, value, load(a, k)))


@jit_inline
def _activate(code: Any, a: Array, x: Any, good: Any, y: Any, n: Any) -> None:
    """a[y + i] = f(a[x + i]) where good, f chosen by a code of ``ACTIVATIONS``. Offsets are unsigned."""
    if code == LOGISTIC:
        for i in range(n):
            _put(good, logistic(load(a, x + i)), a, y + i)
    elif code == TANH:
        for i in range(n):
            _put(good, tanh(load(a, x + i)), a, y + i)
    elif code == RELU:
        for i in range(n):
            _put(good, relu(load(a, x + i)), a, y + i)
    elif code == HARD_TANH:
        for i in range(n):
            _put(good, hard_tanh(load(a, x + i)), a, y + i)
    else:
        for i in range(n):
            _put(good, load(a, x + i), a, y + i)


@jit_inline
def activate_where(code: Any, state: Array, x: Any, ok: Any, y: Any, n: Any) -> None:
    """y_i = f(x_i) where ok, f chosen by a code of ``ACTIVATIONS``: a new state, unless an input was bad."""
    good = load(state, U(ok))
    _activate(code, state, U(x), good != zero(good), U(y), U(n))


@jit_inline
def apply(code: Any, y: Array, yo: Any, n: Any) -> None:
    """y_i = f(y_i), f chosen by a code of ``ACTIVATIONS``."""
    always = zero(load(y, U(yo)))
    _activate(code, y, U(yo), always == always, U(yo), U(n))


@jit_inline
def _bad(value: Any) -> Any:
    """Return 1 where a value is NaN or Inf, else 0."""
    return select(abs(value) < like(value, np.inf), zero(value), one(value))


@jit_inline
def load_inputs(u: Array, n: Any, scales: Array, so: Any, state: Array, x: Any, ok: Any) -> None:
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
def clip_or_hold(low_high: Array, lo: Any, state: Array, ok: Any, held: Any, y: Array, n: Any) -> None:
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
    """Write outputs: y = clip(f(W_out s + b_out)), or s itself; NaN and Inf never leave: see ``clip_or_hold``.

    ``w_out`` is W_out's offset in theta, with b_out behind it; ``s``, ``ok``, ``held`` are offsets in state.
    """
    if affine != 0:
        copy(theta, w_out + q * n, y, 0, q)
        matvec_add(theta, w_out, state, s, y, 0, q, n)
        if code != IDENTITY:
            apply(code, y, 0, q)
    else:
        copy(state, s, y, 0, q)
    clip_or_hold(low_high, lo, state, ok, held, y, q)
