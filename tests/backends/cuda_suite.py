"""What the CUDA backend has to do: run by test_cuda.py in the simulator, and as it is on a machine with a GPU.

The simulator proves indexing and semantics, with few individuals; types are proven by the PTX tests.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuroctl as nc
import sims
from neuroctl.backends import cuda, fixed
from neuroctl.cells import decode, genome_size, initial
from neuroctl.errors import LayoutError
from neuroctl.quant import quantize_many
from neuroctl.spec import CELL_NAMES
from sims.plants import double_pole, walker
from tests.backends.plain import episode
from tests.strategies import any_cell

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0"
COUNT = 5 if SIMULATED else 3000
POLES = nc.Spec(cell="ctrnn", inputs=3, neurons=5, outputs=1, dt_s=0.02, output_limits=((-10, 10),), dtype="float64")
LEG = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity", dtype="float64")


def population(spec, count):
    return np.ascontiguousarray(np.stack([initial(spec, seed) for seed in range(count)], axis=1))


def of_cell(cell, **options):
    readout = {"hopfield": "last"}.get(cell)
    return nc.Spec(cell=cell, inputs=3, neurons=5, outputs=1, dt_s=0.02, readout=readout, **options)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_cell_controls_the_double_pole(cell):
    start = "zeros" if cell == "hopfield" else "learned"
    spec = of_cell(cell, dtype="float64", output_limits=((-10.0, 10.0),), initial_state=start)
    theta = population(spec, COUNT)
    got = cuda.rollout(spec, theta, double_pole, 60, fitness="damping", threads=32)
    for p in range(0, COUNT, max(1, COUNT // 5)):
        value, steps, final = episode(spec, theta[:, p], double_pole, 60, fitness="damping")
        assert got.steps[p] == steps
        np.testing.assert_allclose(got.fitness[p], value, rtol=1e-8)
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-8, atol=1e-8)
        assert not got.fault[p]


def test_walker():
    theta = population(LEG, COUNT)
    got = cuda.rollout(LEG, theta, walker, 80)
    for p in range(0, COUNT, max(1, COUNT // 5)):
        value, _, final = episode(LEG, theta[:, p], walker, 80)
        np.testing.assert_allclose(got.fitness[p], value, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-7, atol=1e-9)


SPRING = """
START = (0.5, 0.0)
STARTS = ((0.1, 0.9), (-0.5, 0.5))
ACTIONS = 1
def derivative(x, a):
    return (x[1], 3.0 * a[0] - x[0] - 0.1 * x[1])
def observe(x):
    return (x[0], x[1], x[0] * x[1])
def done(x):
    return x[0] > 4.0
def reward(x, a):
    return 1.0 - x[0] * x[0]
def fitness(x, steps, total, recent):
    return total / steps
