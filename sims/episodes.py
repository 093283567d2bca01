"""Episodes of a controller in a task: one return, the returns of many seeds, or a full record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer
from neuroctl.controller import Controller
from neuroctl.errors import TaskError
from neuroctl.evolve.provenance import source_of, version_of
from neuroctl.input_limits import limits_from
from neuroctl.quant import QuantController
from neuroctl.signal_names import SIGNAL_NAMES, difference

from . import registry
from .compiled import PlantReturn
from .environments import AnyEnvironment, Environment, Interface, create
from .task import Limits, Task

COMPILED = (Controller, QuantController)
"""Classes of controllers with a compiled episode loop."""


class Sizes(Protocol):
    """Sizes in a spec; they must match the task's."""

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        ...

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        ...


class ControllerLike(Protocol):
    """Any controller: float, fixed-point or hand-made."""

    @property
    def spec(self) -> Sizes:
        """Sizes of the controller."""
        ...

    def reset(self) -> Any:
        """Return to the initial state."""
        ...

    def step(self, u: Any, /) -> Any:
        """Return the outputs ``[outputs]`` for one observation ``[inputs]``. The next step may overwrite the array."""
        ...


def run_episode(
    env: Environment, controller: ControllerLike, seed: int, max_steps: int, recorder: _Recorder | None = None
) -> float:
    """Reset the environment and the controller, run one episode, and return the sum of its rewards."""
    observation, advance = env.begin(seed, getattr(controller.spec, "dtype", "float32"))
    controller.reset()
    answer = controller.step
    total = 0.0
    for _ in range(max_steps):
        if recorder is not None:
            recorder.before(observation)
        action = answer(observation)
        observation, reward, terminated, truncated, _ = advance(action)
        total += float(reward)
        if recorder is not None:
            recorder.after(action, reward, terminated)
        if terminated or truncated:
            break
    return total


class _Returns:
    """The return of one seeded episode: a fitness that can be pickled, without its environment."""

    _env: Environment | None = None
    _second: Environment | None = None  # for records, so that those leave no trace in the first

    def __init__(self, about: Any, max_steps: int | None):
        self._about = about
        self._max_steps = _checked_steps(max_steps, about)

    @property
    def max_steps(self) -> int:
        """Largest number of control steps in an episode."""
        return self._max_steps

    def __call__(self, controller: ControllerLike, seed: int) -> float:
        """Reset the controller, run one episode and return the sum of its rewards.

        Args:
            controller: an object with ``spec``, ``reset`` and ``step``; sizes and time step must be the task's.
            seed: seed of the start, an integer >= 0.

        Raises:
            TaskError: the controller does not fit the task, an output is not finite, or the seed is not allowed.

        """
        check_fit(controller, self._about)
        start = _checked_seed(seed)
        if self._env is None:
            self._env = create(self._about.name)
        return run_episode(self._env, controller, start, self._max_steps)

    def observations(self, controller: ControllerLike, seed: int) -> NDArray[np.float32]:
        """Return the controller's inputs in one episode, float32[T, inputs], for the choice of fixed-point formats."""
        check_fit(controller, self._about)
        if self._second is None:
            self._second = create(self._about.name)
        return _recorded(self._second, controller, _checked_seed(seed), self._max_steps, 0).observations

    def close(self) -> None:
        """Close the environments. The next call creates new ones."""
        envs, self._env, self._second = (self._env, self._second), None, None
        for env in envs:
            if env is not None:
                env.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_env": None, "_second": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._about.name!r}, max_steps={self._max_steps})"


