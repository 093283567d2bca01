"""GRU in fixed point: formats, the integer step, and the range of all it computes.

Gates and candidate are Q15. h lies between two of them, and h0 within them, so it needs no proof: it is int32 with 29
fractional bits, so that a neuron that hardly moves does not stall, or int16 in Q15. Products with U and W_out take it
narrowed to Q15.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls, stack
from neuroctl.cells.axes import layered_axes
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges, Taped
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import Range, hull, plus, row_ranges, shifted, signed
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
_SCRATCH: Final = ("reset", "update", "candidate", "recalled", "narrow")
_H_FRAC_BITS: Final = {16: ACTIVATION_FRAC_BITS, 32: 29}  # by bits of storage; differences of two stay below 2^30


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: h of each layer (see the format ``"h"``); the rest is scratch, in Q15 but for one.

    They are those of the float state, and ``narrow``, h in Q15; ``recalled`` is in the format ``"net"``.
    """
    scratch = [stack.of_layer(spec, name, k) for k in range(spec.layers) for name in _SCRATCH]
    return Layout(*((name, (spec.neurons,), "1") for name in (*stack.names(spec, "h"), *scratch)))


@jit_integer_inline
def _narrow_q(state: Array, h: Any, narrow: Any, shift: Any, n: Any) -> None:
    for i in range(n):
        store(state, narrow + i, round_shift(wide(state, h + i), shift))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers, layer by layer; the definition that generated C equals bit for bit.

    r, z = logistic_q((W u) >> + (U h) >> + b); c = tanh_q((W_c u) >> + b + (r ((U_c h) >> + d)) >>);
    h = c + (z (h - c)) >>; out = (W_out h + b) >>. Every >> rounds half up.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see ``cells.fixed.dense.layer_ints``. u saturates into
    int16.
    """
    n, m, q, layers = (
        U(base.size(ints, d.N)),
        U(base.size(ints, d.M)),
        U(base.size(ints, d.OUT)),
        U(base.size(ints, d.LAYERS)),
    )
    shifts, h_shift = U(d.READOUT + base.READOUT_INTS) + U(2) * q, wide(ints, U(H_SHIFT))
    two, three, five = U(2) * n, U(3) * n, U(5) * n
    w_in, narrow = U(0), U(0)
    for layer in range(layers):
        columns, h, gates = m if layer == 0 else n, layer * n, layers * n + layer * five
        in_shift, rec_shift = wide(ints, shifts + U(2) * layer), wide(ints, shifts + U(2) * layer + U(1))
        x, narrow = narrow, gates + U(4) * n
        rec = w_in + three * columns
        bias = rec + three * n
        _narrow_q(state, h, narrow, h_shift, n)
        for i in range(three):
            if layer == 0:
                drive = base.drive_q(theta, w_in + i * m, u, m)
            else:
                drive = base.matvec_q(theta, w_in + i * n, state, x, n)
            net = round_shift(drive, in_shift) + wide(theta, bias + i)
            kept = round_shift(base.matvec_q(theta, rec + i * n, state, narrow, n), rec_shift)
            if i < two:
                store(state, gates + i, d.gate_q(net + kept, ints))
            else:
                k = i - two
                kept = kept + wide(theta, bias + three + k)
                store(state, gates + three + k, kept)
                store(state, gates + i, d.activate_q(net + mul_q16(kept, wide(state, gates + k) << 1), ints))
        for i in range(n):
            goal, z = wide(state, gates + two + i) << h_shift, wide(state, gates + n + i)
            store(state, h + i, goal + mul_q16(wide(state, h + i) - goal, z << 1))
        _narrow_q(state, h, narrow, h_shift, n)
        w_in = bias + U(4) * n
    base.readout_q(theta, w_in, state, narrow, n, y, q, base.size(ints, d.AFFINE), ints, d.READOUT)


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p, lanes = layout(spec).rows(theta.astype(np.float64)), len(theta)
    drives, reach = d.layer_drives(spec, p, u_format, np.ones(lanes)), np.zeros(lanes)
    for k, drive in enumerate(drives):
        u, bias, recurrent = (stack.of_layer(spec, name, k) for name in ("U", "bias", "recurrent_bias"))
        rows = drive + np.abs(p[u]).sum(axis=-1) + np.abs(p[bias])
        rows[:, 2 * spec.neurons :] += np.abs(p[recurrent])
        reach = np.maximum(reach, rows.max(axis=-1))
    net = d.net_format(spec, reach, lambda: drives[0], "W_in, U, bias")
    s = QFormats(16, np.full(lanes, ACTIVATION_FRAC_BITS))
    h = QFormats(options.state_bits, np.full(lanes, _H_FRAC_BITS[options.state_bits]))
    formats = {"u": d.input_formats(u_format, lanes), "net": net, "s": s, "h": h}
    formats |= d.layer_formats(spec, p, options, formats)
    formats |= dict.fromkeys(stack.names(spec, "recurrent_bias"), net)
    formats |= {name: h for name in stack.names(spec, "h0") if name in p}
    formats |= base.readout_formats(spec, p, options)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats; an h0 of 1 becomes the largest h that steps lead to."""
    theta_q = d.quantized(layout(spec), theta, formats, ())
    most = _most(formats["h"].frac_bits)[:, None]
    for name, block in layout(spec).rows(theta_q).items():
        if name.startswith("h0"):
            block[:] = np.clip(block, -most, most)
    return theta_q


