"""CTRNN: the continuous-time recurrent neural network of Beer (1995).

    tau_i dy_i/dt = -y_i + sum_j W_ij s_j + sum_k Win_ik u_k,     s_j = logistic(g_j (y_j + b_j))

R. D. Beer, "On the dynamics of small continuous-time recurrent neural networks", Adaptive Behavior 3 (1995),
eq. 1. The output is read from the new state: out = W_out s + b_out, or s itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Bounds, Cell, Formats
from neuroctl.errors import ExportError
from neuroctl.layout import Layout
from neuroctl.maths import vectors as v
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    logistic_q,
    mul_q16,
    round_shift,
    saturate,
    widest_frac_bits,
)
from neuroctl.maths.jit import jit_integer, jit_step
from neuroctl.spec import Spec

Array = NDArray[Any]

# Where one unit of the genome leads; tau spans [_TAU_LOW_STEPS dt, _TAU_HIGH_S] on a log scale.
_WEIGHT_SCALE: Final = 4.0
_BIAS_SCALE: Final = 2.0
_TAU_LOW_STEPS: Final = 2.0
_TAU_HIGH_S: Final = 2.0


def layout(spec: Spec) -> Layout:
    """Blocks of theta. Forward Euler on the leak alone is unstable unless tau > dt/2."""
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    readout = (("W_out", (q, n), "1"), ("b_out", (q,), "1")) if spec.readout == "affine" else ()
    return Layout(
        ("W", (n, n), "1"),
        ("bias", (n,), "1"),
        ("gain", (n,), "1"),
        ("tau_s", (n,), "s", 0.5 * spec.dt_s, math.inf),
        ("W_in", (n, m), "1"),
        *readout,
    )


def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: y is the network's; the others are scratch, the held output and the two flags."""
    n, q = spec.neurons, spec.outputs
    return Layout(
        ("y", (n,), "1"),
        ("s", (n,), "1"),
        ("net", (n,), "1"),
        ("held", (q,), "1"),
        ("ok", (), "1"),
        ("fault", (), "1"),
    )


@jit_step
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: y_i += dt/tau_i (-y_i + sum_j W_ij s_j + sum_k Win_ik u_k), then read out.

    A step that meets NaN or Inf in u, or would put one out, leaves y as it was (inputs) or holds the last
    output (outputs), and latches the fault flag.

    theta: float[K] or [K, P], see ``layout``; read
    state: float[S] or [S, P], see ``state_layout``; read and written
    u: float[m] or [m, P], inputs; read
    y: float[q] or [q, P], outputs; written
    ints, floats: see ``cells.base``
    """
    n, m, q = ints[0], ints[1], ints[2]
    bias, gain, tau, w_in = n * n, n * n + n, n * n + 2 * n, n * n + 3 * n
    w_out = w_in + n * m
    s, net, held = n, 2 * n, 3 * n
    ok = held + q

    v.fill(1, state, ok, 1)
    v.and_finite(u, 0, m, state, ok)
    v.activate(state, 0, theta, gain, bias, state, s, n)
    v.fill(0, state, net, n)
    v.matvec_add(theta, 0, state, s, state, net, n, n)
    v.matvec_add(theta, w_in, u, 0, state, net, n, m)
    v.relax(state, net, theta, tau, floats[0], ok, 0, n)
    v.activate(state, 0, theta, gain, bias, state, s, n)
    if ints[3] != 0:
        v.copy(theta, w_out + q * n, y, 0, q)
        v.matvec_add(theta, w_out, state, s, y, 0, q, n)
    else:
        v.copy(state, s, y, 0, q)
    v.clip(floats, 1, y, q)
    v.and_finite(y, 0, q, state, ok)
    v.hold(state, ok, held, y, q)


@jit_step
def rollout(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Step through time: u float[T, m(, P)] read, y float[T, q(, P)] written; else as ``step``."""
    for t in range(u.shape[0]):
        step(theta, state, u[t], y[t], ints, floats)


