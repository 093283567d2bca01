"""Studies read back, compared and drawn."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from neuroctl import io, plots
from neuroctl.errors import StudyError
from neuroctl.evolve import run_study
from neuroctl.evolve.goals import Goals
from neuroctl.studies.history import groups, read_history
from tests.commands import neuroctl
from tests.evolve import objectives
from tests.evolve.study_script import config
from tests.evolve.test_study_options import AXES


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    for optimizer in ("cmaes", "snes"):
        for seed in (1, 2, 3):
            fields = {"optimizer": optimizer, "seed": seed, "generations": 4 + seed}
            run_study(config(**fields), objectives.follow, folder / f"{optimizer}-{seed}")
    return folder


def test_seeds_count_together(studies):
    with pytest.warns(UserWarning, match="ended after 30 to 42 evaluations; figures are those after 30"):
        grouped = groups([studies])
    assert [(group.label, group.seeds) for group in grouped] == [("cmaes", (1, 2, 3)), ("snes", (1, 2, 3))]
    for group in grouped:
        assert (group.common, group.evaluations[-1]) == (30, 42)  # the shortest had 5 generations of 6
        assert group.scores.shape == (3, len(group.evaluations))
        assert np.isnan(group.scores[:, -1]).tolist() == [True, True, False]
        assert not (np.diff(group.scores, axis=1) < 0).any()
        ends = [read_history(studies / f"{group.label}-{seed}")["best_validation"][-1] for seed in group.seeds]
        assert group.at_end.tolist() == ends
    longest = read_history(studies / "snes-3")
    assert grouped[1].final[2] == longest["best_validation"][4]
    assert longest["evaluations"].tolist() == [6, 12, 18, 24, 30, 36, 42]


def test_a_seed_counts_once(studies, tmp_path):
    copy, again = tmp_path / "copy", tmp_path / "again"
    shutil.copytree(studies / "cmaes-2", copy)
    run_study(config(optimizer="cmaes", seed=2, generations=7), objectives.follow, again)
    first = studies / "cmaes-2"
    with pytest.warns(UserWarning) as told:
        (group,) = groups([first, copy, again])
    assert [str(warning.message) for warning in told] == [
        f"{copy}: left out, as {first} holds the same study with seed 2",
        f"{first}: left out, as {again} holds the same study with seed 2",
    ]
    assert (group.seeds, group.common) == ((2,), 42)
    (group,) = groups([first, first.parent / "cmaes-1" / ".." / "cmaes-2"])  # the same folder: nothing to tell
    assert group.seeds == (2,)


def test_one_study_is_named_by_its_task(studies):
    (group,) = groups([studies / "cmaes-2"])
    assert (group.label, group.seeds) == ("follow", (2,))


def test_figures_are_told_where_all_came_and_where_each_ended(studies):
    done = neuroctl("compare", studies)
    assert done.stderr.count("warning: ") == 2
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    shown = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()][:2] for row in rows}
    assert shown["cmaes"] == ["3", "30"]
    assert shown["cmaes, each at its end"] == ["3", "to 42"]
    (one,) = json.loads(neuroctl("compare", studies / "snes-2", "--json").stdout)["groups"]
    assert (one["evaluations"], one["scores"]) == (one["longest"], one["scores_at_end"])
    assert "at its end" not in neuroctl("compare", studies / "snes-2").stdout


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_pictures(studies, tmp_path):
    with pytest.warns(UserWarning, match="ended after"):
        grouped = groups([studies])
    plots.compare(grouped, tmp_path / "compare.png", title="studies")
    assert is_png(tmp_path / "compare.png")
    for optimizer, name in (("cma-me", "archive"), ("nsga2", "front")):
        fields = {"generations": 8, "population": 12, "optimizer": optimizer, "measures": AXES}
        run_study(config(**fields), objectives.measured, tmp_path / optimizer)
        kept = io.read_archive(tmp_path / optimizer / f"{name}.npz")
        getattr(plots, name)(kept.fields, kept.arrays, tmp_path / f"{name}.png")
        assert is_png(tmp_path / f"{name}.png")
    one = {"task": "t", "cells": 5, "measures": [{"name": "m", "low": 0.0, "high": 1.0}]}
    arrays = {"fitness": np.array([1.0, 2.0, 0.5]), "measures": np.array([[0.1], [0.15], [1.0]])}
    plots.archive(one, arrays, tmp_path / "one.png")
    assert is_png(tmp_path / "one.png")


def drawn(monkeypatch, draw, *arguments, **keywords):
    """The axes of a picture that would have been saved."""
    figures = []
    monkeypatch.setattr("neuroctl.plots.studies.save", lambda figure, path: figures.append(figure))
    draw(*arguments, "unused.png", **keywords)
    return figures[0].axes


def test_a_study_of_one_generation_leaves_no_empty_frame(tmp_path, monkeypatch):
    for seed, generations in ((1, 1), (2, 6)):
        run_study(config(seed=seed, generations=generations), objectives.follow, tmp_path / str(seed))
    with pytest.warns(UserWarning, match="ended after 6 to 36 evaluations"):
        grouped = groups([tmp_path])
    (axis,) = drawn(monkeypatch, plots.compare, grouped, title="t")
    assert axis.lines[0].get_xdata()[-1] == 36
    assert np.isfinite(axis.lines[0].get_ydata()).all()
    assert (np.diff(axis.lines[0].get_ydata()) >= 0).all()  # a best so far never falls
    (axis,) = drawn(monkeypatch, plots.compare, groups([tmp_path / "1"]), title="t")
    assert axis.lines[0].get_marker() == "o"


def test_a_front_shows_costs_as_what_they_are(monkeypatch):
    measures = Goals(objectives.follow, ["bytes"], config().spec).measures
    fields = {"task": "t", "measures": [dataclasses.asdict(measure) for measure in measures]}
    arrays = {"values": np.array([[1.0, -40.0], [2.0, -80.0], [0.5, -60.0]])}
    (axis,) = drawn(monkeypatch, plots.front, fields, arrays)
    assert axis.get_ylabel() == "parameters [bytes] (less is better)"
    assert sorted(axis.lines[0].get_ydata()) == [40.0, 60.0, 80.0]
    assert sorted(axis.lines[1].get_ydata()) == [40.0, 80.0]


def test_what_is_no_study_is_named(tmp_path, studies):
    with pytest.raises(StudyError, match="no study; allowed"):
        groups([tmp_path])
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.json").write_text("{")
    with pytest.raises(StudyError, match="study.json: damaged"):
        groups([tmp_path])
    (tmp_path / "s" / "study.json").write_bytes((studies / "snes-1" / "study.json").read_bytes())
    with pytest.warns(UserWarning), pytest.raises(StudyError, match="no generation is finished"):
        groups([tmp_path])
    (tmp_path / "s" / "history.csv").write_text("a,b\n1,x\n")
    with pytest.raises(StudyError, match="history.csv: damaged"):
        groups([tmp_path])
    (tmp_path / "s" / "history.csv").write_text("evaluations,best_validation\n")
    with pytest.warns(UserWarning), pytest.raises(StudyError, match="no generation is finished"):
        groups([tmp_path])


def test_the_command_line_compares_and_draws(studies, tmp_path):
    grouped = json.loads(neuroctl("compare", str(studies), "--json").stdout)["groups"]
    assert [row["studies"] for row in grouped] == ["cmaes", "snes"]
    text = neuroctl("compare", str(studies), "--out", str(tmp_path / "compare.png")).stdout
    assert "snes" in text
    assert is_png(tmp_path / "compare.png")
    fields = {"generations": 4, "population": 12, "optimizer": "cma-me", "measures": AXES}
    run_study(config(**fields), objectives.measured, tmp_path / "qd")
    neuroctl("plot", str(tmp_path / "qd" / "archive.npz"), "--out", str(tmp_path / "a.png"))
    assert is_png(tmp_path / "a.png")
    failed = neuroctl("plot", str(tmp_path / "qd"), "--out", str(tmp_path / "b.png"), code=1)
    assert "qd: is a folder; allowed: a file; `neuroctl compare` draws studies" in failed.stderr
    failed = neuroctl("plot", str(tmp_path / "qd" / "best.npz"), "--out", str(tmp_path / "b.png"), code=1)
    assert "holds a 'controller'; allowed: archive, front or log" in failed.stderr
