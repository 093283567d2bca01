"""CMA-ES through ask and tell, by the package ``cma``.

N. Hansen, "The CMA evolution strategy: a tutorial" (2016), arXiv:1604.00772.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import require

Genomes = NDArray[np.float64]

# Reasons to stop because the search distribution is degenerate. The package's others watch the fitness, which is
# noisy here, and flat at both ends.
_DEGENERATE: Final = ("conditioncov", "noeffectaxis", "noeffectcoord", "tolxup", "tolx")


class CMAES:
    """Maximize a fitness with CMA-ES. The same seed and the same fitnesses give the same bits.

    Args:
        size: number of genes.
        seed: seed of the search's own random generator; NumPy's global one is not touched.
        population: number of genomes in a generation.
        sigma0: standard deviation of the first generation, the same for all genes.
        start: mean of the first generation, float64 ``[size]``; zeros if None.

    Raises:
        BackendUnavailable: the package ``cma`` is not installed.

    """

    diagonal = False
    """Whether the covariance matrix is diagonal. Memory and time then grow linearly with the number of genes."""

    def __init__(self, size: int, seed: int, population: int, sigma0: float, start: Genomes | None = None):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Could not import matplotlib")  # its plots are not ours
            cma = require("cma", "evolve")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        options = {
            "popsize": population,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": math.nan,  # do not seed NumPy's global generator
            "verbose": -10,  # print nothing, write no files, and obey no cma_signals.in in the current folder
            "CMA_elitist": False,
            "CMA_diagonal": self.diagonal,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._es: Any = cma.CMAEvolutionStrategy(np.zeros(size) if start is None else start, sigma0, options)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the search distribution, float64 ``[size]``."""
        return np.array(self._es.mean, np.float64)

    @property
    def sigma(self) -> float:
        """Overall standard deviation of the search distribution."""
        return float(self._es.sigma)

    def ask(self) -> Genomes:
        """Sample and return the genomes of the next generation, float64 ``[population, size]``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._asked = self._es.ask()
        return np.array(self._asked, np.float64)

    def tell(self, fitness: NDArray[np.float64]) -> None:
        """Update the search with the fitnesses ``[population]`` of the last ``ask``; NaN ranks last."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._es.tell(self._asked, [-value for value in replace_non_finite(fitness)])

    def stop(self) -> str | None:
        """Return the reasons to stop because the search distribution is degenerate, or None."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reasons = [reason for reason in _DEGENERATE if reason in self._es.stop()]
        return ", ".join(reasons) or None

    def converged(self) -> bool:
        """Return whether the package ``cma`` reports any reason to stop: convergence, stagnation or degeneracy."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(self._es.stop())


class DiagonalCMAES(CMAES):
    """CMA-ES with a diagonal covariance (sep-CMA-ES; R. Ros and N. Hansen, PPSN 2008)."""

    diagonal = True


def replace_non_finite(fitness: NDArray[np.float64]) -> list[float]:
    """Replace NaN and -Inf by a number below all finite fitnesses, and Inf by a number above them."""
    values = np.array(fitness, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    values[np.isnan(values) | (values == -np.inf)] = low - 1.0 - abs(low)
    values[values == np.inf] = high + 1.0 + abs(high)
    return [float(value) for value in values]