def genome_size(spec: Spec) -> int:
    """Genes: every parameter but the gains, which a change of y's scale makes redundant."""
    return layout(spec).size - spec.neurons


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta; the origin is a center-crossing network (Mathayomchan and Beer 2002).

    - ``W = 4 x``; ``bias_i = -1/2 sum_j W_ij + 2 x`` (an offset from center-crossing); ``gain = 1``
    - ``tau`` from 2 dt to 2 s on a log scale through a logistic, so no gene leaves the range
    - ``W_in`` and ``W_out, b_out`` scaled by the declared limits, so that one gene unit moves across the range
    """
    blocks = layout(spec)
    theta = np.empty(blocks.size)
    p = blocks.views(theta)
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    w, bias, tau, w_in, rest = np.split(x, np.cumsum([n * n, n, n, n * m]))
    p["W"][:] = _WEIGHT_SCALE * w.reshape(n, n)
    p["bias"][:] = -0.5 * p["W"].sum(axis=1) + _BIAS_SCALE * bias
    p["gain"][:] = 1.0
    tau_low = _TAU_LOW_STEPS * spec.dt_s
    tau_high = max(_TAU_HIGH_S, 10.0 * tau_low)
    p["tau_s"][:] = tau_low * (tau_high / tau_low) ** (0.5 + 0.5 * np.tanh(0.5 * tau))
    in_scale = np.array([max(abs(low), abs(high)) for low, high in spec.input_limits or ((-1.0, 1.0),) * m])
    p["W_in"][:] = _WEIGHT_SCALE * w_in.reshape(n, m) / in_scale
    if spec.readout == "affine":
        lows, highs = np.array(spec.output_limits or ((-1.0, 1.0),) * q).T
        w_out, b_out = rest[: q * n].reshape(q, n), rest[q * n :]
        p["W_out"][:] = (highs - lows)[:, None] * w_out
        # Half of each weight is taken off, so that the middle of the range is the resting point of the search.
        p["b_out"][:] = 0.5 * (lows + highs) - 0.5 * p["W_out"].sum(axis=1) + 0.5 * (highs - lows) * b_out
    return theta


# --- Fixed point -----------------------------------------------------------------------------------------------
#
# y, bias and net share one int32 format; s is Q15; weights are int16 (or int8) with one format a block. A tau's
# slot in theta_q holds alpha = dt/tau as mantissa | shift << 16: alpha = mantissa 2^-(16 + shift), mantissa a
# uint16 with its top bit set. No 64-bit number is needed: ``bounds_q`` proves that 32 bits hold everything.

_GUARD_BITS: Final = 30  # y, net, net - y and y + bias stay below 2^30, so that alpha's multiply stays in 32 bits
_MOST_Y_FRAC_BITS: Final = 26
_LEAST_Y_FRAC_BITS: Final = 8
_LEAST_X_FRAC_BITS: Final = 4


def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: y (see the format ``"y"``) and s = logistic(g (y + b)), Q15."""
    return Layout(("y", (spec.neurons,), "1"), ("s", (spec.neurons,), "1"))


@jit_integer
def _matvec_q(a: Array, ao: Any, x: Array, xo: Any, cols: Any) -> Any:
    total = np.int64(0)
    ao, xo = v.U(ao), v.U(xo)
    for j in range(v.U(cols)):
        total += np.int64(a[ao + j]) * np.int64(x[xo + j])
    return total


@jit_integer
def _activate_q(theta: Array, state: Array, n: Any, gain_shift: Any, clamp: Any) -> None:
    bias, gain = n * n, n * n + n
    for i in range(n):
        x = mul_q16(np.int64(state[i]) + np.int64(theta[bias + i]), np.int64(theta[gain + i]))
        state[n + i] = logistic_q(round_shift(saturate(x, -clamp, clamp), gain_shift))


