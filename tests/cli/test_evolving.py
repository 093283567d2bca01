"""`neuroctl evolve` and what looks at its results, run as a user runs them."""

import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import neuroctl as nc
import sims
from neuroctl import console
from neuroctl.cli.evolving import budget_of, fixed_of, plot
from neuroctl.console import study_progress
from neuroctl.errors import FileFormatError
from neuroctl.evolve.results import Progress
from neuroctl.io import read_archive, write_archive
from neuroctl.studies.history import Group, read_history
from tests.commands import neuroctl, one_line_error

SMALL = ("--neurons", 3, "--population", 4, "--episodes", 2, "--validation", 4)


@pytest.mark.parametrize("name", ["cartpole", "HalfCheetahBulletEnv-v0"])
def test_all_figures_of_a_generation_fit_into_80_columns(name):
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    with study_progress(console, name) as on_generation:
        on_generation(Progress(126, 200, 6096, 1389.2, 796.1, 0.123, 1255.4, 6.62, 920.0, 599.0))
    shown = console.file.getvalue()
    assert "gen 127 best 1389 med 796 unseen 1255 sigma 0.12 6.6/s 9:59 left" in shown
    assert name[:7] in shown


def piped(monkeypatch, seconds):
    """What is written to no terminal, a generation after each of these times."""
    clock = iter([0.0, *seconds])
    now = [next(clock)]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    file = Console(width=80, file=io.StringIO())
    with study_progress(file, "cartpole") as shown:
        shown.stage("starting workers; compiling, once")
        assert "cartpole: starting workers; compiling, once\n" in file.file.getvalue()
        for k, second in enumerate(seconds):
            now[0] = second
            shown(Progress(k, 200, 6096, 1389.2, 796.1, 0.123, 1255.4, 6.62, 920.0, 599.0))
    return [line.split()[2] for line in file.file.getvalue().splitlines() if "gen " in line]


def test_no_terminal_gets_lines(monkeypatch):
    """The first generation, then one in 10 s, or each where they take longer; and the last."""
    assert piped(monkeypatch, [1, 2, 5, 12, 13, 30, 90, 91]) == ["1", "4", "6", "7", "8"]
    assert piped(monkeypatch, [100, 200]) == ["1", "2"]


def test_a_text_that_is_piped_is_one_line():
    text = "all generations done: 3 generations, 96 evaluations; best mean return on 64 unseen episodes: 0.5"
    for terminal, lines in ((False, 1), (True, 3)):
        file = io.StringIO()
        plain = console._Plain(width=40, file=file, force_terminal=terminal, color_system=None)
        plain.print(text, highlight=False)
        assert file.getvalue().count("\n") == lines


def test_piped_progress_is_on_stderr(tmp_path):
    done = neuroctl("evolve", "walker", *SMALL, "--generations", 3, "--out", tmp_path / "s")
    lines = done.stderr.splitlines()
    begin = ["dt_s: 0.1, by the task's control rate", "walker: compiling, once", "walker: first generation"]
    assert lines[:3] == begin
    assert lines[-1].startswith("walker: gen 3 best ") and lines[-1].endswith(" left")
    done = neuroctl("run", tmp_path / "s" / "best.npz", "--gif", tmp_path / "a.gif", code=2)
    assert done.stderr.startswith("error: gif: 'walker' is compiled and has no picture; allowed: ")


def test_several_seeds_in_one_command(tmp_path):
    arguments = ("evolve", "walker", *SMALL, "--generations", 3, "--seed", 5, "--seeds", 3, "--out", tmp_path / "s")
    shown = neuroctl(*arguments).stdout
    assert "mean" in shown and "std" in shown
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["seed-5", "seed-6", "seed-7"]
    again = json.loads(neuroctl(*arguments, "--resume", "--json").stdout)["groups"]
    assert [group["seeds"] for group in again] == [[5, 6, 7]]
    alone = neuroctl("evolve", "walker", *SMALL, "--generations", 3, "--seed", 6, "--out", tmp_path / "one", "--json")
    assert again[0]["scores"][1] == json.loads(alone.stdout)["best_score"]


