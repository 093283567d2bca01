"""Adjoints of ``cells.ops``: how the loss changes with what went in, from how it changes with what came out.

Arrays, offsets and elements are as in ``maths.vectors``. ``tape`` holds what forward steps left, ``carry`` what goes
from a step to the one before it, ``deltas`` what products for the weights' gradients are made of.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from neuroctl.maths.activations import HARD_TANH, LOGISTIC, RELU, TANH
from neuroctl.maths.jit import jit_inline
from neuroctl.maths.packs import load, select, store
from neuroctl.maths.scalars import one, zero
from neuroctl.maths.transposed import transposed, two_transposed
from neuroctl.maths.vectors import U, add

Array = NDArray[Any]


@jit_inline
def through_activation(code: Any, tape: Array, h: Any, d: Array, do: Any, n: Any) -> None:
    """d_i *= f'(x_i), of the activation h_i = f(x_i) alone; at the corners of ReLU and hard tanh the slope is 0."""
    h, do, n = U(h), U(do), U(n)
    if code == LOGISTIC:
        for i in range(n):
            value = load(tape, h + i)
            store(d, do + i, load(d, do + i) * value * (one(value) - value))
    elif code == TANH:
        for i in range(n):
            value = load(tape, h + i)
            store(d, do + i, load(d, do + i) * (one(value) - value * value))
    elif code == RELU:
        for i in range(n):
            value = load(tape, h + i)
            store(d, do + i, select(value > zero(value), load(d, do + i), zero(value)))
    elif code == HARD_TANH:
        for i in range(n):
            value = load(tape, h + i)
            store(d, do + i, select(abs(value) < one(value), load(d, do + i), zero(value)))


@jit_inline
def _through_logistic(
    theta: Array, gain: Any, bias: Any, tape: Array, y: Any, s: Any, carry: Array, ds: Any, d_bias: Any, d_gain: Any
) -> Any:  # fmt: skip
    """Return the change with y of s = logistic(g (y + b)); sum up what bias (but for the factor g) and gain get."""
    value = load(tape, s)
    slope = load(carry, ds) * value * (one(value) - value)
    store(carry, d_bias, load(carry, d_bias) + slope)
    store(carry, d_gain, load(carry, d_gain) + slope * (load(tape, y) + load(theta, bias)))
    return load(theta, gain) * slope


@jit_inline
def through_state(
    theta: Array, gain: Any, bias: Any, tape: Array, y: Any, s: Any, carry: Array, dy: Any, ds: Any, d_bias: Any,
    d_gain: Any, n: Any,
) -> None:  # fmt: skip
    """dy_i += the change with y_i of s_i, which is the state's activation."""
    gain, bias, y, s, n = U(gain), U(bias), U(y), U(s), U(n)
    dy, ds, d_bias, d_gain = U(dy), U(ds), U(d_bias), U(d_gain)
    for i in range(n):
        change = _through_logistic(
            theta, gain + i, bias + i, tape, y + i, s + i, carry, ds + i, d_bias + i, d_gain + i
        )  # fmt: skip
        store(carry, dy + i, load(carry, dy + i) + change)


@jit_inline
def leaky_back(
    tape: Array, before: Any, after: Any, carry: Array, alpha: Any, net: Any, d_tau: Any, deltas: Array, at: Any, n: Any
) -> None:  # fmt: skip
    """Back over y_i += alpha_i (net_i - y_i). What tau gets is summed up without its factor, -1 / tau_i."""
    before, after, alpha, net, d_tau, at, n = U(before), U(after), U(alpha), U(net), U(d_tau), U(at), U(n)
    for i in range(n):
        dy = load(carry, i)
        moved = load(tape, after + i) - load(tape, before + i)
        store(carry, d_tau + i, load(carry, d_tau + i) + dy * moved)
        d_net = load(carry, alpha + i) * dy
        store(deltas, at + i, d_net)
        store(carry, net + i, d_net)
        store(carry, i, dy - d_net)


@jit_inline
def scaled(factor: Any, carry: Array, x: Any, y: Any, n: Any) -> None:
    """y_i = factor x_i; both are offsets in the carry."""
    x, y, n = U(x), U(y), U(n)
    for i in range(n):
        store(carry, y + i, factor * load(carry, x + i))


@jit_inline
def _rk_slope(tape: Array, before: Any, after: Any, later: Any, floats: Array, tables: Any, stages: Any, k: Any,
              width: Any) -> Any:  # fmt: skip
    """Return a stage's slope, worked out from where it led: y_(k+1) = y_0 + a k; of the last one, y + sum_k b k."""
    start = load(tape, before)
    if k + U(1) < stages:
        return (load(tape, later + U(2) * width * k) - start) / floats[tables + k]
    rest = load(tape, after) - start
    for j in range(stages - U(1)):
        slope = (load(tape, later + U(2) * width * j) - start) / floats[tables + j]
        rest = rest - floats[tables + stages + j] * slope
    return rest / floats[tables + stages + k]


@jit_inline
def rk_sum_slope(
    tape: Array, before: Any, after: Any, later: Any, carry: Array, slope: Any, d_tau: Any, floats: Array, tables: Any,
    stages: Any, k: Any, n: Any,
) -> None:  # fmt: skip
    """Sum up what tau gets from stage k, without its factor, -1 / tau_i."""
    before, after, later, slope, d_tau = U(before), U(after), U(later), U(slope), U(d_tau)
    tables, stages, k, n = U(tables), U(stages), U(k), U(n)
    for i in range(n):
        moved = _rk_slope(tape, before + i, after + i, later + i, floats, tables, stages, k, n)
        store(carry, d_tau + i, load(carry, d_tau + i) + load(carry, slope + i) * moved)


