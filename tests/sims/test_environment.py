"""What every task has to keep, over the whole task table."""

import gc
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
from sims.bullet.cartpole import CartPole
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
def test_gymnasium_accepts_it_on_a_headless_machine(name, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    env = create(name)
    check_env(env)
    env.close()


@pytest.mark.parametrize("name", sims.names())
def test_frames_a_second_are_the_control_rate(name):
    env = create(name)
    assert env.metadata["render_fps"] == sims.get(name).control_hz
    env.close()


def test_a_window_is_offered_where_there_is_a_display(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    env = CartPole()
    assert env.metadata["render_modes"] == ["human", "rgb_array"]
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


@pytest.fixture(scope="module")
def another_process():
    """Return each robot's bits, as another process computes them."""
    code = "from tests.sims.test_environment import *\nfor name in BULLET: print(name, bits(name, 11, 300).hex())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines()[-len(BULLET) :])


@pytest.mark.parametrize("name", BULLET)
def test_same_bits_in_another_process(name, another_process):
    assert another_process[name] == bits(name, 11, 300).hex()


@pytest.mark.parametrize("name", BULLET)
def test_an_episode_does_not_depend_on_those_before_it(name):
    fresh = [bits(name, seed, 60) for seed in range(3)]
    env = create(name)
    for seed in (2, 0, 0, 1, 2):
        rollout(env, 100 + seed, 37 * seed, share=100.0)  # far beyond failure
        assert rollout(env, seed, 60).tobytes() == fresh[seed]
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_an_interrupted_step_leaves_nothing_for_the_next_episode(name):
    env = create(name)
    env.reset(seed=1)
    env._act(env.action_space.high.tolist())  # and the physics step never comes
    assert rollout(env, 6, 50).tobytes() == bits(name, 6, 50)
    env.close()


@pytest.mark.parametrize("name", BULLET)
def test_neighbors_and_drawing_change_nothing(name):
    alone = bits(name, 5, 100)
    neighbor, drawn = create(name), create(name, render_mode="rgb_array", width=32, height=24)
    neighbor.reset(seed=1)
    drawn.reset(seed=5)
    drawn.render()
    assert rollout(drawn, 5, 100).tobytes() == alone
    neighbor.close()
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
def test_actions_that_are_not_finite_are_refused_and_change_nothing(name):
    env = create(name)
    want = rollout(env, 3, 5)
    for bad in (np.nan, np.inf, -np.inf):
        env.reset(seed=3)
        action = env.action_space.low.copy()
        action[-1] = bad
        with pytest.raises(TaskError, match=r"^action: .*allowed: finite numbers$"):
            env.step(action)
    env.close()
    assert (bits(name, 3, 5)) == want.tobytes()


@pytest.mark.parametrize("name", BULLET)
def test_actions_of_a_wrong_shape_are_refused(name):
    env = create(name)
    env.reset(seed=0)
    for bad in (None, "left", 1.0, [], [[1.0]], [1.0] * 50, {}):
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
def test_a_step_before_the_first_reset_is_refused(name):
    env = create(name)
    with pytest.raises(TaskError, match=r"was not reset; call reset\(\) first$"):
        env.step(env.action_space.low)
    env.close()


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
    for seed in range(10):
        env = create(name)
        numbers.add(env._client)
        env.reset(seed=seed)
        if seed % 2:
            env.close()  # the others are closed when they are collected
        del env
    assert len(numbers) == 1
    env = create(name)
    for seed in range(1000):
        env.reset(seed=seed)
        if seed % 10 == 0:
            env.step(env.action_space.high)
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
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 20
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


def test_options_may_be_numpys_numbers():
    env = sims.make("cartpole", noise=np.float64(0.1), latency=np.int64(1), width=np.int32(32), height=np.uint8(24))
    observation, _ = env.reset(seed=1)
    env.close()
    other = sims.make("cartpole", noise=0.1, latency=1)
    assert (other.reset(seed=1)[0] == observation).all()
    other.close()
    with pytest.raises(TaskError, match="^latency: 1.5; allowed: integers from 0 to 1000$"):
        sims.make("cartpole", noise=0.1, latency=1.5)
