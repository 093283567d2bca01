"""Subnormal numbers count as 0 in a step: a decayed state costs no more time, and NumPy's own arithmetic keeps them."""

import os
import platform

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import backends
from neuroctl.cells import layout
from neuroctl.maths.subnormals import Flushed
from neuroctl.train import Gradient

CELLS = ("ctrnn", "elman", "indrnn", "jordan")
STEPS = {"float32": 1500, "float64": 9000}  # 0.9 to their power is below the smallest number
pytestmark = [
    pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="NumPy keeps subnormal numbers"),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"), reason="other processors keep them"
    ),
]


def fading(cell, dtype="float32"):
    """Return a spec and parameters with which a state is 0.9 times the last one, if there is no input."""
    readout = "affine" if cell == "jordan" else "identity"
    spec = nc.Spec(cell=cell, inputs=1, neurons=3, outputs=3, dt_s=0.01, readout=readout, dtype=dtype)
    theta = np.zeros(layout(spec).size, dtype)
    p = layout(spec).views(theta)
    p["W_in.0" if cell == "indrnn" else "W_in"][:] = 0.1
    if cell == "ctrnn":
        p["tau_s"][:], p["gain"][:] = 0.1, 1
    elif cell == "indrnn":
        p["u.0"][:] = 0.9
    else:
        p["U"][:] = 0.9 * np.eye(3)
    if cell == "jordan":
        p["W_out"][:] = np.eye(3)
    return spec, theta


def inputs(dtype, count=1):
    u = np.zeros((STEPS[dtype], count, 1), dtype)
    u[:3] = 1
    return u


def subnormal(numbers):
    return (numbers != 0) & (np.abs(numbers) < np.finfo(numbers.dtype).tiny)


@pytest.mark.parametrize("dtype", STEPS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_decays_ends_at_0(cell, dtype):
    ctl = nc.Controller(*fading(cell, dtype))
    u = inputs(dtype)[:, 0]
    ctl.rollout(u)
    rolled = ctl.state.copy()
    assert not subnormal(rolled).any()
    ctl.reset()
    for row in u:
        ctl.step(row)
    assert not subnormal(ctl.state).any()


@pytest.mark.parametrize("cell", CELLS)
def test_lanes_and_gradients_step_to_the_same_bits(cell):
    spec, theta = fading(cell)
    u = inputs("float32", 2)
    alone = nc.Controller(spec, theta).rollout(u[:, 0])
    lanes = backends.get("cpu").rollout(spec, np.stack([theta, theta], axis=1), u[:, 0]).outputs
    np.testing.assert_array_equal(lanes[:, :, 1], alone)
    np.testing.assert_array_equal(Gradient(spec, scan=False).outputs(theta, u)[:, 1], alone)


@pytest.mark.parametrize("scan", [False, True])
def test_a_gradient_that_vanishes_ends_at_0(scan):
    spec, theta = fading("indrnn")
    u, mask = np.ones_like(inputs("float32")), np.zeros((STEPS["float32"], 1), np.float32)
    mask[-1] = 1
    found = Gradient(spec, scan=scan).all_of(theta, u, np.ones((len(u), 1, 3), np.float32), mask, with_inputs=True)
    assert found.inputs[-1].all()
    assert not subnormal(found.inputs).any() and not subnormal(found.state).any()


def test_what_the_caller_computes_keeps_them():
    spec, theta = fading("elman")
    ctl, u = nc.Controller(spec, theta), inputs("float32", 2)
    least = np.full(4, 5e-324)
    for call in (
        lambda: ctl.step(u[0, 0]), lambda: ctl.rollout(u[:, 0]), lambda: Gradient(spec).outputs(theta, u),
        lambda: backends.get("cpu").rollout(spec, theta, u[:, 0], threads=1),
    ):  # fmt: skip
        call()
        assert (least * 1.0 == least).all()
    with Flushed():
        assert not (least * 1.0).any()
    assert (least * 1.0 == least).all()