def test_several_seeds_go_on_where_they_were_interrupted(tmp_path):
    first = ("evolve", "walker", *SMALL, "--generations", 2, "--out", tmp_path / "s" / "seed-0")
    neuroctl(*first)
    rest = ("evolve", "walker", *SMALL, "--generations", 4, "--seeds", 2, "--out", tmp_path / "s", "--resume")
    (group,) = json.loads(neuroctl(*rest, "--json").stdout)["groups"]
    assert group["seeds"] == [0, 1]
    assert len(read_history(tmp_path / "s" / "seed-0")["generation"]) == 4


def test_a_resume_with_the_wrong_number_of_studies_says_what_to_do(tmp_path):
    one, several = tmp_path / "one", tmp_path / "several"
    for folder in (one, several / "seed-3"):
        folder.mkdir(parents=True)
        (folder / "study.json").write_text("{}")
    resume = ("evolve", "walker", "--resume", "--out")
    assert neuroctl(*resume, several, code=1).stderr == (
        f"error: out: {several} holds studies of several seeds; "
        f"allowed: --seeds too, as at the beginning, or one of them: --out {several}/seed-3\n"
    )
    told = f"error: seeds: 2, but {one} holds one study; allowed: --resume without --seeds\n"
    assert neuroctl(*resume, one, "--seeds", 2, code=1).stderr == told
    told = f"error: out: {tmp_path} holds no studies to resume; allowed: a folder of an earlier --seeds\n"
    assert neuroctl(*resume, tmp_path, "--seeds", 2, code=1).stderr == told


