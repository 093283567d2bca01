"""Groups of lanes in which a policy acts: what goes on from epoch to epoch, and what an epoch leaves to learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.blocks import aligned, thread_count
from neuroctl.backends.plant import Plant
from neuroctl.cells import cell_of, start_state, step_floats, step_ints
from neuroctl.maths.packs import lanes_of
from neuroctl.spec import Spec
from neuroctl.train.optim import State
from neuroctl.train.output_scale import OutputScale
from neuroctl.train.ppo_settings import PPOSettings
from neuroctl.train.rollouts import rollout_kernel

Array = NDArray[Any]


class Pool:
    """Threads that do parts of a work, of which this one is one; compiled code holds no lock."""

    def __init__(self, threads: int | None):
        self.threads = thread_count(threads)
        self._others = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def __call__(self, work: Callable[[Any], None], parts: Iterable[Any]) -> None:
        """Do all parts; what each does must not depend on the others."""
        several = list(parts)
        if self._others is None or len(several) < 2:
            for part in several:
                work(part)
            return
        waiting = iter(several)

        def drain() -> None:
            for part in waiting:
                work(part)

        helpers = [self._others.submit(drain) for _ in range(min(self.threads, len(several)) - 1)]
        drain()
        for helper in helpers:
            helper.result()


class Runs:
    """What an epoch leaves: of G groups of L lanes and T steps, in sequences of S steps.

    Args:
        spec: of the controller that acts.
        plant: what it acts in.
        groups: number of groups.
        settings: of PPO.
        states: numbers of a controller's state.

    """

    def __init__(self, spec: Spec, plant: Plant, groups: int, settings: PPOSettings, states: int):
        width = lanes_of(spec.dtype)
        lanes, steps, self.sequence = 2 * width, settings.num_steps, settings.sequence
        m, q, seen = plant.observations, plant.actions, plant.critic_observations

        def rows(*shape: int) -> Array:
            return aligned((groups, *shape, lanes), spec.dtype)

        self.inputs, self.critic_inputs_after = rows(steps, m), rows(steps + 1, seen)
        self.critic_inputs = self.critic_inputs_after[:, :steps]
        self.at_cut, self.cut_steps = rows(steps, seen), np.zeros((groups, steps), np.int64)
        self.cuts = np.zeros(groups, np.int64)
        self.resets, self.rewards, self.ended, self.cut, self.gatherings = (rows(steps) for _ in range(5))
        self.targets, self.returns = rows(steps, q + 2), rows(steps)
        self.advantages = self.targets[:, :, q + 1]
        self.firsts = aligned((groups, steps // self.sequence, states, 2, width), spec.dtype)
        self.samples = [(g, k) for g in range(groups) for k in range(steps // self.sequence)]
        """Group and place of each sequence."""
        self.each = np.zeros((groups, 3))

    @property
    def figures(self) -> tuple[int, float, float]:
        """Number of episodes that ended, the sum of their rewards, and of their lengths."""
        ended, gained, lasted = self.each.sum(axis=0)
        return int(ended), float(gained), float(lasted)


class Actors:
    """Controllers with shared parameters that act in plants, in groups of lanes.

    Args:
        spec: of the controller, without limits.
        plant: what it acts in.
        max_steps: control steps after which an episode is cut.
        settings: of PPO.
        scale: of its outputs.
        groups: number of groups.
        threads: how many to use; None: one a core.

    """

    def __init__(
        self, spec: Spec, plant: Plant, max_steps: int, settings: PPOSettings, scale: OutputScale, groups: int,
        threads: int | None,
    ):  # fmt: skip
        self.spec, self._plant, self._settings, self._groups = spec, plant, settings, groups
        self.kernel, self.pool = rollout_kernel(spec, plant), Pool(threads)
        self._width = lanes_of(spec.dtype)
        self._states = cell_of(spec).state_layout(spec).size
        self._last, self._scale = float(max_steps), scale
        self._runs = Runs(spec, plant, groups, settings, self._states)
        self._starts = max(1, settings.num_steps // 4)  # of a lane: where episodes are shorter, they come again
        lanes, q = 2 * self._width, plant.actions

        def rows(*shape: int) -> Array:
            return aligned((groups, *shape), spec.dtype)

        self._raw, self._seen = rows(plant.observations, lanes), rows(plant.critic_observations, lanes)
        self._means, self._actions = rows(q, lanes), rows(q, lanes)
        self._start = rows(self._states, 2, self._width)

    def begin(self) -> State:
        """Return what goes on from epoch to epoch, before the first: all lanes are about to begin an episode."""
        groups, lanes, dtype = self._groups, 2 * self._width, self.spec.dtype
        shapes = {
            "x": (len(self._plant.start), lanes), "states": (self._states, 2, self._width),
            "memory": (self._plant.actions, lanes), "age": (lanes,), "fresh": (lanes,), "total": (lanes,),
            "gathered": (lanes,),
        }  # fmt: skip
        state = {name: np.zeros((groups, *shape), dtype) for name, shape in shapes.items()}
        state["fresh"][:] = 1
        return state

    def __call__(
        self, theta: Array, state: State, scales: list[Array], starts: np.random.Generator, noise: np.random.Generator
    ) -> Runs:
        """Act for an epoch, and take ``state`` on, in place.

        Args:
            theta: parameters of the controller.
            state: what goes on, see ``begin``, and the logarithms of the deviations.
            scales: what is taken off inputs, and off the critic's, and their factors, ``[2, columns]`` each.
            starts: source of the starts of episodes.
            noise: source of the noise.

        """
        settings, runs, spec, groups = self._settings, self._runs, self.spec, self._groups
        lanes, steps, q = 2 * self._width, settings.num_steps, self._plant.actions
        drawn = self._plant.draw_starts(starts, groups * self._starts * lanes).astype(spec.dtype)
        begin = np.ascontiguousarray(drawn.reshape(len(drawn), groups, self._starts, lanes).transpose(1, 2, 0, 3))
        eps = noise.standard_normal((groups, steps, q, lanes), np.float32).astype(spec.dtype, copy=False)
        log_std = state["log_std"]
        policy = np.stack([log_std, np.exp(log_std), self._scale.middle, self._scale.half]).astype(spec.dtype)
        memory = settings.noise_memory
        numbers = np.array([spec.dt_s, settings.gamma, memory, math.sqrt(1.0 - memory**2)], spec.dtype)
        self._start[:] = start_state(spec, theta)[:, None, None]
        ints, floats, last = step_ints(spec), step_floats(spec), np.dtype(spec.dtype).type(self._last)
        runs.each[:] = 0

        def act(g: int) -> None:
            runs.cuts[g] = self.kernel.collect(
                theta, state["states"][g], self._start[g], ints, floats, state["x"][g], begin[g],
                np.zeros(lanes, np.int64), state["age"][g], state["fresh"][g], state["memory"][g], state["total"][g],
                state["gathered"][g], eps[g], scales[0], scales[1], policy, numbers, last, self._raw[g], self._seen[g],
                runs.inputs[g], self._packs(runs.inputs[g]), self._means[g], self._packs(self._means[g]),
                self._actions[g], runs.critic_inputs_after[g], runs.resets[g], self._packs(runs.resets[g]),
                runs.targets[g], runs.rewards[g], runs.ended[g], runs.cut[g], runs.gatherings[g], runs.firsts[g],
                runs.sequence, runs.at_cut[g], runs.cut_steps[g], runs.each[g],
            )  # fmt: skip

        self.pool(act, range(groups))
        return runs

    def _packs(self, rows: Array) -> Array:
        return rows.reshape(*rows.shape[:-1], 2, self._width)
