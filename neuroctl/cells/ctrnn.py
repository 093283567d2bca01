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
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.jit import jit_inline, jit_step
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
    )


@cache_layout
def state_layout(spec: Spec) -> Layout:
    """Blocks of the state: y is the network's; the others are scratch, the held output and the two flags.

    Scratch: alpha, dt/tau; net, drive, y0 and total, sums of a step; s, activations of y; u, the scaled inputs. s
    stands so far behind y that vectors of 16 of both are apart, which is what LLVM tests before it takes such vectors.
    """
    n = spec.neurons
    return Layout(
        ("y", (n,), "1"),
        ("alpha", (n,), "1"),
        ("net", (n,), "1"),
        ("s", (n,), "1"),
        ("drive", (n,), "1"),
        ("y0", (n,), "1"),
        ("total", (n,), "1"),
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
    alpha, net, s, drive, y0, total, scaled = n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, 7 * n
    held, limits = scaled + m, base.SCALES + 2 * m
    ok, tables = held + q, limits + 2 * q

    ops.load_inputs(u, m, floats, base.SCALES, state, scaled, ok)
    if stages == 0:  # euler or etd1
        v.two_matvecs(theta, w_in, 0, state, scaled, s, net, n, m, n)
        ops.leaky_step(state, net, alpha, ok, 0, n)
    else:
        v.fill(0, state, drive, n)
        v.matvec_add(theta, w_in, state, scaled, state, drive, n, m)
        v.copy(state, 0, state, y0, n)
        v.fill(0, state, total, n)
        for k in range(stages):
            if k > 0:
                ops.activate(state, 0, theta, gain, bias, state, s, n)
            v.linear(theta, 0, state, s, state, drive, state, net, n, n)
            a, b = floats[tables + k], floats[tables + stages + k]
            ops.rk_stage(state, net, alpha, a, b, y0, total, 0, n)
        ops.rk_finish(state, y0, total, ok, 0, n)
    ops.activate(state, 0, theta, gain, bias, state, s, n)
    ops.readout(
        theta, w_out, state, s, n, y, q, ints[base.AFFINE], ints[base.OUTPUT_ACTIVATION], floats, limits, ok, held
    )


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
    blocks = (("W", wired, "1"), ("bias", (n,), "1"), ("tau_s", (n,), "1"), ("W_in", (n, spec.inputs), "1"))
    return Layout(*blocks, *base.readout_blocks(spec))


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
    return theta


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
    own_ints=own_ints,
    own_floats=own_floats,
)
