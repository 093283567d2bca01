"""Fitting: what is learned, the same bits, what stops it, and what is refused."""

import math
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.errors import BackendUnavailable, DivergedError, SpecError, TrainingError
from neuroctl.machine import cores
from neuroctl.train import Adam, Gradient, Optimizer, StepDecay, fit, fit_many, start, windows
from tests.train.cases import CASES, MASK, spec, theta_of

ELMAN = spec(cell="elman", inputs=1, outputs=1)
RNG = np.random.default_rng(0)
U = RNG.uniform(-1, 1, (20, 40, 1))
Y = np.concatenate([np.zeros((1, 40, 1)), 0.8 * U[:-1]])  # what came a step before
FORMS = {
    "ctrnn": spec(cell="ctrnn", inputs=1, outputs=1, mask=MASK),
    "elman": ELMAN,
    "jordan": spec(cell="jordan", inputs=1, outputs=1),
    "gru": spec(cell="gru", inputs=1, outputs=1),
    "indrnn": spec(cell="indrnn", inputs=1, outputs=1, layers=2, activation="tanh", horizon=20),
}


def same(a, b):
    return np.array_equal(a.controller.theta, b.controller.theta) and all(
        np.array_equal(a.history[name], b.history[name], equal_nan=True) for name in a.history
    )


@pytest.mark.parametrize("name", FORMS)
def test_each_cell_learns_to_recall(name):
    result = fit(FORMS[name], U, Y, epochs=60, learning_rate=0.03, batch=8)
    history = result.history
    assert result.stopped == "all epochs done"
    assert history["epoch"].tolist() == list(range(1, 61))
    assert history["step"][-1] == 60 * 4
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert result.loss == history["validation"].min() == history["validation"][result.epoch - 1]
    layout(FORMS[name]).check(result.controller.theta)
    kept = nc.train.dataset.split(FORMS[name], nc.train.dataset.dataset(FORMS[name], U, Y), 0.2, 0)[1]
    assert kept.inputs.shape == (20, 8, 1)
    assert Gradient(FORMS[name]).loss(result.controller.theta, kept.inputs, kept.targets) == result.loss


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    settings = dict(epochs=3, batch=40, truncate=7, optimizer="adamw", schedule="cosine", validation=0.1)
    one = fit(ELMAN, U, Y, threads=1, **settings)
    assert same(one, fit(ELMAN, U, Y, threads=min(2, cores()), **settings))
    assert same(one, fit(ELMAN, U, Y, threads=1, seed=0, **settings))
    assert not same(one, fit(ELMAN, U, Y, threads=1, seed=1, **settings))


def test_seeds_side_by_side_are_those_alone():
    seen = []
    settings = dict(epochs=3, batch=8, learning_rate=0.03)
    fits = fit_many(ELMAN, U, Y, seeds=[4, 1], on_epoch=lambda seed, row: seen.append((seed, row.epoch)), **settings)
    assert list(fits) == [4, 1]
    assert sorted(seen) == [(seed, epoch) for seed in (1, 4) for epoch in (1, 2, 3)]
    for seed, result in fits.items():
        assert same(result, fit(ELMAN, U, Y, seed=seed, **settings))
    with pytest.raises(TrainingError, match="^seeds: none; allowed: integers >= 0$"):
        fit_many(ELMAN, U, Y, seeds=[])
    with pytest.raises(TrainingError, match="^seeds: 0; allowed: integers >= 1$"):
        fit_many(ELMAN, U, Y, seeds=0)


