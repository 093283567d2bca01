"""CTRNN: the continuous-time recurrent neural network of Beer (1995).

    tau_i dy_i/dt = -y_i + sum_j W_ij s_j + sum_k Win_ik u_k,     s_j = logistic(g_j (y_j + b_j))

R. D. Beer, "On the dynamics of small continuous-time recurrent neural networks", Adaptive Behavior 3 (1995),
eq. 1. The output is read from the new state: out = W_out s + b_out, or s itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import base, calls, ops
from neuroctl.cells import ops_adjoint as adjoint
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.jit import jit_inline, jit_step
from neuroctl.maths.transposed import transposed
from neuroctl.spec import Spec

Array = NDArray[Any]

# Where one unit of the genome leads; tau spans a log scale from 2 dt to 2 s, or to 100 dt if that is longer.
_WEIGHT_SCALE: Final = 4.0
_BIAS_SCALE: Final = 2.0
_TAU_LOW_STEPS: Final = 2.0
_TAU_HIGH_S: Final = 2.0
_TAU_HIGH_STEPS: Final = 100.0  # a plant with a unit of time of its own, such as the walker, needs these


# Runge-Kutta methods as tables: how far each stage's slope leads to the next, and its weight in the sum.
_STAGES: Final[Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "euler": ((), ()),
    "etd1": ((), ()),
    "heun": ((1.0, 0.0), (0.5, 0.5)),
    "rk4": ((0.5, 0.5, 1.0, 0.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
# The smallest tau in steps, exclusive: beyond it the method's own decay of the leak grows.
_STABLE_STEPS: Final = {"euler": 1 / 2, "heun": 1 / 2, "rk4": 1 / 2.785293563405282, "etd1": 0.0}


@cache_layout
def layout(spec: Spec) -> Layout:
    """Blocks of theta. tau's lower bound is where the integrator turns unstable on the leak alone."""
    n, m = spec.neurons, spec.inputs
    return Layout(
        ("W", (n, n), "1", -math.inf, math.inf, spec.mask),
        ("bias", (n,), "1"),
        ("gain", (n,), "1"),
        ("tau_s", (n,), "s", _STABLE_STEPS[spec.integrator] * spec.dt_s, math.inf),
        ("W_in", (n, m), "1"),
        *base.readout_blocks(spec),
        *base.initial_blocks(spec, {"y0": n}),
    )


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: y is the network's; the others are scratch, the held output and the two flags.

    Scratch: alpha, dt/tau; net, drive and total, sums of a step; s, activations of y; y.k and s.k, the same in the
    later stages of a Runge-Kutta step; u, the scaled inputs. s stands so far behind y that vectors of 16 of both are
    apart, which is what LLVM tests before it takes such vectors.
    """
    n, stages = spec.neurons, range(1, len(_STAGES[spec.integrator][0]))
    return Layout(
        *((name, (n,), "1") for name in ("y", "alpha", "net", "s", "drive", "total")),
        *((f"{name}.{k}", (n,), "1") for k in stages for name in ("y", "s")),
        *base.step_blocks(spec),
    )


@jit_step
def step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step: y_i += dt/tau_i (-y_i + sum_j W_ij s_j + sum_k Win_ik u_k), then read out.

    A step that meets NaN or Inf in u, or would put one out, leaves y as it was (inputs) or holds the last
    output (outputs), and latches the fault flag.

    Arguments are as ``cells.base.Cell`` says.
    """
    prepare(theta, state, ints, floats)
    step_prepared(theta, state, u, y, ints, floats)


@jit_step
def prepare(theta: Array, state: Array, ints: Array, floats: Array) -> None:
    """Bring s in line with y and alpha with tau, both of which may have been written to since the last step."""
    n = ints[base.NEURONS]
    ops.activate(state, 0, theta, n * n + n, n * n, state, 3 * n, n)
    ops.alphas(theta, n * n + 2 * n, floats[base.DT], ints[base.OPTION + 1], state, n, n)


