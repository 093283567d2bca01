"""Robots, their baselines, and what is drawn of them."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl import TaskError
from sims import pybullet_envs
from sims.environments import create
from tests.commands import command
from tests.sims.helpers import Noisy

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ("HalfCheetah", "Ant", "Walker2D", "Hopper")
BULLET = [name for name in sims.names() if not sims.get(name).plant]

# What a baseline earns at least, on the mean of four starts; standing still or acting at random earns far less.
EARNED = {
    "arm": 7.0, "cartpole": 985, "double-pole": 985, "hexapod": 3.4, "minitaur": 3.4, "quadrotor": 18.0,
    "quadrotor-sensed": 16.0, "quadruped": 4.5, "rover-avoid": 5.0, "rover-wall": 4.0, "t-maze": 1.9, "waypoints": 14.0,
}  # fmt: skip


def test_every_task_has_a_bar():
    assert set(EARNED) == set(BULLET)


@pytest.mark.parametrize("name", BULLET)
def test_baselines_do_what_is_asked(name):
    scores = sims.score(name, sims.baseline(name), range(4))
    assert scores.mean() >= EARNED[name]
    task = sims.get(name)
    idle = sims.score(name, Noisy(task.inputs, task.outputs, 0.05), range(2))
    assert idle.mean() < 0.75 * scores.mean()


def test_compiled_tasks_have_no_baseline():
    with pytest.raises(TaskError, match=r"^task: 'walker' has no baseline; allowed: "):
        sims.baseline("walker")


@pytest.mark.parametrize("name", ["quadruped", "minitaur", "hexapod"])
def test_legged_robots_turn_as_they_are_steered(name):
    env = sims.make(f"{name},steer=true").unwrapped
    commands = {tuple(env.reset(seed=seed)[0][-2:].round(4)) for seed in range(5)}
    assert len(commands) == 5
    observation, _ = env.reset(seed=0, options={"command": (0.25, -0.5)})
    assert observation[-2:].tolist() == [0.25, -0.5]
    for bad in ("fast", (1.0,), (np.nan, 0.0), (0.1, 9.0)):
        with pytest.raises(TaskError, match=r"^options\['command'\]: .*; allowed: speed from 0 to 5 m/s"):
            env.reset(seed=0, options={"command": bad})
    env.close()


def test_who_gets_ahead_of_the_commanded_way_pays_for_it():
    env = sims.make("quadruped").unwrapped
    pushed = {}
    for speed in (0.25, 0.5, 1.0):
        env.reset(seed=0, options={"command": (0.5, 0.0)})
        earned = 0.0
        for _ in range(10):
            env._p.resetBaseVelocity(env._body, (speed, 0, 0), (0, 0, 0), physicsClientId=env._client)
            env._act([0.0] * 12)
            earned += env._sense()[1]
        pushed[speed] = earned / (10 * env.task.control_dt_s)
    env.close()
    assert pushed[0.25] == pytest.approx(0.25, abs=0.05)
    assert pushed[0.5] == pytest.approx(0.5, abs=0.05)
    assert pushed[1.0] == pytest.approx(0.0, abs=0.05)


def test_feet_are_down_at_rest_and_in_turns_when_it_walks():
    env = sims.make("quadruped").unwrapped
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.zeros(12))
    assert env.feet_down() == [True] * 4
    env.close()
    down = sims.record("quadruped", sims.baseline("quadruped"), 0, 150).feet_down
    assert down.shape == (150, 4)
    share = down[30:].mean(axis=0)
    assert (share > 0.05).all()
    assert (share < 0.9).all()


def test_a_gait_is_drawn(tmp_path):
    plots = pytest.importorskip("neuroctl.plots")
    down = np.array([[True, False], [True, True], [False, True], [True, False]])
    plots.gait(down, ["left", "right"], 0.1, tmp_path / "gait.png", title="gait")
    assert (tmp_path / "gait.png").read_bytes()[:4] == b"\x89PNG"


def test_weak_motors_hold_less():
    strong, weak = (sims.make(name).unwrapped for name in ("quadruped", "quadruped,strength=0.01"))
    for env in (strong, weak):
        env.reset(seed=0)
        for _ in range(20):
            env.step(np.zeros(12))
    heights = [
        env._p.getBasePositionAndOrientation(env._body, physicsClientId=env._client)[0][2] for env in (strong, weak)
    ]
    assert heights[1] < heights[0] - 0.05
    strong.close()
    weak.close()


def test_randomized_masses_depend_on_the_seed_alone():
    env = sims.make("quadruped,randomize=0.3").unwrapped
    plain = sims.make("quadruped").unwrapped
    ends = {}
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        end = [env.step(np.full(12, 0.3))[0] for _ in range(20)][-1].tobytes()
        assert ends.setdefault(seed, end) == end
    plain.reset(seed=1)
    assert [plain.step(np.full(12, 0.3))[0] for _ in range(20)][-1].tobytes() != ends[1]
    env.close()
    plain.close()


def test_late_sensors_show_what_was():
    env, late = sims.make("cartpole").unwrapped, sims.make("cartpole,latency=2").unwrapped
    now, then = ([one.reset(seed=3)[0], *(one.step([1.0])[0] for _ in range(6))] for one in (env, late))
    assert np.array_equal(np.array(then[2:]), np.array(now[:-2]))
    env.close()
    late.close()


def python_m_sims(*arguments):
    return command(*arguments, module="sims", cwd=ROOT)


def test_python_m_sims(tmp_path):
    done = python_m_sims("cartpole", "--baseline", "--episodes", "2", "--seed", "5")
    assert done.returncode == 0
    assert "mean 99" in done.stdout
    done = python_m_sims("arm", "--baseline", "--gif", str(tmp_path / "arm.gif"))
    assert done.returncode == 0
    assert (tmp_path / "arm.gif").read_bytes()[:3] == b"GIF"
    done = python_m_sims("cartpole", "--bench")
    assert "over bare stepping" in done.stdout
    done = python_m_sims("cartpole", "--evolve", "--generations", "1", "--out", str(tmp_path / "s"), "--neurons", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s" / "best.npz").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cartpole"], "error: mode: none; allowed: one of --evolve, --play, --baseline, --bench"),
        (["cartpole", "--play", "--bench"], "error: mode: play bench; allowed"),
        (["cartpol", "--baseline"], "error: task: 'cartpol' is unknown; did you mean 'cartpole'?"),
        (["walker", "--play"], "error: task: no controller comes with 'walker'; allowed: "),
        (["walker", "--bench", "--gif", "a.gif"], "error: gif: 'a.gif'; allowed: with --play or --baseline"),
        (["arm", "--baseline", "--gif", "a.png"], "error: gif: 'a.png'; allowed: a name that ends in .gif"),
        (["cartpole", "--baseline", "--nonsense"], "error: option: '--nonsense'; allowed"),
    ],
)
def test_python_m_sims_refuses_in_one_line(arguments, said):
    done = python_m_sims(*arguments)
    assert done.returncode == 1 or done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.strip().splitlines()) == 1


def test_python_m_sims_shows_a_traceback_on_demand():
    for arguments in (("--debug", "cartpol", "--baseline"), ("cartpol", "--baseline", "--debug")):
        done = python_m_sims(*arguments)
        assert done.returncode == 1
        assert "Traceback" in done.stderr and done.stderr.splitlines()[-1].startswith("neuroctl.errors.TaskError: task")
    assert "--debug" in python_m_sims("--help").stdout


def test_scores_of_gymnasium_s_own_environments():
    posed = sims.problem("Pendulum-v1", neurons=2)
    ctl = nc.Controller(posed.spec, seed=1)
    scores = sims.score("Pendulum-v1", ctl, range(3))
    assert scores.tolist() == [posed.objective(ctl, seed) for seed in range(3)]
    with pytest.raises(TaskError, match="^inputs: 2; task 'Pendulum-v1' needs a controller with 3$"):
        sims.score("Pendulum-v1", nc.Controller(sims.controller_spec("cartpole"), seed=1), [1])


def test_published_environments_do_not_depend_on_earlier_episodes(capfd):
    pytest.importorskip("pybullet_envs_gymnasium")
    first, second = (sims.problem("HopperBulletEnv-v0", neurons=2) for _ in range(2))
    ctl = nc.Controller(first.spec, seed=1)
    forth = [first.objective(ctl, seed) for seed in (1, 2, 3)]
    back = [second.objective(ctl, seed) for seed in (3, 2, 1)]
    assert forth == back[::-1]
    assert len(set(forth)) == 3
    assert capfd.readouterr().out == ""  # the engine's own remarks are not let through


def contacts_of(env, client, step):
    """How many points of contact there were at an episode's end, and how many the next one begins with."""
    env.reset(seed=1)
    for _ in range(60):
        step()
    before = len(env._p.getContactPoints(physicsClientId=client))
    env.reset(seed=1)
    return before, len(env._p.getContactPoints(physicsClientId=client))


