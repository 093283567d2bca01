"""A study's folder: what is written, in which order, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import FileFormatError, NeuroctlError, StudyError
from neuroctl.evolve.generations import COLUMNS, Generation, GenerationLog
from neuroctl.io import Archive, atomic_write, canonical_json, expect_kind, output_file, read_archive, write_archive
from neuroctl.machine import lock

SCHEMA: Final = 3
_READABLE: Final = (2, 3)  # 2 kept all generations in the checkpoint
_WHOLE: Final = ("generation", "evaluations", "episodes")
MAY_CHANGE: Final = ("generations", "evaluations", "target_score", "notes")  # when a study is resumed
_NOT_CONFIG: Final = ("schema", "versions")  # in study.json besides the configuration
# Ours besides a study's files: the lock, and what a killed write leaves. Nothing else in a folder is ever removed.
_LEFTOVER: Final = re.compile(
    r"\.(study\.json|checkpoint\.npz|generations\.bin|history\.csv|(best|best-fixed|population|archive|front)\.npz)"
    r"\.[a-z0-9_]{8}"
)


@dataclass(frozen=True)
class Checkpoint:
    """Where a study is; of constant size.

    Args:
        generations: number of generations finished.
        last: the last of them.
        best_genome: float64 ``[genes]`` or None.
        best_values: its validation values float64 ``[validation_episodes]``.
        best_generation: when it was found.
        search: digest of the optimizer's state, which a replay has to reach again.
        objective: what gave the best its values, see ``provenance``; None in studies of older versions.

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
        """Genomes evaluated so far."""
        return self._total("evaluations")

    @property
    def episodes(self) -> int:
        """Training episodes run so far."""
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


