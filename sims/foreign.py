"""Anything else to evolve on: a Gymnasium environment by its id or class, or a plain Python function.

``problem`` takes what a user types: a task's name, ``Pendulum-v1``, ``my_module:MyEnv`` or ``my_module:fitness``.
"""

from __future__ import annotations

import difflib
import importlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.errors import TaskError, require
from neuroctl.evolve import Goals
from neuroctl.spec import Spec
from sims import episodes, published, registry
from sims.episodes import objective
from sims.quiet import STDERR, STDOUT, silent

_FAR: Final = 10.0  # where a space says no limit: inputs saturate there in fixed point
_DT_S: Final = 0.02
_MOST_STEPS: Final = 1000


@dataclass(frozen=True)
class Problem:
    """What is evolved on: its name, a controller's Spec, and the objective."""

    name: str
    spec: Spec
    objective: Any


class GymReturn:
    """The return of one seeded episode of a Gymnasium environment with Box spaces, flattened.

    The environment is created on first use and stays behind when the object is pickled.

    Args:
        name: a registered id, or ``"module:Class"``.
        max_steps: steps of an episode at most; None takes the environment's own limit, or 1000.

    Raises:
        TaskError: there is no such environment, it cannot be made, or its spaces are no boxes.

    """

    def __init__(self, name: str, max_steps: int | None = None):
        self._name = name
        self._env: gymnasium.Env[Any, Any] | None = None
        env = self._made()
        own = getattr(env.spec, "max_episode_steps", None) if env.spec is not None else None
        self._max_steps = max_steps or own or _MOST_STEPS
        self._shape = env.action_space.shape

    def _made(self) -> gymnasium.Env[Any, Any]:
        if self._env is None:
            self._env = _make(self._name)
        return self._env

    def spec(self, **fields: Any) -> Spec:
        """Return the Spec of a controller that fits; its limits are the spaces', 10 where those have none."""
        env = self._made()
        inputs, outputs = _limits(env.observation_space), _limits(env.action_space)
        return Spec(
            inputs=len(inputs), outputs=len(outputs), dt_s=_period_s(env),
            input_limits=inputs, output_limits=outputs, **fields,
        )  # fmt: skip

    def __call__(self, controller: Any, seed: int) -> float:
        """Reset the controller, run one episode and return the sum of its rewards."""
        env = self._made()
        dtype = controller.spec.dtype
        observation, _ = env.reset(seed=seed)
        controller.reset()
        total = 0.0
        for _ in range(self._max_steps):
            seen = np.ascontiguousarray(np.ravel(observation), dtype=dtype)
            action = np.asarray(controller.step(seen), env.action_space.dtype).reshape(self._shape)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return total

    def close(self) -> None:
        """Free the environment; the next call makes a new one."""
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_env": None}

    def __repr__(self) -> str:
        return f"GymReturn({self._name!r}, max_steps={self._max_steps})"


def problem(
    name: str,
    *,
    cell: str = "ctrnn",
    neurons: int = 8,
    measured: bool = False,
    backend: str = "cpu",
    goals: Sequence[str] = (),
) -> Problem:
    """Return what a user names: a task, a Gymnasium environment, or a function ``f(controller, seed) -> fitness``.

    A function needs an attribute ``spec``, a dict with what a Spec needs besides cell and neurons: at least
    ``{"inputs": 2, "outputs": 1, "dt_s": 0.02}``; with ``input_limits`` it can be exported without recorded inputs.

    Args:
        name: a task's name, a Gymnasium id, or ``"module:name"`` of a class or a function.
        cell: kind of network.
        neurons: number of neurons.
        measured: with a compiled task's measures, for quality diversity.
        backend: what a compiled task's population runs on, ``"cpu"`` or ``"cuda"``.
        goals: besides the fitness, of ``neuroctl.evolve.GOALS``.

    Raises:
        StudyError: there is no such goal.
        BackendUnavailable: there is no such backend here.
        TaskError: there is nothing of that name, or it does not suit; names the nearest.

    """
    found = _posed(name, cell, neurons, measured, backend)
    if not goals:
        return found
    if "energy" in goals and registry.known(name) and registry.get(name).plant:
        raise TaskError(f"goals: energy for {name!r}; allowed for a compiled task: bytes")
    return Problem(name, found.spec, Goals(found.objective, goals, found.spec))


def search_of(name: str) -> Mapping[str, Any]:
    """Return how a task is searched where the user does not say: options of ``neuroctl evolve`` by their names."""
    if registry.known(name):
        return registry.get(name).search
    return published.search_of(name)


def score(task: str, controller: Any, seeds: Iterable[int], max_steps: int | None = None) -> NDArray[np.float64]:
    """Return the returns of several seeded episodes, ``float64[len(seeds)]``, in the order of the seeds.

    Args:
        task: a task's name, or anything else that ``problem`` takes.
        controller: resets and steps; its sizes must be the task's.
        seeds: of the episodes.
        max_steps: control steps of an episode of a task of ours; None takes its own limit.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.

    """
    if registry.known(task):
        return episodes.score(task, controller, seeds, max_steps)
    posed = problem(task)
    for name in ("inputs", "outputs"):
        have, needed = getattr(controller.spec, name), getattr(posed.spec, name)
        if have != needed:
            raise TaskError(f"{name}: {have}; task {task!r} needs a controller with {needed}")
    try:
        return np.array([posed.objective(controller, seed) for seed in seeds], np.float64)
    finally:
        getattr(posed.objective, "close", lambda: None)()


