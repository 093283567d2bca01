"""Compiled plants as tasks: thousands of times faster than a physics engine, with the same protocol.

A study evaluates whole populations on SIMD lanes; an integer controller runs in its own compiled loop. ``PlantEnv`` is
the same plant as a Gymnasium environment in plain Python, for a look at an episode step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.backends import get
from neuroctl.backends.plant import Plant, load, next_state
from neuroctl.checks import one_of
from neuroctl.controller import Controller
from neuroctl.errors import TaskError
from neuroctl.evolve import Measure
from neuroctl.evolve.provenance import source_of
from neuroctl.quant import QuantController, QuantizedPopulation
from neuroctl.spec import Spec

from .plants.tasks import TASKS
from .task import Task

Array = NDArray[Any]


def plant_of(task: Task) -> Plant:
    """Return the plant of a compiled task."""
    return load(import_module(task.plant))


class PlantReturn:
    """Fitness of one seeded episode in a compiled plant; ``batch`` computes the fitnesses of a population.

    Args:
        task: a compiled task.
        max_steps: largest number of control steps in an episode; None: the task's own limit.
        measured: whether to return the plant's measures as well, for quality diversity.
        backend: backend of populations, ``"cpu"`` or ``"cuda"``. Their results differ only by rounding.

    Raises:
        BackendUnavailable: the backend is unknown or not available on this machine.
        TaskError: ``measured`` is true and the plant has no measures.

    """

    def __init__(self, task: Task, max_steps: int | None = None, *, measured: bool = False, backend: str = "cpu"):
        self.task, self.max_steps, self._measured = task, max_steps or task.max_episode_steps, measured
        get(backend)
        self._backend = backend
        self._plant = plant_of(task)
        if measured and not self._plant.has("measures"):
            raise TaskError(f"task: {task.name!r} has no measures; allowed for quality diversity: phototaxis")

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Measures returned after the fitness; empty unless ``measured``."""
        return tuple(Measure(*row) for row in self._plant.module.MEASURES) if self._measured else ()

    def __call__(self, controller: Any, seed: int) -> Any:
        """Return the fitness of one episode, or, if ``measured``, a tuple of the fitness and the measures.

        Raises:
            TaskError: the controller is neither a ``Controller`` nor a ``QuantController``, or does not fit.

        """
        if not isinstance(controller, (Controller, QuantController)):
            raise TaskError(
                f"controller: {type(controller).__name__}; allowed in a compiled plant: Controller, QuantController"
            )
        start = np.array(self._plant.start_of(seed))
        if isinstance(controller, QuantController):
            episodes = get("cpu").rollout_quantized(
                [controller], self._plant.module, self.max_steps, starts=start, threads=1
            )
        else:
            episodes = get("cpu").rollout(
                controller.spec, controller.theta, self._plant.module, self.max_steps, starts=start, threads=1
            )
        values = self._values(episodes)[0]
        return tuple(values.tolist()) if self._measured else float(values[0])

    def batch(self, spec: Spec, theta: Array, seeds: Sequence[int], threads: int) -> Array:
        """Return fitness and measures ``[P, seeds, 1 + measures]`` of parameters ``[P, n_params]``.

        On the CPU they have the same bits as single calls.
        """
        rollout = get(self._backend).rollout

        def run(times: int, **options: Any) -> Any:
            columns = np.ascontiguousarray(np.repeat(theta, times, axis=0).T)
            return rollout(spec, columns, self._plant.module, self.max_steps, **options)

        return self._batch(len(theta), seeds, threads, run)

    def batch_quantized(self, controllers: QuantizedPopulation, seeds: Sequence[int], threads: int) -> Array:
        """Return fitness and measures ``[P, seeds, 1 + measures]`` of P integer controllers.

        On the CPU they have the same bits as single calls.
        """
        rollout = get(self._backend).rollout_quantized

        def run(times: int, **options: Any) -> Any:
            return rollout(controllers.repeat(times), self._plant.module, self.max_steps, **options)

        return self._batch(len(controllers), seeds, threads, run)

    def _batch(self, count: int, seeds: Sequence[int], threads: int, run: Callable[..., Any]) -> Array:
        """Return values of ``count`` controllers; ``run`` gives their episodes, each as often as told."""
        # With a single start all seeds give the same episode: run it once.
        distinct = list(seeds[:1]) if self._plant.same_start else list(seeds)
        if not distinct or not count:
            return np.zeros((count, len(seeds), 1 + len(self.measures)))
        starts = np.array([self._plant.start_of(seed) for seed in distinct])
        episodes = run(
            len(distinct),
            starts=np.ascontiguousarray(np.tile(starts, (count, 1)).T),
            threads=threads if self._backend == "cpu" else None,
        )
        values = self._values(episodes).reshape(count, len(distinct), -1)
        return np.repeat(values, len(seeds), axis=1) if self._plant.same_start else values

    def _values(self, episodes: Any) -> Array:
        fitness = np.asarray(episodes.fitness, np.float64)[:, None]
        if not self._measured:
            return fitness
        return np.concatenate([fitness, [self._plant.module.measures(tuple(x)) for x in episodes.final.T]], axis=1)

    def observations(self, controller: Any, seed: int) -> Array:
        """Return the controller's inputs in one episode of T control steps, float32[T, inputs]."""
        env, over = PlantEnv(self.task.name), False
        rows: list[Array] = []
        controller.reset()
        u, _ = env.reset(seed=seed)
        while not over and len(rows) < self.max_steps:
            rows.append(u)
            u, _, ended, cut, _ = env.step(controller.step(u.astype(controller.spec.dtype)))
            over = ended or cut
        return np.array(rows)

    def made_of(self) -> dict[str, str]:
        """Return digests and versions of the fitness's sources; see ``neuroctl.evolve.provenance``."""
        return source_of(self._plant.module.fitness) | {"objective": repr(self)}

    def __getstate__(self) -> dict[str, Any]:
        arguments = {"max_steps": self.max_steps, "measured": self._measured, "backend": self._backend}
        return {"task": self.task} | arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"PlantReturn({self.task.name!r}, max_steps={self.max_steps})"


