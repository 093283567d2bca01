"""SimPlant: a simulated task as the plant of a real-time loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from neuroctl.checks import integer
from neuroctl.errors import TaskError
from neuroctl.signal_names import SIGNAL_NAMES

from .environments import create

Array = NDArray[Any]


class SimPlant:
    """A task that advances one control step per tick: ``write`` makes the step, ``read`` gives its observation.

    After the end of an episode the next one begins, with the next seed. Not safe for use by several threads at once.

    Args:
        task: name of the task, a Gymnasium id, or ``"module:Class"``.
        seed: seed of the first episode, an integer >= 0.
        on_reset: called when a later episode begins, such as a controller's ``reset``.

    Raises:
        TaskError: there is no such task.
        BackendUnavailable: the physics engine is not installed.

    Example:
        >>> import sims
        >>> from neuroctl.realtime import Loop
        >>> plant = sims.SimPlant("cartpole")
        >>> Loop(sims.pretrained("cartpole"), plant).run(ticks=5).reason
        'finished'
        >>> plant.close()

    """

    def __init__(self, task: str, seed: int = 0, on_reset: Callable[[], Any] | None = None):
        self._env = create(task)
        self.task = self._env.about
        self.inputs, self.outputs = self.task.inputs, self.task.outputs
        self.input_names, self.output_names = (getattr(self.task, name, ()) for name in SIGNAL_NAMES)
        # A loop refuses a controller of another time step, unless the environment declares none.
        self.dt_s = self.task.control_dt_s if getattr(self.task, "dt_from", "task") else None
        self._seed, self._on_reset = integer("seed", seed, 0, error=TaskError), on_reset
        self.episodes = 1
        self.total_reward = 0.0
        self._begin()

    def _begin(self) -> None:
        self._observation, self._step = self._env.begin(self._seed + self.episodes - 1, "float64")

    def read(self, u: Array) -> None:
        """Write the last observation into u ``[inputs]``."""
        u[:] = self._observation

    def write(self, y: Array) -> None:
        """Hold the outputs ``[outputs]`` for one control step."""
        self._observation, reward, terminated, truncated, _ = self._step(y)
        self.total_reward += float(reward)
        if terminated or truncated:
            self.episodes += 1
            self._begin()
            if self._on_reset is not None:
                self._on_reset()

    def close(self) -> None:
        """Free the environment."""
        self._env.close()
