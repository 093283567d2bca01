"""Integer controllers in compiled plants, against a plain loop over ``QuantController.step``."""

import dataclasses

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.errors import LayoutError, PlantError
from sims.plants import circle_catcher, double_pole, phototaxis, walker
from tests.backends.plain import runge_kutta

SPECS = {
    double_pole: nc.Spec(
        cell="elman", inputs=3, neurons=2, outputs=1, dt_s=0.02, input_limits=((-1, 1),) * 3, output_limits=((-10, 10),)
    ),
    walker: nc.Spec(
        cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity", input_limits=((-2.5, 2.5),)
    ),
    circle_catcher: nc.Spec(
        cell="indrnn", inputs=7, neurons=4, outputs=2, dt_s=0.1, input_limits=((0, 1),) * 7, output_limits=((0, 1),) * 2
    ),
    phototaxis: nc.Spec(
        cell="jordan",
        inputs=2,
        neurons=4,
        outputs=2,
        dt_s=0.1,
        input_limits=((0, 1),) * 2,
        output_limits=((-1, 1),) * 2,
    ),
}


def plain(q, plant, steps, start):
    """Return fitness, steps and final state of one episode, in Python's floats."""
    q.reset()
    x, rewards = tuple(float(v) for v in start), []
    for _ in range(steps):
        a = tuple(float(v) for v in q.step(np.array(plant.observe(x), q.spec.dtype)))
        if hasattr(plant, "step"):
            x = plant.step(x, a, q.spec.dt_s)
        else:
            substeps = getattr(plant, "SUBSTEPS", 1)
            for _ in range(substeps):
                x = runge_kutta(plant.derivative, x, a, q.spec.dt_s / substeps)
        rewards.append(plant.reward(x, a) if hasattr(plant, "reward") else 0.0)
        if hasattr(plant, "done") and plant.done(x):
            break
    recent = sum(rewards[-getattr(plant, "WINDOW", 1) :])
    return plant.fitness(x, len(rewards), sum(rewards), recent), len(rewards), x


@pytest.mark.parametrize("plant", SPECS, ids=lambda plant: plant.__name__.split(".")[-1])
def test_equals_a_plain_loop(plant):
    spec = dataclasses.replace(SPECS[plant], dtype="float64")
    for seed in range(4):
        q = nc.Controller(spec, seed=seed).quantize()
        starts = np.array([plant.START] * 3).T
        starts[0] += [0.0, 0.01, 0.02]
        episodes = get("cpu").rollout_quantized([q], plant, 200, starts=starts)
        for p in range(3):
            fitness, steps, x = plain(q, plant, 200, starts[:, p])
            assert episodes.steps[p] == steps
            assert episodes.fitness[p] == pytest.approx(fitness, rel=1e-9, abs=1e-9)
            assert episodes.final[:, p] == pytest.approx(x, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_for_any_number_of_threads_and_the_controller_is_left_alone(threads):
    q = nc.Controller(SPECS[double_pole], seed=3).quantize()
    q.step(np.array([0.3, 0.1, 0.2], np.float32))
    before = q.state.copy()
    starts = np.tile(np.array(double_pole.START)[:, None], 21)
    starts[2] = np.linspace(-0.1, 0.1, 21)
    many = get("cpu").rollout_quantized([q], double_pole, 500, starts=starts, fitness="damping", threads=threads)
    for p in (0, 7, 20):
        alone = get("cpu").rollout_quantized([q], double_pole, 500, starts=starts[:, p], fitness="damping", threads=1)
        assert np.array_equal(alone.fitness, many.fitness[p : p + 1])
        assert np.array_equal(alone.final[:, 0], many.final[:, p])
    assert np.array_equal(before, q.state)


def test_bad_arguments_are_named():
    q = nc.Controller(SPECS[double_pole], seed=3).quantize()
    with pytest.raises(PlantError, match="allowed for walker"):
        get("cpu").rollout_quantized([q], walker, 10)
    with pytest.raises(LayoutError, match="steps"):
        get("cpu").rollout_quantized([q], double_pole, 0)
