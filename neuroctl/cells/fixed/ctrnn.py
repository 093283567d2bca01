"""CTRNN in fixed point: formats, the integer step, and the range of all it computes.

y, bias and net share one int32 format; s is Q15; weights are int16 (or int8) with one format a block. A tau's slot in
theta_q holds alpha = dt/tau as mantissa | shift << 16: alpha = mantissa 2^-(16 + shift), mantissa a uint16 with its
top bit set. Where a neuron is so slow that its last bits would stall, all keep what a step drops, the residual.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Bounds, Formats, Integer
from neuroctl.cells.ctrnn import layout
from neuroctl.cells.fixed.base import (
    MOST_SHIFT,
    Q15_HIGH,
    Choice,
    check_argument_shift,
    check_shift,
    drive_q,
    hull,
    matvec_q,
    readout_bounds,
    readout_formats,
    readout_ints,
    readout_q,
    row_ranges,
    size,
)
from neuroctl.cells.fixed.ctrnn_formats import ALPHA, MOST_RESIDUAL_BITS, alpha_q, gain_format, stalls, y_format
from neuroctl.errors import ExportError
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    logistic_q,
    mul_q16,
    round_shift,
    saturate,
)
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.packs import any_lane, select, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

READOUT: Final = 9
"""Where ``readout_ints`` start in ``ints_q``."""


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: y (see the format ``"y"``); s = logistic(g (y + b)), Q15; residual, 0 if unused."""
    n = spec.neurons
    return Layout(("y", (n,), "1"), ("s", (n,), "1"), ("residual", (n,), "1"))


@jit_integer
def prepare_q(theta: Array, state: Array, ints: Array) -> None:
    """Bring s in line with y, which may have been written to since the last step."""
    n, gain_shift, clamp = U(size(ints, 0)), wide(ints, U(6)), wide(ints, U(7))
    bias, gain = n * n, n * n + n
    for i in range(n):
        x = mul_q16(wide(state, i) + wide(theta, bias + i), wide(theta, gain + i))
        store(state, n + i, logistic_q(round_shift(saturate(x, -clamp, clamp), gain_shift)))


def start_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the state after reset: y = 0 and s to match."""
    state = np.zeros(3 * spec.neurons, np.int32)
    prepare_q(theta_q, state, ints_q(spec, formats))
    return state


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers; the definition that generated C equals bit for bit.

    s = logistic_q(g (y + b)); net = (W s) >> + (W_in u) >>; y += ((net - y) alpha); s again; out = (W_out s + b) >>.
    Every >> rounds half up; with a residual y's takes the last steps' remainder along and leaves the next its own.
    Saturates at three named places: u into int16, the argument of the logistic, out.

    theta: int32[K] or [K, W], see ``layout``; read
    state: int32[S] or [S, W], see ``state_layout_q``; read and written
    u: int32[m] or [m, W], inputs in the format "u"; read
    y: int32[q] or [q, W], outputs in the format "out"; written
    ints: int64[13 + 2 q], see ``ints_q``; read
    """
    prepare_q(theta, state, ints)
    step_prepared_q(theta, state, u, y, ints)


@jit_integer
def step_prepared_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step from a state in which s fits y, and leave it so."""
    n, m, q, affine = U(size(ints, 0)), U(size(ints, 1)), size(ints, 2), size(ints, 3)
    rec_shift, in_shift, keeps = wide(ints, U(4)), wide(ints, U(5)), wide(ints, U(8)) != 0
    tau, w_in, s, residual = n * n + U(2) * n, n * n + U(3) * n, n, U(2) * n
    some_keep, all_keep = any_lane(keeps), not any_lane(wide(ints, U(8)) == 0)
    for i in range(n):
        net = round_shift(matvec_q(theta, i * n, state, s, n), rec_shift)
        net = net + round_shift(drive_q(theta, w_in + i * m, u, m), in_shift)
        alpha, before, rest = wide(theta, tau + i), wide(state, i), wide(state, residual + i)
        away, mantissa, shift = net - before, alpha & 65535, alpha >> 16
        after, left = before, rest
        if some_keep:
            over = select(shift > MOST_RESIDUAL_BITS, shift - MOST_RESIDUAL_BITS, 0 * shift)
            change = round_shift(mul_q16(away, mantissa), over) + rest
            after, left = before + (change >> (shift - over)), change & ((1 << (shift - over)) - 1)
        if not all_keep:
            after = select(keeps, after, before + round_shift(away * mantissa, shift + 16))
            left = select(keeps, left, rest)
        store(state, i, after)
        store(state, residual + i, left)
    prepare_q(theta, state, ints)
    readout_q(theta, w_in + n * m, state, s, n, y, q, affine, ints, READOUT)


@jit_integer
def rollout_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Step through time: u int32[T, m] read, y int32[T, q] written; else as ``step_q``."""
    prepare_q(theta, state, ints)
    for t in range(u.shape[0]):
        step_prepared_q(theta, state, u[t], y[t], ints)


