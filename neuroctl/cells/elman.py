"""Elman network: the simple recurrent network of Elman (1990).

    h_t = f(W_in u_t + U h_(t-1) + bias),     y_t = g(W_out h_t + b_out)

J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990). The weights are those of a one-layer
``torch.nn.RNN``: W_in its weight_ih, U its weight_hh, bias the sum of its two biases.
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
from neuroctl.maths.jit import jit_inline, jit_step
from neuroctl.maths.transposed import transposed
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0  # U is divided by sqrt(n): at a standard deviation of 0.5 its spectral radius is about 1


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta."""
    n, m = spec.neurons, spec.inputs
    own = ("W_in", (n, m), "1"), ("U", (n, n), "1"), ("bias", (n,), "1")
    initial = base.initial_blocks(spec, {"h0": n}, base.activation_bound(spec))
    return Layout(*own, *base.readout_blocks(spec), *initial)


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h is the network's; new and u, scaled inputs, are scratch; the held output; flags."""
    n = spec.neurons
    return Layout(
        ("h", (n,), "1"),
        ("new", (n,), "1"),
        *base.step_blocks(spec),
    )


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f(W_in u + U h + bias), then read out.

    A step that meets NaN or Inf in u leaves h as it was and holds the last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says.
    """
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, bias = n * m, n * m + n * n
    h, new, scaled, limits = 0, n, 2 * n, base.SCALES + 2 * m
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    v.two_matvecs(theta, 0, rec, state, scaled, h, new, n, m, n)
    v.add(theta, bias, state, new, n)
    ops.activate_where(ints[base.ACTIVATION], state, new, ok, h, n)
    ops.readout(
        theta, bias + n, state, h, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _tape(spec: Spec) -> tuple[str, ...]:
    return ("h",)


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks: net of the step after; h, bias and b_out as in ``Adjoint``."""
    return Layout(*((name, (spec.neurons,), "1") for name in ("net", "h", "bias")), *base.readout_sums(spec))


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``."""
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, w_out, out, limits = n * m, n * m + n * n + n, at + n, base.SCALES + 2 * m
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, after + n + m, dy, dy_at, deltas, out, carry, 3 * n, q,
        floats, limits,
    )  # fmt: skip
    adjoint.two_sources(ints[base.AFFINE], theta, w_out, q, deltas, out, rec, n, carry, 0, deltas, at, n)
    adjoint.through_activation(ints[base.ACTIVATION], tape, after, deltas, at, n)
    v.copy(deltas, at, carry, 0, n)
    v.add(deltas, at, carry, 2 * n, n)


@jit_step
def finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Set the change with the first h."""
    n, m = ints[base.NEURONS], ints[base.INPUTS]
    transposed(theta, n * m, n, carry, 0, carry, n, n)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta: ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(n)``, ``bias = x``.

    ``h0 = tanh(x)``, or x of ReLU.
    """
    blocks = layout(spec)
    theta = np.array(x)
    p = blocks.rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / base.input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE / math.sqrt(spec.neurons)
    base.decode_readout(spec, p)
    base.decode_initial(p, ["h0"], base.activation_bound(spec))
    return theta


def _initial(spec: Spec) -> dict[str, str]:
    return {"h": "h0"}


CELL: Final = base.Cell(
    name="elman",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("elman", step),
    rollout=calls.rollout("elman", step),
    step_prepared=step,
    initial=_initial,
    adjoint=base.Adjoint(
        _tape, _carry, base.dense_deltas, partial(base.dense_products, recalled="h"), backward, finish=finish
    ),
)
