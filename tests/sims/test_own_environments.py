"""Environments of the user's own: plain classes, buffers that are kept or reused, time steps and limits nobody says."""

import dataclasses
import json
import math
import pickle
import re
import warnings
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import neuroctl as nc
import sims
from neuroctl import io
from neuroctl.errors import NotFiniteError, ObjectiveError, TaskError
from neuroctl.evolve import Encoding, FixedPointConfig, StudyConfig, run_study
from neuroctl.evolve.evaluators import SerialEvaluator
from neuroctl.evolve.genome import Genome
from sims.environments import AnyEnvironment, action_limits
from sims.episodes import check_fit
from tests.commands import neuroctl, one_line_error

HERE = __name__
MASKED = np.ma.array([5.0, 1.0], mask=[True, False])
SPEC = {"inputs": 2, "outputs": 1, "dt_s": 0.05, "output_limits": [[-1, 1]]}


class Robot:
    """A cart, told by an engineer who never heard of Gymnasium. All observations are written into one list."""

    spec = SPEC
    max_episode_steps = 20

    def reset(self, seed):
        self.x = [np.random.default_rng(seed).uniform(-1, 1), 0.0]
        return self.x

    def step(self, action):
        assert action.shape == (1,)
        self.x[1] += 0.05 * float(action[0])
        self.x[0] += 0.05 * self.x[1]
        return self.x, -abs(self.x[0]), abs(self.x[0]) > 3

    def render(self):
        return np.full((6, 8, 3), 7, np.uint8)


class Unseeded(Robot):
    def reset(self):
        return super().reset(3), {"why": "no seed"}

    def step(self, action):
        return *super().step(action), {}


class Bare(Robot):
    spec = None