class EpisodeReturn(_Returns):
    """Return of one seeded episode of a built-in task.

    The same controller and seed give the same bits in every process and in every order of episodes. The environment
    is created on first use and is not pickled. Not thread-safe.

    Args:
        task: name of the task.
        max_steps: largest number of control steps in an episode; None: the task's own limit.

    Raises:
        TaskError: there is no such task, or max_steps is not an integer >= 1.

    Example:
        >>> from sims.bullet.cartpole import Baseline
        >>> round(EpisodeReturn("cartpole", max_steps=50)(Baseline(), seed=1))
        48

    """

    def __init__(self, task: str, max_steps: int | None = None):
        super().__init__(registry.get(task), max_steps)

    @property
    def task(self) -> Task:
        """The task."""
        return self._about  # type: ignore[no-any-return]

    def made_of(self) -> dict[str, str]:
        """Return digests and versions of the task's sources; see ``neuroctl.evolve.provenance``."""
        engine = {"pybullet": str(version_of("pybullet"))}
        return source_of(registry.environment(self.task)) | engine | {"objective": repr(self)}


class GymReturn(_Returns):
    """Return of one seeded episode of a Gymnasium environment or of a user's environment class.

    The environment is not pickled.

    Args:
        name: a registered id, or ``"module:Class"``; see ``environments.AnyEnvironment``.
        max_steps: largest number of steps in an episode; None: the environment's own limit, or 1000.

    Raises:
        TaskError: there is no such environment, it cannot be created, or a space is not a Box.

    Example:
        >>> from neuroctl import Controller
        >>> import sims
        >>> problem = sims.problem("Pendulum-v1", cell="elman", neurons=2)
        >>> -2000 < GymReturn("Pendulum-v1", max_steps=20)(Controller(problem.spec), seed=1) < 0
        True

    """

    def __init__(self, name: str, max_steps: int | None = None):
        env = AnyEnvironment(name)
        super().__init__(env.about, max_steps)
        self._env = env

    @property
    def about(self) -> Interface:
        """Sizes and limits of the environment."""
        return self._about  # type: ignore[no-any-return]

    def made_of(self) -> dict[str, str]:
        """Return digests and versions of the environment and its wrappers; see ``neuroctl.evolve.provenance``."""
        env = self._env if isinstance(self._env, AnyEnvironment) else AnyEnvironment(self.about.name)
        self._env = env
        return source_of(*env.layers()) | {"objective": repr(self)}

    def measured_limits(self, observations: NDArray[Any] | None = None) -> Limits | None:
        """Return input limits measured on observations ``[T, inputs]``, or, if None, on episodes of random actions.

        The environment's own finite limits are kept. Returns None if all of its limits are finite.
        """
        declared = self.about.input_limits
        if np.isfinite(declared).all():
            return None
        if observations is not None:
            return limits_from(observations, declared)
        env = AnyEnvironment(self.about.name)
        try:
            return limits_from(env.explored(), declared)
        finally:
            env.close()


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T steps.

    Args:
        task: name of the task.
        seed: seed of the start.
        control_dt_s: time between two rows, in seconds.
        observations: float32[T, inputs], the controller's inputs.
        actions: float32[T, outputs], the controller's outputs before the environment's clipping.
        states: [T, n_state], the controller's state after each step, in its own dtype; None without a state.
        rewards: float64[T].
        terminated: whether the task ended the episode before its step limit, for instance by a fall.
        feet_down: bool[T, legs], ground contact of each leg after each step; None without legs.
        frames: list of images, uint8[height, width, 3], from the start on; empty unless requested.

    Example:
        >>> import sims
        >>> episode = sims.record("cartpole", sims.baseline("cartpole"), seed=1, max_steps=50)
        >>> episode.steps, episode.observations.shape, episode.terminated
        (50, (50, 2), False)

    """

    task: str
    seed: int
    control_dt_s: float
    observations: NDArray[np.float32] = field(repr=False)
    actions: NDArray[np.float32] = field(repr=False)
    states: NDArray[Any] | None = field(repr=False)
    rewards: NDArray[np.float64] = field(repr=False)
    terminated: bool
    feet_down: NDArray[np.bool_] | None = field(default=None, repr=False)
    frames: list[NDArray[np.uint8]] = field(default_factory=list, repr=False)

    @property
    def steps(self) -> int:
        """Number of control steps T."""
        return len(self.rewards)

    @property
    def total_return(self) -> float:
        """Sum of the rewards of all steps."""
        return float(self.rewards.sum())


def record(
    task: str,
    controller: ControllerLike,
    seed: int,
    max_steps: int | None = None,
    *,
    frames: bool = False,
    frame_every: int = 2,
    size: tuple[int, int] = (320, 240),
) -> Episode:
    """Run one episode and record it.

    Args:
        task: name of the task, a Gymnasium id, or ``"module:Class"``.
        controller: an object with ``spec``, ``reset`` and ``step``; sizes and time step must be the task's.
        seed: seed of the start, an integer >= 0.
        max_steps: largest number of control steps; None: the task's own limit.
        frames: whether to draw images; each takes some tens of milliseconds.
        frame_every: number of control steps from one frame to the next, an integer >= 1.
        size: (width, height) of a frame in pixels, for built-in tasks; other environments have their own size.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    every = _checked_integer("frame_every", frame_every)
    env = create(task, **(_drawing(size) if frames else {}))
    try:
        check_fit(controller, env.about)
        limit = _checked_steps(max_steps, env.about)
        return _recorded(env, controller, _checked_seed(seed), limit, every if frames else 0)
    finally:
        env.close()


