"""Fly the RAPTOR quadrotor policy, which others trained, in floats and as the integers that a microcontroller runs.

J. Eschmann, D. Albani, G. Loianno, "RAPTOR: a foundation policy for quadrotor control", 2025: dense 22-16, a GRU of 16,
dense 16-4, for any quadrotor. It was not trained on this one of 30 g, which it holds in its place in gusts.

pip install foundation-policy
python examples/raptor.py 100                 # starts
"""

import argparse
from importlib import resources

import numpy as np

import firmware_export
import neuroctl as nc
from sims.bullet import quadrotor as quad

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("starts", type=int, nargs="?", default=100)
STARTS = parser.parse_args().starts
ROTORS = (3, 0, 1, 2)  # of the policy's actions, front right first and then clockwise, in the order of quad's
LIMITS = ((-2, 2),) * 3 + ((-1, 1),) * 9 + ((-4, 4),) * 3 + ((-16, 16),) * 3 + ((-1, 1),) * 4


class Quadrotor(quad.Hover):
    """The quadrotor of the task "quadrotor", told what each rotor is to push."""

    def _act(self, values):
        self.actions = np.clip(values, -1, 1)
        pushes = 0.5 * (self.actions[list(ROTORS)] + 1) * self._most_n / self._quarter_n - 1
        signs = np.array([(1, y, -x, s) for x, y, s in quad._ROTORS])
        super()._act((signs.T @ pushes / 4 / quad._MIX).tolist())  # the mix that gives these pushes

    def seen(self):
        """Return place [m], rotation matrix, speed [m/s], rates in the body [rad/s], and the last actions."""
        place, attitude = self._p.getBasePositionAndOrientation(self._body, physicsClientId=self._client)
        speed, rates = self._p.getBaseVelocity(self._body, physicsClientId=self._client)
        turn = np.reshape(self._p.getMatrixFromQuaternion(attitude), (3, 3))
        parts = np.subtract(place, self._target), turn.ravel(), speed, turn.T @ rates, self.actions
        return np.concatenate(parts).astype(np.float32)


def flown(controller, env, seed):
    """Return seconds less meters from the place, as the task counts: up to 20 for 20 s."""
    env.actions = np.zeros(4)
    env.reset(seed=seed)
    controller.reset()
    total = 0.0
    for _ in range(env.task.max_episode_steps):
        _, reward, lost, _, info = env.step(controller.step(env.seen()))
        total += reward
        if lost:
            break
    return total + info["cost"]


checkpoint = resources.files("foundation_policy") / "blob" / "checkpoint.h5"
policy = nc.interop.from_rltools(str(checkpoint), dt_s=0.01, input_limits=LIMITS, output_limits=((-1, 1),) * 4)
integers = policy.quantize()
firmware_export.export(integers, "raptor", name="raptor")
for row in firmware_export.verify("raptor", steps=500, targets=["host", "cortex-m4", "cortex-m0plus"]).targets:
    size = row.footprint
    cost = f", {size.cost_mean:.0f} {size.unit} a step, {size.code_small + size.const} bytes of flash" if size else ""
    print(f"{row.target}, {row.tools}: {row.result}{cost}")
with Quadrotor() as env:
    returns = np.array([[flown(each, env, seed) for each in (policy, integers)] for seed in range(STARTS)])
print(f"floats {returns[:, 0].mean():.3f}, integers {returns[:, 1].mean():.3f} of 20, from {STARTS} starts")
