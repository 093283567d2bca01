"""The table of optimisers, and what a study asks of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroctl.evolve.cmaes import CMAES, DiagonalCMAES
from neuroctl.evolve.nes import SNES, XNES, OpenAIES, RandomSearch


class Optimizer(Protocol):
    """Maximises by ask and tell; the same seed and the same told fitnesses have to give the same bits."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Middle of the search, float64 ``[genes]``."""
        ...

    @property
    def sigma(self) -> float:
        """Width of the search."""
        ...

    def ask(self) -> NDArray[np.float64]:
        """Return the next genomes, float64 ``[population, genes]``."""
        ...

    def tell(self, fitness: NDArray[np.float64]) -> None:
        """Take their fitnesses, float64 ``[population]``; NaN ranks last."""
        ...

    def stop(self) -> str | None:
        """Return why the search cannot go on, or None."""
        ...


OPTIMIZERS: Final[Mapping[str, Callable[[int, int, int, float], Optimizer]]] = MappingProxyType(
    {
        "cmaes": CMAES,
        "sep-cmaes": DiagonalCMAES,
        "snes": SNES,
        "xnes": XNES,
        "openai-es": OpenAIES,
        "random": RandomSearch,
    }
)
"""One line an optimiser."""
