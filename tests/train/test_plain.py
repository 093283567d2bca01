"""A gradient through time, compiled or not: without the JIT the same code runs in plain Python."""

import numpy as np

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.train import value_and_grad

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
