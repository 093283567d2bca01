"""Episodes: run a controller in a task, for one number, for many, or for a full record."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from neuroctl.controller import Controller
from neuroctl.errors import TaskError
from neuroctl.quant import QuantController
from sims import registry
from sims.compiled import PlantReturn
from sims.task import Task

COMPILED = (Controller, QuantController)
"""Controllers that run in compiled plants without a step in Python."""


class Sizes(Protocol):
    """The part of a spec that has to fit the task."""

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        ...

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        ...


class ControllerLike(Protocol):
    """Anything that is stepped: a float controller, a fixed-point one, a hand-made one."""

    @property
    def spec(self) -> Sizes:
        """Sizes of the controller."""
        ...

    def reset(self) -> Any:
        """Go back to the start state."""
        ...

    def step(self, u: Any, /) -> Any:
        """Return the outputs for one observation; the array may be overwritten by the next step."""
        ...


class EpisodeReturn:
    """The return of one seeded episode: a fitness that can be sent to other processes.

    The same controller and seed give the same bits in every process and in every order of episodes. The environment
    is created on first use and stays behind when the object is pickled. Not safe for use by several threads at once.

    Args:
        task: name of the task.
        max_steps: control steps of an episode; None takes the task's own limit.

    Raises:
        TaskError: there is no such task, or max_steps is not a whole number from 1.

    Example:
        >>> from sims.bullet.cartpole import Baseline
        >>> EpisodeReturn("cartpole", max_steps=50)(Baseline(), seed=1)
        50.0

    """

    def __init__(self, task: str, max_steps: int | None = None):
        self._task = registry.get(task)
        self._max_steps = _checked_steps(max_steps, self._task)
        self._env: gymnasium.Env[Any, Any] | None = None

    @property
    def task(self) -> Task:
        """The task that is run."""
        return self._task

    @property
    def max_steps(self) -> int:
        """Control steps of the longest episode."""
        return self._max_steps

    def __call__(self, controller: ControllerLike, seed: int) -> float:
        """Reset the controller, run one episode and return the sum of its rewards.

        Args:
            controller: resets and steps; its sizes must be the task's.
            seed: of the start, a whole number from 0.

        Raises:
            TaskError: the controller does not fit the task, gives a value that is not finite, or the seed is bad.

        """
        check_fit(controller, self._task)
        start = _checked_seed(seed)
        if self._env is None:
            # Unwrapped: steps are counted here, which spares a layer of calls on each.
            self._env = registry.make(self._task.name).unwrapped
        observation, _ = self._env.reset(seed=start)
        controller.reset()
        plant, brain = self._env.step, _reader(controller)
        total = 0.0
        for _ in range(self._max_steps):
            observation, reward, terminated, truncated, _ = plant(brain(observation))
            total += float(reward)
            if terminated or truncated:
                break
        return total

    def observations(self, controller: ControllerLike, seed: int) -> NDArray[np.float32]:
        """Return what the controller sees in one episode, float32[T, inputs]: recorded inputs for fixed point."""
        return record(self._task.name, controller, seed, self._max_steps).observations

    def close(self) -> None:
        """Free the environment; the next call makes a new one."""
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_env": None}

    def __repr__(self) -> str:
        return f"EpisodeReturn({self._task.name!r}, max_steps={self._max_steps})"


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T steps.

    Args:
        task: name of the task.
        seed: of the start.
        control_dt_s: time between two rows, in seconds.
        observations: float32[T, inputs], what the controller saw.
        actions: float32[T, outputs], what it answered, before the environment clips it.
        states: [T, n_state] of the controller's own dtype, after each step; None if it shows no ``state``.
        rewards: float64[T].
        terminated: whether the episode ended in failure, before its limit.
        feet_down: bool[T, legs], which legs touch the ground after each step; None where there are none.
        frames: uint8[height, width, 3] each, the first of the start; empty unless asked for.

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
        """Sum of the rewards."""
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
    """Run one episode and keep all of it.

    Args:
        task: name of the task.
        controller: resets and steps; its sizes must be the task's.
        seed: of the start, a whole number from 0.
        max_steps: control steps at most; None takes the task's own limit.
        frames: whether to draw; a frame takes some tens of milliseconds.
        frame_every: control steps from one frame to the next.
        size: (width, height) of a frame in pixels.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    entry = registry.get(task)
    check_fit(controller, entry)
    limit = _checked_steps(max_steps, entry)
    every = _checked_whole("frame_every", frame_every)
    start = _checked_seed(seed)
    drawing = _drawing(size) if frames else {}
    env = registry.make(entry.name, **drawing).unwrapped
    try:
        return _recorded(env, entry, controller, start, limit, every if frames else 0)
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
    entry = registry.get(task)
    check_fit(controller, entry)
    env = registry.make(entry.name, render_mode="human").unwrapped
    try:
        _recorded(env, entry, controller, _checked_seed(seed), _checked_steps(max_steps, entry), 0)
    finally:
        env.close()


