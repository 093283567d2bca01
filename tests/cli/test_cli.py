"""The command line, run as a user runs it: exit codes, one-line errors, JSON."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import require
from neuroctl.io import write_archive
from tests.commands import neuroctl, one_line_error

SPEC = nc.Spec(
    cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=1 / 60,
    input_limits=((-2.4, 2.4), (-0.42, 0.42)), output_limits=((-10.0, 10.0),),
)  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "ctl.npz"
    nc.Controller(SPEC, seed=1).save(path, meta={"task": "cartpole"}, calibration=np.zeros((5, 2), np.float32))
    return path


def test_help_of_every_command_has_an_example():
    listed = neuroctl("--help").stdout
    for command in ("demo", "tasks", "evolve", "run", "loop", "info", "export", "verify"):
        assert command in listed
        text = neuroctl(command, "--help").stdout
        assert "Example: neuroctl" in text


def test_version():
    assert neuroctl("--version").stdout.strip() == f"neuroctl {nc.__version__}"


def test_tasks():
    assert "cartpole" in neuroctl("tasks").stdout
    assert json.loads(neuroctl("tasks", "--json").stdout)["tasks"][0]["id"].startswith("neuroctl/")


def test_info(saved, tmp_path):
    shown = neuroctl("info", saved).stdout
    assert "tau_s" in shown and "integrator" in shown
    assert not any(field in shown for field in ("settle_steps", "context_decay", "residual", "clamp"))
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


def test_run_shows_the_steps_of_each_episode(saved):
    import sims

    shown = json.loads(neuroctl("run", saved, "--episodes", 3, "--json").stdout)
    recorded = list(sims.records("cartpole", nc.load(saved), range(1000, 1003)))
    assert shown["steps"] == [episode.steps for episode in recorded]
    assert shown["returns"] == pytest.approx([episode.total_return for episode in recorded])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("info", "missing.npz"), 1, ("missing.npz", "no such file")),
        (("run", "missing.npz"), 1, ("missing.npz",)),
        (("run", "{saved}", "--task", "cartpoel"), 2, ("cartpoel", "did you mean", "cartpole")),
        (("evolve", "cartpoel"), 2, ("cartpoel", "did you mean")),
        (("evolve", "cartpole", "--neurons", "0"), 2, ("neurons: 0", "allowed")),
        (("evolve", "cartpole", "--optimizer", "adam"), 1, ("optimizer: 'adam'", "snes")),
        (("evolve", "cartpole", "--cell", "lstm"), 2, ("cell: 'lstm'", "ctrnn")),
        (("evolve", "cartpole", "--out", "/proc/nowhere", "--generations", "1"), 1, ("/proc/nowhere",)),
        (("export", "{saved}", "--out", "{new}", "--name", "1x"), 1, ("name", "1x")),
        (("export", "{saved}", "--out", "{new}", "--name", "int"), 1, ("name", "int")),
        (("export", "{saved}", "--out", "{new}", "--target", "z80"), 1, ("target", "z80")),
        (("export", "{saved}", "--out", "{new}", "--weight-bits", "12"), 1, ("--weight-bits: 12",)),
        (("run", "{saved}", "--state-bits", "16"), 2, ("--state-bits: 16; allowed without --quantized: 32",)),
        (("robustness", "{saved}", "--weight-bits", "8"), 2, ("--weight-bits: 8; allowed without --quantized: 16",)),
        (("loop", "{saved}", "--weight-bits", "8"), 2, ("--weight-bits: 8; allowed without --quantized: 16",)),
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "x.npz", "--gif", "a.png"), ("gif: 'a.png'; allowed: a name that ends in .gif",)),
        (("run", "x.npz", "--gif", "no/a.gif"), ("gif: 'no/a.gif': cannot be written", "no is missing")),
        (("run", "x.npz", "--gait", "a.jpg"), ("gait: 'a.jpg'; allowed: a name that ends in .png",)),
        (("robustness", "x.npz", "--out", "a"), ("out: 'a'; allowed: a name that ends in .png",)),
        (("compare", "x", "--out", "a.jpg"), ("out: 'a.jpg'; allowed: a name that ends in .png",)),
        (("compare", "x", "--out", "no/a.png"), ("out: 'no/a.png': cannot be written",)),
        (("plot", "x.npz", "--out", "no/a.png"), ("out: 'no/a.png': cannot be written",)),
        (("evolve", "no:where", "--out", "file"), ("out: 'file': cannot be written", "is no folder")),
        (("evolve", "no:where", "--out", "file/new"), ("out: 'file/new': cannot be written", "is no folder")),
        (("export", "x.npz", "--out", "file"), ("out: 'file': cannot be written", "is no folder")),
        (("export", "x.npz", "--out", "new", "--report", "a.pdf"), ("report: 'a.pdf'; allowed",)),
        (("export", "x.npz", "--out", "file", "--sweep"), ("out: 'file': cannot be written", "is no folder")),
        (("loop", "x.npz", "--log", "no/a.mcap"), ("log: 'no/a.mcap': cannot be written",)),
        (("demo", "--out", "file/new"), ("file/new",)),
    ],
)
def test_what_could_not_be_written_is_refused_at_the_start(tmp_path, arguments, words):
    (tmp_path / "file").write_text("")
    one_line_error(neuroctl(*arguments, code=1, cwd=tmp_path), *words)


@pytest.mark.parametrize("arguments", [("evolve",), ("fly",), ("run",), ("evolve", "cartpole", "--generations", "x")])
def test_bad_usage_exits_with_2(arguments):
    done = neuroctl(*arguments, code=2)
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


_TRAP = """
open("ran", "w").close()
def fitness(controller, seed):
    return 1.0
