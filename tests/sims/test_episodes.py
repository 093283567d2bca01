import dataclasses
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl import TaskError
from sims.bullet.cartpole import Baseline
from tests.sims.helpers import Noisy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def episode():
    made = sims.EpisodeReturn("cartpole", max_steps=200)
    yield made
    made.close()


def network(seed=0, **kwargs):
    return nc.Controller(sims.controller_spec("cartpole", neurons=4, **kwargs), seed=seed)


def test_a_return_is_the_sum_of_the_rewards(episode):
    recorded = sims.record("cartpole", Baseline(), 0, 200)
    assert episode(Baseline(), 0) == pytest.approx(recorded.rewards.sum(), rel=1e-12)
    fallen = episode(Noisy(force_n=0.0), 0)
    recorded = sims.record("cartpole", Noisy(force_n=0.0), 0)
    assert recorded.terminated
    assert fallen == pytest.approx(recorded.total_return, rel=1e-12)
    assert (recorded.rewards > 0.6).sum() == recorded.steps - 1


def test_records_are_those_of_single_episodes():
    for seed, episode in zip((3, 1), sims.records("cartpole", Noisy(), (3, 1)), strict=True):
        alone = sims.record("cartpole", Noisy(), seed)
        assert episode.seed == seed
        assert (episode.observations == alone.observations).all()
        assert (episode.rewards == alone.rewards).all()


def test_same_bits_in_any_order_and_process(episode):
    seeds = list(range(8))
    want = [episode(Noisy(), seed) for seed in seeds]
    assert len(set(want)) > 3
    controller = Noisy()
    assert [episode(controller, seed) for seed in reversed(seeds)] == want[::-1]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(episode, [(Noisy(), seed) for seed in seeds]) == want
    assert sims.score("cartpole", Noisy(), seeds, 200).tolist() == want


def test_environment_is_made_once_and_stays_behind_when_pickled(episode):
    assert episode._env is None
    episode(Baseline(), 0)
    env = episode._env
    episode(Baseline(), 1)
    assert episode._env is env
    copy = pickle.loads(pickle.dumps(episode))
    assert copy._env is None
    assert (copy.task, copy.max_steps) == (episode.task, 200)
    assert episode._env is env
    episode.close()
    episode.close()
    assert env._env._client < 0
    assert 190.0 < episode(Baseline(), 0) < 200.0


def test_limits_default_to_the_task(episode):
    assert sims.EpisodeReturn("cartpole").max_steps == 1000
    assert repr(episode) == "EpisodeReturn('cartpole', max_steps=200)"


@pytest.mark.parametrize("max_steps", [0, -1, 1.5, "many", float("nan")])
def test_bad_max_steps(max_steps):
    with pytest.raises(TaskError, match="^max_steps: .*; allowed: integers >= 1"):
        sims.EpisodeReturn("cartpole", max_steps)


@pytest.mark.parametrize("seed", [-1, 1.5, None, "1"])
def test_bad_seed(episode, seed):
    with pytest.raises(TaskError, match="^seed: .*; allowed: integers >= 0"):
        episode(Baseline(), seed)


def test_seeds_of_numpy_are_taken(episode):
    assert episode(Noisy(), np.int64(3)) == episode(Noisy(), 3)
    assert sims.score("cartpole", Noisy(), np.arange(3), np.int32(20)).shape == (3,)


@pytest.mark.parametrize(("field", "sizes"), [("inputs", {"inputs": 4}), ("outputs", {"outputs": 2})])
def test_a_controller_of_other_sizes_is_refused(episode, field, sizes):
    for use in (episode, lambda controller, seed: sims.record("cartpole", controller, seed)):
        with pytest.raises(TaskError, match=f"^{field}: {sizes[field]}; task 'cartpole' needs"):
            use(Noisy(**sizes), 0)


def test_something_else_than_a_controller_is_refused(episode):
    with pytest.raises(TaskError, match="^controller: function; allowed"):
        episode(lambda u: u, 0)


def test_an_output_that_is_not_finite_is_an_error_and_the_next_episode_is_sound(episode):
    want = episode(Noisy(), 4)
    broken = SimpleNamespace(spec=Noisy().spec, reset=lambda: None, step=lambda u: np.array([np.nan], np.float32))
    with pytest.raises(TaskError, match="^action: .*finite"):
        episode(broken, 4)
    assert episode(Noisy(), 4) == want


def test_record_keeps_what_was_seen_and_done():
    episode = sims.record("cartpole", Noisy(), 3, 12)
    assert episode.observations.shape == (12, 2)
    assert episode.observations.dtype == np.float32
    assert episode.actions.shape == (12, 1)
    assert episode.actions.dtype == np.float32
    assert episode.states[:, 0].tolist() == list(range(1, 13))
    assert (episode.steps, episode.terminated) == (12, False)
    assert episode.frames == []
    # Replayed, the recorded actions give the recorded observations.
    env = sims.make("cartpole")
    observation, _ = env.reset(seed=3)
    for u, done in zip(episode.observations, episode.actions, strict=True):
        assert (observation == u).all()
        observation, *_ = env.step(done)
    env.close()


def test_record_without_state_and_with_frames():
    episode = sims.record("cartpole", Baseline(), 0, 7, frames=True, frame_every=3, size=(40, 30))
    assert episode.states is None
    assert [frame.shape for frame in episode.frames] == [(30, 40, 3)] * 3
    assert (episode.frames[0] != episode.frames[2]).any()
    assert "\n" not in repr(episode)


@pytest.mark.parametrize("bad", [{"frame_every": 0}, {"size": (0, 10)}, {"size": 3}, {"max_steps": 0}])
def test_record_refuses_bad_arguments(bad):
    with pytest.raises(TaskError, match="; allowed: "):
        sims.record("cartpole", Baseline(), 0, **{"max_steps": 5, "frames": True} | bad)


def test_networks_float_and_fixed_point(episode):
    controller = network()
    recorded = sims.record("cartpole", controller, 0, 50)
    assert recorded.states.shape == (recorded.steps, controller.state.size)
    # Rewards are summed in another order.
    assert recorded.total_return == pytest.approx(sims.EpisodeReturn("cartpole", 50)(controller, 0), rel=1e-14)
    quantized = controller.quantize(calibration=recorded.observations)
    assert episode(quantized, 0) == episode(quantized, 0) > 1
    double = nc.Controller(nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=1 / 60, dtype="float64"))
    assert episode(double, 0) > 1


def test_output_stays_clean_for_machine_readers():
    code = "import sims; from sims.bullet.cartpole import Baseline; sims.score('cartpole', Baseline(), [0], 5)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_the_time_step_has_to_be_the_tasks():
    spec = sims.controller_spec("cartpole")
    slow = dataclasses.replace(spec, dt_s=0.1)
    with pytest.raises(TaskError, match=r"dt_s: 0\.1; task 'cartpole' needs"):
        sims.EpisodeReturn("cartpole")(nc.Controller(slow), 1)


def test_observations_are_what_the_controller_saw():
    ctl = nc.Controller(sims.controller_spec("cartpole"), seed=1)
    observations = sims.EpisodeReturn("cartpole", max_steps=9).observations(ctl, 5)
    assert (observations == sims.record("cartpole", ctl, 5, 9).observations).all()
