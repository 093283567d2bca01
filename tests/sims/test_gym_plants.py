"""Plants with Gymnasium's own equations: each step's bits in float64, rewards, and controllers that run in both."""

import math
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl.backends.plant import load
from sims import compiled
from sims.plants import (
    cart_pole,
    cart_pole_positions,
    cart_pole_velocities,
    mountain_car,
    mountain_car_positions,
    pendulum,
    pendulum_positions,
)

STEPS = 2000


@pytest.fixture
def c_library(monkeypatch):
    """NumPy's own sine may round otherwise than the C library's, which plants have in Python."""
    from gymnasium.envs.classic_control import cartpole
    from gymnasium.envs.classic_control import pendulum as swing

    numpy = {name: getattr(np, name) for name in ("square", "array", "float64", "float32", "clip", "pi", "inf")}
    for module in (cartpole, swing):
        monkeypatch.setattr(module, "np", SimpleNamespace(**numpy, sin=math.sin, cos=math.cos))


def started(name, state):
    env = gymnasium.make(name).unwrapped
    env.reset(seed=0)
    env.state = np.array(state)
    return env


@pytest.mark.parametrize("seed", range(5))
def test_cart_pole(seed, c_library):
    """Gymnasium's own bits under its two forces, until the pole has fallen."""
    x = load(cart_pole).start_of(seed)
    env, rng, steps = started("CartPole-v1", x), np.random.default_rng(seed), 0
    assert np.abs(x).max() <= 0.05
    ended = False
    while not ended:
        right = int(rng.integers(2)) if rng.random() < 0.3 else int(x[2] + x[3] > 0)
        x = cart_pole.step(x, (20.0 * right - 10.0,), 0.02)
        _, reward, ended, _, _ = env.step(right)
        assert np.array_equal(env.state, x)
        assert (reward, ended) == (cart_pole.reward(x, (0.0,)), cart_pole.done(x))
        steps += 1
    assert steps > 8
    assert cart_pole.step((0.1, 0.2, 0.1, 0.3), (99.0,), 0.02) == cart_pole.step((0.1, 0.2, 0.1, 0.3), (10.0,), 0.02)


def test_pendulum(c_library):
    """Over many turns; Gymnasium's remainder rounds otherwise, by less than 1e-11 of the reward."""
    x = load(pendulum).start_of(1)
    env, rng = started("Pendulum-v1", x[:2]), np.random.default_rng(1)
    assert abs(x[1]) <= 1
    for t in range(STEPS):
        torque = math.copysign(3.0, x[1]) if t % 4 else rng.normal()  # beyond the limit too
        x = pendulum.step(x, (torque,), 0.05)
        observation, reward, _, _, _ = env.step(np.array([torque]))
        assert np.array_equal(env.state, x[:2])
        assert np.array_equal(observation, np.array(pendulum.observe(x), np.float32))
        assert pendulum.reward(x, (torque,)) == pytest.approx(reward, rel=1e-11, abs=1e-11)
    assert abs(x[0]) > 20


def test_mountain_car():
    """Gymnasium rounds its state to float32: each step begins where the plant's does."""
    x = load(mountain_car).start_of(2)
    env, rng, reached = started("MountainCarContinuous-v0", x), np.random.default_rng(2), 0
    for t in range(STEPS):
        force = 1.5 * math.copysign(1.0, x[1]) if t % 3 else rng.normal()
        env.state = np.array(x)
        x = mountain_car.step(x, (force,), 1 / 30)
        observation, reward, ended, _, _ = env.step(np.array([force]))
        assert np.array_equal(observation, np.array(x, np.float32))
        assert (reward, ended) == (mountain_car.reward(x, (force,)), mountain_car.done(x))
        reached += ended
        if ended:
            x = (-0.5 + 0.1 * rng.normal(), 0.0)
    assert reached > 3
    assert mountain_car.step((-1.19, -0.05), (0.0,), 1 / 30) == (-1.2, 0.0)


@pytest.mark.parametrize(
    ("plant", "base", "seen"),
    [
        (cart_pole_positions, cart_pole, (0, 2)),
        (cart_pole_velocities, cart_pole, (1, 3)),
        (pendulum_positions, pendulum, (0, 1)),
        (mountain_car_positions, mountain_car, (0,)),
    ],
)
def test_what_is_not_seen(plant, base, seen):
    hidden, whole = load(plant), load(base)
    x = whole.start_of(3)
    assert hidden.start_of(3) == x
    assert hidden.module.observe(x) == tuple(base.observe(x)[k] for k in seen)
    assert hidden.module.critic(x) == base.critic(x)
    assert hidden.module.step(x, (0.5,), 0.05) == base.step(x, (0.5,), 0.05)


def test_costs_are_smallest_at_the_goal():
    assert cart_pole.cost((0.0,) * 4, (0.0,)) == pendulum.cost((0.0,) * 3, (0.0,)) == 0
    assert pendulum.cost((math.pi, 0.0, 0.0), (0.0,)) == 4
    # Without a force the car's energy, and so what it lacks, changes by the steps' error alone.
    x = (-0.9, 0.0)
    costs = []
    for _ in range(200):
        x = mountain_car.step(x, (0.0,), 1 / 30)
        costs.append(mountain_car.cost(x, (0.0,)))
    assert np.ptp(costs) < 0.15
    assert mountain_car.cost((0.5236, 0.0), (0.0,)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["gym-pendulum", "gym-mountain-car"])
def test_a_controller_runs_in_gymnasium_too(name):
    """One that was made for the plant has about the same return in what the plant mirrors."""
    task = sims.get(name)
    ctl = nc.Controller(sims.controller_spec(name, 4), seed=3)
    env = gymnasium.make(task.mirrors)
    seed = 5
    start = env.reset(seed=seed)[0]
    x = load(compiled.plant_of(task).module).start_of(seed)
    assert env.observation_space.shape == (task.inputs,) and len(start) == task.inputs
    env.unwrapped.state = np.array(x[:2])
    plant = sims.make(name)
    plant.reset(seed=seed)
    returned = {}
    for each in (env, plant):
        ctl.reset()
        total, over = 0.0, False
        u = np.array(compiled.plant_of(task).module.observe(x), np.float32)
        while not over:
            u, reward, ended, cut, _ = each.step(ctl.step(u))
            total, over = total + reward, ended or cut
        returned[each] = total
    assert returned[plant] == pytest.approx(returned[env], rel=1e-3)
    assert sims.score(task.mirrors, ctl, [1]).shape == (1,)