def records(task: str, controller: ControllerLike, seeds: Iterable[int]) -> Iterator[Episode]:
    """Run an episode from each seed in one environment, without frames, and yield its record; see ``record``.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    env = create(task)
    try:
        check_fit(controller, env.about)
        for seed in seeds:
            yield _recorded(env, controller, _checked_seed(seed), env.about.max_episode_steps, 0)
    finally:
        env.close()


def score(
    task: str, controller: ControllerLike, seeds: Iterable[int], max_steps: int | None = None
) -> NDArray[np.float64]:
    """Return the returns of several seeded episodes, ``float64[len(seeds)]``, in the order of the seeds.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    episode = objective(task, max_steps) if isinstance(controller, COMPILED) else EpisodeReturn(task, max_steps)
    try:
        return np.array([episode(controller, seed) for seed in seeds], np.float64)
    finally:
        getattr(episode, "close", lambda: None)()


def show(task: str, controller: ControllerLike, seed: int, max_steps: int | None = None) -> None:
    """Run one episode in a window, in real time.

    Raises:
        TaskError: there is no display, an argument is not allowed, or the controller does not fit the task.

    """
    env = create(task, render_mode="human")
    try:
        check_fit(controller, env.about)
        _recorded(env, controller, _checked_seed(seed), _checked_steps(max_steps, env.about), 0)
    finally:
        env.close()


def objective(
    task: str, max_steps: int | None = None, *, measured: bool = False, backend: str = "cpu"
) -> EpisodeReturn | PlantReturn:
    """Return the objective of a study on a task: a ``PlantReturn`` if the task is compiled, or an ``EpisodeReturn``.

    Args:
        task: name of the task.
        max_steps: largest number of control steps in an episode; None: the task's own limit.
        measured: whether to return the measures for quality diversity as well.
        backend: backend of a compiled task's population, ``"cpu"`` or ``"cuda"``; other tasks run on ``"cpu"`` only.

    Raises:
        BackendUnavailable: the backend is unknown or not available on this machine.
        TaskError: there is no such task, it has no measures, or it cannot run on the backend.

    """
    entry = registry.get(task)
    if entry.plant:
        return PlantReturn(entry, _checked_steps(max_steps, entry), measured=measured, backend=backend)
    if backend != "cpu":
        raise TaskError(f"backend: {backend!r} for {task!r}; allowed: cpu, as it is not compiled")
    if measured:
        raise TaskError(f"task: {task!r} has no measures; allowed for quality diversity: phototaxis")
    return EpisodeReturn(task, max_steps)


