"""Jordan network in fixed point: formats, the integer step, and the range of all it computes.

The context is int32, in out's format and up to 14 bits more, so that a slow decay does not stall; as int16 it has as
many bits less as its sum needs, and takes outputs up rounded. What U takes of it is narrowed to int16. No number of a
step can leave its bounds: outputs are clipped, and the context sums them up to at most 1 / (1 - alpha) times as much.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.axes import Axes, dense_axes
from neuroctl.cells.base import (
    Bounds,
    Formats,
    Integer,
    Persistent,
    Population,
    Quantized,
    Ranges,
    Taped,
)
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import RANGE_CEILING, hull, row_ranges, shifted, signed
from neuroctl.cells.jordan import layout
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import QFormat, QFormats, round_shift, saturate, widest_frac_bits
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.packs import store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

_DECAY, _Y_SHIFT, _NARROW = d.OWN, d.OWN + 1, d.OWN + 2
_MAX_EXTRA_BITS: Final = 14
_MAX_ROUNDING: Final = 0.5  # as a share of the context's reach


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: context; s, activations; narrow is scratch, the context in the format ``"c"``."""
    n, q = spec.neurons, spec.outputs
    return Layout(("context", (q,), "1"), ("s", (n,), "1"), ("narrow", (q,), "1"))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers: s = f_q((W_in u) >> + (U context) >> + bias); out; context decays, plus out.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see ``cells.fixed.dense``; of its own the packed decay
    1 - alpha, the shifts of out to the context and of that to narrow. u saturates into int16.
    """
    n, m, q = U(base.size(ints, d.N)), U(base.size(ints, d.M)), U(base.size(ints, d.OUT))
    in_shift, rec_shift = wide(ints, U(d.IN_SHIFT)), wide(ints, U(d.REC_SHIFT))
    decay, y_shift, narrowing = wide(ints, U(_DECAY)), wide(ints, U(_Y_SHIFT)), wide(ints, U(_NARROW))
    rec, bias = n * m, n * m + n * q
    s, narrow = q, q + n
    for k in range(q):
        store(state, narrow + k, saturate(round_shift(wide(state, k), narrowing), -32767, 32767))
    for i in range(n):
        net = round_shift(base.drive_q(theta, i * m, u, m), in_shift) + wide(theta, bias + i)
        net = net + round_shift(base.matvec_q(theta, rec + i * q, state, narrow, q), rec_shift)
        store(state, s + i, d.activate_q(net, ints))
    base.readout_q(theta, bias + n, state, s, n, y, q, base.size(ints, d.AFFINE), ints, d.READOUT)
    for k in range(q):
        store(state, k, d.decayed_q(wide(state, k), decay) + round_shift(wide(y, k), y_shift))


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p = layout(spec).rows(theta.astype(np.float64))
    drive = base.drive_of(p["W_in"], u_format)
    driven = drive + np.abs(p["bias"])
    relu = np.maximum(d.MAX_GROWTH * driven.max(axis=-1), 1e-3)
    s, s_reach = d.s_format(spec, relu if spec.activation == "relu" else np.ones(len(theta)), options)
    formats = {"u": d.input_formats(u_format, len(theta)), "s": s} | base.readout_formats(spec, p, options, s, s_reach)
    out = formats["out"]
    lost = 1.0 - spec.context_decay
    summed = -out.low * out.lsb / lost
    c_reach = np.maximum(summed, d.largest(p, "context0"))
    most = widest_frac_bits(c_reach, base.GUARD_BITS, out.frac_bits + _MAX_EXTRA_BITS)
    rounding = 2**-10 + 2**-15 / lost  # of a step at most 1, which adds up like the outputs do; of int16's 2^15
    coarse = options.state_bits == 16 and rounding > _MAX_ROUNDING
    base.refuse(
        (most < out.frac_bits) | coarse,
        lambda at: (
            f"context0: up to {c_reach[at]:g}; allowed in fixed point with these outputs: smaller"
            if c_reach[at] > summed[at]
            else f"context_decay: {spec.context_decay:g}; allowed in fixed point with these outputs: smaller"
        ),
    )
    formats["context"] = QFormats(32, options.state_frac_bits(c_reach / (1.0 - rounding), most))
    formats |= {"context0": formats["context"]} if "context0" in p else {}
    formats["c"] = QFormats(16, widest_frac_bits(c_reach, 16))
    rows = driven + np.abs(p["U"]).sum(axis=-1) * c_reach[:, None]
    net = d.net_format(spec, rows.max(axis=-1), lambda: drive, "W_in, U, bias")
    formats |= {"net": net, "bias": net}
    formats["W_in"] = d.weights(options, "W_in", p["W_in"], formats["u"], -u_format.low, net)
    formats["U"] = d.weights(options, "U", p["U"], formats["c"], base.Q15_HIGH, net)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
    context = formats["context"].frac_bits
    cell_ints = (
        _packed_decay(spec),
        base.check_shift("context", formats["out"].frac_bits - context),
        base.check_shift("context", context - formats["c"].frac_bits),
    )
    return d.dense_ints(spec, formats, "W_in", d.sum_shift(formats, "U", "c"), cell_ints)


def _packed_decay(spec: Spec) -> int:
    return int(d.pack_decay(np.array([[spec.context_decay]]), "context_decay")[0, 0])


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all reachable contexts.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.

    A decay by d takes c to one of magnitude at most (1 - d) |c| + 1: one above what the outputs sum up to only falls.
    """
    p, s = layout(spec).rows(theta_q.astype(np.int64)), d.s_range(spec)
    drive, kept = row_ranges(p["W_in"], *d.input_range(formats)), row_ranges(p["U"], -base.Q15_HIGH, base.Q15_HIGH)
    limit = np.abs(ints[:, d.READOUT + base.READOUT_INTS :]).max(axis=-1)
    _, most = shifted((-limit, limit), ints[:, _Y_SHIFT])
    summed = np.ceil((most + 1) / d.unpack_decay(ints[:, _DECAY]))
    summed = np.minimum(summed, RANGE_CEILING).astype(np.int64)
    ranges = {"U context": hull(kept), "context": d.from_start((-summed, summed), p, "context0")}
    ranges |= d.net_ranges(drive, ints[:, d.IN_SHIFT], shifted(kept, ints[:, d.REC_SHIFT]), p["bias"])
    return ranges | base.readout_ranges(spec, formats, p["W_out"], p["b_out"], s)


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return the context."""
    return {"context": signed(*bounds["context"])}


def tape_q(spec: Spec) -> Taped:
    """Return context, and h, which is s."""
    return {"context": (("context", "context"),), "h": (("s", "s"),)}


def io_axes(spec: Spec) -> Axes:
    """Return what counts inputs or outputs: what remembers outputs does too."""
    return {**dense_axes(spec), "U": ("", "y"), "context": ("y",), "context0": ("y",), "c": ("y",)}


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("jordan", step_q),
    tape_q=tape_q,
    io_axes=io_axes,
)
