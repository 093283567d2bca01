import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import threadpoolctl

import neuroctl as nc
from neuroctl import io
from neuroctl.errors import ObjectiveError
from neuroctl.evolve import FixedPointConfig, run_study
from neuroctl.evolve.optimizers import make_optimizer
from neuroctl.evolve.study import _TRAINING, _VALIDATION, episode_seeds
from tests.evolve import objectives
from tests.evolve.study_script import SPEC, config, generations_in


def history(folder):
    """All columns but the time."""
    with (folder / "history.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def told(folder):
    """What the search was told of each generation."""
    return [generation.told.tolist() for generation in generations_in(folder)]


def outcome(folder):
    return history(folder), (folder / "best.npz").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that ran through undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    result = run_study(config(), objectives.follow, folder)
    return folder, result


def start(folder, *, workers=1, resume=False, generations=12, objective="follow"):
    arguments = [folder, workers, int(resume), generations, objective]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.evolve.study_script", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_folder_and_result(whole):
    folder, result = whole
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == [
        "best.npz",
        "checkpoint.npz",
        "generations.bin",
        "history.csv",
        "population.npz",
        "study.json",
    ]
    rows = history(folder)
    assert rows[0][:3] == ["generation", "evaluations", "episodes"]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(12)]
    assert rows[-1][1] == "72"
    assert result.stop_reason == "all generations done"
    assert (result.generations, result.evaluations, result.interrupted) == (12, 72, False)
    model = io.load_model(result.best_path)
    assert model.spec == SPEC
    assert model.meta["score"] == result.best_score == float(rows[-1][8])
    seeds = episode_seeds(4, _VALIDATION, 0, 5)
    again = nc.Controller(model.spec, model.theta)
    values = []
    for seed in seeds:
        again.reset()
        values.append(objectives.follow(again, seed))
    assert np.mean(values) == result.best_score


def test_best_on_validation_never_falls(whole):
    scores = [float(row[9]) for row in history(whole[0])[1:]]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0]


def test_a_best_that_was_lucky_in_the_first_quarter_keeps_no_better_one_out(tmp_path):
    seeds = episode_seeds(4, _VALIDATION, 0, 4)
    lucky = []

    def objective(controller, seed):
        if seed not in seeds:
            return objectives.follow(controller, seed)
        if not lucky:
            lucky.append(controller.theta.copy())
        if np.array_equal(controller.theta, lucky[0]):
            return 10.0 if seed == seeds[0] else -10.0
        return 1.0

    assert run_study(config(generations=4, validation_episodes=4), objective, tmp_path / "s").best_score == 1.0


def test_two_workers_give_the_same_bits(whole, tmp_path):
    run_study(config(), objectives.follow, tmp_path / "s", workers=2)
    assert outcome(tmp_path / "s") == outcome(whole[0])


def test_as_many_threads_as_blas_likes_change_nothing(tmp_path):
    """Unless a study says how many, matrices are multiplied in another order on another number of cores."""
    large = dataclasses.replace(SPEC, neurons=12)
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            run_study(config(spec=large, generations=30), objectives.follow, tmp_path / str(threads))
    assert (history(tmp_path / "1"), told(tmp_path / "1")) == (history(tmp_path / "2"), told(tmp_path / "2"))


def test_every_second_generation_offers_the_middle_of_the_search(tmp_path):
    """Here the middle is better than all that was drawn around it."""
    study = config(generations=2)
    run_study(study, objectives.near_rest, tmp_path / "s")
    saved = np.load(tmp_path / "s" / "checkpoint.npz")
    optimizer = make_optimizer("cmaes", saved["best_genome"].size, study.seed, study.population, study.sigma0)
    optimizer.ask()
    optimizer.tell(np.array(told(tmp_path / "s")[0])[:, 0])
    assert np.array_equal(saved["best_genome"], optimizer.mean)


def test_extension_equals_one_long_run(whole, tmp_path):
    run_study(config(generations=5), objectives.follow, tmp_path / "s")
    result = run_study(config(), objectives.follow, tmp_path / "s", resume=True)
    assert outcome(tmp_path / "s") == outcome(whole[0])
    assert result.generations == 12


def test_killed_at_random_moments_and_resumed(whole, tmp_path):
    """SIGKILL again and again at random moments; what is left goes on to the same bits."""
    clock = random.Random(5)
    folder = tmp_path / "s"
    for attempt in range(9):
        study = start(folder, resume=(folder / "study.json").exists(), workers=1 + attempt % 2, objective="slow")
        if attempt >= 3:  # the first few die during start-up, the others in some generation
            study.stdout.readline()
        time.sleep(clock.uniform(0, 0.5))
        study.kill()
        _, errors = study.communicate()
        assert "Traceback" not in errors
        if study.returncode == 0:
            break
    assert 3 < attempt
    run_study(config(), objectives.slow, folder, resume=True)
    assert outcome(folder) == outcome(whole[0])
    assert not [p for p in folder.iterdir() if p.name.startswith(".") and p.name != ".lock"]


