"""The progress of an evolution: its checkpoint, its generations and the other files of its folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import NeuroctlError, StudyError
from neuroctl.evolve.generations import COLUMNS, Generation, GenerationLog
from neuroctl.io import Archive, expect_kind, read_archive, write_archive
from neuroctl.studies.folder import StudyFolder
from neuroctl.studies.history import HistoryFile

_INTEGERS: Final = ("generation", "evaluations", "episodes")  # columns of history.csv


@dataclass(frozen=True)
class Checkpoint:
    """The progress of a study, of constant size.

    Args:
        generations: number of generations finished.
        last: the last generation.
        best_genome: float64 ``[genes]`` or None.
        best_values: its validation values float64 ``[validation_episodes]``.
        best_generation: generation of the best.
        search: digest of the optimizer's state, which a replay has to reach again.
        objective: sources of the objective that gave the best its values, see ``provenance``; None in older studies.

    """

    generations: int = 0
    last: Generation | None = None
    best_genome: NDArray[np.float64] | None = None
    best_values: NDArray[np.float64] | None = None
    best_generation: int | None = None
    search: str = ""
    objective: dict[str, str] | None = None

    @property
    def evaluations(self) -> int:
        """Number of genomes evaluated so far."""
        return self._total("evaluations")

    @property
    def episodes(self) -> int:
        """Number of training episodes run so far."""
        return self._total("episodes")

    def _total(self, column: str) -> int:
        return 0 if self.last is None else int(self.last.row[COLUMNS.index(column)])

    @property
    def best_score(self) -> float | None:
        """Mean of the best's validation values."""
        return None if self.best_values is None else float(self.best_values.mean())

    def with_best(self, genome: NDArray[np.float64], values: NDArray[np.float64], generation: int) -> Checkpoint:
        """Return a copy with another best."""
        return replace(self, best_genome=genome.copy(), best_values=values, best_generation=generation)

    def with_generation(self, generation: Generation, search: str) -> Checkpoint:
        """Return a copy with one more generation."""
        return replace(self, generations=self.generations + 1, last=generation, search=search)


class EvolutionFolder(StudyFolder):
    """The folder of an evolution, see ``StudyFolder``; ``study`` describes its files."""

    SCHEMAS = (2, 3)  # 2 kept all generations in the checkpoint
    FILES = (
        *StudyFolder.FILES, "generations.bin", "population.npz", "archive.npz", "front.npz"
    )  # fmt: skip
    PACKAGES = (*StudyFolder.PACKAGES, "cma", "ribs", "pymoo")

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool):
        super().__init__(path, config, resume=resume)
        self._log = GenerationLog(self.file("generations.bin"), 1)
        self._history = HistoryFile(self.file("history.csv"), COLUMNS, _INTEGERS)

    def load(self, width: int, genes: int, validation: int) -> tuple[Checkpoint, list[Generation]]:
        """Read the checkpoint, an empty one if no generation was finished; then write ``study.json``.

        Args:
            width: number of values per genome, 1 + measures.
            genes: number of genes.
            validation: number of validation episodes.

        Returns:
            The checkpoint, and all generations finished, to be replayed.

        Raises:
            StudyError: it is damaged or does not fit the configuration.

        """
        self._log = GenerationLog(self.file("generations.bin"), width)
        state, generations = self._read(width, genes, validation)
        self.write_config()
        return state, generations

    def _read(self, width: int, genes: int, validation: int) -> tuple[Checkpoint, list[Generation]]:
        path = self.checkpoint_path
        if not path.exists():
            if self.best_path.exists():  # never written before a checkpoint
                raise StudyError(
                    f"checkpoint: {path} is missing, but {self.best_path.name} is there; start a new study"
                )
            return Checkpoint(), []
        try:
            archive = read_archive(path)
            expect_kind(archive, "checkpoint", path)
            a, fields = archive.arrays, archive.fields
            generation, config, search = fields["best_generation"], fields["config"], fields["search"]
            shapes = [a["best_genome"].shape, a["best_values"].shape]
            generations = _of_schema_2(archive, path, width) if "fitness" in a else None
            if generations is None:
                generations = self._log.read(fields["length"], fields["digest"])
        except StudyError:
            raise
        except NeuroctlError as error:
            raise StudyError(f"checkpoint: {error}") from None
        except KeyError as error:
            raise StudyError(f"checkpoint: {path}: {error.args[0]} is missing") from None
        expected = [(genes,), (validation,)] if generation is not None else [(0,), (0,)]
        if shapes != expected:
            raise StudyError(f"checkpoint: {path}: shapes {shapes}; allowed: {expected}")
        if config != self.config_digest():
            raise StudyError(f"checkpoint: {path} is of another study; allowed: the one that this folder's study wrote")
        count = len(generations)
        if count > self.config["generations"]:
            raise StudyError(f"generations: {self.config['generations']}; allowed: from {count}, those done")
        state = Checkpoint(
            generations=count,
            last=generations[-1] if count else None,
            best_genome=None if generation is None else a["best_genome"],
            best_values=None if generation is None else a["best_values"],
            best_generation=generation,
            search=str(search),
            objective=fields.get("objective"),
        )
        if "fitness" in a:
            self._log.replace(generations)
            self.save_checkpoint(state)
        return state, generations

    def save_generation(self, generation: Generation, state: Checkpoint) -> None:
        """Append a generation, and replace the checkpoint by the one after it: both take effect, or neither.

        Raises:
            FileFormatError: one cannot be written; the old checkpoint is intact.

        """
        self._log.append(generation)
        self.save_checkpoint(state)

    def save_checkpoint(self, state: Checkpoint) -> None:
        """Replace the checkpoint by one of the same generation, whole or not at all.

        Raises:
            FileFormatError: it cannot be written; the old one is intact.

        """
        empty = np.zeros(0)
        arrays = {
            "best_genome": empty if state.best_genome is None else state.best_genome,
            "best_values": empty if state.best_values is None else state.best_values,
        }
        fields = {
            "best_generation": state.best_generation,
            "config": self.config_digest(),
            "search": state.search,
            "objective": state.objective,
            "length": self._log.length,
            "digest": self._log.digest,
        }
        write_archive(self.checkpoint_path, "checkpoint", fields, arrays)

    def save_history(self, generations: Iterable[Generation]) -> None:
        """Write ``history.csv``, one row per generation."""
        self._history.write(generation.row for generation in generations)

    def append_history(self, generation: Generation) -> None:
        """Append a row to ``history.csv``; a resumed study repairs it after a crash.

        Raises:
            FileFormatError: it cannot be written.

        """
        self._history.append(generation.row)


def _of_schema_2(archive: Archive, path: Path, width: int) -> list[Generation]:
    """Return the generations of an older study, whose checkpoint held them all.

    Raises:
        StudyError: they are damaged.

    """
    fitness, rows, counts = (archive.arrays[name] for name in ("fitness", "rows", "counts"))
    shapes, expected = [fitness.shape[1:], rows.shape[1:]], [(width,), (len(COLUMNS),)]
    whole = counts.ndim == 1 and counts.dtype == np.int64 and (counts > 0).all() and counts.sum() == len(fitness)
    if shapes != expected or not whole or len(counts) != len(rows):
        raise StudyError(f"checkpoint: {path}: shapes {shapes}; allowed: {expected}")
    told = np.split(fitness, np.cumsum(counts)[:-1]) if len(counts) else []
    return [Generation([float(value) for value in row], part) for row, part in zip(rows, told, strict=True)]