OPTIONS = {
    "encoding": (
        "tests.evolve.objectives:three_legs", "--neurons", 6, "--limbs", 3, "--coupling", "wave", "--fix", "b_out=0.25",
        "--sparse", "--optional-neurons", "--sigma0", 0.3, "--racing",
    ),
    "integers": ("walker", "--cell", "elman", "--neurons", 2, "--integer-genes", "--weight-bits", 8, "--seed", 7),
    "quantized": ("walker", "--neurons", 2, "--quantized", "--state-bits", 16, "--target-score", 1e6),
    "goals": ("walker", "--neurons", 2, "--optimizer", "nsga2", "--goals", "bytes", "--budget", "1h,12evals"),
    "archive": ("phototaxis", "--neurons", 2, "--optimizer", "map-elites", "--budget", "90s"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_resume_takes_the_options_that_it_does_not_name(kind, tmp_path):
    if kind == "goals":
        pytest.importorskip("pymoo", reason="pymoo is not installed: goals were NOT tested")
    if kind == "archive":
        pytest.importorskip("ribs", reason="ribs is not installed: archives were NOT tested")
    task, *options = OPTIONS[kind]
    small = ("--population", 4, "--episodes", 4, "--validation", 4)
    begin = ("evolve", task, *options, *small)
    neuroctl(*begin, "--generations", 3, "--out", tmp_path / "whole")
    neuroctl(*begin, "--generations", 2, "--out", tmp_path / "study")
    neuroctl("evolve", task, "--resume", "--generations", 3, "--out", tmp_path / "study")
    studies = [json.loads((tmp_path / name / "study.json").read_text()) for name in ("whole", "study")]
    assert studies[0] == studies[1]
    assert (tmp_path / "study" / "best.npz").read_bytes() == (tmp_path / "whole" / "best.npz").read_bytes()


def test_a_study_of_an_older_version_is_resumed_to_its_bits(tmp_path):
    """Both were made by version 0.1.0 of 2026-11-27: one stopped after two generations, one ran through all four.

    Integers in a plant without sums that could be reordered: the same bits on every machine.
    """
    old = Path(__file__).parent.parent / "data" / "study_of_phototaxis"
    shutil.copytree(old / "half", tmp_path / "study")
    neuroctl("evolve", "phototaxis", "--resume", "--generations", 4, "--out", tmp_path / "study")
    resumed, whole = (read_history(folder) for folder in (tmp_path / "study", old / "whole"))
    assert {name: c.tolist() for name, c in resumed.items() if name != "elapsed_s"} == {
        name: c.tolist() for name, c in whole.items() if name != "elapsed_s"
    }
    for name in ("best.npz", "best-fixed.npz"):
        resumed, whole = (read_archive(folder / name) for folder in (tmp_path / "study", old / "whole"))
        assert {key: a.tobytes() for key, a in resumed.arrays.items()} == {
            key: a.tobytes() for key, a in whole.arrays.items()
        }


def test_a_resume_refuses_an_option_that_differs(tmp_path):
    study = tmp_path / "study"
    neuroctl("evolve", "walker", *SMALL, "--generations", 1, "--out", study)
    again = ("evolve", "walker", "--resume", "--out", study)
    one_line_error(neuroctl(*again, "--episodes", 3, code=1), "episodes: 3, but the study in", "has 2; allowed")
    one_line_error(neuroctl(*again, "--racing", code=1), "racing: True, but the study in", "has False; allowed")
    one_line_error(neuroctl(*again, "--weight-bits", 8, "--quantized", code=1), "fixed_point")
    one_line_error(
        neuroctl("evolve", "two-poles", *again[2:], code=1), "task: 'two-poles', but the study in", "'walker'"
    )
    more = neuroctl(*again, "--budget", "12evals", "--target-score", 1e6, "--json").stdout
    assert json.loads(more)["generations"] == 3


def test_a_resume_takes_the_time_that_a_study_was_begun_with(tmp_path):
    again = ("evolve", "walker", "--resume", "--out", tmp_path / "s")
    neuroctl("evolve", "walker", *SMALL, "--budget", "0.001s", "--out", tmp_path / "s")
    assert json.loads(neuroctl(*again, "--json").stdout)["stop_reason"] == "time is up"
    assert json.loads(neuroctl(*again, "--budget", "8evals", "--json").stdout)["stop_reason"] == "all evaluations done"


def test_several_seeds_are_resumed_by_their_own_options(tmp_path):
    many = ("--seed", 3, "--seeds", 2, "--out", tmp_path / "s")
    neuroctl("evolve", "walker", *SMALL, "--generations", 2, *many)
    shown = neuroctl(
        "evolve", "walker", "--resume", "--generations", 3, "--seeds", 2, "--out", tmp_path / "s", "--json"
    )
    (group,) = json.loads(shown.stdout)["groups"]
    assert (group["seeds"], group["evaluations"]) == ([3, 4], 12)


def test_a_budget_alone_sets_no_number_of_generations(tmp_path):
    arguments = ("evolve", "walker", *SMALL, "--budget", "700evals", "--out", tmp_path / "s", "--json")
    assert json.loads(neuroctl(*arguments).stdout)["generations"] == 175


def test_scalars_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: scalars were NOT tested")
    neuroctl("evolve", "walker", *SMALL, "--generations", 3, "--out", tmp_path / "s", "--tensorboard")
    (events,) = (tmp_path / "s" / "tensorboard").iterdir()
    written = events.read_bytes()
    for name in (b"best_validation", b"sigma", b"evals_per_s"):
        assert written.count(name) == 3
    neuroctl("evolve", "walker", *SMALL, "--generations", 4, "--out", tmp_path / "s", "--tensorboard", "--resume")
    assert len(list((tmp_path / "s" / "tensorboard").iterdir())) == 2


def test_encodings(tmp_path):
    wave = ("--limbs", 3, "--coupling", "wave", "--fix", "b_out=0", "--sparse")
    config = ("evolve", "tests.evolve.objectives:three_legs", "--neurons", 6, *SMALL[2:], *wave)
    neuroctl(*config, "--generations", 2, "--out", tmp_path / "s")
    encoding = json.loads((tmp_path / "s" / "study.json").read_text())["encoding"]
    assert (encoding["limbs"], encoding["coupling"], encoding["sparse"]) == (3, "wave", True)
    assert encoding["fixed"] == {"b_out": 0.0}
    assert nc.load(tmp_path / "s" / "best.npz").spec.mask is not None
    one_line_error(neuroctl(*config, "--limbs", 4, code=1), "limbs: 4", "divisors")


def test_dense_layers_and_a_learned_start_are_evolved_and_resumed(tmp_path):
    study = ("evolve", "phototaxis", "--out", tmp_path / "s", "--workers", 1, "--generations")
    network = ("--cell", "gru", "--neurons", 2, "--encoder", 3, "--head", "3,2", "--dense-activation", "tanh")
    search = ("--population", 4, "--validation", 1, "--episodes", 1)
    neuroctl(*study, 1, *network, *search, "--initial-state", "learned")
    neuroctl(*study, 2, "--resume")
    spec = nc.load(tmp_path / "s" / "best.npz").spec
    assert (spec.encoder, spec.head, spec.dense_activation, spec.initial_state) == ((3,), (3, 2), "tanh", "learned")
    assert spec.input_names == ("left eye", "right eye")
    one_line_error(neuroctl(*study, 3, "--resume", "--encoder", 4, code=1), "spec.encoder: [4], but the study in")
    one_line_error(neuroctl(*study[:2], "--encoder", "3,x", code=2), "encoder: '3,x'; allowed: sizes of layers")
    one_line_error(neuroctl(*study[:2], "--mode", "fast", code=2), "mode: 'fast'; allowed")


def test_a_search_begins_at_a_file_with_its_network(tmp_path):
    limits = {"input_limits": ((0.0, 2.0),) * 2, "output_limits": ((-1.0, 1.0),) * 2}
    spec = nc.Spec(cell="elman", inputs=2, neurons=3, outputs=2, dt_s=0.1, head=(4,), activation="relu", **limits)
    first, out = tmp_path / "first.npz", tmp_path / "s"
    nc.Controller(spec, seed=5).save(first)
    study = ("evolve", "phototaxis", "--workers", 1, "--population", 4, "--validation", 1, "--episodes", 1)
    neuroctl(*study, "--generations", 1, "--from", first, "--out", out)
    best, begun = nc.load(out / "best.npz"), nc.load(first)
    assert best.theta.tobytes() == begun.theta.tobytes()
    assert (best.spec.activation, best.spec.head) == ("relu", (4,))
    assert best.spec.input_limits == sims.get("phototaxis").input_limits
    assert json.loads((out / "study.json").read_text())["sigma0"] == 0.1
    first.unlink()  # all of it is in the study
    neuroctl("evolve", "phototaxis", "--workers", 1, "--generations", 2, "--resume", "--out", out)
    neuroctl("run", out / "best.npz", "--episodes", 1)
    nc.Controller(spec, seed=6).save(first)
    done = neuroctl("evolve", "phototaxis", "--resume", "--from", first, "--out", out, code=1)
    one_line_error(done, "from: ", "allowed with --resume: what the study was begun with")
    done = neuroctl(*study, "--from", first, "--cell", "gru", "--out", tmp_path / "t", code=1)
    one_line_error(done, "cell: 'gru'; allowed with --from", "'elman', or without the option")
    done = neuroctl("evolve", "walker", "--from", first, "--out", tmp_path / "t", code=1)
    one_line_error(done, "from: a controller with inputs 2; allowed: 1")
    nc.load(first).quantize().save(first)
    done = neuroctl(*study, "--from", first, "--out", tmp_path / "t", code=1)
    one_line_error(done, "first.npz", "allowed: a 'controller'")


def test_a_tasks_rhythm_is_left_out_of_networks_that_have_none(tmp_path):
    quick = ("--generations", 1, "--population", 4, "--validation", 1, "--out", tmp_path / "s")
    neuroctl("evolve", "quadruped", "--cell", "elman", *quick)
    encoding = json.loads((tmp_path / "s" / "study.json").read_text())["encoding"]
    assert (encoding["rhythm_hz"], encoding["limbs"]) == (None, 4)
    asked = ("evolve", "quadruped", "--cell", "elman", "--rhythm", 2, "--out", tmp_path / "t")
    one_line_error(neuroctl(*asked, code=1), "rhythm_hz: 2", "ctrnn")


def test_integer_genes_are_evolved_in_fixed_point(tmp_path):
    arguments = ("evolve", "walker", *SMALL, "--generations", 3, "--integer-genes", "--weight-bits", 8)
    neuroctl(*arguments, "--racing", "--out", tmp_path / "s")
    genomes = read_archive(tmp_path / "s" / "population.npz").arrays["genomes"]
    assert np.array_equal(genomes, np.rint(genomes))
    best = tmp_path / "s" / "best-fixed.npz"
    assert nc.load(best).formats["W"].bits == 8
    shown = json.loads(neuroctl("run", best, "--episodes", 1, "--json").stdout)
    assert (shown["task"], shown["form"]) == ("walker", "fixed point")
    assert json.loads(neuroctl("info", best, "--json").stdout)["meta"]["task"] == "walker"


def test_goals_and_their_picture(tmp_path):
    arguments = ("evolve", "cartpole", *SMALL, "--optimizer", "nsga2", "--goals", "energy, bytes", "--optional-neurons")
    neuroctl(*arguments, "--generations", 3, "--out", tmp_path / "s")
    neuroctl("plot", tmp_path / "s" / "front.npz", "--out", tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_an_archive_and_its_picture(tmp_path):
    arguments = ("evolve", "phototaxis", *SMALL, "--optimizer", "cma-me", "--population", 16, "--generations", 3)
    neuroctl(*arguments, "--out", tmp_path / "s")
    neuroctl("plot", tmp_path / "s" / "archive.npz", "--out", tmp_path / "archive.png")
    assert (tmp_path / "archive.png").read_bytes().startswith(b"\x89PNG")


def test_a_robustness_map(tmp_path):
    neuroctl("evolve", "cartpole", *SMALL, "--generations", 2, "--out", tmp_path / "s")
    best = tmp_path / "s" / "best.npz"
    levels = ("--noise", "0,0.5", "--latency", "0,2,9", "--episodes", 2)
    report = json.loads(neuroctl("robustness", best, *levels, "--out", tmp_path / "r.png", "--json").stdout)
    assert np.array(report["mean"]).shape == (2, 3)
    undisturbed = json.loads(neuroctl("run", best, "--episodes", 2, "--json").stdout)
    assert report["mean"][0][0] == undisturbed["mean"]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "latency" in neuroctl("robustness", best, *levels, "--quantized").stdout
    one_line_error(neuroctl("robustness", best, "--noise", "x", code=2), "noise: 'x'", "0,0.05,0.1")
    one_line_error(neuroctl("robustness", best, "--latency", "1.5", code=2), "latency: '1.5'", "0,1,2")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("cartpole", "--optimizer", "nsga2"), 1, ("measures: none", "--goals")),
        (("cartpole", "--optimizer", "cma-me"), 2, ("no measures", "phototaxis")),
        (("cartpole", "--optimizer", "nsga2", "--goals", "speed"), 1, ("goals: 'speed'", "energy, bytes")),
        (("walker", "--optimizer", "nsga2", "--goals", "energy"), 2, ("goals: energy", "bytes")),
        (("cartpole", "--fix", "b_out"), 1, ("fix: 'b_out'", "b_out=0")),
        (("cartpole", "--fix", "bias_out=0"), 1, ("fixed: 'bias_out'", "b_out")),
        (("cartpole", "--coupling", "ring"), 1, ("coupling: 'ring'", "wave")),
        (("cartpole", "--backend", "cuda"), 2, ("backend: 'cuda'", "cpu")),
        (("walker", "--backend", "tpu"), 1, ("backend: 'tpu'", "cpu, cuda")),
        (("cartpole", "--budget", "soon"), 1, ("budget: 'soon'", "10m")),
        (("cartpole", "--weight-bits", "7", "--integer-genes"), 1, ("integer_bits: 7", "8 or 16")),
        (("cartpole", "--weight-bits", "8"), 2, ("--weight-bits: 8; allowed without --quantized: 16",)),
    ],
)
def test_bad_requests_are_one_line(tmp_path, arguments, code, words):
    one_line_error(neuroctl("evolve", *arguments, "--out", tmp_path / "s", code=code), *words)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("10m", {"seconds": 600.0}),
        ("90s", {"seconds": 90.0}),
        ("1.5h", {"seconds": 5400.0}),
        ("5000evals", {"evaluations": 5000.0}),
        ("2m, 7gens", {"seconds": 120.0, "generations": 7.0}),
        (None, {}),
    ],
)
def test_budgets(text, limits):
    assert budget_of(text) == limits


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "-3m", "1.5evals", "0s", "3m;4gens"])
def test_bad_budgets_are_named(text):
    with pytest.raises(nc.StudyError, match="budget: .*; allowed: such as 10m"):
        budget_of(text)


