"""Gradients through time: beside torch's, beside differences, and the same bits however they are worked out."""

import re
from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import initial_blocks, layout
from neuroctl.errors import BackendUnavailable, LayoutError, SpecError, TrainingError
from neuroctl.train import Gradient, check, value_and_grad
from tests.train.cases import CASES, data, spec, theta_of

FORMS = [(cell, "float64") for cell in ("ctrnn", "indrnn", "elman", "jordan", "gru", "cfc")] + [
    ("ctrnn", "float32"),
    ("elman", "float32"),
    ("gru", "float32"),
]
SMALL = spec(cell="elman", neurons=5, dtype="float32")


def relative(found, expected):
    """Return the largest difference, as a share of the largest number expected."""
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300)


@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    torch = pytest.importorskip("torch", reason="torch is what gradients are compared with")
    from tests.train import models

    spec = CASES[name]
    theta, (u, y) = theta_of(spec), data(spec)
    found = value_and_grad(spec).all_of(theta, u, y, with_inputs=True)
    plain, inputs = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (theta, u))
    state = models.zeros(spec, u.shape[1])
    outputs = models.run(spec, plain, inputs, state)
    loss = torch.nn.functional.mse_loss(outputs, torch.tensor(y))
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert relative(found.outputs, outputs.detach().numpy()) < 1e-12
    for block_name, block in layout(spec).blocks.items():
        expected = plain.grad.numpy()[block.part]
        if block.mask is not None:
            expected = expected * np.ravel(block.mask)
        assert relative(found.theta[block.part], expected) < 1e-9, block_name
    assert relative(found.inputs, inputs.grad.numpy()) < 1e-9
    rows = nc.cells.cell_of(spec).state_layout(spec)
    for block_name, tensor in zip(models.names(spec), state, strict=True):
        assert relative(found.state[rows[block_name].part].T, tensor.grad.numpy()) < 1e-9, block_name


@pytest.mark.parametrize("name", CASES)
def test_equals_central_differences(name):
    errors = check(CASES[name], seed=3)
    assert max(errors.values()) < 1e-6
    assert set(errors) == set(layout(CASES[name]).blocks)


def test_a_wrong_gradient_is_noticed(monkeypatch):
    call = Gradient.__call__
    monkeypatch.setattr(Gradient, "__call__", lambda *args, **kws: (lambda v, g: (v, g * 1.001))(*call(*args, **kws)))
    with pytest.raises(TrainingError, match=r"^gradient: W_in\[0, 0\] is .*; allowed: .*, by differences$"):
        check(SMALL)


@pytest.mark.parametrize("name", ["ctrnn-rk4", "indrnn-relu-3-residual", "jordan-tanh-0.5", "gru"])
@pytest.mark.parametrize("segment", [1, 5, 12])
def test_segments_change_no_bit(name, segment):
    spec = CASES[name]
    theta, (u, y) = theta_of(spec), data(spec)
    whole = value_and_grad(spec).all_of(theta, u, y, with_inputs=True)
    parts = value_and_grad(spec, segment=segment).all_of(theta, u, y, with_inputs=True)
    assert whole.loss == parts.loss
    # The sums of products end with a segment, so they are added up in other parts.
    np.testing.assert_allclose(parts.theta, whole.theta, rtol=1e-12, atol=1e-13)
    for field in ("inputs", "state", "outputs", "final"):
        assert np.array_equal(getattr(whole, field), getattr(parts, field)), field


def test_a_hundred_thousand_steps():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=4, outputs=1, dt_s=0.05, dtype="float64")
    theta, (u, y) = theta_of(spec), data(spec, steps=100_000, count=2)
    automatic, whole = value_and_grad(spec), value_and_grad(spec, segment=100_000)
    a, b = automatic(theta, u, y), whole(theta, u, y)
    assert a[0] == b[0]
    np.testing.assert_allclose(a[1], b[1], rtol=1e-9)
    assert automatic.tape_bytes(100_000) < whole.tape_bytes(100_000) / 5


@pytest.mark.parametrize(("cell", "dtype"), FORMS)
def test_threads_change_no_bit(cell, dtype):
    form = spec(cell=cell, dtype=dtype)
    theta, (u, y) = theta_of(form), data(form, count=100)
    one, two = (value_and_grad(form, threads=count)(theta, u, y) for count in (1, min(2, nc.machine.cores())))
    assert one[0] == two[0]
    assert np.array_equal(one[1], two[1])


