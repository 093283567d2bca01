"""The task table. A new task is one file with a ``TASK`` in it, and its line in ``TASKS``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import gymnasium

from neuroctl.errors import TaskError
from neuroctl.spec import Spec
from sims import compiled
from sims.bullet import arm, cartpole, double_pole, hexapod, minitaur, quadrotor, quadruped, t_maze
from sims.task import Task

TASKS: Final[Mapping[str, Task]] = MappingProxyType(
    {
        task.name: task
        for task in (
            cartpole.TASK,
            double_pole.TASK,
            quadruped.TASK,
            quadrotor.HOVER,
            quadrotor.WAYPOINTS,
            t_maze.TASK,
            hexapod.TASK,
            minitaur.TASK,
            arm.TASK,
            # The next task's line goes here.
            *compiled.TASKS,
        )
    }
)


def names() -> list[str]:
    """Return the names of all tasks, sorted."""
    return sorted(TASKS)


def get(name: str) -> Task:
    """Look a task up by its name.

    Raises:
        TaskError: there is no such task; the message names the nearest one and all that exist.

    """
    if not isinstance(name, str):
        raise TaskError(f"task: {name!r} is not a name; allowed: {', '.join(names())}")
    if name in TASKS:
        return TASKS[name]
    close = difflib.get_close_matches(name.lower(), names(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise TaskError(f"task: {name!r} is unknown; {hint}allowed: {', '.join(names())}")


def make(name: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Create a task's environment with its time limit, as ``gymnasium.make`` does.

    Args:
        name: of the task.
        kwargs: for the environment (``render_mode``, ``width``, ``height``) or for ``gymnasium.make``.

    Raises:
        TaskError: there is no such task, or the environment refuses an argument.
        BackendUnavailable: the physics engine is not installed.

    """
    task = get(name)
    # Gymnasium's checker repeats at every step what the tests of this package check once.
    kwargs.setdefault("disable_env_checker", True)
    return gymnasium.make(task.env_id, **kwargs)


def controller_spec(task_name: str, neurons: int = 8, cell: str = "ctrnn") -> Spec:
    """Return the Spec of a controller that fits a task: its sizes, limits and time step.

    Raises:
        TaskError: there is no such task.
        SpecError: neurons or cell is not allowed.

    """
    task = get(task_name)
    return Spec(
        cell=cell,
        inputs=task.inputs,
        neurons=neurons,
        outputs=task.outputs,
        dt_s=task.control_dt_s,
        input_limits=task.input_limits,
        output_limits=task.output_limits,
    )


def register() -> None:
    """Register every task with Gymnasium; doing it twice changes nothing."""
    for task in TASKS.values():
        if task.env_id not in gymnasium.registry:
            options = {"task": task.name} if task.plant else {}
            gymnasium.register(
                id=task.env_id, entry_point=task.entry_point, max_episode_steps=task.max_episode_steps, kwargs=options
            )
