"""Noise and latency between the sensors and a controller."""

import numpy as np
import pytest

import neuroctl as nc
import sims
from sims.disturb import Disturbed


class Echo:
    """Answers with what it sees."""

    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=1, outputs=1, dt_s=1 / 60)

    def __init__(self):
        self.resets = 0

    def reset(self):
        self.resets += 1

    def step(self, u):
        return u


ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)
LIMITS = ((-2.0, 2.0), (-1.0, 1.0))


def seen(**fields):
    disturbed = Disturbed(Echo(), LIMITS, **fields)
    disturbed.reset()
    return np.array([disturbed.step(row) for row in ROWS])


def test_without_disturbance_nothing_changes():
    assert seen(noise=0.0, latency=0).tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("latency", [1, 3])
def test_observations_are_late_and_the_first_is_held(latency):
    late = seen(noise=0.0, latency=latency)
    assert np.array_equal(late[latency:], ROWS[:-latency])
    assert np.array_equal(late[:latency], np.repeat(ROWS[:1], latency, axis=0))


def test_noise_has_the_width_asked_for_and_is_the_same_each_episode():
    many = np.zeros((4000, 2), np.float32)
    disturbed = Disturbed(Echo(), LIMITS, noise=0.1, latency=0)
    runs = []
    for _ in range(2):
        disturbed.reset()
        runs.append(np.array([disturbed.step(row) for row in many]))
    assert runs[0].tobytes() == runs[1].tobytes()
    assert np.allclose(runs[0].std(axis=0), [0.2, 0.1], rtol=0.05)


def test_a_map_has_the_undisturbed_score_in_its_corner():
    ctl = nc.Controller(sims.controller_spec("cartpole", 3), seed=1)
    scores = sims.robustness("cartpole", ctl, [0.0, 0.3], [0, 4], range(5, 8))
    assert scores.shape == (2, 2, 3)
    assert np.array_equal(scores[0, 0], sims.score("cartpole", ctl, range(5, 8)))


def test_a_map_of_a_compiled_task_in_fixed_point():
    fixed = nc.Controller(sims.controller_spec("circle-catcher", 3), seed=1).quantize()
    scores = sims.robustness("circle-catcher", fixed, [0.0], [0, 50], [1])
    assert np.isclose(scores[0, 0, 0], sims.score("circle-catcher", fixed, [1])[0])


@pytest.mark.parametrize(
    ("noises", "latencies", "text"),
    [
        ([-0.1], [0], "noise: .*-0.1"),
        ([], [0], "noise"),
        ([np.nan], [0], "noise"),
        ([0.0], [-1], "latency"),
        ([0.0], [0.5], "latency"),
    ],
)
def test_bad_levels_are_named(noises, latencies, text):
    ctl = nc.Controller(sims.controller_spec("cartpole", 3), seed=1)
    with pytest.raises(nc.TaskError, match=text):
        sims.robustness("cartpole", ctl, noises, latencies, [1])
