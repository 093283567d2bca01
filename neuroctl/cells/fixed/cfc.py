"""CfC in fixed point: formats, the integer step, and the range of all it computes.

f, g and t are Q15, and nothing divides. h lies between f and g, so it is Q15 too, or with ``no_gate``, where it comes
up to 2, int16 with 14 fractional bits: it is no sum over time, so nothing stalls that more bits would move. The
backbone's first layer sums like an Elman network; each layer behind it is a readout like that of dense layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges, Taped
from neuroctl.cells.cfc import activations, bound, heads, layout, rows_of, w_out_at
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.layered import ROW, layer_q
from neuroctl.cells.fixed.ranges import Range, hull, row_ranges, shifted
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, QFormats, mul_q16, round_shift
from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

NO_GATE, FF, W_OUT = range(d.OWN, d.OWN + 3)
"""Places in ``ints``: 1 for ``no_gate``; where f begins in the state, W_out in theta. Behind the readout's:
rows of W_in, how many layers there are behind those; of each the ``ROW`` numbers of ``cells.fixed.layered``, then its
``readout_ints``."""
_H_FRAC_BITS: Final = {"default": ACTIVATION_FRAC_BITS, "no_gate": ACTIVATION_FRAC_BITS - 1}
_SQUASHED: Final = ("ff", "time")


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: h (see the format ``"h"``); the others, those of the float state, are scratch."""
    return Layout(("h", (spec.neurons,), "1"), *activations(spec))


