"""Evaluation of whole populations by the objective itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import ObjectiveError
from neuroctl.evolve.blame import blamed, defined
from neuroctl.evolve.evaluators.base import Values, close_objective
from neuroctl.evolve.genome import Genome


class BatchEvaluator:
    """Evaluate whole populations by an objective's own ``batch``, such as lanes in a compiled plant.

    Args:
        genome: mapping of genes to a controller.
        objective: has ``batch(spec, theta, seeds, threads)``, see ``neuroctl.evolve.evaluators``.
        threads: number of threads that it may use.
        measures: number of values that it returns besides the fitness.

    """

    def __init__(self, genome: Genome, objective: Any, threads: int, measures: int = 0):
        self._genome, self._objective, self._threads, self._width = genome, objective, threads, 1 + measures

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised, or returned an array of another shape.

        """
        theta = np.ascontiguousarray(self._genome.theta(genomes))
        try:
            values = np.asarray(self._objective.batch(self._genome.spec, theta, list(seeds), self._threads), np.float64)
        except Exception as error:
            raise blamed(".batch", error, f"with seeds {list(seeds)}") from error
        shape = (len(genomes), len(seeds), self._width)
        if values.shape not in (shape, shape[:2] if self._width == 1 else shape):
            raise ObjectiveError(
                f"objective.batch: shape {values.shape}; allowed: {shape}{defined(self._objective.batch)}"
            )
        return values.reshape(shape)

    def close(self) -> None:
        """Free the resources of the objective."""
        close_objective(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
