"""A study's history: writing it during a run, reading it, and comparing it with others over the same evaluations."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import FileFormatError, StudyError, warn
from neuroctl.io import atomic_write, output_file
from neuroctl.studies.folder import MAY_CHANGE

Array = NDArray[np.float64]

_GRID: Final = 200
_MUCH_SHORTER: Final = 0.9  # studies under one time limit differ by less
_ALIKE: Final = ("seed", "schema", "versions", *MAY_CHANGE)  # what may differ within a group
_SHOWN: Final = ("task", "method", "optimizer", "learning_rate", "cell", "neurons", "layers", "population")


class HistoryFile:
    """A table of text with a header, and a row for each step of a study; NaN is an empty cell.

    Args:
        path: path of ``history.csv``.
        columns: names of the columns; those that end in ``_s`` hold seconds and are written to the millisecond.
        integers: columns that hold integers.

    """

    def __init__(self, path: Path, columns: Sequence[str], integers: Sequence[str]):
        self._path, self._columns, self._integers = path, tuple(columns), frozenset(integers)

    def write(self, rows: Iterable[Sequence[float]]) -> None:
        """Rewrite the whole file.

        Raises:
            FileFormatError: it cannot be written.

        """
        text = ",".join(self._columns) + "\n" + "".join(map(self._line, rows))
        atomic_write(self._path, text.encode())

    def append(self, row: Sequence[float]) -> None:
        """Append a row; a crash may leave half of it.

        Raises:
            FileFormatError: it cannot be written.

        """
        try:
            with open(output_file(self._path), "ab") as file:
                file.write(self._line(row).encode())
        except OSError as error:
            raise FileFormatError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def _line(self, row: Sequence[float]) -> str:
        return ",".join(self._cell(name, value) for name, value in zip(self._columns, row, strict=True)) + "\n"

    def _cell(self, name: str, value: float) -> str:
        if np.isnan(value):
            return ""
        if name in self._integers:
            return str(int(value))
        return f"{value:.3f}" if name.endswith("_s") else repr(value)


@dataclass(frozen=True)
class Group:
    """Studies that differ only in their seeds and lengths.

    Args:
        label: difference from the other groups.
        seeds: seeds of its studies.
        evaluations: float64 ``[T]``, the same for all, up to the end of the longest study; or what ``counted`` says.
        scores: float64 ``[seeds, T]``, the best so far on unseen episodes; of trainings the lowest loss so far. NaN
            before the first, and after the end of a study.
        common: number of evaluations that all studies reached, one of ``evaluations``.
        training: whether they are studies of training on data, whose scores are losses.
        counted: what ``evaluations`` counts: of trainings on data the optimizer's ``"steps"``, of those by reward the
            plant's ``"steps"``, and where these stand beside evolution ``"episodes"``.

    """

    label: str
    seeds: tuple[int, ...]
    evaluations: Array
    scores: Array
    common: float
    training: bool = False
    counted: str = "evaluations"

    @property
    def final(self) -> Array:
        """Scores after ``common`` evaluations, ``[seeds]``."""
        return np.asarray(self.scores[:, int(np.searchsorted(self.evaluations, self.common))])

    @property
    def at_end(self) -> Array:
        """Scores at the end of each study, ``[seeds]``."""
        places = (~np.isnan(self.scores)) * np.arange(len(self.evaluations))
        return np.asarray(self.scores[np.arange(len(self.scores)), places.max(axis=1)])


def read_history(folder: Path) -> dict[str, Array]:
    """Return the columns of a study's ``history.csv``; an empty cell is NaN.

    Raises:
        StudyError: the file is missing or damaged.

    """
    path = folder / "history.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file))
        values = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows], np.float64)
        values = values.reshape(len(rows), len(header))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; allowed: the folder of a study") from None
    except ValueError:
        raise StudyError(f"{path}: damaged; allowed: the table that a study wrote") from None
    return dict(zip(header, values.T, strict=True))


def studies_in(folders: Iterable[Path]) -> list[Path]:
    """Return the studies in folders, which may be studies themselves, sorted, each once.

    Raises:
        StudyError: a folder holds none.

    """
    studies: dict[Path, Path] = {}
    for folder in folders:
        inside = sorted(path.parent for path in folder.rglob("study.json"))
        if not inside:
            raise StudyError(f"{folder}: no study; allowed: a study's folder, or one that holds studies")
        for path in inside:
            studies.setdefault(path.resolve(), path)
    return list(studies.values())


def groups(folders: Iterable[Path]) -> list[Group]:
    """Return groups of studies that differ only in their seeds. One without a finished generation is left out.

    Raises:
        StudyError: a folder holds no study, no study has a finished generation, or some are judged by losses, others by
            returns.

    Warns:
        UserWarning: a study is left out.

    """
    together: dict[str, dict[int, _Member]] = {}
    for folder in studies_in(folders):
        config = _config(folder)
        columns = read_history(folder) if (folder / "history.csv").exists() else {}
        if not len(next(iter(columns.values()), ())):
            warn(f"{folder}: left out, as no generation is finished")
            continue
        key = json.dumps({name: value for name, value in config.items() if name not in _ALIKE})
        _add(together.setdefault(key, {}), _Member(folder, config, columns))
    if not together:
        raise StudyError("studies: no generation is finished; allowed: studies with at least one")
    members = [list(group.values()) for group in together.values()]
    kinds = {_kind(group[0].columns) for group in members}
    if "data" in kinds and len(kinds) > 1:
        raise StudyError("studies: some have losses, others returns; allowed: studies of one kind")
    counted = {"data": "steps", "reward": "steps", "evolution": "evaluations"}
    unit = counted[kinds.pop()] if len(kinds) == 1 else "episodes"
    labels = _labels([group[0].config for group in members])
    return [_group(label, group, unit) for label, group in zip(labels, members, strict=True)]


def _kind(columns: Mapping[str, Array]) -> str:
    """Return what a history is of: training on ``"data"``, or by ``"reward"``, or ``"evolution"``."""
    return "data" if "loss" in columns else "reward" if "epoch" in columns else "evolution"


def _comparable(member: _Member, counted: str) -> tuple[Array, Array]:
    """Return what a study counted, and its best score until then: the lowest loss, or the highest return.

    They are those of the validation, where there is one.
    """
    columns, kind = member.columns, _kind(member.columns)
    if kind == "data":
        losses = np.where(np.isnan(columns["validation"]), columns["loss"], columns["validation"])
        return columns["step"], np.fmin.accumulate(losses)
    best = np.fmax.accumulate(columns["validation"]) if kind == "reward" else columns["best_validation"]
    return columns[counted], best


class _Member(NamedTuple):
    folder: Path
    config: dict[str, Any]
    columns: dict[str, Array]


def _add(group: dict[int, _Member], member: _Member) -> None:
    """Add a study to those of its group by their seeds; of two with one seed the longer one stays."""
    seed = int(member.config["seed"])
    if (other := group.get(seed)) is not None:
        if _length(member) > _length(other):
            member, other = other, member
        warn(f"{member.folder}: left out, as {other.folder} holds the same study with seed {seed}")
        member = other
    group[seed] = member


def _length(member: _Member) -> float:
    """Return how long a study ran, by its first column, which counts generations or epochs."""
    return float(next(iter(member.columns.values()))[-1])


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "study.json").read_bytes())
        return config | {name: config["spec"][name] for name in ("cell", "neurons")}
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{folder / 'study.json'}: damaged; allowed: the JSON that a study wrote") from None


def _labels(configs: list[Mapping[str, Any]]) -> list[str]:
    """Describe the differences of configurations in words; the task if they are the same in the fields shown."""
    differing = [name for name in _SHOWN if len({str(config.get(name)) for config in configs}) > 1] or ["task"]
    labels = [", ".join(_word(name, config[name]) for name in differing if name in config) for config in configs]
    return [label if labels.count(label) == 1 else f"{label} ({k + 1})" for k, label in enumerate(labels)]


def _word(name: str, value: Any) -> str:
    return f"{value} {name}" if name == "neurons" else (f"population {value}" if name == "population" else str(value))


def _group(label: str, members: list[_Member], counted: str) -> Group:
    curves = [_comparable(member, counted) for member in members]
    ends = [float(x[-1]) for x, _ in curves]
    first = max(float(x[0]) for x, _ in curves)
    common, last = min(ends), max(ends)
    if common < _MUCH_SHORTER * last:
        warn(
            f"{label}: the studies ended after {common:.0f} to {last:.0f} {counted}; figures are those after "
            f"{common:.0f} and at their ends, pictures show all"
        )
    grid = np.unique([*np.linspace(min(first, common), last, _GRID).round(), common])
    scores = [_held(x, best, grid) for x, best in curves]
    seeds = tuple(int(member.config["seed"]) for member in members)
    return Group(label, seeds, grid, np.array(scores), common, _kind(members[0].columns) == "data", counted)


def _held(x: Array, y: Array, grid: Array) -> Array:
    """Return y at the last x up to each grid point; NaN beyond the last x."""
    held = y[np.maximum(np.searchsorted(x, grid, side="right") - 1, 0)]
    return np.where(grid > x[-1], np.nan, held)
