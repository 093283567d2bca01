"""Simulated tasks as plants, and the commands for them."""

import json

import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl.plots import loops
from neuroctl.realtime import Loop, read_log
from tests.commands import neuroctl, one_line_error
from tests.realtime.pieces import Echo, Recorder, fake


@pytest.mark.parametrize("task", ["double-pole", "two-poles"])
def test_a_loop_in_a_task_is_the_episode(task, tmp_path):
    ctl = nc.Controller(sims.controller_spec(task), seed=2)
    episode = sims.record(task, ctl, seed=5, max_steps=40)
    plant = sims.SimPlant(task, seed=5)
    Loop(ctl, plant, log=tmp_path / "run.npz", **fake()).run(ticks=episode.steps)
    log = read_log(tmp_path / "run.npz")
    assert (log["inputs"].astype(np.float32) == episode.observations).all()
    low, high = np.array(sims.get(task).output_limits, np.float32).T
    assert (log["outputs"].astype(np.float32) == np.clip(episode.actions, low, high)).all()
    plant.close()


def test_where_an_episode_ends_the_next_begins():
    ctl = nc.Controller(sims.controller_spec("two-poles"), seed=2)
    resets = []
    plant = sims.SimPlant("two-poles", seed=5, on_reset=lambda: resets.append(ctl.reset()))
    Loop(ctl, plant, **fake()).run(ticks=500)
    assert plant.episodes == len(resets) + 1 > 2


def test_loop_reports_logs_and_plots(tmp_path):
    ctl = sims.pretrained("double-pole")
    ctl.save(tmp_path / "c.npz", meta={"task": "double-pole"})
    logs = ("--log", tmp_path / "run.mcap", "--log", tmp_path / "run.npz")
    shown = json.loads(neuroctl("loop", tmp_path / "c.npz", "--seconds", 1, *logs, "--quantized", "--json").stdout)
    assert (shown["reason"], shown["safe"], shown["log"]["lost"]) == ("finished", True, 0)
    assert shown["ticks"] + shown["skipped"] == 60
    assert len(read_log(tmp_path / "run.mcap")) == shown["ticks"]
    for name in ("run.mcap", "run.npz"):
        assert "picture" in neuroctl("plot", tmp_path / name, "--out", tmp_path / "run.png").stdout
        assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_loop_says_what_is_wrong(tmp_path):
    ctl = sims.pretrained("double-pole")
    ctl.save(tmp_path / "c.npz")
    one_line_error(neuroctl("loop", tmp_path / "c.npz", "--task", "cartpole", code=2), "inputs: 3")
    run = ("loop", tmp_path / "c.npz", "--task", "double-pole", "--seconds", 1)
    one_line_error(neuroctl(*run, "--overrun", "panic", code=2), "overrun: 'panic'; allowed")
    one_line_error(neuroctl(*run, "--log", "run.txt", code=2), "log: run.txt; allowed")


def test_a_picture_of_a_faulty_log(tmp_path):
    plant = Recorder(lambda tick, u: u.fill(np.nan) if tick == 30 else None)
    Loop(Echo(), plant, log=tmp_path / "run.npz", **fake()).run()
    loops.log(read_log(tmp_path / "run.npz"), tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_thinning_keeps_the_extremes():
    values = np.random.default_rng(0).normal(size=100_003)
    values[[5_000, 77_777]] = 50.0, -60.0
    t, shown = loops._thinned(np.arange(100_003.0), values)
    assert len(t) < 10_000
    assert (np.diff(t) >= 0).all()
    assert (shown.max(), shown.min()) == (50.0, -60.0)
    assert (values[t.astype(int)] == shown).all()
