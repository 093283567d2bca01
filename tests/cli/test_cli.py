"""The command line, run as a user runs it: exit codes, one-line errors, JSON."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import neuroctl as nc

SPEC = nc.Spec(
    cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=1 / 60,
    input_limits=((-2.4, 2.4), (-0.42, 0.42)), output_limits=((-10.0, 10.0),),
)  # fmt: skip


def neuroctl(*arguments, code=0, module="neuroctl", cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, cwd=cwd, env=os.environ | {"COLUMNS": "120", "TERM": "dumb"},
    )  # fmt: skip
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def one_line_error(done, *words):
    """The last line of stderr is the error; there is no traceback."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "ctl.npz"
    nc.Controller(SPEC, seed=1).save(path, meta={"task": "cartpole"}, calibration=np.zeros((5, 2), np.float32))
    return path


def test_help_of_every_command_has_an_example():
    listed = neuroctl("--help").stdout
    for command in ("demo", "tasks", "evolve", "run", "info", "export", "verify"):
        assert command in listed
        text = neuroctl(command, "--help").stdout
        assert "Example: neuroctl" in text


def test_version():
    assert neuroctl("--version").stdout.strip() == f"neuroctl {nc.__version__}"


def test_tasks():
    assert "cartpole" in neuroctl("tasks").stdout
    assert json.loads(neuroctl("tasks", "--json").stdout)["tasks"][0]["id"].startswith("neuroctl/")


def test_info(saved, tmp_path):
    assert "tau_s" in neuroctl("info", saved).stdout
    data = json.loads(neuroctl("info", saved, "--json").stdout)
    assert data["spec"] == SPEC.to_dict()
    nc.load(saved).quantize().save(tmp_path / "q.npz")
    assert "CRC" in neuroctl("info", tmp_path / "q.npz").stdout


def test_run_float_and_quantized(saved, tmp_path):
    float_run = json.loads(neuroctl("run", saved, "--episodes", 3, "--json").stdout)
    assert len(float_run["returns"]) == 3
    assert float_run == json.loads(neuroctl("run", saved, "--episodes", 3, "--json").stdout)
    text = neuroctl("run", saved, "--episodes", 2, "--quantized", "--gif", tmp_path / "a.gif").stdout
    assert "fixed point" in text
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF8")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("info", "missing.npz"), 1, ("missing.npz", "no such file")),
        (("run", "missing.npz"), 1, ("missing.npz",)),
        (("run", "{saved}", "--task", "cartpoel"), 2, ("cartpoel", "did you mean", "cartpole")),
        (("evolve", "cartpoel"), 2, ("cartpoel", "did you mean")),
        (("evolve", "cartpole", "--neurons", "0"), 2, ("neurons: 0", "allowed")),
        (("evolve", "cartpole", "--cell", "lstm"), 2, ("cell: 'lstm'", "ctrnn")),
        (("evolve", "cartpole", "--out", "/proc/nowhere", "--generations", "1"), 1, ("/proc/nowhere",)),
        (("export", "{saved}", "--out", "{new}", "--name", "1x"), 1, ("name", "1x")),
        (("export", "{saved}", "--out", "{new}", "--name", "int"), 1, ("name", "int")),
        (("export", "{saved}", "--out", "{new}", "--target", "z80"), 1, ("target", "z80")),
        (("export", "{saved}", "--out", "{new}", "--weight-bits", "12"), 1, ("weight_bits", "12")),
        (("export", "{saved}", "--out", "{old}"), 1, ("{old}",)),
        (("verify", "{old}"), 1, ("{old}",)),
        (("verify", "{new}"), 1, ("{new}",)),
        (("demo", "--out", "{old}"), 1, ("{old}", "exists")),
        (("demo", "--out", "{old}", "--force"), 1, ("{old}", "exists")),
    ],
)
def test_bad_input_is_one_line(saved, tmp_path, arguments, code, words):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "precious.txt").write_text("keep")
    names = {"saved": saved, "new": tmp_path / "new", "old": tmp_path / "old"}
    done = neuroctl(*(a.format(**names) for a in arguments), code=code, cwd=tmp_path)
    one_line_error(done, *(w.format(**names) for w in words))
    assert (tmp_path / "old" / "precious.txt").read_text() == "keep"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [("evolve",), ("fly",), ("run",), ("evolve", "cartpole", "--generations", "x")])
def test_bad_usage_exits_with_2(arguments):
    done = neuroctl(*arguments, code=2)
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_without_a_task_asks_for_one(tmp_path):
    nc.Controller(SPEC, seed=1).save(tmp_path / "c.npz")
    one_line_error(neuroctl("run", tmp_path / "c.npz", code=2), "task: missing")


def test_debug_shows_the_traceback():
    done = neuroctl("--debug", "info", "missing.npz", code=1)
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(("missing", "extra"), [("typer", "cli"), ("pybullet", "sim"), ("gymnasium", "sim")])
def test_a_missing_extra_is_named(missing, extra, saved):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['neuroctl', 'run', {str(saved)!r}];"
        "from neuroctl.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    one_line_error(done, missing, f"neuroctl[{extra}]")


def test_export_and_verify(saved, tmp_path):
    folder = tmp_path / "firmware"
    text = neuroctl("export", saved, "--out", folder, "--name", "balance").stdout
    assert "balance.h" in text
    again = tmp_path / "again"
    neuroctl(saved, "--out", again, "--name", "balance", module="firmware_export")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}
    report = json.loads(neuroctl("verify", folder, "--steps", 200, "--json").stdout)
    assert report["ok"] is True


def test_evolve_and_resume(tmp_path):
    arguments = ("evolve", "cartpole", "--neurons", 2, "--population", 4, "--episodes", 1, "--validation", 2)
    out = tmp_path / "study"
    first = json.loads(neuroctl(*arguments, "--generations", 2, "--out", out, "--workers", 1, "--json").stdout)
    assert first["generations"] == 2
    one_line_error(neuroctl(*arguments, "--generations", 2, "--out", out, code=1), str(out), "resume")
    more = neuroctl(*arguments, "--generations", 3, "--out", out, "--resume", "--workers", 2).stdout
    assert "3 generations" in more
    assert len((out / "history.csv").read_text().splitlines()) == 4
    assert "cartpole" in neuroctl("info", out / "best.npz").stdout
