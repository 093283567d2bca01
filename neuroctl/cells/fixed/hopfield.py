"""Hopfield network in fixed point: formats, the integer step, and the range of all it computes.

The binary forms are exact: a neuron is -1, 0 or 1, a field a sum of whole weights, and only its sign counts.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.base import Bounds, Formats, Integer, Persistent, Population, Quantized, Ranges
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.base import FormatOptions, matvec_q, output_ends, refuse, stacked
from neuroctl.cells.fixed.ranges import hull, row_ranges
from neuroctl.cells.hopfield import ASYNCHRONOUS, SYNCHRONOUS, layout, own_ints
from neuroctl.errors import ExportError
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, QFormats, saturate, widest_frac_bits
from neuroctl.maths.jit import jit_integer
from neuroctl.spec import Spec

Array = NDArray[Any]

N, M, OUT, UPDATE, MAX_SWEEPS, INPUTS_CLAMPED, OUT_SHIFT, LIMITS = range(8)
"""Places in ``ints``: sizes; how neurons are updated, and how often at most; 1 where inputs are held; the shift of out;
from LIMITS on the outputs' lows, their highs, and the order of updates."""


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: s; field is scratch; converged and sweeps as in the float form."""
    n = spec.neurons
    return Layout(("s", (n,), "1"), ("field", (n,), "1"), ("converged", (), "1"), ("sweeps", (), "1"))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Show the signs of the inputs (0 counts as +1), settle, read out.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see the places above.
    """
    if state.ndim == 1:
        _step_q(theta, state, u, y, ints)
    else:  # lane by lane: where and how often a network settles is its own
        for p in range(state.shape[1]):
            if theta.ndim == 1:
                weights = theta
            else:
                weights = theta[:, p]
            if ints.ndim == 1:
                numbers = ints
            else:
                numbers = ints[:, p]
            _step_q(weights, state[:, p], u[:, p], y[:, p], numbers)


@jit_integer
def _turned_q(theta: Array, state: Array, i: Any, field: Any, n: Any) -> Any:
    """Return the state that a field gives neuron i."""
    over = field - np.int64(theta[n * n + i])
    return np.int64(1) if over > 0 else (np.int64(-1) if over < 0 else np.int64(state[i]))


@jit_integer
def _step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    n, m, q, mode, most = ints[N], ints[M], ints[OUT], ints[UPDATE], ints[MAX_SWEEPS]
    order, converged, sweeps = LIMITS + 2 * q, 2 * n, 2 * n + 1
    for i in range(m):
        state[i] = 1 if u[i] >= 0 else -1
    first = m if ints[INPUTS_CLAMPED] != 0 else 0
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
        y[k] = saturate(np.int64(state[n - q + k]) << ints[OUT_SHIFT], ints[LIMITS + k], ints[LIMITS + q + k])


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: the continuous form, or a bias that 30 bits do not hold beside the weights.

    """
    if spec.update == "continuous":
        raise ExportError(f"update: {spec.update!r}; allowed in fixed point: asynchronous, synchronous")
    theta = options.rounded(layout(spec), theta)
    lanes, p = len(theta), layout(spec).rows(theta.astype(np.float64))
    limits = [abs(value) for pair in spec.output_limits or () for value in pair]
    w = options.weights("W", p["W"], 1, np.full(lanes, 24))
    largest, most = np.abs(p["bias"]).max(axis=-1), np.ldexp(1.0, 29 - w.frac_bits)
    refuse(largest >= most, lambda at: f"bias: {largest[at]:g}; allowed with these weights: below {most[at]:g}")
    formats = {
        "u": d.input_formats(u_format, lanes),
        "s": QFormats(16, np.zeros(lanes, np.int64)),
        "W": w,
        "bias": QFormats(32, w.frac_bits),
        "out": QFormats(16, np.full(lanes, widest_frac_bits(max(1.0, *limits) if limits else 1.0, 16))),
    }
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes and limits; see the places above.

    Raises:
        ExportError: output limits so wide that out cannot tell 1 from 0.

    """
    out, (mode, steps, clamp, *order) = formats["out"], own_ints(spec)
    refuse(  # with less than none, 1 is less than the last bit
        (out.frac_bits < 0) | (out.frac_bits > ACTIVATION_FRAC_BITS),
        lambda at: (
            f"output_limits: with them out has {out.frac_bits[at]} fractional bits; "
            f"allowed for cell 'hopfield' in fixed point: 0 to {ACTIVATION_FRAC_BITS}, limits up to 32767"
        ),
    )
    numbers = [spec.neurons, spec.inputs, spec.outputs, mode, steps, clamp, out.frac_bits]
    return stacked([*numbers, *output_ends(spec, out), *order], len(out.frac_bits))


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all states of -1, 0 and 1.

    Returned by name, such as ``"W s"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.
    """
    p = layout(spec).rows(theta_q.astype(np.int64))
    fields = row_ranges(p["W"], -1, 1)
    return {"W s": hull(fields), "W s - bias": hull((fields[0] - p["bias"], fields[1] - p["bias"]))}


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return s, converged and sweeps."""
    return {"s": ("int16", -1, 1), "converged": ("int16", 0, 1), "sweeps": ("int16", 0, spec.settle_steps)}


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("hopfield", step_q),
)
