"""What a study says of its objective: that it failed and where, that it cannot be repeated, that it was changed."""

import importlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl.errors import ObjectiveError, UnrepeatableError
from neuroctl.evolve import FixedPointConfig, run_study
from neuroctl.evolve.goals import Goals
from neuroctl.evolve.provenance import changes, provenance
from neuroctl.io import read_archive
from neuroctl.studies.folder import StudyFolder
from tests.commands import neuroctl, one_line_error
from tests.evolve import objectives
from tests.evolve.study_script import SPEC, config
from tests.evolve.test_study import history, outcome

SMALL = ("--neurons", 2, "--generations", 1, "--population", 4, "--episodes", 1, "--validation", 1)


def line_in_objectives(text):
    lines = Path(objectives.__file__).read_text().splitlines()
    return f"{objectives.__file__}:{lines.index(text) + 1}"


def refused(error, *arguments, **keywords):
    with pytest.raises(error) as caught:
        run_study(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_told_with_its_file_and_line(tmp_path, workers):
    text = refused(ObjectiveError, config(), objectives.raises, tmp_path / "s", workers=workers)
    line = line_in_objectives('    raise RuntimeError("the robot\\nfell off the table")')
    assert text.startswith(f"objective: RuntimeError: the robot fell off the table ({line}); with seed ")


def test_an_error_of_ours_that_users_code_led_to_has_its_line(tmp_path):
    text = refused(ObjectiveError, config(), objectives.wrong_input, tmp_path / "s")
    assert "u: " in text
    assert line_in_objectives("    return float(controller.step(np.zeros(9, np.float32))[0])") in text


@pytest.mark.parametrize(
    ("objective", "returned"),
    [
        (objectives.nothing, "None"),
        (objectives.text, "'good'"),
        (objectives.number_as_text, "'3'"),
        (objectives.several, "an array of shape (3,)"),
        (objectives.measured, "(-"),
    ],
)
def test_what_is_no_number_is_shown_with_where_it_comes_from(tmp_path, objective, returned):
    text = refused(ObjectiveError, config(), objective, tmp_path / "s")
    assert text.startswith(f"objective: returned {returned}") and "allowed: a number" in text
    assert f"{objectives.__file__}:{objective.__code__.co_firstlineno}" in text


def test_one_number_in_an_array_is_one(tmp_path):
    run_study(config(generations=2), objectives.one_in_an_array, tmp_path / "a")
    run_study(config(generations=2), objectives.follow, tmp_path / "b")
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


def test_errors_elsewhere_in_an_objective_have_a_line_too(tmp_path):
    assert f"{objectives.__file__}:" in refused(ObjectiveError, config(), objectives.Blind(), tmp_path / "s")
    assert f"{objectives.__file__}:" in refused(ObjectiveError, config(), objectives.BadBatch("x"), tmp_path / "s")
    shape = refused(ObjectiveError, config(), objectives.BadBatch(np.zeros((1, 1))), tmp_path / "s")
    assert "shape (1, 1); allowed: " in shape and f"{objectives.__file__}:" in shape


FAILING = "def fitness(c, seed):\n    return 1 / 0\nfitness.spec = {'inputs': 1, 'outputs': 1, 'dt_s': 0.02}\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_debug_is_hinted_at_and_works_behind_the_command(tmp_path, monkeypatch, workers):
    (tmp_path / "mine_failing.py").write_text(FAILING)
    monkeypatch.chdir(tmp_path)
    arguments = ("evolve", "mine_failing:fitness", *SMALL, "--workers", workers, "--out", tmp_path / "s")
    one_line_error(neuroctl(*arguments, code=1), "ZeroDivisionError", "mine_failing.py:2", "; --debug shows where")
    shown = neuroctl(*arguments, "--debug", code=1).stderr
    assert "Traceback" in shown and "return 1 / 0" in shown


def test_a_module_that_fails_is_told_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "mine_broken.py").write_text("x = 1\ny = x / 0\n")
    monkeypatch.chdir(tmp_path)
    arguments = ("evolve", "mine_broken:fitness", *SMALL, "--out", tmp_path / "s")
    one_line_error(neuroctl(*arguments, code=2), "ZeroDivisionError", "mine_broken.py:2")
    assert "y = x / 0" in neuroctl(*arguments, "--debug", code=1).stderr


# --- Objectives that cannot be repeated ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "objective",
    [objectives.ignores_its_seed, objectives.Statistics(), objectives.BatchedAnew()],
    ids=["seed", "statistics", "batch"],
)
def test_what_cannot_be_repeated_is_refused(tmp_path, objective, workers):
    text = refused(UnrepeatableError, config(), objective, tmp_path / "s", workers=workers)
    assert "one genome scores" in text and "--allow-unrepeatable" in text
    assert not (tmp_path / "s").exists()


def test_what_cannot_be_repeated_is_taken_if_asked_and_refused_on_resume(tmp_path):
    study = config(generations=2)
    run_study(study, objectives.ignores_its_seed, tmp_path / "s", allow_unrepeatable=True)
    longer = config(generations=3)
    refused(UnrepeatableError, longer, objectives.ignores_its_seed, tmp_path / "s", resume=True)
    assert len(history(tmp_path / "s")) == 3
    result = run_study(longer, objectives.ignores_its_seed, tmp_path / "s", resume=True, allow_unrepeatable=True)
    assert result.generations == 3


def test_the_option_reaches_the_study(tmp_path):
    arguments = ("evolve", "tests.evolve.test_objectives:unseeded", *SMALL, "--workers", 1, "--out", tmp_path / "s")
    one_line_error(neuroctl(*arguments, code=1), "one genome scores", "--allow-unrepeatable")
    neuroctl(*arguments, "--allow-unrepeatable")


