"""Studies that fail before their first generation, are unfinished, or find no controller."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuroctl.errors import NeuroctlError, StudyError
from neuroctl.evolve import run_study
from neuroctl.evolve.study import _VALIDATION, episode_seeds
from neuroctl.studies.history import groups
from tests.evolve import objectives
from tests.evolve.study_script import config

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_study_that_fails_before_its_first_generation_leaves_no_folder(workers, tmp_path):
    folder = tmp_path / "study"
    with pytest.raises(StudyError, match="fell off the table"):
        run_study(config(), objectives.raises, folder, workers=workers)
    assert not folder.exists()
    result = run_study(config(generations=2), objectives.follow, folder)
    assert result.generations == 2


def test_a_study_interrupted_while_it_compiles_can_be_begun_again(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    stopped = run_study(config(generations=2), objectives.follow, tmp_path / "study", on_stage=interrupt)
    assert (stopped.stop_reason, stopped.generations) == ("interrupted", 0)
    result = run_study(config(generations=1, seed=5), objectives.follow, tmp_path / "study")
    assert result.generations == 1
    with pytest.raises(StudyError, match="holds a study already; allowed: another folder, or --resume"):
        run_study(config(generations=1, seed=5), objectives.follow, tmp_path / "study")


def test_a_folder_that_was_there_and_a_study_that_began_stay(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").write_text("")
    with pytest.raises(StudyError):
        run_study(config(), objectives.raises, tmp_path / "empty")
    run_study(config(generations=1), objectives.follow, tmp_path / "begun")
    before = (tmp_path / "begun" / "checkpoint.npz").read_bytes()
    with pytest.raises(StudyError):
        run_study(config(generations=2), objectives.raises, tmp_path / "begun", resume=True)
    assert (tmp_path / "begun" / "checkpoint.npz").read_bytes() == before
    assert (tmp_path / "begun" / "study.json").exists()


def test_unfinished_studies_are_left_out_of_a_comparison(tmp_path):
    run_study(config(generations=2), objectives.follow, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "study.json").write_bytes((tmp_path / "a" / "study.json").read_bytes())
    with pytest.warns(UserWarning, match="b: left out, as no generation is finished"):
        assert [group.seeds for group in groups([tmp_path])] == [(4,)]
    with pytest.warns(UserWarning), pytest.raises(NeuroctlError, match="no generation is finished; allowed"):
        groups([tmp_path / "b"])


def test_a_study_without_a_number_names_no_best(tmp_path):
    unseen = episode_seeds(config().seed, _VALIDATION, 0, config().validation_episodes)

    def lost(controller, seed):
        return float("nan") if seed in unseen else objectives.follow(controller, seed)

    result = run_study(config(generations=2), lost, tmp_path / "study")
    assert result.best_score is None
    assert json.loads(json.dumps(result.to_dict()))["best_path"] is None


def test_a_resume_names_what_differs_and_no_more(tmp_path):
    run_study(config(generations=1), objectives.follow, tmp_path / "study")
    with pytest.raises(
        StudyError, match=r"^episodes: 3, but the study in .* has 2; allowed: the options it was begun with$"
    ):
        run_study(config(generations=1, episodes=3), objectives.follow, tmp_path / "study", resume=True)
    other = type(config().spec)(**(config().spec.to_dict() | {"neurons": 3}))
    with pytest.raises(StudyError, match=r"^spec\.neurons: 3, but the study in .* has 2; allowed"):
        run_study(config(generations=1, spec=other), objectives.follow, tmp_path / "study", resume=True)


def test_a_file_named_like_one_of_pythons_own_does_not_stop_workers(tmp_path):
    (tmp_path / "signal.py").write_text("")
    (tmp_path / "select.py").write_text("")
    code = (
        "import sys; sys.path.remove(''); sys.path.append(sys.argv[1])\n"
        "from tests.evolve import objectives\n"
        "from tests.evolve.study_script import config\n"
        "from neuroctl.evolve import run_study\n"
        "print(run_study(config(generations=1), objectives.follow, 'study', workers=2).generations)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "1\n", done.stderr


def printing(controller, seed):
    print("hello")
    return objectives.follow(controller, seed)


def printing_fitness(controller, seed):
    return printing(controller, seed)


printing_fitness.spec = config().spec.to_dict()


def test_what_workers_print_is_no_part_of_the_output(tmp_path):
    code = (
        "from tests.evolve.study_script import config\n"
        "from tests.evolve.test_unfinished import printing\n"
        "from neuroctl.evolve import run_study\n"
        f"run_study(config(generations=1), printing, {str(tmp_path / 'study')!r}, workers=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == ""
