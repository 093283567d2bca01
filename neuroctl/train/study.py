"""Studies of training: a training in a folder, which can be killed at any moment and resumed bit for bit.

The folder holds

- ``study.json``: the configuration, written once at the start;
- ``checkpoint.npz``: parameters, the optimizer's state, the best so far and the figures of all epochs, replaced whole
  after the first epoch, then after an epoch at most every second, and at the end;
- ``best.npz``: the best controller so far, and ``history.csv``: a row an epoch. Both follow from the checkpoint.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.controller import Controller
from neuroctl.errors import NeuroctlError, StabilityWarning, StudyError
from neuroctl.io import expect_kind, read_archive, write_archive
from neuroctl.spec import Spec
from neuroctl.studies.folder import StudyFolder
from neuroctl.studies.history import HistoryFile
from neuroctl.studies.interrupts import Interrupts
from neuroctl.train.progress import COLUMNS, Epoch, Progress, Training

Array = NDArray[Any]

_CHECKPOINT_S: Final = 1.0


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of a study of training.

    Args:
        best_path: the best controller; no file before the first epoch.
        best_loss: its validation loss, or its loss without validation; None before the first epoch.
        best_epoch: the epoch it is of, from 1 on.
        epochs: epochs done.
        stop_reason: why training ended.
        interrupted: whether Ctrl-C or SIGTERM ended it.

    """

    best_path: Path
    best_loss: float | None
    best_epoch: int | None
    epochs: int
    stop_reason: str
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self) | {"best_path": None if self.best_loss is None else str(self.best_path)}


class TrainingFolder(StudyFolder):
    """The folder of a training, see ``StudyFolder``; ``study`` describes its files."""

    SCHEMAS = (1,)

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool):
        super().__init__(path, config, resume=resume)
        self.history = HistoryFile(self.file("history.csv"), COLUMNS, ("epoch", "step"))

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
        expected = _arrays(first)
        try:
            archive = read_archive(path)
            expect_kind(archive, "checkpoint", path)
        except NeuroctlError as error:
            raise StudyError(f"checkpoint: {error}") from None
        if archive.fields.get("config") != self.config_digest():
            raise StudyError(f"checkpoint: {path} is of another study; allowed: the one that this folder's study wrote")
        found = {name: (array.shape[name == "rows" :], array.dtype) for name, array in archive.arrays.items()}
        if found != {name: (array.shape[name == "rows" :], array.dtype) for name, array in expected.items()}:
            raise StudyError(f"checkpoint: {path}: arrays {', '.join(found)}; allowed: those of this study's network")
        a = archive.arrays
        rows = tuple(Epoch(int(row[0]), int(row[1]), *map(float, row[2:])) for row in a["rows"])
        if len(rows) > self.config["epochs"]:
            raise StudyError(f"epochs: {self.config['epochs']}; allowed: from {len(rows)}, those done")
        return Progress(a["theta"], {name: a[f"state.{name}"] for name in first.state}, a["best"], rows)

    def save(self, progress: Progress) -> None:
        """Replace the checkpoint, whole or not at all.

        Raises:
            FileFormatError: it cannot be written; the old one is intact.

        """
        write_archive(self.checkpoint_path, "checkpoint", {"config": self.config_digest()}, _arrays(progress))


def _arrays(progress: Progress) -> dict[str, Array]:
    rows = np.array(progress.rows, np.float64).reshape(len(progress.rows), len(COLUMNS))
    state = {f"state.{name}": array for name, array in progress.state.items()}
    return {"theta": progress.theta, "best": progress.best, "rows": rows, **state}


def run_training(
    training: Training,
    theta: Array,
    config: Mapping[str, Any],
    out_dir: Path,
    *,
    save_best: Callable[[Array, Path, dict[str, Any]], None] | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train in a folder.

    Args:
        training: data, loss and settings.
        theta: parameters to start from.
        config: what ``study.json`` holds, plain JSON types with ``epochs``: all that determines the training's bits.
        out_dir: the study's folder: new or empty, or with ``resume`` one that holds the same study.
        save_best: writes a controller file of parameters to a path with notes; None: the training's own spec.
        resume: continue from the folder's checkpoint.
        on_epoch: called after each epoch.

    Returns:
        The outcome. Ctrl-C and SIGTERM end the study cleanly, with ``interrupted`` set; the unfinished epoch is lost.

    Raises:
        StudyError: the folder cannot be used, or holds another study.
        DivergedError: outputs, the loss or a gradient is not finite; the best until then is in the folder.
        FileFormatError: a file cannot be written; the last checkpoint is whole.

    """
    with Interrupts() as interrupts:
        interrupts.hold()
        with TrainingFolder(out_dir, dict(config), resume=resume) as folder:
            study = _Study(training, folder, interrupts, save_best or _save(training.spec), on_epoch)
            return study.run(folder.load(training.begin(theta)))


def _save(spec: Spec) -> Callable[[Array, Path, dict[str, Any]], None]:
    def save(theta: Array, path: Path, meta: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # a warning comes when the file is loaded
            Controller(spec, theta).save(path, meta=meta)

    return save


class _Study:
    def __init__(
        self, training: Training, folder: TrainingFolder, interrupts: Interrupts,
        save_best: Callable[[Array, Path, dict[str, Any]], None], on_epoch: Callable[[Epoch], None] | None,
    ):  # fmt: skip
        self._training, self._folder, self._interrupts = training, folder, interrupts
        self._save_best, self._on_epoch = save_best, on_epoch
        self._saved_at, self._saved_epochs, self._best_epoch = -np.inf, 0, 0

    def run(self, progress: Progress) -> TrainingResult:
        """Run to the end, or to Ctrl-C, which was held back while the folder was opened."""
        self._progress = progress
        self._saved_epochs = len(progress.rows)
        self._folder.history.write(progress.rows)
        self._write_best()
        reason: str | None = None
        interrupted = False
        try:
            self._interrupts.release()
            reason = self._train()
        except KeyboardInterrupt:
            reason, interrupted = self._training.over(self._progress), True
        finally:
            with self._interrupts.shield():
                self._save()
        best = self._progress.best_row
        return TrainingResult(
            best_path=self._folder.best_path,
            best_loss=None if best is None else best.judged,
            best_epoch=None if best is None else best.epoch,
            epochs=len(self._progress.rows),
            stop_reason=reason or "interrupted",
            interrupted=interrupted,
        )

    def _train(self) -> str:
        while (reason := self._training.over(self._progress)) is None:
            following = self._training.epoch(self._progress)
            with self._interrupts.shield():
                self._progress = following
                self._folder.history.append(following.rows[-1])
                if time.monotonic() - self._saved_at >= _CHECKPOINT_S:
                    self._save()
            if self._on_epoch is not None:
                self._on_epoch(following.rows[-1])
        return reason

    def _save(self) -> None:
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
            meta = {"task": self._folder.config.get("task"), "epoch": best.epoch, "loss": best.judged}
            self._save_best(self._progress.best, self._folder.best_path, meta)
            self._best_epoch = best.epoch
