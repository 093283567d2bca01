"""Studies of training: a training in a folder, which can be killed at any moment and resumed bit for bit.

The folder holds

- ``study.json``: the configuration, written once at the start;
- ``checkpoint.npz``: parameters, the optimizer's state, the best so far and the figures of all epochs, replaced whole
  after the first epoch, then after an epoch at most every second, and at the end;
- ``best.npz``: the best controller so far, and ``history.csv``: a row an epoch. Both follow from the checkpoint;
- ``best-fixed.npz``: of a training in fixed point the integer controller that was trained, whose loss it is.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.blocks import spread
from neuroctl.controller import Controller
from neuroctl.errors import DivergedError, NeuroctlError, StabilityWarning, StudyError
from neuroctl.io import expect_kind, read_archive, write_archive
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.studies.folder import StudyFolder
from neuroctl.studies.history import HistoryFile
from neuroctl.studies.interrupts import Interrupts
from neuroctl.train.progress import Progress, Training

Array = NDArray[Any]

_CHECKPOINT_S: Final = 1.0


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of a study of training.

    Args:
        best_path: the best controller; no file before the first epoch.
        fixed_path: its integers, of a training in fixed point; else None.
        best_loss: its validation loss, or its loss without validation; of a training by reward minus its return in
            validation. None before the first epoch.
        best_epoch: the epoch it is of, from 1 on.
        epochs: epochs done.
        stop_reason: why training ended.
        interrupted: whether Ctrl-C or SIGTERM ended it.

    """

    best_path: Path
    fixed_path: Path | None
    best_loss: float | None
    best_epoch: int | None
    epochs: int
    stop_reason: str
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        paths = {"best_path": self.best_path, "fixed_path": self.fixed_path}
        written = self.best_loss is not None
        return asdict(self) | {name: str(path) if path and written else None for name, path in paths.items()}