def test_what_fails_among_several_seeds_ends_all():
    with pytest.raises(ZeroDivisionError):
        fit_many(ELMAN, U, Y, epochs=10**9, seeds=3, on_epoch=lambda seed, row: 1 // (seed - 1))


@pytest.mark.skipif(cores() < 2, reason="one core trains one seed at a time")
def test_ctrl_c_ends_several_seeds():
    started = []

    def interrupt(seed, row):
        started.append(seed)
        if {0, 1} <= set(started) and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_many(ELMAN, U, Y, epochs=10**9, seeds=5, threads=2, on_epoch=interrupt)
    assert set(started) == {0, 1}


def test_seeds_that_are_not_allowed():
    for seeds, message in (("ab", "seed: 'a'"), ([], "seeds: none"), ([[1]], r"seed: \[1\]"), (0, "seeds: 0")):
        with pytest.raises(TrainingError, match=f"^{message}; allowed: integers >= "):
            fit_many(ELMAN, U, Y, seeds=seeds)
    with pytest.raises(TrainingError, match="^seed: 3; allowed for several trainings: seeds$"):
        fit_many(ELMAN, U, Y, seed=3)
    with pytest.raises(TrainingError, match="^on_epoch: 3; allowed: a function, or None$"):
        fit_many(ELMAN, U, Y, on_epoch=3)


def test_sequences_may_be_lists_beside_arrays():
    lists = fit(ELMAN, [U[:, 0], U[:9, 1].tolist(), U[:, 2]], [Y[:, 0], Y[:9, 1], Y[:, 2].tolist()], epochs=1)
    arrays = fit(ELMAN, [U[:, 0], U[:9, 1], U[:, 2]], [Y[:, 0], Y[:9, 1], Y[:, 2]], epochs=1)
    assert same(lists, arrays)
    classes = [[0] * 20, [1] * 9, [1] * 20]
    assert math.isfinite(fit(replace(ELMAN, outputs=2), [U[:, 0], U[:9, 1], U[:, 2]], classes, epochs=1).loss)


@pytest.mark.parametrize("kind", [list, np.array])
def test_a_class_for_each_sequence_is_one_for_each_of_its_steps(kind):
    form, labels = replace(ELMAN, outputs=2), [0, 1, 1]
    several, steps = (
        [U[:, 0], U[:9, 1], U[:, 2]],
        [np.full(length, k) for length, k in zip((20, 9, 20), labels, strict=True)],
    )
    settings = dict(loss="cross_entropy", epochs=2)
    assert same(fit(form, several, kind(labels), **settings), fit(form, several, steps, **settings))
    array = np.tile(labels, (20, 1))
    assert same(fit(form, U[:, :3], kind(labels), **settings), fit(form, U[:, :3], array, **settings))
    loss = Gradient(form, loss="cross_entropy")
    assert loss.loss(theta_of(form), U[:, :3], kind(labels)) == loss.loss(theta_of(form), U[:, :3], array)


def test_a_step_is_the_optimizers():
    theta = theta_of(ELMAN)
    result = fit(nc.Controller(ELMAN, theta), U, Y, epochs=2, batch=40, validation=0, clip=None, learning_rate=1e-3)
    gradient, adam = Gradient(ELMAN), Adam()
    state = adam.begin(theta)
    for k in (1, 2):
        loss, slope = gradient(theta, U, Y)
        theta, state = adam.step(theta, slope, state, k, 1e-3)
    assert np.array_equal(result.controller.theta, theta)
    assert result.history["loss"][1] == loss
    assert result.history["gradient_norm"][1] == pytest.approx(np.linalg.norm(slope), rel=1e-12)
    assert np.isnan(result.history["validation"]).all()


def test_a_schedule_of_ones_own_and_clipping():
    result = fit(ELMAN, U, Y, epochs=3, batch=16, schedule=lambda step, steps: step / steps, learning_rate=0.5)
    assert result.history["learning_rate"].tolist() == [0.5 / 6, 0.5 * 3 / 6, 0.5 * 5 / 6]
    result = fit(ELMAN, U, Y, epochs=2, batch=40, optimizer="sgd", clip=1e-3, learning_rate=1.0, schedule=StepDecay())
    assert np.abs(result.controller.theta - start(ELMAN)).max() < 3e-3
    assert result.history["gradient_norm"][0] > 1e-3


def test_sequences_of_several_lengths():
    lengths = [20, 7, 13, 20, 5]
    inputs, targets = ([x[:length, k] for k, length in enumerate(lengths)] for x in (U, Y))
    mask = np.array([[t < length for length in lengths] for t in range(20)])
    u, y = (np.where(mask[..., None], x[:, :5], 0.0) for x in (U, Y))
    settings = dict(epochs=2, batch=2)
    assert same(fit(ELMAN, inputs, targets, **settings), fit(ELMAN, u, y, mask=mask, **settings))
    # Pieces in which no step counts make no step.
    result = fit(ELMAN, inputs, targets, epochs=1, batch=1, truncate=5, validation=0)
    assert result.history["step"].tolist() == [4 + 2 + 3 + 4 + 1]


def test_a_gap_in_a_mask_carries_the_state():
    mask = np.ones((20, 40))
    mask[5:10] = 0
    settings = dict(batch=40, validation=0, epochs=1, mask=mask, learning_rate=1e-12)
    whole, parts = fit(ELMAN, U, Y, **settings), fit(ELMAN, U, Y, truncate=5, **settings)
    assert parts.history["step"].tolist() == [3]
    assert parts.history["loss"][0] == pytest.approx(whole.history["loss"][0], rel=1e-9)


def test_truncation_carries_the_state():
    settings = dict(batch=40, validation=0, epochs=2)
    assert same(fit(ELMAN, U, Y, **settings), fit(ELMAN, U, Y, truncate=20, **settings))
    parts = fit(ELMAN, U, Y, truncate=6, learning_rate=1e-12, **settings)
    assert parts.history["step"].tolist() == [4, 8]
    assert parts.history["loss"][0] == pytest.approx(Gradient(ELMAN).loss(start(ELMAN), U, Y), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"truncate": 5}])