class StudyFolder:
    """Opens a folder for one study and holds a lock on it while in use.

    Args:
        path: the folder.
        config: the study's configuration as plain JSON types.
        resume: whether a study has to be there already, or must not.

    Raises:
        StudyError: it cannot be made or written, is in use, holds other files or another study.

    """

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool):
        self._path = path
        self._config = config
        self._resume = resume
        self._lock, self._new = -1, False
        self._log = GenerationLog(path / "generations.bin", 1)
        self.versions = versions()

    @property
    def best_path(self) -> Path:
        """Where the best controller lies."""
        return self._path / "best.npz"

    @property
    def fixed_path(self) -> Path:
        """The best controller's integer form, of a study in fixed point."""
        return self._path / "best-fixed.npz"

    def file(self, name: str) -> Path:
        """Return where another of the study's files lies."""
        return self._path / name

    @property
    def _checkpoint_path(self) -> Path:
        return self._path / "checkpoint.npz"

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, NeuroctlError):
                reason = getattr(error, "strerror", None) or error
                raise StudyError(f"out: {str(self._path)!r} cannot be used: {reason}") from None
            raise
        return self

    def _open(self) -> None:
        study = self._path / "study.json"
        if self._resume and not study.is_file():
            raise StudyError(f"out: {self._path} holds no study to resume; allowed: a folder with a study.json")
        self._make()
        self._check_no_others(study)  # before the lock file: a folder that is refused is left as it was
        self._take_lock()
        self._check_no_others(study)
        self._new = not study.is_file()
        if not self._new:
            self._check_same(study)
        for leftover in self._path.iterdir():
            if _LEFTOVER.fullmatch(leftover.name) and leftover.is_file():
                leftover.unlink()

    def _check_no_others(self, study: Path) -> None:
        if study.is_file():
            return
        others = sorted(p.name for p in self._path.iterdir() if p.name != ".lock" and not _LEFTOVER.fullmatch(p.name))
        if others:
            raise StudyError(f"out: {self._path} holds other files ({others[0]}); allowed: a new or empty folder")

    def __exit__(self, *error: object) -> None:
        if self._new and any(error) and not self._checkpoint_path.exists():
            self._leave_as_found()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _leave_as_found(self) -> None:
        """Remove a study that failed before its first generation, or it would refuse the corrected one."""
        with contextlib.suppress(OSError):
            for name in ("study.json", "history.csv", "generations.bin", ".lock"):
                (self._path / name).unlink(missing_ok=True)
            self._path.rmdir()

    def _make(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"out: {self._path} cannot be made: {error.strerror}") from None

    def _take_lock(self) -> None:
        try:
            self._lock = os.open(self._path / ".lock", os.O_CREAT | os.O_RDWR, 0o666)
            lock(self._lock, str(self._path))
        except BlockingIOError:
            raise StudyError(f"out: {self._path} is in use by another process") from None
        except OSError as error:
            raise StudyError(f"out: {self._path} cannot be written: {error.strerror}") from None

    def _check_same(self, study: Path) -> None:
        if not self._resume:
            raise StudyError(f"out: {self._path} holds a study already; allowed: another folder, or --resume")
        try:
            stored = json.loads(study.read_bytes())
        except (OSError, ValueError):
            raise StudyError(f"{study}: damaged; allowed: the JSON that a study wrote") from None
        if not isinstance(stored, dict) or stored.get("schema") not in _READABLE:
            schema = stored.get("schema") if isinstance(stored, dict) else None
            raise StudyError(f"{study}: schema {schema!r}; allowed: {_READABLE[0]} to {SCHEMA}")
        self.versions = stored.get("versions", self.versions)
        asked = json.loads(json.dumps(self._config))
        for name in sorted(set(asked) | (set(stored) - set(_NOT_CONFIG))):
            if stored.get(name) != asked.get(name) and name not in MAY_CHANGE:
                field, here, there = _differing(name, asked.get(name), stored.get(name))
                raise StudyError(
                    f"{field}: {here!r}, but the study in {self._path} has {there!r}; "
                    "allowed: the options it was begun with"
                )

    def load(self, width: int, genes: int, validation: int) -> tuple[Checkpoint, list[Generation]]:
        """Read the checkpoint, an empty one if no generation was finished; then write ``study.json``.

        Args:
            width: numbers told for a genome, 1 + measures.
            genes: of a genome.
            validation: number of validation episodes.

        Returns:
            The checkpoint, and all generations finished, to be replayed.

        Raises:
            StudyError: it is damaged or does not fit the configuration.

        """
        self._log = GenerationLog(self.file("generations.bin"), width)
        state, generations = self._read(width, genes, validation)
        about = {"schema": SCHEMA, "versions": self.versions}
        atomic_write(self.file("study.json"), json.dumps(self._config | about, indent=1).encode() + b"\n")
        return state, generations

    def _read(self, width: int, genes: int, validation: int) -> tuple[Checkpoint, list[Generation]]:
        path = self._checkpoint_path
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
        if config != self._config_digest():
            raise StudyError(f"checkpoint: {path} is of another study; allowed: the one that this folder's study wrote")
        count = len(generations)
        if count > self._config["generations"]:
            raise StudyError(f"generations: {self._config['generations']}; allowed: from {count}, those done")
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

    def _config_digest(self) -> str:
        """Return a digest of all that may not change in a study."""
        fixed = {name: value for name, value in self._config.items() if name not in MAY_CHANGE}
        return hashlib.sha256(canonical_json(fixed)).hexdigest()

    def save_generation(self, generation: Generation, state: Checkpoint) -> None:
        """Append a generation, and replace the checkpoint by the one after it: both count, or neither does.

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
            "config": self._config_digest(),
            "search": state.search,
            "objective": state.objective,
            "length": self._log.length,
            "digest": self._log.digest,
        }
        write_archive(self._checkpoint_path, "checkpoint", fields, arrays)

    def save_history(self, generations: Iterable[Generation]) -> None:
        """Write ``history.csv``: a header and one row a generation; NaN is an empty cell."""
        text = ",".join(COLUMNS) + "\n" + "".join(_line(generation.row) for generation in generations)
        atomic_write(self.file("history.csv"), text.encode())

    def append_history(self, generation: Generation) -> None:
        """Append a row to ``history.csv``; what a crash leaves of it is mended on resume.

        Raises:
            FileFormatError: it cannot be written.

        """
        path = self.file("history.csv")
        try:
            with open(output_file(path), "ab") as file:
                file.write(_line(generation.row).encode())
        except OSError as error:
            raise FileFormatError(f"{path}: cannot be written: {error.strerror or error}") from error


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


def _differing(name: str, asked: Any, stored: Any) -> tuple[str, Any, Any]:
    """Return the first field that differs, and both values: of ``spec``, such as ``spec.neurons``."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        key = next(key for key in sorted(asked.keys() | stored.keys()) if asked.get(key) != stored.get(key))
        return _differing(f"{name}.{key}", asked.get(key), stored.get(key))
    return name, asked, stored


def versions() -> dict[str, str]:
    """Return the versions of what fixes a study's bits besides its configuration."""
    found = {"python": platform.python_version()}
    for name in ("neuroctl", "numpy", "numba", "cma", "ribs", "pymoo"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout, or an optimiser that does not need it
            continue
    return found


def _line(row: Sequence[float]) -> str:
    """Return a row of ``history.csv``."""
    return ",".join(_cell(name, value) for name, value in zip(COLUMNS, row, strict=True)) + "\n"


def _cell(name: str, value: float) -> str:
    if np.isnan(value):
        return ""
    if name in _WHOLE:
        return str(int(value))
    return f"{value:.3f}" if name.endswith("_s") else repr(value)