fitness.spec = {"inputs": 2, "outputs": 1, "dt_s": 1 / 60}
"""


@pytest.mark.parametrize(
    "command", [("run",), ("robustness",), ("loop", "--seconds", 1), ("export", "--sweep", "--out", "o")]
)
def test_no_module_that_a_file_names_is_imported(tmp_path, command):
    (tmp_path / "trap.py").write_text(_TRAP)
    nc.Controller(SPEC, seed=1).save(tmp_path / "c.npz", meta={"task": "trap:fitness"})
    done = neuroctl(command[0], "c.npz", *command[1:], code=2, cwd=tmp_path)
    one_line_error(done, "'trap:fitness', named by the file,", "allowed: --task NAME")
    assert not (tmp_path / "ran").exists()


def test_a_module_that_the_user_names_is_imported(tmp_path):
    (tmp_path / "trap.py").write_text(_TRAP)
    nc.Controller(SPEC, seed=1).save(tmp_path / "c.npz", meta={"task": "trap:fitness"})
    assert json.loads(neuroctl("run", "c.npz", "--task", "trap:fitness", "--json", cwd=tmp_path).stdout)["mean"] == 1.0
    assert (tmp_path / "ran").exists()


def test_a_file_without_a_task_asks_for_one(tmp_path):
    nc.Controller(SPEC, seed=1).save(tmp_path / "c.npz")
    one_line_error(neuroctl("run", tmp_path / "c.npz", code=2), "task: missing")


def test_compiling_is_said_once_if_it_takes_long(saved, tmp_path, monkeypatch):
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("the JIT is disabled: nothing is compiled")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert neuroctl("info", saved).stderr.count("compiling, once\n") == 1
    assert "compiling" not in neuroctl("info", saved).stderr


def test_debug_shows_the_traceback():
    done = neuroctl("--debug", "info", "missing.npz", code=1)
    assert "Traceback" in done.stderr


_MINE = """
def fitness(controller, seed):
    return 0.0

fitness.spec = {"inputs": 1, "outputs": 1, "dt_s": 0.02}
"""


@pytest.mark.parametrize(("missing", "extra"), [("typer", "cli"), ("pybullet", "sim"), ("gymnasium", "evolve")])
def test_a_missing_extra_is_named(missing, extra, saved):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['neuroctl', 'run', {str(saved)!r}];"
        "from neuroctl.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    one_line_error(done, missing, f"neuroctl[{extra}]")


@pytest.mark.parametrize("kind", ["OSError", "ImportError"])
def test_an_extra_that_cannot_be_loaded_says_why(kind, tmp_path, monkeypatch):
    """Matplotlib raises an OSError where no folder can be written; a missing shared library is an ImportError."""
    (tmp_path / f"broken_{kind}.py").write_text(f"raise {kind}('no folder;\\nset MPLCONFIGDIR')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(nc.BackendUnavailable, match="^broken_.*: installed, but cannot be loaded: no folder; set MPL"):
        require(f"broken_{kind}", "viz")


def test_evolution_needs_no_pybullet(tmp_path):
    """With the extra ``evolve`` alone; a task in PyBullet names the extra that it lacks."""
    (tmp_path / "mine.py").write_text(_MINE)
    hide = "import sys; sys.modules['pybullet'] = sys.modules['pybullet_data'] = None;"
    search = ["--generations", "1", "--population", "4", "--neurons", "2", "--workers", "1"]
    for task, code in (("mine:fitness", 0), ("Pendulum-v1", 0), ("two-poles", 0), ("cartpole", 1)):
        arguments = ["evolve", task, *search, "--out", task[:3]]
        text = f"{hide} from neuroctl.__main__ import main; main({arguments})"
        done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    one_line_error(done, "pybullet: not installed", "neuroctl[sim]")


def test_export_and_verify(saved, tmp_path):
    folder = tmp_path / "firmware"
    text = neuroctl("export", saved, "--out", folder, "--name", "balance").stdout
    assert "balance.h" in text and "% of an output's range over these inputs" in text
    again = tmp_path / "again"
    neuroctl(saved, "--out", again, "--name", "balance", module="firmware_export")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}
    verified = neuroctl("verify", folder, "--steps", 200, "--json")
    report = json.loads(verified.stdout)
    assert "host (" in verified.stderr, "a line a target, while it runs"
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


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A controller whose declared ranges no 32 bits hold."""
    path = tmp_path_factory.mktemp("files") / "wide.npz"
    ctl = nc.Controller(SPEC, seed=1)
    ctl.params["W"][:] *= 1e9
    ctl.save(path)
    return path


