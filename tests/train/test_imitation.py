"""Imitation: what is recorded, who acts, what a student comes to, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import train
from neuroctl.train.by_teacher import TeacherTraining
from neuroctl.train.demonstrations import Watched

SPEC = nc.Spec(cell="elman", inputs=1, neurons=8, outputs=1, dt_s=0.05, output_limits=((-4.0, 4.0),))


def fall(controller, seed):
    """A mass that is pushed away from the middle; its position is seen, and for a teacher its speed too."""
    x, v = np.random.default_rng(seed).uniform(-0.5, 0.5, 2)
    total = 0.0
    controller.reset()
    for _ in range(60):
        controller.watch(np.array([x, v]))
        push = float(np.clip(controller.step(np.array([x], np.float32))[0], -4.0, 4.0))
        v += 0.05 * (3.0 * x + push)
        x += 0.05 * v
        total -= min(x * x, 1.0)
    return total


def stop(state):
    """A teacher that sees the speed."""
    return np.clip(-8.0 * state[:1] - 4.0 * state[1:], -4.0, 4.0)


def test_a_student_without_speed_comes_near_a_teacher_that_sees_it():
    result = train.dagger(SPEC, stop, fall, rounds=4, episodes=6, seed=0, epochs=60)
    assert result.teacher_score > -2.0 and result.score > result.teacher_score - 0.5
    assert [row.epoch for row in result.rounds] == [1, 2, 3, 4] and len(result.demonstrations) == 24
    assert result.score == max(row.validation for row in result.rounds)
    again = train.dagger(SPEC, stop, fall, rounds=4, episodes=6, seed=0, epochs=60)
    assert again.controller.theta.tobytes() == result.controller.theta.tobytes() and again.rounds == result.rounds
    other = train.dagger(SPEC, stop, fall, rounds=1, episodes=6, seed=1, epochs=2)
    assert other.controller.theta.tobytes() != result.controller.theta.tobytes()


def test_the_score_is_the_written_controllers():
    result = train.dagger(SPEC, stop, fall, rounds=1, episodes=4, seed=3, epochs=5, validation=3)
    seeds = TeacherTraining(SPEC, stop, fall, seed=3, episodes=4, validation=3)._validation
    own = [fall(Watched(SPEC, None, result.controller, None), seed) for seed in seeds]
    assert result.controller.spec == SPEC and np.mean(own) == result.score


@pytest.mark.parametrize("cell", ["ctrnn", "jordan", "gru"])
def test_cells_and_ranges(cell):
    spec = replace(SPEC, cell=cell, activation=None, readout=None, output_limits=((-400.0, 0.0),))
    result = train.dagger(
        spec, lambda u: 100.0 * u - 200.0, lambda c, s: _still(c, s), rounds=1, episodes=8, epochs=150, validation=2
    )
    y = result.controller.rollout(np.full((20, 1), 0.5, np.float32))
    assert abs(float(y[-1, 0]) + 150.0) < 40.0


def test_a_network_whose_neurons_are_its_outputs():
    spec = replace(SPEC, neurons=1, readout="identity", output_limits=None)
    result = train.dagger(spec, lambda u: 0.5 * u, _still, rounds=1, episodes=2, epochs=2, validation=1)
    assert result.controller.spec == spec
    with pytest.raises(nc.SpecError, match="hopfield"):
        hopfield = nc.Spec(cell="hopfield", inputs=1, neurons=2, outputs=1, dt_s=0.1)
        train.dagger(hopfield, lambda u: u, _still, rounds=1)


def _still(controller, seed):
    controller.reset()
    for value in np.random.default_rng(seed).uniform(-1, 1, 20):
        controller.watch(np.array([value]))
        controller.step(np.array([value]))
    return 0.0


class Counting:
    """A teacher with a memory: how many steps it has seen."""

    def __init__(self):
        self.steps = 0

    def reset(self):
        self.steps = 0

    def step(self, u):
        self.steps += 1
        return np.array([self.steps], float)


def test_the_teacher_says_what_it_would_do_and_the_student_acts():
    spec = replace(SPEC, inputs=2, output_limits=None)
    student = nc.Controller(spec, seed=1)
    acted, seen = [], np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

    def episode(controller, seed):
        controller.reset()
        acted.append([controller.step(row).copy() for row in seen])
        return 0.0

    shown = train.demonstrate(spec, Counting(), episode, [0, 1], student=student, sensors=[3, 1])
    for k in range(2):
        np.testing.assert_array_equal(shown.inputs[k], seen[:, [3, 1]])
        np.testing.assert_array_equal(shown.targets[k][:, 0], [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(acted[k], nc.Controller(spec, student.theta).rollout(seen[:, [3, 1]].copy()))
    shown = train.demonstrate(spec, Counting(), episode, [0], sensors=[3, 1])
    assert np.array(acted[-1])[:, 0].tolist() == [1, 2, 3, 4, 5] and shown.steps == 5


def test_a_controller_to_go_on_from_stays_and_counts():
    first = nc.Controller(SPEC, seed=2)
    before = first.theta.copy()
    training = TeacherTraining(SPEC, stop, fall)
    np.testing.assert_allclose(training.physical(training.begin(before).theta), before, rtol=1e-6)
    train.dagger(first, stop, fall, rounds=1, episodes=2, epochs=1, validation=1)
    assert first.theta.tobytes() == before.tobytes()


def test_demonstrations_are_kept_in_files(tmp_path):
    shown = train.demonstrate(SPEC, stop, fall, range(3))
    shown.save(tmp_path / "shown.npz")
    back = train.Demonstrations.load(tmp_path / "shown.npz")
    for name in ("inputs", "targets"):
        for one, other in zip(getattr(shown, name), getattr(back, name), strict=True):
            assert one.tobytes() == other.tobytes() and one.dtype == other.dtype
    both = train.dagger(SPEC, stop, fall, rounds=1, episodes=2, epochs=1, validation=1, demonstrations=back)
    assert len(both.demonstrations) == 5
    content = (tmp_path / "shown.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-40])
    with pytest.raises(nc.FileFormatError, match="cut.npz"):
        train.Demonstrations.load(tmp_path / "cut.npz")
    nc.Controller(SPEC).save(tmp_path / "ctl.npz")
    with pytest.raises(nc.FileFormatError, match="holds a 'controller'; allowed: a 'demonstrations'"):
        train.Demonstrations.load(tmp_path / "ctl.npz")
    with pytest.raises(nc.TrainingError, match=r"lengths: \[2, 2\]; allowed"):
        train.Demonstrations.of_arrays(
            {"inputs": np.zeros((3, 1)), "targets": np.zeros((3, 1)), "lengths": np.array([2, 2])}
        )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"teacher": 3}, "teacher: 3; allowed: a function, or an object with step"),
        ({"teacher": lambda u: np.zeros(2)}, r"teacher: an action of shape \(2,\); allowed: 1 finite numbers"),
        ({"teacher": lambda u: np.array([np.nan])}, "teacher: an action of NaN or Inf; allowed: 1 finite numbers"),
        ({"teacher": lambda u: u[7]}, "teacher: IndexError: .*, in step 0; allowed: an action"),
        ({"sensors": [1]}, r"sensors: \[1\]; allowed: entries of an observation of 1"),
        ({"sensors": [0, 1]}, "sensors: 2; allowed: 1, one for each of the inputs"),
        ({"sensors": [-1]}, "sensors: -1; allowed"),
        ({"rounds": 0}, "rounds: 0; allowed"),
        ({"episodes": 0}, "episodes: 0; allowed"),
        ({"validation": 0}, "validation: 0; allowed"),
        ({"seed": -1}, "seed: -1; allowed"),
        ({"episode": None}, "episode: None; allowed: a function of a controller and a seed"),
        ({"episode": lambda c, s: 0.0}, "episode: no step with seed"),
        ({"episode": lambda c, s: fall(c, s) * np.nan}, "episode: returned nan; allowed: a finite number"),
        ({"demonstrations": train.Demonstrations((np.zeros((2, 3)),), (np.zeros((2, 1)),))}, "inputs of 3 columns"),
        ({"spec": "elman"}, "spec: 'elman'; allowed: a Spec or a Controller"),
        ({"mask": 1}, "mask: 1; allowed: not for a round of DAgger"),
        ({"epochs": 0}, "epochs: 0; allowed"),
        ({"speed": 1}, "speed"),
    ],
)
def test_bad_arguments_are_named(change, text):
    arguments = {"spec": SPEC, "teacher": stop, "episode": fall, "rounds": 1, "episodes": 2, "epochs": 1} | change
    kinds = (nc.TrainingError, TypeError) if "speed" in change else nc.TrainingError
    with pytest.raises(kinds, match=text):
        train.dagger(**arguments)
