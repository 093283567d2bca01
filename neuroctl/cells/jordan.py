"""Jordan network: recurrent through its own outputs, remembered in a decaying context.

    s_t = alpha s_(t-1) + y_(t-1),     h_t = f(W_in u_t + U s_t + bias),     y_t = g(W_out h_t + b_out)

M. I. Jordan, "Serial order: a parallel distributed processing approach", ICS report 8604, UC San Diego (1986). y is
what left the controller, its limits included; s starts at 0.
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
    output_scale,
    readout_blocks,
)
from neuroctl.cells.integer import (
    GUARD_BITS,
    Q15_HIGH,
    READOUT_INTS,
    Choice,
    check_shift,
    drive_q,
    hull,
    matvec_q,
    readout_bounds,
    readout_formats,
    readout_q,
    row_ranges,
    size,
)
from neuroctl.errors import ExportError
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.fixed import QFormat, round_shift, saturate, widest_frac_bits
from neuroctl.maths.jit import jit_inline, jit_integer, jit_step
from neuroctl.maths.packs import store, wide
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta; ``U`` takes the context."""
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    return Layout(("W_in", (n, m), "1"), ("U", (n, q), "1"), ("bias", (n,), "1"), *readout_blocks(spec))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: context and h are the network's; new, u (scaled inputs) are scratch; held output; flags."""
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    return Layout(
        ("context", (q,), "1"),
        ("h", (n,), "1"),
        ("new", (n,), "1"),
        ("u", (m,), "1"),
        ("held", (q,), "1"),
        ("ok", (), "1"),
        ("fault", (), "1"),
    )


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f(W_in u + U s + bias), read out, then s = alpha s + y for the next one.

    A step that meets NaN or Inf leaves h and s as they were and holds the last output; see ``vectors.release``.

    theta: float[K] or [K, W], see ``layout``; read
    state: float[S] or [S, W], see ``state_layout``; read and written
    u: float[m] or [m, W], inputs; read
    y: float[q] or [q, W], outputs; written
    ints, floats: see ``cells.base``; alpha stands behind the limits
    """
    n, m, q = ints[NEURONS], ints[INPUTS], ints[OUTPUTS]
    rec, bias = n * m, n * m + n * q
    context, h, new, seen, limits = 0, q, q + n, q + 2 * n, SCALES + 2 * m
    held = seen + m
    ok = held + q
    v.accept(u, m, floats, SCALES, state, seen, ok)
    v.two_matvecs(theta, 0, rec, state, seen, context, new, n, m, q)
    v.add(theta, bias, state, new, n)
    v.activate_where(ints[ACTIVATION], state, new, ok, h, n)
    v.readout(theta, bias + n, state, h, n, y, q, ints[AFFINE], ints[OUTPUT_ACTIVATION], floats, limits, ok, held)
    v.trace(floats[limits + 2 * q], y, state, ok, context, q)


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
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(q)`` over the outputs' range and times 1 - alpha, the
    inverse of how much the context sums up; ``bias = x``.
    """
    blocks = layout(spec)
    theta = np.array(x)
    p = blocks.rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE * (1.0 - spec.context_decay) / math.sqrt(spec.outputs) / output_scale(spec)
    decode_readout(spec, p)
    return theta


def _no_ints(spec: Spec) -> list[int]:
    return []


def _alpha(spec: Spec) -> list[float]:
    return [spec.context_decay]


# --- Fixed point: see cells.dense_q ----------------------------------------------------------------------------------
#
# The context is int32, in out's format and up to 14 bits more, so that a slow decay does not stall; as int16 it has as
# many bits less as its sum needs, and takes outputs up rounded. What U takes of it is narrowed to int16. No number of a
# step can leave its bounds: outputs are clipped, and the context sums them up to at most 1 / (1 - alpha) times as much.

_DECAY, _Y_SHIFT, _NARROW = d.OWN, d.OWN + 1, d.OWN + 2
_MOST_EXTRA_BITS: Final = 14
_MOST_ROUNDING: Final = 0.5  # as a share of the context's reach


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: context; s, activations; narrow is scratch, the context in the format ``"c"``."""
    n, q = spec.neurons, spec.outputs
    return Layout(("context", (q,), "1"), ("s", (n,), "1"), ("narrow", (q,), "1"))


def start_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the state after reset: zeros."""
    return np.zeros(state_layout_q(spec).size, np.int32)


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers: s = f_q((W_in u) >> + (U context) >> + bias); out; context decays, plus out.

    theta: int32[K] or [K, W], see ``layout``; read
    state: int32[S] or [S, W], see ``state_layout_q``; read and written
    u: int32[m] or [m, W], inputs in the format "u", saturated into int16; read
    y: int32[q] or [q, W], outputs in the format "out"; written
    ints: see ``cells.dense_q``; of its own the packed decay 1 - alpha, the shifts of out to the context and of
        that to narrow; read
    """
    n, m, q = v.U(size(ints, d.N)), v.U(size(ints, d.M)), v.U(size(ints, d.OUT))
    in_shift, rec_shift = wide(ints, v.U(d.IN_SHIFT)), wide(ints, v.U(d.REC_SHIFT))
    decay, y_shift, narrowing = wide(ints, v.U(_DECAY)), wide(ints, v.U(_Y_SHIFT)), wide(ints, v.U(_NARROW))
    rec, bias = n * m, n * m + n * q
    s, narrow = q, q + n
    for k in range(q):
        store(state, narrow + k, saturate(round_shift(wide(state, k), narrowing), -32767, 32767))
    for i in range(n):
        net = round_shift(drive_q(theta, i * m, u, m), in_shift) + wide(theta, bias + i)
        net = net + round_shift(matvec_q(theta, rec + i * q, state, narrow, q), rec_shift)
        store(state, s + i, d.activate_q(net, ints))
    readout_q(theta, bias + n, state, s, n, y, q, size(ints, d.AFFINE), ints, d.READOUT)
    for k in range(q):
        store(state, k, d.decayed_q(wide(state, k), decay) + round_shift(wide(y, k), y_shift))


@jit_integer
def rollout_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Step through time: u int32[T, m] read, y int32[T, q] written; else as ``step_q``."""
    for t in range(u.shape[0]):
        step_q(theta, state, u[t], y[t], ints)


