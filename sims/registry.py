"""The table of tasks. A new task needs one file that defines ``TASK``, and one line in ``TASKS``."""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import gymnasium

from neuroctl import io
from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import TaskError
from neuroctl.spec import Spec

from .bullet import (
    arm,
    cartpole,
    double_pole,
    hexapod,
    minitaur,
    quadrotor,
    quadrotor_sensed,
    quadruped,
    rover_avoid,
    rover_wall,
    t_maze,
)
from .plants.tasks import TASKS as COMPILED_TASKS
from .scripted import Scripted
from .task import Task

TASKS: Final[Mapping[str, Task]] = MappingProxyType(
    {
        task.name: task
        for task in (
            cartpole.TASK,
            double_pole.TASK,
            quadruped.TASK,
            quadrotor.HOVER,
            quadrotor.WAYPOINTS,
            quadrotor_sensed.TASK,
            rover_wall.TASK,
            rover_avoid.TASK,
            t_maze.TASK,
            hexapod.TASK,
            minitaur.TASK,
            arm.TASK,
            # The next task's line goes here.
            *COMPILED_TASKS,
        )
    }
)

_IDS: Final = {task.env_id: task.name for task in TASKS.values()}

CONTROLLERS: Final = Path(__file__).parent / "controllers"
"""Folder of the pretrained controllers, one file per task name."""


def names() -> list[str]:
    """Return the names of all tasks, sorted."""
    return sorted(TASKS)


def known(name: str) -> bool:
    """Return whether a name or Gymnasium id, with or without options, belongs to a task.

    Raises:
        TaskError: ``name`` is not a string.

    """
    if not isinstance(name, str):
        raise TaskError(f"task: {shown(name)}; allowed: a task's name, a Gymnasium id, or 'module:name' of yours")
    return _plain(name.partition(",")[0]) in TASKS


def _plain(name: str) -> str:
    """Return a task's name from its Gymnasium id; other names as they are."""
    return _IDS.get(name, name)


def get(name: str) -> Task:
    """Return the task of a name or Gymnasium id. Options may follow the name: ``cartpole,noise=0.02,latency=1``.

    Option values are checked later, when the environment is created.

    Raises:
        TaskError: ``name`` is not a string, there is no such task or option, or an option lacks a value or is given
            twice. The message lists the allowed names.

    """
    if not isinstance(name, str):
        raise TaskError(f"task: {name!r} is not a name; allowed: {', '.join(names())}")
    plain, *options = name.split(",")
    plain = _plain(plain)
    if plain in TASKS:
        return replace(TASKS[plain], name=name, options=_options(TASKS[plain], options)) if options else TASKS[plain]
    close = difflib.get_close_matches(plain.lower(), names(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise TaskError(f"task: {name!r} is unknown; {hint}allowed: {', '.join(names())}")


def environment(task: Task) -> Any:
    """Return the class of a task's environment, without creating one."""
    module, _, attribute = task.entry_point.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _options(task: Task, texts: Sequence[str]) -> dict[str, Any]:
    allowed = () if task.plant else environment(task).options
    options: dict[str, Any] = {}
    for text in texts:
        option, _, value = text.partition("=")
        if option not in allowed or not value:
            hint = f"{', '.join(allowed)}, each with = and a value" if allowed else "none"
            raise TaskError(f"options of {task.name!r}: {text!r}; allowed: {hint}")
        if option in options:
            raise TaskError(f"options of {task.name!r}: {option} is given twice; allowed: once")
        options[option] = _value(value)
    return options


def _value(text: str) -> Any:
    """Return a text as a number or bool if it is one: the environment checks its arguments."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def make(name: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Create a task's environment with its time limit, as ``gymnasium.make`` does.

    Args:
        name: name of the task, with or without options.
        kwargs: further arguments for the environment (``render_mode``, ``width``, ``height``) or ``gymnasium.make``.

    Raises:
        TaskError: there is no such task, or the environment refuses an argument.
        BackendUnavailable: the physics engine is not installed.

    """
    task = get(name)
    # Gymnasium's checker repeats at every step what the tests of this package check once.
    kwargs.setdefault("disable_env_checker", True)
    try:
        return gymnasium.make(task.env_id, **{**task.options, **kwargs})
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise TaskError(f"options of {task.name!r}: {kwargs!r}; allowed: those of docs/tasks.md") from error


def baseline(name: str) -> Scripted:
    """Return a task's hand-written controller, the class ``Baseline`` in the task's file.

    Raises:
        TaskError: there is no such task, or it has no baseline.

    """
    task = get(name)
    if task.plant:
        have = ", ".join(name for name in names() if not TASKS[name].plant)
        raise TaskError(f"task: {name!r} has no baseline; allowed: {have}")
    controller: Scripted = importlib.import_module(task.entry_point.partition(":")[0]).Baseline()
    return controller


def pretrained(name: str) -> Controller:
    """Return the pretrained controller of a task name or Gymnasium id; see docs/gallery.md.

    Raises:
        TaskError: there is no such task, or it has no pretrained controller.

    """
    plain = _plain(str(name).partition(",")[0])
    files = {file.stem: file for file in sorted(CONTROLLERS.glob("*.npz"))}
    if plain not in files:
        raise TaskError(f"task: no controller comes with {get(plain).name!r}; allowed: {', '.join(files)}")
    model = io.load_model(files[plain])
    return Controller(model.spec, model.theta, meta=model.meta)


def controller_spec(task_name: str, neurons: int = 8, cell: str = "ctrnn") -> Spec:
    """Return a controller's Spec with the sizes, limits, names and time step of a task.

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
        input_names=task.input_names,
        output_names=task.output_names,
    )


def register() -> None:
    """Register every task with Gymnasium; doing it twice changes nothing."""
    for task in TASKS.values():
        if task.env_id not in gymnasium.registry:
            options = {"task": task.name} if task.plant else {}
            gymnasium.register(
                id=task.env_id, entry_point=task.entry_point, max_episode_steps=task.max_episode_steps, kwargs=options
            )