class Kept(gymnasium.Env):
    """Punishes changes of the action, which it keeps as it was handed over, as Gymnasium's StickyAction does."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    dt = 0.05

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.last, self.time = np.zeros(1, np.float32), 0
        self.seen = np.zeros(2, np.float32)
        return self.seen, {}

    def step(self, action):
        reward = -float(abs(action - self.last)[0])
        self.last, self.time = action, self.time + 1
        self.seen[:] = math.sin(self.time), math.cos(self.time)
        return self.seen, reward, False, self.time == 20, {}


class NoInfo(Kept):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Unlimited(Kept):
    """A speed far beyond 10, a count from 0 on, an angle that says its limits."""

    observation_space = spaces.Box(
        np.array([-np.inf, 0, -3.2], np.float32), np.array([np.finfo(np.float32).max, np.inf, 3.2], np.float32)
    )
    action_space = spaces.Box(np.array([0.0], np.float32), np.array([np.inf], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3), {}

    def step(self, action):
        self.time += 1
        assert 0 <= action[0] <= 10
        return np.array([30 * action[0], self.time, 0.1]), float(action[0]), False, self.time == 40, {}


class Counter:
    """A fitness with a memory of its own."""

    spec = SPEC

    def __init__(self):
        self.calls = 0

    def __call__(self, controller, seed):
        self.calls += 1
        return float(controller.step(np.ones(2, np.float32))[0])

    def observations(self, controller, seed):
        return np.ones((4, 2))


def forgetful(controller, seed):
    """Never resets its controller."""
    return float(sum(controller.step(np.ones(2, np.float32))[0] for _ in range(5)))


forgetful.spec = SPEC


class Alternating:
    """A hand-made controller with one output buffer, which it overwrites."""

    spec = SimpleNamespace(inputs=2, outputs=1)

    def reset(self):
        self.y = np.full(1, -1, np.float32)

    def step(self, u):
        self.y *= -1
        return self.y


def network(name, **fields):
    return nc.Controller(sims.problem(f"{HERE}:{name}", neurons=3, **fields).spec, seed=1)


@pytest.mark.parametrize("name", ["Robot", "Unseeded"])
def test_plain_classes_work(name):
    posed = sims.problem(f"{HERE}:{name}", cell="elman", neurons=3)
    assert (posed.spec.inputs, posed.spec.outputs, posed.spec.dt_s) == (2, 1, 0.05)
    ctl = nc.Controller(posed.spec, seed=1)
    value = posed.objective(ctl, 3)
    assert value == pickle.loads(pickle.dumps(posed.objective))(ctl, 3) == sims.score(posed.name, ctl, [3])[0] < 0
    robot, total = Robot(), 0.0
    observation = robot.reset(3)
    ctl.reset()
    for _ in range(20):
        observation, reward, _ = robot.step(np.array(ctl.step(np.array(observation, np.float32))))
        total += reward
    assert value == total


def test_a_class_without_a_spec_or_methods_is_named():
    with pytest.raises(TaskError, match=r"has no spec; allowed: a function or a class with Bare.spec = "):
        sims.problem(f"{HERE}:Bare")
    with pytest.raises(TaskError, match="neither reset and step nor __call__"):
        sims.problem("types:SimpleNamespace")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mine.py:fitness", "'mine:fitness'"),
        ("./mine.py:fitness", "'mine:fitness'"),
        ("robots/mine.py", "'robots.mine:NAME'"),
        ("/home/me/mine.py:Robot", "'mine:Robot', in the folder /home/me"),
        ("../mine.py:Robot", r"'mine:Robot', in the folder \.\."),
    ],
)
def test_a_files_name_is_told_how_it_is_written(name, meant):
    for ask in (sims.problem, AnyEnvironment) if ":" in name else (sims.problem,):
        with pytest.raises(TaskError, match=f"^task: '{re.escape(name)}' names a file; allowed: {meant}$"):
            ask(name)


def test_an_action_that_is_kept_is_not_overwritten():
    assert sims.score(f"{HERE}:Kept", Alternating(), [0]) == [-39.0]
    assert sims.record(f"{HERE}:Kept", Alternating(), 0).total_return == -39.0
    plant = sims.SimPlant(f"{HERE}:Kept")
    y = np.ones(1, np.float32)
    for _ in range(5):
        plant.write(y)
        y *= -1
    assert plant.total_reward == -9.0


def test_an_observation_buffer_that_is_reused_is_not_handed_on():
    observations = sims.record(f"{HERE}:Kept", Alternating(), 0).observations
    assert np.allclose(observations[1:, 0], np.sin(np.arange(1, 20)))


def test_hand_made_controllers_of_ours_hand_out_new_arrays():
    pilot = sims.baseline("cartpole")
    first = pilot.step(np.array([0.5, 0.1], np.float32))
    kept = first.copy()
    pilot.step(np.array([-0.5, -0.1], np.float32))
    assert first == kept


def test_a_reset_without_info_is_taken():
    ctl = network("NoInfo")
    assert sims.score(f"{HERE}:NoInfo", ctl, [1]) == sims.score(f"{HERE}:Kept", ctl, [1])


@pytest.mark.parametrize(
    ("method", "answer", "text"),
    [
        ("step", lambda self, action: (1, 2), r"^step: \(1, 2\) of .*; allowed: \(observation, reward, termin"),
        ("step", lambda self, action: None, "^step: None of "),
        ("step", lambda self, action: ([0, 0], None, False, False, {}), "^reward: None of .*; allowed: a number"),
        ("step", lambda self, action: ([0, 0], "1", False), "^reward: '1' of .*; allowed: a number"),
        ("step", lambda self, action: ([0], 0.0, False), r"^observation: \[0\] of .* at step 1; allowed: 2 numbers"),
        (
            "step",
            lambda self, action: (["0", "0"], 0.0, False),
            r"^observation: \['0', '0'\] of .*: 2 numbers",
        ),
        ("step", lambda self, action: ([0, 0], 0.0, "no"), "^done: 'no' of .* at step 1; allowed: True or False$"),
        ("step", lambda self, action: ([0, 0], 0.0, None), "^done: None of .*; allowed: True or False"),
        ("step", lambda self, action: ([0, 0], 0.0, 2, {}), "^done: 2 of .*; allowed: True or False"),
        ("step", lambda self, action: ([0, 0], 0.0, "", False, {}), "^terminated: '' of .*; allowed: True or False"),
        ("step", lambda self, action: ([0, 0], 0.0, False, None, {}), "^truncated: None of .*; allowed: True or False"),
        ("step", lambda self, action: (MASKED, 0.0, False), "^observation: masked_array.* at step 1; .* masked$"),
        ("step", lambda self, action: ([np.ma.masked, 1], 0.0, False), r"^observation: \[masked, 1\] .* masked$"),
        ("reset", lambda self, seed: MASKED, "^observation: masked_array.* at its reset; allowed: .* masked$"),
        ("reset", lambda self, seed: None, "^observation: None of .*; allowed: 2 numbers"),
        ("reset", lambda self, seed: {"x": 1}, "^observation: {'x': 1} of .*; allowed: 2 numbers"),
    ],
)
def test_wrong_answers_are_named(monkeypatch, method, answer, text):
    ctl = network("Robot")
    monkeypatch.setattr(Robot, method, answer)
    with pytest.raises(TaskError, match=text):
        sims.score(f"{HERE}:Robot", ctl, [1])


@pytest.mark.parametrize("over", [True, np.True_, np.array(True), np.array([1]), 1, 1.0, np.int64(1)])
def test_what_equals_true_ends_an_episode(monkeypatch, over):
    monkeypatch.setattr(Robot, "step", lambda self, action: ([0, 0], 1.0, over))
    assert sims.score(f"{HERE}:Robot", Alternating(), [1]) == [1.0]
    monkeypatch.setattr(Robot, "step", lambda self, action: ([0, 0], 1.0, np.False_))
    assert sims.score(f"{HERE}:Robot", Alternating(), [1]) == [20.0]


def test_an_unmasked_array_is_taken(monkeypatch):
    monkeypatch.setattr(Robot, "reset", lambda self, seed: np.ma.array([1.0, 2.0]))
    assert AnyEnvironment(f"{HERE}:Robot").begin(1, "float32")[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda cart: ([0, math.nan], 0.0, False), r"^observation\[1\]: nan of '.*:Robot' at step 3; allowed: finite"),
        (
            lambda cart: ([-math.inf, 0], 0.0, False),
            r"^observation\[0\]: -inf of .* at step 3; allowed: finite",
        ),
        (lambda cart: ([0, 1e300], 0.0, False), r"^observation\[1\]: 1e\+300 of .*; allowed: finite float32 numbers"),
        (lambda cart: ([0, 0], np.float32("nan"), False), "^reward: .*nan.* of .* at step 3; allowed: a number"),
    ],
)
def test_what_is_not_finite_is_named_and_counts_as_the_worst_in_a_study(monkeypatch, answer, text):
    ctl = network("Robot")
    genome = Genome(ctl.spec, Encoding())
    usual = Robot.step

    def blows_up(self, action):
        self.count = getattr(self, "count", 0) + 1
        return answer(self) if self.count % 3 == 0 else usual(self, action)

    monkeypatch.setattr(Robot, "step", blows_up)
    with pytest.raises(NotFiniteError, match=text):
        sims.score(f"{HERE}:Robot", ctl, [1])
    objective = sims.problem(f"{HERE}:Robot", neurons=3).objective
    monkeypatch.setattr(Robot, "count", 0, raising=False)
    with SerialEvaluator(genome, objective) as evaluator:
        assert np.isnan(evaluator.evaluate(np.zeros((1, genome.size)), [1])).all()


def test_run_names_what_is_not_finite(tmp_path, monkeypatch):
    network("Robot").save(tmp_path / "c.npz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blown.py").write_text(
        f"from {HERE} import Robot\n\nclass Blown(Robot):\n"
        "    def step(self, action):\n        return [0, float('nan')], 0.0, False\n"
    )
    answer = neuroctl("run", "c.npz", "--task", "blown:Blown", code=2)
    one_line_error(answer, "observation[1]: nan of 'blown:Blown' at step 1; allowed: finite float32 numbers")


class Fragile(Unlimited):
    """Blows up under strong actions."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        observation[0] = np.nan if action[0] > 9 else observation[0]
        return observation, reward, *rest


