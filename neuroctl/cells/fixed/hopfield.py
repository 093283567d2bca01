"""Hopfield network in fixed point: formats, the integer step, and the range of all it computes.

The binary forms are exact: a neuron is -1, 0 or 1, a field a sum of whole weights, and only its sign counts.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import (
    Bounds,
    Formats,
    Integer,
    prepare_nothing_q,
)
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.base import Choice, hull, matvec_q, row_ranges
from neuroctl.cells.hopfield import ASYNCHRONOUS, SYNCHRONOUS, layout, own_ints
from neuroctl.errors import ExportError
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, saturate, widest_frac_bits
from neuroctl.maths.jit import jit_integer
from neuroctl.spec import Spec

Array = NDArray[Any]


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: s; field is scratch; converged and sweeps as in the float form."""
    n = spec.neurons
    return Layout(("s", (n,), "1"), ("field", (n,), "1"), ("converged", (), "1"), ("sweeps", (), "1"))


def start_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the state after reset: zeros."""
    return np.zeros(state_layout_q(spec).size, np.int32)


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Show the signs of the inputs (0 counts as +1), settle, read out.

    theta: int32[K] or [K, W], see ``layout``; read
    state: int32[S] or [S, W], see ``state_layout_q``; read and written
    u: int32[m] or [m, W], inputs in the format "u"; read
    y: int32[q] or [q, W], outputs in the format "out"; written
    ints: sizes n, m, q; update, most sweeps, clamp; the shift of out, its lows and highs; the order of updates; read
    """
    if state.ndim == 1:
        _step_q(theta, state, u, y, ints)
    else:  # lane by lane: where and how often a network settles is its own
        for p in range(state.shape[1]):
            if theta.ndim == 1:
                own = theta
            else:
                own = theta[:, p]
            if ints.ndim == 1:
                numbers = ints
            else:
                numbers = ints[:, p]
            _step_q(own, state[:, p], u[:, p], y[:, p], numbers)


@jit_integer
def _turned_q(theta: Array, state: Array, i: Any, field: Any, n: Any) -> Any:
    """Return the state that a field gives neuron i."""
    over = field - np.int64(theta[n * n + i])
    return np.int64(1) if over > 0 else (np.int64(-1) if over < 0 else np.int64(state[i]))


@jit_integer
def _step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    n, m, q, mode, most, clamp = ints[0], ints[1], ints[2], ints[3], ints[4], ints[5]
    limits, order, converged, sweeps = 7, 7 + 2 * q, 2 * n, 2 * n + 1
    for i in range(m):
        state[i] = 1 if u[i] >= 0 else -1
    first = m if clamp != 0 else 0
    state[converged], state[sweeps] = 0, 0
    while state[converged] == 0 and state[sweeps] < most:
        changed = 0
        if mode == SYNCHRONOUS:
            for i in range(n):
                state[n + i] = matvec_q(theta, i * n, state, 0, n)
        for k in range(n):
            i = ints[order + k]
            field = matvec_q(theta, i * n, state, 0, n) if mode == ASYNCHRONOUS else np.int64(state[n + i])
            new = _turned_q(theta, state, i, field, n)
            if i >= first and new != state[i]:
                state[i] = new
                changed = 1
        state[converged] = 1 - changed
        state[sweeps] += 1
    for k in range(q):
        y[k] = saturate(np.int64(state[n - q + k]) << ints[6], ints[limits + k], ints[limits + q + k])


@jit_integer
def rollout_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Step through time: u int32[T, m] read, y int32[T, q] written; else as ``step_q``."""
    for t in range(u.shape[0]):
        step_q(theta, state, u[t], y[t], ints)


def quantize(spec: Spec, theta: Array, u_format: QFormat, choice: Choice) -> tuple[Formats, NDArray[np.int32]]:
    """Choose the formats of all blocks and return them with theta_q. Updates: asynchronous and synchronous.

    Raises:
        ExportError: the continuous form, or a bias that 30 bits do not hold beside the weights.

    """
    if spec.update == "continuous":
        raise ExportError(f"update: {spec.update!r}; allowed in fixed point: asynchronous, synchronous")
    blocks = layout(spec)
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    limits = [abs(value) for pair in spec.output_limits or () for value in pair]
    out = QFormat(16, widest_frac_bits(max(1.0, *limits) if limits else 1.0, 16))
    w = choice.weights("W", p["W"], 1, 24)
    bias = QFormat(32, w.frac_bits)
    if float(np.abs(p["bias"]).max()) * 2.0**bias.frac_bits >= 1 << 29:
        most = math.ldexp(1.0, 29 - bias.frac_bits)
        raise ExportError(f"bias: {np.abs(p['bias']).max():g}; allowed with these weights: below {most:g}")
    formats = {"u": u_format, "s": QFormat(16, 0), "W": w, "bias": bias, "out": out}
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Formats) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Formats) -> NDArray[np.int64]:
    """Return what ``step_q`` needs in whole numbers, as it lists them.

    Raises:
        ExportError: output limits so wide that out cannot tell 1 from 0.

    """
    out, (mode, steps, clamp, *order) = formats["out"], own_ints(spec)
    lows, highs = [out.low] * spec.outputs, [out.high] * spec.outputs
    if spec.output_limits is not None:
        lows = [int(out.quantize(low)) for low, _ in spec.output_limits]
        highs = [int(out.quantize(high)) for _, high in spec.output_limits]
    if not 0 <= out.frac_bits <= ACTIVATION_FRAC_BITS:  # with less than none, 1 is less than the last bit
        raise ExportError(
            f"output_limits: with them out has {out.frac_bits} fractional bits; "
            f"allowed for cell 'hopfield' in fixed point: 0 to {ACTIVATION_FRAC_BITS}, limits up to 32767"
        )
    sizes = [spec.neurons, spec.inputs, spec.outputs, mode, steps, clamp, out.frac_bits]
    return np.array([*sizes, *lows, *highs, *order], dtype=np.int64)


def bounds_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> Bounds:
    """Range of every intermediate of ``step_q``: any state of -1, 0 and 1."""
    p = {name: view.astype(object) for name, view in layout(spec).views(theta_q).items()}
    fields = row_ranges(p["W"], -1, 1)
    return {
        "W s": hull(fields),
        "W s - bias": hull([(low - int(b), high - int(b)) for (low, high), b in zip(fields, p["bias"], strict=True)]),
    }


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
