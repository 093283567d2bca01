"""Environments of controllers: our tasks, and anything else with ``reset`` and ``step``.

``create`` returns an ``Environment`` for the name that a user types; all episodes are run in one.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.checks import array, cast, shown
from neuroctl.errors import NeuroctlError, NotFiniteError, TaskError, require, told
from neuroctl.evolve.blame import blamed, number_of
from neuroctl.spec import Spec

from . import pybullet_envs, registry
from .modules import imported
from .output import STDERR, STDOUT, suppress_output
from .task import Limits, Sized, Task

Array = NDArray[Any]
Stepped = tuple[Array, float, bool, bool, Any]
"""Observation, reward, terminated, truncated, and the environment's info."""

ASSUMED_LIMIT: Final = 10.0
"""Distance of an action's assumed limit from 0, or from the limit on its other side."""
_ASSUMED_DT_S: Final = 0.02
_MAX_STEPS: Final = 1000
_UNLIMITED: Final = 1e6  # some spaces write infinity as the largest float
_EXPLORED_STEPS: Final = 4000
_EXPLORED_EPISODES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Interface(Sized):
    """Sizes and limits of an environment that is no task of ours. Undeclared limits are infinite.

    Args:
        control_dt_s: time between two steps, in seconds.
        dt_from: source of ``control_dt_s``; empty if it is assumed.
        declared: fields of a controller's Spec that the environment's own class declares.

    """

    control_dt_s: float
    dt_from: str
    declared: Mapping[str, Any] | None = None


class Environment(Protocol):
    """An environment for episodes."""

    about: Any
    """A ``Task`` or an ``Interface``."""

    def begin(self, seed: int, dtype: str) -> tuple[Array, Callable[[Any], Stepped]]:
        """Begin an episode; return the first observation, ``dtype[inputs]``, and a function that makes a control step.

        Observations are new arrays, and an action is never kept: the caller may overwrite it.
        """
        ...

    def render(self) -> Any:
        """Return a frame, uint8[height, width, 3]."""
        ...

    def feet_down(self) -> Any:
        """Return for each leg whether it touches the ground, bool[legs]; None without legs."""
        ...

    def privileged(self) -> Any:
        """Return what a teacher may see and no sensor gives, a vector.

        Raises:
            TaskError: the environment has no method ``privileged``.

        """
        ...

    def close(self) -> None:
        """Free the environment."""
        ...


def create(name: str, render_mode: str | None = None, **drawing: int) -> Environment:
    """Return the environment of a task, a Gymnasium id, or a class of the user's, ``"module:Class"``.

    Args:
        name: name of any of these.
        render_mode: None, ``"rgb_array"`` or ``"human"``.
        drawing: width and height of a frame of a task of ours, in pixels.

    Raises:
        TaskError: there is no such environment, it cannot be made, or its interface is not supported.

    """
    if registry.known(name):
        return OurEnvironment(registry.get(name), render_mode, **drawing)
    return AnyEnvironment(name, render_mode)


class OurEnvironment:
    """A task of ours. It returns new observations, float32, and keeps no action, so nothing needs to be copied."""

    def __init__(self, task: Task, render_mode: str | None = None, **drawing: int):
        self.about = task
        # Unwrapped: steps are counted where episodes are run, which spares a layer of calls on each.
        self._env: Any = registry.make(task.name, render_mode=render_mode, **drawing).unwrapped
        self.render, self.close = self._env.render, self._env.close

    def begin(self, seed: int, dtype: str) -> tuple[Array, Callable[[Any], Stepped]]:
        """Begin an episode; see ``Environment``."""
        observation, _ = self._env.reset(seed=seed)
        if dtype == "float32":
            return observation, self._env.step
        return observation.astype(dtype), lambda action: _cast(self._env.step(action), dtype)

    def feet_down(self) -> Any:
        """Return for each leg whether it touches the ground; None without legs."""
        feet_down = getattr(self._env, "feet_down", None)
        return None if feet_down is None else feet_down()

    def privileged(self) -> Any:
        """Return what a teacher may see; see ``Environment``."""
        return _privileged(self._env, self.about.name)


def _cast(stepped: Stepped, dtype: str) -> Stepped:
    observation, reward, terminated, truncated, info = stepped
    return observation.astype(dtype), reward, terminated, truncated, info


