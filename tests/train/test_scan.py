"""A scan in time beside the loop: outputs, gradients and states to rounding, and where which is chosen."""

import re
from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import scan
from neuroctl.cells import layout
from neuroctl.errors import TrainingError
from neuroctl.train import Gradient, value_and_grad
from tests.train.cases import LIMITS, SCALED, spec

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
FIELDS = ("loss", "theta", "inputs", "state", "outputs", "final")


def network(**fields):
    return spec(**({"cell": "indrnn", "inputs": 2, "outputs": 2, "neurons": 4} | fields))


def theta_of(form, rng, largest=1.0):
    theta = 0.4 * rng.standard_normal(layout(form).size)
    for name, block in layout(form).blocks.items():
        if name.startswith("u."):
            theta[block.part] = rng.uniform(-largest, largest, block.size)
        elif name.startswith("W_in") and block.shape[1] == form.neurons:
            theta[block.part] /= np.sqrt(form.neurons)
    return theta.astype(form.dtype)


def data(form, rng, steps, count=1):
    shapes = (steps, count, form.inputs), (steps, count, form.outputs)
    return tuple(rng.standard_normal(shape).astype(form.dtype) for shape in shapes)


def differences(form, theta, *arguments, loss="mse", **kws):
    """Return the largest difference of each result from the loop's, as a share of its largest number."""
    loop, scanned = (
        value_and_grad(form, loss, scan=way).all_of(theta, *arguments, with_inputs=True, **kws) for way in (False, True)
    )
    worst = {}
    for field in FIELDS:
        a, b = np.asarray(getattr(scanned, field)), np.asarray(getattr(loop, field))
        assert a.shape == b.shape
        worst[field] = np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
    return worst


@pytest.fixture(autouse=True)
def scans(monkeypatch):
    """Count what is run by a scan, so that the loop is not compared with itself."""
    from neuroctl.train.scanned import Scan

    done, call = [], Scan.__call__
    monkeypatch.setattr(Scan, "__call__", lambda *args: (done.append(result := call(*args)), result)[1])
    return done


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ["relu", "hard_tanh"])
def test_a_long_sequence_equals_the_loop(dtype, activation, scans):
    rng = np.random.default_rng(1)
    form = network(dtype=dtype, activation=activation)
    worst = differences(form, theta_of(form, rng), *data(form, rng, 65_536))
    assert max(worst.values()) < TOLERANCE[dtype], worst
    assert scans == [True]


CASES = {
    "one-neuron": {"neurons": 1, "inputs": 1, "outputs": 1},
    "16-neurons": {"neurons": 16},
    "layers": {"layers": 3, "neurons": 7},
    "residual": {"layers": 3, "residual": True, "neurons": 5},
    "two-residual": {"layers": 2, "residual": True},
    "learned": {"layers": 3, "residual": True, "initial_state": "learned"},
    "identity": {"readout": "identity", "outputs": 4},
    "identity-residual": {"readout": "identity", "outputs": 4, "layers": 3, "residual": True},
    "limits": {"inputs": 3, "output_activation": "tanh", **LIMITS, **SCALED},
    "logistic": {"output_activation": "logistic"},
}


@pytest.mark.parametrize("activation", ["relu", "hard_tanh"])
@pytest.mark.parametrize("name", CASES)
def test_every_option_equals_the_loop(name, activation, scans):
    rng = np.random.default_rng(2)
    form = network(activation=activation, **CASES[name])
    for steps, count in ((1, 1), (5, 1), (16, 1), (777, 1), (3000, 1), (650, 3), (1001, 8)):
        worst = differences(form, theta_of(form, rng), *data(form, rng, steps, count))
        assert max(worst.values()) < 1e-10, (steps, count, worst)
    assert scans == [True] * 7


def test_random_networks_equal_the_loop():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        form = network(
            activation=("relu", "hard_tanh")[seed % 2], neurons=int(rng.integers(1, 17)),
            layers=int(rng.integers(1, 4)), residual=bool(rng.integers(2)), dtype=("float64", "float32")[seed // 2 % 2],
        )  # fmt: skip
        arguments = data(form, rng, int(rng.integers(1, 3000)), int(rng.integers(1, 5)))
        worst = differences(form, theta_of(form, rng), *arguments)
        assert max(worst.values()) < TOLERANCE[form.dtype], (seed, worst)


def test_windows_change_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(3)
    form = network(layers=2, residual=True)
    theta, arguments = theta_of(form, rng), data(form, rng, 2000, 2)
    whole = Gradient(form, scan=True).all_of(theta, *arguments, with_inputs=True)
    plan = scan.Plan(blocks=8, steps=21, chunk=4, windows=12)
    monkeypatch.setattr(scan, "cut", lambda *_: plan)
    cut = Gradient(form, scan=True).all_of(theta, *arguments, with_inputs=True)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(cut, field), getattr(whole, field), rtol=1e-10, atol=1e-13, err_msg=field)


