"""A study's folder serves kinds of studies that are not evolutions."""

import json

import pytest

from neuroctl.errors import StudyError
from neuroctl.studies.folder import StudyFolder
from neuroctl.studies.history import HistoryFile, read_history

CONFIG = {"task": "t", "rate": 0.1, "spec": {"neurons": 3}}


class Fit(StudyFolder):
    SCHEMAS = (7,)
    FILES = (*StudyFolder.FILES, "losses.npz")


def test_a_study_is_begun_and_resumed(tmp_path):
    with Fit(tmp_path / "s", CONFIG, resume=False) as folder:
        folder.write_config()
        folder.checkpoint_path.write_bytes(b"")
    stored = json.loads((tmp_path / "s" / "study.json").read_text())
    assert stored == CONFIG | {"schema": 7, "versions": Fit.current_versions()}
    with Fit(tmp_path / "s", CONFIG | {"notes": {}}, resume=True) as folder:
        assert folder.versions == stored["versions"]
    with pytest.raises(StudyError, match=r"^spec\.neurons: 4, but the study in .* has 3; allowed"):
        Fit(tmp_path / "s", CONFIG | {"spec": {"neurons": 4}}, resume=True).__enter__()


def test_a_study_that_was_stopped_before_its_first_step_makes_room(tmp_path):
    for rate in (0.1, 0.2):  # any new one
        with Fit(tmp_path, CONFIG | {"rate": rate}, resume=False) as folder:
            folder.write_config()
            folder.file("history.csv").write_text("update,loss\n")
        assert json.loads((tmp_path / "study.json").read_text())["rate"] == rate
    with pytest.raises(StudyError, match="is in use"), Fit(tmp_path, CONFIG, resume=False):
        Fit(tmp_path, CONFIG, resume=False).__enter__()


@pytest.mark.parametrize(
    "name, content",
    [("checkpoint.npz", ""), ("best.npz", ""), ("losses.npz", ""), ("history.csv", "update,loss\n0,0.5\n")],
)
def test_a_study_with_a_step_is_not_replaced(name, content, tmp_path):
    with Fit(tmp_path, CONFIG, resume=False) as folder:
        folder.write_config()
        folder.file(name).write_text(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StudyError, match="holds a study already; allowed: another folder, or --resume"):
        Fit(tmp_path, CONFIG, resume=False).__enter__()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_files_of_its_kind_are_removed(tmp_path):
    for name in (".losses.npz.abcd_123", ".front.npz.abcd_123"):
        (tmp_path / name).write_text("")
    with pytest.raises(StudyError, match=r"holds other files \(\.front\.npz\.abcd_123\)"):
        Fit(tmp_path, CONFIG, resume=False).__enter__()
    (tmp_path / ".front.npz.abcd_123").unlink()
    with pytest.raises(ZeroDivisionError), Fit(tmp_path, CONFIG, resume=False) as folder:
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        folder.write_config()
        folder.file("losses.npz").write_bytes(b"")
        raise ZeroDivisionError  # before the first checkpoint
    assert not tmp_path.exists()


def test_a_history_comes_back(tmp_path):
    history = HistoryFile(tmp_path / "history.csv", ("update", "loss", "elapsed_s"), ("update",))
    history.write([(0, 0.1, 1.0)])
    history.append((1, float("nan"), 2.34567))
    assert (tmp_path / "history.csv").read_text() == "update,loss,elapsed_s\n0,0.1,1.000\n1,,2.346\n"
    assert read_history(tmp_path)["elapsed_s"].tolist() == [1.0, 2.346]
