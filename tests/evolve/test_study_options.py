"""Studies with encodings, measures, restarts, budgets and batches: each resumes to the same bits."""

import csv
import dataclasses
import sys
import time

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import io
from neuroctl.cells import layout
from neuroctl.errors import StudyError
from neuroctl.evolve import Encoding, Measure, run_study
from neuroctl.evolve.config import StudyConfig
from tests.evolve import objectives
from tests.evolve.study_script import SPEC, config

AXES = (Measure("first", -3, 3), Measure("second", -3, 3))
KINDS = {
    "cmaes": ({}, objectives.follow),
    "snes": ({}, objectives.follow),
    "bipop": ({"generations": 60}, objectives.plateau),
    "cma-me": ({"measures": AXES}, objectives.measured),
    "map-elites": ({"measures": AXES}, objectives.measured),
    "nsga2": ({"measures": AXES}, objectives.measured),
}


def rows(folder):
    with (folder / "history.csv").open() as file:
        return [row[:-1] for row in csv.reader(file)]  # but for the time


@pytest.mark.parametrize("optimizer", KINDS)
def test_resumed_studies_equal_an_uninterrupted_one(tmp_path, optimizer):
    fields, objective = KINDS[optimizer]
    fields = {"generations": 12, "population": 8, "optimizer": optimizer} | fields
    run_study(config(**fields), objective, tmp_path / "whole")
    for part in (1, 4, fields["generations"]):
        run_study(config(**fields | {"generations": part}), objective, tmp_path / "parts", resume=part > 1)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    for name in ("best.npz", "population.npz", "archive.npz", "front.npz"):
        if (tmp_path / "whole" / name).exists():
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_archives_and_fronts_are_kept(tmp_path):
    for optimizer, name in (("cma-me", "archive"), ("nsga2", "front")):
        fields = {"generations": 8, "population": 12, "optimizer": optimizer, "measures": AXES}
        run_study(config(**fields), objectives.measured, tmp_path / optimizer)
        archive = io.read_archive(tmp_path / optimizer / f"{name}.npz")
        assert archive.kind == name
        assert [row["name"] for row in archive.fields["measures"]] == ["first", "second"]
        assert len(archive.arrays["genomes"]) > 3


def test_restarts_change_the_number_of_evaluations(tmp_path):
    result = run_study(config(generations=120, population=4, optimizer="ipop"), objectives.plateau, tmp_path / "s")
    assert result.evaluations > 120 * 4
    assert rows(tmp_path / "s")[-1][1] == str(result.evaluations)


def test_budgets_end_a_study_and_more_can_be_asked_for(tmp_path):
    few = run_study(config(generations=50, evaluations=20), objectives.follow, tmp_path / "s")
    assert (few.stop_reason, few.evaluations) == ("all evaluations done", 24)
    more = run_study(config(generations=50, evaluations=30), objectives.follow, tmp_path / "s", resume=True)
    assert more.evaluations == 30
    none = run_study(config(generations=50), objectives.follow, tmp_path / "s", resume=True, time_limit_s=1e-9)
    assert (none.stop_reason, none.evaluations) == ("time is up", 30)


def test_a_time_limit_counts_from_when_all_is_compiled(tmp_path):
    compiling = [4.0]

    def compiled_first(controller, seed):
        time.sleep(compiling.pop() if compiling else 0.0)
        return objectives.follow(controller, seed)

    result = run_study(config(generations=10_000), compiled_first, tmp_path / "s", time_limit_s=3.0)
    assert result.stop_reason == "time is up"
    assert result.generations > 1


def test_an_encoding_is_searched_and_saved(tmp_path):
    encoding = Encoding(fixed={"b_out": 0.0}, sparse=True)
    result = run_study(config(encoding=encoding), objectives.follow, tmp_path / "s")
    model = io.load_model(result.best_path)
    assert model.spec.mask is not None
    views = layout(model.spec).views(model.theta)
    assert np.array_equal(views["W"] != 0, np.array(model.spec.mask) == 1)
    with pytest.raises(StudyError, match="encoding"):
        run_study(config(encoding=Encoding(sparse=True)), objectives.follow, tmp_path / "s", resume=True)


def test_a_batch_gives_the_study_the_same_bits(tmp_path):
    run_study(config(generations=4), objectives.follow, tmp_path / "one")
    run_study(config(generations=4), objectives.Batched(), tmp_path / "batch", workers=2)
    assert rows(tmp_path / "one") == rows(tmp_path / "batch")
    assert (tmp_path / "one" / "best.npz").read_bytes() == (tmp_path / "batch" / "best.npz").read_bytes()


def test_the_last_population_is_kept(tmp_path):
    run_study(config(generations=3), objectives.follow, tmp_path / "s")
    kept = io.read_archive(tmp_path / "s" / "population.npz")
    assert nc.Spec.from_dict(kept.fields["spec"]) == SPEC
    assert kept.arrays["genomes"].shape[0] == kept.arrays["values"].shape[0] == 6
    assert float(kept.arrays["values"].max()) == float(rows(tmp_path / "s")[-1][3])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "cma-me"},
        {"optimizer": "adam"},
        {"measures": ("x",)},
        {"encoding": {"limbs": 2}},
        {"evaluations": 0},
        {"evaluations": True},
    ],
)
def test_bad_options_are_named(change):
    with pytest.raises(StudyError, match="allowed"):
        config(**change)


@pytest.mark.parametrize(
    ("module", "extra", "fields"),
    [
        ("ray", "cluster", {"cluster": "local"}),
        ("ribs", "qd", {"optimizer": "cma-me", "measures": AXES}),
        ("pymoo", "pareto", {"optimizer": "nsga2", "measures": AXES}),
        ("cma", "evolve", {}),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, module, extra, fields):
    monkeypatch.setitem(sys.modules, module, None)
    cluster = fields.pop("cluster", None)
    with pytest.raises(nc.BackendUnavailable, match=rf"{module}.*pip install 'neuroctl\[{extra}\]'"):
        run_study(config(**fields), objectives.measured, tmp_path / "s", cluster=cluster)


def test_a_config_is_plain_json():
    data = config(measures=AXES, optimizer="nsga2", encoding=Encoding(sparse=True)).to_dict()
    assert data["measures"][0] == {"name": "first", "low": -3, "high": 3}
    assert data["encoding"]["sparse"] is True
    assert dataclasses.is_dataclass(StudyConfig)
