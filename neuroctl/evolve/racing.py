"""Racing: half of a generation's candidates are dropped at a time, so that few of them run all episodes.

Successive halving, after K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", AISTATS 2016. All run the first quarter of the episodes, the better half of them the next quarter, and
the better half of those the rest: half of the episodes in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def race(evaluate: Callable[[Array, Sequence[int]], Array], genomes: Array, seeds: Sequence[int]) -> tuple[Array, int]:
    """Return fitnesses ``[P]`` and the number of episodes run.

    A fitness is the mean of a candidate's episodes, lowered if necessary below those of candidates that stayed longer.

    Args:
        evaluate: function of genomes ``[p, genes]`` and seeds that returns values ``[p, seeds, 1]``.
        genomes: float64 ``[P, genes]``.
        seeds: seeds of the episodes, the same for all.

    """
    total = len(seeds)
    ends = sorted({-(-total // 4), -(-total // 2), total})
    values = np.empty((len(genomes), total))
    fitness, rounds = np.empty(len(genomes)), np.zeros(len(genomes), int)
    racing, begin, episodes = np.arange(len(genomes)), 0, 0
    for end in ends:
        values[racing, begin:end] = evaluate(genomes[racing], seeds[begin:end])[:, :, 0]
        episodes += len(racing) * (end - begin)
        with np.errstate(invalid="ignore", over="ignore"):
            fitness[racing] = values[racing, :end].mean(axis=1)
        rounds[racing] += 1
        racing = np.sort(racing[_by_rank(fitness[racing])[: -(-len(racing) // 2)]])
        begin = end
    return _in_order(fitness, rounds), episodes


def _by_rank(fitness: Array) -> NDArray[np.intp]:
    """Return the order from the best to the worst; NaN is last, and equal ones keep their order."""
    return np.argsort(-np.where(np.isnan(fitness), -np.inf, fitness), kind="stable")


def _in_order(fitness: Array, rounds: NDArray[np.int_]) -> Array:
    """Return fitnesses with those of fewer rounds below those of more."""
    ordered = fitness.copy()
    for left in range(int(rounds.max()) - 1, 0, -1):
        stayed = ordered[(rounds > left) & np.isfinite(ordered)]
        if stayed.size:
            out = rounds == left
            ordered[out] = np.minimum(ordered[out], np.nextafter(stayed.min(), -np.inf))
    return ordered
