"""The cart-pole's own rules."""

import itertools
import math

import numpy as np
import pybullet
import pytest

import sims
from neuroctl import TaskError
from sims.bullet.cartpole import FALLEN_RAD, START, TRACK_M, Baseline, CartPole


@pytest.fixture
def cartpole():
    env = CartPole()
    yield env
    env.close()


def balanced(episode):
    return episode.steps == 1000 and not episode.terminated


def test_starts_fill_the_declared_box_and_nothing_more(cartpole):
    starts = []
    for seed in range(400):
        cartpole.reset(seed=seed)
        joints = pybullet.getJointStates(cartpole._body, cartpole._sensed, physicsClientId=cartpole._client)
        starts.append([joints[0][0], joints[1][0], joints[0][1], joints[1][1]])
    assert (np.abs(starts) <= START).all()
    np.testing.assert_allclose(np.max(starts, axis=0), START, rtol=0.05)
    np.testing.assert_allclose(np.min(starts, axis=0), np.negative(START), rtol=0.05)
    np.testing.assert_allclose(np.mean(starts, axis=0) / START, 0, atol=0.1)


def test_resets_without_a_seed_go_on_drawing(cartpole):
    cartpole.reset(seed=1)
    one, two = cartpole.reset()[0], cartpole.reset()[0]
    assert (one != two).all()
    cartpole.reset(seed=1)
    assert (cartpole.reset()[0] == one).all()


@pytest.mark.parametrize(
    ("start", "force_n"),
    [((2.39, 0, 2, 0), 0), ((-2.39, 0, -2, 0), 0), ((0, 0.4, 0, 2), 0), ((0, -0.4, 0, -2), 0)],
)
def test_beyond_the_track_or_the_angle_it_ends_without_reward(cartpole, start, force_n):
    cartpole.reset(options={"start": start})
    observation, reward, terminated, truncated, info = cartpole.step([force_n])
    assert (reward, terminated, truncated, info) == (0.0, True, False, {"balanced": 0})
    assert abs(observation[0]) > TRACK_M or abs(observation[1]) > FALLEN_RAD
    assert cartpole.observation_space.contains(observation)


def test_a_balanced_step_earns_one_less_the_cost_of_unquiet_control(cartpole):
    cartpole.reset(seed=0)
    last_n = 0.0
    for count, force_n in enumerate((2.0, -3.0, 0.0, 30.0), 1):
        (position_m, angle_rad), reward, terminated, _, info = cartpole.step([force_n])
        applied_n = min(force_n, 10.0)
        cost = abs(angle_rad) / FALLEN_RAD + abs(position_m) / TRACK_M + abs(applied_n) / 10
        assert reward == pytest.approx(1 - 0.1 * (cost + abs(applied_n - last_n) / 20), abs=1e-6)
        assert not terminated
        assert info == {"balanced": count}
        last_n = applied_n


def test_at_rest_a_step_earns_one_and_each_episode_begins_at_rest(cartpole):
    for _ in range(2):
        cartpole.reset(options={"start": (0, 0, 0, 0)})
        assert cartpole.step([0.0])[1:2] == (1.0,)
        cartpole.step([10.0])


def test_balancing_at_full_force_earns_clearly_less_than_balancing_quietly_and_more_than_falling():
    class Chattering(Baseline):
        def act(self, u):
            return (math.copysign(10.0, super().act(u)[0]),)

    (quiet,), (rough,) = (list(sims.records("cartpole", pilot, [0])) for pilot in (Baseline(), Chattering()))
    assert quiet.steps == rough.steps == 1000
    assert quiet.total_return > 985
    assert 600 < rough.total_return < 900


def test_failures_at_full_force_stay_inside_the_observation_space(cartpole):
    for seed, force_n in itertools.product(range(10), (-10.0, 10.0)):
        cartpole.reset(seed=seed)
        terminated = False
        while not terminated:
            observation, _, terminated, _, _ = cartpole.step([force_n])
        assert cartpole.observation_space.contains(observation)


def test_time_limit_truncates():
    env, baseline = sims.make("cartpole"), Baseline()
    observation, _ = env.reset(seed=0)
    for step in range(1, 1001):
        observation, _, terminated, truncated, _ = env.step(baseline.step(observation))
        assert (terminated, truncated) == (False, step == 1000)
    env.close()


@pytest.mark.parametrize(
    "options", [{"state": 1}, {"start": 3}, {"start": (0, 0, 0)}, {"start": (0, np.nan, 0, 0)}, {"start": (3, 0, 0, 0)}]
)
def test_bad_options(cartpole, options):
    with pytest.raises(TaskError, match=r"^options.*; allowed: "):
        cartpole.reset(options=options)


def test_every_start_can_be_recovered():
    assert sum(balanced(episode) for episode in sims.records("cartpole", Baseline(), range(100))) >= 99


def test_the_corners_of_the_start_can_be_recovered(cartpole):
    baseline = Baseline()
    for signs in itertools.product((-1, 1), repeat=4):
        observation, _ = cartpole.reset(options={"start": np.multiply(signs, START)})
        baseline.reset()
        for _ in range(600):
            observation, _, terminated, _, _ = cartpole.step(baseline.step(observation))
            assert not terminated
        assert np.abs(observation).max() < 0.02


def test_same_gains_without_a_memory_never_last_the_episode():
    class Forgetful(Baseline):
        def step(self, u):
            self.reset()
            return super().step(u)

    assert not any(balanced(episode) for episode in sims.records("cartpole", Forgetful(), range(20)))
