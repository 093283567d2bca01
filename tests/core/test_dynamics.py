"""Center-crossing, states from outputs, and the largest stable time step."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl import dynamics
from neuroctl.spec import INTEGRATORS
from tests.strategies import specs


def network(w, dt_s=0.1, integrator="euler", tau=1.0, gain=1.0):
    n = len(w)
    spec = nc.Spec(
        cell="ctrnn", inputs=1, neurons=n, outputs=n, dt_s=dt_s, readout="identity", integrator=integrator,
        dtype="float64",
    )  # fmt: skip
    theta = np.zeros(nc.Controller(spec).theta.size)
    ctl = nc.Controller(spec, seed=0)
    ctl.params["W"][:], ctl.params["tau_s"][:], ctl.params["gain"][:] = w, tau, gain
    ctl.params["bias"][:], ctl.params["W_in"][:] = dynamics.center_crossing_bias(w), 0.0
    theta[:] = ctl.theta
    return spec, theta


def test_center_crossing_rests_where_all_neurons_are_at_their_middle():
    w = np.random.default_rng(0).normal(0, 4, (5, 5))
    spec, theta = network(w)
    ctl = nc.Controller(spec, theta)
    y = dynamics.state_from_output(spec, theta, np.full(5, 0.5))
    np.testing.assert_allclose(y, 0.5 * w.sum(axis=1), atol=1e-12)
    ctl.state[:5] = y
    assert np.abs(ctl.step(np.zeros(1)) - 0.5).max() < 1e-12


@settings(max_examples=40, deadline=None)
@given(specs(dtype=st.just("float64")), st.integers(0, 2**32 - 1))
def test_states_from_outputs_give_these_outputs(spec, seed):
    rng = np.random.default_rng(seed)
    ctl = nc.Controller(spec, seed=seed % 1000)
    ctl.params["gain"][:] = rng.uniform(0.2, 3, spec.neurons) * rng.choice([-1, 1], spec.neurons)
    wanted = rng.uniform(0.01, 0.99, spec.neurons)
    y = dynamics.state_from_output(spec, ctl.theta, wanted)
    got = 1 / (1 + np.exp(-ctl.params["gain"] * (y + ctl.params["bias"])))
    np.testing.assert_allclose(got, wanted, atol=1e-12)


LEAK = {"euler": 2.0, "heun": 2.0, "rk4": 2.785293563405282, "etd1": math.inf}


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_on_the_leak_alone_it_is_the_textbook_limit(integrator):
    spec, theta = network(np.zeros((3, 3)), integrator=integrator, tau=[0.3, 2.0, 5.0])
    assert dynamics.max_stable_dt(spec, theta) == pytest.approx(0.3 * LEAK[integrator], rel=1e-9)


def grows(spec, theta, h):
    """Whether a small disturbance of the center grows under the compiled step itself."""
    spec = nc.Spec.from_dict(spec.to_dict() | {"dt_s": h})
    n = spec.neurons
    ctl = nc.Controller(spec)
    ctl.theta[:] = theta
    rest = dynamics.state_from_output(spec, theta, np.full(n, 0.5))
    size = 1e-7
    ctl.state[:n] = rest + size * np.random.default_rng(0).standard_normal(n)
    begin = np.abs(ctl.state[:n] - rest).max()
    for _ in range(400):
        ctl.step(np.zeros(1))
    return np.abs(ctl.state[:n] - rest).max() > begin


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("seed", range(4))
def test_the_compiled_step_turns_unstable_there(integrator, seed):
    """Networks all of whose modes decay: just below the limit a disturbance decays, just above it grows."""
    rng = np.random.default_rng(seed)
    w = rng.normal(0, 3, (4, 4)) - 8 * np.eye(4)
    spec, theta = network(w, integrator=integrator, tau=rng.uniform(0.5, 2, 4))
    assert (np.linalg.eigvals(dynamics.jacobian(spec, theta)).real < 0).all()
    longest = dynamics.max_stable_dt(spec, theta)
    assert np.isfinite(longest)
    tau = theta[24:28]
    if longest * 1.05 < 2 * tau.min():  # beyond that theta itself is refused
        assert not grows(spec, theta, 0.9 * longest)
        assert grows(spec, theta, 1.05 * longest)


def test_growing_modes_do_not_count():
    spec, theta = network([[4.5, 1.0], [-1.0, 4.5]])  # 0.125 +- 0.25 i: an oscillator
    assert dynamics.max_stable_dt(spec, theta) == pytest.approx(2.0)


def test_a_controller_above_it_warns_and_runs():
    spec, theta = network([[-30.0]], dt_s=0.5)  # J = -8.5: stable up to 2/8.5
    with pytest.warns(nc.StabilityWarning, match="dt_s: 0.5 is above max_stable_dt: euler steps"):
        ctl = nc.Controller(spec, theta)
    assert np.isfinite(ctl.step(np.zeros(1))).all()
    assert dynamics.max_stable_dt(spec, theta) == pytest.approx(2 / 8.5)


def test_a_controller_below_it_does_not_warn(recwarn):
    nc.Controller(*network([[-30.0]], dt_s=0.2))
    assert not [w for w in recwarn if w.category is nc.StabilityWarning]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, t: dynamics.state_from_output(s, t, [0.5, 1.0]), r"s: \[0.5, 1.0\]; allowed: 2 outputs between 0"),
        (lambda s, t: dynamics.state_from_output(s, t, [0.5]), r"s: \[0.5\]; allowed: 2"),
        (lambda s, t: dynamics.max_stable_dt(s, t[:-1]), r"theta: shape \(11,\); allowed: \(12,\)"),
        (lambda s, t: dynamics.max_stable_dt(nc.Spec(cell="elman", inputs=1, neurons=1, outputs=1, dt_s=1.0), t),
         "cell: 'elman'; allowed here: ctrnn"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(nc.NeuroctlError, match=message):
        call(*network(np.zeros((2, 2))))
