"""Hopfield network: an associative memory that settles into a stored pattern.

    s_i = sign(sum_j W_ij s_j - b_i)                     one at a time (asynchronous) or all at once (synchronous)
    dv_i/dt = -v_i + sum_j W_ij s_j - b_i, s = tanh(v)   continuous, time in units of the neurons' own time constant

J. J. Hopfield, PNAS 79 (1982) and PNAS 81 (1984). With W symmetric and its diagonal zero, as the learning rules of
``neuroctl.hopfield`` and ``decode`` give it, an asynchronous update never raises E = -1/2 s'Ws + b's.

As a controller: the first ``inputs`` neurons are observed, the last ``outputs`` are read. A control step shows the
observation (in the binary forms its sign, 0 counting as +1), holds it (``clamp``) or only starts from it, and lets the
network settle until a whole sweep changes nothing. Other neurons go on from where they were; 0, the state after
reset, is a neuron that does not know yet. A field of exactly 0 leaves a neuron as it is.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, calls, ops
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.activations import IDENTITY, hard_tanh, tanh
from neuroctl.maths.jit import jit_inline, jit_step
from neuroctl.maths.packs import any_lane, load, select, store
from neuroctl.maths.scalars import one, zero
from neuroctl.spec import UPDATES, Spec

Array = NDArray[Any]

ASYNCHRONOUS, SYNCHRONOUS, CONTINUOUS = range(3)
SETTLED: Final = 1e-6
"""A continuous network has converged when no potential changes by more than this in a step."""
_MODE, _STEPS, _CLAMP, _ORDER = base.OPTION, base.OPTION + 1, base.OPTION + 2, base.OPTION + 3


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta."""
    return Layout(("W", (spec.neurons, spec.neurons), "1"), ("bias", (spec.neurons,), "1"))


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: s, outputs of the neurons; v, potentials of the continuous form; how the last step settled.

    Scratch: field; active and changed, 1 while a network still moves. ``converged`` is 1 if the last step ended in a
    state that a further sweep does not change, ``sweeps`` how many it took.
    """
    n = spec.neurons
    names = ("active", "changed", "converged", "sweeps")
    return Layout(
        ("s", (n,), "1"),
        ("v", (n,), "1"),
        ("field", (n,), "1"),
        *((name, (), "1") for name in names),
        *base.step_blocks(spec),
    )


@jit_inline
def _sign(x: Any, otherwise: Any) -> Any:
    return select(x > zero(x), one(x), select(x < zero(x), -one(x), otherwise))


@jit_inline
def _show(state: Array, x: Any, m: Any, ok: Any, potentials: Any, continuous: Any, clamp: Any) -> None:
    """Set the observed neurons, s_0 to s_(m-1), where ok."""
    good = load(state, v.U(ok)) != zero(load(state, v.U(ok)))
    for i in range(v.U(m)):
        potential = v.U(potentials) + i
        observed = hard_tanh(load(state, v.U(x) + i))
        if continuous == 0:
            shown = _sign(observed, one(observed))
        elif clamp != 0:
            shown = observed
        else:
            shown = tanh(observed)
        store(state, i, select(good, shown, load(state, i)))
        store(state, potential, select(good, observed, load(state, potential)))


@jit_inline
def _turn(state: Array, field: Any, theta: Array, bias: Any, s: Any, active: Any, changed: Any) -> None:
    """Set s = sign(field - b) where active; note where that changed it."""
    field, bias, s, active, changed = v.U(field), v.U(bias), v.U(s), v.U(active), v.U(changed)
    before, going = load(state, s), load(state, active)
    after = _sign(load(state, field) - load(theta, bias), before)
    after = select(going != zero(going), after, before)
    store(state, changed, select(after == before, load(state, changed), going))
    store(state, s, after)


@jit_inline
def _flow(
    state: Array, field: Any, theta: Array, bias: Any, dt: Any, least: Any, potential: Any, s: Any, active: Any,
    changed: Any,
) -> None:  # fmt: skip
    """Step v += dt (field - b - v), s = tanh(v) where active; note where v changed by more than ``least``."""
    field, bias, potential, s = v.U(field), v.U(bias), v.U(potential), v.U(s)
    active, changed = v.U(active), v.U(changed)
    going = load(state, active)
    change = dt * (load(state, field) - load(theta, bias) - load(state, potential))
    change = select(going != zero(going), change, zero(change))
    store(state, changed, select(abs(change) <= least, load(state, changed), going))
    after = load(state, potential) + change
    store(state, potential, after)
    store(state, s, select(going != zero(going), tanh(after), load(state, s)))


@jit_step
def _sweep(theta: Array, state: Array, ints: Array, floats: Array, active: Any, changed: Any, least: Any) -> None:
    """Update every neuron that is not clamped once."""
    n, mode = ints[base.NEURONS], ints[_MODE]
    potentials, field, bias = n, 2 * n, n * n
    first = ints[base.INPUTS] if ints[_CLAMP] != 0 else 0
    if mode == ASYNCHRONOUS:
        for k in range(n):
            i = ints[_ORDER + k]
            if i >= first:
                v.fill(0, state, field, 1)
                v.matvec_add(theta, i * n, state, 0, state, field, 1, n)
                _turn(state, field, theta, bias + i, i, active, changed)
    else:
        v.fill(0, state, field, n)
        v.matvec_add(theta, 0, state, 0, state, field, n, n)
        for i in range(first, n):
            if mode == SYNCHRONOUS:
                _turn(state, field + i, theta, bias + i, i, active, changed)
            else:
                _flow(state, field + i, theta, bias + i, floats[base.DT], least, potentials + i, i, active, changed)


@jit_step
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Show the observation, settle, read out.

    A step that meets NaN or Inf in u leaves the network as it was and holds the last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says; at OPTION the kind of update, most sweeps, clamp and the order.
    """
    n, m, q, mode = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[_MODE]
    active = 3 * n
    changed, converged, sweeps, scaled = active + 1, active + 2, active + 3, active + 4
    held, settled = scaled + m, base.SCALES + 2 * (m + q)
    ok = held + q
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    _show(state, scaled, m, ok, n, 1 if mode == CONTINUOUS else 0, ints[_CLAMP])
    v.copy(state, ok, state, active, 1)
    v.fill(0, state, sweeps, 1)
    for _ in range(ints[_STEPS]):
        if not any_lane(load(state, v.U(active)) != zero(load(state, v.U(active)))):
            break
        v.fill(0, state, changed, 1)
        _sweep(theta, state, ints, floats, active, changed, floats[settled])
        v.add(state, active, state, sweeps, 1)
        v.copy(state, changed, state, active, 1)
    still_active = load(state, v.U(active))
    store(state, v.U(converged), one(still_active) - still_active)
    ops.readout(theta, 0, state, n - q, n, y, q, 0, IDENTITY, floats, base.SCALES + 2 * m, ok, held)


