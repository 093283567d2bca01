"""Imitation in tasks: episodes with a teacher, what it may see, and teachers by name."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl.errors import InteropError
from neuroctl.train.demonstrations import Watched


def test_an_episode_is_the_tasks_own():
    task = "two-poles"
    ctl = nc.Controller(sims.controller_spec(task, neurons=4), seed=3)
    watched = Watched(ctl.spec, None, ctl, None)
    episode = sims.TeachingEpisode(task)
    # The plant is in float64 here and in float32 in compiled lanes: these few steps are as many.
    assert episode(watched, 5) == sims.objective(task)(ctl, 5)


def test_a_teacher_sees_what_no_sensor_gives():
    pytest.importorskip("pybullet", reason="pybullet is not installed: a teacher in PyBullet was NOT tested")
    episode = sims.TeachingEpisode("cartpole", privileged=True, max_steps=15)
    spec, states = sims.controller_spec("cartpole", neurons=2), []

    def teacher(state):
        states.append(state)
        return np.array([1.0])

    shown = nc.train.demonstrate(spec, teacher, episode, [3])
    x, seen = np.array(states), shown.inputs[0]
    assert x.shape == (15, 4) and seen.shape == (15, 2) and len(set(x[:, 0])) == 15
    np.testing.assert_array_equal(x[:, :2], seen)
    np.testing.assert_allclose(np.diff(x[:, 0]) * 60, x[1:, 2], atol=0.05)  # a speed is what positions change by


def test_without_privileged_it_sees_the_observation():
    episode = sims.TeachingEpisode("two-poles", max_steps=5)
    spec, seen = sims.controller_spec("two-poles", neurons=2), []

    def teacher(observation):
        seen.append(np.array(observation))
        return np.zeros(1)

    shown = nc.train.demonstrate(spec, teacher, episode, [3])
    np.testing.assert_array_equal(shown.inputs[0], seen)


class Blind(gymnasium.Env):
    """An environment of a user's, without privileged()."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_an_environment_without_it_is_named():
    episode = sims.TeachingEpisode("tests.sims.test_teaching:Blind", privileged=True, max_steps=3)
    spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
    with pytest.raises(nc.TaskError, match=r"privileged: '.*Blind' has no such method; allowed"):
        nc.train.demonstrate(spec, lambda u: u, episode, [0])


def test_teachers_by_name(tmp_path):
    pytest.importorskip("pybullet", reason="pybullet is not installed: baselines were NOT tested")
    u = np.array([0.1, 0.05], np.float32)
    assert sims.teacher("baseline", "cartpole").step(u).shape == (1,)
    ctl = nc.Controller(sims.controller_spec("cartpole", neurons=3), seed=1)
    ctl.save(tmp_path / "c.npz")
    ctl.quantize().save(tmp_path / "q.npz")
    for file in ("c.npz", "q.npz"):
        assert sims.teacher(str(tmp_path / file), "cartpole").step(u).shape == (1,)
    assert sims.teacher("tests.sims.test_teaching:double", "cartpole")(2) == 4
    with pytest.raises(nc.TaskError, match="teacher: 'someone'; allowed: baseline, a file .npz or .onnx"):
        sims.teacher("someone", "cartpole")
    with pytest.raises(nc.FileFormatError, match="no such file"):
        sims.teacher("none.npz", "cartpole")


def double(x):
    return 2 * x


def test_a_policy_in_onnx(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: ONNX policies were NOT tested")
    spec = nc.Spec(cell="gru", inputs=3, neurons=5, outputs=2, dt_s=0.02, initial_state="learned")
    ctl = nc.Controller(spec, seed=4)
    nc.interop.to_onnx(ctl, tmp_path / "step.onnx")
    policy = sims.teacher(str(tmp_path / "step.onnx"), "cartpole")
    u = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    for _ in range(2):
        policy.reset()
        np.testing.assert_allclose([policy.step(row) for row in u], ctl.rollout(u), atol=1e-6)
        ctl.reset()
    with pytest.raises(InteropError, match=r"step.onnx: .*; allowed: the observations that it was made for"):
        policy.step(np.zeros(4))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(InteropError, match="bad.onnx: .*; allowed: an ONNX file that ONNX Runtime runs"):
        sims.teacher(str(tmp_path / "bad.onnx"), "cartpole")
    with pytest.raises(InteropError, match=r"none.onnx: No such file or directory; allowed: an ONNX file"):
        sims.teacher(str(tmp_path / "none.onnx"), "cartpole")


def test_a_student_with_fewer_sensors_in_a_task_learns():
    task = sims.get("two-poles")
    spec = replace(sims.controller_spec("two-poles", neurons=3, cell="elman"), inputs=2, input_names=(),
                   input_limits=task.input_limits[:2])  # fmt: skip
    result = nc.train.dagger(
        spec, lambda u: 20.0 * u[1:2], sims.TeachingEpisode("two-poles", max_steps=20), sensors=(0, 1), rounds=2,
        episodes=3, validation=2, epochs=20,
    )  # fmt: skip
    assert result.controller.spec == spec and len(result.demonstrations) == 6