@jit_inline
def step_prepared(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step from a state in which s fits y and alpha fits tau, and leave it so."""
    n, m, q, stages = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[base.OPTION]
    bias, gain, w_in = n * n, n * n + n, n * n + 3 * n
    w_out = w_in + n * m
    alpha, net, s, drive, total, later = n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n
    scaled = later + 2 * n * max(stages - 1, 0)
    held, limits = scaled + m, base.SCALES + 2 * m
    ok, tables = held + q, limits + 2 * q

    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    if stages == 0:  # euler or etd1
        v.two_matvecs(theta, w_in, 0, state, scaled, s, net, n, m, n)
        ops.leaky_step(state, net, alpha, ok, 0, n)
    else:
        v.fill(0, state, drive, n)
        v.matvec_add(theta, w_in, state, scaled, state, drive, n, m)
        v.fill(0, state, total, n)
        y_k, s_k, following = 0, s, later
        for k in range(stages):
            v.linear(theta, 0, state, s_k, state, drive, state, net, n, n)
            ops.rk_slope(state, net, alpha, floats[tables + stages + k], total, y_k, n)
            if k + 1 < stages:
                y_k, s_k, following = following, following + n, following + 2 * n
                ops.rk_stage(state, net, floats[tables + k], 0, y_k, n)
                ops.activate(state, y_k, theta, gain, bias, state, s_k, n)
        ops.rk_finish(state, total, ok, 0, n)
    ops.activate(state, 0, theta, gain, bias, state, s, n)
    ops.readout(
        theta, w_out, state, s, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


def _tape(spec: Spec) -> tuple[str, ...]:
    stages = range(1, len(_STAGES[spec.integrator][0]))
    return ("y", "s", *(f"{name}.{k}" for k in stages for name in ("y", "s")))


@cache_layout
def _carry(spec: Spec) -> Layout:
    """Blocks: y, net (of the step after), bias, gain, tau_s and b_out as in ``Adjoint``; the others are scratch."""
    names = ("y", "bias", "gain", "tau_s", "net", "alpha", "ds", "slope", "earlier")
    return Layout(*((name, (spec.neurons,), "1") for name in names), *base.readout_sums(spec))


@cache_layout
def _deltas(spec: Spec) -> Layout:
    stages = range(len(_STAGES[spec.integrator][0]))
    own = ("drive", *(f"net.{k}" for k in stages))
    return Layout(*((name, (spec.neurons,), "1") for name in own), ("out", (spec.outputs,), "1"))


def _products(spec: Spec) -> tuple[base.Product, ...]:
    stages = len(_STAGES[spec.integrator][0])
    first = base.Product("net.0" if stages else "drive", "s", True, "W")
    later = (base.Product(f"net.{k}", f"s.{k}", False, "W") for k in range(1, stages))
    return (base.Product("drive", "u", False, "W_in"), first, *later, *base.readout_products(spec, "s"))


@jit_step
def begin(theta: Array, carry: Array, ints: Array, floats: Array) -> None:
    """Fill in alpha, dt/tau."""
    n = ints[base.NEURONS]
    ops.alphas(theta, n * n + 2 * n, floats[base.DT], ints[base.OPTION + 1], carry, 5 * n, n)


@jit_inline
def backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``. Euler's method is taken as a Runge-Kutta method of one stage."""
    n, m, q, stages = ints[base.NEURONS], ints[base.INPUTS], ints[base.OUTPUTS], ints[base.OPTION]
    bias, gain, w_out = n * n, n * n + n, n * n + 3 * n + n * m
    d_bias, d_gain, net, alpha, ds, b_out = n, 2 * n, 4 * n, 5 * n, 6 * n, 9 * n
    out, held, limits = at + n + stages * n, after + 2 * n + 2 * n * max(stages - 1, 0) + m, base.SCALES + 2 * m
    adjoint.through_readout(
        ints[base.AFFINE],
        ints[base.OUTPUT_ACTIVATION],
        tape,
        held,
        dy,
        dy_at,
        deltas,
        out,
        carry,
        b_out,
        q,
        floats,
        limits,
    )
    adjoint.two_sources(ints[base.AFFINE], theta, w_out, q, deltas, out, 0, n, carry, net, carry, ds, n)
    adjoint.through_state(theta, gain, bias, tape, after, after + n, carry, 0, ds, d_bias, d_gain, n)
    if stages == 0:
        adjoint.leaky_back(tape, before, after, carry, alpha, net, 3 * n, deltas, at, n)
    else:
        _back_through_stages(theta, tape, before, after, deltas, at, carry, n, stages, floats, limits + 2 * q)


@jit_inline
def _back_through_stages(
    theta: Array, tape: Array, before: Any, after: Any, deltas: Array, at: Any, carry: Array, n: Any, stages: Any,
    floats: Array, tables: Any,
) -> None:  # fmt: skip
    """From the change with y after the step to that with y before it, from the last stage to the first."""
    bias, gain = n * n, n * n + n
    d_bias, d_gain, d_tau, net, alpha, ds, slope, earlier = n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, 7 * n, 8 * n
    weights, later = tables + stages, after + 2 * n
    v.fill(0, carry, earlier, n)
    v.fill(0, deltas, at, n)
    adjoint.scaled(floats[weights + stages - 1], carry, 0, slope, n)
    for back in range(stages):
        k = stages - 1 - back
        adjoint.rk_sum_slope(tape, before, after, later, carry, slope, d_tau, floats, tables, stages, k, n)
        adjoint.rk_slope_back(carry, slope, alpha, deltas, at + n + k * n, at, n)
        if k > 0:
            y_k = later + 2 * n * (k - 1)
            transposed(theta, 0, n, deltas, at + n + k * n, carry, ds, n)
            adjoint.rk_stage_back(
                theta, gain, bias, tape, y_k, y_k + n, carry, slope, alpha, ds, earlier, d_bias, d_gain,
                floats[weights + k - 1], floats[tables + k - 1], n,
            )  # fmt: skip
    v.copy(deltas, at + n, carry, net, n)
    adjoint.rk_begin_back(carry, slope, alpha, earlier, n)


@jit_step
def finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Bring in the activations that the first step started from; give bias and tau their factors."""
    n, exact = ints[base.NEURONS], ints[base.OPTION + 1]
    bias, gain, tau = n * n, n * n + n, n * n + 2 * n
    transposed(theta, 0, n, carry, 4 * n, carry, 6 * n, n)
    adjoint.through_state(theta, gain, bias, tape, first, first + n, carry, 0, 6 * n, n, 2 * n, n)
    adjoint.scale_ctrnn(theta, gain, tau, carry, n, 3 * n, 5 * n, floats[base.DT], exact, n)


def own_ints(spec: Spec) -> list[int]:
    """Stages of the Runge-Kutta method (0: euler or etd1); 1 for etd1."""
    return [len(_STAGES[spec.integrator][0]), int(spec.integrator == "etd1")]


def own_floats(spec: Spec) -> list[float]:
    """Return the Runge-Kutta method's table: steps, then weights."""
    steps, weights = _STAGES[spec.integrator]
    return [*steps, *weights]


def _wired(spec: Spec) -> NDArray[np.bool_]:
    return np.ones((spec.neurons,) * 2, bool) if spec.mask is None else np.array(spec.mask, bool)


@cache_layout
def genes(spec: Spec) -> Layout:
    """Blocks of the genome: every wired parameter but the gains, which a change of y's scale makes redundant."""
    n = spec.neurons
    wired = (n, n) if spec.mask is None else (int(_wired(spec).sum()),)
    own = (("W", wired, "1"), ("bias", (n,), "1"), ("tau_s", (n,), "1"), ("W_in", (n, spec.inputs), "1"))
    return Layout(*own, *base.readout_blocks(spec), *base.initial_blocks(spec, {"y0": n}))


def center_crossing_bias(w: ArrayLike) -> NDArray[np.float64]:
    """Return the biases ``[..., n]`` that put each neuron at its middle when all others are at theirs.

    bias_i = -1/2 sum_j W_ij (Mathayomchan and Beer 2002, eq. 3): the null manifolds cross at their centers, where
    oscillation is richest.

    Args:
        w: recurrent weights ``[..., to, from]``.

    """
    return np.asarray(-0.5 * np.asarray(w, dtype=np.float64).sum(axis=-1))


def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a unit-scaled genome to theta; the origin is a center-crossing network (Mathayomchan and Beer 2002).

    - ``W = 4 x``; ``bias_i = -1/2 sum_j W_ij + 2 x`` (an offset from center-crossing); ``gain = 1``
    - ``tau`` from 2 dt to 2 s or 100 dt, whichever is longer: on a log scale through a logistic, so no gene leaves it
    - ``W_in`` and ``W_out, b_out`` scaled by the declared limits, so that one gene unit moves across the range
    - ``y0 = 4 x``, as far as a weight of the same gene leads
    """
    blocks = layout(spec)
    theta = np.zeros((*x.shape[:-1], blocks.size))
    p, g = blocks.rows(theta), genes(spec).rows(x)
    wired = _wired(spec)
    p["W"][..., wired] = _WEIGHT_SCALE * g["W"].reshape(*x.shape[:-1], int(wired.sum()))
    p["bias"][:] = center_crossing_bias(p["W"]) + _BIAS_SCALE * g["bias"]
    p["gain"][:] = 1.0
    tau_low, tau_high = _TAU_LOW_STEPS * spec.dt_s, max(_TAU_HIGH_S, _TAU_HIGH_STEPS * spec.dt_s)
    p["tau_s"][:] = tau_low * (tau_high / tau_low) ** (0.5 + 0.5 * np.tanh(0.5 * g["tau_s"]))
    p["W_in"][:] = _WEIGHT_SCALE * g["W_in"] / base.input_scale(spec)
    if spec.readout == "affine":
        p["W_out"][:], p["b_out"][:] = g["W_out"], g["b_out"]
        base.decode_readout(spec, p)
    if "y0" in p:
        p["y0"][:] = _WEIGHT_SCALE * g["y0"]
    return theta


def _initial(spec: Spec) -> dict[str, str]:
    return {"y": "y0"}


CELL: Final = base.Cell(
    name="ctrnn",
    layout=layout,
    state_layout=state_layout,
    genes=genes,
    decode=decode,
    step=step,
    step_checked=calls.step_checked("ctrnn", step),
    rollout=calls.rollout("ctrnn", step_prepared, prepare),
    prepare=prepare,
    step_prepared=step_prepared,
    initial=_initial,
    own_ints=own_ints,
    own_floats=own_floats,
    adjoint=base.Adjoint(_tape, _carry, _deltas, _products, backward, begin, finish),
)
