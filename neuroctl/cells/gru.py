"""GRU: the gated recurrent unit of Cho et al. (2014), in the form that torch, Keras and cuDNN have.

    r = logistic(W_r u + U_r h + b_r),   z = logistic(W_z u + U_z h + b_z),
    c = tanh(W_c u + b_c + r (U_c h + d)),   h = c + z (h - c),   y = g(W_out h + b_out)

With several layers u of another than the first is the h of the one before it, and y is of the last one.

K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014, but for r: it acts after the
product U_c h, which has a bias d of its own (ONNX: linear_before_reset = 1). The weights of a layer are those of
``torch.nn.GRU``, the gates r, z, n one above the other: W_in is its weight_ih, U its weight_hh; bias is the sum of its
two biases for r and z, its bias_ih for n; recurrent_bias, d, is its bias_hh for n.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, calls, ops, stack
from neuroctl.cells import ops_adjoint as adjoint
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.activations import LOGISTIC, TANH
from neuroctl.maths.jit import jit_inline, jit_step
from neuroctl.maths.packs import load, select, store
from neuroctl.maths.scalars import one, zero
from neuroctl.maths.transposed import add_transposed
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0  # U is divided by sqrt(n): at a standard deviation of 0.5 its spectral radius is about 1
_UPDATE_SCALE: Final = 2.0
UPDATE_BIAS: Final = 1.0
"""Of z where nothing is known yet: h then moves to its candidate within some 4 steps, not at once."""


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta; of ``W_in``, ``U`` and ``bias`` the rows of r, then of z, then of the candidate."""
    return Layout(*stack.parameter_blocks(spec, gates=3, recurrent_bias=True))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h of each layer; the others are scratch; the held output; flags.

    ``reset``, ``update`` and ``candidate`` are r, z and c, ``recalled`` is U_c h + d, of each layer.
    """
    return Layout(*((name, (spec.neurons,), "1") for name in _tape(spec)), *base.step_blocks(spec))


@jit_inline
def _recall(state: Array, reset: Any, recalled: Any, candidate: Any, n: Any) -> None:
    """c_i += r_i recalled_i; all are offsets in state."""
    reset, recalled, candidate, n = U(reset), U(recalled), U(candidate), U(n)
    for i in range(n):
        part = load(state, reset + i) * load(state, recalled + i)
        store(state, candidate + i, load(state, candidate + i) + part)


@jit_inline
def _update(state: Array, update: Any, candidate: Any, ok: Any, h: Any, n: Any) -> None:
    """h_i = c_i + z_i (h_i - c_i) where ok, else h stays. All are offsets in state."""
    update, candidate, ok, h, n = U(update), U(candidate), U(ok), U(h), U(n)
    good = load(state, ok)
    for i in range(n):
        before, goal = load(state, h + i), load(state, candidate + i)
        after = goal + load(state, update + i) * (before - goal)
        store(state, h + i, select(good != zero(good), after, before))


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = c + z (h - c) layer by layer, see the equations above, then read out.

    |h| stays below 1. A step that meets NaN or Inf in u leaves all h as they were and holds the last output; see
    ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says; the number of layers stands at OPTION.
    """
    n, m, q, layers = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[base.OPTION]
    scaled, limits = 5 * n * layers, base.SCALES + 2 * m
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    w_in, x = 0, scaled
    for layer in range(layers):
        columns, h, reset = m if layer == 0 else n, layer * n, (layers + 4 * layer) * n
        rec = w_in + 3 * n * columns
        bias = rec + 3 * n * n
        update, candidate, recalled = reset + n, reset + 2 * n, reset + 3 * n
        v.two_matvecs(theta, w_in, rec, state, x, h, reset, 2 * n, columns, n)
        v.add(theta, bias, state, reset, 2 * n)
        ops.apply(LOGISTIC, state, reset, 2 * n)
        v.linear(theta, rec + 2 * n * n, state, h, theta, bias + 3 * n, state, recalled, n, n)
        v.linear(theta, w_in + 2 * n * columns, state, x, theta, bias + 2 * n, state, candidate, n, columns)
        _recall(state, reset, recalled, candidate, n)
        ops.apply(TANH, state, candidate, n)
        _update(state, update, candidate, ok, h, n)
        w_in, x = bias + 4 * n, h
    ops.readout(
        theta, w_in, state, x, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _tape(spec: Spec) -> tuple[str, ...]:
    gates = ("reset", "update", "candidate", "recalled")
    layers = range(spec.layers)
    return (*stack.names(spec, "h"), *(stack.of_layer(spec, name, k) for k in layers for name in gates))


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks: of each layer net, of U h, of the step after; h and biases, and b_out, as in ``Adjoint``."""
    n = spec.neurons
    sizes = {"net": 3 * n, "h": n, "bias": 3 * n, "recurrent_bias": n}
    layers = ((stack.of_layer(spec, name, k), (size,), "1") for k in range(spec.layers) for name, size in sizes.items())
    return Layout(*layers, *base.readout_sums(spec))


@cache_layout
def _deltas(spec: Spec) -> Layout:
    """Blocks: of each layer the change with W_in u, and with U h, which the reset gate scales for the candidate."""
    names = (stack.delta_of(name, k) for k in range(spec.layers) for name in ("drive", "net"))
    return Layout(*((name, (3 * spec.neurons,), "1") for name in names), ("out", (spec.outputs,), "1"))


def _products(spec: Spec) -> tuple[base.Product, ...]:
    return stack.products(spec, "net")


@jit_inline
def _update_back(
    tape: Array, before: Any, gates: Any, deltas: Array, drive: Any, net: Any, carry: Array, dh: Any, n: Any
) -> None:  # fmt: skip
    """Back over the gates: from the change with h_i, the sum of what ``net`` of z and ``carry`` hold, to all deltas.

    ``before`` is the tape's h; at ``gates`` r, z, c and U_c h + d stand; ``carry`` gets z_i dh_i.
    """
    before, gates, drive, net, dh, n = U(before), U(gates), U(drive), U(net), U(dh), U(n)
    for i in range(n):
        change = load(deltas, net + n + i) + load(carry, dh + i)
        r, z = load(tape, gates + i), load(tape, gates + n + i)
        c, recalled = load(tape, gates + n + n + i), load(tape, gates + n + n + n + i)
        d_z = change * (load(tape, before + i) - c) * z * (one(z) - z)
        d_c = change * (one(z) - z) * (one(c) - c * c)
        d_r = d_c * recalled * r * (one(r) - r)
        store(carry, dh + i, change * z)
        store(deltas, drive + i, d_r)
        store(deltas, drive + n + i, d_z)
        store(deltas, drive + n + n + i, d_c)
        store(deltas, net + i, d_r)
        store(deltas, net + n + i, d_z)
        store(deltas, net + n + n + i, d_c * r)


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``."""
    n, m, q, layers = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[base.OPTION]
    first, size = n * (3 * (m + n) + 4), n * (6 * n + 4)  # of a layer's parameters
    drive, held, limits = at + 6 * n * layers, after + 5 * n * layers + m, base.SCALES + 2 * m
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, held, dy, dy_at, deltas, drive, carry, 8 * n * layers, q,
        floats, limits,
    )  # fmt: skip
    # What takes h: the readout, or W_in of the next layer. drive is the change with its sums.
    affine, w, rows = ints[base.AFFINE], first + (layers - 1) * size, q
    for back in range(layers):
        k = layers - 1 - back
        w_in, kept = (w - size if k > 0 else 0), 8 * n * k  # kept: of net in the carry, behind which h and biases stand
        rec, net = w_in + 3 * n * (n if k > 0 else m), at + 6 * n * k + 3 * n
        adjoint.two_sources(affine, theta, w, rows, deltas, drive, rec, 3 * n, carry, kept, deltas, net + n, n)
        drive = net - 3 * n
        _update_back(
            tape, before + k * n, after + (layers + 4 * k) * n, deltas, drive, net, carry, kept + 3 * n, n
        )  # fmt: skip
        v.copy(deltas, net, carry, kept, 3 * n)
        v.add(deltas, drive, carry, kept + 4 * n, 3 * n)
        v.add(deltas, net + 2 * n, carry, kept + 7 * n, n)
        affine, w, rows = 1, w_in, 3 * n