def test_limits_are_measured_where_episodes_blow_up():
    explored = AnyEnvironment(f"{HERE}:Fragile").explored()
    assert np.isfinite(explored).all()
    assert len(explored) > 20
    assert explored[:, 0].max() <= 30 * 9


def test_limits_cannot_be_measured_where_no_observation_is_finite(monkeypatch):
    monkeypatch.setattr(Unlimited, "reset", lambda self, seed: (np.full(3, np.nan), {}))
    with pytest.raises(NotFiniteError, match=r"^observation\[0\]: nan of .* at its reset"):
        sims.problem(f"{HERE}:Unlimited")


def test_a_study_goes_on_where_episodes_blow_up(tmp_path):
    posed = sims.problem(f"{HERE}:Fragile", neurons=3)
    config = StudyConfig(
        spec=posed.spec, task=posed.name, population=8, generations=3, episodes=2, validation_episodes=2, sigma0=2.0
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = run_study(config, posed.objective, tmp_path / "study")
    assert result.generations == 3
    assert result.best_score <= 9 * 40
    assert all("such an episode counts as the worst" in str(warning.message) for warning in told)


def test_own_environments_are_filmed_disturbed_and_looped():
    ctl = network("Robot")
    episode = sims.record(f"{HERE}:Robot", ctl, 2, frames=True, frame_every=5)
    assert [frame.shape for frame in episode.frames] == [(6, 8, 3)] * 4
    scores = sims.robustness(f"{HERE}:Robot", ctl, [0.0, 0.3], [0, 2], [2, 3])
    assert np.array_equal(scores[0, 0], sims.score(f"{HERE}:Robot", ctl, [2, 3]))
    assert scores[0, 0, 0] == episode.total_return
    assert len(np.unique(scores)) == scores.size
    plant, u = sims.SimPlant(f"{HERE}:Robot", seed=2), np.empty(2, np.float32)
    check_fit(ctl, plant.task)
    ctl.reset()
    for _ in range(episode.steps):
        plant.read(u)
        plant.write(ctl.step(u))
    assert plant.total_reward == pytest.approx(episode.total_return)


def test_what_cannot_be_filmed_says_so():
    ctl = network("Kept")
    with pytest.raises(TaskError, match="^render: no picture of .*Kept'"):
        sims.record(f"{HERE}:Kept", ctl, 0, frames=True)
    for picture, text in ((lambda: np.zeros((6, 8, 4)), r"but float64\[6, 8, 4\]"), (lambda mode: None, "missing 1")):
        env = AnyEnvironment.__new__(AnyEnvironment)
        env._env, env.about = SimpleNamespace(render=picture), SimpleNamespace(name="mine:Robot")
        with pytest.raises(nc.NeuroctlError, match=f"render: .*{text}"):
            env.render()
    for use in (sims.record, lambda name, ctl, seed: sims.SimPlant(name, seed)):
        with pytest.raises(TaskError, match="is a function, in which nothing is stepped"):
            use(f"{HERE}:forgetful", ctl, 0)


def test_functions_are_disturbed_too():
    ctl = network("forgetful")
    scores = sims.robustness(
        f"{HERE}:Counter", nc.Controller(with_limits(ctl.spec), 0.1 * ctl.theta), [0.0, 0.5], [0], [1]
    )
    assert scores[0] != scores[1]
    with pytest.raises(TaskError, match="^input_limits: None"):
        sims.robustness(f"{HERE}:forgetful", ctl, [0.1], [0], [1])


def with_limits(spec):
    return nc.Spec.from_dict(spec.to_dict() | {"input_limits": [[-2, 2]] * 2})


def test_a_controller_is_reset_before_each_episode_of_a_function():
    ctl = network("forgetful")
    posed = sims.problem(f"{HERE}:forgetful", neurons=3)
    genome = Genome(posed.spec, Encoding())
    genes = np.random.default_rng(1).normal(size=genome.size)
    ctl.theta[:] = genome.theta(genes)
    with SerialEvaluator(genome, posed.objective) as evaluator:
        evolved = evaluator.evaluate(genes[None], [1, 2, 3])[0, :, 0]
    assert len(set(evolved)) == 1
    assert np.array_equal(sims.score(posed.name, ctl, [1, 2, 3]), evolved)


def test_objects_that_are_called_are_a_fitness():
    posed = sims.problem(f"{HERE}:Counter", neurons=3)
    assert posed.spec.dt_s == 0.05
    ctl = nc.Controller(posed.spec, seed=1)
    assert posed.objective(ctl, 1) == posed.objective(ctl, 2)
    assert posed.objective.calls == 2
    assert posed.objective.observations(ctl, 1).shape == (4, 2)
    assert not hasattr(posed.objective, "batch")
    assert pickle.loads(pickle.dumps(posed.objective)).calls == 0


def failing(controller, seed):
    return 1 / seed if seed else None


failing.spec = SPEC


@pytest.mark.parametrize("run", [sims.score, lambda name, ctl, seeds: sims.robustness(name, ctl, [0], [0], seeds)])
def test_a_failure_of_the_user_s_code_is_one_line_with_its_place(run, monkeypatch):
    ctl = nc.Controller(with_limits(network("forgetful").spec), seed=1)
    with pytest.raises(ObjectiveError, match="^objective: TypeError: .*; with seed 0$"):
        run(f"{HERE}:failing", ctl, [0])
    monkeypatch.setattr(Robot, "step", lambda self, action: 1 / 0)
    with pytest.raises(
        ObjectiveError, match=r"^objective: ZeroDivisionError: .*test_own_environments.py:\d+\); with seed 3"
    ):
        run(f"{HERE}:Robot", ctl, [3])


# Time steps.


def test_the_time_step_of_a_task_of_ours_is_its_control_rate_by_any_name():
    for name in ("neuroctl/RoverWall-v0", "rover-wall"):
        assert sims.problem(name).spec == sims.controller_spec("rover-wall")
        assert sims.problem(name).notes == {"dt_s": "0.0666667, by the task's control rate"}
        assert sims.search_of(name) == sims.get("rover-wall").search
    assert sims.get("neuroctl/CartPole-v0,noise=0.5").options == {"noise": 0.5}
    posed = sims.problem("sims.bullet.rover_wall:RoverWall", neurons=2)
    assert posed.spec.dt_s == 1 / 15
    assert "control rate" in posed.notes["dt_s"]
    posed.objective.close()


@pytest.mark.parametrize(
    ("attributes", "dt_s", "source"),
    [
        ({"dt": 0.02, "metadata": {"render_fps": 50}}, 0.02, "by the environment's dt"),
        ({"dt": None, "metadata": {"render_fps": 40}}, 0.025, "render_fps'], 40 a second"),
        ({"dt": True, "metadata": {}}, 0.02, "assumed, as nothing says it"),
        ({"dt": np.float32(0.125)}, 0.125, "by the environment's dt"),
    ],
)
def test_where_a_time_step_comes_from_is_said(monkeypatch, attributes, dt_s, source):
    for name, value in attributes.items():
        monkeypatch.setattr(Kept, name, value, raising=False)
    posed = sims.problem(f"{HERE}:Kept", neurons=2)
    assert posed.spec.dt_s == dt_s
    assert source in posed.notes["dt_s"]


@pytest.mark.parametrize("name", ["Kept", "Robot", "forgetful"])
def test_a_controller_of_another_time_step_is_refused(name):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=2, outputs=1, dt_s=0.001, input_limits=[[-1, 1]] * 2)
    ctl = nc.Controller(spec, seed=1)
    for use in (
        lambda: sims.score(f"{HERE}:{name}", ctl, [1]),
        lambda: sims.robustness(f"{HERE}:{name}", ctl, [0], [0], [1]),
    ):
        with pytest.raises(TaskError, match=rf"^dt_s: 0\.001; task '.*{name}' needs a controller with 0\.05, by "):
            use()


