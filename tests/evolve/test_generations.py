"""What a study remembers: a file that grows by a record a generation, and a checkpoint that does not grow."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.evolve import run_study
from neuroctl.evolve.generations import COLUMNS, Generation, GenerationLog
from neuroctl.io import read_archive, write_archive
from tests.evolve import objectives
from tests.evolve.study_script import config, generations_in
from tests.evolve.test_study import history, outcome
from tests.evolve.test_study_options import KINDS

OLD = Path(__file__).parent / "data" / "study_of_schema_2"


def refused(text, *arguments, **keywords):
    with pytest.raises(nc.NeuroctlError, match=text) as caught:
        run_study(*arguments, **keywords)
    assert "\n" not in str(caught.value)


def test_an_older_study_goes_on_to_the_same_bits(tmp_path):
    """Written by version 0.1.0, which kept all generations in the checkpoint."""
    shutil.copytree(OLD, tmp_path / "old")
    study = config(optimizer="random", generations=9)
    run_study(study, objectives.first_weight, tmp_path / "old", resume=True)
    run_study(study, objectives.first_weight, tmp_path / "new")
    assert history(tmp_path / "old") == history(tmp_path / "new")
    old, new = (read_archive(tmp_path / name / "checkpoint.npz") for name in ("old", "new"))
    assert {name: a.tolist() for name, a in old.arrays.items()} == {name: a.tolist() for name, a in new.arrays.items()}
    again = run_study(
        config(optimizer="random", generations=10), objectives.first_weight, tmp_path / "old", resume=True
    )
    assert again.generations == 10


def made_old(folder, width):
    """Write the checkpoint as before, and remove what was not there."""
    generations, new = generations_in(folder, width), read_archive(folder / "checkpoint.npz")
    arrays = {
        "fitness": np.concatenate([generation.told for generation in generations]),
        "counts": np.array([len(generation.told) for generation in generations], np.int64),
        "rows": np.array([generation.row for generation in generations]),
    }
    fields = {name: new.fields[name] for name in ("best_generation", "config", "search")}
    write_archive(folder / "checkpoint.npz", "checkpoint", fields, arrays | new.arrays)
    (folder / "generations.bin").unlink()


@pytest.mark.parametrize("optimizer", KINDS)
def test_older_studies_of_every_kind_go_on(tmp_path, optimizer):
    fields, objective = KINDS[optimizer]
    fields = {"generations": 12, "population": 8, "optimizer": optimizer} | fields
    width = 1 + len(fields.get("measures", ()))
    run_study(config(**fields), objective, tmp_path / "new")
    run_study(config(**fields | {"generations": 5}), objective, tmp_path / "old")
    made_old(tmp_path / "old", width)
    run_study(config(**fields), objective, tmp_path / "old", resume=True)
    assert outcome(tmp_path / "old") == outcome(tmp_path / "new")


def test_a_generation_costs_the_same_however_many_there_were(tmp_path):
    sizes = {}
    for count in (3, 60):
        folder = tmp_path / str(count)
        run_study(config(generations=count), objectives.follow, folder)
        sizes[count] = {name: (folder / name).stat().st_size for name in ("checkpoint.npz", "generations.bin")}
    assert abs(sizes[60]["checkpoint.npz"] - sizes[3]["checkpoint.npz"]) < 16  # digits of the numbers in it
    assert sizes[60]["generations.bin"] == 20 * sizes[3]["generations.bin"]


def test_what_was_appended_after_the_checkpoint_does_not_count(tmp_path):
    run_study(config(), objectives.follow, tmp_path / "whole")
    run_study(config(generations=4), objectives.follow, tmp_path / "s")
    with (tmp_path / "s" / "generations.bin").open("ab") as file:
        file.write(b"half a record")
    (tmp_path / "s" / "history.csv").write_text("cut o")
    run_study(config(), objectives.follow, tmp_path / "s", resume=True)
    assert outcome(tmp_path / "s") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:], lambda b: b"", None],
    ids=["cut", "changed", "empty", "missing"],
)
def test_damaged_records_are_named(tmp_path, damage):
    run_study(config(generations=2), objectives.follow, tmp_path / "s")
    path = tmp_path / "s" / "generations.bin"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    refused("generations.bin: (damaged|No such file)", config(), objectives.follow, tmp_path / "s", resume=True)


@pytest.mark.parametrize("written", [0, 0.5, 1])
def test_killed_while_a_record_is_written(tmp_path, monkeypatch, written):
    class Killed(BaseException):
        pass

    def cut(self, generation):
        with self._path.open("r+b") as file:
            file.seek(self.length)
            file.write(generation.to_bytes()[: int(written * len(generation.to_bytes()))])
        raise Killed

    run_study(config(), objectives.follow, tmp_path / "whole")
    run_study(config(generations=3), objectives.follow, tmp_path / "s")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(GenerationLog, "append", cut)
        run_study(config(), objectives.follow, tmp_path / "s", resume=True)
    run_study(config(), objectives.follow, tmp_path / "s", resume=True)
    assert outcome(tmp_path / "s") == outcome(tmp_path / "whole")


def test_records_come_back_as_they_were(tmp_path):
    log = GenerationLog(tmp_path / "generations.bin", 2)
    rows = [[float(k), np.nan, *range(len(COLUMNS) - 2)] for k in range(3)]
    written = [Generation(row, np.full((k + 1, 2), k / 3)) for k, row in enumerate(rows)]
    for generation in written:
        log.append(generation)
    read = GenerationLog(tmp_path / "generations.bin", 2).read(log.length, log.digest)
    assert [g.to_bytes() for g in read] == [g.to_bytes() for g in written]
