"""Task: what a controller has to know about an environment, without creating one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Limits = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Sized:
    """What a controller's sizes follow from, in a task of ours or in any other environment.

    Args:
        name: what the user types.
        max_episode_steps: control steps after which an episode is truncated.
        input_limits: (low, high) of each observation.
        output_limits: (low, high) of each action.

    """

    name: str
    max_episode_steps: int
    input_limits: Limits
    output_limits: Limits

    @property
    def inputs(self) -> int:
        """Number of the controller's inputs: the length of an observation."""
        return len(self.input_limits)

    @property
    def outputs(self) -> int:
        """Number of the controller's outputs: the length of an action."""
        return len(self.output_limits)


@dataclass(frozen=True, kw_only=True)
class Task(Sized):
    """One row of the task table. Everything here is known without the physics engine.

    The limits of a task are in the units of its names: those of inputs hold while an episode lasts, and the environment
    clips to those of outputs.

    Args:
        env_id: Gymnasium's id.
        entry_point: ``"module:Class"`` of the environment.
        summary: one line for a list of tasks.
        control_hz: control steps per second.
        input_names: what the controller reads, with units; in the order of the observation.
        output_names: what the controller drives, with units; in the order of the action.
        plant: module of a compiled plant; empty for a simulation in PyBullet.
        search: how to evolve on it where the user does not say: options of ``neuroctl evolve`` by their names.
        options: arguments of the environment that differ from its own defaults.

    """

    env_id: str
    entry_point: str
    summary: str
    control_hz: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    plant: str = ""
    search: Mapping[str, Any] = field(default_factory=dict, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def control_dt_s(self) -> float:
        """Time between two control steps, in seconds."""
        return 1.0 / self.control_hz
