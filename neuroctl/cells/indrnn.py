"""IndRNN: the independently recurrent network, whose neurons each recall only themselves within a layer.

    h_t = f(W_in x_t + u * h_(t-1) + bias)       in each layer; x of a layer is the output of the one before

S. Li, W. Li, C. Cook, C. Zhu, Y. Gao, "Independently recurrent neural network (IndRNN): building a longer and deeper
RNN", CVPR 2018, eq. 2. With ``residual`` a layer's output is h_t + x_t from the second layer on.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, calls, ops
from neuroctl.cells import ops_adjoint as adjoint
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.jit import jit_inline
from neuroctl.maths.transposed import add_transposed, transposed
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0
_ROUNDING: Final = 1e-6  # a limit rounded to float32 still lies within the block's bounds


def limit(spec: Spec) -> float:
    """Return the largest |u|, 2^(1/T): what grows by that in each of T steps has doubled (section 3.2)."""
    return math.inf if spec.horizon is None else 2.0 ** (1.0 / spec.horizon)


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta: W_in, u and bias of each layer, the readout, and h0 of each layer where it is learned."""
    n, bound = spec.neurons, limit(spec) * (1.0 + _ROUNDING)
    blocks: list[tuple[Any, ...]] = []
    for layer in range(spec.layers):
        blocks += [
            (f"W_in.{layer}", (n, spec.inputs if layer == 0 else n), "1"),
            (f"u.{layer}", (n,), "1", -bound, bound),
            (f"bias.{layer}", (n,), "1"),
        ]
    initial = base.initial_blocks(spec, dict.fromkeys(_initial(spec).values(), n), base.activation_bound(spec))
    return Layout(*blocks, *base.readout_blocks(spec), *initial)


