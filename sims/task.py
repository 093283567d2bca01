"""Task: the properties of an environment that matter to a controller, without creating one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Limits = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Sized:
    """Name, length and limits, which give a controller's sizes, of a task of ours or any other environment.

    Args:
        name: name that the user types.
        max_episode_steps: number of control steps after which an episode is truncated.
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

    Limits are in the units of the names. Inputs stay within theirs during an episode; the environment clips outputs.

    Args:
        env_id: Gymnasium's id.
        entry_point: ``"module:Class"`` of the environment.
        summary: one line for a list of tasks.
        control_hz: control steps per second.
        input_names: names of the observation's entries, in order, with units.
        output_names: names of the action's entries, in order, with units.
        plant: module of a compiled plant; empty for a simulation in PyBullet.
        mirrors: name of the task that a compiled plant mirrors, one in PyBullet or Gymnasium's own: controllers fit
            both. Empty for none.
        search: defaults for a search: options of ``neuroctl evolve`` by their names.
        train: defaults for training by reward: cell, neurons, and settings of PPO by their names.
        gradient: defaults for training by the gradient through a compiled plant, likewise.
        options: arguments of the environment that differ from its defaults.

    Example:
        >>> import sims
        >>> task = sims.get("cartpole")
        >>> task.inputs, task.output_names, task.control_hz
        (2, ('force on the cart [N]',), 60)

    """

    env_id: str
    entry_point: str
    summary: str
    control_hz: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    plant: str = ""
    mirrors: str = ""
    search: Mapping[str, Any] = field(default_factory=dict, hash=False)
    train: Mapping[str, Any] = field(default_factory=dict, hash=False)
    gradient: Mapping[str, Any] = field(default_factory=dict, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def control_dt_s(self) -> float:
        """Time between two control steps, in seconds."""
        return 1.0 / self.control_hz
