"""Imitation in a task: episodes in which a teacher watches a student, and the teachers that a user can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

import neuroctl as nc
from neuroctl.checks import integer, shown
from neuroctl.errors import TaskError
from neuroctl.interop.onnx_policy import OnnxPolicy

from . import registry
from .environments import Environment, Stepped, create
from .episodes import run_episode
from .modules import imported

Array = NDArray[Any]


class TeachingEpisode:
    """Runs one seeded episode of a task for ``neuroctl.train.dagger`` and ``demonstrate``.

    Args:
        task: name of a task, a Gymnasium id, or ``"module:Class"`` of the user's.
        privileged: show the teacher what the environment's method ``privileged`` returns, such as velocities that no
            sensor gives, instead of the observation.
        max_steps: control steps of an episode; None: the task's own limit.

    Raises:
        TaskError: there is no such environment, or it cannot be made.

    Example:
        >>> import sims
        >>> episode = sims.TeachingEpisode("phototaxis", max_steps=20)
        >>> spec = sims.controller_spec("phototaxis", neurons=4, cell="elman")
        >>> nc.train.demonstrate(spec, lambda eyes: eyes[::-1], episode, seeds=range(2)).steps
        40

    """

    def __init__(self, task: str, *, privileged: bool = False, max_steps: int | None = None):
        self._env: Environment = create(task)
        self._privileged = privileged
        own = self._env.about.max_episode_steps
        self._max_steps = own if max_steps is None else integer("max_steps", max_steps, 1, error=TaskError)

    def __call__(self, controller: Any, seed: int) -> float:
        """Reset the controller, run the episode of a seed and return the sum of its rewards."""
        env = _Telling(self._env, controller.watch) if self._privileged else self._env
        return run_episode(env, controller, seed, self._max_steps)


class _Telling:
    """An environment that tells what a teacher may see, before each step."""

    def __init__(self, env: Environment, watch: Callable[[Any], None]):
        self._env, self._watch = env, watch
        self.about, self.render, self.feet_down, self.close = env.about, env.render, env.feet_down, env.close
        self.privileged = env.privileged

    def begin(self, seed: int, dtype: str) -> tuple[Array, Callable[[Any], Stepped]]:
        """Begin an episode; see ``Environment``."""
        observation, advance = self._env.begin(seed, dtype)
        self._watch(self.privileged())

        def step(action: Any) -> Stepped:
            stepped = advance(action)
            self._watch(self.privileged())
            return stepped

        return observation, step


def teacher(name: str, task: str) -> Any:
    """Return a teacher by the name that a user types.

    Args:
        name: ``"baseline"``, the task's hand-made controller; a controller's file, float or integer; an ONNX file of a
            policy; or ``"module:name"``: a function of an observation, or a class whose objects have ``step``.
        task: whose ``"baseline"`` it is.

    Raises:
        TaskError: there is nothing of that name.
        FileFormatError: the file cannot be read.
        InteropError: the ONNX file is no policy.

    """
    if name == "baseline":
        return registry.baseline(task)
    if name.endswith(".npz"):
        return nc.load(name)
    if name.endswith(".onnx"):
        return OnnxPolicy(name)
    if ":" not in name:
        allowed = "baseline, a file .npz or .onnx, or module:name of yours"
        raise TaskError(f"teacher: {shown(name)}; allowed: {allowed}")
    made_by = imported(name)
    return made_by() if isinstance(made_by, type) else made_by
