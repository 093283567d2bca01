"""Jordan network in fixed point: formats, the integer step, and the range of all it computes.

The context is int32, in out's format and up to 14 bits more, so that a slow decay does not stall; as int16 it has as
many bits less as its sum needs, and takes outputs up rounded. What U takes of it is narrowed to int16. No number of a
step can leave its bounds: outputs are clipped, and the context sums them up to at most 1 / (1 - alpha) times as much.
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
from neuroctl.cells.fixed.base import (
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
from neuroctl.cells.jordan import layout
from neuroctl.errors import ExportError
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import QFormat, round_shift, saturate, widest_frac_bits
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.packs import store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

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
    ints: see ``cells.fixed.dense``; of its own the packed decay 1 - alpha, the shifts of out to the context and of
        that to narrow; read
    """
    n, m, q = U(size(ints, d.N)), U(size(ints, d.M)), U(size(ints, d.OUT))
    in_shift, rec_shift = wide(ints, U(d.IN_SHIFT)), wide(ints, U(d.REC_SHIFT))
    decay, y_shift, narrowing = wide(ints, U(_DECAY)), wide(ints, U(_Y_SHIFT)), wide(ints, U(_NARROW))
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
    """Return sizes, shifts and limits; see ``cells.fixed.dense``."""
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
