"""What a hostile folder, an impatient user or a broken script do to a study."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import genome_size
from neuroctl.evolve import OPTIMIZERS, Genome, PoolEvaluator, SerialEvaluator, run_study
from tests.evolve import objectives
from tests.evolve.study_script import SPEC, config

ROOT = Path(__file__).resolve().parents[2]
GENOMES = np.zeros((3, genome_size(SPEC)))
PROLOGUE = "from neuroctl.evolve import run_study\nfrom tests.evolve.study_script import config\n"


def refused(text, *arguments, **keywords):
    with pytest.raises(nc.NeuroctlError, match=text) as caught:
        run_study(*arguments, **keywords)
    assert "\n" not in str(caught.value)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# --- Folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".gitlab-ci.yml", ".env.local", ".bashrc", ".study.json.bak", "best.npz"])
def test_hidden_files_are_other_files_too(tmp_path, name):
    (tmp_path / name).write_text("precious")
    refused("holds other files", config(), objectives.follow, tmp_path)
    assert names(tmp_path) == [name]


def test_hidden_files_put_into_a_study_stay(tmp_path):
    run_study(config(generations=1), objectives.follow, tmp_path)
    (tmp_path / ".notes.txt").write_text("precious")
    (tmp_path / ".venv.old").mkdir()
    (tmp_path / ".best.npz.abc_1234").write_text("left by a killed write")
    run_study(config(generations=2), objectives.follow, tmp_path, resume=True)
    assert {".notes.txt", ".venv.old"} <= set(names(tmp_path))
    assert ".best.npz.abc_1234" not in names(tmp_path)


def test_a_folder_with_leftovers_of_a_killed_start_is_taken(tmp_path):
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".study.json.abcd1234").write_text("{")
    assert run_study(config(generations=1), objectives.follow, tmp_path).generations == 1


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("path", ["/tmp/" + "x" * 300, "/tmp/nul\0nul"])
def test_impossible_paths_are_named(path, resume):
    refused("^out: ", config(), objectives.follow, path, resume=resume)


def test_a_checkpoint_of_another_study_is_named(tmp_path):
    run_study(config(generations=1), objectives.follow, tmp_path / "s")
    run_study(config(generations=1, seed=99), objectives.follow, tmp_path / "t")
    for name in ("checkpoint.npz", "generations.bin"):
        os.replace(tmp_path / "t" / name, tmp_path / "s" / name)
    refused("of another study", config(), objectives.follow, tmp_path / "s", resume=True)


def test_a_lost_checkpoint_is_named(tmp_path):
    run_study(config(generations=1), objectives.follow, tmp_path / "s")
    (tmp_path / "s" / "checkpoint.npz").unlink()
    refused("checkpoint.npz is missing", config(), objectives.follow, tmp_path / "s", resume=True)


def test_fewer_generations_than_done_are_refused(tmp_path):
    run_study(config(generations=3), objectives.follow, tmp_path / "s")
    before = (tmp_path / "s" / "study.json").read_bytes()
    refused("generations: 2; allowed: from 3", config(generations=2), objectives.follow, tmp_path / "s", resume=True)
    assert (tmp_path / "s" / "study.json").read_bytes() == before


def test_a_replay_that_differs_is_refused(tmp_path, monkeypatch):
    """As after an update of a package that changed the optimizer."""
    run_study(config(generations=2), objectives.follow, tmp_path / "s")
    assert "numpy" in json.loads((tmp_path / "s" / "study.json").read_text())["versions"]
    monkeypatch.setattr(
        "neuroctl.evolve.study.make_optimizer", lambda _, n, seed, p, s, m: OPTIMIZERS["cmaes"](n, seed, p, s * 1.01)
    )
    before = (tmp_path / "s" / "checkpoint.npz").read_bytes()
    refused("search: its replay differs", config(), objectives.follow, tmp_path / "s", resume=True)
    assert (tmp_path / "s" / "checkpoint.npz").read_bytes() == before


def test_a_full_disk_for_real(tmp_path):
    """No file may grow past a kilobyte, so that the system refuses the writes itself."""
    run_study(config(generations=2), objectives.follow, tmp_path / "s")
    before = {name: (tmp_path / "s" / name).read_bytes() for name in ("checkpoint.npz", "best.npz")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        refused("cannot be written", config(), objectives.follow, tmp_path / "s", resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {name: (tmp_path / "s" / name).read_bytes() for name in before} == before
    assert not [name for name in names(tmp_path / "s") if name.startswith(".") and name != ".lock"]
    run_study(config(), objectives.follow, tmp_path / "s", resume=True)


# --- Signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_in_a_terminal_at_any_moment(tmp_path, workers):
    """A terminal signals the whole process group, workers too, also while imports and workers start."""
    clock = random.Random(workers)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        study = subprocess.Popen(
            [sys.executable, "-m", "tests.evolve.study_script", str(folder), str(workers), "0", "500", "slow"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
        while not (folder / "study.json").exists():
            time.sleep(0.002)
        time.sleep(clock.uniform(0, 1.5))
        os.killpg(study.pid, signal.SIGINT)
        out, err = study.communicate(timeout=30)
        result = json.loads(out.splitlines()[-1])
        assert (study.returncode, err, result["interrupted"]) == (0, "", True)
        assert (folder / "best.npz").exists() == (result["generations"] > 0)


@pytest.mark.parametrize("options", [(), ("--cluster", "local")], ids=["pool", "ray"])
def test_ctrl_c_twice_ends_at_once_and_leaves_no_process(tmp_path, options):
    if options:
        pytest.importorskip("ray", reason="Ray is not installed (pip install 'neuroctl[cluster]'): it was NOT tested")
    folder = tmp_path / "s"
    command = [sys.executable, "-m", "neuroctl", "evolve", "tests.evolve.objectives:slow_legs", "--out", str(folder)]
    study = subprocess.Popen(
        [*command, "--generations", "5000", "--workers", "2", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    while not (folder / "history.csv").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(study.pid, signal.SIGINT)
    time.sleep(0.05)
    os.killpg(study.pid, signal.SIGINT)
    out, err = study.communicate(timeout=30)
    # The second signal may meet an interpreter that is already on its way out, after it said all there is to say.
    assert study.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err
    assert out.startswith("interrupted")
    end = time.monotonic() + 30
    while in_session(study.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not in_session(study.pid)


def in_session(leader):
    """Return the processes of a session; whatever a command starts stays in its session."""
    commands = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                commands.append((stat.parent / "cmdline").read_text())
    return commands


def test_a_full_disk_at_the_end_costs_nothing(tmp_path, monkeypatch):
    def full(path, data):
        if str(path).endswith("population.npz"):
            raise nc.FileFormatError(f"{path}: cannot be written: No space left on device")
        write(path, data)

    write = nc.io.atomic_write
    with monkeypatch.context() as patch:
        patch.setattr("neuroctl.io.atomic_write", full)
        refused("No space left", config(), objectives.follow, tmp_path / "s")
    run_study(config(), objectives.follow, tmp_path / "s", resume=True)
    run_study(config(), objectives.follow, tmp_path / "whole")
    for name in ("population.npz", "best.npz"):
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


SLOW_SEARCH = """\
import hashlib
from neuroctl.evolve.nes import XNES
from tests.evolve.objectives import follow