def start_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the state after reset: y = 0 and s to match."""
    state = np.zeros(2 * spec.neurons, np.int32)
    ints = ints_q(spec, formats)
    _activate_q(theta_q, state, ints[0], ints[6], ints[7])
    return state


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers; the definition that generated C equals bit for bit.

    s = logistic_q(g (y + b)); net = (W s) >> + (W_in u) >>; y += ((net - y) alpha); s again; out = (W_out s + b) >>.
    Every >> rounds half up. Saturates at three named places: u into int16, the argument of the logistic, out.

    theta: int32[K] or [K, P], see ``layout``; read
    state: int32[S] or [S, P], see ``state_layout_q``; read and written
    u: int32[m] or [m, P], inputs in the format "u"; read
    y: int32[q] or [q, P], outputs in the format "out"; written
    ints: int64[9 + 2 q], see ``ints_q``; read
    """
    if state.ndim == 1:
        _step_q(theta, state, u, y, ints)
    elif theta.ndim == 1:
        for p in range(state.shape[1]):
            _step_q(theta, state[:, p], u[:, p], y[:, p], ints)
    else:
        for p in range(state.shape[1]):
            _step_q(theta[:, p], state[:, p], u[:, p], y[:, p], ints)


@jit_integer
def _step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    n, m, q, affine = ints[0], ints[1], ints[2], ints[3]
    rec_shift, in_shift, gain_shift, clamp, out_shift = ints[4], ints[5], ints[6], ints[7], ints[8]
    tau, w_in = n * n + 2 * n, n * n + 3 * n
    w_out = w_in + n * m
    b_out = w_out + q * n

    _activate_q(theta, state, n, gain_shift, clamp)
    for i in range(n):
        drive = np.int64(0)
        for k in range(m):
            drive += np.int64(theta[w_in + i * m + k]) * saturate(np.int64(u[k]), -32768, 32767)
        net = round_shift(_matvec_q(theta, i * n, state, n, n), rec_shift) + round_shift(drive, in_shift)
        alpha = np.int64(theta[tau + i])
        change = mul_q16(net - np.int64(state[i]), alpha & 65535)
        state[i] = np.int64(state[i]) + round_shift(change, alpha >> 16)
    _activate_q(theta, state, n, gain_shift, clamp)
    for i in range(q):
        total = np.int64(state[n + i])
        if affine != 0:
            total = _matvec_q(theta, w_out + i * n, state, n, n) + np.int64(theta[b_out + i])
        y[i] = saturate(round_shift(total, out_shift), ints[9 + i], ints[9 + q + i])


