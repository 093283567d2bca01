"""Natural evolution strategies through ask and tell: SNES, xNES, the strategy of OpenAI; and random search.

No lightweight package provides them. Utilities and rates are the papers' defaults: D. Wierstra et al., "Natural
evolution strategies", JMLR 15 (2014), table 1 (SNES, xNES); T. Salimans et al., arXiv:1703.03864 (2017).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.evolve.cmaes import replace_non_finite

Array = NDArray[np.float64]

_TINY: Final = 1e-12
_HUGE: Final = 1e12  # of sigma0: a search beyond these is degenerate
_LEARNING_RATE: Final = 0.1
_MOMENTS: Final = (0.9, 0.999)


def utilities(population: int) -> Array:
    """Return the utility of each rank, the best first: half of the population counts, and all sum up to 0."""
    raw = np.maximum(0.0, math.log(population / 2 + 1) - np.log(np.arange(1, population + 1)))
    return np.asarray(raw / raw.sum() - 1 / population)


class _Search:
    """Common base of the strategies: a mean, a random generator, and the last samples."""

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        self._mean, self._sigma0, self._population = np.zeros(size), sigma0, population
        self._samples = np.zeros((population, size))

    @property
    def mean(self) -> Array:
        """Middle of the search distribution, float64 ``[size]``."""
        return self._mean.copy()

    def _order(self, fitness: Array) -> NDArray[np.intp]:
        """Return the order of the samples, the best first and equal ones as they are."""
        return np.argsort(-np.array(replace_non_finite(fitness)), kind="stable")


class SNES(_Search):
    """Separable natural evolution strategy: one standard deviation per gene; for hundreds of genes and more.

    Args:
        size: number of genes.
        seed: seed of the search's own random generator.
        population: genomes per generation.
        sigma0: first standard deviation.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        super().__init__(size, seed, population, sigma0)
        self._sigmas = np.full(size, sigma0)
        self._rate = (3 + math.log(size)) / (5 * math.sqrt(size))
        self._utilities = utilities(population)

    @property
    def sigma(self) -> float:
        """Geometric mean of the genes' standard deviations."""
        return float(np.exp(np.log(self._sigmas).mean()))

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``."""
        self._samples = self._rng.standard_normal(self._samples.shape)
        return self._mean + self._sigmas * self._samples

    def tell(self, fitness: Array) -> None:
        """Receive the fitnesses ``[population]`` of the last genomes; higher is better, NaN ranks last."""
        samples = self._samples[self._order(fitness)]
        self._mean = self._mean + self._sigmas * (self._utilities @ samples)
        self._sigmas = self._sigmas * np.exp(0.5 * self._rate * (self._utilities @ (samples**2 - 1)))

    def stop(self) -> str | None:
        """Return the reason why the search cannot go on, or None."""
        low, high = self._sigmas.min() / self._sigma0, self._sigmas.max() / self._sigma0
        return "tolx" if high < _TINY else ("tolxup" if high > _HUGE or not low > 0 else None)


class XNES(_Search):
    """Exponential natural evolution strategy: a full covariance; for up to a few hundred genes.

    Args:
        size: number of genes.
        seed: seed of the search's own random generator.
        population: genomes per generation.
        sigma0: first standard deviation.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        super().__init__(size, seed, population, sigma0)
        self._sigma, self._shape = sigma0, np.eye(size)
        self._rate = 3 * (3 + math.log(size)) / (5 * size * math.sqrt(size))
        self._utilities = utilities(population)

    @property
    def sigma(self) -> float:
        """Overall standard deviation of the search distribution."""
        return float(self._sigma)

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``."""
        self._samples = self._rng.standard_normal(self._samples.shape)
        return self._mean + self._sigma * self._samples @ self._shape.T

    def tell(self, fitness: Array) -> None:
        """Receive the fitnesses ``[population]`` of the last genomes; higher is better, NaN ranks last."""
        samples = self._samples[self._order(fitness)]
        size = len(self._mean)
        gradient = (
            samples * self._utilities[:, None]
        ).T @ samples  # the utilities sum up to 0: no identity to subtract
        growth = float(np.trace(gradient)) / size
        self._mean = self._mean + self._sigma * self._shape @ (self._utilities @ samples)
        self._sigma *= math.exp(0.5 * self._rate * growth)
        values, vectors = np.linalg.eigh(gradient - growth * np.eye(size))
        self._shape = self._shape @ (vectors * np.exp(0.5 * self._rate * values)) @ vectors.T

    def stop(self) -> str | None:
        """Return the reason why the search cannot go on, or None."""
        ratio = self._sigma / self._sigma0
        return "tolx" if ratio < _TINY else ("tolxup" if not ratio <= _HUGE else None)


class RandomSearch(_Search):
    """A control: all generations are drawn from one distribution."""

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        super().__init__(size, seed, population, sigma0)
        self._best = -np.inf

    @property
    def sigma(self) -> float:
        """Standard deviation of the genomes."""
        return self._sigma0

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``: drawn around 0, whatever the fitnesses."""
        self._samples = self._sigma0 * self._rng.standard_normal(self._samples.shape)
        return self._samples.copy()

    def tell(self, fitness: Array) -> None:
        """Receive the fitnesses ``[population]`` of the last genomes; the mean is the best genome so far."""
        values = np.array(replace_non_finite(fitness))
        if values.max() > self._best:
            self._best, self._mean = float(values.max()), self._samples[int(values.argmax())].copy()

    def stop(self) -> str | None:
        """Return None: this search can always go on."""
        return None


class OpenAIES(_Search):
    """The strategy of Salimans et al. (2017): mirrored samples of fixed width, centered ranks, Adam on the mean.

    Args:
        size: number of genes.
        seed: seed of the search's own random generator.
        population: genomes per generation; if odd, the last has no mirror image.
        sigma0: standard deviation throughout.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        super().__init__(size, seed, population, sigma0)
        self._moments, self._steps = np.zeros((2, size)), 0

    @property
    def sigma(self) -> float:
        """Standard deviation of the search distribution."""
        return self._sigma0

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``."""
        half = self._rng.standard_normal((-(-self._population // 2), len(self._mean)))
        self._samples = np.concatenate([half, -half])[: self._population]
        return self._mean + self._sigma0 * self._samples

    def tell(self, fitness: Array) -> None:
        """Receive the fitnesses ``[population]`` of the last genomes; higher is better, NaN ranks last."""
        centered = np.empty(self._population)
        centered[self._order(fitness)] = np.linspace(0.5, -0.5, self._population)
        gradient = centered @ self._samples / self._population
        self._steps += 1
        for moment, value, kept in zip(self._moments, (gradient, gradient**2), _MOMENTS, strict=True):
            moment[:] = kept * moment + (1 - kept) * value
        first, second = (m / (1 - k**self._steps) for m, k in zip(self._moments, _MOMENTS, strict=True))
        self._mean = self._mean + _LEARNING_RATE * self._sigma0 * first / (np.sqrt(second) + 1e-8)

    def stop(self) -> str | None:
        """Return None: this search can always go on."""
        return None
