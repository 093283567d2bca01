"""PPO's objective of a Gaussian policy in lanes, and advantages.

J. Schulman et al., "Proximal policy optimization algorithms", arXiv 1707.06347 (2017); "High-dimensional continuous
control using generalized advantage estimation", arXiv 1506.02438 (ICLR 2016).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.activations import exp
from neuroctl.maths.jit import jit_exact_rows, jit_step

Array = NDArray[Any]
U = np.uint64

CLIP, MEAN, SCALE, WEIGHT, BOUND, LOG_STD = range(6)
"""Places in the settings: clip_coef; what is taken off advantages, and their factor; a step's weight; bound_coef; the
logarithms of the deviations."""
LOSS, KL, CLIPPED, D_LOG_STD = range(4)
"""Places in the figures: sums over steps, by lane; from the last one on, the change with each log deviation. A row
behind them is scratch."""

OLD_LOG_PROBABILITY, ADVANTAGE = 0, 1
"""Rows of a target behind its actions."""
_LARGEST: Final = 20.0  # of a ratio's logarithm: beyond, its exponential says no more


@jit_step
def add_policy_loss(settings: Array, out: Array, target: Array, d_out: Array, figures: Array) -> None:
    """Set ``d_out`` to the change of the loss with the means, and add to the figures.

    The loss is PPO's clipped objective (arXiv 1707.06347, eq. 7), negative, of actions z that are normal around the
    means; and ``bound_coef`` times the squares of means' distances from [-1, 1], beyond which an action is clipped.

    Args:
        settings: ``[LOG_STD + q]``, see the places.
        out: means ``[T, q, L]``.
        target: ``[T, q + 2, L]``: actions z, the logarithm of their probability when taken, the advantage.
        d_out: written, as ``out``.
        figures: float64 ``[D_LOG_STD + q + 1, L]``, added to; see the places.

    """
    q = out.shape[1]
    for t in range(out.shape[0]):
        logarithm = figures[figures.shape[0] - 1]  # scratch
        _begin_ratio(target[t, q + OLD_LOG_PROBABILITY], logarithm)
        for k in range(q):
            _add_log_probability(settings[LOG_STD + k], out[t, k], target[t, k], logarithm)
        _objective(
            settings, logarithm, target[t, q + ADVANTAGE], figures[LOSS], figures[KL], figures[CLIPPED]
        )  # fmt: skip
        for k in range(q):
            _go_back(settings, k, out[t, k], target[t, k], logarithm, d_out[t, k], figures[D_LOG_STD + k])


@jit_exact_rows
def _begin_ratio(old: Array, logarithm: Array) -> None:
    for p in range(U(old.shape[0])):
        logarithm[p] = -old[p]


@jit_exact_rows
def _add_log_probability(log_std: Any, mean: Array, z: Array, logarithm: Array) -> None:
    inverse = exp(-log_std)
    half = mean.dtype.type(1) / mean.dtype.type(2)
    for p in range(U(mean.shape[0])):
        e = (z[p] - mean[p]) * inverse
        logarithm[p] -= half * e * e + log_std


@jit_exact_rows
def _objective(settings: Array, logarithm: Array, advantage: Array, loss: Array, kl: Array, clipped: Array) -> None:
    """Add to the figures; the logarithm becomes the change of the loss with it."""
    one, none, end = settings.dtype.type(1), settings.dtype.type(0), settings.dtype.type(_LARGEST)
    clip, mean, scale, weight = settings[CLIP], settings[MEAN], settings[SCALE], settings[WEIGHT]
    for p in range(U(advantage.shape[0])):
        x = settings.dtype.type(logarithm[p])
        x = min(max(x, -end), end)
        ratio = exp(x)
        a = (advantage[p] - mean) * scale
        held = min(max(ratio, one - clip), one + clip)
        free, kept = -a * ratio, -a * held
        loss[p] += max(free, kept) * weight
        kl[p] += (ratio - one - x) * weight  # J. Schulman, "Approximating KL divergence", 2020: k3
        clipped[p] += weight if held != ratio else none
        logarithm[p] = free * weight if free >= kept else none


@jit_exact_rows
def _go_back(settings: Array, k: Any, mean: Array, z: Array, slope: Array, d_mean: Array, d_log_std: Array) -> None:
    one, log_std = settings.dtype.type(1), settings[LOG_STD + k]
    inverse, bound = exp(-log_std), settings[BOUND] * settings[WEIGHT]
    for p in range(U(mean.shape[0])):
        e = (z[p] - mean[p]) * inverse
        beyond = mean[p] - min(max(mean[p], -one), one)
        s = settings.dtype.type(slope[p])
        d_mean[p] = s * e * inverse + (bound + bound) * beyond
        d_log_std[p] += s * (e * e - one)


@jit_step
def add_advantages(
    rewards: Array, values: Array, cut_values: Array, cut_steps: Array, cuts: Any, ended: Array, cut: Array,
    settings: Array, carry: Array, advantages: Array, returns: Array,
) -> None:  # fmt: skip
    """Write generalized advantages (arXiv 1506.02438, eq. 16), and with the values their sums, the critic's targets.

    Where an episode ends, nothing follows; where a time limit cuts it, the value of the state that it had come to does.

    Args:
        rewards: ``[T, L]``.
        values: of the states before each step and after the last, ``[T + 1, L]``.
        cut_values: of the states that cut episodes had come to, ``[C, L]``.
        cut_steps: the steps that they are of, int64 ``[C]``, rising.
        cuts: how many of these count.
        ended: 1 where an episode ended with the step, ``[T, L]``.
        cut: 1 where the time limit cut it, ``[T, L]``.
        settings: factor of rewards, gamma, lambda.
        carry: scratch, ``[L]``.
        advantages: written, ``[T, L]``.
        returns: written, ``[T, L]``.

    """
    for p in range(carry.shape[0]):
        carry[p] = 0
    place = cuts - 1
    for t in range(rewards.shape[0] - 1, -1, -1):
        following = values[t + 1]
        if place >= 0 and cut_steps[place] == t:
            _advantages(
                rewards[t], values[t], following, cut_values[place], ended[t], cut[t], settings, carry, advantages[t],
                returns[t],
            )  # fmt: skip
            place -= 1
        else:
            _advantages(
                rewards[t], values[t], following, following, ended[t], cut[t], settings, carry, advantages[t],
                returns[t],
            )  # fmt: skip


@jit_exact_rows
def _advantages(
    reward: Array, value: Array, following: Array, after_cut: Array, ended: Array, cut: Array, settings: Array,
    carry: Array, advantage: Array, total: Array,
) -> None:  # fmt: skip
    one, factor, gamma, decay = settings.dtype.type(1), settings[0], settings[1], settings[1] * settings[2]
    for p in range(U(reward.shape[0])):
        ahead = after_cut[p] if cut[p] != 0 else following[p]
        error = factor * reward[p] + gamma * (one - ended[p]) * ahead - value[p]
        carry[p] = error + decay * (one - ended[p]) * (one - cut[p]) * carry[p]
        advantage[p] = carry[p]
        total[p] = carry[p] + value[p]