def test_where_nothing_says_the_time_step_any_is_taken(monkeypatch):
    monkeypatch.setattr(Kept, "dt", None)
    monkeypatch.setattr(Kept, "metadata", {})
    ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=2, neurons=2, outputs=1, dt_s=0.001), seed=1)
    assert sims.score(f"{HERE}:Kept", ctl, [1]).shape == (1,)
    assert sims.SimPlant(f"{HERE}:Kept").dt_s is None


# Limits.


def test_limits_that_nobody_declares_are_measured():
    posed = sims.problem(f"{HERE}:Unlimited", neurons=2)
    (low, high), (start, count), angle = posed.spec.input_limits
    assert low < 0
    assert 400 < high < 700  # twice the range of 0 to 300
    assert (start, angle) == (0.0, pytest.approx((-3.2, 3.2)))
    assert 40 < count < 80
    assert posed.spec == sims.problem(f"{HERE}:Unlimited", neurons=2).spec
    assert posed.notes["input_limits"].startswith("observations 0, 1, measured under random actions")
    declared = ((-7.0, 7.0),) * 3
    assert sims.problem(f"{HERE}:Unlimited", neurons=2, input_limits=declared).spec.input_limits == declared
    recorded = np.column_stack([np.linspace(0, 1000, 500), np.arange(500), np.zeros(500)])
    assert posed.objective.measured_limits(recorded)[0][1] > 1000


