"""Compiled plants as tasks: lanes, one by one, in integers, and step by step in Gymnasium."""

import pickle

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import neuroctl as nc
import sims
from neuroctl.cells import initial
from neuroctl.errors import TaskError
from neuroctl.evolve import Measure, StudyConfig, run_study
from sims import compiled

NAMES = [task.name for task in compiled.TASKS]
# A kernel takes seconds to compile: of plants that differ in what is seen alone, one of each is enough.
DISTINCT = [name for name in NAMES if not name.endswith(("-positions", "-velocities")) and name != "quadrotor-compiled"]


@pytest.mark.filterwarnings("ignore:.*(infinity|normalize|render)")
@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_accepts_it(name):
    check_env(sims.make(name).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", DISTINCT)
def test_a_batch_equals_one_by_one(name):
    objective, spec = sims.objective(name, 60), sims.controller_spec(name, 4)
    theta = np.stack([initial(spec, seed) for seed in range(5)])
    values = objective.batch(spec, theta, [3, 4], 2)
    again = pickle.loads(pickle.dumps(objective))
    assert values.shape == (5, 2, 1)
    for row, wanted in zip(theta, values, strict=True):
        assert [again(nc.Controller(spec, row), seed) for seed in (3, 4)] == wanted[:, 0].tolist()
    assert objective.batch(spec, theta[:0], [3], 1).shape == (0, 1, 1)
    assert objective.batch(spec, theta, [], 1).shape == (5, 0, 1)


@pytest.mark.parametrize("name", DISTINCT)
def test_gymnasium_gives_nearly_the_same_return(name):
    """The environment computes in Python's floats, lanes in float32."""
    for seed in range(3):
        ctl = nc.Controller(sims.controller_spec(name, 4), seed=seed)
        step_by_step = sims.EpisodeReturn(name)(ctl, 7)
        assert sims.score(name, ctl, [7])[0] == pytest.approx(step_by_step, rel=0.02, abs=0.02)


@pytest.mark.parametrize("name", DISTINCT)
def test_integers_run_too(name):
    ctl = nc.Controller(sims.controller_spec(name, 4), seed=2)
    assert sims.score(name, ctl.quantize(), [7])[0] == pytest.approx(sims.score(name, ctl, [7])[0], rel=0.05, abs=0.05)


def test_the_shipped_defaults_walk(tmp_path):
    posed = sims.problem("walker")
    config = StudyConfig(spec=posed.spec, task="walker", generations=60, validation_episodes=1, episodes=1)
    assert run_study(config, posed.objective, tmp_path / "s").best_score > 0.55  # the best schedule known gives 0.6334


def test_measures_come_with_the_fitness():
    objective, spec = sims.objective("phototaxis", 50, measured=True), sims.controller_spec("phototaxis", 4)
    assert [type(measure) for measure in objective.measures] == [Measure, Measure]
    theta = np.stack([initial(spec, seed) for seed in range(3)])
    values = objective.batch(spec, theta, [3, 4], 1)
    assert values.shape == (3, 2, 3)
    assert objective(nc.Controller(spec, theta[1]), 4) == tuple(values[1, 1])
    assert np.hypot(values[..., 1], values[..., 2]).max() <= 5.0 + 1e-3  # 50 steps of 0.1 s at one width a second


@pytest.mark.parametrize("name", ["walker", "cartpole"])
def test_a_task_without_measures_is_named(name):
    with pytest.raises(TaskError, match="has no measures; allowed"):
        sims.objective(name, measured=True)


def test_what_an_environment_refuses():
    with pytest.raises(TaskError, match="render_mode"):
        compiled.PlantEnv("walker", render_mode="rgb_array")
    env = sims.make("walker").unwrapped
    env.reset(seed=1)
    with pytest.raises(TaskError, match="action"):
        env.step(np.array([np.nan, 0, 0]))
