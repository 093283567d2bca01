"""CTRNN in fixed point: formats, the integer step, and the range of all it computes.

y, bias and net share one int32 format; s is Q15; weights are int16 (or int8) with one format a block. A tau's slot in
theta_q holds alpha = dt/tau as mantissa | shift << 16: alpha = mantissa 2^-(16 + shift), mantissa a uint16 with its
top bit set. Where a neuron is so slow that its last bits would stall, all keep what a step drops, the residual.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges, Taped
from neuroctl.cells.ctrnn import layout
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed.ctrnn_formats import INTEGRATORS, MAX_RESIDUAL_BITS, alpha_q, gain_format, stalls, y_format
from neuroctl.cells.fixed.ranges import hull, plus, row_ranges, shifted, signed
from neuroctl.errors import ExportError
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    QFormats,
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

N, M, OUT, AFFINE, REC_SHIFT, IN_SHIFT, ARGUMENT_SHIFT, CLAMP, RESIDUAL, READOUT = range(10)
"""Places in ``ints``: sizes; 1 for an affine readout; the shifts of W s, W_in u and g (y + b), and the clamp of the
last; 1 where there is a residual; from READOUT on ``readout_ints``."""


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: y (see the format ``"y"``); s = logistic(g (y + b)), Q15; residual, 0 if unused."""
    n = spec.neurons
    return Layout(("y", (n,), "1"), ("s", (n,), "1"), ("residual", (n,), "1"))


@jit_integer
def prepare_q(theta: Array, state: Array, ints: Array) -> None:
    """Bring s in line with y, which may have been written to since the last step."""
    n, gain_shift, clamp = U(base.size(ints, N)), wide(ints, U(ARGUMENT_SHIFT)), wide(ints, U(CLAMP))
    bias, gain = n * n, n * n + n
    for i in range(n):
        x = mul_q16(wide(state, i) + wide(theta, bias + i), wide(theta, gain + i))
        store(state, n + i, logistic_q(round_shift(saturate(x, -clamp, clamp), gain_shift)))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers; the definition that generated C equals bit for bit.

    s = logistic_q(g (y + b)); net = (W s) >> + (W_in u) >>; y += ((net - y) alpha); s again; out = (W_out s + b) >>.
    Every >> rounds half up; with a residual y's takes the last steps' remainder along and leaves the next its own.
    Saturates at three named places: u into int16, the argument of the logistic, out.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see the places above.
    """
    prepare_q(theta, state, ints)
    step_prepared_q(theta, state, u, y, ints)


@jit_integer
def step_prepared_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step from a state in which s fits y, and leave it so."""
    n, m, q, affine = U(base.size(ints, N)), U(base.size(ints, M)), base.size(ints, OUT), base.size(ints, AFFINE)
    rec_shift, in_shift, keeps = wide(ints, U(REC_SHIFT)), wide(ints, U(IN_SHIFT)), wide(ints, U(RESIDUAL)) != 0
    tau, w_in, s, residual = n * n + U(2) * n, n * n + U(3) * n, n, U(2) * n
    some_keep, all_keep = any_lane(keeps), not any_lane(wide(ints, U(RESIDUAL)) == 0)
    for i in range(n):
        net = round_shift(base.matvec_q(theta, i * n, state, s, n), rec_shift)
        net = net + round_shift(base.drive_q(theta, w_in + i * m, u, m), in_shift)
        alpha, before, rest = wide(theta, tau + i), wide(state, i), wide(state, residual + i)
        away, mantissa, shift = net - before, alpha & 65535, alpha >> 16
        after, left = before, rest
        if some_keep:
            over = select(shift > MAX_RESIDUAL_BITS, shift - MAX_RESIDUAL_BITS, 0 * shift)
            change = round_shift(mul_q16(away, mantissa), over) + rest
            after, left = before + (change >> (shift - over)), change & ((1 << (shift - over)) - 1)
        if not all_keep:
            after = select(keeps, after, before + round_shift(away * mantissa, shift + 16))
            left = select(keeps, left, rest)
        store(state, i, after)
        store(state, residual + i, left)
    prepare_q(theta, state, ints)
    base.readout_q(theta, w_in + n * m, state, s, n, y, q, affine, ints, READOUT)


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: the integrator is none of ``INTEGRATORS``, alpha = dt/tau is above 1, or a range is too wide for
            the words.

    """
    if spec.integrator not in INTEGRATORS:
        raise ExportError(f"integrator: {spec.integrator!r}; allowed in fixed point: {', '.join(INTEGRATORS)}")
    theta = options.rounded(layout(spec), theta)
    p = layout(spec).rows(theta.astype(np.float64))
    y = y_format(spec, p, u_format, options)
    y_frac, s_frac = y.frac_bits, np.full_like(y.frac_bits, ACTIVATION_FRAC_BITS)
    formats = {"u": QFormats(16, np.full_like(y_frac, u_format.frac_bits)), "s": QFormats(16, s_frac)}
    formats |= {"y": y, "bias": y, "gain": gain_format(p["gain"], y_frac)} | ({"y0": y} if "y0" in p else {})
    most = y_frac + base.MAX_SHIFT
    formats["W"] = options.weights("W", p["W"], base.Q15_HIGH, most - ACTIVATION_FRAC_BITS)
    formats["W_in"] = options.weights("W_in", p["W_in"], -u_format.low, most - u_format.frac_bits)
    formats |= base.readout_formats(spec, p, options)
    slow = stalls(spec, p, u_format.lsb, y_frac)
    formats["residual"] = QFormats(np.where(slow, 16, 0), y_frac + MAX_RESIDUAL_BITS)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats.

    Raises:
        ExportError: alpha = dt/tau is above 1, or so small that y, which keeps no residual, would stall.

    """
    blocks = layout(spec)
    p = blocks.rows(theta.astype(np.float64))
    kept = _keeps(formats)
    if not kept.all():
        base.refuse(
            ~kept & stalls(spec, p, formats["u"].lsb, formats["y"].frac_bits),
            lambda at: f"tau_s: up to {p['tau_s'][at].max():g}; allowed in formats without a residual: faster",
        )
    theta_q = np.zeros(theta.shape, np.int32)
    views = blocks.rows(theta_q)
    for name, values in p.items():
        views[name][:] = alpha_q(spec, values) if name == "tau_s" else formats[name].quantize(values)
    return theta_q


