"""The CTRNN's dynamics, known in closed form or to many digits, in float64 by every form.

Two neurons, W[to][from] = [[4.5, 1], [-1, 4.5]], bias (-2.75, -1.75), tau = 1: a limit cycle around y = (2.75, 1.75)
(figures by DOP853 at a tolerance of 1e-13). One neuron that excites itself: folds, Beer (1995), section 3.
"""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import neuroctl as nc
from neuroctl import dynamics
from neuroctl.cells import layout
from neuroctl.spec import INTEGRATORS
from tests.conformance import forms

W = np.array([[4.5, 1.0], [-1.0, 4.5]])
BIAS = np.array([-2.75, -1.75])
PERIOD = 28.9999078995


def network(w, bias, dt_s, integrator="rk4", w_in=0.0):
    n = len(w)
    spec = nc.Spec(
        cell="ctrnn", inputs=1, neurons=n, outputs=n, dt_s=dt_s, integrator=integrator, readout="identity",
        dtype="float64",
    )  # fmt: skip
    theta = np.zeros(layout(spec).size)
    p = layout(spec).views(theta)
    p["W"][:], p["bias"][:], p["gain"][:], p["tau_s"][:], p["W_in"][:] = w, bias, 1.0, 1.0, w_in
    return spec, theta


def run(form, spec, theta, duration, current=0.0):
    """The states y ``[T, n]``, read back from the outputs."""
    u = np.empty((round(duration / spec.dt_s), 1))
    u[:, 0] = current
    s = forms.FLOATS[form](spec, theta, u)
    return np.log(s / (1 - s)) - layout(spec).views(theta)["bias"]


def crossings(y, level, dt_s):
    """Times at which y rises through the level, by a cubic through the four nearest points."""
    times = []
    for k in np.flatnonzero((y[:-1] < level) & (y[1:] >= level)):
        if 1 <= k < len(y) - 2:
            cubic = np.polynomial.Polynomial.fit([-1, 0, 1, 2], y[k - 1 : k + 3] - level, 3).convert()
            roots = [r.real for r in cubic.roots() if abs(r.imag) < 1e-9 and -1e-9 <= r.real <= 1 + 1e-9]
            times.append((k + 1 + roots[0]) * dt_s)
    return np.array(times)


@pytest.mark.parametrize("form", forms.FLOATS)
def test_the_two_neuron_cycle(form):
    duration = 230 if forms.SIMULATED else 400
    y = run(form, *network(W, BIAS, 0.01), duration)
    times = crossings(y[:, 0], 2.75, 0.01)
    assert abs(times[-1] - times[-2] - PERIOD) < 1e-6
    late = y[-round(PERIOD / 0.01) - 2 :]
    np.testing.assert_allclose([late[:, 0].min(), late[:, 0].max()], [1.29384674, 4.20615326], atol=1e-6)
    s = 1 / (1 + np.exp(-(late[:, 0] - 2.75)))
    np.testing.assert_allclose([s.min(), s.max()], [0.18905638, 0.81094362], atol=1e-6)


@pytest.mark.parametrize("form", forms.FLOATS)
def test_from_rest_after_100_time_constants(form):
    y = run(form, *network(W, BIAS, 0.01), 100)
    np.testing.assert_allclose(y[-1], [3.06038425, 3.10962622], atol=2e-7)


@pytest.mark.parametrize("form", forms.FLOATS)
def test_the_wrong_weight_convention_does_not_cycle_so(form):
    """W[from][to] has another equilibrium: with these biases it does not show this period."""
    y = run(form, *network(W.T, BIAS, 0.05), 150)
    times = crossings(y[:, 0], 2.75, 0.05)
    assert len(times) < 2 or abs(times[-1] - times[-2] - PERIOD) > 0.1


def test_the_equilibrium_and_its_eigenvalues():
    spec, theta = network(W, BIAS, 0.01)
    y = dynamics.state_from_output(spec, theta, [0.5, 0.5])
    assert y.tolist() == [2.75, 1.75]
    ctl = nc.Controller(spec, theta)
    ctl.state[:2] = y
    assert ctl.step(np.zeros(1)).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(dynamics.jacobian(spec, theta))), [0.125 - 0.25j, 0.125 + 0.25j]
    )


def fold(w, sign):
    """Beer (1995): I + bias = +-2 ln((sqrt w + sqrt(w - 4))/2) - (w +- sqrt(w (w - 4)))/2."""
    return sign * 2 * math.log((math.sqrt(w) + math.sqrt(w - 4)) / 2) - (w + sign * math.sqrt(w * (w - 4))) / 2


@pytest.mark.parametrize("w", [4.5, 6.0, 9.0, 16.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_folds_of_the_self_connected_neuron(w, sign):
    """The slope is 0 where the logistic's is 1/w; that state rests at this input."""
    spec, theta = network([[w]], [0.0], 0.01)
    s = (1 + sign * math.sqrt(1 - 4 / w)) / 2
    assert abs(dynamics.jacobian(spec, theta, slope=s * (1 - s))[0, 0]) < 1e-12
    y = dynamics.state_from_output(spec, theta, [s])[0]
    assert abs(y - w * s - fold(w, sign)) < 1e-12


def test_folds_have_their_published_values():
    assert abs(fold(6, 1) - -3.41509291064406) < 1e-12
    assert abs(fold(6, -1) - -2.58490708935594) < 1e-12


@pytest.mark.parametrize("form", forms.FLOATS)
def test_a_neuron_jumps_just_beyond_its_fold_and_stays_just_before_it(form):
    spec, theta = network([[6.0]], [0.0], 0.1, w_in=1.0)
    inhibited, ends = np.arange(4000) < 300, []
    for shift in (-1e-3, 1e-3):
        y = run(form, spec, theta, 400, np.where(inhibited, -6.0, fold(6, -1) + shift))
        ends.append(1 / (1 + math.exp(-y[-1, 0])))
    assert ends[0] < (1 - math.sqrt(1 - 4 / 6)) / 2 < 0.5 < ends[1]


ORDERS = {"euler": 1, "heun": 2, "rk4": 4, "etd1": 1}


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("form", forms.FLOATS)
def test_observed_order_of_accuracy(form, integrator):
    exact = solve_ivp(
        lambda _, y: -y + W @ (1 / (1 + np.exp(-(y + BIAS)))), (0, 4), [0, 0], method="DOP853", rtol=1e-13, atol=1e-14
    ).y[:, -1]
    errors = [np.abs(run(form, *network(W, BIAS, h, integrator), 4)[-1] - exact).max() for h in (0.1, 0.05, 0.025)]
    observed = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(observed, ORDERS[integrator], atol=0.15)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("form", forms.FLOATS)
def test_the_leak_decays_up_to_the_stability_limit(form, integrator):
    spec, theta = network([[0.0]], [0.0], 1.0, integrator, w_in=1.0)
    limit = dynamics.max_stable_dt(spec, theta)
    spec = nc.Spec.from_dict(spec.to_dict() | {"dt_s": min(0.98 * limit, 10.0)})
    u = np.zeros((400, 1))
    u[0] = 1.0
    s = forms.FLOATS[form](spec, theta, u)
    assert abs(s[-1, 0] - 0.5) < 0.1 * abs(s[0, 0] - 0.5)
    if math.isfinite(limit):
        with pytest.raises(nc.LayoutError, match="tau_s"):
            nc.Controller(nc.Spec.from_dict(spec.to_dict() | {"dt_s": 1.01 * limit}), theta)
