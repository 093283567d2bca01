"""The coordinates of optimizers: a step is of the same size in any unit, and time constants do not run into bounds."""

from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.train import Gradient, fit, start, windows
from neuroctl.train.coordinates import Coordinates
from neuroctl.train.fitting import _begin
from neuroctl.train.lbfgs import LBFGS
from tests.train.cases import CASES, LIMITS, data, spec, theta_of

LAG = spec(cell="ctrnn", inputs=1, neurons=8, outputs=1, dt_s=0.01, dtype="float32")
MANY = 1024.0  # a power of 2, by which nothing is rounded


def lag():
    """Return random steps and a lag of the second order that follows them, in sequences of 200 steps."""
    u = np.random.default_rng(0).uniform(-1, 1, 160).repeat(20)
    y, v, x = [], 0.0, 0.0
    for value in u:
        y.append(x)
        v += 0.01 * (60 * (value - x) - 8 * v)
        x += 0.01 * v
    return windows(u[:, None], 200), windows(np.array(y)[:, None], 200)


def same_course(a, b):
    return all(np.array_equal(a.history[name], b.history[name], equal_nan=True) for name in a.history)


def test_the_loss_of_a_ctrnn_falls_without_jumps():
    result = fit(LAG, *lag(), epochs=40, schedule="cosine", threads=1)
    loss = result.history["loss"]
    assert (loss[1:] / loss[:-1]).max() < 1.1
    tau = layout(LAG).views(result.controller.theta)["tau_s"]
    assert tau.min() > LAG.dt_s  # half of it is the bound, where steps of Euler ring
    assert loss[-1] < 0.5 * loss[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "lbfgs"])
def test_training_takes_the_same_course_in_another_unit_of_time(optimizer):
    if optimizer == "lbfgs":
        pytest.importorskip("scipy", reason="scipy searches")
    form = replace(LAG, neurons=3, dtype="float64")
    slow = replace(form, dt_s=MANY * form.dt_s)
    one, other = (fit(each, *lag(), epochs=5, optimizer=optimizer, threads=1) for each in (form, slow))
    assert same_course(one, other)
    p, q = (layout(form).views(result.controller.theta) for result in (one, other))
    assert {name: np.array_equal(q[name], p[name] * (MANY if name == "tau_s" else 1)) for name in p} == dict.fromkeys(
        p, True
    )


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "cfc"])
def test_training_takes_the_same_course_in_another_unit_of_inputs(cell):
    u, y = lag()
    form = nc.Spec(cell=cell, inputs=1, neurons=3, outputs=1, dt_s=0.01, input_limits=((-1, 1),), dtype="float64")
    large = replace(form, input_limits=((-MANY, MANY),))
    settings = dict(epochs=5, threads=1)
    one, other = fit(form, u, y, **settings), fit(large, MANY * u, y, **settings)
    assert same_course(one, other)


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "cfc"])
def test_outputs_of_thousands_are_learned_as_well(cell):
    u, y = lag()
    form = nc.Spec(cell=cell, inputs=1, neurons=3, outputs=1, dt_s=0.01, output_limits=((-2, 2),), dtype="float64")
    large = replace(form, output_limits=((-2 * MANY, 2 * MANY),))
    settings = dict(epochs=20, threads=1, clip=None)
    one, other = fit(form, u, y, **settings), fit(large, u, MANY * y, **settings)
    np.testing.assert_allclose(other.history["loss"] / MANY**2, one.history["loss"], rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_by_coordinates_is_that_of_the_loss(name):
    form = CASES[name]
    coordinates, theta, (u, y) = Coordinates(form), theta_of(form), data(form)
    x, gradient = coordinates.of(theta), Gradient(form, threads=1)
    np.testing.assert_allclose(coordinates.theta(x), theta, rtol=1e-14)
    slope = coordinates.gradient(theta, gradient(theta, u, y)[1])
    step = 1e-6 * slope / np.linalg.norm(slope)
    high, low = (gradient.loss(coordinates.theta(x + s), u, y) for s in (step, -step))
    assert (high - low) / 2e-6 == pytest.approx(np.linalg.norm(slope), rel=1e-5)


def test_a_start_of_an_indrnn_spans_inputs_and_outputs():
    form = spec(cell="indrnn", **LIMITS)
    large = replace(form, output_limits=tuple((8 * a, 8 * b) for a, b in form.output_limits))
    p, q = (layout(form).views(start(each)) for each in (form, large))
    assert np.array_equal(q["W_out"], 8 * p["W_out"])
    assert np.array_equal(q["b_out"], 8 * p["b_out"])
    large = replace(form, input_limits=((-8, 8),) * 3)
    assert np.array_equal(layout(form).views(start(large))["W_in.0"] * 8, p["W_in.0"])


def test_lbfgs_steps_times_unstretched():
    """It sizes its steps by curvatures, which a stretch of 10 sets 100 apart: a motor's loss was 20 times higher."""
    training, progress = _begin(LAG, *lag(), optimizer="lbfgs")
    search = LBFGS(training, lambda progress: None)
    wanted = Coordinates(LAG, 1.0).of(progress.theta)
    np.testing.assert_array_equal(search._coordinates.of(progress.theta), wanted)
    assert not np.array_equal(training.coordinates.of(progress.theta), wanted)


def test_a_step_of_a_time_is_ten_times_the_learning_rate():
    theta, coordinates = start(LAG, 0), Coordinates(LAG)
    x = coordinates.of(theta) + np.float32(0.01)
    tau, before = (layout(LAG).views(values)["tau_s"] for values in (coordinates.theta(x), theta))
    np.testing.assert_allclose(tau / before, np.exp(0.1), rtol=1e-5)
