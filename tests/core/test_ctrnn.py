import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.cells import ctrnn, decode, genome_size, initial, layout
from neuroctl.cells.base import start_state, step_floats, step_ints
from tests import reference
from tests.strategies import specs

CYCLE = {"W": [[4.5, 1], [-1, 4.5]], "bias": [-2.75, -1.75], "gain": [1, 1], "tau_s": [1, 1], "W_in": [[0], [0]]}


def cycle(dt_s=0.01, dtype="float64"):
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=2, dt_s=dt_s, readout="identity", dtype=dtype)
    return nc.Controller(spec, np.concatenate([np.ravel(v) for v in CYCLE.values()]))


@settings(max_examples=30, deadline=None)
@given(specs(), st.integers(0, 2**32 - 1))
def test_step_equals_the_plain_form(spec, seed):
    rng = np.random.default_rng(seed)
    ctl = nc.Controller(spec, decode(spec, rng.standard_normal(genome_size(spec))))
    ctl.params["gain"][:] = rng.uniform(-2, 2, spec.neurons)
    inputs = rng.uniform(-1, 1, (40, spec.inputs)).astype(spec.dtype)
    expected, states = reference.ctrnn_rollout(
        {k: v.astype(float) for k, v in ctl.params.items()}, float(step_floats(spec)[0]), inputs, spec.output_limits
    )
    tolerance = 3e-4 if spec.dtype == "float32" else 1e-11
    scale = 1 + np.abs(expected).max()
    np.testing.assert_allclose(ctl.rollout(inputs), expected, atol=tolerance * scale, rtol=0)
    np.testing.assert_allclose(ctl.state[: spec.neurons], states[-1], atol=tolerance * (1 + np.abs(states).max()))


def test_equilibrium_of_the_two_neuron_cycle():
    ctl = cycle()
    ctl.state[:2] = 2.75, 1.75
    ctl.step(np.zeros(1))
    np.testing.assert_allclose(ctl.state[:2], [2.75, 1.75], rtol=0, atol=1e-15)


def test_the_other_weight_convention_has_another_equilibrium():
    ctl = cycle()
    ctl.params["W"][:] = np.transpose(CYCLE["W"])
    ctl.state[:2] = 2.75, 1.75
    ctl.step(np.zeros(1))
    assert np.abs(ctl.state[:2] - [2.75, 1.75]).max() > 1e-3


def test_euler_converges_to_the_exact_trajectory_with_order_one():
    """y(100) from 0 by DOP853 with tolerance 1e-13 is (3.06038425, 3.10962622)."""
    errors = []
    for dt_s in (0.01, 0.005):
        ctl = cycle(dt_s)
        ctl.rollout(np.zeros((round(100 / dt_s), 1)))
        errors.append(np.abs(ctl.state[:2] - [3.06038425, 3.10962622]).max())
    assert errors[0] < 0.2
    assert 1.8 < errors[0] / errors[1] < 2.2


def lanes(spec, count, seed=0):
    return np.stack([initial(spec, seed + p) for p in range(count)], axis=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("readout", ["affine", "identity"])
@pytest.mark.parametrize("shared", [False, True])
def test_lanes_equal_single_controllers(dtype, readout, shared):
    outputs = 5 if readout == "identity" else 2
    spec = nc.Spec(
        cell="ctrnn", inputs=3, neurons=5, outputs=outputs, dt_s=0.02, readout=readout, dtype=dtype,
        output_limits=((-0.7, 0.7),) * outputs,
    )  # fmt: skip
    count, steps = 7, 25
    theta = lanes(spec, count)
    state = np.repeat(start_state(spec, ctrnn.state_layout(spec))[:, None], count, axis=1)
    u = np.random.default_rng(0).standard_normal((steps, 3, count)).astype(dtype)
    u[10, 1, 3] = np.nan  # one lane falters for one step; the others must not notice
    y = np.empty((steps, outputs, count), dtype)
    flat = np.ascontiguousarray(theta[:, 0]) if shared else theta
    ctrnn.rollout(flat, state, u, y, step_ints(spec), step_floats(spec))
    for p in range(count):
        ctl = nc.Controller(spec, theta[:, 0 if shared else p])
        single = ctl.rollout(u[:, :, p])
        np.testing.assert_allclose(y[:, :, p], single, atol=2e-5 if dtype == "float32" else 1e-13)
        assert state[-1, p] == ctl.fault == (p == 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_input_holds_the_last_output_and_latches(bad):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.01)
    ctl = nc.Controller(spec, seed=5)
    good = np.array([0.3, -0.2], np.float32)
    before = ctl.step(good).copy()
    y = ctl.state[:4].copy()
    assert not ctl.fault
    held = ctl.step(np.array([0.3, bad], np.float32))
    assert held == before
    assert (ctl.state[:4] == y).all()
    assert ctl.fault
    assert np.isfinite(ctl.step(good)).all()
    assert ctl.fault, "the flag stays until reset"
    ctl.reset()
    assert not ctl.fault


def test_bad_parameter_never_reaches_the_output():
    ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01), seed=1)
    before = ctl.step(np.zeros(1, np.float32)).copy()
    ctl.params["b_out"][0] = np.nan
    assert ctl.step(np.zeros(1, np.float32)) == before
    assert ctl.fault


def test_held_output_after_reset_lies_within_the_limits():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=0.01, output_limits=((2.0, 3.0),))
    ctl = nc.Controller(spec)
    assert ctl.step(np.array([np.nan], np.float32)) == 2.0


def test_layout_units():
    blocks = layout(nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.01)).blocks
    assert list(blocks) == ["W", "bias", "gain", "tau_s", "W_in", "W_out", "b_out"]
    assert blocks["tau_s"].unit == "s"
    assert blocks["W_in"].shape == (3, 2)
    assert blocks["W_out"].shape == (1, 3)