def task_of(notes: Mapping[str, Any], asked: str = "") -> str:
    """Return the task to run a saved controller in: the one asked for, else the one that its file notes.

    A file may come from anybody. A note is followed only to a task of ours, by its name or its Gymnasium id, or to a
    published environment that we know; never to a module that the file names, as importing one runs its code.

    Args:
        notes: the file's own notes.
        asked: what the user asks for; anything that ``problem`` takes.

    Raises:
        TaskError: neither names a task, or the file names one that is not ours.

    """
    if asked:
        return asked
    noted = notes.get("task")
    if not noted:
        raise TaskError("task: missing; allowed: --task NAME, as the file names none")
    if isinstance(noted, str) and (noted in _env_ids() or registry.known(noted) or published.search_of(noted)):
        return noted
    raise TaskError(
        f"task: {shown(noted)}, named by the file, is no task of ours and may run code; "
        "allowed: --task NAME, if you trust it"
    )


def _env_ids() -> set[str]:
    return {task.env_id for task in registry.TASKS.values()}


def _posed(name: str, cell: str, neurons: int, measured: bool, backend: str) -> Problem:
    if registry.known(name):
        returns = objective(name, measured=measured, backend=backend)
        return Problem(name, registry.controller_spec(name, neurons, cell), returns)
    if backend != "cpu":
        raise TaskError(f"backend: {backend!r} for {name!r}; allowed: cpu, as it is not compiled")
    if measured:
        raise TaskError(f"task: {name!r} has no measures; allowed for quality diversity: phototaxis")
    if ":" in name:
        found = _imported(name)
        if not isinstance(found, type):
            return Problem(name, _declared(found, name, cell, neurons), found)
    elif not _registered(name):
        _name_nearest(name)
    env = GymReturn(name)
    return Problem(name, env.spec(cell=cell, neurons=neurons), env)


def _name_nearest(name: str) -> None:
    """Say which name may have been meant, of our tasks and of Gymnasium's."""
    known = [*registry.names(), *gymnasium.registry]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise TaskError(
        f"task: {name!r} is unknown; {hint}allowed: {', '.join(registry.names())}, a Gymnasium id, or module:name"
    )


def _imported(name: str) -> Callable[..., Any]:
    """Return what ``"module:name"`` names; modules of the current folder are found too."""
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise TaskError(f"task: {name!r}: {type(error).__name__}: {' '.join(str(error).split())}") from None
    if not callable(found):
        raise TaskError(f"task: {name!r} is a {type(found).__name__}; allowed: an environment's class, or a function")
    return found  # type: ignore[no-any-return]


def _declared(function: Any, name: str, cell: str, neurons: int) -> Spec:
    declared = getattr(function, "spec", None)
    if not isinstance(declared, dict):
        raise TaskError(f"task: {name!r} has no spec; allowed: a function with {attribute_example(name)}")
    return Spec.from_dict({"cell": cell, "neurons": neurons} | declared)


def attribute_example(name: str) -> str:
    """Return the line that a user's function lacks."""
    return f"{name.partition(':')[2]}.spec = {{'inputs': 2, 'outputs': 1, 'dt_s': 0.02}}"


def _registered(name: str) -> bool:
    """Whether Gymnasium knows an id; those of ``pybullet_envs_gymnasium`` are registered by importing it."""
    if name not in gymnasium.registry and re.search(r"Bullet(MuJoCo)?Env-v\d+$", name):
        with silent(STDERR):
            require("pybullet_envs_gymnasium", "bullet-envs")
    return name in gymnasium.registry


def _make(name: str) -> gymnasium.Env[Any, Any]:
    try:
        env = _new(name)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"task: {name!r}: {type(error).__name__}: {' '.join(str(error).split())}") from None
    if not isinstance(env, gymnasium.Env):
        raise TaskError(f"task: {name!r} makes a {type(env).__name__}; allowed: a gymnasium.Env")
    for which in ("observation_space", "action_space"):
        space = getattr(env, which)
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise TaskError(f"{which}: {space} of {name!r}; allowed: a Box of floats")
    return env


def _new(name: str) -> Any:
    """Create an environment, reset once: some build their scene then, and begin a little otherwise than later."""
    if ":" not in name:
        _registered(name)
    with silent(STDOUT, STDERR):
        env = _imported(name)() if ":" in name else gymnasium.make(name, disable_env_checker=True)
        if isinstance(env, gymnasium.Env):
            env.reset(seed=0)
            published.quicken(name, env)
    return env


def _limits(space: Any) -> tuple[tuple[float, float], ...]:
    """Return (low, high) of each entry; where a space has no limit, 10 stands in for it."""
    low, high = np.ravel(space.low).astype(float), np.ravel(space.high).astype(float)
    bounded = (np.abs(low) < 1e6) & (np.abs(high) < 1e6)  # some spaces write infinity as the largest float
    pairs = zip(np.where(bounded, low, -_FAR), np.where(bounded, high, _FAR), strict=True)
    return tuple((float(a), float(b)) for a, b in pairs)


def _period_s(env: gymnasium.Env[Any, Any]) -> float:
    """Return the time between two steps: the environment's ``dt``, else from its frames a second, else 0.02 s."""
    for value in (getattr(env.unwrapped, "dt", None), 1.0 / (env.metadata.get("render_fps") or 1.0 / _DT_S)):
        if isinstance(value, (int, float)) and math.isfinite(value) and value > 0:
            return float(value)
    return _DT_S
