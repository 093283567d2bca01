"""Optimizers, schedules, clipping and bounds: the first three beside torch's, step by step."""

import math
from dataclasses import replace

import numpy as np
import pytest

from neuroctl import Controller
from neuroctl.cells import layout
from neuroctl.errors import TrainingError
from neuroctl.train.optim import OPTIMIZERS, SCHEDULES, SGD, Adam, AdamW, Cosine, StepDecay, clip, global_norm
from neuroctl.train.projection import Projection
from tests.train.cases import CASES, spec, theta_of


def slope(theta):
    """Return the gradient of a bowl that is steep in one direction and wavy in another."""
    return np.linspace(0.01, 10, len(theta)) * theta + np.sin(3 * theta)


@pytest.mark.parametrize(
    ("ours", "name", "settings"),
    [
        (Adam(), "Adam", {}),
        (Adam(beta1=0.5, beta2=0.9, epsilon=1e-3), "Adam", {"betas": (0.5, 0.9), "eps": 1e-3}),
        (AdamW(), "AdamW", {"weight_decay": 0.01}),
        (AdamW(decay=0.3), "AdamW", {"weight_decay": 0.3}),
        (SGD(), "SGD", {"momentum": 0.9}),
        (SGD(momentum=0.0), "SGD", {}),
        (SGD(momentum=0.7, nesterov=True), "SGD", {"momentum": 0.7, "nesterov": True}),
    ],
)
def test_steps_equal_torch(ours, name, settings):
    torch = pytest.importorskip("torch", reason="torch is what steps are compared with")
    theta = np.random.default_rng(0).standard_normal(7)
    plain = torch.nn.Parameter(torch.tensor(theta))
    theirs, state = getattr(torch.optim, name)([plain], lr=0.05, **settings), ours.begin(theta)
    assert tuple(state) == ours.NAMES
    for k in range(1, 31):
        gradient = slope(theta)
        plain.grad = torch.tensor(slope(plain.detach().numpy()))
        theta, state = ours.step(theta, gradient, state, k, 0.05)
        theirs.step()
        np.testing.assert_allclose(theta, plain.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_steps_keep_the_dtype_and_their_arguments():
    for optimizer in (make() for make in OPTIMIZERS.values()):
        theta = np.ones(3, np.float32)
        state = optimizer.begin(theta)
        new, after = optimizer.step(theta, theta, state, 1, 0.1, np.ones(3, np.float32))
        assert {new.dtype, *(array.dtype for array in after.values())} == {np.dtype(np.float32)}
        assert (theta == 1).all()
        assert not any(array.any() for array in state.values())


def test_decay_takes_weights_only():
    theta = np.ones(4)
    new, _ = AdamW(decay=0.5).step(theta, np.zeros(4), AdamW().begin(theta), 1, 0.1, np.array([1.0, 0, 1, 0]))
    assert new.tolist() == [0.95, 1, 0.95, 1]


@pytest.mark.parametrize(
    ("ours", "make"),
    [
        (Cosine(), lambda torch, sgd: torch.CosineAnnealingLR(sgd, 30)),
        (StepDecay(every=7, factor=0.5), lambda torch, sgd: torch.StepLR(sgd, 7, 0.5)),
        (SCHEDULES["step"], lambda torch, sgd: torch.StepLR(sgd, 10, 0.1)),
        (SCHEDULES["constant"], lambda torch, sgd: torch.ConstantLR(sgd, 1.0)),
        (
            Cosine(warm_up=5),
            lambda torch, sgd: torch.SequentialLR(
                sgd, [torch.LinearLR(sgd, 1 / 5, 1.0, 4), torch.CosineAnnealingLR(sgd, 25)], [5]
            ),
        ),
    ],
)
def test_schedules_equal_torch(ours, make):
    torch = pytest.importorskip("torch", reason="torch is what schedules are compared with")
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = make(torch.optim.lr_scheduler, sgd)
    for step in range(30):
        assert ours(step, 30) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        sgd.step()
        theirs.step()


def test_clipping_equals_torch():
    torch = pytest.importorskip("torch", reason="torch is what clipping is compared with")
    gradient = np.random.default_rng(0).standard_normal(50)
    for limit in (0.1, 1.0, 100.0):
        plain = torch.nn.Parameter(torch.zeros(50, dtype=torch.float64))
        plain.grad = torch.tensor(gradient)
        norm = torch.nn.utils.clip_grad_norm_([plain], limit)
        assert global_norm(gradient) == pytest.approx(float(norm), rel=1e-12)
        # torch adds 1e-6 to the norm.
        np.testing.assert_allclose(clip(gradient, global_norm(gradient), limit), plain.grad.numpy(), rtol=1e-6)
    assert clip(gradient, global_norm(gradient), None) is gradient


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(beta1=1.0), "beta1: 1.0; allowed: from 0 to less than 1"),
        (lambda: AdamW(beta2=-0.1), "beta2: -0.1; allowed: from 0 to less than 1"),
        (lambda: Adam(epsilon=0.0), "epsilon: 0.0; allowed: a number greater than 0"),
        (lambda: AdamW(decay=-1), "decay: -1; allowed: a number >= 0"),
        (lambda: SGD(momentum=math.nan), "momentum: nan; allowed: from 0 to less than 1"),
        (lambda: SGD(nesterov=1), "nesterov: 1; allowed: True, False"),
        (lambda: Cosine(warm_up=-1), "warm_up: -1; allowed: integers >= 0"),
        (lambda: StepDecay(every=0), "every: 0; allowed: integers >= 1"),
        (lambda: StepDecay(factor=2), "factor: 2; allowed: from above 0 to 1"),
    ],
)
def test_settings_that_are_not_allowed(make, message):
    with pytest.raises(TrainingError, match=f"^{message}$"):
        make()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("integrator", ["euler", "etd1"])
@pytest.mark.parametrize("tau_s", [1e-30, 1e30])
def test_a_trained_time_constant_is_one_that_fixed_point_has(dtype, integrator, tau_s):
    form = spec(cell="ctrnn", integrator=integrator, dtype=dtype)
    form = replace(form, input_limits=((-1, 1),) * form.inputs)
    theta = theta_of(form)
    layout(form).views(theta)["tau_s"][:] = tau_s
    assert Controller(form, Projection(form)(theta)).quantize().formats


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*CASES, "indrnn-horizon"])
def test_what_a_step_brings_outside_is_set_to_the_nearest_allowed(name, dtype):
    form = replace(CASES.get(name) or spec(cell="indrnn", layers=2, horizon=20), dtype=dtype)
    theta, blocks = theta_of(form), layout(form)
    allowed = Projection(form)
    assert np.array_equal(allowed(theta), theta)
    for direction in (-1e3, 1e3):
        moved = allowed(theta + np.dtype(dtype).type(direction))
        blocks.check(moved)
        assert moved.dtype == dtype
        assert np.array_equal(allowed(moved), moved)
        for name, block in blocks.blocks.items():
            if name == "tau_s" and direction < 0:
                low = form.dt_s if form.integrator == "euler" else max(block.low, 0) + 0.01 * form.dt_s
                np.testing.assert_allclose(moved[block.part], low, rtol=1e-5)
            elif name.startswith("u.") and form.horizon:
                np.testing.assert_allclose(np.abs(moved[block.part]), 2 ** (1 / form.horizon), rtol=2e-6)
            elif block.mask is not None:
                assert not moved[block.part][np.ravel(block.mask) == 0].any()
