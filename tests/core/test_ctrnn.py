import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.cells import ctrnn, decode, genome_size, initial, layout, start_state, step_floats, step_ints
from neuroctl.maths.packs import lanes_of
from tests import reference
from tests.strategies import specs

CYCLE = {"W": [[4.5, 1], [-1, 4.5]], "bias": [-2.75, -1.75], "gain": [1, 1], "tau_s": [1, 1], "W_in": [[0], [0]]}


def cycle(dt_s=0.01, dtype="float64", integrator="euler"):
    spec = nc.Spec(
        cell="ctrnn", inputs=1, neurons=2, outputs=2, dt_s=dt_s, readout="identity", dtype=dtype, integrator=integrator
    )
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


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("etd1", 1), ("heun", 2), ("rk4", 4)])
def test_each_integrator_has_its_order(integrator, order):
    """Halving dt divides the error by 2^order; reference y(20) by DOP853 in SciPy."""
    from scipy.integrate import solve_ivp

    def slope(_, y):
        s = 1 / (1 + np.exp(-(y + CYCLE["bias"])))
        return -y + np.array(CYCLE["W"]) @ s

    exact = solve_ivp(slope, (0, 20), [0, 0], method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
    errors = []
    for dt_s in (0.1, 0.05):
        ctl = cycle(dt_s, integrator=integrator)
        ctl.rollout(np.zeros((round(20 / dt_s), 1)))
        errors.append(np.abs(ctl.state[:2] - exact).max())
    assert order - 0.25 < np.log2(errors[0] / errors[1]) < order + 0.35


@pytest.mark.parametrize("integrator", ["heun", "rk4", "etd1"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integrators_in_lanes_equal_single_controllers(integrator, dtype):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.02, integrator=integrator, dtype=dtype)
    count, steps = lanes_of(dtype), 30
    theta = lanes(spec, count)
    state = np.repeat(start_state(spec, theta)[:, None], count, axis=1)
    u = np.random.default_rng(0).standard_normal((steps, 2, count)).astype(dtype)
    u[7, 0, 2] = np.inf
    y = np.empty((steps, 1, count), dtype)
    ctrnn.CELL.rollout(theta, state, u, y, step_ints(spec), step_floats(spec))
    for p in range(count):
        single = nc.Controller(spec, theta[:, p]).rollout(u[:, :, p])
        np.testing.assert_allclose(y[:, :, p], single, atol=2e-5 if dtype == "float32" else 1e-13)
    shared = np.repeat(start_state(spec, theta)[:, None], count, axis=1)
    ctrnn.CELL.rollout(np.ascontiguousarray(theta[:, 0]), shared, u, y, step_ints(spec), step_floats(spec))
    np.testing.assert_allclose(y[:, :, 0], nc.Controller(spec, theta[:, 0]).rollout(u[:, :, 0]), atol=2e-5)


@pytest.mark.parametrize(("integrator", "steps"), [("euler", 0.5), ("heun", 0.5), ("rk4", 0.3591), ("etd1", 0.0)])
def test_tau_is_bounded_by_the_integrators_stability(integrator, steps):
    """Beyond the bound the leak alone blows up; within it decays."""
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=1.0, integrator=integrator, dtype="float64")
    low = layout(spec)["tau_s"].low
    np.testing.assert_allclose(low, steps, atol=1e-4)
    ctl = nc.Controller(spec)
    ctl.params["W"][:] = 0
    for tau, grows in ((low * 1.02 + 1e-3, False), (low * 0.98, True)):
        if tau <= 0:
            continue
        ctl.params["tau_s"][:] = tau
        ctl.reset()
        ctl.state[0] = 1.0
        ctl.rollout(np.zeros((500, 1)))
        assert (abs(ctl.state[0]) > 1) == grows


def test_a_mask_cuts_wires():
    mask = ((1, 0, 0), (1, 1, 0), (0, 1, 1))
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=1, dt_s=0.01, mask=mask)
    assert genome_size(spec) == genome_size(nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=1, dt_s=0.01)) - 4
    ctl = nc.Controller(spec, seed=1)
    assert ((ctl.params["W"] != 0) == np.array(mask, bool)).all()
    ctl.params["W"][0, 1] = 0.1
    with pytest.raises(nc.LayoutError, match="W has 1 weights where mask is 0"):
        nc.Controller(spec, ctl.theta)


@pytest.mark.parametrize("function", ["tanh", "logistic"])
def test_output_activation_comes_before_the_limits(function):
    limits = ((-0.2, 0.6),)
    spec = nc.Spec(
        cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01, output_activation=function, output_limits=limits
    )
    ctl = nc.Controller(spec, seed=3)
    plain = nc.Controller(nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01), ctl.theta)
    u = np.random.default_rng(0).standard_normal((50, 1))
    expected = plain.rollout(u)
    expected = np.tanh(expected) if function == "tanh" else 1 / (1 + np.exp(-expected))
    np.testing.assert_allclose(ctl.rollout(u), np.clip(expected, -0.2, 0.6), atol=1e-6)


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
    count, steps = lanes_of(dtype), 25
    theta = lanes(spec, count)
    state = np.repeat(start_state(spec, theta)[:, None], count, axis=1)
    u = np.random.default_rng(0).standard_normal((steps, 3, count)).astype(dtype)
    u[10, 1, 3] = np.nan  # one lane falters for one step; the others must not notice
    y = np.empty((steps, outputs, count), dtype)
    flat = np.ascontiguousarray(theta[:, 0]) if shared else theta
    ctrnn.CELL.rollout(flat, state, u, y, step_ints(spec), step_floats(spec))
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
