"""CMA-ES with restarts: IPOP and BIPOP, on the strategy of the package ``cma``.

A. Auger and N. Hansen, "A restart CMA evolution strategy with increasing population size", CEC 2005 (IPOP);
N. Hansen, "Benchmarking a BI-population CMA-ES on the BBOB-2009 function testbed", GECCO 2009 (BIPOP).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.evolve.cmaes import CMAES

Array = NDArray[np.float64]

_MAX_GROWTH: Final = 64
"""Largest size of a population, as a multiple of the first; restarts then keep it."""


class IPOP:
    """CMA-ES that restarts with twice the population when it converges or stagnates.

    Args:
        size: number of genes.
        seed: seed of the search's own random generators.
        population: genomes per generation at first.
        sigma0: first standard deviation.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        self._size, self._sigma0, self._first = size, sigma0, population
        self._large = population
        self._spent = {"large": 0, "small": 0}
        self._regime = "large"
        self._search = CMAES(size, seed, population, sigma0)

    @property
    def mean(self) -> Array:
        """Middle of the running search, float64 ``[size]``."""
        return self._search.mean

    @property
    def sigma(self) -> float:
        """Overall standard deviation of the running search."""
        return self._search.sigma

    def ask(self) -> Array:
        """Return the next generation, float64 ``[P, size]``; P changes with a restart."""
        return self._search.ask()

    def tell(self, fitness: Array) -> None:
        """Receive the fitnesses ``[P]`` of the last genomes; higher is better, NaN ranks last."""
        self._search.tell(fitness)
        self._spent[self._regime] += len(fitness)
        if self._search.converged():
            self._restart()

    def stop(self) -> str | None:
        """Return None: this search can always go on."""
        return None

    def _restart(self) -> None:
        population, sigma = self._next()
        # The new start is drawn from the first distribution.
        start = self._sigma0 * self._rng.standard_normal(self._size)
        self._search = CMAES(self._size, int(self._rng.integers(2**31)), population, sigma, start)

    def _next(self) -> tuple[int, float]:
        """Return population and sigma of the next search."""
        self._large = min(2 * self._large, _MAX_GROWTH * self._first)
        return self._large, self._sigma0


class BIPOP(IPOP):
    """CMA-ES whose restarts take turns: growing populations, and small ones of random size and width."""

    def _next(self) -> tuple[int, float]:
        """Return population and sigma of the next search: of the regime that has spent fewer evaluations."""
        self._regime = "small" if self._spent["small"] < self._spent["large"] else "large"
        if self._regime == "large":
            return super()._next()
        draw, width = self._rng.random(2)
        population = max(4, int(self._first * (0.5 * self._large / self._first) ** (draw**2)))
        return population, self._sigma0 * 10.0 ** (-2.0 * width)
