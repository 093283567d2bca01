"""A study's folder: what is written, in which order, and what is refused."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import NeuroctlError, StudyError
from neuroctl.io import atomic_write, canonical_json, expect_kind, read_archive, write_archive

SCHEMA: Final = 2
COLUMNS: Final = (
    "generation",
    "evaluations",
    "episodes",
    "best",
    "median",
    "mean",
    "worst",
    "sigma",
    "validation",
    "best_validation",
    "elapsed_s",
)
_WHOLE: Final = ("generation", "evaluations", "episodes")
MAY_CHANGE: Final = ("generations", "evaluations", "target_score")  # when a study is resumed
_NOT_CONFIG: Final = ("schema", "versions")  # in study.json besides the configuration
# Ours besides a study's files: the lock, and what a killed write leaves. Nothing else in a folder is ever removed.
_LEFTOVER: Final = re.compile(
    r"\.(study\.json|checkpoint\.npz|best\.npz|best-fixed\.npz|population\.npz|archive\.npz|front\.npz|history\.csv)\.[a-z0-9_]{8}"
)


@dataclass(frozen=True)
class Checkpoint:
    """All that a study has to remember.

    Args:
        fitness: one float64 ``[P, 1 + measures]`` a generation, as told to the optimiser.
        rows: one list a generation, in the order of ``COLUMNS``.
        best_genome: float64 ``[genes]`` or None.
        best_values: its validation values float64 ``[validation_episodes]``.
        best_generation: when it was found.
        search: digest of the optimiser's state, which a replay has to reach again.

    """

    fitness: tuple[NDArray[np.float64], ...] = ()
    rows: tuple[list[float], ...] = ()
    best_genome: NDArray[np.float64] | None = None
    best_values: NDArray[np.float64] | None = None
    best_generation: int | None = None
    search: str = ""

    @property
    def evaluations(self) -> int:
        """Genomes evaluated so far."""
        return sum(len(told) for told in self.fitness)

    @property
    def best_score(self) -> float | None:
        """Mean of the best's validation values."""
        return None if self.best_values is None else float(self.best_values.mean())

    def with_best(self, genome: NDArray[np.float64], values: NDArray[np.float64], generation: int) -> Checkpoint:
        """Return a copy with another best."""
        return replace(self, best_genome=genome.copy(), best_values=values, best_generation=generation)

    def with_generation(self, fitness: NDArray[np.float64], row: list[float], search: str) -> Checkpoint:
        """Return a copy with one more generation; its row tells the best after it."""
        row = list(row)
        row[COLUMNS.index("best_validation")] = np.nan if self.best_score is None else self.best_score
        return replace(self, fitness=(*self.fitness, fitness), rows=(*self.rows, row), search=search)


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
            for name in ("study.json", "history.csv", ".lock"):
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
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
            schema = stored.get("schema") if isinstance(stored, dict) else None
            raise StudyError(f"{study}: schema {schema!r}; allowed: {SCHEMA}")
        self.versions = stored.get("versions", self.versions)
        asked = json.loads(json.dumps(self._config))
        for name in sorted(set(asked) | (set(stored) - set(_NOT_CONFIG))):
            if stored.get(name) != asked.get(name) and name not in MAY_CHANGE:
                field, here, there = _differing(name, asked.get(name), stored.get(name))
                raise StudyError(f"{field}: asked {here!r}, but the study in {self._path} has {there!r}")

    def load(self, width: int, genes: int, validation: int) -> Checkpoint:
        """Read the checkpoint, an empty one if no generation was finished; then write ``study.json``.

        Raises:
            StudyError: it is damaged or does not fit the configuration.

        """
        state = self._read(width, genes, validation)
        about = {"schema": SCHEMA, "versions": self.versions}
        atomic_write(self._path / "study.json", json.dumps(self._config | about, indent=1).encode() + b"\n")
        return state

    def _read(self, width: int, genes: int, validation: int) -> Checkpoint:
        path = self._checkpoint_path
        if not path.exists():
            if self.best_path.exists():  # never written before a checkpoint
                raise StudyError(
                    f"checkpoint: {path} is missing, but {self.best_path.name} is there; start a new study"
                )
            return Checkpoint()
        try:
            archive = read_archive(path)
            expect_kind(archive, "checkpoint", path)
            a, generation = archive.arrays, archive.fields["best_generation"]
            config, search = archive.fields["config"], archive.fields["search"]
            found = generation is not None
            counts = a["counts"]
            shapes = [a["fitness"].shape[1:], a["rows"].shape[1:], a["best_genome"].shape, a["best_values"].shape]
        except NeuroctlError as error:
            raise StudyError(f"checkpoint: {error}") from None
        except KeyError as error:
            raise StudyError(f"checkpoint: {path}: {error.args[0]} is missing") from None
        expected = [(width,), (len(COLUMNS),), (genes if found else 0,), (validation if found else 0,)]
        told = (
            counts.ndim == 1 and counts.dtype == np.int64 and (counts > 0).all() and counts.sum() == len(a["fitness"])
        )
        if shapes != expected or not told or len(counts) != len(a["rows"]):
            raise StudyError(f"checkpoint: {path}: shapes {shapes}; allowed: {expected}")
        if config != self._config_digest():
            raise StudyError(f"checkpoint: {path} is of another study; allowed: the one that this folder's study wrote")
        if len(counts) > self._config["generations"]:
            raise StudyError(f"generations: {self._config['generations']}; allowed: from {len(counts)}, those done")
        return Checkpoint(
            fitness=tuple(np.split(a["fitness"], np.cumsum(counts)[:-1])) if len(counts) else (),
            rows=tuple([float(value) for value in row] for row in a["rows"]),
            best_genome=a["best_genome"] if found else None,
            best_values=a["best_values"] if found else None,
            best_generation=generation,
            search=str(search),
        )

    def _config_digest(self) -> str:
        """Return a digest of all that may not change in a study."""
        fixed = {name: value for name, value in self._config.items() if name not in MAY_CHANGE}
        return hashlib.sha256(canonical_json(fixed)).hexdigest()

    def save_checkpoint(self, state: Checkpoint) -> None:
        """Replace the checkpoint by a newer one, whole or not at all.

        Raises:
            FileFormatError: it cannot be written; the old one is intact.

        """
        empty = np.zeros(0)
        arrays = {
            "fitness": np.concatenate(state.fitness),
            "counts": np.array([len(told) for told in state.fitness], np.int64),
            "rows": np.array(state.rows, np.float64),
            "best_genome": empty if state.best_genome is None else state.best_genome,
            "best_values": empty if state.best_values is None else state.best_values,
        }
        fields = {"best_generation": state.best_generation, "config": self._config_digest(), "search": state.search}
        write_archive(self._checkpoint_path, "checkpoint", fields, arrays)

    def save_history(self, rows: Sequence[Sequence[float]]) -> None:
        """Write ``history.csv``: a header and one row a generation; NaN is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(name, value) for name, value in zip(COLUMNS, row, strict=True)] for row in rows)
        atomic_write(self._path / "history.csv", text.getvalue().encode())


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


def _cell(name: str, value: float) -> str:
    if np.isnan(value):
        return ""
    if name in _WHOLE:
        return str(int(value))
    return f"{value:.3f}" if name.endswith("_s") else repr(value)