class TrainingFolder(StudyFolder):
    """The folder of a training, see ``StudyFolder``; ``study`` describes its files. kind: the training's type."""

    SCHEMAS = (1,)

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool, kind: type[Training]):
        super().__init__(path, config, resume=resume)
        self._row, self._integers = kind.ROW, kind.INTEGERS
        self._growing = ("rows", *(f"state.{name}" for name in kind.GROWING))
        self.history = HistoryFile(self.file("history.csv"), self._row._fields, self._integers)

    def load(self, first: Progress) -> Progress:
        """Return the progress of the checkpoint, ``first`` if there is none; then write ``study.json``.

        Raises:
            StudyError: the checkpoint is damaged or does not fit the configuration.

        """
        progress = self._read(first) if self.checkpoint_path.exists() else first
        if progress is first and self.best_path.exists():  # never written before a checkpoint
            path, best = self.checkpoint_path, self.best_path.name
            raise StudyError(f"checkpoint: {path} is missing, but {best} is there; start a new study")
        self.write_config()
        return progress

    def _read(self, first: Progress) -> Progress:
        path = self.checkpoint_path
        expected = self._arrays(first)
        try:
            archive = read_archive(path)
            expect_kind(archive, "checkpoint", path)
        except NeuroctlError as error:
            raise StudyError(f"checkpoint: {error}") from None
        if archive.fields.get("config") != self.config_digest():
            raise StudyError(f"checkpoint: {path} is of another study; allowed: the one that this folder's study wrote")
        found = self._kinds(archive.arrays)
        if found != self._kinds(expected):
            raise StudyError(f"checkpoint: {path}: arrays {', '.join(found)}; allowed: those of this study's network")
        a = archive.arrays
        kinds = [int if name in self._integers else float for name in self._row._fields]
        rows = tuple(self._row(*(kind(n) for kind, n in zip(kinds, row, strict=True))) for row in a["rows"])
        most = self.config.get("epochs")
        if most is not None and len(rows) > most:
            raise StudyError(f"epochs: {most}; allowed: from {len(rows)}, those done")
        return Progress(a["theta"], {name: a[f"state.{name}"] for name in first.state}, a["best"], rows)

    def _kinds(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Return shape, without the rows of what grows, and dtype of each array."""
        return {name: (array.shape[name in self._growing :], array.dtype) for name, array in arrays.items()}

    def save(self, progress: Progress) -> None:
        """Replace the checkpoint, whole or not at all.

        Raises:
            FileFormatError: it cannot be written; the old one is intact.

        """
        write_archive(self.checkpoint_path, "checkpoint", {"config": self.config_digest()}, self._arrays(progress))

    def _arrays(self, progress: Progress) -> dict[str, Array]:
        rows = np.array(progress.rows, np.float64).reshape(len(progress.rows), len(self._row._fields))
        state = {f"state.{name}": array for name, array in progress.state.items()}
        return {"theta": progress.theta, "best": progress.best, "rows": rows, **state}


@dataclass(frozen=True)
class Plan:
    """A training and the folder for it.

    Args:
        training: what is learned from, and settings.
        theta: parameters to start from.
        config: what ``study.json`` holds, plain JSON types: all that determines the training's bits.
        folder: the study's: new or empty, or with ``resume`` one that holds the same study.
        save_best: writes a controller file of parameters to a path with notes; None: the training's own spec.
        resume: continue from the folder's checkpoint.
        on_epoch: called with the figures of each epoch.
        time_limit_s: time after which no epoch begins, counted from the end of this run's first one, which compiles;
            None: no limit.

    """

    training: Training
    theta: Array
    config: Mapping[str, Any]
    folder: Path
    save_best: Callable[[Array, Path, dict[str, Any]], None] | None = None
    resume: bool = False
    on_epoch: Callable[[Any], None] | None = None
    time_limit_s: float | None = None


def run_training(plan: Plan) -> TrainingResult:
    """Train in a folder. Arguments, outcome and errors are those of ``run_trainings``, with one plan."""
    return run_trainings([plan], workers=1)[0]


def run_trainings(plans: Sequence[Plan], *, workers: int) -> list[TrainingResult]:
    """Train side by side, each in its folder: the same bits as one after the other.

    Args:
        plans: one or more, with folders that differ.
        workers: threads, each of which does an epoch of one training at a time.

    Returns:
        The outcomes, in order. Ctrl-C and SIGTERM end all cleanly, with ``interrupted`` set; unfinished epochs are
        lost.

    Raises:
        StudyError: a folder cannot be used, or holds another study.
        DivergedError: outputs, the loss or a gradient is not finite; raised after the other trainings have ended, and
            the best until then is in the folder.
        FileFormatError: a file cannot be written; the last checkpoint is whole.

    """
    with Interrupts() as interrupts, ExitStack() as stack:
        interrupts.hold()
        studies, interrupted = [], False
        for plan in plans:
            folder = stack.enter_context(
                TrainingFolder(plan.folder, dict(plan.config), resume=plan.resume, kind=type(plan.training))
            )
            studies.append(_Study(plan, folder, interrupts))
        try:
            interrupts.release()
            _train(studies, workers)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            with interrupts.shield():
                for study in studies:
                    study.save()
        for study in studies:
            if study.error is not None:
                raise DivergedError(f"{study.path}: {study.error}") from study.error
        return [study.result(interrupted) for study in studies]


def _train(studies: Sequence[_Study], workers: int) -> None:
    while going := [study for study in studies if study.goes_on()]:
        spread(_Study.run_epoch, going, workers)
        for study in going:
            study.take_epoch()


def _save(spec: Spec) -> Callable[[Array, Path, dict[str, Any]], None]:
    def save(theta: Array, path: Path, meta: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # a warning comes when the file is loaded
            Controller(spec, theta).save(path, meta=meta)

    return save


class _Study:
    def __init__(self, plan: Plan, folder: TrainingFolder, interrupts: Interrupts):
        self._training, self._folder, self._interrupts = plan.training, folder, interrupts
        self._time_limit_s, self._began = plan.time_limit_s, np.inf
        self._save_best, self._on_epoch = plan.save_best or _save(plan.training.spec), plan.on_epoch
        self.path = plan.folder
        self.error: DivergedError | None = None
        self._following: Progress | None = None
        self._saved_at, self._best_epoch = -np.inf, 0
        self._progress = folder.load(plan.training.begin(plan.theta))
        plan.training.resumed(self._progress)
        self._saved_epochs = len(self._progress.rows)
        folder.history.write(self._progress.rows)
        self._write_best()

    def goes_on(self) -> bool:
        """Return whether there is an epoch to run."""
        return self.error is None and self._over() is None

    def _over(self) -> str | None:
        limit = self._time_limit_s
        late = limit is not None and time.monotonic() - self._began >= limit
        return self._training.over(self._progress) or ("time is up" if late else None)

    def run_epoch(self) -> None:
        """Run an epoch, in any thread: it is taken by the main one, which signals may interrupt."""
        try:
            self._following = self._training.epoch(self._progress)
        except DivergedError as error:
            self.error = error

    def take_epoch(self) -> None:
        """Note the epoch that was run, and write a checkpoint if the last is old."""
        if self._following is None:
            return
        self._began = min(self._began, time.monotonic())
        with self._interrupts.shield():
            self._progress, self._following = self._following, None
            self._folder.history.append(self._progress.rows[-1])
            if time.monotonic() - self._saved_at >= _CHECKPOINT_S:
                self.save()
        if self._on_epoch is not None:
            self._on_epoch(self._progress.rows[-1])

    def result(self, interrupted: bool) -> TrainingResult:
        """Return the outcome."""
        best, reason = self._progress.best_row, self._over()
        return TrainingResult(
            best_path=self._folder.best_path,
            fixed_path=self._folder.fixed_path if self._training.steps_integers else None,
            best_loss=None if best is None else best.judged,
            best_epoch=None if best is None else best.epoch,
            epochs=len(self._progress.rows),
            stop_reason=reason or "interrupted",
            interrupted=interrupted,
        )

    def save(self) -> None:
        """Write the checkpoint, then the best, unless that has been done for this epoch."""
        if len(self._progress.rows) > self._saved_epochs:
            self._folder.save(self._progress)
            self._saved_epochs = len(self._progress.rows)
            self._write_best()
            self._saved_at = time.monotonic()

    def _write_best(self) -> None:
        """Write the best controller, if there is one; after a crash before this, a resumed study writes it."""
        best = self._progress.best_row
        if best is not None and best.epoch != self._best_epoch:
            meta = {"task": self._folder.config.get("task"), **best.notes, "versions": self._folder.versions}
            self._save_best(self._progress.best, self._folder.best_path, meta)
            if (q := self._training.quantized(self._progress.best)) is not None:
                meta |= {"fixed_point": self._folder.config.get("fixed_point")}
                recorded = self._training.recorded()
                if len(recorded):
                    q = QuantController(q.spec, q.formats, q.theta_q, recorded.astype(np.float64))
                q.save(self._folder.fixed_path, meta=meta)
            self._best_epoch = best.epoch