def own_ints(spec: Spec) -> list[int]:
    """Return the kind of update, most sweeps, clamp, and the order in which neurons are updated."""
    order = np.random.default_rng(spec.order_seed).permutation(spec.neurons)
    return [UPDATES.index(spec.update), spec.settle_steps, int(spec.clamp), *(int(i) for i in order)]


def _floats(spec: Spec) -> list[float]:
    return [SETTLED]


@cache_layout
def genes(spec: Spec) -> Layout:
    """Blocks of the genome: the upper triangle of W, and the biases."""
    return Layout(("W", (spec.neurons * (spec.neurons - 1) // 2,), "1"), ("bias", (spec.neurons,), "1"))


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta: W symmetric with zero diagonal, ``W_ij = 2 x / sqrt(n)``; ``bias = x``."""
    n, blocks = spec.neurons, layout(spec)
    theta = np.zeros((*x.shape[:-1], blocks.size))
    p, g = blocks.rows(theta), genes(spec).rows(x)
    above, below = np.triu_indices(n, 1)
    p["W"][..., above, below] = p["W"][..., below, above] = 2.0 / math.sqrt(n) * g["W"]
    p["bias"][:] = g["bias"]
    return theta


CELL: Final = base.Cell(
    name="hopfield",
    layout=layout,
    state_layout=state_layout,
    genes=genes,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("hopfield", step),
    rollout=calls.rollout("hopfield", step),
    step_prepared=step,
    own_ints=own_ints,
    own_floats=_floats,
)