@pytest.mark.parametrize(("cell", "dtype"), FORMS)
def test_a_sequence_among_others_has_the_bits_of_one_alone(cell, dtype):
    form = spec(cell=cell, dtype=dtype)
    theta, (u, y) = theta_of(form), data(form, count=33)
    f = value_and_grad(form)
    alone = f.all_of(theta, u[:, 32:], y[:, 32:])
    mask = np.zeros((len(u), 33))
    mask[:, 32] = 1
    among = f.all_of(theta, u, y, mask)
    assert alone.loss == among.loss
    assert np.array_equal(alone.theta, among.theta)
    assert np.array_equal(alone.outputs[:, 0], among.outputs[:, 32])
    assert np.array_equal(alone.state[:, 0], among.state[:, 32])


@pytest.mark.parametrize(("cell", "start"), [("ctrnn", "zeros"), ("indrnn", "zeros"), ("gru", "learned")])
def test_parameters_of_ones_own(cell, start):
    form = spec(cell=cell, initial_state=start)
    thetas = np.stack([theta_of(form, seed) for seed in range(40)], axis=1)
    u, y = data(form, count=40)
    f = value_and_grad(form)
    losses, gradients = f(thetas, u, y)
    assert losses.shape == (40,)
    assert gradients.shape == thetas.shape
    for lane in (0, 17, 39):
        loss, gradient = f(thetas[:, lane].copy(), u[:, lane : lane + 1], y[:, lane : lane + 1])
        assert losses[lane] == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(gradients[:, lane], gradient, rtol=1e-9, atol=1e-12)
    assert np.array_equal(f(thetas[:, :7].copy(), u[:, :7], y[:, :7])[1], gradients[:, :7])


def test_a_mask_ends_sequences_where_they_end():
    spec = CASES["ctrnn-heun"]
    theta, (u, y) = theta_of(spec), data(spec, steps=10, count=2)
    mask = np.ones((10, 2), bool)
    mask[6:, 1] = False
    f = value_and_grad(spec)
    value, gradient = f(theta, u, y, mask)
    long, short = f(theta, u[:, :1], y[:, :1]), f(theta, u[:6, 1:], y[:6, 1:])
    assert value == pytest.approx((10 * long[0] + 6 * short[0]) / 16, rel=1e-12)
    np.testing.assert_allclose(gradient, (10 * long[1] + 6 * short[1]) / 16, rtol=1e-10, atol=1e-13)


def test_a_state_is_carried_on():
    spec = CASES["indrnn-tanh-3-residual"]
    theta, (u, y) = theta_of(spec), data(spec)
    f = value_and_grad(spec)
    whole, first = f.all_of(theta, u, y), f.all_of(theta, u[:5], y[:5])
    second = f.all_of(theta, u[5:], y[5:], state=first.final)
    assert np.array_equal(whole.outputs, np.concatenate([first.outputs, second.outputs]))
    assert np.array_equal(whole.final, second.final)


@pytest.mark.parametrize("name", [name for name in CASES if "learned" in name])
def test_a_state_that_is_given_is_not_the_learned_one(name):
    """It gets its gradient where a sequence begins at a reset: the sum of the changes with these states."""
    form = CASES[name]
    theta, (u, y) = theta_of(form), data(form)
    f = value_and_grad(form)
    whole, first = f.all_of(theta, u, y), f.all_of(theta, u[:5], y[:5])
    second = f.all_of(theta, u[5:], y[5:], state=first.final)
    assert np.array_equal(whole.outputs, np.concatenate([first.outputs, second.outputs]))
    rows = nc.cells.cell_of(form).state_layout(form)
    for state, source in initial_blocks(form).items():
        part = layout(form)[source].part
        assert first.theta[part].any() and not second.theta[part].any()
        np.testing.assert_allclose(first.theta[part], first.state[rows[state].part].sum(axis=1), rtol=1e-12)


