"""Gradients of sequences in which episodes begin: beside the same episodes as sequences of their own, and torch."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import layout, start_state
from neuroctl.errors import TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.train import Gradient
from tests.train.cases import CASES, data, spec, theta_of

ELMAN = spec(cell="elman", neurons=5, dtype="float32")
CASES_OF_RESETS = (
    "ctrnn-rk4-learned", "ctrnn-tanh-limits-scaled", "elman-relu-3-learned", "gru-dense-learned", "indrnn-dense",
    "jordan-learned",
)  # fmt: skip


def weighted(weights):
    """Return the loss sum(weights outputs^2) / 2, which sees no mean and so is a sum over episodes."""
    return lambda out, y: (0.5 * float((weights * (out - y) ** 2).sum()), weights * (out - y))


def cut(resets, lane):
    """Return where the episodes of a lane begin, and the end."""
    return [0, *(t for t in np.flatnonzero(resets[:, lane]) if t > 0), len(resets)]


@pytest.mark.parametrize("segment", [None, 4])
@pytest.mark.parametrize("name", CASES_OF_RESETS)
def test_equals_episodes_cut_by_hand(name, segment):
    spec = CASES[name]
    theta, (u, y) = theta_of(spec), data(spec)
    rng = np.random.default_rng(1)
    resets = rng.random(u.shape[:2]) < 0.3
    resets[0, ::2] = True
    loss = weighted(np.ones_like(y))
    state = 0.1 * rng.standard_normal((len(start_state(spec, theta)), u.shape[1]))
    state[-(2 + spec.outputs + spec.inputs) :] = 0  # what a step only works with
    for given in (None, state):
        found = Gradient(spec, loss, segment=segment).all_of(theta, u, y, state=given, resets=resets, with_inputs=True)
        total, gradient, outputs, inputs = 0.0, np.zeros_like(theta), np.empty_like(y), np.empty_like(u)
        for b in range(u.shape[1]):
            ends = cut(resets, b)
            for first, last in zip(ends[:-1], ends[1:], strict=True):
                part = slice(first, last), slice(b, b + 1)
                begins = given is None or resets[first, b]
                alone = Gradient(spec, weighted(np.ones((last - first, 1, 1)))).all_of(
                    theta, np.ascontiguousarray(u[part]), np.ascontiguousarray(y[part]),
                    state=None if begins else given[:, b], with_inputs=True,
                )  # fmt: skip
                total, gradient = total + alone.loss, gradient + alone.theta
                outputs[part], inputs[part] = alone.outputs, alone.inputs
                if first == 0:
                    expected = np.zeros_like(alone.state) if resets[0, b] else alone.state
                    np.testing.assert_allclose(found.state[:, b : b + 1], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.outputs, outputs, rtol=1e-12, atol=1e-15)
        assert found.loss == pytest.approx(total, rel=1e-12)
        for name_, block in layout(spec).blocks.items():
            scale = np.abs(gradient).max()
            np.testing.assert_allclose(
                found.theta[block.part], gradient[block.part], rtol=1e-9, atol=1e-12 * scale, err_msg=name_
            )
        np.testing.assert_allclose(found.inputs, inputs, rtol=1e-9, atol=1e-12 * np.abs(inputs).max())


def test_equals_torch_in_a_loop_that_masks_the_state():
    torch = pytest.importorskip("torch", reason="torch is what gradients are compared with")
    own = spec(cell="gru")
    theta, (u, y) = theta_of(own), data(own)
    resets = (np.random.default_rng(2).random(u.shape[:2]) < 0.3).astype(float)
    n, p = own.neurons, layout(own).views(theta)
    cell = torch.nn.GRUCell(own.inputs, n, dtype=torch.float64)
    with torch.no_grad():
        for name, value in (
            ("weight_ih", p["W_in"]), ("weight_hh", p["U"]), ("bias_ih", p["bias"]),
            ("bias_hh", np.concatenate([np.zeros(2 * n), p["recurrent_bias"]])),
        ):  # fmt: skip
            getattr(cell, name).copy_(torch.tensor(np.array(value)))
    w_out, b_out = (torch.tensor(np.array(p[name])) for name in ("W_out", "b_out"))
    h, rows = torch.zeros(u.shape[1], n, dtype=torch.float64), []
    for t in range(len(u)):
        h = cell(torch.tensor(u[t]), h * torch.tensor(1 - resets[t])[:, None])
        rows.append(h @ w_out.T + b_out)
    loss = torch.nn.functional.mse_loss(torch.stack(rows), torch.tensor(y))
    loss.backward()
    value, gradient = Gradient(own)(theta, u, y, resets=resets)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    found = layout(own).views(gradient)
    np.testing.assert_allclose(found["U"], cell.weight_hh.grad.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["W_in"], cell.weight_ih.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", ["elman", "ctrnn", "gru"])
def test_no_resets_are_the_same_bits_as_without_them(cell):
    own = spec(cell=cell, neurons=5, dtype="float32", initial_state="learned")
    theta, (u, y) = theta_of(own), data(own)
    plain = Gradient(own).all_of(theta, u, y, with_inputs=True)
    none = Gradient(own).all_of(theta, u, y, with_inputs=True, resets=np.zeros(u.shape[:2], bool))
    for name in ("loss", "theta", "inputs", "state", "outputs", "final"):
        np.testing.assert_array_equal(getattr(none, name), getattr(plain, name))


def test_any_number_of_threads_gives_the_same_bits():
    theta = nc.Controller(ELMAN, seed=1).theta
    rng = np.random.default_rng(3)
    u, y = (rng.standard_normal((40, 70, k)).astype(np.float32) for k in (ELMAN.inputs, ELMAN.outputs))
    resets = rng.random((40, 70)) < 0.1
    one, two = (Gradient(ELMAN, threads=k)(theta, u, y, resets=resets) for k in (1, 2))
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])


def test_what_resets_may_not_be():
    theta, (u, y) = theta_of(ELMAN), data(ELMAN)
    with pytest.raises(TrainingError, match=r"^resets: shape \(3,\); allowed: \(\d+, \d+\), none 0$"):
        Gradient(ELMAN)(theta, u, y, resets=np.zeros(3))
    wrong = np.zeros(u.shape[:2])
    wrong[1, 2] = 0.5
    with pytest.raises(TrainingError, match=r"^resets\[1, 2\]: 0.5; allowed: 0 and 1, or booleans$"):
        Gradient(ELMAN)(theta, u, y, resets=wrong)
    fixed = Gradient(ELMAN, fixed_point=FixedPointConfig(), calibration=u)
    with pytest.raises(TrainingError, match="^resets: given; allowed with backend 'cpu' and without fixed point$"):
        fixed(theta, u, y, resets=wrong > 1)