class AnyEnvironment:
    """A Gymnasium environment with spaces of floats, or an object of the user's own with ``reset`` and ``step``.

    ``reset`` may take a seed, and returns an observation, or a tuple of it and a dict. ``step`` returns (observation,
    reward, terminated, truncated, info), or (observation, reward, done) with or without a dict at the end. An
    object without spaces needs an attribute ``spec``, a dict with at least inputs, outputs and dt_s. Observations are
    flattened.

    Args:
        name: a registered id, or ``"module:Class"``.
        render_mode: None, ``"rgb_array"`` or ``"human"``.

    Raises:
        TaskError: there is no such environment, it cannot be made, or its spaces are no boxes of floats.

    """

    def __init__(self, name: str, render_mode: str | None = None):
        self._env = _made(name, render_mode)
        self.about = _interface(name, self._env)
        self._steps = 0  # of the episode, for messages
        self._reset = _seeded(self._env.reset)
        space = getattr(self._env, "action_space", None)
        self._action = (np.dtype(np.float32), (self.about.outputs,)) if space is None else (space.dtype, space.shape)

    def layers(self) -> list[type]:
        """Return the classes of its wrappers, outermost first, and of the wrapped environment."""
        env, layers = self._env, []
        while isinstance(env, gymnasium.Wrapper):
            layers.append(type(env))
            env = env.env
        return [*layers, type(env)]

    def begin(self, seed: int, dtype: str) -> tuple[Array, Callable[[Any], Stepped]]:
        """Begin an episode; see ``Environment``.

        Raises:
            TaskError: a result of ``reset`` or ``step`` has another form.
            NotFiniteError: an observation holds NaN or Inf, or a reward is NaN.

        """
        self._steps = 0
        answer = self._reset(seed)
        bare = not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping))
        return self._observed(answer if bare else answer[0], dtype), lambda action: self._step(action, dtype)

    def _step(self, action: Any, dtype: str) -> Stepped:
        action_dtype, shape = self._action
        self._steps += 1
        # Copies both ways: an environment may keep its last action, or write all observations into one array.
        answer = self._env.step(np.array(action, action_dtype).reshape(shape))
        try:
            observation, reward, terminated, truncated, info = answer
        except (TypeError, ValueError):
            observation, reward, terminated, truncated, info = self._older(answer)
        checked, earned = self._observed(observation, dtype), self._earned(reward)
        return checked, earned, self._flag("terminated", terminated), self._flag("truncated", truncated), info

    def _older(self, answer: Any) -> Any:
        parts = list(answer) if isinstance(answer, tuple) else []
        if len(parts) == 3 or (len(parts) == 4 and isinstance(parts[3], Mapping)):
            return (*parts[:2], self._flag("done", parts[2]), False, {})
        text = "(observation, reward, terminated, truncated, info), or (observation, reward, done)"
        raise self._wrong("step", answer, text)

    def _observed(self, observation: Any, dtype: str) -> Array:
        allowed = f"{self.about.inputs} numbers, none of them masked"
        try:
            numbers = array("observation", observation, allowed, error=TaskError)
        except TaskError:
            raise self._wrong("observation", observation, allowed) from None
        if numbers.size != self.about.inputs:
            raise self._wrong("observation", observation, allowed)
        checked = cast(numbers, dtype).flatten()
        if not np.isfinite(checked).all():
            index = int(np.isfinite(checked).argmin())
            value = numbers.ravel()[index].item()
            raise self._wrong(f"observation[{index}]", value, f"finite {dtype} numbers", NotFiniteError)
        return checked

    def _earned(self, reward: Any) -> float:
        try:
            if isinstance(reward, (str, bytes)):  # float("3") would pass
                raise TypeError
            earned = number_of(reward)
        except (TypeError, ValueError):
            raise self._wrong("reward", reward, "a number") from None
        if math.isnan(earned):
            raise self._wrong("reward", reward, "a number", NotFiniteError)
        return earned

    def _flag(self, name: str, value: Any) -> bool:
        """Return a bool from a bool, 0 or 1. Others are refused: ``"no"`` and all other texts would count as true."""
        plain = value.item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value
        if isinstance(plain, Real) and plain in (0, 1):
            return bool(plain)
        raise self._wrong(name, value, "True or False")

    def _wrong(self, field: str, value: Any, allowed: str, kind: type[TaskError] = TaskError) -> TaskError:
        """Return the error for a wrong result of the user's ``reset`` or ``step``."""
        when = f"step {self._steps}" if self._steps else "its reset"
        return kind(f"{field}: {shown(value)} of {self.about.name!r} at {when}; allowed: {allowed}")

    def render(self) -> Any:
        """Return a frame.

        Raises:
            TaskError: the environment draws none.
            ObjectiveError: its code raised.

        """
        name, allowed = repr(self.about.name), "allowed: render() that returns uint8[height, width, 3]"
        if not hasattr(self._env, "render"):
            raise TaskError(f"render: no picture of {name}; {allowed}")
        try:
            frame = np.array(self._env.render())
        except NotImplementedError:
            raise TaskError(f"render: no picture of {name}; {allowed}") from None
        except Exception as error:
            raise blamed(".render", error, f"of {name}") from error
        if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
            raise TaskError(f"render: no picture of {name}, but {frame.dtype}{list(frame.shape)}; {allowed}")
        return frame

    def feet_down(self) -> Any:
        """Return None: only our robots report this."""
        return None

    def privileged(self) -> Any:
        """Return what a teacher may see; see ``Environment``."""
        return _privileged(self.unwrapped, self.about.name)

    def close(self) -> None:
        """Free the environment."""
        getattr(self._env, "close", lambda: None)()

    @property
    def unwrapped(self) -> Any:
        """The user's own object."""
        return getattr(self._env, "unwrapped", self._env)

    def explored(self) -> NDArray[np.float64]:
        """Return observations ``[T, inputs]`` of episodes under random actions, for measuring limits.

        The episodes draw new actions every 1, 2, 4, 8 or 16 steps by turns: quick ones shake, slow ones get far. The
        same environment gives the same numbers. An observation that is not finite ends its episode.

        Raises:
            NotFiniteError: no observation is finite.

        """
        rng = np.random.default_rng(0)
        rows: list[Array] = []
        problem = None
        for episode in range(_EXPLORED_EPISODES):
            try:
                self._explore(episode, rng, rows)
            except NotFiniteError as error:
                problem = error
            if len(rows) >= _EXPLORED_STEPS:
                break
        if problem is not None and not rows:
            raise problem
        return np.stack(rows)

    def _explore(self, episode: int, rng: np.random.Generator, rows: list[Array]) -> None:
        low, high = np.array(action_limits(self.about.output_limits)).T
        observation, step = self.begin(episode, "float64")
        rows.append(observation)
        action = low
        for number in range(min(self.about.max_episode_steps, _EXPLORED_STEPS - len(rows))):
            if number % 2 ** (episode % 5) == 0:
                action = rng.uniform(low, high)
            observation, _, terminated, truncated, _ = step(action)
            rows.append(observation)
            if terminated or truncated:
                break


