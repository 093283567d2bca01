"""Elman network in fixed point: formats, the integer step, and the range of all it computes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls, stack
from neuroctl.cells.axes import layered_axes
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges, Taped
from neuroctl.cells.elman import layout
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import Range, hull, row_ranges, shifted
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import QFormat, QFormats, round_shift
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.packs import load, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: s of each layer, activations in the format ``"s"``; new is scratch."""
    return Layout(*((name, (spec.neurons,), "1") for name in (*stack.names(spec, "s"), "new")))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers, layer by layer: s = f_q((W_in x) >> + (U s) >> + b); out = (W_out s + b) >>.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see ``cells.fixed.dense.layer_ints``. u saturates into
    int16.
    """
    n, m, q, layers = (
        U(base.size(ints, d.N)),
        U(base.size(ints, d.M)),
        U(base.size(ints, d.OUT)),
        U(base.size(ints, d.LAYERS)),
    )
    new, shifts = layers * n, U(d.READOUT + base.READOUT_INTS) + U(2) * q
    w_in, s = U(0), U(0)
    for layer in range(layers):
        columns, s = m if layer == 0 else n, layer * n
        in_shift, rec_shift = wide(ints, shifts + U(2) * layer), wide(ints, shifts + U(2) * layer + U(1))
        rec = w_in + n * columns
        bias = rec + n * n
        for i in range(n):
            if layer == 0:
                drive = base.drive_q(theta, w_in + i * m, u, m)
            else:
                drive = base.matvec_q(theta, w_in + i * n, state, s - n, n)
            net = round_shift(drive, in_shift) + wide(theta, bias + i)
            net = net + round_shift(base.matvec_q(theta, rec + i * n, state, s, n), rec_shift)
            store(state, new + i, d.activate_q(net, ints))
        for i in range(n):
            store(state, s + i, load(state, new + i))
        w_in = bias + n
    base.readout_q(theta, w_in, state, s, n, y, q, base.size(ints, d.AFFINE), ints, d.READOUT)


def _s_reach(spec: Spec, p: d.Blocks, u_reach: Array | float) -> list[Array]:
    """Return what each layer's activations reach: 1, or of ReLU what its inputs bring, summed up by U, or h0."""
    reaches: list[Array] = []
    for k in range(spec.layers):
        w_in, u, bias, h0 = (stack.of_layer(spec, name, k) for name in ("W_in", "U", "bias", "h0"))
        if spec.activation != "relu":
            reaches.append(np.ones(len(p[bias])))
            continue
        inputs = np.abs(p[w_in]).sum(axis=-1) * np.reshape(reaches[-1] if reaches else u_reach, (-1, 1))
        driven = np.maximum(inputs + p[bias], 0.0).max(axis=-1)
        growth = np.maximum(p[u], 0.0).sum(axis=-1).max(axis=-1)
        summed: Array = driven * np.minimum(d.MAX_GROWTH, 1.0 / np.maximum(1.0 - growth, 1e-9))
        reaches.append(np.maximum(np.maximum(summed, d.largest(p, h0)), 1e-3))
    return reaches


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p, u_reach = layout(spec).rows(theta.astype(np.float64)), -u_format.low * u_format.lsb
    s, s_reach = d.s_format(spec, np.max(_s_reach(spec, p, u_reach), axis=0), options)
    drives = d.layer_drives(spec, p, u_format, s_reach)
    sums = [
        drive + np.abs(p[u]).sum(axis=-1) * s_reach[:, None] + np.abs(p[bias])
        for drive, u, bias in zip(drives, stack.names(spec, "U"), stack.names(spec, "bias"), strict=True)
    ]
    reach = np.max([rows.max(axis=-1) for rows in sums], axis=0)
    net = d.net_format(spec, reach, lambda: drives[0], "W_in, U, bias")
    formats = {"u": d.input_formats(u_format, len(theta)), "net": net, "s": s}
    formats |= d.layer_formats(spec, p, options, formats)
    formats |= {name: s for name in stack.names(spec, "h0") if name in p}
    formats |= base.readout_formats(spec, p, options, s, s_reach)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
    return d.layer_ints(spec, formats)


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all int16 activations.

    Returned by name, such as ``"net"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.
    """
    p, s = layout(spec).rows(theta_q.astype(np.int64)), d.s_range(spec)
    ranges: dict[str, Range] = {}
    for k in range(spec.layers):
        w_in, u, bias, h0 = (stack.of_layer(spec, name, k) for name in ("W_in", "U", "bias", "h0"))
        in_shift, rec_shift = d.layer_shifts(spec, ints, k)
        kept = row_ranges(p[u], *(end[:, None] for end in d.from_start(s, p, h0)))
        drive = row_ranges(p[w_in], *(s if k else d.input_range(formats)))
        own = {"U s": hull(kept)} | d.net_ranges(drive, in_shift, shifted(kept, rec_shift), p[bias])
        ranges |= {d.of_layers(spec, text, k): range_ for text, range_ in own.items()}
    if spec.readout == "affine":
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], s)
    return ranges


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return s of each layer."""
    p, words = layout(spec).rows(theta_q[None].astype(np.int64)), {}
    for s, h0 in zip(stack.names(spec, "s"), stack.names(spec, "h0"), strict=True):
        low, high = d.from_start(d.s_range(spec), p, h0)
        words[s] = ("int16", int(low[0]), int(high[0]))
    return words


def tape_q(spec: Spec) -> Taped:
    """Return h, which is s."""
    return {h: ((s, "s"),) for h, s in zip(stack.names(spec, "h"), stack.names(spec, "s"), strict=True)}


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
    io_axes=layered_axes,
)