def test_declared_limits_stay():
    posed = sims.problem(f"{HERE}:Kept", neurons=2)
    assert posed.spec.input_limits == ((-1.0, 1.0),) * 2
    assert "input_limits" not in posed.notes


def test_fixed_point_keeps_what_float_sees_beyond_10():
    posed = sims.problem(f"{HERE}:Unlimited", cell="elman", neurons=2)
    ctl = nc.Controller(posed.spec, seed=3)
    ctl.params["W_in"][:] *= 0.01
    ctl.params["W_out"][:] *= 3
    exact, fixed = (posed.objective(form, 1) for form in (ctl, ctl.quantize()))
    assert fixed == pytest.approx(exact, rel=0.02)


def test_a_finite_side_of_an_action_is_kept():
    inf = math.inf
    ranges = ((0, inf), (-inf, 0), (-5, inf), (50, inf), (-inf, -50), (-inf, inf), (-2, 3))
    assert action_limits(ranges) == ((0, 10), (-10, 0), (-5, 10), (50, 60), (-60, -50), (-10, 10), (-2, 3))
    posed = sims.problem(f"{HERE}:Unlimited", neurons=2)
    assert posed.spec.output_limits == ((0.0, 10.0),)
    assert posed.notes["output_limits"] == "assumed for action 0: 0 to 10"


