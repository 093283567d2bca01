"""CfC: the closed-form continuous-time network of Hasani et al. (2022).

    x = [u, h], or what the backbone makes of it,     f = tanh(W_1 x + b_1),   g = tanh(W_2 x + b_2),
    t = logistic(W_t x + b_t),     h = (1 - t) f + t g, or with ``mode="no_gate"`` f + t g,     y = g(W_out h + b_out)

R. Hasani, M. Lechner et al., "Closed-form continuous-time neural networks", Nature Machine Intelligence 4, 2022, eq. 4;
``no_gate`` is the authors' variant of that name. There the gate's argument is linear in the time since the last step,
W_a x s + W_b x. As dt_s is fixed, so is that: W_t = s W_a + W_b, see docs/decisions/0037.

The rows of f, g and t stand one above the other. Without a backbone W_in, U and bias hold those; with one they are its
first layer's, its others are ``W_backbone.1`` and so on, and ``W_ff``, of f and g, and ``W_time`` take its last.
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
from neuroctl.maths.transposed import transposed, two_transposed
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0  # U is divided by sqrt(n): at a standard deviation of 0.5 its spectral radius is about 1

NO_GATE, LAYERS, SCRATCH, W_OUT, SIZES = range(base.OPTION, base.OPTION + 5)
"""Places in ``ints``: 1 for ``no_gate``; number of the backbone's layers; numbers in the state between h and the scaled
inputs; offset of W_out in theta; from SIZES on the rows of W_in, then of each further layer of the backbone."""


def rows_of(spec: Spec) -> tuple[int, ...]:
    """Return the rows of each layer: the backbone's, and where there is none those of f, g and t."""
    return spec.backbone or (3 * spec.neurons,)


def bound(spec: Spec) -> float:
    """Return the largest magnitude of h."""
    return 2.0 if spec.mode == "no_gate" else 1.0


def heads(spec: Spec) -> list[tuple[str, int, int]]:
    """Return name, rows and columns of the layers behind the backbone's first; none without a backbone."""
    if not spec.backbone:
        return []
    later = [(f"backbone.{k}", rows, spec.backbone[k - 1]) for k, rows in enumerate(spec.backbone) if k > 0]
    last = spec.backbone[-1]
    return [*later, ("ff", 2 * spec.neurons, last), ("time", spec.neurons, last)]


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta; see the equations for the order of rows."""
    n, m, rows = spec.neurons, spec.inputs, rows_of(spec)[0]
    first = ("W_in", (rows, m), "1"), ("U", (rows, n), "1"), ("bias", (rows,), "1")
    later = [
        block
        for name, count, columns in heads(spec)
        for block in ((f"W_{name}", (count, columns), "1"), (f"b_{name}", (count,), "1"))
    ]
    return Layout(*first, *later, *base.readout_blocks(spec), *base.initial_blocks(spec, {"h0": n}, bound(spec)))


def activations(spec: Spec) -> list[tuple[Any, ...]]:
    """Return the blocks of a state that hold what a step computes between inputs and h.

    ``backbone.k`` are the backbone's layers, ``ff`` f, then g; ``time`` is t.
    """
    backbone = [(f"backbone.{k}", (rows,), "1") for k, rows in enumerate(spec.backbone)]
    return [*backbone, ("ff", (2 * spec.neurons,), "1"), ("time", (spec.neurons,), "1")]


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h is the network's; the others are scratch; the held output; flags."""
    return Layout(("h", (spec.neurons,), "1"), *activations(spec), *base.step_blocks(spec))


