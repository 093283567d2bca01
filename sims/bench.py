"""Cost of a task and its controller over the physics engine's own step."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from neuroctl.controller import Controller

from . import registry


@dataclass(frozen=True)
class Overhead:
    """Times of one control step, medians of several episodes.

    Args:
        physics_us: inside ``stepSimulation``: the robot, its contacts and its motors.
        task_us: in the rest of the task: sensors, action, reward and end.
        controller_us: the controller's step.

    """

    physics_us: float
    task_us: float
    controller_us: float

    @property
    def share(self) -> float:
        """Times of task and controller as a share of the physics engine's."""
        return (self.task_us + self.controller_us) / self.physics_us


class _Timed:
    """The physics engine, with its steps timed."""

    def __init__(self, engine: Any):
        self._engine = engine
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._engine, name)
        setattr(self, name, value)  # looked up directly from now on, as in the engine itself
        return value

    def stepSimulation(self, **client: int) -> None:  # noqa: N802
        begin = perf_counter()
        self._engine.stepSimulation(**client)
        self.seconds += perf_counter() - begin


def overhead(task: str, *, episodes: int = 5, neurons: int = 8, seed: int = 0) -> Overhead:
    """Measure a task under its baseline, which makes realistic contacts.

    Args:
        task: name of one that runs in PyBullet.
        episodes: number of episodes for the medians.
        neurons: number of neurons of the CTRNN that is stepped beside it; its outputs are not used.
        seed: seed of the first episode.

    Raises:
        TaskError: there is no such task, or it has no baseline.

    """
    pilot, ctl = registry.baseline(task), Controller(registry.controller_spec(task, neurons), seed=1)
    env: Any = registry.make(task).unwrapped
    env._p = engine = _Timed(env._p)
    rows = []
    try:
        for number in range(episodes + 1):
            observation, _ = env.reset(seed=seed + number)
            pilot.reset()
            engine.seconds = total = stepping = 0.0
            steps, over = 0, False
            while not over and steps < registry.get(task).max_episode_steps:
                action = pilot.step(observation)
                begin = perf_counter()
                ctl.step(observation)
                middle = perf_counter()
                observation, _, over, _, _ = env.step(action)
                total += perf_counter() - middle
                stepping += middle - begin
                steps += 1
            rows.append((engine.seconds / steps, (total - engine.seconds) / steps, stepping / steps))
    finally:
        env.close()
    return Overhead(*(1e6 * np.median(rows[1:], axis=0)))  # the first episode warms the caches