def test_published_environments_keep_their_limits():
    from sims import pybullet_envs

    assert pybullet_envs.input_limits_of("AntBulletEnv-v0", 2) == ((-10.0, 10.0),) * 2
    assert pybullet_envs.input_limits_of("Pendulum-v1", 2) is None


def test_exploring_is_the_same_each_time():
    env = AnyEnvironment(f"{HERE}:Robot")
    first = env.explored()
    assert first.shape[1] == 2
    assert np.array_equal(first, env.explored())


def test_the_best_controller_s_limits_hold_what_it_saw(tmp_path):
    posed = sims.problem(f"{HERE}:Unlimited", neurons=2)
    narrow = nc.Spec.from_dict(posed.spec.to_dict() | {"input_limits": [[-1, 1], [0, 1], [-3.2, 3.2]]})
    config = StudyConfig(
        spec=narrow, task=posed.name, generations=1, population=4, episodes=1, validation_episodes=1, notes={"a": "b"}
    )
    result = run_study(config, posed.objective, tmp_path / "s")
    model = io.load_model(result.best_path)
    low, high = np.array(model.spec.input_limits).T
    assert len(model.calibration) == 40
    assert (low <= model.calibration.min(axis=0)).all()
    assert (high >= model.calibration.max(axis=0)).all()
    assert high[1] > 40 > 1
    assert json.loads((tmp_path / "s" / "study.json").read_text())["notes"] == {"a": "b"}
    # A fitness that was measured in fixed point was so with the limits as they are.
    config = dataclasses.replace(config, fixed_point=FixedPointConfig())
    result = run_study(config, posed.objective, tmp_path / "q")
    assert io.load_model(result.best_path).spec == narrow


