"""What a teacher shows: recorded episodes of a student's observations and the teacher's actions, and their files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import FileFormatError, TrainingError, told
from neuroctl.io import expect_kind, file_name, read_archive, write_archive
from neuroctl.spec import Spec

Array = NDArray[Any]

_KIND: Final = "demonstrations"


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