@jit_integer_inline
def _mix_q(state: Array, ff: Any, no_gate: Any, n: Any) -> None:
    for i in range(n):
        f, g, t = wide(state, ff + i), wide(state, ff + n + i), wide(state, ff + n + n + i) << 1
        if no_gate != 0:
            store(state, i, round_shift(f + mul_q16(g, t), 1))
        else:
            store(state, i, f + mul_q16(g - f, t))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers; the definition that generated C equals bit for bit.

    x = (W_in u) >> + (U h) >> + b; f, g = tanh_q(x), t = logistic_q(x), or of W (f_q(x)) + b, the backbone's;
    h = f + (t (g - f)) >>, with ``no_gate`` (f + (t g) >>) >>; out = (W_out h + b) >>. Every >> rounds half up.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see the places above. u saturates into int16.
    """
    n, m, q = U(base.size(ints, d.N)), U(base.size(ints, d.M)), U(base.size(ints, d.OUT))
    in_shift, rec_shift = wide(ints, U(d.IN_SHIFT)), wide(ints, U(d.REC_SHIFT))
    at = U(d.READOUT + base.READOUT_INTS) + U(2) * q
    rows, layers = U(base.size(ints, at)), base.size(ints, at + U(1))
    rec, bias = rows * m, rows * (m + n)
    for i in range(rows):
        net = round_shift(base.drive_q(theta, i * m, u, m), in_shift) + wide(theta, bias + i)
        net = net + round_shift(base.matvec_q(theta, rec + i * n, state, U(0), n), rec_shift)
        if layers == 0 and i >= U(2) * n:
            store(state, n + i, d.gate_q(net, ints))
        else:
            store(state, n + i, d.activate_q(net, ints))
    for k in range(layers):
        row = at + U(2) + U(ROW * k)
        left = base.size(ints, row + U(4))
        layer_q(theta, state, state[left : left + base.size(ints, row + U(1))], ints, row)
    _mix_q(state, U(base.size(ints, FF)), base.size(ints, NO_GATE), n)
    base.readout_q(theta, base.size(ints, W_OUT), state, U(0), n, y, q, base.size(ints, d.AFFINE), ints, d.READOUT)


def _layer_spec(spec: Spec, name: str, rows: int, columns: int) -> Spec:
    """Return a spec whose readout is a layer behind the first: of the backbone, f and g, or t."""
    function = {"ff": "tanh", "time": "logistic"}.get(name, str(spec.activation))
    return base.layer_spec(rows, columns, function, spec.dtype)


def source(spec: Spec, name: str) -> str:
    """Return the block of the state that a layer takes."""
    last = len(spec.backbone) if name in _SQUASHED else int(name.partition(".")[2])
    return f"backbone.{last - 1}"


def _x_format(spec: Spec, formats: Mapping[str, Any], name: str) -> Any:
    """Return the format of what a layer takes; that of the first layer's activations is ``"s"``."""
    taken = source(spec, name)
    return formats["s" if taken == "backbone.0" else taken]


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p, lanes = layout(spec).rows(theta.astype(np.float64)), len(theta)
    drive = base.drive_of(p["W_in"], u_format)
    reach = (drive + bound(spec) * np.abs(p["U"]).sum(axis=-1) + np.abs(p["bias"])).max(axis=-1)
    net = d.net_format(spec, reach, lambda: drive, "W_in, U, bias")
    h = QFormats(16, np.full(lanes, _H_FRAC_BITS[spec.mode]))
    q15 = QFormats(16, np.full(lanes, ACTIVATION_FRAC_BITS))
    relu = spec.activation == "relu"
    s, _ = d.s_format(spec, np.maximum(reach, 1e-3) if relu else np.ones(lanes), options)
    formats = {"u": d.input_formats(u_format, lanes), "net": net, "s": s, "h": h, "bias": net}
    formats |= {"h0": h} if "h0" in p else {}
    formats["W_in"] = d.weights(options, "W_in", p["W_in"], formats["u"], -u_format.low, net)
    formats["U"] = d.weights(options, "U", p["U"], h, base.Q15_HIGH, net)
    for name, rows, columns in heads(spec):
        x = _x_format(spec, formats, name)
        own = replace(options, weight_bits={"W_out": options.weight_bits[f"W_{name}"]})
        blocks = {"W_out": p[f"W_{name}"], "b_out": p[f"b_{name}"]}
        found = base.readout_formats(
            _layer_spec(spec, name, rows, columns), blocks, own, x, (base.Q15_HIGH + 1) * x.lsb
        )  # fmt: skip
        formats |= {f"W_{name}": found["W_out"], f"b_{name}": found["b_out"], name: found["out"] if relu else q15}
    formats |= dict.fromkeys(_SQUASHED, q15)
    formats |= base.readout_formats(spec, p, options, h, bound(spec))
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def _own(formats: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"W_out": formats[f"W_{name}"], "b_out": formats[f"b_{name}"], "out": formats[name]}


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see the places above."""
    theta, state, layers = layout(spec), state_layout_q(spec), heads(spec)
    rows: list[Any] = []
    readouts: list[Any] = []
    place = d.READOUT + base.READOUT_INTS + 2 * spec.outputs + 2 + ROW * len(layers)
    for name, count, columns in layers:
        taken, left = state[source(spec, name)].offset, state[name].offset
        rows += [theta[f"W_{name}"].offset, count, columns, taken, left, place + len(readouts)]
        readouts += base.readout_ints(_layer_spec(spec, name, count, columns), _own(formats, name))
    own = int(spec.mode == "no_gate"), state["ff"].offset, w_out_at(spec)
    last = [rows_of(spec)[0], len(layers), *rows, *readouts]
    return d.dense_ints(spec, formats, "W_in", d.sum_shift(formats, "U", "h"), own, last, read="h")


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all int16 activations.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.

    f and g are tanh's; t is below 1: h lies between them, or within the format of ``no_gate``.
    """
    p, most = layout(spec).rows(theta_q.astype(np.int64)), base.Q15_HIGH
    h = d.from_start((-most, most), p, "h0")
    kept = row_ranges(p["U"], *(end[:, None] for end in h))
    drive = row_ranges(p["W_in"], *d.input_range(formats))
    ranges: dict[str, Range] = {"U h": hull(kept), "h": h}
    ranges |= d.net_ranges(drive, ints[:, d.IN_SHIFT], shifted(kept, ints[:, d.REC_SHIFT]), p["bias"])
    for name, rows, columns in heads(spec):
        found = base.readout_ranges(
            _layer_spec(spec, name, rows, columns), _own(formats, name), p[f"W_{name}"], p[f"b_{name}"], d.s_range(spec)
        )  # fmt: skip
        ranges |= {f"{name}, {text}": range_ for text, range_ in found.items()}
    if spec.readout == "affine":
        low, high = (end[:, None] for end in h)
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], (low, high))
    return ranges


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return h."""
    p = layout(spec).rows(theta_q[None].astype(np.int64))
    low, high = d.from_start((-base.Q15_HIGH, base.Q15_HIGH), p, "h0")
    return {"h": ("int16", int(low[0]), int(high[0]))}


def tape_q(spec: Spec) -> Taped:
    """Return h and all activations as they are."""
    names = [name for name, *_ in activations(spec)]
    return {"h": (("h", "h"),)} | {name: ((name, "s" if name == "backbone.0" else name),) for name in names}


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("cfc", step_q),
    tape_q=tape_q,
)