def _initial(spec: Spec) -> dict[str, str]:
    return {f"h.{layer}": f"h0.{layer}" for layer in range(spec.layers)}


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h of each layer is the network's; new and x.k are scratch; the held output, two flags.

    x.k is what layer k puts out where it is not h.k itself: with ``residual``, from the second layer on.
    """
    n = spec.neurons
    return Layout(
        *((f"h.{layer}", (n,), "1") for layer in range(spec.layers)),
        ("new", (n,), "1"),
        *((f"x.{layer}", (n,), "1") for layer in range(1, spec.layers if spec.residual else 1)),
        *base.step_blocks(spec),
    )


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f(W_in x + u * h + bias) layer by layer, then read out.

    A step that meets NaN or Inf in u leaves all h as they were and holds the last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says; the number of layers and 1 for residual stand at OPTION.
    """
    n, m, q, layers, residual = (
        ints[base.NEURONS],
        ints[base.INPUTS],
        ints[base.OUTPUTS],
        ints[base.OPTION],
        ints[base.OPTION + 1],
    )
    new, limits = layers * n, base.SCALES + 2 * m
    scaled = new + n + residual * (layers - 1) * n
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    w_in, source = 0, scaled
    for layer in range(layers):
        cols = m if layer == 0 else n
        rec, h = w_in + n * cols, layer * n
        v.independent(theta, w_in, rec, rec + n, state, source, h, new, n, cols)
        ops.activate_where(ints[base.ACTIVATION], state, new, ok, h, n)
        if residual == 0 or layer == 0:
            source = h
        else:
            v.sum_of(state, h, source, new + layer * n, n)
            source = new + layer * n
        w_in = rec + 2 * n
    ops.readout(
        theta, w_in, state, source, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _outputs(spec: Spec) -> tuple[str, ...]:
    """Return the blocks of the state that hold what each layer puts out."""
    return tuple(f"{'x' if spec.residual and layer > 0 else 'h'}.{layer}" for layer in range(spec.layers))


def _tape(spec: Spec) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(f"h.{layer}" for layer in range(spec.layers)), *_outputs(spec))))


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks as in ``Adjoint``; dx, the change with what a layer puts out, is scratch."""
    kinds = (f"{kind}.{layer}" for kind in ("h", "u", "bias") for layer in range(spec.layers))
    return Layout(*((name, (spec.neurons,), "1") for name in (*kinds, "dx")), *base.readout_sums(spec))


@cache_layout
def _deltas(spec: Spec) -> Layout:
    own = ("drive", *(f"net.{layer}" for layer in range(1, spec.layers)))
    return Layout(*((name, (spec.neurons,), "1") for name in own), ("out", (spec.outputs,), "1"))


def _products(spec: Spec) -> tuple[base.Product, ...]:
    outputs = _outputs(spec)
    later = (base.Product(f"net.{k}", outputs[k - 1], False, f"W_in.{k}") for k in range(1, spec.layers))
    return (base.Product("drive", "u", False, "W_in.0"), *later, *base.readout_products(spec, outputs[-1]))


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``, from the last layer to the first."""
    n, m, q, layers, residual = (
        ints[base.NEURONS],
        ints[base.INPUTS],
        ints[base.OUTPUTS],
        ints[base.OPTION],
        ints[base.OPTION + 1],
    )
    size = n * n + 2 * n  # of a layer's parameters, from the second one on
    first = n * m + 2 * n
    d_u, d_bias, dx = layers * n, 2 * layers * n, 3 * layers * n
    held = after + layers * n + residual * (layers - 1) * n + m
    out, limits, w_out = at + layers * n, base.SCALES + 2 * m, first + (layers - 1) * size
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, held, dy, dy_at, deltas, out, carry, dx + n, q, floats,
        limits,
    )  # fmt: skip
    if ints[base.AFFINE] != 0:
        transposed(theta, w_out, q, deltas, out, carry, dx, n)
    else:
        v.copy(deltas, out, carry, dx, n)
    for back in range(layers):
        k = layers - 1 - back
        w_in = first + (k - 1) * size
        u = n * m if k == 0 else w_in + n * n
        h, net = k * n, at + k * n
        v.copy(carry, dx, deltas, net, n)
        v.add(carry, h, deltas, net, n)
        adjoint.through_activation(ints[base.ACTIVATION], tape, after + h, deltas, net, n)
        adjoint.recall_back(theta, u, tape, before + h, deltas, net, carry, h, d_u + h, d_bias + h, n)
        if k > 0:
            if residual != 0:
                add_transposed(theta, w_in, n, deltas, net, carry, dx, n)
            else:
                transposed(theta, w_in, n, deltas, net, carry, dx, n)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, or over sqrt(n) in later layers; ``bias = x``; ``u = tanh(x)`` times the
    limit, so that no gene leaves it (times 1 without a horizon). ``h0 = tanh(x)``, or x of ReLU.
    """
    blocks = layout(spec)
    theta = np.array(x)
    p = blocks.rows(theta)
    most = min(limit(spec), 1.0) if spec.horizon is None else limit(spec)
    for layer in range(spec.layers):
        p[f"W_in.{layer}"][:] *= _WEIGHT_SCALE / (base.input_scale(spec) if layer == 0 else math.sqrt(spec.neurons))
        p[f"u.{layer}"][:] = most * np.tanh(p[f"u.{layer}"])
    base.decode_readout(spec, p)
    base.decode_initial(p, list(_initial(spec).values()), base.activation_bound(spec))
    return theta


def paper_init(spec: Spec, seed: int) -> NDArray[Any]:
    """Return a random theta as the paper starts training from (sections 3.2 and 5.1).

    u is uniform in [0, 2^(1/T)]; in the last layer in [2^(-1/T), 2^(1/T)], near 1, to keep what happened long ago
    (T = 1 without a horizon, and never above 1 then). W_in is normal with variance 2 / columns (He 2015); bias is 0.
    """
    rng = np.random.default_rng(seed)
    blocks = layout(spec)
    theta = np.zeros(blocks.size)
    p = blocks.views(theta)
    most = limit(spec) if spec.horizon is not None else 1.0
    for layer in range(spec.layers):
        weights = p[f"W_in.{layer}"]
        weights[:] = rng.standard_normal(weights.shape) * math.sqrt(2.0 / weights.shape[1])
        low = (1.0 / limit(spec) if spec.horizon is not None else 0.5) if layer == spec.layers - 1 else 0.0
        p[f"u.{layer}"][:] = rng.uniform(low, most, spec.neurons)
    if spec.readout == "affine":
        p["W_out"][:] = rng.standard_normal(p["W_out"].shape) / math.sqrt(spec.neurons)
    return blocks.coerce(theta, spec.dtype)


def _options(spec: Spec) -> list[int]:
    return [spec.layers, int(spec.residual)]


CELL: Final = base.Cell(
    name="indrnn",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("indrnn", step),
    rollout=calls.rollout("indrnn", step),
    step_prepared=step,
    initial=_initial,
    own_ints=_options,
    adjoint=base.Adjoint(_tape, _carry, _deltas, _products, backward),
)