def _privileged(env: Any, name: str) -> Any:
    if not callable(method := getattr(env, "privileged", None)):
        raise TaskError(f"privileged: {name!r} has no such method; allowed: an environment with privileged(), a vector")
    return method()


def action_limits(limits: Limits) -> Limits:
    """Return (low, high) of each action, with ``ASSUMED_LIMIT`` where there is none."""
    return tuple(
        (
            low if math.isfinite(low) else min(high, 0.0) - ASSUMED_LIMIT,
            high if math.isfinite(high) else max(low, 0.0) + ASSUMED_LIMIT,
        )
        for low, high in limits
    )


def _seeded(reset: Callable[..., Any]) -> Callable[[int], Any]:
    """Return a function of a seed that calls ``reset``, with the seed if ``reset`` accepts one."""
    try:
        parameters = inspect.signature(reset).parameters
    except (TypeError, ValueError):
        return lambda seed: reset(seed=seed)
    if "seed" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return lambda seed: reset(seed=seed)
    return lambda seed: reset()


def registered(name: str) -> bool:
    """Whether Gymnasium knows an id; those of ``pybullet_envs_gymnasium`` are registered by importing it."""
    if name not in gymnasium.registry and re.search(r"Bullet(MuJoCo)?Env-v\d+$", name):
        with suppress_output(STDOUT, STDERR):
            for module in ("pybullet", "pybullet_envs_gymnasium"):
                require(module, "bullet-envs")
    return name in gymnasium.registry


