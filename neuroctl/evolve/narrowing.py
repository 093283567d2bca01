"""CMA-ES that goes on with a smaller step where it no longer gains, on the strategy of the package ``cma``.

On rugged returns, such as a walker's that falls at the next gene's change, step-size adaptation finds no trend to
follow and keeps the step: the middle of the search walks well, and most of its neighbours fall.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.evolve.cmaes import CMAES, ranked

Array = NDArray[np.float64]

_WINDOW: Final = 20  # generations whose medians are compared with those of as many before
_NARROWER: Final = 1 / 3
_LEAST: Final = 1e-3  # as a share of sigma0: below, it goes on as it is


class Narrowing:
    """CMA-ES that starts anew from its mean with a third of the step when the median fitness no longer rises.

    Args:
        size: number of genes.
        seed: of the search's own random generators.
        population: genomes a generation.
        sigma0: first standard deviation.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        self._size, self._population, self._least = size, population, _LEAST * sigma0
        self._medians: list[float] = []
        self._search = CMAES(size, seed, population, sigma0)

    @property
    def mean(self) -> Array:
        """Middle of the search, float64 ``[size]``."""
        return self._search.mean

    @property
    def sigma(self) -> float:
        """Overall standard deviation of the search."""
        return self._search.sigma

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``."""
        return self._search.ask()

    def tell(self, fitness: Array) -> None:
        """Take the fitnesses ``[population]`` of the genomes last asked for; higher is better, NaN ranks last."""
        self._search.tell(fitness)
        self._medians.append(float(np.median(ranked(fitness))))
        if (self._stagnates() and self.sigma > self._least) or self._search.stop():
            self._narrow()

    def stop(self) -> str | None:
        """Return why the search cannot go on: it always can."""
        return None

    def _stagnates(self) -> bool:
        recent = self._medians[-2 * _WINDOW :]
        return len(recent) == 2 * _WINDOW and sum(recent[_WINDOW:]) <= sum(recent[:_WINDOW])

    def _narrow(self) -> None:
        sigma = max(_NARROWER * self.sigma, self._least)
        self._search = CMAES(self._size, int(self._rng.integers(2**31)), self._population, sigma, self.mean)
        self._medians.clear()