@jit_inline
def _mix(state: Array, ff: Any, no_gate: Any, ok: Any, h: Any, n: Any) -> None:
    """h_i = f_i + t_i (g_i - f_i), without the gate on f f_i + t_i g_i, where ok, else h stays. All are offsets."""
    ff, ok, h, n = U(ff), U(ok), U(h), U(n)
    good = load(state, ok)
    for i in range(n):
        f, g, t = load(state, ff + i), load(state, ff + n + i), load(state, ff + n + n + i)
        after = f + t * g if no_gate != 0 else f + t * (g - f)
        store(state, h + i, select(good != zero(good), after, load(state, h + i)))


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h = f + t (g - f), see the equations above, then read out.

    |h| stays within 1, with ``no_gate`` below 2. A step that meets NaN or Inf in u leaves h as it was and holds the
    last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says; ``ints``: see the places above.
    """
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    layers, rows, limits = ints[LAYERS], ints[SIZES], base.SCALES + 2 * m
    h, x, scaled = 0, n, n + ints[SCRATCH]
    held = scaled + m
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    v.two_matvecs(theta, 0, rows * m, state, scaled, h, x, rows, m, n)
    v.add(theta, rows * (m + n), state, x, rows)
    w, ff = rows * (m + n + 1), scaled - 3 * n
    if layers > 0:
        for k in range(1, layers):
            ops.apply(ints[base.ACTIVATION], state, x, rows)
            more = ints[SIZES + k]
            v.linear(theta, w, state, x, theta, w + more * rows, state, x + rows, more, rows)
            w, x, rows = w + more * (rows + 1), x + rows, more
        ops.apply(ints[base.ACTIVATION], state, x, rows)
        time = w + 2 * n * (rows + 1)
        v.linear(theta, w, state, x, theta, w + 2 * n * rows, state, ff, 2 * n, rows)
        v.linear(theta, time, state, x, theta, time + n * rows, state, ff + 2 * n, n, rows)
    ops.apply(TANH, state, ff, 2 * n)
    ops.apply(LOGISTIC, state, ff + 2 * n, n)
    _mix(state, ff, ints[NO_GATE], ok, h, n)
    ops.readout(
        theta, ints[W_OUT], state, h, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _tape(spec: Spec) -> tuple[str, ...]:
    return ("h", *(name for name, *_ in activations(spec)))


def _deltas_of(spec: Spec) -> list[tuple[Any, ...]]:
    later = [(name, (rows,), "1") for name, rows, _ in heads(spec)]
    return [("drive", (rows_of(spec)[0],), "1"), *later]


@cache_layout
def _deltas(spec: Spec) -> Layout:
    """Blocks: the change with the sums of W_in and U, of each layer behind, and of the readout."""
    return Layout(*_deltas_of(spec), ("out", (spec.outputs,), "1"))


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks: net, of U h, of the step after; h, biases and b_out as in ``Adjoint``."""
    rows = (rows_of(spec)[0],)
    first, *later = _deltas_of(spec)
    sums = [("bias", *first[1:]), *((f"b_{name}", *rest) for name, *rest in later)]
    return Layout(("net", rows, "1"), ("h", (spec.neurons,), "1"), *sums, *base.readout_sums(spec))


def _products(spec: Spec) -> tuple[base.Product, ...]:
    last = f"backbone.{len(spec.backbone) - 1}"
    own = [base.Product("drive", "u", False, "W_in"), base.Product("drive", "h", True, "U")]
    for name, *_ in heads(spec):
        before = last if name in ("ff", "time") else f"backbone.{int(name.partition('.')[2]) - 1}"
        own.append(base.Product(name, before, False, f"W_{name}"))
    return (*own, *base.readout_products(spec, "h"))


@jit_inline
def _mix_back(tape: Array, ff: Any, no_gate: Any, carry: Array, dh: Any, deltas: Array, at: Any, n: Any) -> None:
    """Set the changes with the arguments of f, g and t, of that with h. ``ff`` and ``at`` are where f begins."""
    ff, dh, at, n = U(ff), U(dh), U(at), U(n)
    for i in range(n):
        change = load(carry, dh + i)
        f, g, t = load(tape, ff + i), load(tape, ff + n + i), load(tape, ff + n + n + i)
        kept, moved = one(t) - t, g - f
        if no_gate != 0:
            kept, moved = one(t), g
        store(deltas, at + i, change * kept * (one(f) - f * f))
        store(deltas, at + n + i, change * t * (one(g) - g * g))
        store(deltas, at + n + n + i, change * moved * t * (one(t) - t))