def quantize(spec: Spec, theta: Array, u_format: QFormat, choice: Choice) -> tuple[Formats, NDArray[np.int32]]:
    """Choose the formats of all blocks and return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    blocks, u_reach = layout(spec), -u_format.low * u_format.lsb
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    driven = np.abs(p["W_in"]).sum(axis=1) * u_reach + np.abs(p["bias"])
    s_reach = 1.0 if spec.activation != "relu" else max(d.MOST_GROWTH * float(driven.max()), 1e-3)
    s, s_reach = d.s_format(spec, s_reach, choice)
    formats = {"u": u_format, "s": s} | readout_formats(spec, p, choice, s, s_reach)
    out = formats["out"]
    lost = 1.0 - spec.context_decay
    c_reach = -out.low * out.lsb / lost
    most = widest_frac_bits(c_reach, GUARD_BITS, out.frac_bits + _MOST_EXTRA_BITS)
    rounding = 2**-10 + 2**-15 / lost  # of a step at most 1, which adds up like the outputs do; of int16's 2^15
    if most < out.frac_bits or (choice.state_bits == 16 and rounding > _MOST_ROUNDING):
        raise ExportError(f"context_decay: {spec.context_decay:g}; allowed in fixed point with these outputs: smaller")
    context = choice.state_frac_bits(c_reach / (1.0 - rounding), most)
    formats["context"], formats["c"] = QFormat(32, context), QFormat(16, widest_frac_bits(c_reach, 16))
    rows = driven + np.abs(p["U"]).sum(axis=1) * c_reach
    net = d.net_format(float(rows.max()), "W_in, U, bias")
    formats |= {"net": net, "bias": net}
    formats["W_in"] = d.weights(choice, "W_in", p["W_in"], u_format, -u_format.low, net)
    formats["U"] = d.weights(choice, "U", p["U"], formats["c"], Q15_HIGH, net)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Formats) -> NDArray[np.int32]:
    """Return theta in given formats."""
    return d.quantized(layout(spec), theta, formats, ())


def ints_q(spec: Spec, formats: Formats) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.dense_q``."""
    context = formats["context"].frac_bits
    own = (
        d.pack_decay(spec.context_decay, "context_decay"),
        check_shift("context", formats["out"].frac_bits - context),
        check_shift("context", context - formats["c"].frac_bits),
    )
    return d.dense_ints(spec, formats, "W_in", d.sum_shift(formats, "U", "c"), own)


def bounds_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32]) -> Bounds:
    """Range of every intermediate of ``step_q``, over all int16 inputs and all reachable contexts.

    A decay by d takes c to one of magnitude at most (1 - d) |c| + 1.
    """
    ints = ints_q(spec, formats)
    p = {name: view.astype(object) for name, view in layout(spec).views(theta_q).items()}
    s, shift = d.s_range(spec), int(ints[d.REC_SHIFT])
    drive = row_ranges(p["W_in"], formats["u"].low, formats["u"].high)
    kept = row_ranges(p["U"], -Q15_HIGH, Q15_HIGH)
    limits = [abs(int(limit)) for limit in ints[d.READOUT + READOUT_INTS :]]
    most = round_shift(max(limits), int(ints[_Y_SHIFT]))
    summed = math.ceil((most + 1) / d.unpack_decay(int(ints[_DECAY])))
    bounds = {"U context": hull(kept), "context": (-summed, summed)}
    bounds |= d.net_bounds(drive, int(ints[d.IN_SHIFT]), d.shifted(kept, shift), p["bias"])
    return bounds | readout_bounds(spec, formats, p["W_out"], p["b_out"], s)


CELL: Final = Cell(
    name="jordan",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    enter=enter,
    rollout=rollout,
    prime=nothing_ready,
    advance=step,
    own_ints=_no_ints,
    own_floats=_alpha,
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
