"""Task: what a controller has to know about an environment, without creating one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Limits = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row of the task table. Everything here is known without the physics engine.

    Args:
        name: short name, as typed on the command line.
        env_id: Gymnasium's id.
        entry_point: ``"module:Class"`` of the environment.
        max_episode_steps: control steps after which an episode is truncated.
        summary: one line for a list of tasks.
        control_hz: control steps per second.
        input_names: what the controller reads, with units; in the order of the observation.
        input_limits: (low, high) of each, in those units, while the episode lasts.
        output_names: what the controller drives, with units; in the order of the action.
        output_limits: (low, high) of each; the environment clips to it.
        plant: module of a compiled plant; empty for a simulation in PyBullet.
        search: how to evolve on it where the user does not say: options of ``neuroctl evolve`` by their names.
        options: arguments of the environment that differ from its own defaults.

    """

    name: str
    env_id: str
    entry_point: str
    max_episode_steps: int
    summary: str
    control_hz: int
    input_names: tuple[str, ...]
    input_limits: Limits
    output_names: tuple[str, ...]
    output_limits: Limits
    plant: str = ""
    search: Mapping[str, Any] = field(default_factory=dict, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def inputs(self) -> int:
        """Number of the controller's inputs: the length of an observation."""
        return len(self.input_limits)

    @property
    def outputs(self) -> int:
        """Number of the controller's outputs: the length of an action."""
        return len(self.output_limits)

    @property
    def control_dt_s(self) -> float:
        """Time between two control steps, in seconds."""
        return 1.0 / self.control_hz
