"""Controllers as ONNX models give the same outputs in ONNX Runtime, step by step and over whole sequences."""

import json

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import FileFormatError, InteropError
from neuroctl.interop import to_onnx
from tests.interop.cases import OPTIONS, controller, inputs

onnx = pytest.importorskip("onnx", reason="writes the models")
runtime = pytest.importorskip("onnxruntime", reason="runs the models")


def initial_state(session, batch):
    """The state after a reset, ``[batch, S]``: what the metadata say, else zeros."""
    zeros = np.zeros((batch, session.get_inputs()[1].shape[1]), np.float32)
    facts = session.get_modelmeta().custom_metadata_map
    return zeros + np.array(json.loads(facts.get("neuroctl.initial_state", "0")), np.float32)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_equals_the_controllers_over_1000_steps(tmp_path, name):
    ctl, u = controller(name), inputs()
    to_onnx(ctl, tmp_path / "step.onnx")
    session = runtime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    state = initial_state(session, 1)
    rows = []
    for row in u:
        y, state = session.run(None, {"obs": row[None], "state_in": state})
        rows.append(y[0])
    np.testing.assert_allclose(rows, ctl.rollout(u), atol=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sequence_equals_the_controllers(tmp_path, name):
    ctl, u = controller(name), inputs()
    to_onnx(ctl, tmp_path / "sequence.onnx", sequence=True)
    session = runtime.InferenceSession(tmp_path / "sequence.onnx", providers=["CPUExecutionProvider"])
    both = np.stack([u, u[::-1]], axis=1)  # a batch of two
    y, state = session.run(None, {"obs": both[:500], "state_in": initial_state(session, 2)})
    later = session.run(None, {"obs": both[500:], "state_in": state})[0]
    np.testing.assert_allclose(np.concatenate([y, later])[:, 0], ctl.rollout(u), atol=1e-6)


def test_operators_and_metadata_say_what_they_are(tmp_path):
    to_onnx(controller("gru"), tmp_path / "gru.onnx", sequence=True)
    model = onnx.load(tmp_path / "gru.onnx")
    (gru,) = (node for node in model.graph.node if node.op_type == "GRU")
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in gru.attribute}
    assert attributes["linear_before_reset"] == 1 and attributes["layout"] == 0
    assert gru.input[5]  # initial_h
    facts = {each.key: each.value for each in model.metadata_props}
    assert json.loads(facts["neuroctl.spec"]) == controller("gru").spec.to_dict()


def test_what_is_refused(tmp_path):
    hopfield = nc.Controller(nc.Spec(cell="hopfield", inputs=1, neurons=2, outputs=1, dt_s=0.01))
    with pytest.raises(InteropError, match="^cell: hopfield; allowed: ctrnn, indrnn, elman, jordan, gru, cfc$"):
        to_onnx(hopfield, tmp_path / "a.onnx")
    double = nc.Controller(nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.01, dtype="float64"))
    with pytest.raises(InteropError, match="^dtype: float64; allowed: float32$"):
        to_onnx(double, tmp_path / "a.onnx")
    with pytest.raises(FileFormatError, match="path: "):
        to_onnx(controller("gru"), tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())