MODULE = """
import random
class Robot:
    spec = {"inputs": 1, "outputs": 1, "dt_s": 0.05, "output_limits": [[-1, 1]]}
    max_episode_steps = 20
    def reset(self, seed):
        self.x = random.Random(seed).uniform(-100, 100)
        return [self.x]
    def step(self, action):
        self.x += float(action[0])
        return [self.x], -abs(self.x), False
    def render(self):
        import numpy as np
        return np.full((40, 60, 3), int(128 + self.x), np.uint8)
"""


def test_an_own_robot_on_the_command_line(tmp_path):
    (tmp_path / "myrobot.py").write_text(MODULE)
    small = ("--population", 4, "--episodes", 1, "--validation", 2, "--workers", 1, "--neurons", 2, "--out", "s")
    done = neuroctl("evolve", "myrobot:Robot", *small, "--generations", 1, cwd=tmp_path)
    assert "dt_s: 0.05, by its spec" in done.stderr
    assert "myrobot:Robot: first generation" in done.stderr  # :Robot: is no emoji
    assert "input_limits: observation 0, measured under random actions" in done.stderr
    study = json.loads((tmp_path / "s" / "study.json").read_text())
    assert study["notes"]["dt_s"] == "0.05, by its spec"
    (limits,) = study["spec"]["input_limits"]
    assert max(limits) > 60
    # A resumed study keeps its limits, whatever is measured now.
    (tmp_path / "myrobot.py").write_text(MODULE.replace("-100, 100", "-9, 9"))
    neuroctl("evolve", "myrobot:Robot", *small, "--generations", 2, "--resume", cwd=tmp_path)
    assert json.loads((tmp_path / "s" / "study.json").read_text())["spec"]["input_limits"] == [limits]
    file = ("s/best.npz", "--task", "myrobot:Robot")
    shown = neuroctl("run", *file, "--episodes", 1, "--gif", "a.gif", cwd=tmp_path).stdout
    assert "mean" in shown
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF8")
    neuroctl("robustness", *file, "--episodes", 1, "--noise", "0,0.1", "--latency", 0, cwd=tmp_path)
    shown = neuroctl("loop", *file, "--seconds", 0.3, "--watchdog", 5, cwd=tmp_path).stdout
    assert re.search(r"\b(1 episode|\d+ episodes) begun, sum of rewards", shown)


@pytest.mark.parametrize("use", [sims.problem, lambda task: sims.score(task, None, [0])])
def test_a_class_in_place_of_its_name_is_refused(use):
    with pytest.raises(TaskError, match="^task: <class .*; allowed: .*'module:name' of yours$"):
        use(Robot)