@pytest.mark.parametrize("name", ["quadruped", "minitaur", "hexapod", "rover-wall", "t-maze"])
def test_an_episode_begins_without_the_last_ones_contacts(name):
    """The engine keeps them where a state without contacts is restored, and starts the next step from their forces."""
    env = sims.make(name).unwrapped
    before, after = contacts_of(env, env._client, lambda: env.step(np.zeros(env.action_space.shape, np.float32)))
    assert before > 0
    assert after == 0
    env.close()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_episode_begins_without_the_last_ones_contacts(name):
    pytest.importorskip("pybullet_envs_gymnasium")
    env = create(f"{name}BulletEnv-v0").unwrapped
    before, after = contacts_of(env, env.physicsClientId, lambda: env.step(np.zeros(env.action_space.shape)))
    assert before > 0
    assert after == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_environments_in_fewer_calls_give_the_same_bits(name):
    pytest.importorskip("pybullet_envs_gymnasium")
    name = f"{name}BulletEnv-v0"
    sims.problem(name, neurons=2)  # registers it
    plain, quick = (gymnasium.make(name, disable_env_checker=True) for _ in range(2))
    rng = np.random.default_rng(0)
    for env in (plain, quick):
        env.reset(seed=0)
    pybullet_envs.speed_up(name, quick)
    for seed in range(1, 4):
        assert plain.reset(seed=seed)[0].tobytes() == quick.reset(seed=seed)[0].tobytes()
        for _ in range(100):
            action = rng.uniform(-1.5, 1.5, plain.action_space.shape).astype(np.float32)
            (theirs, *rest), (ours, *same) = plain.step(action), quick.step(action)
            assert theirs.tobytes() == ours.tobytes()
            assert rest == same
    with pytest.raises(TaskError, match="^action: .*; allowed: finite numbers"):
        quick.step(np.full(plain.action_space.shape, np.nan, np.float32))
