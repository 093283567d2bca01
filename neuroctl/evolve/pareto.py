"""Several objectives at once by the package ``pymoo``: NSGA-II, and its Pareto front.

K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans. Evol. Comput. 6 (2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import StudyError, require
from neuroctl.evolve.measure import Measure

Array = NDArray[np.float64]

_BOX: Final = 6.0  # limit of genes, in first standard deviations
_WORST: Final = 1e30


class NSGA2:
    """NSGA-II; its objectives, all maximized, are the fitness and every measure.

    Args:
        size: number of genes.
        seed: seed of the search's own random generator.
        population: genomes per generation.
        sigma0: standard deviation of the first generation.
        measures: the objectives besides the fitness, at least one; minus a cost to minimize it.

    Raises:
        BackendUnavailable: the package ``pymoo`` is not installed.
        StudyError: no measures.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float, measures: Sequence[Measure]):
        if not measures:
            raise StudyError("measures: none; allowed for nsga2: at least one, which is maximized beside the fitness")
        require("pymoo", "pareto")
        from pymoo.algorithms.moo.nsga2 import NSGA2 as Algorithm
        from pymoo.core.problem import Problem

        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        self.measures = tuple(measures)
        self._sigma0, self._width = sigma0, 1 + len(measures)
        self._problem: Any = Problem(n_var=size, n_obj=self._width, xl=-_BOX * sigma0, xu=_BOX * sigma0)
        first = np.clip(sigma0 * rng.standard_normal((population, size)), -_BOX * sigma0, _BOX * sigma0)
        self._algorithm: Any = Algorithm(pop_size=population, sampling=first)
        self._algorithm.setup(
            self._problem, termination=("n_gen", np.inf), seed=int(rng.integers(2**31)), verbose=False
        )
        self._size = size

    @property
    def mean(self) -> Array:
        """The front's genes, float64, one genome after the other; zeros while it is empty."""
        genomes, _ = self.front()
        return genomes.ravel() if len(genomes) else np.zeros(self._size)

    @property
    def sigma(self) -> float:
        """Mean over the genes of the population's standard deviation."""
        population = self._algorithm.pop
        return self._sigma0 if population is None else float(population.get("X").std(axis=0).mean())

    def front(self) -> tuple[Array, Array]:
        """Return the genomes of the front, ``[F, size]``, and their values ``[F, goals]``, by falling fitness."""
        population = self._algorithm.opt
        if population is None:
            return np.zeros((0, self._size)), np.zeros((0, self._width))
        genomes, values = population.get("X").astype(np.float64), -population.get("F").astype(np.float64)
        order = np.lexsort((*genomes.T, *-values.T[::-1]))
        return genomes[order], values[order]

    def ask(self) -> Array:
        """Return the next generation, float64 ``[P, size]``."""
        self._asked = self._algorithm.ask()
        return np.array(self._asked.get("X"), np.float64)

    def tell(self, fitness: Array) -> None:
        """Receive fitness and measures ``[P, 1 + measures]`` of the last genomes; NaN ranks last."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        values = np.array(fitness, np.float64)
        values[~np.isfinite(values).all(axis=1)] = -_WORST
        Evaluator().eval(StaticProblem(self._problem, F=-values), self._asked)
        self._algorithm.tell(infills=self._asked)

    def stop(self) -> str | None:
        """Return None: this search can always go on."""
        return None
