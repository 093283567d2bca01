"""Jordan network: recurrent through its own outputs, remembered in a decaying context.

    s_t = alpha s_(t-1) + y_(t-1),     h_t = f(W_in u_t + U s_t + bias),     y_t = g(W_out h_t + b_out)

M. I. Jordan, "Serial order: a parallel distributed processing approach", ICS report 8604, UC San Diego (1986). y is
what left the controller, its limits included; s starts at 0, or as learned.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, calls, ops
from neuroctl.cells import ops_adjoint as adjoint
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.jit import jit_inline
from neuroctl.maths.transposed import transposed
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta; ``U`` takes the context."""
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    own = ("W_in", (n, m), "1"), ("U", (n, q), "1"), ("bias", (n,), "1")
    return Layout(*own, *base.readout_blocks(spec), *base.initial_blocks(spec, {"context0": q}))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: context and h are the network's; new, u (scaled inputs) are scratch; held output; flags."""
    n, q = spec.neurons, spec.outputs
    return Layout(
        ("context", (q,), "1"),
        ("h", (n,), "1"),
        ("new", (n,), "1"),
        *base.step_blocks(spec),
    )


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f(W_in u + U s + bias), read out, then s = alpha s + y for the next one.

    A step that meets NaN or Inf leaves h and s as they were and holds the last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says; alpha stands behind the limits.
    """
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, bias = n * m, n * m + n * q
    context, h, new, scaled, limits = 0, q, q + n, q + 2 * n, base.SCALES + 2 * m
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    v.two_matvecs(theta, 0, rec, state, scaled, context, new, n, m, q)
    v.add(theta, bias, state, new, n)
    ops.activate_where(ints[base.ACTIVATION], state, new, ok, h, n)
    ops.readout(
        theta, bias + n, state, h, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )
    ops.decay_add(floats[limits + 2 * q], y, state, ok, context, q)


def _tape(spec: Spec) -> tuple[str, ...]:
    return "context", "h"


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks as in ``Adjoint``; dy is scratch."""
    own = ("bias", (spec.neurons,), "1"), *((name, (spec.outputs,), "1") for name in ("context", "dy"))
    return Layout(*own, *base.readout_sums(spec))


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``: s = alpha s + y, then the readout, then h."""
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, w_out, h, out, limits = n * m, n * m + n * q + n, after + q, at + n, base.SCALES + 2 * m
    context, d_y, b_out = n, n + q, n + 2 * q
    v.copy(dy, dy_at, carry, d_y, q)
    v.add(carry, context, carry, d_y, q)
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, h + n + m, carry, d_y, deltas, out, carry, b_out, q,
        floats, limits,
    )  # fmt: skip
    transposed(theta, w_out, q, deltas, out, deltas, at, n)
    adjoint.through_activation(ints[base.ACTIVATION], tape, h, deltas, at, n)
    v.add(deltas, at, carry, 0, n)
    transposed(theta, rec, n, deltas, at, carry, d_y, q)
    adjoint.scaled(floats[limits + 2 * q], carry, context, context, q)
    v.add(carry, d_y, carry, context, q)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(q)`` over the outputs' range and times 1 - alpha, the
    inverse of how much the context sums up; ``bias = x``; ``context0 = x`` times the outputs' range over 1 - alpha.
    """
    blocks = layout(spec)
    theta = np.array(x)
    p = blocks.rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / base.input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE * (1.0 - spec.context_decay) / math.sqrt(spec.outputs) / base.output_scale(spec)
    base.decode_readout(spec, p)
    base.decode_initial(p, ["context0"], scale=base.output_scale(spec) / (1.0 - spec.context_decay))
    return theta


def _alpha(spec: Spec) -> list[float]:
    return [spec.context_decay]


def _initial(spec: Spec) -> dict[str, str]:
    return {"context": "context0"}


CELL: Final = base.Cell(
    name="jordan",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("jordan", step),
    rollout=calls.rollout("jordan", step),
    step_prepared=step,
    initial=_initial,
    own_floats=_alpha,
    adjoint=base.Adjoint(_tape, _carry, base.dense_deltas, partial(base.dense_products, recalled="context"), backward),
)
