"""Lanes against a plain loop, and against themselves with other numbers of lanes and threads."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import initial
from neuroctl.errors import BackendUnavailable, LayoutError, NeuroctlError, PlantError
from sims.plants import double_pole, walker
from tests.backends.plain import episode

cpu = get("cpu")
THREADS = [1, 2] if len(os.sched_getaffinity(0)) > 1 else [1]
POLES = nc.Spec(
    cell="ctrnn", inputs=3, neurons=5, outputs=1, dt_s=0.02, output_limits=((-10.0, 10.0),), dtype="float64"
)
LEG = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity", dtype="float64")


def population(spec, count, seed=0):
    return np.ascontiguousarray(np.stack([initial(spec, seed + i) for i in range(count)], axis=1))


def single(spec):
    return nc.Spec.from_dict(spec.to_dict() | {"dtype": "float32"})


@pytest.mark.parametrize("fitness", ["fitness", "damping"])
def test_double_pole_equals_the_plain_loop(fitness):
    theta = population(POLES, 20)
    theta[-10:] *= 0.1  # weak readouts push less, so that some episodes last beyond the window
    got = cpu.rollout(POLES, theta, double_pole, 150, fitness=fitness)
    for p in range(20):
        value, steps, final = episode(POLES, theta[:, p], double_pole, 150, fitness=fitness)
        assert got.steps[p] == steps
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(got.fitness[p], value, rtol=1e-9)
    assert not got.fault.any()


COUNTER = """
    START = (0.0, 9.0)
    ACTIONS = 1
    WINDOW = 7

    def step(x, a, dt_s):
        return x[0] + 1, x[1]

    def observe(x):
        return (x[0],)

    def reward(x, a):
        return x[0]

    def done(x):
        return x[0] >= x[1]

    def fitness(x, steps, total, recent):
        return 1000 * total + recent
