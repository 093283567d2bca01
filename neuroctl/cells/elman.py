"""Elman network: the simple recurrent network of Elman (1990), with one layer or several.

    h_t = f(W_in x_t + U h_(t-1) + bias)  in each layer,     y_t = g(W_out h_t + b_out)  of the last one

x of the first layer is u, that of another the h_t of the one before it. J. L. Elman, "Finding structure in time",
Cognitive Science 14 (1990). The weights are those of ``torch.nn.RNN``: W_in a layer's weight_ih, U its weight_hh, bias
the sum of its two biases.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, calls, ops, stack
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
    """Blocks of theta: those of each layer, the readout, and h0 of each layer where it is learned."""
    return Layout(*stack.parameter_blocks(spec, gates=1))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h of each layer; new and u, scaled inputs, are scratch; the held output; flags."""
    names = (*stack.names(spec, "h"), "new")
    return Layout(*((name, (spec.neurons,), "1") for name in names), *base.step_blocks(spec))


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f(W_in x + U h + bias) layer by layer, then read out.

    A step that meets NaN or Inf in u leaves all h as they were and holds the last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says; the number of layers stands at OPTION.
    """
    n, m, q, layers = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[base.OPTION]
    new, limits = layers * n, base.SCALES + 2 * m
    scaled = new + n
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    w_in, x = 0, scaled
    for layer in range(layers):
        columns, h = m if layer == 0 else n, layer * n
        rec = w_in + n * columns
        bias = rec + n * n
        v.two_matvecs(theta, w_in, rec, state, x, h, new, n, columns, n)
        v.add(theta, bias, state, new, n)
        ops.activate_where(ints[base.ACTIVATION], state, new, ok, h, n)
        w_in, x = bias + n, h
    ops.readout(
        theta, w_in, state, x, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _tape(spec: Spec) -> tuple[str, ...]:
    return tuple(stack.names(spec, "h"))


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks: of each layer net of the step after, then h and bias, and b_out, as in ``Adjoint``."""
    names = [stack.of_layer(spec, name, k) for k in range(spec.layers) for name in ("net", "h", "bias")]
    return Layout(*((name, (spec.neurons,), "1") for name in names), *base.readout_sums(spec))


@cache_layout
def _deltas(spec: Spec) -> Layout:
    """Blocks: the change with the sums of each layer, and with the readout's."""
    drives = (stack.delta_of("drive", k) for k in range(spec.layers))
    return Layout(*((name, (spec.neurons,), "1") for name in drives), ("out", (spec.outputs,), "1"))


def _products(spec: Spec) -> tuple[base.Product, ...]:
    return stack.products(spec, "drive")


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``."""
    n, m, q, layers = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[base.OPTION]
    first, size = n * (m + n + 1), n * (2 * n + 1)  # of a layer's parameters
    d, limits = at + layers * n, base.SCALES + 2 * m
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, after + layers * n + m, dy, dy_at, deltas, d, carry,
        3 * layers * n, q, floats, limits,
    )  # fmt: skip
    # What takes h: the readout, or W_in of the next layer. d is the change with its sums.
    affine, w, rows = ints[base.AFFINE], first + (layers - 1) * size, q
    for back in range(layers):
        k = layers - 1 - back
        w_in, net = (w - size if k > 0 else 0), 3 * k * n
        rec = w_in + (n * n if k > 0 else n * m)
        adjoint.two_sources(affine, theta, w, rows, deltas, d, rec, n, carry, net, deltas, at + k * n, n)
        d = at + k * n
        adjoint.through_activation(ints[base.ACTIVATION], tape, after + k * n, deltas, d, n)
        v.copy(deltas, d, carry, net, n)
        v.add(deltas, d, carry, net + 2 * n, n)
        affine, w, rows = 1, w_in, n


@jit_step
def finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Set the change with the first h of each layer."""
    n, m = ints[base.NEURONS], ints[base.INPUTS]
    rec = n * m
    for layer in range(ints[base.OPTION]):
        net = 3 * layer * n
        transposed(theta, rec, n, carry, net, carry, net + n, n)
        rec += n * (2 * n + 1)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta: ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(n)``, ``bias = x``.

    W_in of later layers is ``2 x / sqrt(n)``. ``h0 = tanh(x)``, or x of ReLU.
    """
    theta = np.array(x)
    p = layout(spec).rows(theta)
    stack.decode(spec, p, _WEIGHT_SCALE)
    return theta


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
    initial=stack.initial,
    own_ints=stack.own_ints,
    adjoint=base.Adjoint(_tape, _carry, _deltas, _products, backward, finish=finish),
)