def test_a_learned_start_is_learned(options):
    """It begins as zeros, moves, stays within its bound, and what it fits from the first step on it fits better."""
    targets = np.cos(0.3 * np.arange(20))[:, None, None] * np.ones((20, 40, 1))
    losses = []
    for initial_state in ("zeros", "learned"):
        form = replace(ELMAN, initial_state=initial_state)
        result = fit(form, 1e-3 * U, targets, epochs=100, batch=40, validation=0, **options)
        losses.append(result.loss)
    h0 = layout(form)["h0"].part
    assert not start(form)[h0].any()
    assert result.controller.theta[h0].all() and np.abs(result.controller.theta[h0]).max() <= 1.00001
    assert losses[1] < losses[0]


def test_patience_ends_training():
    result = fit(ELMAN, U, np.random.default_rng(1).standard_normal(Y.shape), epochs=500, patience=4)
    assert result.stopped == "no lower loss in 4 epochs"
    assert len(result.history["loss"]) == result.epoch + 4 < 500


def test_training_goes_on_from_a_controller():
    seen = []
    ctl = nc.Controller(ELMAN, start(ELMAN, 5))
    before = ctl.theta.copy()
    result = fit(ctl, U, Y, epochs=2, validation=(U[:, :3], Y[:, :3]), on_epoch=seen.append)
    assert np.array_equal(ctl.theta, before)
    assert not np.array_equal(result.controller.theta, before)
    assert [row.epoch for row in seen] == [1, 2]
    assert seen[1].validation == result.history["validation"][1]
    assert math.isfinite(seen[1].validation)


def test_classes():
    form = spec(cell="elman", inputs=1, outputs=2)
    classes = (Y[..., 0] > 0).astype(int)
    result = fit(form, U, classes, loss="cross_entropy", epochs=20, learning_rate=0.05)
    outputs = result.controller.rollout(U[:, 0])
    assert (outputs[1:].argmax(axis=1) == classes[1:, 0]).mean() > 0.8


def test_the_loss_alone():
    def mean_square(outputs, targets):
        error = outputs - targets
        return float(np.mean(error**2)), 2 * error / error.size

    theta, mask = theta_of(ELMAN), RNG.uniform(0, 1, (20, 40))
    for loss in ("mse", "huber", mean_square):
        gradient = Gradient(ELMAN, loss)
        weights = None if callable(loss) else mask
        assert gradient.loss(theta, U, Y, weights) == gradient(theta, U, Y, weights)[0]
    each = np.stack([theta] * 40, axis=1)
    assert np.array_equal(Gradient(ELMAN).loss(each, U, Y), Gradient(ELMAN)(each, U, Y)[0])


def test_lbfgs():
    pytest.importorskip("scipy", reason="scipy searches")
    seen = []
    result = fit(ELMAN, U, Y, optimizer="lbfgs", epochs=30, on_epoch=seen.append)
    assert result.stopped == "all epochs done"
    assert len(seen) == 30
    assert result.loss < 0.1 * seen[0].validation
    bound = fit(FORMS["indrnn"], 3 * U, 3 * Y, optimizer="lbfgs", epochs=20, patience=2)
    layout(FORMS["indrnn"]).check(bound.controller.theta)
    with pytest.raises(TrainingError, match="^truncate: 5; allowed with optimizer 'lbfgs': None$"):
        fit(ELMAN, U, Y, optimizer="lbfgs", truncate=5)


def test_lbfgs_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(BackendUnavailable, match=r"^scipy.*pip install 'neuroctl\[train\]'$"):
        fit(ELMAN, U, Y, optimizer="lbfgs")


