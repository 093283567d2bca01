"""What the commands say of fixed point: coarse limits, inputs beyond them, states that save nothing."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import neuroctl as nc
from tests.commands import neuroctl, one_line_error

COARSE = {"input_limits": ((1000.0, 1000.01), (-1000.0, 1000.0)), "output_limits": ((-10.0, 10.0),)}


EARLIER = """
import sys
import neuroctl.own_formats
from neuroctl.__main__ import main
neuroctl.own_formats.SHARED_STEPS = 0
sys.exit(main())
"""
"""A command of a version whose inputs all shared a format."""


def saved(path, limits, calibration=None):
    fields = {"inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 1 / 60, "output_limits": ((-10.0, 10.0),)}
    ctl = nc.Controller(nc.Spec(cell="ctrnn", **(fields | {"input_limits": limits})), seed=1)
    ctl.save(path, meta={"task": "cartpole"}, calibration=calibration)
    return path


def test_coarse_limits_are_refused_unless_allowed(tmp_path):
    path, out = saved(tmp_path / "c.npz", COARSE["input_limits"]), tmp_path / "fw"
    done = neuroctl("export", path, "--out", out, code=1)
    one_line_error(done, "input 0 (1000 to 1000.01", "has 0.32 steps between", "--allow-coarse")
    assert not out.exists()
    assert "0.32 steps" in neuroctl("export", path, "--out", out, "--allow-coarse").stderr
    study = ("evolve", "tests.evolve.objectives:coarse", "--generations", 1, "--population", 4, "--validation", 1)
    study = (*study, "--workers", 1, "--quantized", "--out", tmp_path / "s")
    one_line_error(neuroctl(*study, code=1), "input 0 (1000 to 1000.01", "--allow-coarse")
    assert not (tmp_path / "s").exists()
    neuroctl(*study, "--allow-coarse")
    config = json.loads((tmp_path / "s" / "study.json").read_text())
    assert config["fixed_point"] == {"weight_bits": 16, "state_bits": 32}


def test_inputs_with_formats_of_their_own_are_shown(tmp_path):
    q = nc.load(saved(tmp_path / "c.npz", ((-0.01, 0.01), (-1000.0, 1000.0)))).quantize()
    q.save(tmp_path / "q.npz")
    shown = neuroctl("info", tmp_path / "q.npz").stdout
    assert re.search(r"in\[0\] +-0.01 +0.01 +21\s+in\[1\] +-1000 +1000 +5\s", shown)
    assert re.search(r"W_in .* int16, \d+ to \d+ frac bits", shown)
    told = json.loads(neuroctl("info", tmp_path / "q.npz", "--json").stdout)["formats"]
    assert (told["u"], told["out"]) == ([16, 15, [21, 5]], [16, q.formats["out"].frac_bits])
    study = ("evolve", "tests.evolve.objectives:unequal", "--population", 4, "--validation", 1, "--workers", 1)
    study = (*study, "--out", tmp_path / "s", "--generations")
    neuroctl(*study, 1, "--quantized")
    config = json.loads((tmp_path / "s" / "study.json").read_text())
    assert config["fixed_point"] == {"weight_bits": 16, "state_bits": 32, "own_formats": True}
    neuroctl(*study, 2, "--resume")
    assert nc.load(tmp_path / "s" / "best-fixed.npz").formats["u"].extra == (6, -10)


def test_a_study_that_an_earlier_version_began_goes_on_with_shared_formats(tmp_path):
    study = ["evolve", "tests.evolve.objectives:unequal", "--population", 4, "--validation", 1, "--workers", 1]
    study += ["--out", tmp_path / "s", "--generations"]
    begun = [str(word) for word in (*study, 1, "--quantized", "--allow-coarse")]
    subprocess.run([sys.executable, "-c", EARLIER, *begun], check=True)
    config = json.loads((tmp_path / "s" / "study.json").read_text())
    assert config["fixed_point"] == {"weight_bits": 16, "state_bits": 32}
    neuroctl(*study, 2, "--resume")
    with pytest.warns(nc.QuantizationWarning, match="has 0.64 steps"):
        assert nc.load(tmp_path / "s" / "best-fixed.npz").formats["u"] == nc.QFormat(16, 5)


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


def test_recorded_inputs_that_leave_one_too_few_steps_are_refused_unless_allowed(tmp_path):
    path, out = saved(tmp_path / "c.npz", None), tmp_path / "fw"
    np.save(tmp_path / "u.npy", np.random.default_rng(0).uniform(-1, 1, (300, 2)) * [1000, 0.01])
    export = ("export", path, "--calibration", tmp_path / "u.npy", "--out", out)
    done = neuroctl(*export, code=1)
    one_line_error(done, "calibration: input 1 (-0.00", "has 0.6", "--allow-coarse", "`neuroctl import --input-limits`")
    assert not out.exists()
    done = neuroctl(*export, "--allow-coarse")
    assert "warning: calibration: input 1 (-0.00" in done.stderr
    assert (out / "ctl.h").is_file()


def test_columns_of_recorded_inputs_are_found_by_name(tmp_path):
    fields = {"inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 0.02, "input_names": ("angle [rad]", "speed")}
    nc.Controller(nc.Spec(cell="elman", **fields), seed=1).save(tmp_path / "c.npz")
    (tmp_path / "u.csv").write_text("t,speed,angle\n" + "".join(f"{k},{k % 7},{k % 5}\n" for k in range(50)))
    export = ("export", tmp_path / "c.npz", "--calibration", tmp_path / "u.csv", "--out", tmp_path / "fw")
    neuroctl(*export)
    assert nc.load(tmp_path / "fw" / "ctl.npz").calibration[:6].tolist() == [[k % 5, k % 7] for k in range(6)]
    (tmp_path / "u.csv").write_text("place,speed\n0,1\n2,3\n")
    one_line_error(neuroctl(*export, "--force", code=1), "no column for input 'angle [rad]' among place, speed")


def test_a_16_bit_state_that_saves_nothing_is_told(tmp_path):
    path = saved(tmp_path / "c.npz", ((-1.0, 1.0),) * 2)
    shown = neuroctl("export", path, "--out", tmp_path / "fw", "--state-bits", 16).stdout
    assert "state_bits 16 saves no RAM: 18 bytes, and 18 with 32" in shown
    assert "saves no RAM" not in neuroctl("export", path, "--out", tmp_path / "fw").stdout
