"""Elman network: the simple recurrent network of Elman (1990).

    h_t = f(W_in u_t + U h_(t-1) + bias),     y_t = g(W_out h_t + b_out)

J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990). The weights are those of a one-layer
``torch.nn.RNN``: W_in its weight_ih, U its weight_hh, bias the sum of its two biases.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import dense_q as d
from neuroctl.cells.base import (
    ACTIVATION,
    AFFINE,
    INPUTS,
    NEURONS,
    OUTPUT_ACTIVATION,
    OUTPUTS,
    SCALES,
    Bounds,
    Cell,
    Formats,
    Integer,
    decode_readout,
    input_scale,
    nothing_ready,
    nothing_ready_q,
    readout_blocks,
)
from neuroctl.cells.integer import (
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
from neuroctl.maths import vectors as v
from neuroctl.maths.fixed import QFormat, round_shift
from neuroctl.maths.jit import jit_inline, jit_integer, jit_step
from neuroctl.maths.packs import load, store, wide
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0  # U is divided by sqrt(n): at a standard deviation of 0.5 its spectral radius is about 1


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta."""
    n, m = spec.neurons, spec.inputs
    return Layout(("W_in", (n, m), "1"), ("U", (n, n), "1"), ("bias", (n,), "1"), *readout_blocks(spec))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h is the network's; new and u, scaled inputs, are scratch; the held output; flags."""
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    return Layout(
        ("h", (n,), "1"),
        ("new", (n,), "1"),
        ("u", (m,), "1"),
        ("held", (q,), "1"),
        ("ok", (), "1"),
        ("fault", (), "1"),
    )


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f(W_in u + U h + bias), then read out.

    A step that meets NaN or Inf in u leaves h as it was and holds the last output; see ``vectors.release``.

    theta: float[K] or [K, W], see ``layout``; read
    state: float[S] or [S, W], see ``state_layout``; read and written
    u: float[m] or [m, W], inputs; read
    y: float[q] or [q, W], outputs; written
    ints, floats: see ``cells.base``
    """
    n, m, q = ints[NEURONS], ints[INPUTS], ints[OUTPUTS]
    rec, bias = n * m, n * m + n * n
    h, new, seen, limits = 0, n, 2 * n, SCALES + 2 * m
    held = seen + m
    ok = held + q
    v.accept(u, m, floats, SCALES, state, seen, ok)
    v.two_matvecs(theta, 0, rec, state, seen, h, new, n, m, n)
    v.add(theta, bias, state, new, n)
    v.activate_where(ints[ACTIVATION], state, new, ok, h, n)
    v.readout(theta, bias + n, state, h, n, y, q, ints[AFFINE], ints[OUTPUT_ACTIVATION], floats, limits, ok, held)


@jit_step
def enter(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> Any:
    """Step a single controller called from Python; return 1, and do nothing, if u has another length, else 0."""
    if u.shape[0] != ints[INPUTS]:
        return 1
    step(theta, state, u, y, ints, floats)
    return 0


@jit_step
def rollout(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Step through time: u float[T, m] read, y float[T, q] written; else as ``step``."""
    for t in range(u.shape[0]):
        step(theta, state, u[t], y[t], ints, floats)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta: ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(n)``, ``bias = x``."""
    blocks = layout(spec)
    theta = np.array(x)
    p = blocks.rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE / math.sqrt(spec.neurons)
    decode_readout(spec, p)
    return theta


def _no_options(spec: Spec) -> list[int]:
    return []


# --- Fixed point: see cells.dense_q ----------------------------------------------------------------------------------


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
    ints: see ``cells.dense_q``; read
    """
    n, m = v.U(size(ints, d.N)), v.U(size(ints, d.M))
    in_shift, rec_shift = wide(ints, v.U(d.IN_SHIFT)), wide(ints, v.U(d.REC_SHIFT))
    rec, bias, s = n * m, n * m + n * n, v.U(0)
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
    """Return sizes, shifts and limits; see ``cells.dense_q``."""
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


CELL: Final = Cell(
    name="elman",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    enter=enter,
    rollout=rollout,
    prime=nothing_ready,
    advance=step,
    own_ints=_no_options,
    own_floats=_no_options,
    integer=Integer(
        quantize=quantize,
        quantize_theta=quantize_theta,
        state_layout_q=state_layout_q,
        ints_q=ints_q,
        bounds_q=bounds_q,
        start_q=start_q,
        prime_q=nothing_ready_q,
        advance_q=step_q,
        step_q=step_q,
        rollout_q=rollout_q,
    ),
)