class _Recorder:
    """The record of an episode while it runs."""

    def __init__(self, env: Environment, controller: ControllerLike, frame_every: int):
        self._env, self._controller, self._frame_every = env, controller, frame_every
        self._stateful = hasattr(controller, "state")
        self.frames: list[Any] = []
        self.observations: list[Any] = []
        self.actions: list[Any] = []
        self.states: list[Any] = []
        self.rewards: list[float] = []
        self.feet: list[Any] = []
        self.terminated = False

    def before(self, observation: Any) -> None:
        if self._frame_every and len(self.observations) % self._frame_every == 0:
            self.frames.append(self._env.render())
        self.observations.append(observation)

    def after(self, action: Any, reward: float, terminated: bool) -> None:
        self.actions.append(np.array(action, np.float32))
        if self._stateful:
            self.states.append(np.array(self._controller.state))  # type: ignore[attr-defined]
        self.rewards.append(reward)
        feet = self._env.feet_down()
        if feet is not None:
            self.feet.append(feet)
        self.terminated = terminated


def _recorded(env: Environment, controller: ControllerLike, seed: int, limit: int, frame_every: int) -> Episode:
    recorder = _Recorder(env, controller, frame_every)
    run_episode(env, controller, seed, limit, recorder)
    return Episode(
        task=env.about.name,
        seed=seed,
        control_dt_s=env.about.control_dt_s,
        observations=np.stack(recorder.observations).astype(np.float32),
        actions=np.stack(recorder.actions),
        states=np.stack(recorder.states) if recorder.states else None,
        rewards=np.array(recorder.rewards, np.float64),
        terminated=recorder.terminated,
        feet_down=np.array(recorder.feet) if recorder.feet else None,
        frames=recorder.frames,
    )


def _drawing(size: tuple[int, int]) -> dict[str, Any]:
    try:
        width, height = size
    except (TypeError, ValueError):
        raise TaskError(f"size: {size!r}; allowed: (width, height) in pixels") from None
    return {"render_mode": "rgb_array", "width": width, "height": height}


def check_fit(controller: ControllerLike, task: Task | Interface) -> None:
    """Refuse a controller that does not fit a task.

    Raises:
        TaskError: the controller lacks a method, or its sizes, time step or names of inputs are not the task's.

    """
    if not all(hasattr(controller, name) for name in ("spec", "reset", "step")):
        raise TaskError(f"controller: {type(controller).__name__}; allowed: an object with spec, reset() and step(u)")
    spec = controller.spec
    for name in ("inputs", "outputs"):
        have, needed = getattr(spec, name), getattr(task, name)
        if have != needed:
            raise TaskError(f"{name}: {have}; task {task.name!r} needs a controller with {needed}")
    dt_s, source = getattr(spec, "dt_s", task.control_dt_s), getattr(task, "dt_from", "the task's control rate")
    if source and not math.isclose(dt_s, task.control_dt_s, rel_tol=1e-6):
        told = f", by {source}" if isinstance(task, Interface) else ""
        raise TaskError(f"dt_s: {dt_s:g}; task {task.name!r} needs a controller with {task.control_dt_s:g}{told}")
    for name in SIGNAL_NAMES:
        if differs := difference(getattr(spec, name, ()), getattr(task, name, ())):
            index, have, needed = differs
            raise TaskError(f"{name}[{index}]: {have}; task {task.name!r} needs a controller with {needed} there")


def _checked_steps(max_steps: int | None, task: Task | Interface) -> int:
    return task.max_episode_steps if max_steps is None else _checked_integer("max_steps", max_steps)


def _checked_seed(seed: int) -> int:
    return _checked_integer("seed", seed, low=0)


def _checked_integer(name: str, value: int, low: int = 1) -> int:
    return integer(name, value, low, error=TaskError)