def unseeded(controller, seed):
    return objectives.ignores_its_seed(controller, seed)


unseeded.spec = SPEC.to_dict()


def test_the_repetition_is_no_part_of_the_study(tmp_path):
    """Its evaluations are not counted, and its seeds are no one else's; stages say what takes so long."""
    seeds, stages = [], []

    def objective(controller, seed):
        seeds.append(seed)
        return objectives.follow(controller, seed)

    result = run_study(config(generations=1), objective, tmp_path / "s", on_stage=stages.append)
    assert result.evaluations == 6
    assert len(set(seeds[:4])) == 1
    assert not set(seeds[:4]) & set(seeds[4:])
    assert stages == ["compiling, once", "first generation"]


# --- Objectives that were changed ----------------------------------------------------------------------------------

FITNESS = """\
from helper_of_{name} import offset


def fitness(controller, seed):
    return -abs(float(controller.theta[0]) - {goal}) + offset
"""


def user_module(folder, monkeypatch, name, goal, offset=0.0):
    """Write and import a user's module, and another one that it uses."""
    for module in (f"mine_{name}", f"helper_of_{name}"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (folder / f"helper_of_{name}.py").write_text(f"offset = {offset}\n")
    (folder / f"mine_{name}.py").write_text(FITNESS.format(name=name, goal=goal))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    if str(folder) not in sys.path:
        monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    return importlib.import_module(f"mine_{name}").fitness


def test_a_changed_fitness_scores_the_best_anew(tmp_path, monkeypatch):
    first = user_module(tmp_path, monkeypatch, "goal", 0.3)
    before = run_study(config(generations=6), first, tmp_path / "s")
    second = user_module(tmp_path, monkeypatch, "goal", 5.0)
    with pytest.warns(UserWarning, match=r"objective: changed .*\(mine_goal is another\): the best scores -[\d.]+ now"):
        after = run_study(config(generations=7), second, tmp_path / "s", resume=True)
    best = nc.load(before.best_path)
    assert after.best_score >= second(best, 0)
    assert after.best_score < before.best_score
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_study(config(generations=8), second, tmp_path / "s", resume=True)


def test_the_best_is_scored_anew_where_the_study_is_over(tmp_path, monkeypatch):
    study = config(generations=3)
    run_study(study, user_module(tmp_path, monkeypatch, "over", 0.3), tmp_path / "s")
    changed = user_module(tmp_path, monkeypatch, "over", 0.3, offset=10.0)
    with pytest.warns(UserWarning, match="helper_of_over is another"):
        result = run_study(study, changed, tmp_path / "s", resume=True)
    assert 9.0 < result.best_score < 10.0
    assert nc.io.load_model(result.best_path).meta["score"] == result.best_score


def test_a_fitness_that_gives_the_best_no_number_now_is_refused(tmp_path, monkeypatch):
    run_study(config(generations=2), user_module(tmp_path, monkeypatch, "gone", 0.3), tmp_path / "s")
    changed = user_module(tmp_path, monkeypatch, "gone", "float('nan')")
    with pytest.raises(nc.StudyError, match="the best scores nan now; allowed: a new study"):
        run_study(config(generations=3), changed, tmp_path / "s", resume=True)


def test_an_interrupted_change_is_noticed_again(tmp_path, monkeypatch):
    """What the best was scored by stands beside its score, in one file."""
    run_study(config(generations=2), user_module(tmp_path, monkeypatch, "killed", 0.3), tmp_path / "s")
    changed = user_module(tmp_path, monkeypatch, "killed", 0.3, offset=1.0)

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StudyFolder, "__enter__", killed)
        run_study(config(generations=3), changed, tmp_path / "s", resume=True)
    with pytest.warns(UserWarning, match="helper_of_killed is another"):
        run_study(config(generations=3), changed, tmp_path / "s", resume=True)
    assert read_archive(tmp_path / "s" / "checkpoint.npz").fields["objective"] == provenance(changed)


def test_what_wraps_an_objective_is_made_of_it():
    assert provenance(Goals(objectives.follow, ["bytes"], SPEC)) == provenance(objectives.follow)
    made_of = provenance(objectives.follow)
    assert made_of["objective"] == "tests.evolve.objectives:follow"
    assert made_of["tests.evolve.objectives"].startswith("sha256:")
    assert made_of["numpy"] == np.__version__
    assert json.dumps(provenance(objectives.Recorded()))


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("cartpole", {"pybullet", "neuroctl.sims.bullet.cartpole", "neuroctl.sims.bullet.base"}),
        ("walker", {"neuroctl", "neuroctl.sims.plants.walker"}),
        ("Pendulum-v1", {"gymnasium"}),
    ],
)
def test_what_a_task_is_made_of(task, parts):
    made_of = provenance(sims.problem(task).objective)
    assert parts <= set(made_of)
    assert task in made_of["objective"]


def test_a_study_in_fixed_point_notes_the_objective(tmp_path):
    run_study(config(generations=1, fixed_point=FixedPointConfig()), objectives.follow, tmp_path / "s")
    noted = read_archive(tmp_path / "s" / "checkpoint.npz").fields["objective"]
    assert noted == provenance(objectives.follow)


def test_changes_in_words():
    before = {"a": "sha256:1", "gymnasium": "1.0", "gone": "2"}
    now = {"a": "sha256:2", "gymnasium": "1.1", "b": "sha256:3"}
    assert changes(before, now) == [
        "a is another",
        "b None, now sha256:3",
        "gone 2, now None",
        "gymnasium 1.0, now 1.1",
    ]
