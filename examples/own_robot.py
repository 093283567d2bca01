"""Evolve on an environment of your own: any Gymnasium environment with Box spaces will do.

python examples/own_robot.py
"""

import argparse
import tempfile
from pathlib import Path

import gymnasium
import numpy as np

import sims
from neuroctl.evolve import StudyConfig, run_study


class Spring(gymnasium.Env):
    """A mass on a spring, to be brought to rest by pushing it; its speed is not seen."""

    observation_space = gymnasium.spaces.Box(-3.0, 3.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    dt = 0.02

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1, 2)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.v += self.dt * (float(action[0]) - 10.0 * self.x)
        self.x += self.dt * self.v
        return np.array([self.x], np.float32), -(self.x**2 + 0.1 * self.v**2), False, False, {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generations", type=int, nargs="?", default=40)
    generations = parser.parse_args().generations
    posed = sims.problem("own_robot:Spring", neurons=3)
    config = StudyConfig(spec=posed.spec, task=posed.name, generations=generations)
    result = run_study(config, posed.objective, Path(tempfile.mkdtemp()) / "study", workers=2)
    print(f"mean return on unseen starts: {result.best_score:.1f}")
