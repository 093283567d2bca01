"""The dynamics of a CTRNN from its parameters: center-crossing, wanted outputs, and the largest stable time step.

R. D. Beer, "On the dynamics of small continuous-time recurrent neural networks", Adaptive Behavior 3 (1995);
B. Mathayomchan and R. D. Beer, "Center-crossing recurrent neural networks for the evolution of rhythmic behavior",
Neural Computation 14 (2002).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import layout
from neuroctl.cells.ctrnn import center_crossing_bias
from neuroctl.checks import array
from neuroctl.errors import LayoutError, SpecError
from neuroctl.spec import Spec

__all__ = ["center_crossing_bias", "jacobian", "max_stable_dt", "state_from_output"]

Matrix = NDArray[np.float64]

# Amplification of a mode by one step, R(h lambda) = 1 + z + z^2/2 + ..., up to the method's order.
_ORDERS: Final = {"euler": 1, "heun": 2, "rk4": 4}
_FARTHEST: Final = 4.0  # |h lambda| beyond which no method here is stable
_STEEPEST: Final = 0.25  # the logistic's slope at its middle
_SCAN: Final = 4000
_ROUNDING: Final = 1e-10


def state_from_output(spec: Spec, theta: ArrayLike, s: ArrayLike) -> Matrix:
    """Return the states y ``[n]`` at which a CTRNN's neurons have the outputs s: y = ln(s / (1 - s)) / g - b.

    Args:
        spec: the CTRNN's spec.
        theta: its parameters ``[n_params]``.
        s: wanted outputs ``[n]``, between 0 and 1, exclusive.

    Raises:
        SpecError: another cell.
        LayoutError: wrong shapes, outputs not between 0 and 1, or a gain of 0.

    """
    p = _blocks(spec, theta)
    wanted = np.asarray(array("s", s, f"{spec.neurons} outputs between 0 and 1"), np.float64)
    if wanted.shape != (spec.neurons,) or not ((wanted > 0) & (wanted < 1)).all():
        raise LayoutError(f"s: {wanted.tolist()}; allowed: {spec.neurons} outputs between 0 and 1, exclusive")
    if not p["gain"].all():
        raise LayoutError(f"gain: {p['gain'].tolist()}; allowed here: other than 0")
    return np.asarray(np.log(wanted / (1.0 - wanted)) / p["gain"] - p["bias"])


def jacobian(spec: Spec, theta: ArrayLike, slope: float = _STEEPEST) -> Matrix:
    """Return J = diag(1/tau) (-I + W diag(g s')) in 1/s, with the logistic's slope s' the same for all neurons."""
    p = _blocks(spec, theta)
    return np.asarray((p["W"] * (p["gain"] * slope) - np.eye(spec.neurons)) / p["tau_s"][:, None])


def max_stable_dt(spec: Spec, theta: ArrayLike) -> float:
    """Return the largest time step, in s, at which the spec's integrator lets every decaying mode decay.

    The modes are those of the equation linearized with all neurons at their middle, s' = 1/4, and with all of them
    saturated, s' = 0. Growing modes are the network's own and do not count. This bound holds for these two points, and
    is no proof between them: a step above it is suspect, a step well below it is safe in practice.

    Raises:
        SpecError: another cell than a CTRNN.
        LayoutError: theta has the wrong length.

    """
    middle = jacobian(spec, theta)
    rates = 1.0 / _blocks(spec, theta)["tau_s"]
    if spec.integrator == "etd1":  # the leak is exact; the coupling is not
        return _longest_exponential(middle, rates)
    modes = np.concatenate([np.linalg.eigvals(middle), -rates.astype(complex)])
    return min(_longest(mode, _ORDERS[spec.integrator]) for mode in modes if mode.real < 0)


def _blocks(spec: Spec, theta: ArrayLike) -> Any:
    if spec.cell != "ctrnn":
        raise SpecError(f"cell: {spec.cell!r}; allowed here: ctrnn")
    blocks = layout(spec)
    return blocks.views(np.ascontiguousarray(blocks.coerce(theta, spec.dtype), np.float64))


def _longest(mode: complex, order: int) -> float:
    """Return the first h at which |R(h lambda)| passes 1, by a scan along the ray and bisection."""
    direction = mode / abs(mode)

    def grows(r: Any) -> Any:
        z = r * direction
        return np.abs(sum(z**k / math.factorial(k) for k in range(order + 1))) > 1.0 + _ROUNDING

    radii = np.linspace(0.0, _FARTHEST, _SCAN + 1)[1:]
    first = int(np.argmax(grows(radii)))
    low, high = (radii[first - 1] if first else 0.0), radii[first]
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if grows(middle) else (middle, high)
    return float(low / abs(mode))


def _longest_exponential(middle: Matrix, rates: Matrix) -> float:
    """Return the first h at which ETD1's step matrix I + D (J/rates) has more growing modes than J; may be infinite."""
    coupling = middle / rates[:, None]
    growing = int((np.linalg.eigvals(middle).real > _ROUNDING).sum())

    def unstable(h: float) -> bool:
        step = np.eye(len(rates)) - np.expm1(-h * rates)[:, None] * coupling
        return int((np.abs(np.linalg.eigvals(step)) > 1.0 + _ROUNDING).sum()) > growing

    steps = np.geomspace(1e-3 / rates.max(), 1e3 / rates.min(), 200)
    first = next((k for k, h in enumerate(steps) if unstable(h)), None)
    if first is None:
        return math.inf
    low, high = (steps[first - 1] if first else 0.0), steps[first]
    for _ in range(60):
        half = 0.5 * (low + high)
        low, high = (low, half) if unstable(half) else (half, high)
    return float(low)