@jit_inline
def _backbone_back(theta: Array, tape: Array, ff: Any, deltas: Array, at: Any, ints: Array) -> None:
    """Back through the backbone: from the deltas of f, g and t, from ``at`` on, to those of W_in and U."""
    n, layers, code, w = ints[base.NEURONS], ints[LAYERS], ints[base.ACTIVATION], ints[W_OUT]
    columns = ints[SIZES + layers - 1]
    time = w - n * (columns + 1)
    w = time - 2 * n * (columns + 1)
    x, below = ff - columns, at - columns
    two_transposed(theta, w, 2 * n, deltas, at, time, n, deltas, at + 2 * n, deltas, below, columns)
    adjoint.through_activation(code, tape, x, deltas, below, columns)
    for back in range(1, layers):
        rows = columns
        columns = ints[SIZES + layers - 1 - back]
        w -= rows * (columns + 1)
        transposed(theta, w, rows, deltas, below, deltas, below - columns, columns)
        x, below = x - columns, below - columns
        adjoint.through_activation(code, tape, x, deltas, below, columns)


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``."""
    n, m, q, rows, count = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[SIZES], ints[SCRATCH]
    limits, ff, out, h = base.SCALES + 2 * m, after + n + count - 3 * n, at + count, rows
    adjoint.through_readout(
        ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], tape, after + n + count + m, dy, dy_at, deltas, out, carry,
        rows + n + count, q, floats, limits,
    )  # fmt: skip
    adjoint.two_sources(ints[base.AFFINE], theta, ints[W_OUT], q, deltas, out, rows * m, rows, carry, 0, carry, h, n)
    _mix_back(tape, ff, ints[NO_GATE], carry, h, deltas, out - 3 * n, n)
    if ints[LAYERS] > 0:
        _backbone_back(theta, tape, ff, deltas, out - 3 * n, ints)
    v.copy(deltas, at, carry, 0, rows)
    v.add(deltas, at, carry, rows + n, count)


@jit_step
def finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Set the change with the first h."""
    n, m, rows = ints[base.NEURONS], ints[base.INPUTS], ints[SIZES]
    transposed(theta, rows * m, rows, carry, 0, carry, rows, n)


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta.

    ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(n)``, other layers ``2 x`` over the square root of their
    columns; biases are ``x``. ``h0 = tanh(x)``, twice that with ``no_gate``.
    """
    theta = np.array(x)
    p = layout(spec).rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / base.input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE / math.sqrt(spec.neurons)
    for name, _, columns in heads(spec):
        p[f"W_{name}"][:] *= _WEIGHT_SCALE / math.sqrt(columns)
    base.decode_readout(spec, p)
    base.decode_initial(p, ["h0"], bound(spec))
    return theta


def _initial(spec: Spec) -> dict[str, str]:
    return {"h": "h0"}


def w_out_at(spec: Spec) -> int:
    """Return where W_out begins in theta, or would."""
    return rows_of(spec)[0] * (spec.inputs + spec.neurons + 1) + sum(
        rows * (columns + 1) for _, rows, columns in heads(spec)
    )


def _options(spec: Spec) -> list[int]:
    scratch = sum(spec.backbone) + 3 * spec.neurons
    return [int(spec.mode == "no_gate"), len(spec.backbone), scratch, w_out_at(spec), *rows_of(spec)]


CELL: Final = base.Cell(
    name="cfc",
    layout=layout,
    state_layout=state_layout,
    genes=layout,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("cfc", step),
    rollout=calls.rollout("cfc", step),
    step_prepared=step,
    initial=_initial,
    own_ints=_options,
    adjoint=base.Adjoint(_tape, _carry, _deltas, _products, backward, finish=finish),
)