def test_what_diverges_leaves_the_best_until_then():
    form = spec(cell="indrnn", inputs=1, outputs=1)
    u, seen = np.abs(np.tile(U, (3, 1, 1))), []
    with pytest.raises(
        DivergedError,
        match=r"^epoch 2, step 2: loss: outputs of sequence 0 grew .*; the largest parameter, in u\.0, is -?[\d.e+]+$",
    ) as caught:
        fit(nc.Controller(form, np.ones(layout(form).size)), u, 1e9 * u, optimizer="sgd", clip=None, batch=40,
            validation=0, on_epoch=seen.append)  # fmt: skip
    left = caught.value.fit
    assert left.stopped == "diverged"
    assert len(left.history["loss"]) == len(seen)
    assert np.isfinite(left.controller.theta).all()
    assert isinstance(caught.value, TrainingError)


def test_a_step_beyond_all_numbers_is_named():
    with pytest.raises(
        DivergedError, match=r"^epoch 1, step 1: the largest parameter, in \w+, is -?inf; allowed: finite"
    ):
        fit(ELMAN, U, Y, optimizer="sgd", learning_rate=1e308, schedule=lambda step, steps: 1e308)


@pytest.mark.parametrize("name", [*CASES, "hopfield"])
def test_a_start_is_allowed_and_repeatable(name):
    form = CASES.get(name) or nc.Spec(cell="hopfield", inputs=2, neurons=4, outputs=1, dt_s=0.1)
    theta = start(form, 3)
    layout(form).check(theta)
    assert theta.dtype == form.dtype
    assert np.array_equal(theta, start(form, 3))
    assert not np.array_equal(theta, start(form, 4))
    p = layout(form).views(theta)
    n = form.neurons
    for name, weights in p.items() if form.cell in ("elman", "gru") else ():
        if name.partition(".")[0] == "U":
            for u in weights.reshape(-1, n, n):
                np.testing.assert_allclose(u @ u.T, np.eye(n), atol=1e-12)
        if name.partition(".")[0] == "bias" and form.cell == "gru":
            assert weights.tolist() == [0.0] * n + [1.0] * n + [0.0] * n
    if form.cell == "ctrnn":
        assert (p["tau_s"] >= 2 * form.dt_s).all()
        assert (p["tau_s"] <= 50 * form.dt_s).all()
        np.testing.assert_allclose(p["bias"], -0.5 * p["W"].sum(axis=1))


def test_windows():
    trace = np.arange(14.0).reshape(7, 2)
    assert windows(trace, 3).shape == (3, 2, 2)
    assert windows(trace, 3, every=2)[:, 2].tolist() == trace[4:7].tolist()
    assert windows(np.arange(7), 7).shape == (7, 1)
    for arguments, message in (
        ((trace, 8), "length: 8; allowed: integers from 1 to 7"),
        ((trace[:0], 1), r"trace: shape \(0, 2\); allowed: \(T, columns\) or \(T,\), none 0"),
        ((["a"], 1), r"trace: list; allowed: numbers \(T, columns\) or \(T,\)"),
    ):
        with pytest.raises(TrainingError, match=f"^{message}$"):
            windows(*arguments)


def test_columns_that_never_change_are_named():
    constant = np.concatenate([U, np.full_like(U, 3.0)], axis=2)
    form = replace(ELMAN, inputs=2)
    with pytest.warns(UserWarning, match=r"^inputs: column 1 \(3\) never changes$"):
        fit(form, constant, Y, epochs=1)
    with pytest.warns(UserWarning, match=r"^targets: column 0 \(0\) never changes$"):
        fit(ELMAN, list(U.swapaxes(0, 1)), list(np.zeros((40, 20, 1))), epochs=1)


NAN = U.copy()
NAN[3, 2, 0] = np.nan


