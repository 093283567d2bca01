"""A policy and a critic that learn from runs in lanes: each sequence of a group of lanes is a block of the gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout, start_state
from neuroctl.maths.packs import lanes_of
from neuroctl.maths.subnormals import Flushed
from neuroctl.spec import Spec
from neuroctl.train.actors import Pool, Runs
from neuroctl.train.blocks import Block, Key
from neuroctl.train.kernel import gradient_kernel, policy_kernel
from neuroctl.train.losses import FORWARD_ONLY, LOSSES
from neuroctl.train.places import Places
from neuroctl.train.policy_loss import (
    BOUND,
    CLIP,
    CLIPPED,
    D_LOG_STD,
    KL,
    LOG_STD,
    LOSS,
    MEAN,
    SCALE,
    WEIGHT,
    add_advantages,
)
from neuroctl.train.ppo_settings import PPOSettings
from neuroctl.train.starting import start

Array = NDArray[Any]


class _Blocks:
    """Blocks of one kind, each used by one thread at a time."""

    def __init__(self, spec: Spec, places: Places, steps: int, *, resets: bool):
        key = Key(steps, own=False, masked=False, with_inputs=False, resets=resets)
        self._make = partial(Block, spec, places, key, steps)
        self._free: list[Block] = []

    def take(self) -> Block:
        """Return a block that no other thread works on."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give_back(self, block: Block) -> None:
        """Keep a block for the next sequence."""
        self._free.append(block)