@jit_step
def finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Complete the change with the first h of each layer."""
    n, m = ints[base.NEURONS], ints[base.INPUTS]
    rec = 3 * n * m
    for layer in range(ints[base.OPTION]):
        net = 8 * n * layer
        add_transposed(theta, rec, 3 * n, carry, net, carry, net + 3 * n, n)
        rec += n * (6 * n + 4)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, or over sqrt(n) in later layers, ``U = 2 x / sqrt(n)``, ``bias = x``, but of
    z ``1 + 2 x``: a standard deviation of 0.5 gives neurons that remember from 2 to 10 steps. ``h0 = tanh(x)``.
    """
    n = spec.neurons
    theta = np.array(x)
    p = layout(spec).rows(theta)
    for name in stack.names(spec, "bias"):
        p[name][..., n : 2 * n] = UPDATE_BIAS + _UPDATE_SCALE * p[name][..., n : 2 * n]
    stack.decode(spec, p, _WEIGHT_SCALE)
    return theta


CELL: Final = base.Cell(
    name="gru",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("gru", step),
    rollout=calls.rollout("gru", step),
    step_prepared=step,
    initial=stack.initial,
    own_ints=stack.own_ints,
    adjoint=base.Adjoint(_tape, _carry, _deltas, _products, backward, finish=finish),
)
