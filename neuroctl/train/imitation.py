"""Imitation: a student learns to do what a teacher does, by recorded demonstrations or on its own mistakes.

Behavior cloning trains on episodes that the teacher ran. Its student sees other situations than those as soon as it
errs; DAgger lets the student act and the teacher say what it would have done there, and trains on all of that.
S. Ross, G. Gordon, D. Bagnell, "A reduction of imitation learning and structured prediction to no-regret online
learning", AISTATS 2011, algorithm 3.1, with beta_i = 1 for i = 1 and 0 afterwards.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, shown
from neuroctl.controller import Controller
from neuroctl.errors import FileFormatError, StabilityWarning, TrainingError, told
from neuroctl.io import expect_kind, file_name, read_archive, write_archive
from neuroctl.spec import Spec
from neuroctl.train.fitting import fit
from neuroctl.train.output_scale import OutputScale
from neuroctl.train.starting import start

Array = NDArray[Any]

_EPISODES, _VALIDATION, _FITTING = 1, 2, 3  # streams of seeds
_KIND: Final = "demonstrations"
_OWN: Final = ("mask", "loss", "fixed_point")  # of ``fit``, which rounds have their own
_SHARE: Final = 0.2  # of the demonstrations, by which the best epoch of a round is chosen


class Episode(Protocol):
    """Runs one episode with a controller, as an objective of evolution does.

    It calls ``controller.reset()``, then ``controller.step(observation)`` for each action; where the teacher sees more
    than the sensors, ``controller.watch(state)`` before each step. It returns the sum of rewards.
    """

    def __call__(self, controller: Any, seed: int) -> float:
        """Run the episode of a seed, and return its return."""
        ...


@dataclass(frozen=True)
class Demonstrations:
    """What a student saw in episodes, and what its teacher would have done.

    Args:
        inputs: observations of each episode, ``[T_b, inputs]``.
        targets: the teacher's actions, ``[T_b, outputs]``.

    Example:
        >>> one = Demonstrations((np.zeros((3, 2)),), (np.ones((3, 1)),))
        >>> one.save("shown.npz")
        >>> both = one + Demonstrations.load("shown.npz")
        >>> len(both), both.steps
        (2, 6)

    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def __add__(self, others: Demonstrations) -> Demonstrations:
        return Demonstrations(self.inputs + others.inputs, self.targets + others.targets)

    @property
    def steps(self) -> int:
        """Number of steps of all episodes."""
        return sum(map(len, self.inputs))

    def arrays(self) -> dict[str, Array]:
        """Return all episodes one after the other, as arrays by name: inputs, targets, and the episodes' lengths."""
        lengths = np.array([len(each) for each in self.inputs], np.int64)
        return {"inputs": np.concatenate(self.inputs), "targets": np.concatenate(self.targets), "lengths": lengths}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Return what ``arrays`` was made of.

        Raises:
            TrainingError: an array is missing, or they do not belong together.

        """
        try:
            inputs, targets, lengths = (arrays[name] for name in ("inputs", "targets", "lengths"))
        except KeyError as error:
            raise TrainingError(f"{error.args[0]}: missing; allowed: inputs, targets and lengths") from None
        fits = inputs.ndim == targets.ndim == 2 and lengths.ndim == 1 and lengths.dtype == np.int64
        if not (fits and len(lengths) and (lengths > 0).all() and lengths.sum() == len(inputs) == len(targets)):
            raise TrainingError(f"lengths: {shown(lengths.tolist())}; allowed: steps of episodes, as many as rows")
        if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
            raise TrainingError("inputs, targets: NaN or Inf; allowed: finite numbers")
        ends = np.cumsum(lengths)[:-1]
        return cls(tuple(np.split(inputs, ends)), tuple(np.split(targets, ends)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file (.npz), whole or not at all.

        Raises:
            FileFormatError: it cannot be written.

        """
        write_archive(path, _KIND, {}, self.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that ``save`` wrote.

        Raises:
            FileFormatError: it is missing, damaged or another kind of file.

        """
        archive = read_archive(path)
        expect_kind(archive, _KIND, path)
        try:
            return cls.of_arrays(archive.arrays)
        except TrainingError as error:
            raise FileFormatError(f"{file_name(path)}: {error}") from None


class Watched:
    """Runs in an episode: records what the student sees and what the teacher would do, and acts as one of them.

    Args:
        spec: the student's.
        teacher: see ``demonstrate``; None: nothing is recorded.
        student: who acts; None: the teacher.
        sensors: which entries of an observation the student sees; None: all.

    """

    def __init__(self, spec: Spec, teacher: Any, student: Controller | None, sensors: Sequence[int] | None):
        self.spec = spec
        self._teacher, self._student, self._sensors = teacher, student, None if sensors is None else list(sensors)
        self._state: Any = None
        self.inputs: list[Array] = []
        self.targets: list[Array] = []

    def reset(self) -> None:
        """Begin an episode."""
        for one in (self._teacher, self._student):
            if callable(reset := getattr(one, "reset", None)):
                reset()
        self.inputs, self.targets = [], []

    def watch(self, state: Any) -> None:
        """Take what the teacher sees before the next step, instead of the observation."""
        self._state = state

    def step(self, u: Any) -> Any:
        """Return the action for an observation.

        Raises:
            TrainingError: the observation or the teacher's action has another size than the student's, or a NaN.

        """
        observation = np.asarray(u)
        seen = np.array(observation if self._sensors is None else self._of_sensors(observation), self.spec.dtype)
        if seen.shape != (self.spec.inputs,):
            raise TrainingError(f"observation: shape {seen.shape}; allowed for the student: ({self.spec.inputs},)")
        action = None
        if self._teacher is not None:
            action = self._taught(observation if self._state is None else self._state)
            self.inputs.append(seen)
            self.targets.append(action)
        return action if self._student is None else np.array(self._student.step(seen))

    def _of_sensors(self, observation: Array) -> Array:
        try:
            chosen: Array = observation[self._sensors]
        except IndexError:
            allowed = f"entries of an observation of {observation.size}, from 0 on"
            raise TrainingError(f"sensors: {shown(self._sensors)}; allowed: {allowed}") from None
        return chosen

    def _taught(self, state: Any) -> Array:
        act = getattr(self._teacher, "step", self._teacher)
        try:
            action = np.array(act(state), self.spec.dtype)
        except TrainingError:
            raise
        except Exception as error:
            raise TrainingError(f"teacher: {told(error)}, in step {len(self.targets)}; allowed: an action") from error
        if action.shape != (self.spec.outputs,) or not np.isfinite(action).all():
            got = f"shape {action.shape}" if action.shape != (self.spec.outputs,) else "NaN or Inf"
            raise TrainingError(f"teacher: an action of {got}; allowed: {self.spec.outputs} finite numbers")
        return action


def demonstrate(
    spec: Spec, teacher: Any, episode: Episode, seeds: Iterable[int], *, student: Controller | None = None,
    sensors: Sequence[int] | None = None,
) -> Demonstrations:  # fmt: skip
    """Return what a student sees in episodes, and what the teacher would do there.

    Args:
        spec: the student's.
        teacher: a function of an observation that returns an action ``[outputs]``, or an object with such a ``step``
            and, if it has a memory, ``reset``: a controller, or a task's hand-made one. Its memory follows the episode,
            whoever acts.
        episode: runs one episode, see ``Episode``.
        seeds: of the episodes.
        student: who acts; None: the teacher.
        sensors: which entries of an observation the student sees; None: all.

    Raises:
        TrainingError: the teacher, its actions or the observations do not fit.

    """
    watched = Watched(spec, teacher, student, sensors)
    inputs, targets = [], []
    for seed in seeds:
        episode(watched, seed)
        if not watched.inputs:
            raise TrainingError(f"episode: no step with seed {seed}; allowed: to call controller.step at least once")
        inputs.append(np.array(watched.inputs))
        targets.append(np.array(watched.targets))
    return Demonstrations(tuple(inputs), tuple(targets))


class Round(NamedTuple):
    """Figures of a round of DAgger.

    Args:
        round: its number, from 1 on.
        steps: steps of demonstrations so far.
        loss: mean square error on sequences that were not trained on, in units of half the outputs' range.
        score: the student's mean return in the validation's episodes.

    """

    round: int
    steps: int
    loss: float
    score: float


@dataclass(frozen=True)
class Imitation:
    """A student, and how it came to be.

    Args:
        controller: with the highest mean return in the validation's episodes.
        score: that return.
        teacher_score: the teacher's, in the same episodes.
        rounds: figures of each round.
        demonstrations: all that was recorded.

    Example:
        >>> def episode(controller, seed):
        ...     controller.reset()
        ...     for value in np.random.default_rng(seed).uniform(-1, 1, 10):
        ...         controller.step(np.array([value]))
        ...     return 0.0
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.1)
        >>> dagger(spec, lambda u: -u, episode, rounds=1, episodes=3, epochs=1).demonstrations.steps
        30

    """

    controller: Controller
    score: float
    teacher_score: float
    rounds: tuple[Round, ...]
    demonstrations: Demonstrations


def dagger(
    spec: Spec | Controller,
    teacher: Any,
    episode: Episode,
    *,
    sensors: Sequence[int] | None = None,
    rounds: int = 10,
    episodes: int = 8,
    validation: int = 20,
    demonstrations: Demonstrations | None = None,
    seed: int = 0,
    on_round: Callable[[Round], None] | None = None,
    **settings: Any,
) -> Imitation:
    """Train a student by DAgger: it acts, the teacher says what it would have done, and the student learns from all.

    The teacher acts in the first round. The same arguments give the same bits on one machine.

    Args:
        spec: the student's, whose parameters then start as ``starting.start`` says; or a student to go on from, which
            stays as it is.
        teacher: see ``demonstrate``.
        episode: runs one episode, see ``Episode``.
        sensors: which entries of an observation the student sees; None: all.
        rounds: how often episodes are run and the student is trained on all demonstrations.
        episodes: of each round.
        validation: episodes, with other seeds, whose mean return decides which round's student is the best.
        demonstrations: what is there already, to be learned from in all rounds; None: nothing.
        seed: of episodes, of the start and of training.
        on_round: called with the figures of each round.
        **settings: of ``fit`` in each round: ``epochs`` (100), ``learning_rate``, ``batch`` and others.

    Raises:
        TrainingError: an argument is not allowed, or the teacher or its actions do not fit.
        DivergedError: training diverged.

    Example:
        >>> def episode(controller, seed):
        ...     x, total = np.random.default_rng(seed).uniform(-1, 1), 0.0
        ...     controller.reset()
        ...     for _ in range(20):
        ...         x += 0.1 * float(controller.step(np.array([x]))[0])
        ...         total -= x * x
        ...     return total
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.1)
        >>> result = dagger(spec, lambda u: -2.0 * u, episode, rounds=2, episodes=4, validation=4)
        >>> len(result.rounds), len(result.demonstrations)
        (2, 8)

    """
    apprentice = Apprentice(spec, teacher, episode, sensors, seed, episodes, validation, settings)
    count = integer("rounds", rounds, 1, error=TrainingError)
    theta, known = apprentice.first(), demonstrations or Demonstrations((), ())
    done: list[Round] = []
    students: list[Array] = []
    for number in range(1, count + 1):
        theta, known, row = apprentice.round(number, theta, known)
        done.append(row)
        students.append(theta)
        if on_round is not None:
            on_round(row)
    best = max(range(count), key=lambda k: done[k].score)
    controller = apprentice.controller(students[best])
    return Imitation(
        controller, done[best].score, apprentice.teacher_score(), tuple(done), known or Demonstrations((), ())
    )


class Apprentice:
    """Takes a student from one round of DAgger to the next; arguments and errors are as of ``dagger``."""

    def __init__(
        self, spec: Spec | Controller, teacher: Any, episode: Episode, sensors: Sequence[int] | None, seed: int,
        episodes: int, validation: int, settings: Mapping[str, Any],
    ):  # fmt: skip
        own = spec.spec if isinstance(spec, Controller) else spec
        if not isinstance(own, Spec):
            raise TrainingError(f"spec: {shown(own)}; allowed: a Spec or a Controller")
        if not callable(getattr(teacher, "step", teacher)):
            raise TrainingError(f"teacher: {shown(teacher)}; allowed: a function, or an object with step(observation)")
        if not callable(episode):
            raise TrainingError(f"episode: {shown(episode)}; allowed: a function of a controller and a seed")
        self.spec, self._teacher, self._episode = own, teacher, episode
        self._sensors = None if sensors is None else [integer("sensors", k, 0, error=TrainingError) for k in sensors]
        if self._sensors is not None and len(self._sensors) != own.inputs:
            raise TrainingError(f"sensors: {len(self._sensors)}; allowed: {own.inputs}, one for each of the inputs")
        self._seed = integer("seed", seed, 0, error=TrainingError)
        self._episodes = integer("episodes", episodes, 1, error=TrainingError)
        self._validation = self._seeds(_VALIDATION, 0, integer("validation", validation, 1, error=TrainingError))
        for name in _OWN:
            if name in settings:
                raise TrainingError(f"{name}: {shown(settings[name])}; allowed: not for a round of DAgger")
        self._settings = dict(settings)
        # Parameters are trained for outputs in units of half their range, without limits: see ``OutputScale``.
        self._scale = _scale(own)
        self._free = own if own.cell == "jordan" else replace(own, output_limits=None)
        self._given = spec if isinstance(spec, Controller) else None

    def first(self) -> Array:
        """Return the parameters before the first round, for outputs in units of half their range."""
        if self._given is None:
            return start(self._free, self._seed)
        return self._scale.scaled(self._free, self._given.theta).astype(self.spec.dtype)

    def controller(self, theta: Array) -> Controller:
        """Return the controller of a round's parameters, with outputs in physical units, within their limits."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
            return Controller(self.spec, self._scale.physical(self.spec, theta))

    def teacher_score(self) -> float:
        """Return the teacher's mean return in the validation's episodes."""
        return self._mean(Watched(self.spec, self._teacher, None, self._sensors))

    def round(self, number: int, theta: Array, known: Demonstrations) -> tuple[Array, Demonstrations, Round]:
        """Run a round's episodes and train; return the parameters, all demonstrations and the round's figures."""
        seeds = self._seeds(_EPISODES, number, self._episodes)
        student = self.controller(theta) if known else None
        new = demonstrate(self.spec, self._teacher, self._episode, seeds, student=student, sensors=self._sensors)
        known = known + new
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)
            begun = Controller(self._free, theta)
        targets = [(each - self._scale.middle) / self._scale.half for each in known.targets]
        (own,) = self._seeds(_FITTING, number, 1)
        share = _SHARE if len(known) > 1 else 0.0
        learned = fit(begun, list(known.inputs), targets, seed=own, validation=share, **self._settings)
        after = learned.controller.theta.copy()
        score = self.score(after)
        return after, known, Round(number, known.steps, learned.loss, score)

    def score(self, theta: Array) -> float:
        """Return the student's mean return in the validation's episodes."""
        return self._mean(Watched(self.spec, None, self.controller(theta), self._sensors))

    def _mean(self, watched: Watched) -> float:
        returns = [float(self._episode(watched, seed)) for seed in self._validation]
        if not np.isfinite(returns).all():
            raise TrainingError(f"episode: returned {shown(returns[0])}; allowed: a finite number")
        return float(np.mean(returns))

    def _seeds(self, stream: int, number: int, count: int) -> list[int]:
        sequence = np.random.SeedSequence(self._seed, spawn_key=(stream, number))
        return [int(value) for value in sequence.generate_state(count, np.uint32)]


def _scale(spec: Spec) -> OutputScale:
    """Return the scale of the outputs; 1 where the readout cannot take it in, or a spec declares no limits."""
    plain = spec.readout != "affine" or spec.output_activation != "identity" or spec.cell == "jordan"
    if plain or spec.output_limits is None:
        return OutputScale(np.zeros(spec.outputs), np.ones(spec.outputs))
    lows, highs = np.array(spec.output_limits).T
    return OutputScale(0.5 * (lows + highs), 0.5 * (highs - lows))