def test_mask_state_and_losses_equal_the_loop():
    rng = np.random.default_rng(4)
    form = network(layers=2, activation="hard_tanh")
    theta, (u, y) = theta_of(form, rng), data(form, rng, 999, 2)
    first = Gradient(form, scan=False).all_of(theta, u[:50], y[:50])
    for state in (first.final, first.final[:, 0]):
        assert max(differences(form, theta, u, y, state=state).values()) < 1e-10
    mask = rng.uniform(0, 1, (999, 2))
    mask[700:, 1] = 0
    classes = rng.integers(0, 2, (999, 2))
    for loss, targets in (("huber", 3 * y), ("cross_entropy", classes), ("mse", y)):
        assert max(differences(form, theta, u, targets, mask, loss=loss).values()) < 1e-10
        assert max(differences(form, theta, u, targets, loss=loss).values()) < 1e-10
        alone = [value_and_grad(form, loss, scan=way).loss(theta, u, targets, mask) for way in (False, True)]
        assert alone[1] == pytest.approx(alone[0], rel=1e-12)

    def absolute(outputs, targets):
        return float(np.abs(outputs - targets).sum()), np.sign(outputs - targets)

    assert max(differences(form, theta, u, y, loss=absolute).values()) < 1e-10


def test_growth_beyond_a_block_is_left_to_the_loop(scans):
    rng = np.random.default_rng(5)
    form = network(neurons=3)
    theta, arguments = theta_of(form, rng), data(form, rng, 640)
    u = layout(form)["u.0"].part
    theta[u] = [1.0 + 1e-3, -1.0 - 1e-3, 0.5]  # to 1.9 in 640 steps: within what a block may grow by
    assert max(differences(form, theta, *arguments).values()) < 1e-10
    assert scans == [True]
    theta[u] = [1.05, -1.02, 0.0]
    assert max(differences(form, theta, *arguments).values()) == 0
    assert scans == [True]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_as_by_the_loop(value):
    rng = np.random.default_rng(6)
    form = network()
    theta, (u, y) = theta_of(form, rng), data(form, rng, 640)
    u[400, 0, 1] = value
    with pytest.raises(TrainingError, match=re.escape(f"inputs[400, 0, 1]: {value}; allowed: finite numbers")):
        Gradient(form, scan=True)(theta, u, y)
    messages = []
    for way in (False, True):
        with pytest.raises(TrainingError, match="allowed: (a )?finite number") as refused:
            Gradient(form, scan=way)(theta, np.full_like(y, 1e308), y)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_where_a_scan_is_chosen(scans):
    rng = np.random.default_rng(7)
    chosen = {
        (8, 1, 1024, 1): True, (8, 1, 1023, 1): False, (1, 1, 1820, 1): False, (1, 1, 1821, 1): True,
        (128, 3, 42, 1): True, (8, 1, 1024, 8): True, (8, 1, 1024, 9): False, (8, 1, 100_000, 40): False,
    }  # fmt: skip
    for (neurons, layers, steps, count), expected in chosen.items():
        form = network(neurons=neurons, layers=layers, dtype="float32")
        assert scan.pays(form, steps, count) == expected
        assert scan.pays(replace(form, activation="hard_tanh"), steps, count) == expected
        assert not scan.pays(replace(form, activation="tanh"), steps, count)
    form = network(dtype="float64")
    assert [scan.pays(form, 4096, count) for count in (4, 5)] == [True, False]
    theta, arguments = theta_of(form, rng), data(form, rng, 2048)
    automatic, loop = Gradient(form)(theta, *arguments), Gradient(form, scan=False)(theta, *arguments)
    assert scans == [True]
    assert automatic[0] == pytest.approx(loop[0], rel=1e-12)
    many = np.repeat(theta[:, None], 1, axis=1)
    assert np.array_equal(Gradient(form)(many, *arguments)[1], Gradient(form, scan=False)(many, *arguments)[1])
    assert scans == [True]  # parameters of one's own are lanes themselves


def test_a_scan_that_there_is_not():
    for form in (network(activation="tanh"), nc.Spec(cell="elman", inputs=1, neurons=3, outputs=1, dt_s=1)):
        with pytest.raises(TrainingError, match="^scan: True; allowed for an IndRNN of ReLU or hard tanh, else None"):
            value_and_grad(form, scan=True)
