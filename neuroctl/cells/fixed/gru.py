"""GRU in fixed point: formats, the integer step, and the range of all it computes.

Gates and candidate are Q15. h lies between two of them, and h0 within them, so it needs no proof: it is int32 with 29
fractional bits, so that a neuron that hardly moves does not stall, or int16 in Q15. Products with U and W_out take it
narrowed to Q15.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges, Taped
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import hull, plus, row_ranges, shifted, signed
from neuroctl.cells.gru import layout
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, QFormats, mul_q16, round_shift
from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

H_SHIFT: Final = d.OWN
"""Place in ``ints``: the shift from h to Q15."""
_H_FRAC_BITS: Final = {16: ACTIVATION_FRAC_BITS, 32: 29}  # by bits of storage; differences of two stay below 2^30


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: h (see the format ``"h"``); the others are scratch, in Q15 but for ``recalled``.

    They are those of the float state, and ``narrow``, h in Q15; ``recalled`` is in the format ``"net"``.
    """
    names = ("h", "reset", "update", "candidate", "recalled", "narrow")
    return Layout(*((name, (spec.neurons,), "1") for name in names))


@jit_integer_inline
def _narrow_q(state: Array, narrow: Any, shift: Any, n: Any) -> None:
    for i in range(n):
        store(state, narrow + i, round_shift(wide(state, i), shift))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers; the definition that generated C equals bit for bit.

    r, z = logistic_q((W u) >> + (U h) >> + b); c = tanh_q((W_c u) >> + b + (r ((U_c h) >> + d)) >>);
    h = c + (z (h - c)) >>; out = (W_out h + b) >>. Every >> rounds half up.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see ``cells.fixed.dense``. u saturates into int16.
    """
    n, m = U(base.size(ints, d.N)), U(base.size(ints, d.M))
    in_shift, rec_shift, h_shift = wide(ints, U(d.IN_SHIFT)), wide(ints, U(d.REC_SHIFT)), wide(ints, U(H_SHIFT))
    three = U(3) * n
    rec, bias, narrow = three * m, three * (m + n), U(5) * n
    _narrow_q(state, narrow, h_shift, n)
    for i in range(three):
        net = round_shift(base.drive_q(theta, i * m, u, m), in_shift) + wide(theta, bias + i)
        kept = round_shift(base.matvec_q(theta, rec + i * n, state, narrow, n), rec_shift)
        if i < U(2) * n:
            store(state, n + i, d.gate_q(net + kept, ints))
        else:
            k = i - U(2) * n
            kept = kept + wide(theta, bias + three + k)
            store(state, U(4) * n + k, kept)
            store(state, n + i, d.activate_q(net + mul_q16(kept, wide(state, n + k) << 1), ints))
    for i in range(n):
        goal, z = wide(state, three + i) << h_shift, wide(state, n + n + i)
        store(state, i, goal + mul_q16(wide(state, i) - goal, z << 1))
    _narrow_q(state, narrow, h_shift, n)
    base.readout_q(
        theta, bias + U(4) * n, state, narrow, n, y, base.size(ints, d.OUT), base.size(ints, d.AFFINE), ints, d.READOUT
    )


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p, lanes = layout(spec).rows(theta.astype(np.float64)), len(theta)
    drive = base.drive_of(p["W_in"], u_format)
    rows = drive + np.abs(p["U"]).sum(axis=-1) + np.abs(p["bias"])
    rows[:, 2 * spec.neurons :] += np.abs(p["recurrent_bias"])
    net = d.net_format(spec, rows.max(axis=-1), lambda: drive, "W_in, U, bias")
    s = QFormats(16, np.full(lanes, ACTIVATION_FRAC_BITS))
    h = QFormats(options.state_bits, np.full(lanes, _H_FRAC_BITS[options.state_bits]))
    formats = {"u": d.input_formats(u_format, lanes), "net": net, "s": s, "h": h, "bias": net, "recurrent_bias": net}
    formats |= {"h0": h} if "h0" in p else {}
    formats["W_in"] = d.weights(options, "W_in", p["W_in"], formats["u"], -u_format.low, net)
    formats["U"] = d.weights(options, "U", p["U"], s, base.Q15_HIGH, net)
    formats |= base.readout_formats(spec, p, options)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats; an h0 of 1 becomes the largest h that steps lead to."""
    theta_q = d.quantized(layout(spec), theta, formats, ())
    if "h0" in layout(spec):
        h0, most = layout(spec).rows(theta_q)["h0"], _most(formats["h"].frac_bits)[:, None]
        h0[:] = np.clip(h0, -most, most)
    return theta_q


def _most(frac_bits: Array) -> Array:
    """Return the largest h: Q15's, in h's format."""
    return np.int64(base.Q15_HIGH) << frac_bits - ACTIVATION_FRAC_BITS


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
    h_shift = base.check_shift("h", formats["h"].frac_bits - formats["s"].frac_bits, 0)
    return d.dense_ints(spec, formats, "W_in", d.sum_shift(formats, "U", "s"), (h_shift, 0, 0))


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all int16 activations.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.

    z and r are below 1: a number times one of them, rounded half up, lies between 0 and the number. So does what is
    recalled after the reset, and h between itself and its candidate.
    """
    p, s, two = layout(spec).rows(theta_q.astype(np.int64)), d.s_range(spec), 2 * spec.neurons
    drive, sums = row_ranges(p["W_in"], *d.input_range(formats)), row_ranges(p["U"], *s)
    kept = shifted(sums, ints[:, d.REC_SHIFT])
    recalled = plus((kept[0][:, two:], kept[1][:, two:]), (p["recurrent_bias"],) * 2)
    low, high = np.minimum(recalled[0], 0), np.maximum(recalled[1], 0)
    remembered = np.concatenate([kept[0][:, :two], low], axis=1), np.concatenate([kept[1][:, :two], high], axis=1)
    most = _most(ints[:, H_SHIFT] + ACTIVATION_FRAC_BITS)
    if "h0" in p:
        base.refuse(
            np.abs(p["h0"]) > most[:, None],
            lambda at: f"h0[{at[-1]}]: {p['h0'][at]}; allowed in its format: {-most[at[0]]} to {most[at[0]]}",
        )
    ranges = {"U h": hull(sums), "U_c h + d": hull(recalled), "h": (-most, most), "h - c": (-2 * most, 2 * most)}
    ranges |= d.net_ranges(drive, ints[:, d.IN_SHIFT], remembered, p["bias"])
    if spec.readout == "affine":
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], s)
    return ranges


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return h."""
    return {"h": signed(*bounds["h"])}


def tape_q(spec: Spec) -> Taped:
    """Return h, the gates, the candidate and what is recalled as they are."""
    gates = {name: ((name, "s"),) for name in ("reset", "update", "candidate")}
    return {"h": (("h", "h"),), **gates, "recalled": (("recalled", "net"),)}


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("gru", step_q),
    tape_q=tape_q,
)
