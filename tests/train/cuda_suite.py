"""Gradients on a GPU beside the CPU's: run by backends/test_cuda.py, in the simulator or on a GPU that is there.

The simulator proves indexing and semantics, with few sequences; types are proven by the PTX tests.
"""

import os

import numpy as np
import pytest

from neuroctl.errors import LayoutError, TrainingError
from neuroctl.train import value_and_grad
from tests.train.cases import CASES, data, spec, theta_of

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0"
COUNT = 3 if SIMULATED else 3000
NAMES = [
    "ctrnn-euler", "ctrnn-rk4", "ctrnn-etd1", "ctrnn-rk4-mask", "ctrnn-heun-identity", "ctrnn-tanh-limits-scaled",
    "elman-tanh", "elman-logistic-limits", "jordan-tanh-limits", "indrnn-tanh-1", "indrnn-relu-3-residual",
    "indrnn-identity", "ctrnn-one-neuron", "gru", "gru-tanh-limits-scaled", "ctrnn-rk4-learned", "elman-learned",
    "jordan-learned", "gru-learned", "indrnn-relu-2-learned", "cfc", "cfc-backbone-3-learned",
]  # fmt: skip
FIELDS = ("theta", "inputs", "state", "outputs", "final")


def both(form, *arguments, loss="mse"):
    """Return the CPU's gradients and the GPU's, which cuts the run into segments."""
    cpu = value_and_grad(form, loss).all_of(*arguments, with_inputs=True)
    return cpu, value_and_grad(form, loss, backend="cuda", segment=4).all_of(*arguments, with_inputs=True)


def compare(cpu, gpu):
    np.testing.assert_allclose(gpu.loss, cpu.loss, rtol=1e-12)
    for field in FIELDS:
        expected = getattr(cpu, field)
        scale = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(getattr(gpu, field), expected, rtol=1e-9, atol=1e-11 * scale, err_msg=field)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_the_gradient_of_the_cpu(name):
    form = CASES[name]
    theta, (u, y) = theta_of(form), data(form, steps=7, count=COUNT)
    compare(*both(form, theta, u, y))


def test_outputs_need_no_targets():
    form = CASES["elman-tanh"]
    theta, (u, _) = theta_of(form), data(form, steps=7, count=COUNT)
    cpu, gpu = (value_and_grad(form, backend=backend).outputs(theta, u) for backend in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu, cpu, rtol=1e-9)


@pytest.mark.parametrize("name", ["ctrnn-euler", "jordan-relu-0.5", "gru-learned"])
def test_masks_states_and_parameters_of_ones_own(name):
    form = CASES[name]
    thetas = np.stack([theta_of(form, seed) for seed in range(COUNT)], axis=1)
    u, y = data(form, steps=6, count=COUNT)
    mask = np.random.default_rng(2).uniform(0, 1, u.shape[:2])
    mask[4:, 0] = 0
    state = value_and_grad(form).all_of(thetas, u, y).final
    for parameters in (thetas, thetas[:, 0].copy()):
        for begin in (state, state[:, 0]):
            cpu, gpu = both(form, parameters, u, y, mask, begin)
            assert gpu.theta.shape == parameters.shape
            compare(cpu, gpu)


def square(outputs, targets):
    error = outputs - targets
    return float(np.mean(error**2)), 2 * error / error.size


@pytest.mark.parametrize("loss", ["huber", "cross_entropy", square])
def test_losses(loss):
    form = CASES["elman-tanh"]
    theta, (u, y) = theta_of(form), data(form, steps=5, count=COUNT)
    targets = (y[:, :, 0] > 0).astype(np.int64) if loss == "cross_entropy" else 3 * y
    cpu, gpu = both(form, theta, u, targets, loss=loss)
    compare(cpu, gpu)
    assert value_and_grad(form, loss, backend="cuda").loss(theta, u, targets) == pytest.approx(cpu.loss, rel=1e-12)


def test_sequences_are_added_in_their_order():
    """The sum is of sums of 32 sequences, whatever the size of a block: no bit depends on which thread is first."""
    form, count = spec(cell="indrnn", activation="tanh", neurons=2, inputs=1, outputs=1), 64
    theta, (u, y) = theta_of(form), data(form, steps=2, count=count)
    alone = value_and_grad(form, backend="cuda")(np.repeat(theta[:, None], count, axis=1), u, y)[1]
    total = np.zeros_like(theta)
    for first in (0, 32):
        part = np.zeros_like(theta)
        for p in range(first, first + 32):
            part += alone[:, p] / count
        total += part
    for threads in (32, 96):
        assert np.array_equal(value_and_grad(form, backend="cuda", threads=threads)(theta, u, y)[1], total)


def test_a_sequence_among_others_has_the_bits_of_one_alone():
    form = CASES["elman-relu"]
    theta, (u, y) = theta_of(form), data(form, steps=3, count=33)
    f = value_and_grad(form, backend="cuda", threads=32)
    mask = np.zeros((3, 33))
    mask[:, 32] = 1
    alone, among = f.all_of(theta, u[:, 32:], y[:, 32:]), f.all_of(theta, u, y, mask)
    assert alone.loss == among.loss
    assert np.array_equal(alone.theta, among.theta)
    assert np.array_equal(alone.outputs[:, 0], among.outputs[:, 32])


def test_what_is_not_allowed_is_refused():
    form = spec(cell="indrnn", inputs=1, neurons=1, outputs=1)
    with pytest.raises(LayoutError, match="^threads: 33; allowed on a GPU: multiples of 32 up to 1024$"):
        value_and_grad(form, backend="cuda", threads=33)
    theta, (u, y) = theta_of(form), data(form, steps=2, count=2)
    u[1, 1] = np.nan
    with pytest.raises(TrainingError, match=r"^inputs\[1, 1, 0\]: nan; allowed: finite numbers in float64$"):
        value_and_grad(form, backend="cuda")(theta, u, y)


@pytest.mark.skipif(SIMULATED, reason="runs on a GPU only: float32 in the simulator is Python's")
@pytest.mark.parametrize("cell", ["ctrnn", "indrnn", "elman", "jordan", "gru", "cfc"])
def test_float32_agrees_with_the_cpu(cell):
    form = spec(cell=cell, dtype="float32")
    theta, (u, y) = theta_of(form), data(form, steps=100, count=COUNT)
    cpu, gpu = both(form, theta, u, y)
    assert gpu.loss == pytest.approx(cpu.loss, rel=1e-5)
    np.testing.assert_allclose(gpu.theta, cpu.theta, rtol=1e-3, atol=1e-4 * np.abs(cpu.theta).max())
