"""A controller's manifest and its names, from the file over C, a board and ONNX and back."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from firmware_export.packages import PACKAGES
from neuroctl.errors import LoopError, ModelError
from neuroctl.link import HostDriven
from neuroctl.realtime import Loop
from tests.firmware.helpers import CC, CXX, STRICT_C, STRICT_CXX, compiled, needs_cc
from tests.link.helpers import linked
from tests.link.plain_board import PlainBoard, served

SPEC = {
    "cell": "gru", "inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 0.02, "initial_state": "learned",
    "input_limits": ((-0.4, 0.4), (-1000.0, 1000.0)), "output_limits": ((-10.0, 10.0),), "head": (4,),
    "input_names": ("pole angle [rad]", "motor's speed [rad/s]"), "output_names": ("force, forwards [N]",),
}  # fmt: skip
META = {"task": "balance", "seed": 3, "score": 1.5}


def controller(**fields):
    return nc.Controller(nc.Spec(**SPEC | fields), seed=1, meta=META)


def test_a_manifest_says_what_whoever_runs_a_controller_has_to_know():
    facts = nc.manifest(controller(scale_inputs=True))
    assert (facts["obs_len"], facts["action_len"], facts["robot"]["control_hz"], facts["dt_s"]) == (2, 1, 50.0, 0.02)
    assert facts["observations"][1] == {
        "index": 1, "name": "motor's speed", "unit": "rad/s", "low": -1000.0, "high": 1000.0, "offset": 0.0,
        "gain": 1e-3,
    }  # fmt: skip
    assert facts["actions"] == [{"index": 0, "name": "force, forwards", "unit": "N", "low": -10.0, "high": 10.0}]
    assert (facts["training"], facts["eval"]) == ({"task": "balance", "seed": 3}, {"score": 1.5})
    assert facts["reset"]["initial_state"] == "learned" and len(facts["reset"]["h0"]) == 3
    assert facts["model"]["numbers"] == "float32" and len(facts["model"]["sha256"]) == 64
    other = controller()
    other.theta[0] += 1e-3
    assert nc.manifest(other)["model"] != nc.manifest(controller())["model"]
    json.dumps(facts, allow_nan=False)
    plain = nc.manifest(nc.Controller(nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=1 / 60)))
    assert plain["observations"][0] | {"name": "", "unit": "", "low": None} == plain["observations"][0]
    assert (plain["reset"], plain["training"], plain["eval"]) == ({"initial_state": "zeros"}, {}, {})


def test_a_manifest_survives_file_c_board_and_onnx(tmp_path):
    ctl = controller()
    ctl.save(tmp_path / "c.npz")
    loaded = nc.load(tmp_path / "c.npz")
    assert nc.manifest(loaded) == nc.manifest(ctl)
    q = loaded.quantize()
    facts = nc.manifest(q)
    assert [entry["frac_bits"] for entry in facts["observations"]] == [16, 5]
    firmware_export.export(q, tmp_path / "fw", name="balance")
    assert json.loads((tmp_path / "fw" / "balance.json").read_text())["manifest"] == json.loads(json.dumps(facts))
    from_folder = nc.load(tmp_path / "fw" / "balance.npz")
    assert nc.manifest(from_folder) == facts
    with served(PlainBoard(q)) as host, linked(host, from_folder) as link:
        hello = link.hello
        assert f"{hello.model_crc32:08x}" == facts["model"]["crc32"]
        assert (hello.inputs, hello.outputs, hello.dt_us) == (facts["obs_len"], facts["action_len"], 20_000)


@pytest.mark.parametrize("sequence", [False, True])
def test_a_manifest_survives_onnx(tmp_path, sequence):
    onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
    pytest.importorskip("onnxruntime", reason="the proof of an import needs onnxruntime")
    ctl = controller()
    nc.interop.to_onnx(ctl, tmp_path / "c.onnx", sequence=sequence)
    props = {fact.key: fact.value for fact in onnx.load(tmp_path / "c.onnx").metadata_props}
    assert json.loads(props["neuroctl.manifest"]) == json.loads(json.dumps(nc.manifest(ctl)))
    assert props["observation_names"] == "pole_angle,motors_speed"
    assert (props["action_names"], props["control_hz"], props["action_scale"]) == ("force_forwards", "50", "1.0")
    again = nc.interop.from_onnx(tmp_path / "c.onnx")
    assert nc.manifest(again) == nc.manifest(ctl)


def test_what_does_not_fit_is_refused(tmp_path):
    ctl = controller()
    q = ctl.quantize()
    swapped = nc.Controller(nc.Spec(**SPEC | {"input_names": SPEC["input_names"][::-1]}), ctl.theta).quantize()
    agree = "the host's; sizes, formats and time step agree, so weights, limits, names or the order of names differ$"
    with served(PlainBoard(swapped)) as host, pytest.raises(ModelError, match=f"^model: the board runs .*{agree}"):
        linked(host, q)
    slower = controller(dt_s=0.05).quantize()
    with (
        served(PlainBoard(slower)) as host,
        pytest.raises(ModelError, match="; it has dt_us 50000, not 20000$"),
    ):
        linked(host, q)
    with served(PlainBoard(q)) as host, linked(host, q) as link, HostDriven(link) as board:
        with pytest.raises(
            LoopError, match=r"^plant: input_names\[0\]: 'pole angle \[rad\]'; allowed: \"motor's speed"
        ):
            Loop(swapped, board)
        with pytest.raises(
            LoopError, match="^rate_hz: 100; allowed: 50, the controller's own, or another with any_rate"
        ):
            Loop(q, board, rate_hz=100)


PROGRAM = """
#include "balance.h"
int main(void)
{
    static balance_state_t state;
    balance_in_t in[BALANCE_INPUTS];
    balance_out_t out[BALANCE_OUTPUTS];
    in[BALANCE_IN_POLE_ANGLE] = 100;
    in[BALANCE_IN_MOTORS_SPEED] = -200;
    balance_init(&state);
    balance_step(&state, in, out);
    return BALANCE_IN_POLE_ANGLE != 0 || BALANCE_IN_MOTORS_SPEED != 1 || out[BALANCE_OUT_FORCE_FORWARDS] != %d;
}
"""


def test_an_arduino_sketch_reads_and_writes_by_name(tmp_path):
    """One that reads a name that is gone does not compile; of a controller without names it goes by place."""
    header = firmware_export.export(controller().quantize(), tmp_path / "a", name="balance", package="arduino")
    plain = controller(input_names=(), output_names=()).quantize()
    firmware_export.export(plain, tmp_path / "b", name="balance", package="arduino")
    assert header.is_file()
    for sketch in ("examples/loop/loop.ino", "examples/link/link.ino"):
        named, indexed = ((tmp_path / folder / sketch).read_text() for folder in "ab")
        assert "    in[BALANCE_IN_MOTORS_SPEED] = readPin(BALANCE_IN_MOTORS_SPEED); // motor's speed [rad/s]" in named
        assert "    writePin(BALANCE_OUT_FORCE_FORWARDS, out[BALANCE_OUT_FORCE_FORWARDS]);" in named
        assert "in[i] = readPin(i);" in indexed and "in[i] = readPin(i);" not in named


@needs_cc
def test_a_sketch_reads_by_name(tmp_path):
    q = controller().quantize()
    header = firmware_export.export(q, tmp_path / "fw", name="balance")
    text = header.read_text()
    assert "in[1], motor's speed [rad/s]: -1000 to 1000, as integers" in text
    assert "BALANCE_IN_MOTORS_SPEED = 1 /**< motor's speed [rad/s] */" in text
    (out,) = q.step_int(np.array([100, -200], np.int32))
    (tmp_path / "fw" / "main.c").write_text(PROGRAM % out)
    for compiler, flags in ((CC, STRICT_C), (CXX, STRICT_CXX)):
        source = (PROGRAM % out).replace("(void)", "()") if compiler is CXX else PROGRAM % out
        program = compiled(compiler, [*flags, f"-I{tmp_path / 'fw'}"], source, tmp_path)
        assert subprocess.run([program], check=False).returncode == 0
    other = nc.Controller(nc.Spec(**SPEC | {"input_names": ("pole angle [deg]", "current [A]")}), seed=1)
    firmware_export.export(other.quantize(), tmp_path / "other", name="balance")
    command = [CC, "-std=c99", f"-I{tmp_path / 'other'}", str(tmp_path / "fw" / "main.c"), "-o", str(tmp_path / "x")]
    (tmp_path / "fw" / "main.c").rename(tmp_path / "main.c")
    command[3] = str(tmp_path / "main.c")
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode != 0 and "BALANCE_IN_MOTORS_SPEED" in failed.stderr


@needs_cc
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("other", "signal"), [("pilot_in", "neurons"), ("pilot_in_left", "left neurons")])
def test_a_name_is_never_silently_another_controllers_macro(tmp_path, other, signal, order):
    """Of pilot's input the place, of pilot_in the number of neurons: PILOT_IN_NEURONS."""
    named = nc.Spec(cell="elman", inputs=1, neurons=3, outputs=1, dt_s=0.02, input_limits=((-1, 1),))
    headers = []
    for name, names in (("pilot", (signal,)), (other, ())):
        ctl = nc.Controller(replace(named, input_names=names), seed=0)
        headers.append(firmware_export.export(ctl.quantize(), tmp_path / name, name=name))
    (tmp_path / "both.c").write_text("".join(f'#include "{headers[k]}"\n' for k in order))
    done = subprocess.run([CC, "-std=c99", "-fsyntax-only", str(tmp_path / "both.c")], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{other}.h: include it before pilot.h, or rename" in done.stderr or "expected identifier" in done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_name_their_inputs(tmp_path, package):
    firmware_export.export(controller().quantize(), tmp_path / "fw", name="balance", package=package)
    sources = [
        path.read_text() for path in sorted((tmp_path / "fw").rglob("*")) if path.suffix in (".c", ".ino", ".cpp")
    ]
    assert any("[BALANCE_IN_MOTORS_SPEED]" in text for text in sources)
