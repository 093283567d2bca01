"""Racing: half of the episodes, and the same winner where episodes agree."""

import dataclasses

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.evolve import Measure, run_study
from neuroctl.evolve.racing import race
from tests.evolve import objectives
from tests.evolve.study_script import config
from tests.evolve.test_study_options import rows


class Noisy:
    """Candidates' true values with noise by seed; counts episodes."""

    def __init__(self, noise):
        self.noise, self.episodes = noise, 0

    def __call__(self, genomes, seeds):
        self.episodes += len(genomes) * len(seeds)
        noise = np.array([np.random.default_rng([seed, 7]).standard_normal() for seed in seeds])
        values = np.array(
            [[np.random.default_rng([seed, int(g[0])]).standard_normal() for seed in seeds] for g in genomes]
        )
        return (genomes[:, :1] + self.noise * (noise + values))[..., None]


def test_half_of_the_episodes_are_run_and_counted():
    evaluate = Noisy(0.0)
    fitness, episodes = race(evaluate, np.arange(32.0)[:, None], range(16))
    assert episodes == evaluate.episodes == 32 * 4 + 16 * 4 + 8 * 8
    assert fitness.tolist() == list(range(32))


def test_none_that_left_is_above_one_that_stayed():
    genomes = np.random.default_rng(0).permutation(32)[:, None].astype(float)
    fitness, _ = race(Noisy(20.0), genomes, range(16))
    order = np.argsort(-fitness)
    assert sorted(fitness[order[:8]])[0] > sorted(fitness[order[8:16]])[-1] > sorted(fitness[order[16:]])[-1]


def test_nan_leaves_first():
    def evaluate(genomes, seeds):
        return np.where(genomes[:, :1] % 2 == 0, np.nan, genomes[:, :1] + 0.0 * np.array(seeds))[..., None]

    fitness, _ = race(evaluate, np.arange(8.0)[:, None], range(8))
    assert np.isnan(fitness[::2]).all()
    assert fitness[1::2].tolist() == [1.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize(("population", "episodes"), [(4, 1), (5, 2), (7, 3), (4, 5)])
def test_small_generations_race_too(population, episodes):
    fitness, run = race(Noisy(0.0), np.arange(float(population))[:, None], range(episodes))
    assert int(np.argmax(fitness)) == population - 1
    assert run <= population * episodes


def test_a_study_that_races_resumes_and_counts_its_episodes(tmp_path):
    racing = config(racing=True, episodes=8)
    run_study(racing, objectives.follow, tmp_path / "whole", workers=2)
    run_study(dataclasses.replace(racing, generations=3), objectives.follow, tmp_path / "s")
    run_study(racing, objectives.follow, tmp_path / "s", resume=True)
    assert rows(tmp_path / "s") == rows(tmp_path / "whole")
    last = rows(tmp_path / "s")[-1]
    # Of 6 candidates 6 run two episodes, 3 two more and 2 the last four.
    assert int(last[2]) == racing.generations * (6 * 2 + 3 * 2 + 2 * 4)


def test_racing_with_measures_is_refused():
    with pytest.raises(nc.StudyError, match="racing: True; allowed"):
        config(racing=True, measures=(Measure("a", 0, 1),))
