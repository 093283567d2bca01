"""The compiled cart-pole against PyBullet's."""

import numpy as np
import pytest

import sims
from neuroctl.backends.plant import load
from sims.plants import cartpole


def state_of(env):
    """Return positions and velocities in all their digits."""
    slider, hinge = env._p.getJointStates(env._body, env._sensed, physicsClientId=env._client)
    return slider[0], hinge[0], slider[1], hinge[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_step_is_pybullets(seed):
    """Step by step, for errors grow as the pole falls: within 1e-9, under wild forces too, until it has fallen."""
    env, rng, plant = sims.make("cartpole").unwrapped, np.random.default_rng(seed), load(cartpole)
    start = plant.start_of(seed)
    env.reset(seed=seed, options={"start": start[:4]})
    x, over = start, False
    while not over:
        force = rng.uniform(-12.0, 12.0)
        x = cartpole.step((*state_of(env), *x[4:]), (force,), cartpole.DT_S)
        seen, reward, over, _, _ = env.step(np.array([force]))
        np.testing.assert_allclose(x[:4], state_of(env), rtol=0, atol=1e-9)
        np.testing.assert_allclose(cartpole.observe(x), seen, rtol=0, atol=1e-6)
        assert cartpole.reward(x, (force,)) == pytest.approx(reward, abs=1e-9)
        assert cartpole.done(x) == over
    env.close()


def test_a_controller_earns_the_same_in_both():
    """The one that comes with the package, from the starts of a seed in each."""
    ctl = sims.pretrained("cartpole")
    physics, compiled = (sims.score(name, ctl, range(10)) for name in ("cartpole", "cartpole-compiled"))
    assert compiled.mean() == pytest.approx(physics.mean(), rel=0.005)
    assert compiled.min() > 950