def test_the_start_of_a_gru_equals_torchs():
    torch = pytest.importorskip("torch", reason="torch is what gradients are compared with")
    torch.manual_seed(0)
    gru = torch.nn.GRU(3, 7, dtype=torch.float64)
    h0 = torch.nn.Parameter(torch.empty(1, 1, 7, dtype=torch.float64).uniform_(-1, 1))
    u, y = (torch.randn(20, 4, count, dtype=torch.float64) for count in (3, 7))
    loss = torch.nn.functional.mse_loss(gru(u, h0.expand(1, 4, 7).contiguous())[0], y)
    loss.backward()
    form = nc.Spec(
        cell="gru", inputs=3, neurons=7, outputs=7, dt_s=0.1, readout="identity", dtype="float64",
        initial_state="learned",
    )  # fmt: skip
    w_in, w, b1, b2 = (p.detach().numpy() for p in gru.parameters())
    bias = b1 + np.where(np.arange(21) < 14, b2, 0.0)
    theta = np.concatenate([w_in.ravel(), w.ravel(), bias, b2[14:], h0.detach().numpy().ravel()])
    value, gradient = value_and_grad(form)(theta, u.numpy(), y.numpy())
    assert value == pytest.approx(loss.item(), rel=1e-12)
    assert relative(layout(form).views(gradient)["h0"], h0.grad.numpy().ravel()) < 1e-9
    assert relative(layout(form).views(gradient)["U"].ravel(), gru.weight_hh_l0.grad.numpy().ravel()) < 1e-9


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("ctrnn-etd1", "float32"), ("ctrnn-tanh-limits-scaled", "float64"), ("elman-relu", "float32"),
     ("jordan-tanh-limits", "float64"), ("indrnn-hard_tanh-3-residual", "float64"), ("gru", "float32")],
)  # fmt: skip
def test_outputs_are_the_controllers_own(name, dtype):
    form = replace(CASES[name], dtype=dtype)
    theta, (u, y) = theta_of(form), data(form)
    found = value_and_grad(form).all_of(theta, u, y)
    for b in range(u.shape[1]):
        ctl = nc.Controller(form, theta)
        expected = np.stack([ctl.step(row).copy() for row in np.ascontiguousarray(u[:, b])])
        np.testing.assert_allclose(
            found.outputs[:, b], expected, rtol=64 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps
        )


def test_losses_equal_torch():
    torch = pytest.importorskip("torch", reason="torch is what losses are compared with")
    from tests.train import models

    form = CASES["elman-tanh"]
    theta, (u, y) = theta_of(form), data(form)
    classes = np.random.default_rng(0).integers(0, form.outputs, y.shape[:2])
    mask = np.random.default_rng(1).uniform(0, 1, y.shape[:2])
    losses = {
        "huber": (
            3 * y,
            lambda out: torch.nn.functional.huber_loss(out, torch.tensor(3 * y), reduction="none").mean(2),
        ),
        "cross_entropy": (
            classes,
            lambda out: torch.nn.functional.cross_entropy(out.movedim(2, 1), torch.tensor(classes), reduction="none"),
        ),
    }
    for name, (targets, each) in losses.items():
        plain = torch.tensor(theta, requires_grad=True)
        out = models.run(form, plain, torch.tensor(u), models.zeros(form, u.shape[1]))
        loss = (each(out) * torch.tensor(mask)).sum() / mask.sum()
        loss.backward()
        value, gradient = value_and_grad(form, name)(theta, u, targets, mask)
        assert value == pytest.approx(loss.item(), rel=1e-12)
        assert relative(gradient, plain.grad.numpy()) < 1e-10


def test_a_loss_of_ones_own():
    def mean_square(outputs, targets):
        error = outputs - targets
        return float(np.mean(error**2)), 2 * error / error.size

    form = CASES["ctrnn-rk4"]
    theta, (u, y) = theta_of(form), data(form, count=40)
    own, ours = value_and_grad(form, mean_square)(theta, u, y), value_and_grad(form)(theta, u, y)
    assert own[0] == pytest.approx(ours[0], rel=1e-12)
    np.testing.assert_allclose(own[1], ours[1], rtol=1e-10, atol=1e-14)


