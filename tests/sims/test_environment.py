"""What every task has to keep, over the whole task table; and the cart-pole's own rules."""

import gc
import itertools
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pybullet
import pytest
from gymnasium.utils.env_checker import check_env

import sims
from neuroctl import BackendUnavailable, TaskError
from sims.bullet.base import BulletTask
from sims.bullet.cartpole import FALLEN_RAD, START, TRACK_M, Baseline, CartPole
from tests.sims.helpers import rollout

ROOT = Path(__file__).resolve().parents[2]

BULLET = [name for name in sims.names() if not sims.get(name).plant]


def create(name, **kwargs):
    return sims.make(name, **kwargs).unwrapped


@pytest.fixture
def cartpole():
    env = CartPole()
    yield env
    env.close()


# Over the table.


@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space")  # actions are in physical units on purpose
@pytest.mark.parametrize("name", BULLET)
def test_gymnasium_accepts_it(name):
    # Its render check opens a window; frames are tested below.
    env = create(name)
    check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_spaces_are_those_of_the_table(name):
    task, env = sims.get(name), create(name)
    low, high = np.array(task.output_limits, np.float32).T
    assert env.action_space == gymnasium.spaces.Box(low, high, dtype=np.float32)
    assert env.observation_space.shape == (task.inputs,) == (len(task.input_names),)
    assert len(task.output_names) == task.outputs
    # What a controller is told to expect lies within what can be observed.
    assert (env.observation_space.low <= np.array(task.input_limits)[:, 0]).all()
    assert (env.observation_space.high >= np.array(task.input_limits)[:, 1]).all()
    env.close()


def bits(name, seed, steps):
    env = create(name)
    observations = rollout(env, seed, steps)
    env.close()
    return observations.tobytes()


@pytest.mark.parametrize("name", BULLET)
def test_same_bits_in_another_process(name):
    code = f"from tests.sims.test_environment import bits; print(bits({name!r}, 11, 500).hex())"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == bits(name, 11, 500).hex()


@pytest.mark.parametrize("name", BULLET)
def test_an_episode_does_not_depend_on_those_before_it(name):
    fresh = [bits(name, seed, 200) for seed in range(5)]
    env = create(name)
    for seed in (3, 0, 4, 4, 1, 2, 0, 3):
        rollout(env, 100 + seed, 37 * seed, force_n=1e3)  # far beyond failure
        assert rollout(env, seed, 200).tobytes() == fresh[seed]
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_an_interrupted_step_leaves_nothing_for_the_next_episode(name):
    env = create(name)
    env.reset(seed=1)
    env._act(env.action_space.high.tolist())  # and the physics step never comes
    assert rollout(env, 6, 50).tobytes() == bits(name, 6, 50)
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_neighbours_and_drawing_change_nothing(name):
    alone = bits(name, 5, 100)
    neighbour, drawn = create(name), create(name, render_mode="rgb_array", width=32, height=24)
    neighbour.reset(seed=1)
    drawn.reset(seed=5)
    drawn.render()
    assert rollout(drawn, 5, 100).tobytes() == alone
    neighbour.close()
    drawn.close()


@pytest.mark.parametrize("name", BULLET)
def test_earlier_observations_stay_as_they_were(name):
    env = create(name)
    first, _ = env.reset(seed=1)
    kept = first.copy()
    second = env.step(env.action_space.high)[0]
    assert (first == kept).all()
    assert (first != second).any()
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_actions_beyond_the_limits_are_clipped(name):
    env = create(name)
    ends = []
    for action in (env.action_space.high, env.action_space.high * 1e30, np.full(env.action_space.shape, 1e300)):
        env.reset(seed=2)
        ends.append([env.step(action)[0] for _ in range(10)][-1].tobytes())
    env.close()
    assert len(set(ends)) == 1


@pytest.mark.parametrize("name", BULLET)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite_are_refused_and_change_nothing(name, bad):
    env = create(name)
    want = rollout(env, 3, 5)
    env.reset(seed=3)
    action = env.action_space.low.copy()
    action[-1] = bad
    with pytest.raises(TaskError, match=r"^action: .*allowed: finite numbers$"):
        env.step(action)
    env.close()
    assert (bits(name, 3, 5)) == want.tobytes()


