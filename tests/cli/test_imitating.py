"""neuroctl imitate: a study by a teacher, its options, its resume to the same bits, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.io import read_archive
from neuroctl.studies.history import read_history
from tests.commands import command, neuroctl, one_line_error

FULL = os.environ.get("NEUROCTL_FULL")
TEACHER = "tests.cli.test_imitating:turn"
FEW = ("--episodes", 2, "--validation", 2, "--max-steps", 40, "--epochs", 3, "--neurons", 4)


def turn(eyes):
    """Turn to where more light is seen."""
    return np.clip(np.array([0.5 + eyes[1] - eyes[0], 0.5 + eyes[0] - eyes[1]]), -1.0, 1.0)


def same(one, other):
    assert (one / "best.npz").read_bytes() == (other / "best.npz").read_bytes()
    assert (one / "history.csv").read_bytes() == (other / "history.csv").read_bytes()
    assert (one / "checkpoint.npz").read_bytes() == (other / "checkpoint.npz").read_bytes()


def test_a_study_its_resume_and_its_comparison(tmp_path):
    study = ("imitate", "phototaxis", "--teacher", TEACHER, *FEW, "--seed", 3)
    whole = json.loads(neuroctl(*study, "--rounds", 3, "--out", tmp_path / "a", "--json").stdout)
    assert whole["epochs"] == 3 and whole["stop_reason"] == "all rounds done"
    assert np.isfinite(whole["score"]) and np.isfinite(whole["teacher_score"])
    neuroctl(*study, "--rounds", 1, "--out", tmp_path / "b")
    done = neuroctl("imitate", "phototaxis", "--rounds", 3, "--resume", "--out", tmp_path / "b")
    assert "all rounds done: 3 rounds" in done.stdout and "the teacher's" in done.stdout
    same(tmp_path / "a", tmp_path / "b")
    history = read_history(tmp_path / "a")
    assert history["episodes"].tolist() == [2, 4, 6] and history["validation"].max() == whole["score"]
    best = nc.load(tmp_path / "a" / "best.npz")
    assert best.spec.input_names == ("left eye", "right eye") and best.meta["score"] == whole["score"]
    best.quantize()  # by the observations in the file
    neuroctl("run", tmp_path / "a" / "best.npz", "--episodes", 1)


def test_it_goes_on_from_a_student_and_demonstrations(tmp_path):
    study = ("imitate", "phototaxis", "--teacher", TEACHER, *FEW[:-2], "--rounds", 1)
    neuroctl(*study, "--cell", "gru", "--neurons", 3, "--out", tmp_path / "a")
    first = tmp_path / "a" / "best.npz"
    state = read_archive(tmp_path / "a" / "checkpoint.npz").arrays
    arrays = {name: state[f"state.{name}"] for name in ("inputs", "targets", "lengths")}
    nc.train.Demonstrations.of_arrays(arrays).save(tmp_path / "shown.npz")
    neuroctl(*study, "--from", first, "--demonstrations", tmp_path / "shown.npz", "--out", tmp_path / "b")
    spec = nc.load(tmp_path / "b" / "best.npz").spec
    assert (spec.cell, spec.neurons) == ("gru", 3)
    assert len(read_archive(tmp_path / "b" / "checkpoint.npz").arrays["state.lengths"]) == 4
    neuroctl("imitate", "phototaxis", "--rounds", 2, "--resume", "--out", tmp_path / "b")
    first.write_bytes(b"")
    one_line_error(
        neuroctl("imitate", "phototaxis", "--rounds", 3, "--resume", "--out", tmp_path / "b", code=1), "best.npz"
    )


@pytest.mark.parametrize("kill", range(10 if FULL else 1))
def test_a_study_that_is_killed_goes_on_to_the_same_bits(tmp_path, kill):
    study = ["imitate", "phototaxis", "--teacher", TEACHER, *map(str, FEW), "--rounds", "6"]
    neuroctl(*study, "--out", tmp_path / "whole")
    command = [sys.executable, "-m", "neuroctl", *study, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    history = tmp_path / "killed" / "history.csv"
    while process.poll() is None and not (history.exists() and history.read_bytes().count(b"\n") > 1 + kill % 4):
        time.sleep(0.01)
    time.sleep(np.random.default_rng(kill).uniform(0.0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    neuroctl("imitate", "phototaxis", "--resume", "--out", tmp_path / "killed")
    same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--teacher", "someone"), ("teacher: 'someone'; allowed: baseline, a file",)),
        (("--teacher", "none.npz"), ("none.npz", "no such file")),
        (("--teacher", TEACHER, "--sensors", "0,7"), ("sensors: [0, 7]; allowed: entries of an observation of 2",)),
        (("--teacher", TEACHER, "--sensors", "left"), ("sensors: 'left'; allowed: entries of an observation",)),
        (("--teacher", TEACHER, "--budget", "500evals"), ("budget: ", "allowed: a time")),
        (("--teacher", TEACHER, "--cell", "hopfield"), ("hopfield",)),
        (("--teacher", TEACHER, "--demonstrations", "none.npz"), ("none.npz: no such file",)),
    ],
)
def test_bad_requests_are_one_line(tmp_path, arguments, words):
    done = command("imitate", "phototaxis", *arguments, "--out", tmp_path / "s")
    assert done.returncode in (1, 2)
    one_line_error(done, *words)
    assert not (tmp_path / "s" / "study.json").exists()
