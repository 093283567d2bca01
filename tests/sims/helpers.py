"""Controllers that need no training, and rollouts under a fixed sequence of forces."""

from types import SimpleNamespace

import numpy as np


class Noisy:
    """Forces drawn from a seeded generator: the same sequence after each reset. Can be pickled."""

    def __init__(self, inputs=2, outputs=1, force_n=2.0):
        self.spec = SimpleNamespace(inputs=inputs, outputs=outputs)
        self.force_n = force_n
        self.state = np.zeros(3, np.float32)
        self._y = np.zeros(outputs, np.float32)
        self.reset()

    def reset(self):
        self._random = np.random.default_rng(7)
        self.state[:] = 0

    def step(self, u):
        assert u.dtype == np.float32 and u.shape == (self.spec.inputs,) and u.flags.c_contiguous
        self.state[0] += 1
        self._y[:] = self._random.uniform(-self.force_n, self.force_n, len(self._y))
        return self._y


def rollout(env, seed, steps, share=0.05):
    """Return ``steps + 1`` observations under seeded random actions, within a share of their range, beyond failure."""
    low, high = env.action_space.low.astype(float), env.action_space.high.astype(float)
    drawn = np.random.default_rng(seed).uniform(-share, share, (steps, len(low)))
    observations = [env.reset(seed=seed)[0]]
    observations += [env.step(0.5 * (low + high) + 0.5 * (high - low) * row)[0] for row in drawn]
    return np.stack(observations)
