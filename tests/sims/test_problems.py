"""Gymnasium environments and plain functions, evolved on like tasks of ours."""

import pickle
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import neuroctl as nc
import sims
from neuroctl.errors import NeuroctlError, TaskError
from neuroctl.evolve import StudyConfig, run_study


class Target(gymnasium.Env):
    """Reach a point: the observation is a matrix without limits, float64."""

    observation_space = spaces.Box(-np.inf, np.inf, (2, 1), np.float64)
    action_space = spaces.Box(-2.0, 3.0, (1, 1), np.float32)
    dt = 0.25

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([[self.x], [1.0]]), {}

    def step(self, action):
        assert action.shape == (1, 1)
        assert action.dtype == np.float32
        self.x += 0.1 * float(action[0, 0])
        return np.array([[self.x], [1.0]]), -abs(self.x), abs(self.x) > 5, False, {}


class Discrete(Target):
    action_space = spaces.Discrete(3)


class Broken(Target):
    def __init__(self):
        raise RuntimeError("no\nmotor")


def fitness(controller, seed):
    u = np.random.default_rng(seed).uniform(-1, 1, (30, 1)).astype(np.float32)
    return -float(((controller.rollout(u)[1:] - u[:-1]) ** 2).mean())


fitness.spec = {"inputs": 1, "outputs": 1, "dt_s": 0.02, "input_limits": [[-1, 1]], "output_limits": [[-1, 1]]}


def bare(controller, seed):
    return 0.0


HERE = __name__


def test_a_registered_environment():
    posed = sims.problem("Pendulum-v1", neurons=4)
    assert (posed.spec.inputs, posed.spec.outputs, posed.spec.neurons) == (3, 1, 4)
    assert posed.spec.output_limits == ((-2.0, 2.0),)
    assert posed.spec.dt_s == 0.05
    ctl = nc.Controller(posed.spec, seed=1)
    value = posed.objective(ctl, 5)
    assert value == pickle.loads(pickle.dumps(posed.objective))(ctl, 5) == posed.objective(ctl, 5)
    env = gymnasium.make("Pendulum-v1")
    observation, _ = env.reset(seed=5)
    ctl.reset()
    total = 0.0
    for _ in range(200):
        observation, reward, _, _, _ = env.step(np.array(ctl.step(observation)))
        total += reward
    assert value == pytest.approx(total)
    posed.objective.close()


def test_an_environment_of_the_users_own():
    posed = sims.problem(f"{HERE}:Target", cell="elman", neurons=3)
    assert posed.spec.input_limits[1] == (0.0, 2.0)
    assert posed.spec.output_limits == ((-2.0, 3.0),)
    assert posed.spec.dt_s == 0.25
    ctl = nc.Controller(posed.spec, seed=1)
    assert posed.objective(ctl, 3) == posed.objective(ctl, 3) < 0
    assert posed.objective(ctl.quantize(), 3) == pytest.approx(posed.objective(ctl, 3), rel=0.05)


def test_a_function_is_evolved(tmp_path):
    posed = sims.problem(f"{HERE}:fitness", cell="elman", neurons=2)
    config = StudyConfig(spec=posed.spec, task=posed.name, generations=30, population=12, seed=1)
    result = run_study(config, posed.objective, tmp_path / "s")
    silent = np.mean([fitness(nc.Controller(posed.spec, np.zeros(11)), seed) for seed in range(64)])
    assert result.best_score > 0.5 * silent


@pytest.mark.parametrize("name", ["cartpole", "walker"])
def test_tasks_of_ours(name):
    posed = sims.problem(name)
    assert posed.spec == sims.controller_spec(name)
    ctl = nc.Controller(posed.spec, seed=1)
    assert posed.objective(ctl, 2) == sims.score(name, ctl, [2])[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Pendulm-v1", "did you mean 'Pendulum-v1'"),
        ("cartpol", "did you mean 'cartpole'"),
        ("CartPole-v1", "action_space: Discrete"),
        (f"{HERE}:Discrete", "action_space: Discrete"),
        (f"{HERE}:Broken", "RuntimeError: no motor"),
        (f"{HERE}:bare", "has no spec; allowed: a function or a class with bare.spec = "),
        (f"{HERE}:HERE", "is a str; allowed"),
        (f"{HERE}:nothing", "has no attribute"),
        ("no_such_module:f", "No module named"),
        (":", "ValueError: Empty module name"),
    ],
)
def test_what_cannot_be_evolved_on_is_named(name, text):
    with pytest.raises(TaskError, match=text) as caught:
        sims.problem(name)
    assert "\n" not in str(caught.value)


def test_a_bad_spec_of_a_function_is_named(monkeypatch):
    monkeypatch.setattr(sys.modules[HERE].bare, "spec", {"inputs": 0, "outputs": 1, "dt_s": 0.1}, raising=False)
    with pytest.raises(NeuroctlError, match="inputs"):
        sims.problem(f"{HERE}:bare")


@pytest.mark.parametrize("name", ["cartpole", "cartpole,noise=0.1", "neuroctl/RoverWall-v0", "AntBulletEnv-v0"])
def test_a_file_may_name_a_task_of_ours(name):
    assert sims.task_of({"task": name}) == name


@pytest.mark.parametrize(
    "name", ["os:getcwd", "evil:Env-v0", "Pendulum-v1", "cartpole:x", " cartpole", ["cartpole"], 7]
)
def test_a_file_may_name_no_other(name):
    with pytest.raises(TaskError, match=r"^task: .*, named by the file, is no task of ours .*; allowed: --task NAME"):
        sims.task_of({"task": name})
    assert sims.task_of({"task": name}, "os:getcwd") == "os:getcwd"
