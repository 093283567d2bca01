"""The tables of optimizers, and their interface to a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import one_of
from neuroctl.errors import StudyError
from neuroctl.evolve.archive import CMAME, MapElites
from neuroctl.evolve.cmaes import CMAES, DiagonalCMAES
from neuroctl.evolve.measure import Measure
from neuroctl.evolve.nes import SNES, XNES, OpenAIES, RandomSearch
from neuroctl.evolve.pareto import NSGA2
from neuroctl.evolve.restarts import BIPOP, IPOP


class Optimizer(Protocol):
    """Maximizes by ask and tell; the same seed and the same fitnesses have to give the same bits.

    Example:
        >>> search: Optimizer = make_optimizer("snes", size=3, seed=0, population=16, sigma0=0.5)
        >>> for _ in range(60):
        ...     genomes = search.ask()
        ...     search.tell(-((genomes - 1.0) ** 2).sum(axis=1))  # the maximum is at 1, 1, 1
        >>> search.mean.round(1).tolist()
        [1.0, 1.0, 1.0]

    """

    @property
    def mean(self) -> NDArray[np.float64]:
        """Middle of the search, float64 ``[genes]``."""
        ...

    @property
    def sigma(self) -> float:
        """Width of the search."""
        ...

    def ask(self) -> NDArray[np.float64]:
        """Return the next genomes, float64 ``[P, genes]``; P may change from one generation to the next."""
        ...

    def tell(self, fitness: NDArray[np.float64]) -> None:
        """Receive their fitnesses, float64 ``[P]``, or with the measures ``[P, 1 + measures]``; NaN ranks last."""
        ...

    def stop(self) -> str | None:
        """Return the reason why the search cannot go on, or None."""
        ...


OPTIMIZERS: Final[Mapping[str, Callable[[int, int, int, float], Optimizer]]] = MappingProxyType(
    {
        "cmaes": CMAES,
        "sep-cmaes": DiagonalCMAES,
        "ipop": IPOP,
        "bipop": BIPOP,
        "snes": SNES,
        "xnes": XNES,
        "openai-es": OpenAIES,
        "random": RandomSearch,
    }
)
"""One line per optimizer of one fitness."""

MULTI_OBJECTIVE_OPTIMIZERS: Final[Mapping[str, Callable[[int, int, int, float, Sequence[Measure]], Optimizer]]] = (
    MappingProxyType({"map-elites": MapElites, "cma-me": CMAME, "nsga2": NSGA2})
)
"""One line per optimizer that takes measures besides the fitness."""


def make_optimizer(
    name: str, size: int, seed: int, population: int, sigma0: float, measures: Sequence[Measure] = ()
) -> Optimizer:
    """Return an optimizer by its name in one of the two tables.

    Raises:
        StudyError: there is no such optimizer, or it does not support the measures.
        BackendUnavailable: its package is not installed.

    """
    if name in MULTI_OBJECTIVE_OPTIMIZERS:
        return MULTI_OBJECTIVE_OPTIMIZERS[name](size, seed, population, sigma0, measures)
    check_name(name)
    return OPTIMIZERS[name](size, seed, population, sigma0)


def check_name(name: str) -> None:
    """Check that there is an optimizer of this name.

    Raises:
        StudyError: there is none.

    """
    one_of("optimizer", name, (*OPTIMIZERS, *MULTI_OBJECTIVE_OPTIMIZERS), error=StudyError)
