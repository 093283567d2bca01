"""Checking that an objective depends on controller and seed alone, so that workers and resumes change no result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import UnrepeatableError
from neuroctl.evolve.evaluators import Evaluator, Values

Genomes = NDArray[np.float64]


def check_repeatable(evaluator: Evaluator, genomes: Genomes, seed: int, workers: int) -> None:
    """Evaluate one genome several times with one seed, each time among others.

    There are so many tasks of three genomes that a worker gets the same genome twice, with others in between, which
    reveals what an episode leaves in an environment. All values of a genome have to be the same bits.

    Args:
        evaluator: evaluator of the objective.
        genomes: float64 ``[3, genes]``.
        seed: seed of the episode.
        workers: number of processes; 1 for whole batches.

    Raises:
        UnrepeatableError: the objective gives a genome two values.

    """
    orders = [[0, 1] * workers, [0, 2] * workers]
    values = [evaluator.evaluate(genomes[order], [seed])[:, 0] for order in orders]
    both, order = np.concatenate(values), np.concatenate(orders)
    for which in range(len(genomes)):
        _check_equal(both[order == which], seed)


def _check_equal(values: Values, seed: int) -> None:
    first = values[0]
    for other in values[1:]:
        if not np.array_equal(first, other, equal_nan=True):
            a, b = (value[0] if len(value) == 1 else value for value in (first.tolist(), other.tolist()))
            raise UnrepeatableError(
                f"objective: one genome scores {a!r} and then {b!r} with the same seed {seed}, so results would depend "
                "on workers and resumes: it ignores its seed, or carries something from episode to episode, such as "
                "running statistics; allowed: one value for a controller and a seed, or --allow-unrepeatable "
                "(allow_unrepeatable=True)"
            )