def test_blocks_that_are_not_searched():
    assert fixed_of(["b_out=0", " gain = 1.5"]) == {"b_out": 0.0, "gain": 1.5}
    with pytest.raises(nc.StudyError, match="fix: 'gain=x'; allowed: a block and a number"):
        fixed_of(["gain=x"])


def test_the_first_of_two_limits_counts(tmp_path):
    arguments = ("evolve", "walker", *SMALL, "--generations", 5, "--budget", "2gens", "--out", tmp_path / "s", "--json")
    assert json.loads(neuroctl(*arguments).stdout)["generations"] == 2


def test_what_an_objective_prints_is_no_part_of_the_json(tmp_path):
    config = ("evolve", "tests.evolve.test_unfinished:printing_fitness", *SMALL, "--generations", 1, "--workers", 1)
    done = neuroctl(*config, "--out", tmp_path / "s", "--json")
    assert json.loads(done.stdout)["generations"] == 1
    assert "hello" in done.stderr


def test_a_seed_and_episodes_reach_the_evolution_of_a_task(tmp_path):
    arguments = ("walker", "--evolve", "--seed", 3, "--episodes", 2, "--neurons", 3, "--generations", 1)
    neuroctl(*arguments, "--out", tmp_path / "s", module="sims")
    study = json.loads((tmp_path / "s" / "study.json").read_text())
    assert (study["seed"], study["episodes"]) == (3, 2)