U, Y = data(SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": U[:, :, :2]}, r"inputs: shape \(12, 5, 2\); allowed: \(T, B, 3\), none 0"),
        ({"inputs": U[:0]}, r"inputs: shape \(0, 5, 3\); allowed: \(T, B, 3\), none 0"),
        ({"targets": Y[:-1]}, r"targets: shape \(11, 5, 2\); allowed: \(12, 5, 2\), none 0"),
        ({"inputs": np.where(np.arange(3) == 1, np.nan, U)}, r"inputs\[0, 0, 1\]: nan; allowed: finite .*"),
        ({"targets": np.where(np.arange(2) == 1, np.inf, Y)}, r"targets\[0, 0, 1\]: inf; allowed: finite .*"),
        ({"inputs": "abc"}, r"inputs: str; allowed: numbers \(T, B, 3\)"),
        ({"targets": np.full((12, 5), 2)}, r"targets\[0, 0\]: class 2; allowed: 0 to 1"),
        ({"targets": np.ones((12, 5))}, r"targets: float64 of shape \(12, 5\); allowed with 2 outputs: .*"),
        ({"inputs": list(U)}, r"inputs: a list of arrays; allowed: one array \(T, B, 3\)"),
        ({"targets": [Y[0], *Y[1:].tolist()]}, r"targets: a list of arrays; allowed: one array \(12, 5, 2\), .*"),
        ({"mask": np.zeros((12, 5))}, r"mask: from 0 to 0; allowed: >= 0, not all 0"),
        ({"mask": -np.ones((12, 5))}, r"mask: from -1 to -1; allowed: >= 0, not all 0"),
        ({"mask": np.full((12, 5), np.nan)}, r"mask\[0, 0\]: nan; allowed: finite .*"),
        ({"state": np.zeros(3)}, r"state: shape \(3,\); allowed: \(17,\) or \(17, 5\)"),
        ({"state": np.full(17, np.nan)}, r"state: NaN or Inf; allowed: finite numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change, message):
    arguments = {"inputs": U, "targets": Y} | change
    with pytest.raises(TrainingError, match=f"^{message}$"):
        value_and_grad(SMALL)(theta_of(SMALL), **arguments)


def test_what_the_cross_entropy_cannot_learn_from_is_refused():
    with pytest.raises(TrainingError, match="^outputs: 1; allowed with loss 'cross_entropy': integers >= 2, a logit"):
        value_and_grad(spec(cell="elman", outputs=1), "cross_entropy")
    f = value_and_grad(SMALL, "cross_entropy")
    below = np.abs(Y)
    below[4, 3, 1] = -0.5
    with pytest.raises(TrainingError, match=r"^targets\[4, 3, 1\]: -0.5; allowed: classes, or probabilities >= 0, "):
        f(theta_of(SMALL), U, below)
    one = spec(cell="elman", outputs=1)
    with pytest.raises(
        TrainingError, match=r"^targets: int64 of shape \(12, 5\); allowed with 1 output: \(12, 5, 1\)$"
    ):
        value_and_grad(one)(theta_of(one), U, np.zeros((12, 5), np.int64))


def test_a_loss_function_gives_one_number_for_parameters_of_ones_own():
    own = value_and_grad(SMALL, lambda out, y: (float(np.mean((out - y) ** 2)), 2 * (out - y) / out.size))
    theta = theta_of(SMALL)
    many = np.repeat(theta[:, None], 5, axis=1)
    loss, gradient = own(many, U, Y)
    assert loss == own.loss(many, U, Y)
    assert loss == pytest.approx(own(theta, U, Y)[0], rel=1e-6)
    np.testing.assert_allclose(gradient.sum(axis=1), own(theta, U, Y)[1], rtol=1e-3, atol=1e-6)


def test_settings_that_are_not_allowed():
    with pytest.raises(TrainingError, match=r"^loss: \['mse'\]; allowed: mse, huber, cross_entropy, or a function$"):
        value_and_grad(SMALL, ["mse"])
    with pytest.raises(TrainingError, match="^scan: 'yes'; allowed: True, False, or None$"):
        value_and_grad(SMALL, scan="yes")
    with pytest.raises(TrainingError, match="^loss: 'mae'; allowed: mse, huber, cross_entropy, or a function$"):
        value_and_grad(SMALL, "mae")
    with pytest.raises(TrainingError, match="^segment: 0; allowed: integers >= 1$"):
        value_and_grad(SMALL, segment=0)
    with pytest.raises(
        SpecError, match="^cell: 'hopfield'; allowed for training by gradient: ctrnn, indrnn, elman, jordan, gru, cfc$"
    ):
        value_and_grad(nc.Spec(cell="hopfield", inputs=1, neurons=3, outputs=1, dt_s=1))
    with pytest.raises(LayoutError, match=r"^theta: float64.*; allowed: a C-contiguous float32 array of shape \("):
        value_and_grad(SMALL)(theta_of(SMALL).astype(np.float64), U, Y)
    with pytest.raises(TrainingError, match=r"^loss: changes of shape \(12, 5\); allowed: \(12, 5, 2\)$"):
        value_and_grad(SMALL, lambda out, y: (0.0, out[:, :, 0]))(theta_of(SMALL), U, Y)
    with pytest.raises(
        TrainingError, match=r"^loss: .*unpack.*; allowed: to return \(loss, change with the outputs\)$"
    ):
        value_and_grad(SMALL, lambda out, y: 0.0)(theta_of(SMALL), U, Y)


def test_a_backend_that_is_not_there():
    with pytest.raises(BackendUnavailable, match="^backend: 'tpu'; allowed: cpu, cuda$"):
        value_and_grad(SMALL, backend="tpu")
    try:
        get("cuda")
    except BackendUnavailable as missing:
        with pytest.raises(BackendUnavailable, match=f"^{re.escape(str(missing))}$"):
            value_and_grad(SMALL, backend="cuda")


def test_what_grows_beyond_all_bounds_is_refused():
    form = spec(cell="indrnn", dtype="float32")
    theta = theta_of(form)
    theta[layout(form)["u.0"].part] = 3.0
    u, y = data(form, steps=500)
    with pytest.raises(
        TrainingError, match="^loss: outputs of sequence 0 grew beyond float32; allowed: finite numbers$"
    ):
        value_and_grad(form)(theta, u, y)