class Wide(Optimizer):
    def step(self, theta, gradient, state, k, rate, weights=1.0):
        return np.ones(2), state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": NAN}, r"inputs\[3, 2, 0\]: nan; allowed: finite numbers in float64"),
        ({"targets": NAN}, r"targets\[3, 2, 0\]: nan; allowed: finite numbers in float64"),
        ({"inputs": U[:5]}, r"targets: shape \(20, 40, 1\); allowed: \(5, 40, 1\), none 0"),
        ({"inputs": U[:1, :1], "targets": Y[:1, :1]}, "inputs: 1 step; allowed: at least 2, in .*"),
        ({"inputs": [U[:, 0], U[:0, 1]]}, r"inputs\[1\]: no step; allowed: at least 1 in each sequence"),
        ({"inputs": [U[:, 0]], "targets": Y}, "targets: ndarray; allowed: a list of 1, as of inputs"),
        ({"inputs": [U[:, 0]], "targets": [Y[:3, 0]]}, r"targets\[0\]: 3 steps; allowed: 20, as inputs\[0\]"),
        ({"inputs": [U[:, 0], np.ones((20, 2))], "targets": [Y[:, 0]] * 2},
         r"inputs: \(1,\) and \(2,\) numbers a step; allowed: as many in each"),
        ({"inputs": U, "targets": list(Y.swapaxes(0, 1))}, r"targets: a list of arrays; allowed: one array .*"),
        ({"inputs": U.tolist()}, r"inputs: a list of no arrays; allowed: an array \(T, B, 1\), or a list of arrays .*"),
        ({"inputs": []}, "inputs: an empty list; allowed: an array .*"),
        ({"schedule": lambda step, steps: -1.0}, r"schedule\(0, 100\): -1.0; allowed: a number >= 0"),
        ({"schedule": lambda step, steps: None}, r"schedule\(0, 100\): None; allowed: a number >= 0"),
        ({"schedule": lambda step: 1.0}, r"schedule: .* positional argument.*; allowed: a function of \(step, steps\)"),
        ({"optimizer": Optimizer()}, r"optimizer: Optimizer\(\); allowed: adam, .*"),
        ({"optimizer": np.ones(2)}, r"optimizer: array\(\[1., 1.\]\); allowed: adam, .*"),
        ({"optimizer": Wide()}, r"optimizer: step returned float64 of shape \(2,\); allowed: float64 of shape .*"),
        ({"on_epoch": 3}, "on_epoch: 3; allowed: a function, or None"),
        ({"validation": (U[:, :, [0, 0]], Y)}, r"validation inputs: shape \(20, 40, 2\); allowed: \(T, B, 1\), none 0"),
        ({"loss": lambda out, y: (0.0, out), "validation": (U, Y, np.ones((20, 40)))}, "mask: given, or .*"),
        ({"mask": np.eye(20, 40)}, "mask: all 0 for sequence 20; allowed: a step that counts"),
        ({"validation": 1.0}, "validation: 1.0 of 40 sequences leaves none to train on; allowed: 0, sequences .*"),
        ({"inputs": U[:, :1], "targets": Y[:, :1]}, "validation: 0.2 of 1 sequence leaves none to train on; .*"),
        ({"validation": "half"}, r"validation: 'half'; allowed: 0 to 1, or \(inputs, targets\[, mask\]\)"),
        ({"validation": (U,)}, r"validation: 1 arrays; allowed: \(inputs, targets\[, mask\]\), or a share"),
        ({"optimizer": "rmsprop"}, "optimizer: 'rmsprop'; allowed: adam, adamw, sgd, lbfgs, or an Optimizer"),
        ({"schedule": "linear"}, r"schedule: 'linear'; allowed: constant, cosine, step, or a function .*"),
        ({"loss": "mae"}, "loss: 'mae'; allowed: mse, huber, cross_entropy, or a function"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0; allowed: a number greater than 0"),
        ({"learning_rate": math.nan}, "learning_rate: nan; allowed: a number greater than 0"),
        ({"clip": 0}, "clip: 0; allowed: a number greater than 0"),
        ({"epochs": 0}, "epochs: 0; allowed: integers >= 1"),
        ({"batch": 2.5}, "batch: 2.5; allowed: integers >= 1"),
        ({"patience": 0}, "patience: 0; allowed: integers >= 1"),
        ({"truncate": 0}, "truncate: 0; allowed: integers >= 1"),
        ({"seed": -1}, "seed: -1; allowed: integers >= 0"),
        ({"loss": lambda out, y: (0.0, out), "mask": np.ones((20, 40))}, "mask: given, or .*a loss function: None"),
    ],
)  # fmt: skip
def test_what_is_refused(change, message):
    with pytest.raises(TrainingError, match=f"^{message}$"):
        fit(ELMAN, **({"inputs": U, "targets": Y} | change))


def test_a_cell_without_gradient_is_refused():
    with pytest.raises(SpecError, match="^cell: 'hopfield'; allowed for training by gradient: "):
        fit(nc.Spec(cell="hopfield", inputs=1, neurons=3, outputs=1, dt_s=1), U, Y)
