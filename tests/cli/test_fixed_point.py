"""What the commands say of fixed point: coarse limits, inputs beyond them, states that save nothing."""

import json

import numpy as np

import neuroctl as nc
from tests.commands import neuroctl, one_line_error

COARSE = {"input_limits": ((-0.01, 0.01), (-1000.0, 1000.0)), "output_limits": ((-10.0, 10.0),)}


def saved(path, limits, calibration=None):
    fields = {"inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 1 / 60, "output_limits": ((-10.0, 10.0),)}
    ctl = nc.Controller(nc.Spec(cell="ctrnn", **(fields | {"input_limits": limits})), seed=1)
    ctl.save(path, meta={"task": "cartpole"}, calibration=calibration)
    return path


def test_coarse_limits_are_refused_unless_allowed(tmp_path):
    path, out = saved(tmp_path / "c.npz", COARSE["input_limits"]), tmp_path / "fw"
    done = neuroctl("export", path, "--out", out, code=1)
    one_line_error(done, "input 0 (-0.01 to 0.01", "input 1 (-1000 to 1000", "allow_coarse")
    assert not out.exists()
    assert "0.64 steps" in neuroctl("export", path, "--out", out, "--allow-coarse").stderr
    study = ("evolve", "tests.evolve.objectives:coarse", "--generations", 1, "--population", 4, "--validation", 1)
    study = (*study, "--workers", 1, "--quantized", "--out", tmp_path / "s")
    one_line_error(neuroctl(*study, code=1), "input 0 (-0.01 to 0.01", "allow_coarse")
    assert not (tmp_path / "s").exists()
    neuroctl(*study, "--allow-coarse")
    config = json.loads((tmp_path / "s" / "study.json").read_text())
    assert config["fixed_point"] == {"weight_bits": 16, "state_bits": 32}


def test_inputs_beyond_their_limits_are_told_by_run(tmp_path):
    path = saved(tmp_path / "c.npz", ((-1e-4, 1e-4),) * 2)
    for form, words in (
        ((), "float takes them as they are"),
        (("--quantized",), "fixed point clips them"),
    ):
        shown = " ".join(neuroctl("run", path, "--episodes", 1, *form).stdout.split())
        assert "lie beyond input_limits, most of input" in shown
        assert words in shown
    told = json.loads(neuroctl("run", path, "--episodes", 2, "--json").stdout)["inputs_beyond_limits"]
    assert 0 < told["numbers"] == sum(told["by_input"]) <= 2 * told["steps"]
    wide = saved(tmp_path / "w.npz", ((-1e3, 1e3),) * 2)
    assert "lie beyond" not in neuroctl("run", wide, "--episodes", 1).stdout
    compiled = json.loads(
        neuroctl("run", _two_poles(tmp_path), "--task", "two-poles", "--episodes", 1, "--json").stdout
    )
    assert compiled["inputs_beyond_limits"]["numbers"] > 0


def _two_poles(folder):
    import sims

    spec = sims.controller_spec("two-poles", 2, "ctrnn")
    narrow = nc.Spec.from_dict(spec.to_dict() | {"input_limits": ((1e-5, 2e-5),) * spec.inputs})
    nc.Controller(narrow, seed=1).save(folder / "t.npz")
    return folder / "t.npz"


def test_inputs_beyond_their_limits_are_told_by_export(tmp_path):
    recorded = np.zeros((100, 2), np.float32)
    recorded[:7, 1] = 3.0
    path = saved(tmp_path / "c.npz", ((-1.0, 1.0),) * 2, recorded)
    done = neuroctl("export", path, "--out", tmp_path / "fw")
    text = "7 of 200 numbers (3.5 %) lie beyond input_limits, most of input 1 (-1 to 1): 7 % of the steps"
    assert f"{text}; fixed point clips them" in " ".join(done.stdout.split())
    assert "lie beyond" not in done.stderr, "once is enough"
    again = json.loads(neuroctl("export", tmp_path / "fw" / "ctl.npz", "--out", tmp_path / "b", "--json").stdout)
    assert again["report"]["inputs_beyond_limits"] == {"numbers": 7, "steps": 100, "by_input": [0, 7]}


def test_a_16_bit_state_that_saves_nothing_is_told(tmp_path):
    path = saved(tmp_path / "c.npz", ((-1.0, 1.0),) * 2)
    shown = neuroctl("export", path, "--out", tmp_path / "fw", "--state-bits", 16).stdout
    assert "state_bits 16 saves no RAM: 18 bytes, and 18 with 32" in shown
    assert "saves no RAM" not in neuroctl("export", path, "--out", tmp_path / "fw").stdout
