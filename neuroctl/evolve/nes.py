"""Natural evolution strategies through ask and tell: SNES, xNES, the strategy of OpenAI; and random search.

No light package has them. Utilities and rates are the papers' defaults: D. Wierstra et al., "Natural evolution
strategies", JMLR 15 (2014), table 1 (SNES, xNES); T. Salimans et al., arXiv:1703.03864 (2017).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.evolve.cmaes import ranked

Array = NDArray[np.float64]

_TINY: Final = 1e-12
_HUGE: Final = 1e12  # of sigma0: beyond these a search is no longer sound
_LEARNING_RATE: Final = 0.1
_MOMENTS: Final = (0.9, 0.999)


def utilities(population: int) -> Array:
    """Return the utility of each rank, the best first: half of the population counts, all sum up to 0."""
    raw = np.maximum(0.0, math.log(population / 2 + 1) - np.log(np.arange(1, population + 1)))
    return np.asarray(raw / raw.sum() - 1 / population)


class _Search:
    """What the strategies share: a mean, a random generator of their own, and the samples last asked for."""

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        self._mean, self._sigma0, self._population = np.zeros(size), sigma0, population
        self._samples = np.zeros((population, size))

    @property
    def mean(self) -> Array:
        """Middle of the search distribution, float64 ``[size]``."""
        return self._mean.copy()

    def _order(self, fitness: Array) -> NDArray[np.intp]:
        """Return the samples' order, the best first; equal ones keep theirs."""
        return np.argsort(-np.array(ranked(fitness)), kind="stable")


class SNES(_Search):
    """Separable natural evolution strategy: one standard deviation a gene; for hundreds of genes and more.

    Args:
        size: number of genes.
        seed: of the search's own random generator.
        population: genomes a generation.
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
        """Take the fitnesses ``[population]`` of the genomes last asked for; higher is better, NaN ranks last."""
        samples = self._samples[self._order(fitness)]
        self._mean = self._mean + self._sigmas * (self._utilities @ samples)
        self._sigmas = self._sigmas * np.exp(0.5 * self._rate * (self._utilities @ (samples**2 - 1)))

    def stop(self) -> str | None:
        """Return why the search cannot go on, or None."""
        low, high = self._sigmas.min() / self._sigma0, self._sigmas.max() / self._sigma0
        return "tolx" if high < _TINY else ("tolxup" if high > _HUGE or not low > 0 else None)


class XNES(_Search):
    """Exponential natural evolution strategy: a full covariance; for up to some hundred genes.

    Args:
        size: number of genes.
        seed: of the search's own random generator.
        population: genomes a generation.
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
        """Take the fitnesses ``[population]`` of the genomes last asked for; higher is better, NaN ranks last."""
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
        """Return why the search cannot go on, or None."""
        ratio = self._sigma / self._sigma0
        return "tolx" if ratio < _TINY else ("tolxup" if not ratio <= _HUGE else None)


class RandomSearch(_Search):
    """The control: genomes drawn from one distribution, generation after generation."""

    def __init__(self, size: int, seed: int, population: int, sigma0: float):
        super().__init__(size, seed, population, sigma0)
        self._best = -np.inf

    @property
    def sigma(self) -> float:
        """Standard deviation that genomes are drawn with."""
        return self._sigma0

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``: drawn around 0, whatever was told."""
        self._samples = self._sigma0 * self._rng.standard_normal(self._samples.shape)
        return self._samples.copy()

    def tell(self, fitness: Array) -> None:
        """Take the fitnesses ``[population]`` of the genomes last asked for; the mean is the best genome so far."""
        values = np.array(ranked(fitness))
        if values.max() > self._best:
            self._best, self._mean = float(values.max()), self._samples[int(values.argmax())].copy()

    def stop(self) -> str | None:
        """Return why the search cannot go on: it always can."""
        return None


class OpenAIES(_Search):
    """The strategy of Salimans et al. (2017): mirrored samples of fixed width, centred ranks, Adam on the mean.

    Args:
        size: number of genes.
        seed: of the search's own random generator.
        population: genomes a generation; of an odd number the last has no mirror image.
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
        """Take the fitnesses ``[population]`` of the genomes last asked for; higher is better, NaN ranks last."""
        centred = np.empty(self._population)
        centred[self._order(fitness)] = np.linspace(0.5, -0.5, self._population)
        gradient = centred @ self._samples / self._population
        self._steps += 1
        for moment, value, kept in zip(self._moments, (gradient, gradient**2), _MOMENTS, strict=True):
            moment[:] = kept * moment + (1 - kept) * value
        first, second = (m / (1 - k**self._steps) for m, k in zip(self._moments, _MOMENTS, strict=True))
        self._mean = self._mean + _LEARNING_RATE * self._sigma0 * first / (np.sqrt(second) + 1e-8)

    def stop(self) -> str | None:
        """Return why the search cannot go on: it always can."""
        return None