@pytest.mark.parametrize("name", BULLET)
@pytest.mark.parametrize("bad", [None, "left", 1.0, [], [[1.0]], [1.0] * 50, {}])
def test_actions_of_a_wrong_shape_are_refused(name, bad):
    env = create(name)
    env.reset(seed=0)
    with pytest.raises(TaskError, match=r"^action: .*; allowed: [^\n]*$"):
        env.step(bad)
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_a_closed_environment_says_so_and_leaves_others_alone(name):
    env = create(name)
    env.close()
    env.close()
    other = create(name)  # takes over the number of the closed client
    other.reset(seed=1)
    for use in (lambda: env.reset(seed=1), lambda: env.step(env.action_space.low)):
        with pytest.raises(TaskError, match="closed; make a new one"):
            use()
    other.step(other.action_space.low)
    other.close()


@pytest.mark.parametrize("name", BULLET)
def test_a_dead_physics_client_is_a_one_line_error(name):
    env = create(name)
    env.reset(seed=1)
    pybullet.disconnect(physicsClientId=env._client)
    for use in (lambda: env.reset(seed=1), lambda: env.step(env.action_space.low)):
        with pytest.raises(TaskError, match=r"^physics: [^\n]*make a new environment$"):
            use()
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_many_environments_and_resets_leave_nothing_behind(name):
    page_kib = 4

    def resident_mib():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * page_kib / 1024

    for _ in range(3):
        create(name).close()
    before_mib, numbers = resident_mib(), set()
    for seed in range(50):
        env = create(name)
        numbers.add(env._client)
        env.reset(seed=seed)
        if seed % 2:
            env.close()  # the others are closed when they are collected
        del env
    assert len(numbers) == 1
    env = create(name)
    for seed in range(500):
        rollout(env, seed, 3)
    env.close()
    assert resident_mib() - before_mib < 10


@pytest.mark.parametrize("name", BULLET)
def test_an_exception_in_the_user_s_code_closes_the_environment(name):
    with pytest.raises(ZeroDivisionError), create(name) as env:
        env.reset(seed=0)
        _ = 1 / 0
    assert env._client < 0


@pytest.mark.parametrize("name", BULLET)
def test_frames_show_the_scene_and_its_movement(name):
    env = create(name, render_mode="rgb_array", width=80, height=60)
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (60, 80, 3)
    assert first.dtype == np.uint8
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 50
    for _ in range(20):
        env.step(env.action_space.high)
    assert np.abs(env.render().astype(int) - first).max() > 50
    env.close()


def test_environment_without_render_mode_does_not_draw(cartpole):
    with pytest.raises(TaskError, match="render_mode: None"):
        cartpole.render()


@pytest.mark.parametrize("bad", [{"render_mode": "ansi"}, {"width": 0}, {"height": 2.5}, {"width": 10**6}])
def test_bad_arguments(bad):
    with pytest.raises(TaskError, match=rf"^{next(iter(bad))}: .*; allowed: "):
        CartPole(**bad)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only X needs DISPLAY")
def test_a_window_without_a_display_is_refused(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(TaskError, match="display"):
        CartPole(render_mode="human")


def test_a_window_runs_in_real_time(monkeypatch):
    # All but the window itself, which tests cannot open.
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(pybullet, "GUI", pybullet.DIRECT)
    env = CartPole(render_mode="human")
    env.reset(seed=0)
    started_s = time.monotonic()
    for _ in range(13):
        env.step([0.0])
    assert time.monotonic() - started_s >= 12 / 60 - 0.001
    assert env.render() is None
    env.close()


def test_missing_engine_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(BackendUnavailable, match=r"^pybullet: .*neuroctl\[sim\]"):
        CartPole()


def test_control_rate_has_to_divide_the_physics_rate():
    for physics_hz in (250, 180, 30):
        with pytest.raises(TaskError, match="control_hz: 60; allowed"):
            type("Odd", (CartPole,), {"physics_hz": physics_hz})()


def test_base_class_asks_for_four_methods():
    with pytest.raises(NotImplementedError):
        type("Bare", (BulletTask,), {"task": CartPole.task, "camera": CartPole.camera})()


# Cart-pole.


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
    assert (reward, terminated, truncated, info) == (0.0, True, False, {})
    assert abs(observation[0]) > TRACK_M or abs(observation[1]) > FALLEN_RAD
    assert cartpole.observation_space.contains(observation)


def test_a_step_survived_earns_one(cartpole):
    cartpole.reset(seed=0)
    assert cartpole.step([0.0])[1:3] == (1.0, False)


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
    assert (sims.score("cartpole", Baseline(), range(100)) == 1000).sum() >= 99


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

    assert sims.score("cartpole", Forgetful(), range(20)).max() < 1000
