"""Evaluation on a local Ray cluster: the same bits, whatever dies."""

import signal

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.evolve import Genome, SerialEvaluator
from neuroctl.evolve.evaluators import make_evaluator
from tests.evolve import objectives
from tests.evolve.study_script import SPEC

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'neuroctl[cluster]'): it was NOT tested")

GENOMES = np.random.default_rng(0).standard_normal((8, Genome(SPEC).size))
SEEDS = [1, 2, 3]

# Ray keeps files and sockets of its own open; its resource warnings are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def expected():
    with SerialEvaluator(Genome(SPEC), objectives.follow) as evaluator:
        return evaluator.evaluate(GENOMES, SEEDS)


def on_ray(objective, **options):
    return make_evaluator(Genome(SPEC), objective, 2, cluster="local", **options)


def test_same_bits_also_when_actors_die(tmp_path):
    with on_ray(objectives.DiesOnce(tmp_path, times=2)) as evaluator:
        for _ in range(2):
            assert evaluator.evaluate(GENOMES, SEEDS).tobytes() == expected().tobytes()
        assert evaluator.evaluate(GENOMES[:1], SEEDS).tobytes() == expected()[:1].tobytes()
    assert not list(tmp_path.iterdir())


def test_an_actor_that_hangs_is_replaced_once(tmp_path):
    with on_ray(objectives.HangsOnce(tmp_path), task_timeout_s=3.0) as evaluator:
        assert evaluator.evaluate(GENOMES, SEEDS).tobytes() == expected().tobytes()


def test_populations_are_shared_out():
    with on_ray(objectives.Batched()) as evaluator:
        assert evaluator.evaluate(GENOMES, SEEDS).tobytes() == expected().tobytes()
        assert evaluator.evaluate(GENOMES[:1], SEEDS).tobytes() == expected()[:1].tobytes()


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (objectives.raises, r"RuntimeError: the robot fell off the table \(.*objectives.py:\d+\); with seed 1"),
        (objectives.dies, "its actor died, 6 times"),
    ],
)
def test_what_fails_is_named_in_one_line(objective, text):
    with on_ray(objective) as evaluator, pytest.raises(nc.StudyError, match=text) as caught:
        evaluator.evaluate(GENOMES[:1], SEEDS)
    assert "\n" not in str(caught.value)


def test_a_cluster_takes_no_signal_from_the_study():
    before = signal.getsignal(signal.SIGTERM)
    with on_ray(objectives.follow) as evaluator:
        assert signal.getsignal(signal.SIGTERM) is before
        evaluator.evaluate(GENOMES[:1], SEEDS)
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_unreachable_cluster_is_named():
    with pytest.raises(nc.BackendUnavailable, match="cluster: '127.0.0.1:1'.*allowed: local, or the address"):
        make_evaluator(Genome(SPEC), objectives.follow, 2, cluster="127.0.0.1:1")