def _keeps(formats: Population) -> NDArray[np.bool_]:
    """Return which controllers keep a residual, bool ``[P]``."""
    lanes = len(formats["y"])
    return np.broadcast_to(formats["residual"].bits > 0 if "residual" in formats else False, lanes)


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see the places above."""
    y_frac = formats["y"].frac_bits
    x_frac = y_frac + formats["gain"].frac_bits - 16
    numbers = [
        *(spec.neurons, spec.inputs, spec.outputs, int(spec.readout == "affine")),
        base.check_shift("W", formats["W"].frac_bits + ACTIVATION_FRAC_BITS - y_frac),
        base.check_shift("W_in", formats["W_in"].frac_bits + formats["u"].frac_bits - y_frac),
        base.check_argument_shift(x_frac - ARGUMENT_FRAC_BITS),
        ARGUMENT_LIMIT << x_frac,
        _keeps(formats),
    ]
    return base.stacked([*numbers, *base.readout_ints(spec, formats)], len(y_frac))


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all states reachable from reset.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.

    y starts at 0, or y0, and each update moves it towards net without passing it: a number d times alpha < 1, rounded
    half up once or twice, lies between 0 and d; a residual below 2^shift adds less than one before the shift's floor,
    and nothing to d = 0. So y stays in the hull of where it starts and net's range.
    """
    p = layout(spec).rows(theta_q.astype(np.int64))
    base.check_shift("tau_s, as dt/tau,", p["tau_s"] >> 16, 0)  # a file may hold any
    rec = row_ranges(p["W"], 0, base.Q15_HIGH)
    drive = row_ranges(p["W_in"], formats["u"].low, formats["u"].high)
    rec_y, drive_y = shifted(rec, ints[:, REC_SHIFT]), shifted(drive, ints[:, IN_SHIFT])
    net = plus(rec_y, drive_y)
    start = p.get("y0", np.int64(0))
    y = np.minimum(start, net[0]), np.maximum(start, net[1])
    ranges = {
        "W s": hull(rec),
        "W s, shifted": hull(rec_y),
        "W_in u": hull(drive),
        "W_in u, shifted": hull(drive_y),
        "net": hull(net),
        "y": hull(y),
        "net - y": hull((net[0] - y[1], net[1] - y[0])),
        "y + bias": hull(plus(y, (p["bias"], p["bias"]))),
    }
    if spec.readout == "affine":
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], (0, base.Q15_HIGH))
    return ranges


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return y, s and, where it is used, the residual: below 2^shift of the slowest neuron, at most 16 bits."""
    blocks = {"y": signed(*bounds["y"]), "s": ("int16", 0, base.Q15_HIGH)}
    if "residual" in formats:
        slowest = int(layout(spec).views(theta_q)["tau_s"].max()) >> 16
        blocks["residual"] = ("uint16", 0, (1 << min(slowest, MAX_RESIDUAL_BITS)) - 1)
    return blocks


def tape_q(spec: Spec) -> Taped:
    """Return y and s as they are."""
    return {"y": (("y", "y"),), "s": (("s", "s"),)}


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    prepare_q=prepare_q,
    step_prepared_q=step_prepared_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("ctrnn", step_prepared_q, prepare_q),
    tape_q=tape_q,
)
