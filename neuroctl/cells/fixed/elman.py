"""Elman network in fixed point: formats, the integer step, and the range of all it computes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges, Taped
from neuroctl.cells.elman import layout
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import hull, row_ranges, shifted
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import QFormat, QFormats, round_shift
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.packs import load, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: s, activations in the format ``"s"``; new is scratch."""
    return Layout(("s", (spec.neurons,), "1"), ("new", (spec.neurons,), "1"))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers: s = f_q((W_in u) >> + (U s) >> + bias); out = (W_out s + b) >>.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see ``cells.fixed.dense``. u saturates into int16.
    """
    n, m = U(base.size(ints, d.N)), U(base.size(ints, d.M))
    in_shift, rec_shift = wide(ints, U(d.IN_SHIFT)), wide(ints, U(d.REC_SHIFT))
    rec, bias, s = n * m, n * m + n * n, U(0)
    for i in range(n):
        net = round_shift(base.drive_q(theta, i * m, u, m), in_shift) + wide(theta, bias + i)
        net = net + round_shift(base.matvec_q(theta, rec + i * n, state, s, n), rec_shift)
        store(state, n + i, d.activate_q(net, ints))
    for i in range(n):
        store(state, i, load(state, n + i))
    base.readout_q(theta, bias + n, state, s, n, y, base.size(ints, d.OUT), base.size(ints, d.AFFINE), ints, d.READOUT)


def _s_reach(spec: Spec, p: d.Blocks, u_reach: Array | float) -> Array:
    """Return the largest activation: 1, or of ReLU what the inputs bring, summed up by U's largest row, or h0."""
    if spec.activation != "relu":
        return np.ones(len(p["bias"]))
    inputs = np.abs(p["W_in"]).sum(axis=-1) * np.reshape(u_reach, (-1, 1))
    driven = np.maximum(inputs + p["bias"], 0.0).max(axis=-1)
    growth = np.maximum(p["U"], 0.0).sum(axis=-1).max(axis=-1)
    summed: Array = driven * np.minimum(d.MAX_GROWTH, 1.0 / np.maximum(1.0 - growth, 1e-9))
    return np.maximum(np.maximum(summed, d.largest(p, "h0")), 1e-3)


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p, u_reach = layout(spec).rows(theta.astype(np.float64)), -u_format.low * u_format.lsb
    s, s_reach = d.s_format(spec, _s_reach(spec, p, u_reach), options)
    drive = base.drive_of(p["W_in"], u_format)
    rows = drive + np.abs(p["U"]).sum(axis=-1) * s_reach[:, None]
    net = d.net_format(spec, (rows + np.abs(p["bias"])).max(axis=-1), lambda: drive, "W_in, U, bias")
    formats = {"u": d.input_formats(u_format, len(theta)), "net": net, "s": s, "bias": net}
    formats |= {"h0": s} if "h0" in p else {}
    formats["W_in"] = d.weights(options, "W_in", p["W_in"], formats["u"], -u_format.low, net)
    formats["U"] = d.weights(options, "U", p["U"], s, base.Q15_HIGH, net)
    formats |= base.readout_formats(spec, p, options, s, s_reach)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
    return d.dense_ints(spec, formats, "W_in", d.sum_shift(formats, "U", "s"), (0, 0, 0))


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all int16 activations.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.
    """
    p, s = layout(spec).rows(theta_q.astype(np.int64)), d.s_range(spec)
    remembered = d.from_start(s, p, "h0")
    kept = row_ranges(p["U"], *(end[:, None] for end in remembered))
    drive = row_ranges(p["W_in"], *d.input_range(formats))
    ranges = {"U s": hull(kept)}
    ranges |= d.net_ranges(drive, ints[:, d.IN_SHIFT], shifted(kept, ints[:, d.REC_SHIFT]), p["bias"])
    if spec.readout == "affine":
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], s)
    return ranges


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return s."""
    p = layout(spec).rows(theta_q[None].astype(np.int64))
    low, high = d.from_start(d.s_range(spec), p, "h0")
    return {"s": ("int16", int(low[0]), int(high[0]))}


def tape_q(spec: Spec) -> Taped:
    """Return h, which is s."""
    return {"h": (("s", "s"),)}


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("elman", step_q),
    tape_q=tape_q,
)