"""


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_integer_controllers_are_those_of_the_cpu(cell, tmp_path):
    """A plant of sums and products: in the simulator each float is the same too, on a GPU some are fused."""
    plant = tmp_path / "spring.py"
    plant.write_text(SPRING)
    last = (-0.05, 0.05) if cell in ("elman", "jordan") else (-2, 2)  # so narrow that each has its own format
    spec = of_cell(cell, dtype="float64", output_limits=((-1.0, 1.0),), input_limits=((-2, 2), (-2, 2), last))
    controllers = quantize_many(spec, population(spec, COUNT).T)
    got = cuda.rollout_quantized(controllers, plant, 60, threads=32)
    expected = fixed.rollout_quantized(controllers, plant, 60)
    np.testing.assert_array_equal(got.steps, expected.steps)
    tolerance = {"rtol": 0, "atol": 0} if SIMULATED else {"rtol": 1e-2, "atol": 1e-3}
    np.testing.assert_allclose(got.fitness, expected.fitness, **tolerance)
    np.testing.assert_allclose(got.final, expected.final, **tolerance)
    one = cuda.rollout_quantized(controllers[1], plant, 60, starts=np.array([[0.2, 0.3], [0.0, 0.1]]))
    assert one.steps.shape == (2,) and not one.fault.any()


def test_a_task_on_the_gpu_scores_as_on_the_cpu():
    spec = sims.controller_spec("phototaxis", 2)
    theta = np.stack([decode(spec, x) for x in np.random.default_rng(1).standard_normal((3, genome_size(spec)))])
    values = [
        sims.objective("phototaxis", 40, measured=True, backend=name).batch(spec, theta.astype(np.float32), [1, 2], 1)
        for name in ("cpu", "cuda")
    ]
    assert values[0].shape == (3, 2, 3)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-3, atol=1e-4)


def test_one_controller_from_many_starts():
    starts = np.array(double_pole.START)[:, None] * np.linspace(0.2, 2.0, COUNT)
    theta = initial(POLES, 3)
    shared = cuda.rollout(POLES, theta, double_pole, 50, starts=starts)
    each = cuda.rollout(POLES, np.repeat(theta[:, None], COUNT, axis=1), double_pole, 50, starts=starts)
    assert len(set(shared.final[0])) == COUNT
    assert (shared.steps == each.steps).all()
    np.testing.assert_allclose(shared.final, each.final, rtol=1e-9)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(any_cell(largest=4, dtype=st.just("float64")), st.integers(0, 2**31), st.booleans(), st.booleans())
def test_recorded_inputs_equal_single_controllers(spec, seed, one_theta, one_input):
    rng = np.random.default_rng(seed)
    count = 1 if one_theta and one_input else 3
    theta = np.stack([decode(spec, 0.5 * rng.standard_normal(genome_size(spec))) for _ in range(3)], axis=1)
    inputs = rng.uniform(-2, 2, (7, spec.inputs, 3))
    inputs[4, 0, 0] = np.nan
    theta = np.ascontiguousarray(theta[:, 0] if one_theta else theta)
    u = inputs[:, :, 0] if one_input else inputs
    got = cuda.rollout(spec, theta, u)
    assert got.outputs.shape == (7, spec.outputs, count)
    for p in range(count):
        ctl = nc.Controller(spec, theta if one_theta else theta[:, p])
        expected = ctl.rollout(u if one_input else u[:, :, p])
        np.testing.assert_allclose(got.outputs[:, :, p], expected, rtol=1e-8, atol=1e-8)
        fault = ctl.state_layout["fault"].offset
        assert got.state[fault, p] == ctl.state[fault]


def test_more_individuals_than_threads_and_fewer():
    spec = of_cell("elman", dtype="float64")
    for count in (1, 32, 33):
        theta = population(spec, count)
        got = cuda.rollout(spec, theta, np.ones((3, 3)), threads=32)
        last = nc.Controller(spec, theta[:, -1]).rollout(np.ones((3, 3)))[-1]
        np.testing.assert_allclose(got.outputs[-1, :, -1], last)


@pytest.mark.parametrize("threads", [0, 33, 2048, True, 1.0])
def test_bad_threads_are_named(threads):
    with pytest.raises(
        LayoutError, match="threads: .*; allowed(: integers from 1 to| on a GPU: multiples of 32 up to) 1024"
    ):
        cuda.rollout(POLES, population(POLES, 1), double_pole, 5, threads=threads)


def test_bad_theta_is_named():
    with pytest.raises(LayoutError, match="theta: float32"):
        cuda.rollout(POLES, population(POLES, 1).astype(np.float32), double_pole, 5)


@pytest.mark.skipif(SIMULATED, reason="runs on a GPU only: float32 in the simulator is Python's")
def test_float32_agrees_with_the_cpu():
    from neuroctl.backends import cpu

    for cell in CELL_NAMES:
        spec = of_cell(cell)
        theta, u = population(spec, COUNT), np.random.default_rng(0).uniform(-1, 1, (30, 3)).astype(np.float32)
        got, expected = cuda.rollout(spec, theta, u), cpu.rollout(spec, theta, u)
        close = np.abs(got.outputs - expected.outputs) < 1e-3
        assert close.mean() > (0.99 if cell == "hopfield" else 0.99999), cell  # a sign turns where a field is 0