def quantize(spec: Spec, theta: Array, u_format: QFormat, choice: Choice) -> tuple[Formats, NDArray[np.int32]]:
    """Choose the formats of all blocks and return them with theta_q. Integrators: euler and etd1.

    Raises:
        ExportError: alpha = dt/tau is above 1, or a range is too wide for the words.

    """
    if spec.integrator not in ALPHA:
        raise ExportError(f"integrator: {spec.integrator!r}; allowed in fixed point: {', '.join(ALPHA)}")
    blocks = layout(spec)
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    formats = {"u": u_format, "s": QFormat(16, ACTIVATION_FRAC_BITS), "y": y_format(p, u_format, choice)}
    y_frac = formats["y"].frac_bits
    formats["bias"] = formats["y"]
    formats["gain"] = gain_format(p["gain"], y_frac)
    most = y_frac + MOST_SHIFT
    formats["W"] = choice.weights("W", p["W"], Q15_HIGH, most - ACTIVATION_FRAC_BITS)
    formats["W_in"] = choice.weights("W_in", p["W_in"], -u_format.low, most - u_format.frac_bits)
    formats |= readout_formats(spec, p, choice)
    if stalls(spec, p, u_format, y_frac):
        formats["residual"] = QFormat(16, y_frac + MOST_RESIDUAL_BITS)

    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Formats) -> NDArray[np.int32]:
    """Return theta in given formats.

    Raises:
        ExportError: alpha = dt/tau is above 1, or so small that y, which keeps no residual, would stall.

    """
    blocks = layout(spec)
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    if "residual" not in formats and stalls(spec, p, formats["u"], formats["y"].frac_bits):
        raise ExportError(f"tau_s: up to {p['tau_s'].max():g}; allowed in formats without a residual: faster")
    packed = np.zeros(blocks.size, np.int32)
    for name, block in blocks.blocks.items():
        packed[block.part] = alpha_q(spec, p[name]) if name == "tau_s" else formats[name].quantize(p[name]).ravel()
    return packed


def ints_q(spec: Spec, formats: Formats) -> NDArray[np.int64]:
    """Sizes n, m, q, affine; shifts of W s, W_in u, g (y + b), its clamp; 1 with residual; then ``readout_ints``."""
    y_frac = formats["y"].frac_bits
    x_frac = y_frac + formats["gain"].frac_bits - 16
    shifts = [
        check_shift("W", formats["W"].frac_bits + ACTIVATION_FRAC_BITS - y_frac),
        check_shift("W_in", formats["W_in"].frac_bits + formats["u"].frac_bits - y_frac),
        check_argument_shift(x_frac - ARGUMENT_FRAC_BITS),
        ARGUMENT_LIMIT << x_frac,
        int("residual" in formats),
    ]
    sizes = [spec.neurons, spec.inputs, spec.outputs, int(spec.readout == "affine")]
    return np.array([*sizes, *shifts, *readout_ints(spec, formats)], dtype=np.int64)


def bounds_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> Bounds:
    """Range of every intermediate of ``step_q``, over all int16 inputs and all states reachable from reset.

    y starts at 0 and each update moves it towards net without passing it: a number d times alpha < 1, rounded half up
    once or twice, lies between 0 and d; a residual below 2^shift adds less than one before the shift's floor, and
    nothing to d = 0. So y stays in the hull of 0 and net's range. Exact Python integers.
    """
    ints = [int(value) for value in ints_q(spec, formats)]
    rec_shift, in_shift = ints[4], ints[5]
    p = {name: view.astype(object) for name, view in layout(spec).views(theta_q).items()}
    for alpha in p["tau_s"]:  # a file may hold any
        check_shift("tau_s, as dt/tau,", alpha >> 16, 0)
    rec = row_ranges(p["W"], 0, Q15_HIGH)
    drive = row_ranges(p["W_in"], formats["u"].low, formats["u"].high)
    rec_y = [(round_shift(low, rec_shift), round_shift(high, rec_shift)) for low, high in rec]
    drive_y = [(round_shift(low, in_shift), round_shift(high, in_shift)) for low, high in drive]
    net = [(a + c, b + d) for (a, b), (c, d) in zip(rec_y, drive_y, strict=True)]
    y = [(min(0, low), max(0, high)) for low, high in net]
    biased = [(low + b, high + b) for (low, high), b in zip(y, p["bias"], strict=True)]
    bounds = {
        "W s": hull(rec),
        "W s, shifted": hull(rec_y),
        "W_in u": hull(drive),
        "W_in u, shifted": hull(drive_y),
        "net": hull(net),
        "y": hull(y),
        "net - y": hull([(a - d, b - c) for (a, b), (c, d) in zip(net, y, strict=True)]),
        "y + bias": hull(biased),
    }
    if spec.readout == "affine":
        bounds |= readout_bounds(spec, formats, p["W_out"], p["b_out"], (0, Q15_HIGH))
    return bounds


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    bounds_q=bounds_q,
    start_q=start_q,
    prepare_q=prepare_q,
    step_prepared_q=step_prepared_q,
    step_q=step_q,
    rollout_q=rollout_q,
)
