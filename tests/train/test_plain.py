"""A gradient through time, compiled or not: without the JIT the same code runs in plain Python."""

import numpy as np

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.train import ActionGradient, plant_gradient, value_and_grad
from tests.train.cases import CASES, theta_of
from tests.train.plants import plain_cost, starts_of, swing

SPEC = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1, integrator="rk4", dtype="float64")


def test_a_gradient_equals_differences():
    rng = np.random.default_rng(0)
    theta = nc.Controller(SPEC, seed=0).theta
    u, y = rng.standard_normal((2, 5, 3, 1))
    f = value_and_grad(SPEC, segment=3)
    gradient = f(theta, u, y)[1]
    for block in layout(SPEC).blocks.values():
        step = np.zeros_like(theta)
        step[block.offset] = 1e-6
        difference = (f(theta + step, u, y)[0] - f(theta - step, u, y)[0]) / 2e-6
        assert abs(difference - gradient[block.offset]) < 1e-6 * np.abs(gradient).max(), block.name


def test_a_gradient_through_a_plant_equals_differences(tmp_path):
    plant, spec = swing(tmp_path), CASES["ctrnn-rk4"]
    theta, starts = theta_of(spec), starts_of(plant, 3)
    f = plant_gradient(spec, plant)
    cost, gradient = f(theta, starts, 4)
    assert abs(cost - plain_cost(spec, theta, plant, starts, 4)[0]) < 1e-12
    for block in layout(spec).blocks.values():
        step = np.zeros_like(theta)
        step[block.offset] = 1e-6
        difference = (f.cost(theta + step, starts, 4) - f.cost(theta - step, starts, 4)) / 2e-6
        assert abs(difference - gradient[block.offset]) < 1e-6 * np.abs(gradient).max(), block.name
    actions, step = np.full((4, 2, 3), 0.1), np.zeros((4, 2, 3))
    g, step[1, 0, 2] = ActionGradient(plant, spec.dt_s), 1e-6
    change = g(actions, starts)[1]
    difference = (g(actions + step, starts)[0] - g(actions - step, starts)[0]) / 2e-6
    assert abs(difference - change[1, 0, 2]) < 1e-6
