"""GRU: the gated recurrent unit of Cho et al. (2014), in the form that torch, Keras and cuDNN have.

    r = logistic(W_r u + U_r h + b_r),   z = logistic(W_z u + U_z h + b_z),
    c = tanh(W_c u + b_c + r (U_c h + d)),   h = c + z (h - c),   y = g(W_out h + b_out)

K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014, but for r: it acts after the
product U_c h, which has a bias d of its own (ONNX: linear_before_reset = 1). The weights are those of a one-layer
``torch.nn.GRU``, the gates r, z, n one above the other: W_in is its weight_ih, U its weight_hh; bias is the sum of its
two biases for r and z, its bias_ih for n; recurrent_bias, d, is its bias_hh for n.
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
    n, m = spec.neurons, spec.inputs
    gates = ("W_in", (3 * n, m), "1"), ("U", (3 * n, n), "1"), ("bias", (3 * n,), "1")
    initial = base.initial_blocks(spec, {"h0": n}, base.activation_bound(spec))
    return Layout(*gates, ("recurrent_bias", (n,), "1"), *base.readout_blocks(spec), *initial)


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h is the network's; the others are scratch; the held output; flags.

    ``reset``, ``update`` and ``candidate`` are r, z and c, ``recalled`` is U_c h + d.
    """
    names = ("h", "reset", "update", "candidate", "recalled")
    return Layout(*((name, (spec.neurons,), "1") for name in names), *base.step_blocks(spec))


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
    """Advance one time step: h = c + z (h - c), see the equations above, then read out.

    |h| stays below 1. A step that meets NaN or Inf in u leaves h as it was and holds the last output; see
    ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says.
    """
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, bias = 3 * n * m, 3 * n * (m + n)
    recurrent_bias, w_out = bias + 3 * n, bias + 4 * n
    h, reset, update, candidate, recalled, scaled = 0, n, 2 * n, 3 * n, 4 * n, 5 * n
    held, limits = scaled + m, base.SCALES + 2 * m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    v.two_matvecs(theta, 0, rec, state, scaled, h, reset, 2 * n, m, n)
    v.add(theta, bias, state, reset, 2 * n)
    ops.apply(LOGISTIC, state, reset, 2 * n)
    v.linear(theta, rec + 2 * n * n, state, h, theta, recurrent_bias, state, recalled, n, n)
    v.linear(theta, 2 * n * m, state, scaled, theta, bias + 2 * n, state, candidate, n, m)
    _recall(state, reset, recalled, candidate, n)
    ops.apply(TANH, state, candidate, n)
    _update(state, update, candidate, ok, h, n)
    ops.readout(
        theta, w_out, state, h, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _tape(spec: Spec) -> tuple[str, ...]:
    return "h", "reset", "update", "candidate", "recalled"


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks: net, of U h, of the step after; h, biases and b_out as in ``Adjoint``."""
    n = spec.neurons
    own = ("net", (3 * n,), "1"), ("h", (n,), "1"), ("bias", (3 * n,), "1"), ("recurrent_bias", (n,), "1")
    return Layout(*own, *base.readout_sums(spec))


@cache_layout
def _deltas(spec: Spec) -> Layout:
    """Blocks: the change with W_in u, and with U h, which the reset gate scales for the candidate."""
    n, q = spec.neurons, spec.outputs
    return Layout(("drive", (3 * n,), "1"), ("net", (3 * n,), "1"), ("out", (q,), "1"))


def _products(spec: Spec) -> tuple[base.Product, ...]:
    own = base.Product("drive", "u", False, "W_in"), base.Product("net", "h", True, "U")
    return (*own, *base.readout_products(spec, "h"))


@jit_inline
def _update_back(
    tape: Array, before: Any, after: Any, deltas: Array, drive: Any, net: Any, carry: Array, dh: Any, n: Any
) -> None:  # fmt: skip
    """Back over the gates: from the change with h_i, the sum of what ``net`` of z and ``carry`` hold, to all deltas.

    ``before`` and ``after`` are the tape's h, behind which r, z, c and U_c h + d stand; ``carry`` gets z_i dh_i.
    """
    before, after, drive, net, dh, n = U(before), U(after), U(drive), U(net), U(dh), U(n)
    reset, update, candidate = n, n + n, n + n + n
    for i in range(n):
        change = load(deltas, net + n + i) + load(carry, dh + i)
        r, z = load(tape, after + reset + i), load(tape, after + update + i)
        c, recalled = load(tape, after + candidate + i), load(tape, after + candidate + n + i)
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
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, w_out, limits = 3 * n * m, 3 * n * (m + n) + 4 * n, base.SCALES + 2 * m
    net, out, held = at + 3 * n, at + 6 * n, after + 5 * n + m
    h, bias, b_out = 3 * n, 4 * n, 8 * n  # in the carry
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, held, dy, dy_at, deltas, out, carry, b_out, q, floats,
        limits,
    )  # fmt: skip
    adjoint.two_sources(ints[base.AFFINE], theta, w_out, q, deltas, out, rec, 3 * n, carry, 0, deltas, net + n, n)
    _update_back(tape, before, after, deltas, at, net, carry, h, n)
    v.copy(deltas, net, carry, 0, 3 * n)
    v.add(deltas, at, carry, bias, 3 * n)
    v.add(deltas, net + 2 * n, carry, bias + 3 * n, n)


@jit_step
def finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Complete the change with the first h."""
    n, m = ints[base.NEURONS], ints[base.INPUTS]
    add_transposed(theta, 3 * n * m, 3 * n, carry, 0, carry, 3 * n, n)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(n)``, ``bias = x``, but of z ``1 + 2 x``: a standard
    deviation of 0.5 gives neurons that remember from 2 to 10 steps. ``h0 = tanh(x)``.
    """
    n = spec.neurons
    theta = np.array(x)
    p = layout(spec).rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / base.input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE / math.sqrt(n)
    p["bias"][..., n : 2 * n] = UPDATE_BIAS + _UPDATE_SCALE * p["bias"][..., n : 2 * n]
    base.decode_readout(spec, p)
    base.decode_initial(p, ["h0"], base.activation_bound(spec))
    return theta


def _initial(spec: Spec) -> dict[str, str]:
    return {"h": "h0"}


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
    initial=_initial,
    adjoint=base.Adjoint(_tape, _carry, _deltas, _products, backward, finish=finish),
)