@pytest.mark.parametrize("after", ["study.json", "checkpoint.npz", "best.npz", "history.csv", "population.npz"])
def test_killed_between_any_two_files(whole, tmp_path, after, monkeypatch):
    """Stop right after one of the files was written; what follows from the checkpoint is mended on resume."""
    from neuroctl import io as files

    folder = tmp_path / "s"
    run_study(config(generations=1), objectives.follow, folder)

    class Killed(BaseException):
        pass

    write = files.atomic_write

    def stop_after(path, data):
        write(path, data)
        if str(path).endswith(after):
            raise Killed

    monkeypatch.setattr("neuroctl.io.atomic_write", stop_after)
    monkeypatch.setattr("neuroctl.studies.folder.atomic_write", stop_after)
    monkeypatch.setattr("neuroctl.studies.history.atomic_write", stop_after)
    with pytest.raises(Killed):
        run_study(config(), objectives.follow, folder, resume=True)
    monkeypatch.undo()
    run_study(config(), objectives.follow, folder, resume=True)
    assert outcome(folder) == outcome(whole[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_and_sigterm_end_cleanly(tmp_path, number, workers):
    study = start(tmp_path / "s", workers=workers, generations=500, objective="slow")
    assert study.stdout.readline() == "0\n"
    study.send_signal(number)
    out, err = study.communicate(timeout=20)
    result = json.loads(out.splitlines()[-1])
    assert study.returncode == 0, err
    assert err == ""
    assert result["interrupted"] is True
    assert result["stop_reason"] == "interrupted"
    assert isinstance(nc.load(tmp_path / "s" / "best.npz"), nc.Controller)


def test_target_score_stops(whole, tmp_path):
    rows = history(whole[0])
    target = float(rows[6][8])
    result = run_study(config(target_score=target), objectives.follow, tmp_path / "s")
    assert result.stop_reason == "target score reached"
    assert result.generations <= 6
    again = run_study(config(target_score=target), objectives.follow, tmp_path / "s", resume=True)
    assert again == result


@pytest.mark.parametrize(("name", "value"), [("always_nan", "nan"), ("always_infinite", "-inf")])
def test_a_first_generation_without_a_finite_score_ends_a_study(name, value, tmp_path):
    function = getattr(objectives, name)
    line = function.__code__.co_firstlineno
    told = (
        f"^objective: none of 6 candidates of 'follow' has a finite score, but {value}; allowed: at least one finite "
        rf"score; defined at .*objectives\.py:{line}$"
    )
    fixed = FixedPointConfig(16, 32)
    for kind, objective in ((config(), function), (config(fixed_point=fixed), function), (config(), Late(function, 0))):
        with pytest.raises(ObjectiveError, match=told):
            run_study(kind, objective, tmp_path / "s")
        assert not (tmp_path / "s").exists()


class Late:
    """Gives finite scores up to a number of calls."""

    def __init__(self, function, calls):
        self.__wrapped__, self.calls = function, calls

    def __call__(self, controller, seed):
        self.calls -= 1
        return objectives.follow(controller, seed) if self.calls >= 0 else self.__wrapped__(controller, seed)


def test_a_later_generation_without_a_finite_score_does_not(tmp_path):
    calls = 4 + 6 * config().episodes + config().validation_episodes  # those before, and those of a first generation
    result = run_study(config(generations=3), Late(objectives.always_nan, calls), tmp_path / "s")
    assert result.generations == 3
    assert (result.best_generation, np.isfinite(result.best_score)) == (0, True)
    again = run_study(config(generations=4), Late(objectives.always_nan, 0), tmp_path / "s", resume=True)
    assert again.generations == 4


def test_observations_are_kept_for_fixed_point(tmp_path):
    result = run_study(config(generations=1), objectives.Recorded(), tmp_path / "s")
    assert (io.load_model(result.best_path).calibration == 0.5).all()


def test_streams_of_seeds_are_apart():
    training = {s for g in range(200) for s in episode_seeds(1, _TRAINING, g, 8)}
    validation = set(episode_seeds(1, _VALIDATION, 0, 64))
    assert len(training) == 1600
    assert not training & validation
    assert episode_seeds(1, _VALIDATION, 0, 64)[:5] == episode_seeds(1, _VALIDATION, 0, 5)


# --- What is refused ---------------------------------------------------------------------------------------------


def refused(text, *arguments, **keywords):
    with pytest.raises(nc.NeuroctlError, match=text) as caught:
        run_study(*arguments, **keywords)
    assert "\n" not in str(caught.value)


def test_an_existing_study_needs_resume(whole):
    refused("holds a study already.*--resume", config(), objectives.follow, whole[0])


def test_nothing_to_resume(tmp_path):
    refused("holds no study", config(), objectives.follow, tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    refused("other files .thesis.tex", config(), objectives.follow, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 3}, "seed: 3, but the study in .* has 4"),
        ({"population": 8}, "population"),
        ({"task": "walk"}, "task: 'walk', but the study in "),
    ],
)
def test_another_study_is_not_resumed(whole, change, text):
    before = outcome(whole[0])
    refused(text, config(**change), objectives.follow, whole[0], resume=True)
    assert outcome(whole[0]) == before


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:300] + bytes([b[300] ^ 1]) + b[301:]]
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    run_study(config(generations=1), objectives.follow, tmp_path / "s")
    path = tmp_path / "s" / "checkpoint.npz"
    path.write_bytes(damage(path.read_bytes()))
    refused("checkpoint", config(), objectives.follow, tmp_path / "s", resume=True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1}'])
