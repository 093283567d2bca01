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
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.jit import jit_inline
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0
_ROUNDING: Final = 1e-6  # a limit rounded to float32 still lies within the block's bounds


def limit(spec: Spec) -> float:
    """Return the largest |u|, 2^(1/T): what grows by that in each of T steps has doubled (section 3.2)."""
    return math.inf if spec.horizon is None else 2.0 ** (1.0 / spec.horizon)


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta: W_in, u and bias of each layer, then the readout."""
    n, bound = spec.neurons, limit(spec) * (1.0 + _ROUNDING)
    blocks: list[tuple[Any, ...]] = []
    for layer in range(spec.layers):
        blocks += [
            (f"W_in.{layer}", (n, spec.inputs if layer == 0 else n), "1"),
            (f"u.{layer}", (n,), "1", -bound, bound),
            (f"bias.{layer}", (n,), "1"),
        ]
    return Layout(*blocks, *base.readout_blocks(spec))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h of each layer is the network's; x, new are scratch; the held output and the two flags."""
    n = spec.neurons
    return Layout(
        *((f"h.{layer}", (n,), "1") for layer in range(spec.layers)),
        ("x", (n,), "1"),
        ("new", (n,), "1"),
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
    x, new = layers * n, (layers + 1) * n
    scaled, limits = new + n, base.SCALES + 2 * m
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    w_in, source = 0, scaled
    for layer in range(layers):
        cols = m if layer == 0 else n
        rec, h = w_in + n * cols, layer * n
        v.independent(theta, w_in, rec, rec + n, state, source, h, new, n, cols)
        ops.activate_where(ints[base.ACTIVATION], state, new, ok, h, n)
        if residual == 0:
            source = h
        elif layer == 0:
            v.copy(state, h, state, x, n)
            source = x
        else:
            v.add(state, h, state, x, n)
        w_in = rec + 2 * n
    ops.readout(
        theta, w_in, state, source, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, or over sqrt(n) in later layers; ``bias = x``; ``u = tanh(x)`` times the
    limit, so that no gene leaves it (times 1 without a horizon).
    """
    blocks = layout(spec)
    theta = np.array(x)
    p = blocks.rows(theta)
    most = min(limit(spec), 1.0) if spec.horizon is None else limit(spec)
    for layer in range(spec.layers):
        p[f"W_in.{layer}"][:] *= _WEIGHT_SCALE / (base.input_scale(spec) if layer == 0 else math.sqrt(spec.neurons))
        p[f"u.{layer}"][:] = most * np.tanh(p[f"u.{layer}"])
    base.decode_readout(spec, p)
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
    own_ints=_options,
)
