"""Quality diversity by the package ``ribs``: the best genome of each kind of behavior.

J.-B. Mouret and J. Clune, "Illuminating search spaces by mapping elites", arXiv:1504.04909 (2015); M. Fontaine et al.,
"Covariance matrix adaptation for the rapid illumination of behavior space", GECCO 2020 (CMA-ME).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import StudyError, require
from neuroctl.evolve.measure import Measure

Array = NDArray[np.float64]

CELLS: Final = {1: 100, 2: 32, 3: 12}
"""Cells along each axis of an archive, by its number of measures."""
_EMITTERS: Final = 4
_NOWHERE: Final = -1e30  # fitness in place of NaN, below all others


class MapElites:
    """MAP-Elites: genomes of the archive, varied by normal deviates.

    Args:
        size: number of genes.
        seed: seed of the search's own random generators.
        population: genomes per generation, split among four emitters.
        sigma0: standard deviation of a change.
        measures: axes of the archive, 1 to 3.

    Raises:
        BackendUnavailable: the package ``ribs`` is not installed.
        StudyError: no measures, or more than 3.

    """

    def __init__(self, size: int, seed: int, population: int, sigma0: float, measures: Sequence[Measure]):
        if len(measures) not in CELLS:
            raise StudyError(f"measures: {len(measures)}; allowed for an archive: 1 to {max(CELLS)}")
        require("ribs", "qd")
        from ribs.archives import GridArchive
        from ribs.schedulers import Scheduler

        seeds = np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(_EMITTERS + 1)
        self.measures = tuple(measures)
        self._archive: Any = GridArchive(
            solution_dim=size,
            dims=[CELLS[len(measures)]] * len(measures),
            ranges=[(m.low, m.high) for m in measures],
            seed=int(seeds[0]),
        )
        emitters = max(1, min(_EMITTERS, population // 4))
        shares = [population // emitters + (k < population % emitters) for k in range(emitters)]
        self._size, self._sigma0, self._told = size, sigma0, 0
        self._scheduler: Any = Scheduler(
            self._archive,
            [self._emitter(share, int(s)) for share, s in zip(shares, seeds[1:], strict=False)],
        )

    def _emitter(self, population: int, seed: int) -> Any:
        from ribs.emitters import GaussianEmitter

        return GaussianEmitter(
            self._archive, sigma=self._sigma0, x0=np.zeros(self._size), batch_size=population, seed=seed
        )

    @property
    def mean(self) -> Array:
        """Elites' genes, cell after cell; zeros while there are none."""
        elites = self.elites()[0]
        return elites.ravel() if len(elites) else np.zeros(self._size)

    @property
    def sigma(self) -> float:
        """Share of the archive's cells that are filled."""
        return float(self._archive.stats.coverage)

    def elites(self) -> tuple[Array, Array, Array]:
        """Return genomes ``[E, size]``, fitnesses ``[E]`` and measures ``[E, axes]``, in the order of the cells."""
        data = self._archive.data()
        order = np.argsort(data["index"], kind="stable")
        parts = (data["solution"], data["objective"], data["measures"])
        return tuple(np.asarray(part, np.float64)[order] for part in parts)  # type: ignore[return-value]

    def ask(self) -> Array:
        """Return the next generation, float64 ``[population, size]``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.array(self._scheduler.ask(), np.float64)

    def tell(self, fitness: Array) -> None:
        """Receive fitness and measures ``[population, 1 + axes]`` of the last genomes; NaN is ignored."""
        values = np.array(fitness, np.float64)
        bad = ~np.isfinite(values).all(axis=1)
        low, high = np.array([(m.low, m.high) for m in self.measures]).T
        values[bad] = [_NOWHERE, *low]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._scheduler.tell(values[:, 0], np.clip(values[:, 1:], low, high))

    def stop(self) -> str | None:
        """Return None: this search can always go on."""
        return None


class CMAME(MapElites):
    """CMA-ME: several CMA-ES that are rewarded for improving the archive."""

    def _emitter(self, population: int, seed: int) -> Any:
        from ribs.emitters import EvolutionStrategyEmitter

        return EvolutionStrategyEmitter(
            self._archive, x0=np.zeros(self._size), sigma0=self._sigma0, batch_size=population, seed=seed
        )