def _most(frac_bits: Array) -> Array:
    """Return the largest h: Q15's, in h's format."""
    return np.int64(base.Q15_HIGH) << frac_bits - ACTIVATION_FRAC_BITS


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
    h_shift = base.check_shift("h", formats["h"].frac_bits - formats["s"].frac_bits, 0)
    return d.layer_ints(spec, formats, h_shift)


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all int16 activations.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.

    z and r are below 1: a number times one of them, rounded half up, lies between 0 and the number. So does what is
    recalled after the reset, and h between itself and its candidate.
    """
    p, s = layout(spec).rows(theta_q.astype(np.int64)), d.s_range(spec)
    ranges: dict[str, Range] = {}
    for k in range(spec.layers):
        own = _layer_ranges(spec, p, ints, k, s if k else d.input_range(formats))
        ranges |= {d.of_layers(spec, text, k): range_ for text, range_ in own.items()}
    if spec.readout == "affine":
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], s)
    return ranges


def _layer_ranges(spec: Spec, p: d.Words, ints: NDArray[np.int64], layer: int, x: tuple[Any, Any]) -> dict[str, Range]:
    """Return the ranges of a layer, which takes numbers in the range x."""
    names = (stack.of_layer(spec, name, layer) for name in ("W_in", "U", "bias", "recurrent_bias", "h0"))
    (w_in, u, bias, recurrent, h0), two = names, 2 * spec.neurons
    in_shift, rec_shift = d.layer_shifts(spec, ints, layer)
    drive, sums = row_ranges(p[w_in], *x), row_ranges(p[u], *d.s_range(spec))
    kept = shifted(sums, rec_shift)
    recalled = plus((kept[0][:, two:], kept[1][:, two:]), (p[recurrent],) * 2)
    low, high = np.minimum(recalled[0], 0), np.maximum(recalled[1], 0)
    remembered = np.concatenate([kept[0][:, :two], low], axis=1), np.concatenate([kept[1][:, :two], high], axis=1)
    most = _most(ints[:, H_SHIFT] + ACTIVATION_FRAC_BITS)
    if h0 in p:
        base.refuse(
            np.abs(p[h0]) > most[:, None],
            lambda at: f"{h0}[{at[-1]}]: {p[h0][at]}; allowed in its format: {-most[at[0]]} to {most[at[0]]}",
        )
    ranges = {"U h": hull(sums), "U_c h + d": hull(recalled), "h": (-most, most), "h - c": (-2 * most, 2 * most)}
    return ranges | d.net_ranges(drive, in_shift, remembered, p[bias])


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return h of each layer."""
    return {stack.of_layer(spec, "h", k): signed(*bounds[d.of_layers(spec, "h", k)]) for k in range(spec.layers)}


def tape_q(spec: Spec) -> Taped:
    """Return h, the gates, the candidate and what is recalled as they are."""
    forms = {"h": "h", "reset": "s", "update": "s", "candidate": "s", "recalled": "net"}
    return {name: ((name, form),) for kind, form in forms.items() for name in stack.names(spec, kind)}


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
    io_axes=layered_axes,
)