def _made(name: str, render_mode: str | None) -> Any:
    """Create an environment and reset it once: some build their scene then, and differ a little in that episode."""
    if ":" not in name:
        registered(name)
    try:
        with suppress_output(STDOUT, STDERR):
            if ":" in name:
                env = _object(name, render_mode)
            else:
                env = gymnasium.make(name, disable_env_checker=True, render_mode=render_mode)
            if callable(getattr(env, "reset", None)) and callable(getattr(env, "step", None)):
                _seeded(env.reset)(0)
                pybullet_envs.speed_up(name, env)
                return env
    except NeuroctlError:
        raise
    except Exception as error:
        raise TaskError(f"task: {name!r}: {told(error)}") from error
    raise TaskError(
        f"task: {name!r} makes a {type(env).__name__}; allowed: a gymnasium.Env, or what has reset and step"
    )


def _object(name: str, render_mode: str | None) -> Any:
    """Return an object of the user's class, made for drawing if it takes a render mode."""
    made_by = imported(name)
    if not isinstance(made_by, type):
        raise TaskError(f"task: {name!r} is a function, in which nothing is stepped; allowed here: an environment")
    parameters = inspect.signature(made_by).parameters
    draws = "render_mode" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return made_by(render_mode=render_mode) if render_mode is not None and draws else made_by()


def _interface(name: str, env: Any) -> Interface:
    if not hasattr(env, "observation_space") and not hasattr(env, "action_space"):
        return _declared_interface(name, env)
    dt_s, dt_from = _period(env)
    registered_steps = getattr(getattr(env, "spec", None), "max_episode_steps", None)
    inputs = _limits(name, env, "observation_space")
    return Interface(
        name=name,
        input_limits=pybullet_envs.input_limits_of(name, len(inputs)) or inputs,
        output_limits=_limits(name, env, "action_space"),
        control_dt_s=dt_s,
        dt_from=dt_from,
        max_episode_steps=registered_steps or getattr(env, "max_episode_steps", None) or _MAX_STEPS,
    )


def _declared_interface(name: str, env: Any) -> Interface:
    declared = declared_spec(env, name)
    spec = Spec.from_dict({"cell": "elman", "neurons": 1} | declared)
    nothing = (-math.inf, math.inf)
    return Interface(
        name=name,
        input_limits=spec.input_limits or (nothing,) * spec.inputs,
        output_limits=spec.output_limits or ((-1.0, 1.0),) * spec.outputs,
        control_dt_s=spec.dt_s,
        dt_from="its spec",
        max_episode_steps=getattr(env, "max_episode_steps", None) or _MAX_STEPS,
        declared=declared,
    )


def declared_spec(owner: Any, name: str) -> dict[str, Any]:
    """Return the dict ``spec`` of a function, class or object of the user's.

    Raises:
        TaskError: there is none.

    """
    declared = getattr(owner, "spec", None)
    if not isinstance(declared, dict):
        example = f"{name.partition(':')[2]}.spec = {{'inputs': 2, 'outputs': 1, 'dt_s': 0.02}}"
        raise TaskError(f"task: {name!r} has no spec; allowed: a function or a class with {example}")
    return dict(declared)


def _limits(name: str, env: Any, which: str) -> Limits:
    """Return (low, high) of each entry of a space; infinite where it has no limit."""
    space = getattr(env, which, None)
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise TaskError(f"{which}: {space} of {name!r}; allowed: a Box of floats")
    low, high = np.ravel(space.low).astype(float), np.ravel(space.high).astype(float)
    low, high = np.where(low <= -_UNLIMITED, -np.inf, low), np.where(high >= _UNLIMITED, np.inf, high)
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _period(env: Any) -> tuple[float, str]:
    """Return the time between two steps and its source: the task, else ``dt``, else the frames per second."""
    inner = getattr(env, "unwrapped", env)
    if isinstance(task := getattr(inner, "task", None), Task):
        return task.control_dt_s, "the task's control rate"
    if dt_s := _positive(getattr(inner, "dt", None)):
        return dt_s, "the environment's dt"
    if hz := _positive((getattr(env, "metadata", None) or {}).get("render_fps")):
        return 1.0 / hz, f"the environment's metadata['render_fps'], {hz:g} a second"
    return _ASSUMED_DT_S, ""


def _positive(value: Any) -> float:
    """Return a finite number greater than 0 as a float, and 0 for anything else."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return float(value) if number and 0.0 < value < math.inf else 0.0