def test_a_warning_is_shown_once(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    console.one_line_warnings()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for text in ("a", "b", "a"):
            warnings.warn(text, stacklevel=1)
    assert capsys.readouterr().err == "warning: a\nwarning: b\n"


def test_a_pretrained_controller_above_the_stable_step_says_why_that_is_harmless():
    with pytest.warns(nc.StabilityWarning, match="max_stable_dt: .*; harmless in a controller evolved at this dt_s"):
        nc.load(sims.registry.CONTROLLERS / "quadruped.npz")


def test_numbers_of_a_comparison_are_not_cut(capsys, monkeypatch):
    group = Group(
        "cartpole,noise=0.02,latency=1, cmaes, population 300", (0, 1), np.array([96.0]), np.array([[39.91]]), 96.0
    )
    monkeypatch.setattr(console, "out", Console(width=80))
    console.show_groups([group])
    shown = capsys.readouterr().out
    assert shown.count("39.91") == 3 and "…" not in shown


@pytest.mark.parametrize(
    ("kind", "fields", "arrays"),
    [
        ("log", {}, {}),
        ("log", {"about": {}, "report": None}, {"tick": np.arange(3)}),
        ("archive", {"task": "t"}, {}),
        (
            "archive",
            {"task": "t", "cells": 10**6, "measures": [{"low": 0, "high": 1}] * 2},
            {"measures": np.ones((1, 2))},
        ),
        ("front", {"measures": []}, {"values": np.ones((2, 3))}),
    ],
)
def test_a_whole_file_of_ours_that_we_did_not_write(kind, fields, arrays, tmp_path):
    write_archive(tmp_path / "x.npz", kind, fields, arrays)
    with pytest.raises(FileFormatError, match=r"^.*x\.npz: damaged: ") as caught:
        plot(tmp_path / "x.npz", tmp_path / "x.png")
    assert "\n" not in str(caught.value)
