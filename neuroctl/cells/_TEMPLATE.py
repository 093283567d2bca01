"""NAME OF THE NETWORK: who described it, and when. Copy this file; it is a whole cell, of leaky neurons.

    h_t = h_(t-1) + leak (f(W_in u_t + U h_(t-1) + bias) - h_(t-1)),     y_t = g(W_out h_t + b_out)

H. Jaeger et al., "Optimization and applications of echo state networks with leaky-integrator neurons", Neural Networks
20 (2007): the source of the equations, and in what they differ from it.

1. The equation stands once, in ``step``, written with ``load``, ``store`` and ``select`` of ``maths.packs`` or with
   helpers that are: ``maths.vectors`` (linear algebra) and ``ops`` (inputs, activations, readout). The same source then
   serves a controller, a population in lanes and a GPU's thread.
2. A step allocates nothing, raises nothing and calls no Python: a number in it has its type from an array
   (``one(x)``, ``zero(x)``, ``like(x, 0.5)``), for a bare 0.5 is a float64. Loops run over unsigned indices, ``U(n)``.
3. All that a step remembers lies in the state, scratch included; NaN and Inf never leave a step, see ``ops.readout``.
4. CONTRIBUTING.md, "Add a cell", says which tables name a cell, and what tests it then.
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
from neuroctl.maths.packs import load, select, store
from neuroctl.maths.scalars import zero
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

_WEIGHT_SCALE: Final = 2.0  # U is divided by sqrt(n): at a standard deviation of 0.5 its spectral radius is about 1
_MIN_LEAK, _MAX_LEAK = 0.02, 0.98


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta: name, shape, unit, and where they are bounded the bounds, exclusive. Matrices are [to, from]."""
    n, m = spec.neurons, spec.inputs
    return Layout(
        ("W_in", (n, m), "1"),
        ("U", (n, n), "1"),
        ("bias", (n,), "1"),
        ("leak", (n,), "1", 0.0, 1.0),
        *base.readout_blocks(spec),  # W_out and b_out, one behind the other
        *base.initial_blocks(spec, {"h0": n}, base.activation_bound(spec)),  # last: where the initial state is learned
    )


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: h is the network's; new and u, scaled inputs, are scratch; the held output; flags.

    ``held``, ``ok`` and ``fault`` are every cell's: what goes on if an input is no number, see ``ops.clip_or_hold``.
    """
    n = spec.neurons
    return Layout(
        ("h", (n,), "1"),
        ("new", (n,), "1"),
        *base.step_blocks(spec),
    )


@jit_inline
def _approach(theta: Array, leak: Any, state: Array, goal: Any, ok: Any, h: Any, n: Any) -> None:
    """h_i += leak_i (goal_i - h_i) where ok, else h stays: this network's own part. All are offsets."""
    leak, goal, ok, h, n = U(leak), U(goal), U(ok), U(h), U(n)
    good = load(state, ok)
    for i in range(n):
        before = load(state, h + i)
        after = before + load(theta, leak + i) * (load(state, goal + i) - before)
        store(state, h + i, select(good != zero(good), after, before))  # no branch: lanes differ


@jit_inline
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: h += leak (f(W_in u + U h + bias) - h), then read out.

    A step that meets NaN or Inf in u leaves h as it was and holds the last output; see ``ops.clip_or_hold``.

    Arguments are as ``cells.base.Cell`` says.
    """
    n, m, q = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS]
    rec, bias = n * m, n * m + n * n  # offsets in theta, in the order of ``layout``
    leak, w_out = bias + n, bias + 2 * n
    h, new, scaled = 0, n, 2 * n  # offsets in the state, in the order of ``state_layout``
    held = scaled + m
    ok = held + q
    limits = base.SCALES + 2 * m  # in floats: the outputs' lows and highs
    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    v.two_matvecs(theta, 0, rec, state, scaled, h, new, n, m, n)
    v.add(theta, bias, state, new, n)
    ops.apply(ints[base.ACTIVATION], state, new, n)
    _approach(theta, leak, state, new, ok, h, n)
    ops.readout(
        theta, w_out, state, h, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome ``[..., genes]`` to theta. Pure: constraints live here and nowhere else.

    - the origin is a sensible network, and a standard deviation of 0.5 explores well
    - ``W_in = 2 x`` over the inputs' range, ``U = 2 x / sqrt(n)``, ``bias = x``
    - ``leak`` from 0.02 to 0.98, through a logistic, so that no gene leaves it
    - ``h0 = tanh(x)``, or x of ReLU
    """
    theta = np.array(x)
    p = layout(spec).rows(theta)
    p["W_in"][:] *= _WEIGHT_SCALE / base.input_scale(spec)
    p["U"][:] *= _WEIGHT_SCALE / math.sqrt(spec.neurons)
    p["leak"][:] = _MIN_LEAK + (_MAX_LEAK - _MIN_LEAK) * (0.5 + 0.5 * np.tanh(0.5 * p["leak"]))
    base.decode_readout(spec, p)
    base.decode_initial(p, ["h0"], base.activation_bound(spec))
    return theta


def _initial(spec: Spec) -> dict[str, str]:
    """Return the block of theta that each block of the state starts from where the initial state is learned."""
    return {"h": "h0"}


CELL: Final = base.Cell(
    name="name_of_the_network",
    layout=layout,
    state_layout=state_layout,
    genes=layout,  # another layout where the genome is not theta's blocks, as for the CTRNN
    decode=decode,
    step=step,
    step_checked=calls.step_checked("name_of_the_network", step),
    rollout=calls.rollout("name_of_the_network", step),
    step_prepared=step,
    initial=_initial,
    # Where a step needs more: prepare, what of the state follows from theta, computed once before a rollout; own_ints
    # and own_floats, numbers of ints from OPTION on and of floats behind the outputs' limits. See ``ctrnn``.
)