class PlantEnv(gymnasium.Env[Array, Array]):
    """A compiled plant as a Gymnasium environment, in plain Python with float64 arithmetic.

    The reward is 0 until the last step, and there the plant's fitness. An episode's return is therefore its fitness.

    Args:
        task: name of a compiled task.
        render_mode: None, the only mode; a compiled plant has no picture.
        unused: ignored.

    Raises:
        TaskError: ``render_mode`` is not None.

    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, task: str, render_mode: str | None = None, **unused: Any):
        if render_mode is not None:
            raise TaskError(f"render_mode: {render_mode!r}; allowed for {task}: None, a compiled plant has no picture")
        tasks = {entry.name: entry for entry in TASKS}
        self.task = tasks[one_of("task", task, tasks, error=TaskError)]
        self.render_mode = None
        self.metadata = self.metadata | {"render_fps": self.task.control_hz}
        self._plant = plant_of(self.task)
        low, high = np.array(self.task.output_limits, np.float32).T
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.task.inputs,), np.float32)
        self._x: tuple[float, ...] = self._plant.start

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode in the start state of the seed; without a seed, in the plant's ``START``.

        Returns:
            The observation, float32[inputs], and an empty dict.

        """
        super().reset(seed=seed)
        self._x = self._plant.start if seed is None else self._plant.start_of(seed)
        self._rewards: list[float] = []
        return self._observed(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance by one control step under an action, float32[outputs].

        Returns:
            Observation, reward, terminated, truncated, and an empty dict.

        Raises:
            TaskError: the action has a NaN or Inf.

        """
        if not np.isfinite(action).all():
            raise TaskError(f"action: {np.asarray(action).tolist()}; allowed: finite numbers")
        module, a = self._plant.module, tuple(float(v) for v in action)
        self._x = next_state(self._plant, self._x, a, self.task.control_dt_s)
        self._rewards.append(float(module.reward(self._x, a)) if self._plant.has("reward") else 0.0)
        over = bool(module.done(self._x)) if self._plant.has("done") else False
        last = over or len(self._rewards) >= self.task.max_episode_steps
        return self._observed(), self._fitness() if last else 0.0, over, last and not over, {}

    def privileged(self) -> Array:
        """Return what the plant's ``critic`` sees, float32; without one, the observation."""
        module = self._plant.module
        return np.array((module.critic if self._plant.has("critic") else module.observe)(self._x), np.float32)

    def _observed(self) -> Array:
        return np.array(self._plant.module.observe(self._x), np.float32)

    def _fitness(self) -> float:
        recent = sum(self._rewards[-self._plant.window :])
        return float(self._plant.module.fitness(self._x, len(self._rewards), sum(self._rewards), recent))