def test_export_prints_and_draws_a_report(saved, tmp_path):
    out = tmp_path / "fw"
    text = neuroctl("export", saved, "--out", out, "--report", tmp_path / "r.png", "--weight-bits", 8).stdout
    for word in ("Formats", "W_in", "dead zone", "Overflow certificate", "net - y", "recorded inputs"):
        assert word in text
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads(neuroctl("export", saved, "--out", tmp_path / "b", "--package", "cmake", "--json").stdout)
    assert data["header"].endswith("include/ctl.h")
    assert data["report"]["certificate"]["net"][1] < data["report"]["certificate_limit"]
    assert {block["name"] for block in data["report"]["blocks"]} >= {"W", "bias", "W_in", "W_out"}


@pytest.mark.parametrize("suffix", ["npy", "csv", "header.csv"])
def test_calibration_from_a_file(suffix, saved, tmp_path):
    inputs = np.random.default_rng(0).normal(0, 0.2, (60, 2))
    path = tmp_path / f"inputs.{suffix}"
    if suffix == "npy":
        np.save(path, inputs)
    else:
        head = "x,angle\n" if "header" in suffix else ""
        path.write_text(head + "\n".join(f"{a!r},{b!r}" for a, b in inputs.tolist()) + "\n")
    neuroctl("export", saved, "--out", tmp_path / "fw", "--calibration", path)
    assert np.array_equal(nc.load(tmp_path / "fw" / "ctl.npz").calibration, inputs)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("a,b\n1,x\n", 1, "could not convert"),
        ("1,2,3\n", 2, "calibration"),
        ("nan,1\n", 2, "calibration"),
        (None, 1, "No such file"),
    ],
)
def test_bad_calibration_is_one_line(content, code, words, saved, tmp_path):
    path = tmp_path / "inputs.csv"
    if content is not None:
        path.write_text(content)
    done = neuroctl("export", saved, "--out", tmp_path / "fw", "--calibration", path, code=code)
    one_line_error(done, words)
    assert not (tmp_path / "fw").exists()


def test_more_bad_input_of_export(saved, wide, tmp_path):
    for options, words in (
        (("--state-bits", 12), ("--state-bits: 12", "16 or 32")),
        (("--package", "zip"), ("package: 'zip'", "arduino")),
    ):
        one_line_error(neuroctl("export", saved, "--out", tmp_path / "fw", *options, code=1), *words)
    one_line_error(neuroctl("export", wide, "--out", tmp_path / "fw", code=1), "W, W_in, bias: y can reach", "allowed")
    one_line_error(neuroctl("verify", tmp_path, "--target", "z80", code=1), "target: 'z80'", "cortex-m4")
    assert not (tmp_path / "fw").exists()


def test_sweep_prints_and_draws(saved, tmp_path):
    out = tmp_path / "sweep"
    text = neuroctl("export", saved, "--out", out, "--sweep", "--episodes", 2).stdout
    assert all(form in text for form in ("float32", "w2 s32", "w8 s16", "w16 s32"))
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == ["sweep.png"]