"""


def test_rewards_are_summed_over_all_and_over_the_last_steps(tmp_path):
    """Lanes that end at different times, in blocks that refill: each sums its own steps."""
    path = tmp_path / "counter.py"
    path.write_text(textwrap.dedent(COUNTER))
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=0.1, dtype="float64")
    ends = np.random.default_rng(0).integers(1, 40, 600)
    starts = np.stack([np.zeros(600), ends])
    got = cpu.rollout(spec, initial(spec, 0), path, 30, starts=starts, threads=1)
    steps = np.minimum(ends, 30)
    assert (got.steps == steps).all()
    total, recent = [[sum(range(max(1, n - k), n + 1)) for n in steps] for k in (99, 6)]
    assert (got.fitness == 1000 * np.array(total) + recent).all()


def test_walker_equals_the_plain_loop():
    theta = population(LEG, 20)
    got = cpu.rollout(LEG, theta, walker, 400)
    for p in range(20):
        value, steps, final = episode(LEG, theta[:, p], walker, 400)
        assert got.steps[p] == steps == 400
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(got.fitness[p], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("spec", "plant"), [(single(POLES), double_pole), (single(LEG), walker), (POLES, double_pole)])
def test_same_bits_for_any_number_of_lanes_and_threads(spec, plant):
    """700 lanes fill blocks, refill them as episodes end, and narrow them; a few lanes do not."""
    theta = population(spec, 700)
    whole = cpu.rollout(spec, theta, plant, 60, threads=1)
    for count in (1, 2, 15, 16, 17, 100, 257, 700):
        for threads in THREADS:
            part = cpu.rollout(spec, np.ascontiguousarray(theta[:, :count]), plant, 60, threads=threads)
            for field in ("fitness", "steps", "final", "fault"):
                assert (getattr(part, field) == getattr(whole, field)[..., :count]).all(), (count, threads, field)


def test_one_controller_from_many_starts():
    theta = initial(POLES, 4)
    starts = np.random.default_rng(0).uniform(-0.1, 0.1, (6, 40))
    got = cpu.rollout(POLES, theta, double_pole, 80, starts=starts)
    many = cpu.rollout(POLES, np.repeat(theta[:, None], 40, axis=1), double_pole, 80, starts=starts)
    for p in range(40):
        _, steps, final = episode(POLES, theta, double_pole, 80, starts[:, p])
        assert got.steps[p] == many.steps[p] == steps
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recorded_inputs_equal_single_controllers(dtype):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=3, dt_s=0.05, dtype=dtype)
    theta, rng = population(spec, 40), np.random.default_rng(1)
    shared, per_lane = rng.standard_normal((30, 2)).astype(dtype), rng.standard_normal((30, 2, 40)).astype(dtype)
    tolerance = 2e-5 if dtype == "float32" else 1e-13
    for inputs, values in ((shared, theta), (per_lane, theta), (per_lane, np.ascontiguousarray(theta[:, 0]))):
        got = cpu.rollout(spec, values, inputs)
        assert got.outputs.shape == (30, 3, 40)
        for p in range(0, 40, 7):
            ctl = nc.Controller(spec, values if values.ndim == 1 else values[:, p])
            expected = ctl.rollout(inputs if inputs.ndim == 2 else inputs[:, :, p])
            np.testing.assert_allclose(got.outputs[:, :, p], expected, rtol=0, atol=tolerance)
            np.testing.assert_allclose(got.state[:4, p], ctl.state[:4], rtol=0, atol=tolerance)


@pytest.mark.parametrize("count", [1, 17, 300])
def test_recorded_inputs_give_the_same_bits_for_any_number_of_lanes(count):
    spec = single(POLES)
    theta, inputs = population(spec, 600), np.random.default_rng(2).standard_normal((20, 3))
    whole = cpu.rollout(spec, theta, inputs, threads=1).outputs
    part = cpu.rollout(spec, np.ascontiguousarray(theta[:, :count]), inputs, threads=THREADS[-1]).outputs
    assert (part == whole[:, :, :count]).all()


def test_nan_inputs_hold_the_output_and_are_reported():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.05)
    inputs = np.zeros((5, 1, 3), np.float32)
    inputs[2, 0, 1] = np.nan
    got = cpu.rollout(spec, population(spec, 3), inputs)
    assert np.isfinite(got.outputs).all()
    assert (got.outputs[2, :, 1] == got.outputs[1, :, 1]).all()
    fault = nc.Controller(spec).state_layout["fault"].offset
    assert got.state[fault].tolist() == [0, 1, 0]


MINE = """
    import math

    START = (1.0, 0.0)
    ACTIONS = 1
    STIFF = 4

    def spring(q):
        return -STIFF * q

    def derivative(x, a):
        return x[1], spring(x[0]) - 0.5 * x[1] + a[0]

    def observe(x):
        return x[0], math.sqrt(abs(x[1]))

    def fitness(x, steps, total, recent):
        return -abs(x[0]) - 1 / steps
"""


def test_a_users_own_plant(tmp_path):
    path = tmp_path / "spring.py"
    path.write_text(textwrap.dedent(MINE))
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.05, dtype="float64")
    theta = population(spec, 5)
    got = cpu.rollout(spec, theta, path, 100)
    namespace = {}
    exec(path.read_text(), namespace)
    plain = type("Plain", (), {k: staticmethod(v) if callable(v) else v for k, v in namespace.items()})
    for p in range(5):
        value, _, final = episode(spec, theta[:, p], plain, 100)
        np.testing.assert_allclose(got.fitness[p], value, rtol=1e-10)
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-10)
    # A changed plant is compiled anew, not taken from the cache.
    path.write_text(textwrap.dedent(MINE.replace("STIFF = 4", "STIFF = 9")))
    assert (cpu.rollout(spec, theta, path, 100).final != got.final).all()


SCRIPT = """
    import sys
    import numpy as np
    import neuroctl as nc
    from neuroctl.backends import get, lanes, plant
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.05)
    theta = np.repeat(nc.Controller(spec).theta[:, None], 3, axis=1)
    result = get("cpu").rollout(spec, theta, sys.argv[1], 10)
    kernel = lanes.plant_kernel(spec, plant.load(sys.argv[1]), "fitness")
    print(sum(kernel.run.stats.cache_hits.values()), sum(kernel.run.stats.cache_misses.values()))
