"""Quiet control: pretrained controllers come to rest, and the tasks' effort is what it says."""

import numpy as np
import pytest

import sims
from neuroctl import io
from sims.bullet.effort import Effort

FORMS = ("float", "fixed point")


def pretrained(task, form):
    ctl = sims.pretrained(task)
    if form == "float":
        return ctl
    return ctl.quantize(calibration=io.load_model(sims.registry.CONTROLLERS / f"{task}.npz").calibration)


def rms(values, axis=None):
    return np.sqrt(np.mean(np.square(values), axis=axis))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("task", "most_n"), [("cartpole", 0.1), ("double-pole", 0.3)])
def test_poles_come_to_rest(task, form, most_n):
    """Over second halves from 100 starts, at worst: 0.10 degrees, 0.02 N; with two poles 0.40 degrees, 0.14 N."""
    for episode in sims.records(task, pretrained(task, form), range(5000, 5012)):
        assert (episode.steps, episode.terminated) == (1000, False)
        assert np.rad2deg(rms(episode.observations[500:, 1:], axis=0)).max() < 0.6
        assert rms(episode.actions[500:]) < most_n


@pytest.mark.filterwarnings("ignore:calibration")  # waypoints are up to 2 m apart, the declared inputs end at 1 m
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("task", "most"), [("quadrotor", 0.1), ("waypoints", 0.3)])
def test_a_quadrotor_flies_without_switching_between_its_limits(task, form, most):
    """Over second halves from 100 starts, at worst: 0.040, changed by 0.005 a step; to waypoints 0.18 and 0.038."""
    for episode in sims.records(task, pretrained(task, form), range(5000, 5004)):
        assert (episode.steps, episode.terminated) == (2400, False)
        actions = np.clip(episode.actions[1200:], -1, 1)
        assert rms(actions) < most
        assert rms(np.diff(actions, axis=0)) < most / 3


def test_effort_is_the_mean_share_of_actions_and_of_their_changes():
    effort = Effort((2.0, 4.0))
    assert effort.of([1.0, -4.0]) == pytest.approx((0.5 + 1.0) / 2 + (0.25 + 0.5) / 2)
    assert effort.of([1.0, 4.0]) == pytest.approx((0.5 + 1.0) / 2 + (0.0 + 1.0) / 2)
    effort.reset()
    assert effort.of([0.0, 0.0]) == 0.0


@pytest.mark.parametrize("task", ["quadrotor", "waypoints"])
def test_a_flight_earns_its_nearness_less_the_cost_of_effort(task):
    env = sims.make(task).unwrapped
    for seed in (1, 2):  # the second episode begins anew
        env.reset(seed=seed)
        last, costs = np.zeros(4), 0.0
        for action in np.random.default_rng(seed).uniform(-1.5, 1.5, (5, 4)):
            _, reward, *_, info = env.step(action)
            applied = np.clip(action, -1, 1)
            cost = 0.1 * (np.abs(applied).mean() + np.abs(applied - last).mean() / 2) / 120
            costs += cost
            assert reward == pytest.approx((1 - env.miss_m) / 120 - cost, abs=1e-6)
            assert info == {"cost": pytest.approx(costs, abs=1e-12)}
            last = applied
    env.close()