def objective(
    task: str, max_steps: int | None = None, *, measured: bool = False, backend: str = "cpu"
) -> EpisodeReturn | PlantReturn:
    """Return what a study evaluates a task by: on lanes if it is compiled.

    Args:
        task: name of the task.
        max_steps: control steps of an episode; None takes the task's own limit.
        measured: with the measures for quality diversity.
        backend: what a compiled task's population runs on, ``"cpu"`` or ``"cuda"``.

    Raises:
        BackendUnavailable: there is no such backend here.
        TaskError: there is no such task, or it has no measures, or is not compiled and cannot run on that backend.

    """
    entry = registry.get(task)
    if entry.plant:
        return PlantReturn(entry, _checked_steps(max_steps, entry), measured=measured, backend=backend)
    if backend != "cpu":
        raise TaskError(f"backend: {backend!r} for {task!r}; allowed: cpu, as it is not compiled")
    if measured:
        raise TaskError(f"task: {task!r} has no measures; allowed for quality diversity: phototaxis")
    return EpisodeReturn(task, max_steps)


def _recorded(
    env: gymnasium.Env[Any, Any], task: Task, controller: ControllerLike, seed: int, limit: int, frame_every: int
) -> Episode:
    observations, actions, states, rewards, feet = [], [], [], [], []
    frames: list[Any] = []
    terminated = False
    observation, _ = env.reset(seed=seed)
    controller.reset()
    brain = _reader(controller)
    for step in range(limit):
        if frame_every and step % frame_every == 0:
            frames.append(env.render())
        action = brain(observation)
        observations.append(observation)
        actions.append(np.array(action, np.float32))
        if hasattr(controller, "state"):
            states.append(np.array(controller.state))
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        if hasattr(env, "feet_down"):
            feet.append(env.feet_down())
        if terminated or truncated:
            break
    return Episode(
        task=task.name,
        seed=seed,
        control_dt_s=task.control_dt_s,
        observations=np.stack(observations),
        actions=np.stack(actions),
        states=np.stack(states) if states else None,
        rewards=np.array(rewards, np.float64),
        terminated=terminated,
        feet_down=np.array(feet) if feet else None,
        frames=frames,
    )


def _drawing(size: tuple[int, int]) -> dict[str, Any]:
    try:
        width, height = size
    except (TypeError, ValueError):
        raise TaskError(f"size: {size!r}; allowed: (width, height) in pixels") from None
    return {"render_mode": "rgb_array", "width": width, "height": height}


def _reader(controller: ControllerLike) -> Callable[[Any], Any]:
    """Return the controller's step; observations are float32, and a float64 controller gets them converted."""
    step = controller.step
    if getattr(controller.spec, "dtype", "float32") == "float32":
        return step
    return lambda observation: step(observation.astype(np.float64))


def check_fit(controller: ControllerLike, task: Task) -> None:
    """Refuse a controller that a task does not fit.

    Raises:
        TaskError: it lacks a method, or its sizes or time step are not the task's.

    """
    if not all(hasattr(controller, name) for name in ("spec", "reset", "step")):
        raise TaskError(f"controller: {type(controller).__name__}; allowed: an object with spec, reset() and step(u)")
    spec = controller.spec
    if spec.inputs != task.inputs:
        raise TaskError(f"inputs: {spec.inputs}; task {task.name!r} needs a controller with {task.inputs}")
    if spec.outputs != task.outputs:
        raise TaskError(f"outputs: {spec.outputs}; task {task.name!r} needs a controller with {task.outputs}")
    dt_s = getattr(spec, "dt_s", task.control_dt_s)
    if not math.isclose(dt_s, task.control_dt_s, rel_tol=1e-6):
        raise TaskError(f"dt_s: {dt_s:g}; task {task.name!r} needs a controller with {task.control_dt_s:g}")


def _checked_steps(max_steps: int | None, task: Task) -> int:
    return task.max_episode_steps if max_steps is None else _checked_whole("max_steps", max_steps)


def _checked_seed(seed: int) -> int:
    return _checked_whole("seed", seed, least=0)


def _checked_whole(name: str, value: int, least: int = 1) -> int:
    """Return a Python int; NumPy's integers are taken too."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TaskError(f"{name}: {value!r}; allowed: whole numbers from {least}") from None
    if number < least:
        raise TaskError(f"{name}: {number}; allowed: whole numbers from {least}")
    return number