def test_a_damaged_study_file_is_named(tmp_path, content):
    run_study(config(generations=1), objectives.follow, tmp_path / "s")
    (tmp_path / "s" / "study.json").write_bytes(content)
    refused("study.json", config(), objectives.follow, tmp_path / "s", resume=True)


def test_a_checkpoint_of_another_shape_is_named(tmp_path):
    run_study(config(generations=1), objectives.follow, tmp_path / "s")
    run_study(config(generations=1, validation_episodes=4), objectives.follow, tmp_path / "t")
    for name in ("checkpoint.npz", "generations.bin"):
        os.replace(tmp_path / "t" / name, tmp_path / "s" / name)
    refused("checkpoint.*shapes", config(), objectives.follow, tmp_path / "s", resume=True)


def test_two_processes_cannot_share_a_folder(tmp_path):
    study = start(tmp_path / "s", generations=500, objective="slow")
    assert study.stdout.readline() == "0\n"
    refused("in use by another process", config(), objectives.follow, tmp_path / "s", resume=True)
    study.kill()
    study.communicate()


def test_unwritable_places_are_named(tmp_path):
    refused("cannot be made", config(), objectives.follow, "/proc/nowhere/study")
    (tmp_path / "file").write_text("")
    refused("cannot be made", config(), objectives.follow, tmp_path / "file")


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run_study(config(generations=3), objectives.follow, tmp_path / "s")
    before = (tmp_path / "s" / "checkpoint.npz").read_bytes()

    def full(path, data):
        if str(path).endswith("checkpoint.npz"):
            raise nc.FileFormatError(f"{path}: cannot be written: No space left on device")
        write(path, data)

    write = io.atomic_write
    monkeypatch.setattr("neuroctl.io.atomic_write", full)
    refused("No space left", config(), objectives.follow, tmp_path / "s", resume=True)
    assert (tmp_path / "s" / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"generations": 0},
        {"population": 3},
        {"episodes": 0},
        {"seed": -1},
        {"validation_episodes": 0},
        {"sigma0": 0.0},
        {"sigma0": float("nan")},
        {"optimizer": "adam"},
        {"generations": True},
    ],
)
def test_bad_fields_are_named(change):
    with pytest.raises(nc.StudyError, match=f"^{next(iter(change))}: .*allowed"):
        config(**change)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_bad_workers_are_named(workers, tmp_path):
    refused("workers", config(), objectives.follow, tmp_path / "s", workers=workers)


def test_a_study_runs_in_a_thread(whole, tmp_path):
    """Signals can be handled in the main thread only; elsewhere a study runs without."""
    thread = threading.Thread(target=run_study, args=(config(), objectives.follow, tmp_path / "s"))
    thread.start()
    thread.join(timeout=60)
    assert outcome(tmp_path / "s") == outcome(whole[0])


def test_history_grows_while_the_study_runs(tmp_path):
    lengths = []
    run_study(
        config(generations=3),
        objectives.follow,
        tmp_path / "s",
        on_generation=lambda p: lengths.append((p.generation, len(history(tmp_path / "s")) - 1, time.monotonic())),
    )
    assert [s[:2] for s in lengths] == [(0, 1), (1, 2), (2, 3)]
