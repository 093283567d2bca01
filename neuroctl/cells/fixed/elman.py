"""Elman network in fixed point: formats, the integer step, and the range of all it computes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import (
    Bounds,
    Formats,
    Integer,
    prepare_nothing_q,
)
from neuroctl.cells.elman import layout
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.base import (
    Q15_HIGH,
    Choice,
    drive_q,
    hull,
    matvec_q,
    readout_bounds,
    readout_formats,
    readout_q,
    row_ranges,
    size,
)
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import QFormat, round_shift
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.packs import load, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: s, activations in the format ``"s"``; new is scratch."""
    return Layout(("s", (spec.neurons,), "1"), ("new", (spec.neurons,), "1"))


def start_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the state after reset: zeros."""
    return np.zeros(2 * spec.neurons, np.int32)


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers: s = f_q((W_in u) >> + (U s) >> + bias); out = (W_out s + b) >>.

    theta: int32[K] or [K, W], see ``layout``; read
    state: int32[S] or [S, W], see ``state_layout_q``; read and written
    u: int32[m] or [m, W], inputs in the format "u", saturated into int16; read
    y: int32[q] or [q, W], outputs in the format "out"; written
    ints: see ``cells.fixed.dense``; read
    """
    n, m = U(size(ints, d.N)), U(size(ints, d.M))
    in_shift, rec_shift = wide(ints, U(d.IN_SHIFT)), wide(ints, U(d.REC_SHIFT))
    rec, bias, s = n * m, n * m + n * n, U(0)
    for i in range(n):
        net = round_shift(drive_q(theta, i * m, u, m), in_shift) + wide(theta, bias + i)
        net = net + round_shift(matvec_q(theta, rec + i * n, state, s, n), rec_shift)
        store(state, n + i, d.activate_q(net, ints))
    for i in range(n):
        store(state, i, load(state, n + i))
    readout_q(theta, bias + n, state, s, n, y, size(ints, d.OUT), size(ints, d.AFFINE), ints, d.READOUT)


@jit_integer
def rollout_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Step through time: u int32[T, m] read, y int32[T, q] written; else as ``step_q``."""
    for t in range(u.shape[0]):
        step_q(theta, state, u[t], y[t], ints)


def _s_reach(spec: Spec, p: d.Blocks, u_reach: float) -> float:
    """Return the largest activation: 1, or of ReLU what the inputs bring, summed up by U's largest row."""
    if spec.activation != "relu":
        return 1.0
    driven = float(np.maximum(np.abs(p["W_in"]).sum(axis=1) * u_reach + p["bias"], 0.0).max())
    growth = float(np.maximum(p["U"], 0.0).sum(axis=1).max())
    return max(driven * min(d.MOST_GROWTH, 1.0 / max(1.0 - growth, 1e-9)), 1e-3)


def quantize(spec: Spec, theta: Array, u_format: QFormat, choice: Choice) -> tuple[Formats, NDArray[np.int32]]:
    """Choose the formats of all blocks and return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    blocks, u_reach = layout(spec), -u_format.low * u_format.lsb
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    s, s_reach = d.s_format(spec, _s_reach(spec, p, u_reach), choice)
    rows = np.abs(p["W_in"]).sum(axis=1) * u_reach + np.abs(p["U"]).sum(axis=1) * s_reach + np.abs(p["bias"])
    net = d.net_format(float(rows.max()), "W_in, U, bias")
    formats = {"u": u_format, "net": net, "s": s, "bias": net}
    formats["W_in"] = d.weights(choice, "W_in", p["W_in"], u_format, -u_format.low, net)
    formats["U"] = d.weights(choice, "U", p["U"], s, Q15_HIGH, net)
    formats |= readout_formats(spec, p, choice, s, s_reach)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Formats) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Formats) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
    return d.dense_ints(spec, formats, "W_in", d.sum_shift(formats, "U", "s"), (0, 0, 0))


def bounds_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> Bounds:
    """Range of every intermediate of ``step_q``, over all int16 inputs and all int16 activations."""
    ints = ints_q(spec, formats)
    p = {name: view.astype(object) for name, view in layout(spec).views(theta_q).items()}
    s, shift = d.s_range(spec), int(ints[d.REC_SHIFT])
    drive = row_ranges(p["W_in"], formats["u"].low, formats["u"].high)
    kept = row_ranges(p["U"], *s)
    bounds = {"U s": hull(kept)} | d.net_bounds(drive, int(ints[d.IN_SHIFT]), d.shifted(kept, shift), p["bias"])
    if spec.readout == "affine":
        bounds |= readout_bounds(spec, formats, p["W_out"], p["b_out"], s)
    return bounds


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    bounds_q=bounds_q,
    start_q=start_q,
    prepare_q=prepare_nothing_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=rollout_q,
)