@jit_integer
def rollout_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Step through time: u int32[T, m(, P)] read, y int32[T, q(, P)] written; else as ``step_q``."""
    for t in range(u.shape[0]):
        step_q(theta, state, u[t], y[t], ints)


def quantize(spec: Spec, theta: Array, u_format: QFormat, weight_bits: int) -> tuple[Formats, NDArray[np.int32]]:
    """Choose the formats of all blocks and return them with theta_q.

    Args:
        spec: the controller.
        theta: its parameters.
        u_format: format of the inputs.
        weight_bits: storage of W, W_in and W_out: 8 or 16.

    Raises:
        ExportError: alpha = dt/tau is above 1, or a range is too wide for the words.

    """
    blocks = layout(spec)
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    formats = {"u": u_format, "s": QFormat(16, ACTIVATION_FRAC_BITS), "y": _y_format(p, u_format)}
    y_frac = formats["y"].frac_bits
    formats["bias"] = formats["y"]
    formats["gain"] = _gain_format(p["gain"], y_frac)
    formats["W"] = _weight_format(p["W"], weight_bits, _Q15_HIGH, y_frac + _MOST_SHIFT - ACTIVATION_FRAC_BITS)
    formats["W_in"] = _weight_format(p["W_in"], weight_bits, -u_format.low, y_frac + _MOST_SHIFT - u_format.frac_bits)
    formats |= _readout_formats(spec, p, weight_bits)

    theta_q = np.zeros(blocks.size, np.int32)
    for name, block in blocks.blocks.items():
        theta_q[block.part] = _alpha_q(spec, p[name]) if name == "tau_s" else formats[name].quantize(p[name]).ravel()
    return formats, theta_q


_Q15_HIGH: Final = 32767
_MOST_SHIFT: Final = 30  # a shift by 32 or more is undefined in C


def _y_format(p: Mapping[str, Array], u_format: QFormat) -> QFormat:
    """Give y the most fractional bits that leave y, net, their difference and y + bias below 2^29."""
    drive = np.abs(p["W_in"]).sum(axis=1) * -u_format.low * u_format.lsb
    low, high = np.minimum(p["W"], 0).sum(axis=1) - drive, np.maximum(p["W"], 0).sum(axis=1) + drive
    reach = max(float((high - low).max()), float((np.maximum(high, -low) + np.abs(p["bias"])).max()))
    frac_bits = widest_frac_bits(reach, _GUARD_BITS, _MOST_Y_FRAC_BITS)
    if frac_bits < _LEAST_Y_FRAC_BITS:
        most = math.ldexp(1.0, _GUARD_BITS - 1 - _LEAST_Y_FRAC_BITS)
        raise ExportError(f"W, W_in, bias: y can reach {reach:g}; allowed in fixed point: less than {most:g}")
    return QFormat(32, frac_bits)


def _gain_format(gain: Array, y_frac_bits: int) -> QFormat:
    # The clamp of the product, 12 in its own format, has to fit 32 bits too.
    frac_bits = widest_frac_bits(float(np.abs(gain).max()), 16, 43 - y_frac_bits)
    if y_frac_bits + frac_bits - 16 < _LEAST_X_FRAC_BITS:
        raise ExportError(f"gain: {np.abs(gain).max():g} with y in {y_frac_bits} fractional bits; allowed: smaller")
    return QFormat(16, frac_bits)


def _weight_format(weights: Array, bits: int, x_high: int, most: int, offset: float = 0.0) -> QFormat:
    """Most fractional bits such that each weight fits its storage and each row's sum of products 31 bits."""
    frac_bits = widest_frac_bits(float(np.abs(weights).max()), bits, min(24, most))
    while True:
        q = QFormat(bits, frac_bits).quantize(weights).astype(np.int64)
        largest = np.abs(q).sum(axis=1).max() * x_high + math.ldexp(offset, frac_bits + ACTIVATION_FRAC_BITS)
        if largest < 1 << _GUARD_BITS:
            return QFormat(bits, frac_bits)
        frac_bits -= 1


def _readout_formats(spec: Spec, p: Mapping[str, Array], weight_bits: int) -> dict[str, QFormat]:
    reach = 1.0
    if spec.output_limits is not None:
        reach = max(abs(value) for pair in spec.output_limits for value in pair)
    elif spec.readout == "affine":
        reach = float((np.abs(p["W_out"]).sum(axis=1) + np.abs(p["b_out"])).max())
    if spec.readout == "identity":
        # s itself, in Q15 (its 1 is 32767); coarser only where the limits ask for more than 1.
        return {"out": QFormat(16, ACTIVATION_FRAC_BITS if reach <= 1.0 else widest_frac_bits(reach, 16))}
    out_frac = widest_frac_bits(reach, 16)
    most = out_frac + _MOST_SHIFT - ACTIVATION_FRAC_BITS
    w_out = _weight_format(p["W_out"], weight_bits, _Q15_HIGH, most, float(np.abs(p["b_out"]).max()))
    sum_frac = w_out.frac_bits + ACTIVATION_FRAC_BITS
    return {"W_out": w_out, "b_out": QFormat(32, sum_frac), "out": QFormat(16, min(out_frac, sum_frac))}


def _alpha_q(spec: Spec, tau_s: Array) -> NDArray[np.int32]:
    packed = []
    for i, tau in enumerate(tau_s):
        alpha = spec.dt_s / float(tau)
        # The tolerance admits tau = dt stored in float32; its alpha becomes 65535/65536.
        if alpha > 1.0 + 1e-6:
            raise ExportError(f"tau_s[{i}]: {tau:g}; allowed in fixed point: at least dt_s = {spec.dt_s:g} s")
        shift = max(0, -math.frexp(alpha)[1])
        mantissa = min(65535, math.floor(math.ldexp(alpha, 16 + shift) + 0.5))
        if shift > 30:
            raise ExportError(f"tau_s[{i}]: {tau:g}; allowed in fixed point: at most 2^30 dt_s")
        packed.append(mantissa | shift << 16)
    return np.array(packed, np.int32)


