"""Hopfield networks as associative memories: learning rules, energy, settling, capacity.

Patterns are rows of +1 and -1, ``[k, n]``. ``settle`` runs the cell ``"hopfield"``, which controllers use too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends import cpu
from neuroctl.cells import cell_of
from neuroctl.checks import array, integer, one_of
from neuroctl.errors import LayoutError
from neuroctl.spec import Spec

Matrix = NDArray[np.float64]


def hebb(patterns: ArrayLike) -> Matrix:
    """Return weights by Hebb's rule: W = 1/n sum xi xi', zero diagonal (Hopfield 1982).

    Such a network recalls up to about 0.138 n random patterns.

    Returns:
        W float64 ``[n, n]``, symmetric.

    Raises:
        LayoutError: patterns are not rows of +1 and -1.

    """
    xi = _checked(patterns)
    return _hollow(xi.T @ xi / xi.shape[1])


def pseudo_inverse(patterns: ArrayLike) -> Matrix:
    """Return the projection onto the patterns' span, zero diagonal (Personnaz, Guyon, Dreyfus 1985); see ``hebb``.

    Up to n - 1 linearly independent patterns are all fixed points.
    """
    xi = _checked(patterns)
    projection = np.linalg.pinv(xi) @ xi
    return _hollow(0.5 * (projection + projection.T))


def storkey(patterns: ArrayLike) -> Matrix:
    """Return weights by Storkey's rule (1997): local and incremental like Hebb's, with a larger capacity; see ``hebb``.

    For each pattern, dW_ij = (xi_i xi_j - xi_i h_ji - h_ij xi_j) / n, with h_ij = sum_(k not i, j) W_ik xi_k.
    """
    patterns = _checked(patterns)
    n = patterns.shape[1]
    w = np.zeros((n, n))
    for xi in patterns:
        h = (w @ xi)[:, None] - w * xi
        w = _hollow(w + (np.outer(xi, xi) - xi[:, None] * h.T - h * xi) / n)
    return w


RULES: Final[dict[str, Callable[[ArrayLike], Matrix]]] = {
    "hebb": hebb,
    "pseudo_inverse": pseudo_inverse,
    "storkey": storkey,
}


def _hollow(w: Matrix) -> Matrix:
    np.fill_diagonal(w, 0.0)
    return w


def _checked(patterns: ArrayLike, name: str = "patterns") -> Matrix:
    xi = np.array(array(name, patterns, "rows of +1 and -1"), dtype=np.float64, ndmin=2)
    if xi.ndim != 2 or 0 in xi.shape or not (np.abs(xi) == 1.0).all():
        raise LayoutError(f"{name}: shape {xi.shape}; allowed: rows of +1 and -1, at least one")
    return xi


def energy(w: ArrayLike, s: ArrayLike, bias: ArrayLike | None = None) -> Any:
    """Return E = -1/2 s'Ws + b's of a state ``[n]``, or of each row of states ``[k, n]``.

    Raises:
        LayoutError: an argument is not numeric, or the shapes do not match.

    """
    states = np.asarray(array("s", s, "numbers (n,) or (k, n)"), np.float64)
    if states.ndim not in (1, 2):
        raise LayoutError(f"s: shape {states.shape}; allowed: (n,) or (k, n)")
    weights, thresholds = _network(w, bias, states.shape[-1])
    return -0.5 * ((states @ weights) * states).sum(axis=-1) + states @ thresholds


def _network(w: ArrayLike, bias: ArrayLike | None, n: int) -> tuple[Matrix, Matrix]:
    """Return weights and thresholds of n neurons."""
    weights = np.asarray(array("w", w, f"numbers ({n}, {n})"), np.float64)
    thresholds = np.zeros(n) if bias is None else np.asarray(array("bias", bias, f"numbers ({n},)"), np.float64)
    if weights.shape != (n, n) or thresholds.shape != (n,):
        raise LayoutError(f"w, bias: shapes {weights.shape}, {thresholds.shape}; allowed: ({n}, {n}) and ({n},)")
    return weights, thresholds


@dataclass(frozen=True)
class Settled:
    """Final states of a network, one for each of k start states.

    Args:
        s: float64 ``[k, n]``, final states of +1 and -1.
        converged: bool ``[k]``, whether the last sweep changed no neuron.
        sweeps: int64 ``[k]``, number of sweeps over all neurons, including the last one without a change.

    Example:
        >>> pattern = np.array([[1.0, -1.0, 1.0, -1.0, 1.0]])
        >>> noisy = pattern * [1, 1, 1, 1, -1]
        >>> settled = settle(hebb(pattern), noisy)
        >>> bool((settled.s == pattern).all()), settled.converged.tolist()
        (True, [True])

    """

    s: Matrix
    converged: NDArray[np.bool_]
    sweeps: NDArray[np.int64]


def settle(
    w: ArrayLike,
    s: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    update: str = "asynchronous",
    seed: int = 0,
    limit: int = 100,
) -> Settled:
    """Update a network from each start state until a sweep over all neurons changes nothing, or up to ``limit`` sweeps.

    Args:
        w: weights ``[n, n]``.
        s: start states, rows of +1 and -1, ``[k, n]`` or ``[n]``.
        bias: thresholds ``[n]``, subtracted from the weighted sums; 0 if None.
        update: ``"asynchronous"`` (one neuron at a time, in random order) or ``"synchronous"`` (all neurons at once;
            may end in a cycle of two states, without convergence).
        seed: seed of the random order, an integer >= 0.
        limit: largest number of sweeps, an integer >= 1.

    Returns:
        Final states ``[k, n]``, convergence ``[k]`` and numbers of sweeps ``[k]``.

    Raises:
        LayoutError: an array is not numeric, the shapes do not match, or ``s`` holds other values than +1 and -1.
        SpecError: update, seed or limit is not allowed.

    """
    start = _checked(s, "s")
    n = start.shape[1]
    spec = Spec(
        cell="hopfield", inputs=n, neurons=n, outputs=n, dt_s=1.0, readout="identity", dtype="float64",
        update=update, clamp=False, settle_steps=limit, order_seed=seed,
    )  # fmt: skip
    weights, thresholds = _network(w, bias, n)
    theta = np.concatenate([weights.ravel(), thresholds])
    done = cpu.open_loop(spec, theta, np.ascontiguousarray(start.T[None]))
    state = cell_of(spec).state_layout(spec).views(done.state)
    return Settled(done.outputs[0].T, state["converged"] != 0, state["sweeps"].astype(np.int64))


def capacity(
    n: int, loads: Iterable[float], rule: str = "hebb", *, trials: int = 3, seed: int = 0
) -> dict[float, float]:
    """Measure the recall of random patterns: the mean overlap of each pattern with its settled state.

    Args:
        n: number of neurons, an integer >= 1.
        loads: loads to measure, in patterns per neuron.
        rule: ``"hebb"``, ``"pseudo_inverse"`` or ``"storkey"``.
        trials: number of random sets of patterns for each load, an integer >= 1.
        seed: seed of the patterns, an integer >= 0.

    Returns:
        Mean overlap for each load, from -1 to 1; 1 if every pattern is a fixed point.

    Raises:
        LayoutError: the rule is unknown, or n, trials or seed is not allowed.

    """
    one_of("rule", rule, RULES, error=LayoutError)
    n, trials = integer("n", n, 1, error=LayoutError), integer("trials", trials, 1, error=LayoutError)
    rng = np.random.default_rng(integer("seed", seed, 0, error=LayoutError))
    result = {}
    for load in loads:
        overlaps = []
        for trial in range(trials):
            xi = rng.choice([-1.0, 1.0], (max(1, round(load * n)), n))
            overlaps.append((settle(RULES[rule](xi), xi, seed=trial).s * xi).mean())
        result[float(load)] = float(np.mean(overlaps))
    return result