def test_evolve_in_fixed_point(tmp_path):
    """The best's integer form is what was evaluated, bit for bit, whatever the number of workers."""
    arguments = ("evolve", "cartpole", "--neurons", 2, "--population", 4, "--episodes", 1, "--validation", 2)
    options = ("--generations", 2, "--quantized", "--weight-bits", 8)
    for workers in (1, 2):
        neuroctl(*arguments, *options, "--out", tmp_path / str(workers), "--workers", workers)
    fixed = nc.load(tmp_path / "1" / "best-fixed.npz")
    assert isinstance(fixed, nc.QuantController)
    assert fixed.formats["W"].bits == 8
    again = nc.load(tmp_path / "2" / "best-fixed.npz")
    assert again.model_crc32 == fixed.model_crc32
    best = nc.load(tmp_path / "1" / "best.npz")
    assert best.quantize(weight_bits=8).model_crc32 == fixed.model_crc32
    neuroctl("export", tmp_path / "1" / "best-fixed.npz", "--out", tmp_path / "fw")
    assert nc.load(tmp_path / "fw" / "ctl.npz").model_crc32 == fixed.model_crc32
    one_line_error(neuroctl(*arguments, "--quantized", "--weight-bits", 7, code=1), "--weight-bits: 7", "4, 8 or 16")


def test_brackets_and_blanks_in_names_and_notes_are_text(tmp_path):
    file, folder = tmp_path / "a [bold] b.npz", tmp_path / "o [red] 2"
    nc.Controller(SPEC, seed=1).save(file, meta={"task [/i]": "cartpole", "note": "[link=x]y[/link] [/]"})
    shown = neuroctl("info", file).stdout
    for text in ("a [bold] b.npz", "task [/i]", "[link=x]y[/link] [/]"):
        assert text in shown
    told = neuroctl("export", file, "--out", folder).stdout
    assert f"header: {folder / 'ctl.h'}" in told
    assert f"verify it: neuroctl verify '{folder}'" in told


def test_what_a_file_says_reaches_no_terminal_as_an_escape(tmp_path):
    trap = "\x1b[2J\x1b]0;owned\x07\x9b31m"
    nc.Controller(SPEC, seed=1).save(tmp_path / "c.npz", meta={"task": trap, f"key{trap}": f"gr\u00fcn {trap}"})
    shown = neuroctl("info", tmp_path / "c.npz").stdout
    assert "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m" in shown and "gr\u00fcn" in shown
    write_archive(tmp_path / "d.npz", "controller", {"spec": {trap: 1}}, {})
    told = neuroctl("info", tmp_path / "d.npz", code=1).stderr
    for text in (shown, told, neuroctl("run", tmp_path / "c.npz", code=2).stderr):
        assert not [c for c in text if not c.isprintable() and c != "\n"]


def test_after_ctrl_c_nothing_waits_for_libraries():
    program = (
        "import atexit, sys, time\nfrom neuroctl.__main__ import run\natexit.register(time.sleep, 60)\n"
        "def app(_):\n    print('study')\n    sys.exit(130)\nrun(app, [])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (130, "study\n")


_WITHOUT = """
import sys
hidden, module = sys.argv[1:3]
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
sys.argv = ["-m", *sys.argv[3:]]
import runpy
runpy.run_module(module, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("hidden", "extra", "arguments"),
    [
        ("gymnasium", "evolve", ("sims", "cartpole", "--baseline")),
        ("typer", "cli", ("sims", "cartpole", "--baseline")),
        ("pybullet", "bullet-envs", ("neuroctl", "evolve", "AntBulletEnv-v0", "--out", "s")),
        ("jinja2", "export", ("neuroctl", "demo", "--out", "s")),
        ("PIL", "viz", ("neuroctl", "run", "missing.npz", "--gif", "a.gif")),
        ("matplotlib", "viz", ("neuroctl", "robustness", "missing.npz", "--out", "a.png")),
    ],
)
def test_a_missing_package_is_told_at_once_with_its_extra(hidden, extra, arguments, tmp_path):
    pytest.importorskip("pybullet")
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, hidden, *arguments], capture_output=True, text=True, timeout=100, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == f"error: {hidden}: not installed; install the extra with: pip install 'neuroctl[{extra}]'\n"


def _commands(app, name="neuroctl"):
    """Yield each command of a typer app with its name, those of its groups included."""
    import typer

    group = typer.main.get_command(app)
    for word, command in group.commands.items():
        yield from (
            ((f"{word} {k}", c) for k, c in command.commands.items())
            if hasattr(command, "commands")
            else [(word, command)]
        )


def test_brackets_in_help_are_shown():
    """Rich takes [rad] for markup, and leaves it out."""
    from rich.text import Text

    from neuroctl.cli import app

    for name, command in _commands(app):
        for text in [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]:
            assert Text.from_markup(text).plain == text.replace("\\[", "["), (name, text)
    assert "[rad]" in neuroctl("import", "--help").stdout
