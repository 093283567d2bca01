import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import genome_size
from neuroctl.evolve import Genome, PoolEvaluator, SerialEvaluator
from neuroctl.evolve.evaluators import make_evaluator
from tests.evolve import objectives
from tests.evolve.study_script import SPEC

GENOMES = np.random.default_rng(0).standard_normal((5, genome_size(SPEC)))


def serial():
    with SerialEvaluator(Genome(SPEC), objectives.follow) as evaluator:
        return evaluator.evaluate(GENOMES, [1, 2, 3])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_pool_gives_the_same_bits(workers):
    with PoolEvaluator(Genome(SPEC), objectives.follow, workers) as evaluator:
        assert evaluator.evaluate(GENOMES, [1, 2, 3]).tobytes() == serial().tobytes()
        assert evaluator.evaluate(GENOMES[2:3], [3, 1]).tobytes() == serial()[2:3, [2, 0]].tobytes()


def test_values_do_not_depend_on_what_ran_before():
    with SerialEvaluator(Genome(SPEC), objectives.follow) as evaluator:
        evaluator.evaluate(GENOMES[::-1], [9, 8, 7])
        assert evaluator.evaluate(GENOMES, [1, 2, 3]).tobytes() == serial().tobytes()


def test_a_killed_worker_costs_nothing(tmp_path):
    with PoolEvaluator(Genome(SPEC), objectives.DiesOnce(tmp_path, times=3), 2) as evaluator:
        assert evaluator.evaluate(GENOMES, [1, 2, 3]).tobytes() == serial().tobytes()
    assert not list(tmp_path.iterdir())


def test_killing_workers_of_a_pool_every_now_and_then_changes_nothing():
    stop, evaluated, killed = threading.Event(), threading.Event(), []

    def kill(evaluator):
        while not stop.wait(1.5):
            if not evaluated.is_set():  # workers that are still starting on a busy machine would die in a row
                continue
            evaluated.clear()
            for worker in list((getattr(evaluator._pool, "_processes", None) or {}).values())[:1]:
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)

    with PoolEvaluator(Genome(SPEC), objectives.slow, 2) as evaluator:
        evaluator.evaluate(GENOMES[:1], [1, 2, 3])
        killer = threading.Thread(target=kill, args=(evaluator,))
        killer.start()
        try:
            end = time.monotonic() + 7
            while time.monotonic() < end:
                assert evaluator.evaluate(GENOMES, [1, 2, 3]).tobytes() == serial().tobytes()
                evaluated.set()
        finally:
            stop.set()
            killer.join()
    assert killed


def test_workers_that_always_die_are_reported():
    with (
        PoolEvaluator(Genome(SPEC), objectives.dies, 1) as evaluator,
        pytest.raises(nc.StudyError, match="workers: died"),
    ):
        evaluator.evaluate(GENOMES[:1], [1])


@pytest.mark.parametrize("evaluator", [SerialEvaluator, lambda *a: PoolEvaluator(*a, 1)])
@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (objectives.raises, r"RuntimeError: the robot fell off the table \(.*objectives.py:\d+\); with seed 4"),
        (objectives.text, "returned 'good'; allowed: a number; with seed 4"),
    ],
)
def test_an_objective_that_fails_is_named_in_one_line(evaluator, objective, text):
    with evaluator(Genome(SPEC), objective) as running, pytest.raises(nc.StudyError, match=text) as caught:
        running.evaluate(GENOMES[:1], [4])
    assert "\n" not in str(caught.value)


def test_an_objective_that_cannot_be_pickled_is_named():
    with (
        PoolEvaluator(Genome(SPEC), lambda controller, seed: 0.0, 1) as evaluator,
        pytest.raises(nc.StudyError, match="objective: .*importable module"),
    ):
        evaluator.evaluate(GENOMES[:1], [1])


def test_nan_is_passed_on():
    with SerialEvaluator(Genome(SPEC), objectives.nan) as evaluator:
        values = evaluator.evaluate(GENOMES, [1, 2])
    assert np.isnan(values[:, 0]).all()
    assert np.isfinite(values[:, 1]).all()


def test_workers_die_with_their_parent(tmp_path):
    """The parent is killed in the middle of a study; its workers must be gone soon after."""
    arguments = [sys.executable, "-m", "tests.evolve.study_script", str(tmp_path / "s"), "2", "0", "500", "slow"]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "0\n"
    children = children_of(parent.pid)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(running(pid) for pid in children):
        time.sleep(0.05)
    assert not [pid for pid in children if running(pid)]


def children_of(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in listed.split()]


def running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_worker_that_hangs_is_replaced(tmp_path):
    with PoolEvaluator(Genome(SPEC), objectives.HangsOnce(tmp_path), 2, task_timeout_s=1.0) as evaluator:
        assert evaluator.evaluate(GENOMES, [1, 2, 3]).tobytes() == serial().tobytes()


def test_a_task_that_always_hangs_is_named():
    with (
        PoolEvaluator(Genome(SPEC), objectives.hangs, 2, task_timeout_s=0.5) as evaluator,
        pytest.raises(nc.StudyError, match=r"candidate \d, seeds \[.*2.*\]: no answer within 0.5 s, twice"),
    ):
        evaluator.evaluate(GENOMES, [1, 2, 3])


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf")])
def test_a_bad_time_limit_is_named(limit):
    with pytest.raises(nc.StudyError, match="task_timeout_s"):
        PoolEvaluator(Genome(SPEC), objectives.follow, 2, task_timeout_s=limit)


@pytest.mark.parametrize("workers", [1, 2])
def test_measures_come_beside_the_fitness(workers):
    with make_evaluator(Genome(SPEC), objectives.measured, workers, 2) as evaluator:
        values = evaluator.evaluate(GENOMES, [1, 2, 3])
    assert values.shape == (5, 3, 3)
    assert np.array_equal(values[:, :, :1], serial())
    assert np.array_equal(values[:, 0, 1:], Genome(SPEC).theta(GENOMES)[:, :2].astype(float))


@pytest.mark.parametrize("measures", [0, 1, 3])
def test_another_number_of_measures_is_named(measures):
    evaluator = SerialEvaluator(Genome(SPEC), objectives.measured, measures)
    with evaluator, pytest.raises(nc.StudyError, match="objective"):
        evaluator.evaluate(GENOMES, [1])


def test_a_batch_gives_the_same_values():
    with make_evaluator(Genome(SPEC), objectives.Batched(), 2) as evaluator:
        assert evaluator.evaluate(GENOMES, [1, 2, 3]).tobytes() == serial().tobytes()


@pytest.mark.parametrize(("values", "text"), [(np.zeros(3), r"shape \(3,\)"), ("no GPU", "RuntimeError: no GPU")])
def test_a_bad_batch_is_named(values, text):
    evaluator = make_evaluator(Genome(SPEC), objectives.BadBatch(values), 2)
    with evaluator, pytest.raises(nc.StudyError, match=text):
        evaluator.evaluate(GENOMES, [1, 2])