class Learner:
    """The gradient of a policy's clipped objective on sequences in which episodes begin.

    Args:
        spec: of the controller, without limits.
        settings: of PPO.
        groups: number of groups of lanes.
        pool: threads.

    """

    def __init__(self, spec: Spec, settings: PPOSettings, groups: int, pool: Pool):
        self.spec, self._settings, self._pool = spec, settings, pool
        self._places, self._width = Places(spec), lanes_of(spec.dtype)
        self._kernel = policy_kernel(spec)
        self._blocks = _Blocks(spec, self._places, settings.sequence, resets=True)
        self._count = groups * (settings.num_steps // settings.sequence)
        self._grads = np.zeros((self._count, self._places.params.size), spec.dtype)
        self._figures = np.zeros((self._count, D_LOG_STD + spec.outputs + 1, 2 * self._width))

    def __call__(
        self, theta: Array, log_std: Array, runs: Runs, chosen: Array, centre: tuple[float, float]
    ) -> tuple[Array, Array, Array]:
        """Return the change of the loss with theta and the logarithms of the deviations, and sums of the figures.

        Args:
            theta: parameters.
            log_std: logarithms of the deviations ``[q]``.
            runs: with advantages.
            chosen: indices of the sequences, rising.
            centre: what is taken off advantages, and their factor.

        """
        coefficients = self._settings
        settings = np.zeros(LOG_STD + len(log_std), self.spec.dtype)
        settings[[CLIP, MEAN, SCALE, BOUND]] = coefficients.clip_coef, *centre, coefficients.bound_coef
        settings[WEIGHT] = 1.0 / (len(chosen) * runs.sequence * 2 * self._width)
        settings[LOG_STD:] = log_std
        first = start_state(self.spec, theta)[:, None, None]
        self._pool(lambda k: self._run(theta, first, settings, runs, k), chosen.tolist())
        grad = self._grads[chosen[0]] * self._places.wired
        figures = self._figures[chosen[0]].sum(axis=1)
        for k in chosen[1:]:
            grad += self._grads[k] * self._places.wired
            figures += self._figures[k].sum(axis=1)
        return grad, figures[D_LOG_STD:-1].astype(self.spec.dtype), figures[[LOSS, KL, CLIPPED]]

    def _run(self, theta: Array, first: Array, settings: Array, runs: Runs, k: int) -> None:
        group, place = runs.samples[k]
        part = slice(place * runs.sequence, (place + 1) * runs.sequence)
        block, figures = self._blocks.take(), self._figures[k]
        places = self._places
        episodes: Any = block.episodes
        np.copyto(block.state, runs.firsts[group, place])
        np.copyto(episodes.start, first)
        for zeros in (block.grad, block.carry, episodes.aside, figures):
            zeros.fill(0)
        packs = partial(_packs, width=self._width)
        lanes = block.lanes
        with Flushed():
            self._kernel.run(
                LOSSES["mse"], theta, packs(runs.resets[group, part]), episodes.start, episodes.begun, episodes.aside,
                episodes.spare, places.sums, settings, figures, block.state, packs(runs.inputs[group, part]), block.out,
                block.d_out.reshape(-1, *block.d_out.shape[2:]), lanes["out"], runs.targets[group, part],
                lanes["weight"][:, 0], lanes["d_out"], block.losses, block.checkpoints, block.segment, places.pieces,
                block.tape, places.tape_row, block.deltas, places.deltas_row, block.carry, places.products,
                places.unlearned_sums, block.grad, block.du, -1, places.ints, places.floats, block.steps_a_sum,
            )  # fmt: skip
        np.copyto(self._grads[k], block.grad)
        self._blocks.give_back(block)


class Critic:
    """The value of states: layers of tanh neurons, an IndRNN whose recurrent weights are 0, and advantages by it.

    Args:
        spec: of the network, an IndRNN with one output.
        settings: of PPO.
        groups: number of groups of lanes.
        pool: threads.

    """

    def __init__(self, spec: Spec, settings: PPOSettings, groups: int, pool: Pool):
        self.spec, self._settings, self._pool = spec, settings, pool
        self._places, self._width = Places(spec), lanes_of(spec.dtype)
        self._kernel, steps = gradient_kernel(spec), settings.num_steps
        self._blocks = _Blocks(spec, self._places, settings.sequence, resets=False)
        self._whole = _Blocks(spec, self._places, steps + 1, resets=False)
        count = groups * (steps // settings.sequence)
        self._grads = np.zeros((count, self._places.params.size), spec.dtype)
        self._losses = np.zeros((count, 2 * self._width))
        self._still = np.ones(self._places.params.size, spec.dtype)
        for name, block in layout(spec).blocks.items():
            self._still[block.part] = 0 if name.startswith("u.") else 1

    def first(self, seed: int) -> Array:
        """Return parameters to start from."""
        theta = start(self.spec, seed) * self._still
        layout(self.spec).views(theta)["W_out"][:] *= 0.1
        return theta

    def advantages(self, theta: Array, runs: Runs, factor: float) -> None:
        """Write advantages and returns, of rewards times a factor, into runs."""
        settings = self._settings
        numbers = np.array([factor, settings.gamma, settings.gae_lambda], self.spec.dtype)

        def work(g: int) -> None:
            values = self._values(theta, runs.critic_inputs_after[g])
            cuts = int(runs.cuts[g])
            after = self._values(theta, runs.at_cut[g]) if cuts else values
            add_advantages(
                runs.rewards[g], values, after, runs.cut_steps[g], cuts, runs.ended[g], runs.cut[g], numbers,
                np.empty(2 * self._width, self.spec.dtype), runs.advantages[g], runs.returns[g],
            )  # fmt: skip

        self._pool(work, range(len(runs.rewards)))

    def _values(self, theta: Array, seen: Array) -> Array:
        """Return the values of states ``[T or T + 1, columns, L]``."""
        block = self._whole.take()
        block.u[: len(seen)] = _packs(seen, self._width)
        self._call(block, FORWARD_ONLY, theta, block.u, block.lanes["target"])
        values: Array = block.lanes["out"][: len(seen), 0].copy()
        self._whole.give_back(block)
        return values

    def gradient(self, theta: Array, runs: Runs, chosen: Array) -> tuple[Array, float]:
        """Return the change of vf_coef times half the mean square of errors with theta, and the mean square."""
        weight = self._settings.vf_coef / (2.0 * len(chosen) * runs.sequence * 2 * self._width)

        def work(k: int) -> None:
            group, place = runs.samples[k]
            part = slice(place * runs.sequence, (place + 1) * runs.sequence)
            block = self._blocks.take()
            block.weight.fill(weight)
            for zeros in (block.grad, block.carry, block.losses):
                zeros.fill(0)
            inputs = _packs(runs.critic_inputs[group, part], self._width)
            self._call(block, LOSSES["mse"], theta, inputs, runs.returns[group, part][:, None])
            np.copyto(self._grads[k], block.grad)
            np.copyto(self._losses[k], block.losses)
            self._blocks.give_back(block)

        self._pool(work, chosen.tolist())
        grad, total = self._grads[chosen[0]] * self._still, float(self._losses[chosen[0]].sum())
        for k in chosen[1:]:
            grad += self._grads[k] * self._still
            total += float(self._losses[k].sum())
        return grad, total / (0.5 * self._settings.vf_coef) if self._settings.vf_coef else total

    def _call(self, block: Block, code: int, theta: Array, inputs: Array, target: Array) -> None:
        places, lanes = self._places, block.lanes
        block.state.fill(0)
        with Flushed():
            self._kernel.run(
                code, theta, block.state, inputs, block.out, block.d_out.reshape(-1, *block.d_out.shape[2:]),
                lanes["out"], target, lanes["weight"][:, 0], lanes["d_out"], block.losses, block.checkpoints,
                block.segment, places.pieces, block.tape, places.tape_row, block.deltas, places.deltas_row, block.carry,
                places.products, places.sums, block.grad, block.du, -1, places.ints, places.floats, block.steps_a_sum,
            )  # fmt: skip


def _packs(rows: Array, width: int) -> Array:
    return rows.reshape(*rows.shape[:-1], 2, width)