"""


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="the JIT is disabled: nothing is cached")
def test_a_second_process_starts_from_the_cache(tmp_path):
    path = tmp_path / "spring.py"
    path.write_text(textwrap.dedent(MINE))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path)]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.split() for run in runs] == [["0", "1"], ["1", "0"]]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"theta": np.zeros((4, 3))}, LayoutError, "theta: shape (4, 3)"),
        ({"theta": [1.0]}, LayoutError, "theta: list; allowed: a C-contiguous float64 array"),
        ({"theta": np.ones((61, 2), np.float32)}, LayoutError, "theta: float32"),
        ({"theta": np.ones((61, 4))[:, ::2]}, LayoutError, "strides"),
        ({"theta": np.ones((61, 0))}, LayoutError, "theta: shape (61, 0)"),
        ({"theta": np.full((61, 2), np.nan)}, LayoutError, "W[0, 0, 0] is nan; allowed: finite"),
        ({"theta": np.zeros((61, 2))}, LayoutError, "tau_s[0, 0] is 0.0; allowed: greater than 0.01"),
        ({"steps": 0}, LayoutError, "steps: 0; allowed: integers from 1"),
        ({"steps": None}, LayoutError, "steps: None"),
        ({"starts": np.zeros(5)}, LayoutError, "starts: shape (5,); allowed: finite numbers (6,) or (6, P)"),
        ({"starts": np.zeros((6, 7))}, LayoutError, "theta: 2 lanes; allowed: 7"),
        ({"starts": [0, np.nan, 0, 0, 0, 0]}, LayoutError, "starts[1]: nan; allowed: finite numbers in float64"),
        ({"starts": np.full((6, 2), [0.0, -np.inf])}, LayoutError, "starts[0, 1]: -inf; allowed: finite numbers"),
        ({"starts": "here"}, LayoutError, "starts: str"),
        ({"threads": 0}, LayoutError, "threads: 0; allowed: integers from 1 to"),
        ({"threads": 10_000}, LayoutError, "threads: 10000; allowed: integers from 1 to"),
        ({"fitness": "none"}, PlantError, "fitness: 'none'; allowed: a function of double_pole"),
        ({"plant": walker}, PlantError, "spec: 3 inputs, 1 outputs; allowed for walker: 1 inputs, 3 outputs"),
        ({"plant": np.zeros((0, 3)), "steps": None}, LayoutError, "inputs: shape (0, 3); allowed: (T, 3)"),
        ({"plant": np.zeros((4, 2)), "steps": None}, LayoutError, "inputs: shape (4, 2)"),
        ({"plant": np.zeros((4, 3, 9)), "steps": None}, LayoutError, "theta: 2 lanes; allowed: 9"),
        ({"plant": np.zeros((4, 3)), "steps": 9}, LayoutError, "steps: 9; allowed with recorded inputs: 4"),
        ({"plant": None, "steps": None}, NeuroctlError, "inputs: "),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"theta": population(POLES, 2), "plant": double_pole, "steps": 5} | change
    with pytest.raises(error) as caught:
        cpu.rollout(POLES, **arguments)
    assert message in str(caught.value)


def test_another_time_step_than_the_plants():
    spec = nc.Spec.from_dict(POLES.to_dict() | {"dt_s": 0.01})
    with pytest.raises(PlantError, match="dt_s: 0.01; allowed for double_pole: 0.02"):
        cpu.rollout(spec, population(spec, 1), double_pole, 5)


def test_an_unknown_backend():
    with pytest.raises(BackendUnavailable, match="backend: 'tpu'; allowed: cpu, cuda"):
        get("tpu")