@jit_inline
def rk_slope_back(carry: Array, slope: Any, alpha: Any, deltas: Array, net: Any, drive: Any, n: Any) -> None:
    """Back over k_i = alpha_i (net_i - y_i): what net gets, and drive from all stages."""
    slope, alpha, net, drive, n = U(slope), U(alpha), U(net), U(drive), U(n)
    for i in range(n):
        d_net = load(carry, alpha + i) * load(carry, slope + i)
        store(deltas, net + i, d_net)
        store(deltas, drive + i, load(deltas, drive + i) + d_net)


@jit_inline
def rk_stage_back(
    theta: Array, gain: Any, bias: Any, tape: Array, y: Any, s: Any, carry: Array, slope: Any, alpha: Any, ds: Any,
    earlier: Any, d_bias: Any, d_gain: Any, b: Any, a: Any, n: Any,
) -> None:  # fmt: skip
    """From stage k to the one before it: sum up dy_k, and slope_i = b dy_i + a dy_k."""
    gain, bias, y, s, slope, alpha, n = U(gain), U(bias), U(y), U(s), U(slope), U(alpha), U(n)
    ds, earlier, d_bias, d_gain = U(ds), U(earlier), U(d_bias), U(d_gain)
    for i in range(n):
        change = _through_logistic(
            theta, gain + i, bias + i, tape, y + i, s + i, carry, ds + i, d_bias + i, d_gain + i
        )  # fmt: skip
        change = change - load(carry, alpha + i) * load(carry, slope + i)
        store(carry, earlier + i, load(carry, earlier + i) + change)
        store(carry, slope + i, b * load(carry, i) + a * change)


@jit_inline
def rk_begin_back(carry: Array, slope: Any, alpha: Any, earlier: Any, n: Any) -> None:
    """dy_i gets what all stages took from y_i, the first one's leak included."""
    slope, alpha, earlier, n = U(slope), U(alpha), U(earlier), U(n)
    for i in range(n):
        leak = load(carry, alpha + i) * load(carry, slope + i)
        store(carry, i, load(carry, i) + load(carry, earlier + i) - leak)


@jit_inline
def scale_ctrnn(
    theta: Array, gain: Any, tau: Any, carry: Array, d_bias: Any, d_tau: Any, alpha: Any, dt_s: Any, exact: Any, n: Any
) -> None:  # fmt: skip
    """Give bias's and tau's sums the factors that are the same in all steps.

    alpha = dt/tau changes with tau as -alpha/tau, and 1 - exp(-x) with x = dt/tau as -x exp(-x)/tau.
    """
    gain, tau, d_bias, d_tau, alpha, n = U(gain), U(tau), U(d_bias), U(d_tau), U(alpha), U(n)
    for i in range(n):
        store(carry, d_bias + i, load(theta, gain + i) * load(carry, d_bias + i))
        time, sums = load(theta, tau + i), load(carry, d_tau + i)
        if exact != 0:
            value = load(carry, alpha + i)
            sums = sums * (dt_s / time) * (one(value) - value) / value
        store(carry, d_tau + i, -sums / time)


@jit_inline
def two_sources(
    affine: Any, theta: Array, w_out: Any, q: Any, deltas: Array, out: Any, w: Any, n_next: Any, later: Array, net: Any,
    y: Array, yo: Any, n: Any,
) -> None:  # fmt: skip
    """Set y to the change with activations: through the readout, and through the products W x of the step after."""
    if affine != 0:
        two_transposed(theta, w_out, q, deltas, out, w, n_next, later, net, y, yo, n)
    else:
        transposed(theta, w, n_next, later, net, y, yo, n)
        add(deltas, out, y, yo, n)


@jit_inline
def through_readout(
    affine: Any, code: Any, tape: Array, out: Any, dy: Array, dyo: Any, deltas: Array, do: Any, carry: Array,
    d_bias: Any, q: Any, low_high: Array, lo: Any,
) -> None:  # fmt: skip
    """Set d_i to the change with W_out s + b_out, or with s itself, and sum up what b_out gets.

    An output at one of its limits does not change.
    """
    out, dyo, do, d_bias, low, q = U(out), U(dyo), U(do), U(d_bias), U(lo), U(q)
    for i in range(q):
        value, slope = load(tape, out + i), load(dy, dyo + i)
        inside = (value > low_high[low + i]) & (value < low_high[low + q + i])
        store(deltas, do + i, select(inside, slope, zero(slope)))
    if affine != 0:
        through_activation(code, tape, out, deltas, do, q)
        for i in range(q):
            store(carry, d_bias + i, load(carry, d_bias + i) + load(deltas, do + i))


@jit_inline
def recall_back(
    theta: Array, u: Any, tape: Array, before: Any, deltas: Array, net: Any, carry: Array, dh: Any, d_u: Any,
    d_bias: Any, n: Any,
) -> None:  # fmt: skip
    """Back over net_i = ... + u_i h_i + b_i: dh_i = u_i d_i, and the sums for u and bias."""
    u, before, net, dh, d_u, d_bias, n = U(u), U(before), U(net), U(dh), U(d_u), U(d_bias), U(n)
    for i in range(n):
        d = load(deltas, net + i)
        store(carry, dh + i, load(theta, u + i) * d)
        store(carry, d_u + i, load(carry, d_u + i) + d * load(tape, before + i))
        store(carry, d_bias + i, load(carry, d_bias + i) + d)