def tell(self, fitness):
    print("telling", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, as eigenvalues of 5,000 genes

XNES.tell = tell
print(run_study(config(optimizer="xnes"), follow, OUT).to_dict()["interrupted"], flush=True)
"""


def test_a_signal_is_obeyed_while_the_search_computes(tmp_path):
    (tmp_path / "script.py").write_text(PROLOGUE + SLOW_SEARCH.replace("OUT", repr(str(tmp_path / "s"))))
    study = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert study.stdout.readline() == "telling\n"
    study.send_signal(signal.SIGINT)
    out, err = study.communicate(timeout=20)
    assert (study.returncode, out, err) == (0, "True\n", "")


def test_an_interrupt_between_two_files_waits_for_the_second(tmp_path, monkeypatch):
    from neuroctl import io as files

    write = files.atomic_write

    def signal_after(path, data):
        write(path, data)
        if str(path).endswith("checkpoint.npz"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("neuroctl.io.atomic_write", signal_after)
    result = run_study(config(), objectives.follow, tmp_path / "s")
    assert (result.interrupted, result.generations) == (True, 1)
    assert nc.io.load_model(result.best_path).meta["score"] == result.best_score
    assert len((tmp_path / "s" / "history.csv").read_text().splitlines()) == 2


# --- Workers and scripts -----------------------------------------------------------------------------------------


def script(tmp_path, body, *, stdin):
    text = PROLOGUE + textwrap.dedent(body).replace("OUT", repr(str(tmp_path / "o")))
    (tmp_path / "script.py").write_text(text)
    arguments = [sys.executable, "-"] if stdin else [sys.executable, str(tmp_path / "script.py")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, input=text if stdin else "", capture_output=True, text=True, env=env, timeout=90)


def test_a_script_on_standard_input_may_use_workers(tmp_path):
    body = """\
        from tests.evolve.objectives import follow
        print(run_study(config(generations=1), follow, OUT, workers=2).generations)
    """
    done = script(tmp_path, body, stdin=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.parametrize("stdin", [True, False])
def test_workers_that_cannot_start_are_explained(tmp_path, stdin):
    """An objective that only standard input defines, and a script without the guard."""
    body = "def mine(c, s): return 1.0\nrun_study(config(generations=1), mine, OUT, workers=2)"
    done = script(tmp_path, body, stdin=stdin)
    assert done.returncode == 1
    assert "workers: none could start; allowed: an objective of a module" in done.stderr.splitlines()[-1]


def test_workers_use_one_thread_each(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with PoolEvaluator(Genome(SPEC), objectives.threads, 1) as evaluator:
        assert evaluator.evaluate(GENOMES[:1], [0]) == [[[1.0]]]
    assert "OMP_NUM_THREADS" not in os.environ


def test_the_task_that_kills_its_worker_is_named():
    with (
        PoolEvaluator(Genome(SPEC), objectives.DiesAt(7), 2) as evaluator,
        pytest.raises(nc.StudyError, match=r"workers: died .* at candidate [012], seeds \[7\]; see the objective"),
    ):
        evaluator.evaluate(GENOMES, [5, 6, 7])


@pytest.mark.parametrize("evaluator", [SerialEvaluator, lambda *a: PoolEvaluator(*a, 2)])
def test_no_genomes_and_no_seeds(evaluator):
    with evaluator(Genome(SPEC), objectives.follow) as running:
        assert running.evaluate(GENOMES[:0], [1, 2]).shape == (0, 2, 1)
        assert running.evaluate(GENOMES, []).shape == (3, 0, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_objective_is_closed(tmp_path, workers):
    objective = objectives.Closing()
    run_study(config(generations=1), objective, tmp_path / "s", workers=workers)
    assert objective.closed


# --- Objectives and the optimizer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (objectives.number_as_text, "returned '3'; allowed: a number"),
        (objectives.leaves, r"SystemExit: 3 \(.*objectives.py:\d+\); with seed"),
    ],
)
def test_odd_objectives_are_named(tmp_path, objective, text):
    refused(text, config(generations=1), objective, tmp_path / "s")


def test_infinite_values_of_both_signs_are_survived(tmp_path):
    assert run_study(config(generations=2), objectives.infinite, tmp_path / "s").generations == 2


def test_observations_that_fail_are_named(tmp_path):
    refused("objective.observations: RuntimeError", config(generations=1), objectives.Blind(), tmp_path / "s")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stop_and_a_file_of_signals_do_not_steer_the_search(name, tmp_path, monkeypatch):
    """Live studies ask for stop() each generation, replays do not; ``cma`` can read options from the current folder."""
    watched, blind = OPTIMIZERS[name](6, 1, 8, 0.5), OPTIMIZERS[name](6, 1, 8, 0.5)
    (tmp_path / "cma_signals.in").write_text("{'tolx': 1e9, 'timeout': 0}")
    monkeypatch.chdir(tmp_path)
    for _ in range(30):
        genomes = watched.ask()
        assert blind.ask().tobytes() == genomes.tobytes()
        fitness = -(genomes**2).sum(axis=1)
        watched.tell(fitness)
        blind.tell(fitness)
        assert watched.stop() is None
    assert names(tmp_path) == ["cma_signals.in"]


@pytest.mark.parametrize(
    "change",
    [
        {"sigma0": "x"}, {"sigma0": True}, {"sigma0": 1e300}, {"sigma0": None},
        {"target_score": float("nan")}, {"target_score": "x"}, {"target_score": float("inf")}, {"target_score": True},
        {"spec": "ctrnn"}, {"task": 3},
    ],
)  # fmt: skip
def test_fields_of_the_wrong_kind_are_named(change):
    with pytest.raises(nc.StudyError, match=f"^{next(iter(change))}: .*allowed"):
        config(**change)


def test_numpy_numbers_are_taken():
    assert config(sigma0=np.float32(0.5), target_score=np.int64(3)) == config(sigma0=0.5, target_score=3.0)
