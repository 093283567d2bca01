"""A training by a teacher, round by round: DAgger as one of the trainings that studies keep."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import adjoint_of
from neuroctl.checks import integer, shown
from neuroctl.controller import Controller
from neuroctl.errors import StabilityWarning, TrainingError
from neuroctl.spec import Spec
from neuroctl.train.demonstrations import Demonstrations, Watched, demonstrate
from neuroctl.train.fitting import fit
from neuroctl.train.output_scale import OutputScale
from neuroctl.train.progress import Progress, Training
from neuroctl.train.starting import start

Array = NDArray[Any]

_EPISODES, _VALIDATION, _FITTING = 1, 2, 3  # streams of seeds
_SHARE: Final = 0.2  # of the demonstrations, by which the best epoch of a round is chosen
_OWN: Final = ("mask", "loss", "fixed_point", "on_epoch")  # of ``fit``, which rounds have their own
_RECORDED: Final = 10_000  # steps that a controller's file keeps


class Round(NamedTuple):
    """Figures of a round of DAgger.

    Args:
        epoch: its number, from 1 on.
        steps: steps of demonstrations so far.
        episodes: episodes of demonstrations so far.
        error: mean square error on sequences that were not trained on, in units of half the outputs' range.
        validation: the student's mean return in the validation's episodes.

    Example:
        >>> Round(1, 800, 4, 0.01, 95.0).judged
        -95.0

    """

    epoch: int
    steps: int
    episodes: int
    error: float
    validation: float

    @property
    def judged(self) -> float:
        """What the best round has least of: minus the return."""
        return -self.validation

    @property
    def notes(self) -> Mapping[str, float]:
        """What the file of the best controller says of the round."""
        return {"epoch": self.epoch, "score": self.validation}


class TeacherTraining(Training):
    """Takes a student from one round of DAgger to the next.

    Parameters are trained for outputs in units of half their range and without limits, see ``OutputScale``; those of
    ``Progress.best`` are a controller's. The progress holds all demonstrations. Arguments and errors are as of
    ``imitation.dagger``.
    """

    ROW, INTEGERS, GROWING = Round, ("epoch", "steps", "episodes"), ("inputs", "targets", "lengths")

    def __init__(
        self, spec: Spec, teacher: Any, episode: Any, *, sensors: Sequence[int] | None = None, rounds: int = 10,
        episodes: int = 8, validation: int = 20, demonstrations: Demonstrations | None = None, seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        super().__init__(spec)
        adjoint_of(spec)  # raises for a cell without a gradient
        if not callable(getattr(teacher, "step", teacher)):
            raise TrainingError(f"teacher: {shown(teacher)}; allowed: a function, or an object with step(observation)")
        if not callable(episode):
            raise TrainingError(f"episode: {shown(episode)}; allowed: a function of a controller and a seed")
        self._teacher, self._episode = teacher, episode
        self._sensors = None if sensors is None else [integer("sensors", k, 0, error=TrainingError) for k in sensors]
        if self._sensors is not None and len(self._sensors) != spec.inputs:
            raise TrainingError(f"sensors: {len(self._sensors)}; allowed: {spec.inputs}, one for each of the inputs")
        self._seed = integer("seed", seed, 0, error=TrainingError)
        self._rounds = integer("rounds", rounds, 1, error=TrainingError)
        self._episodes = integer("episodes", episodes, 1, error=TrainingError)
        self._validation = self._seeds(_VALIDATION, 0, integer("validation", validation, 1, error=TrainingError))
        self._settings = dict(settings or {})
        for name in _OWN:
            if name in self._settings:
                raise TrainingError(f"{name}: {shown(self._settings[name])}; allowed: not for a round of DAgger")
        self._known = demonstrations or Demonstrations((), ())
        self._scale = _scale(spec)
        self._free = spec if spec.cell == "jordan" else replace(spec, output_limits=None)
        self._latest: Progress | None = None

    def first(self) -> Array:
        """Return random parameters of a controller to begin with."""
        return self.physical(start(self._free, self._seed))

    def begin(self, theta: Array) -> Progress:
        """Return the progress before the first round, from a controller's parameters."""
        scaled = theta if self._scale is None else self._scale.scaled(self._free, theta).astype(self.spec.dtype)
        return Progress(scaled, self._arrays(self._known), theta)

    def over(self, progress: Progress) -> str | None:
        """Return why the training is over, or None."""
        return "all rounds done" if len(progress.rows) >= self._rounds else None

    def epoch(self, progress: Progress) -> Progress:
        """Return the progress after one more round: episodes, training on all demonstrations, validation.

        Raises:
            DivergedError: training diverged.
            TrainingError: the teacher, its actions or the observations do not fit.

        """
        number, known = len(progress.rows) + 1, self.known(progress)
        student = self.controller(self.physical(progress.theta)) if known else None
        seeds = self._seeds(_EPISODES, number, self._episodes)
        known = known + demonstrate(
            self.spec, self._teacher, self._episode, seeds, student=student, sensors=self._sensors
        )
        (own,) = self._seeds(_FITTING, number, 1)
        scale, targets = self._scale, list(known.targets)
        if scale is not None:
            targets = [(each - scale.middle) / scale.half for each in targets]
        share = _SHARE if len(known) > 1 else 0.0
        learned = fit(
            self._quietly(self._free, progress.theta), list(known.inputs), targets, seed=own, validation=share,
            **self._settings,
        )  # fmt: skip
        theta = learned.controller.theta.copy()
        after = self.physical(theta)
        row = Round(number, known.steps, len(known), learned.loss, self.score(after))
        self._latest = progress.after(theta, self._arrays(known), row, after)
        return self._latest

    def physical(self, theta: Array) -> Array:
        """Return a controller's parameters of those that are trained."""
        return theta if self._scale is None else self._scale.physical(self.spec, theta).astype(self.spec.dtype)

    def controller(self, theta: Array) -> Controller:
        """Return the controller of parameters as in ``Progress.best``."""
        return self._quietly(self.spec, theta)

    def resumed(self, progress: Progress) -> None:
        """Take note of the progress that a study goes on from."""
        self._latest = progress

    def recorded(self) -> Array:
        """Return the last inputs ``[T, inputs]`` that students met until the best one, for choosing formats."""
        if self._latest is None or not self._latest.rows:
            return super().recorded()
        inputs: Array = self._latest.state["inputs"][: self._latest.best_row.steps]
        return inputs[-_RECORDED:]

    def score(self, theta: Array) -> float:
        """Return a student's mean return in the validation's episodes."""
        return self._mean(Watched(self.spec, None, self.controller(theta), self._sensors))

    def teacher_score(self) -> float:
        """Return the teacher's mean return in the validation's episodes."""
        return self._mean(Watched(self.spec, self._teacher, None, self._sensors))

    def known(self, progress: Progress) -> Demonstrations:
        """Return all demonstrations so far."""
        arrays = {name: progress.state[name] for name in self.GROWING}
        return Demonstrations.of_arrays(arrays) if len(arrays["lengths"]) else Demonstrations((), ())

    def _arrays(self, known: Demonstrations) -> dict[str, Array]:
        if not known:
            empty = [np.empty((0, count), self.spec.dtype) for count in (self.spec.inputs, self.spec.outputs)]
            return dict(zip(self.GROWING, (*empty, np.empty(0, np.int64)), strict=True))
        arrays = known.arrays()
        for name, count in (("inputs", self.spec.inputs), ("targets", self.spec.outputs)):
            if arrays[name].shape[1] != count:
                allowed = f"{count} columns, as of the student"
                raise TrainingError(f"demonstrations: {name} of {arrays[name].shape[1]} columns; allowed: {allowed}")
            arrays[name] = arrays[name].astype(self.spec.dtype)
        return arrays

    def _mean(self, watched: Watched) -> float:
        returns = [float(self._episode(watched, seed)) for seed in self._validation]
        if not np.isfinite(returns).all():
            raise TrainingError(f"episode: returned {shown(returns[0])}; allowed: a finite number")
        return float(np.mean(returns))

    def _seeds(self, stream: int, number: int, count: int) -> list[int]:
        sequence = np.random.SeedSequence(self._seed, spawn_key=(stream, number))
        return [int(value) for value in sequence.generate_state(count, np.uint32)]

    @staticmethod
    def _quietly(spec: Spec, theta: Array) -> Controller:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
            return Controller(spec, theta)


def _scale(spec: Spec) -> OutputScale | None:
    """Return the scale of the outputs; None where a readout cannot take it in, or a spec declares no limits."""
    fixed = spec.readout != "affine" or spec.output_activation != "identity" or spec.cell == "jordan"
    if fixed or spec.output_limits is None:
        return None
    return OutputScale.of_ranges(*np.array(spec.output_limits).T)