def ints_q(spec: Spec, formats: Formats) -> NDArray[np.int64]:
    """Sizes n, m, q, affine; shifts of W s, W_in u and g (y + b), that product's clamp; shift, lows, highs of out."""
    y_frac = formats["y"].frac_bits
    x_frac = y_frac + formats["gain"].frac_bits - 16
    out_frac = formats["b_out"].frac_bits if spec.readout == "affine" else ACTIVATION_FRAC_BITS
    shifts = [
        formats["W"].frac_bits + ACTIVATION_FRAC_BITS - y_frac,
        formats["W_in"].frac_bits + formats["u"].frac_bits - y_frac,
        x_frac - ARGUMENT_FRAC_BITS,
        ARGUMENT_LIMIT << x_frac,
        out_frac - formats["out"].frac_bits,
    ]
    out = formats["out"]
    lows, highs = [out.low] * spec.outputs, [out.high] * spec.outputs
    if spec.output_limits is not None:
        lows = [int(out.quantize(low)) for low, _ in spec.output_limits]
        highs = [int(out.quantize(high)) for _, high in spec.output_limits]
    sizes = [spec.neurons, spec.inputs, spec.outputs, int(spec.readout == "affine")]
    return np.array(sizes + shifts + lows + highs, dtype=np.int64)


def bounds_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> Bounds:
    """Range of every intermediate of ``step_q``, over all int16 inputs and all states reachable from reset.

    y starts at 0 and each update moves it towards net without passing it: mul_q16 and round_shift take a number
    d to one between 0 and d, since alpha < 1. So y stays in the hull of 0 and net's range. Exact Python integers.
    """
    ints = [int(value) for value in ints_q(spec, formats)]
    rec_shift, in_shift, out_shift = ints[4], ints[5], ints[8]
    p = {name: view.astype(object) for name, view in layout(spec).views(theta_q).items()}
    rec = [_row_range(row, 0, _Q15_HIGH) for row in p["W"]]
    drive = [_row_range(row, formats["u"].low, formats["u"].high) for row in p["W_in"]]
    rec_y = [(round_shift(low, rec_shift), round_shift(high, rec_shift)) for low, high in rec]
    drive_y = [(round_shift(low, in_shift), round_shift(high, in_shift)) for low, high in drive]
    net = [(a + c, b + d) for (a, b), (c, d) in zip(rec_y, drive_y, strict=True)]
    y = [(min(0, low), max(0, high)) for low, high in net]
    biased = [(low + b, high + b) for (low, high), b in zip(y, p["bias"], strict=True)]
    bounds = {
        "W s": _hull(rec),
        "W s, shifted": _hull(rec_y),
        "W_in u": _hull(drive),
        "W_in u, shifted": _hull(drive_y),
        "net": _hull(net),
        "y": _hull(y),
        "net - y": _hull([(a - d, b - c) for (a, b), (c, d) in zip(net, y, strict=True)]),
        "y + bias": _hull(biased),
    }
    if spec.readout == "affine":
        out = [_row_range(row, 0, _Q15_HIGH) for row in p["W_out"]]
        bounds["W_out s + b_out"] = _hull([(a + b, c + b) for (a, c), b in zip(out, p["b_out"], strict=True)])
        low, high = bounds["W_out s + b_out"]
        bounds["out, rounded"] = (low, high + (1 << out_shift >> 1))
    return bounds


def _row_range(row: Array, low: int, high: int) -> tuple[int, int]:
    """Range of any partial sum of w_j x_j with each x_j in [low, high] and low <= 0 <= high."""
    ends = [sorted((int(w) * low, int(w) * high)) for w in row]
    return sum(end[0] for end in ends), sum(end[1] for end in ends)


def _hull(ranges: list[tuple[int, int]]) -> tuple[int, int]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


CELL: Final = Cell(
    name="ctrnn",
    layout=layout,
    state_layout=state_layout,
    genome_size=genome_size,
    decode=decode,
    step=step,
    rollout=rollout,
    quantize=quantize,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    bounds_q=bounds_q,
    start_q=start_q,
    step_q=step_q,
    rollout_q=rollout_q,
)
