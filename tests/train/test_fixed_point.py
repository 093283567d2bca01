"""Gradients of integer controllers: forward the integers' bits, back the float adjoint at what they stand for."""

import dataclasses

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import DivergedError, ExportError, LayoutError, SpecError, TrainingError
from neuroctl.evolve import FixedPointConfig
from neuroctl.train import Gradient, fit, quantize
from neuroctl.train.output_scale import OutputScale

LIMITS = ((-1.0, 1.0), (-2.0, 2.0))
LEARNED = {"initial_state": "learned"}
KINDS = {
    "ctrnn": {"cell": "ctrnn"},
    "ctrnn etd1": {"cell": "ctrnn", "integrator": "etd1", "output_limits": ((-0.1, 0.1), (0.0, 0.3)), **LEARNED},
    "ctrnn identity": {"cell": "ctrnn", "readout": "identity", "outputs": 5},
    "elman": {"cell": "elman"},
    "elman relu": {"cell": "elman", "activation": "relu", "output_activation": "tanh"},
    "elman float64": {"cell": "elman", "dtype": "float64", **LEARNED},
    "jordan": {"cell": "jordan", "context_decay": 0.9, **LEARNED},
    "gru": {"cell": "gru", **LEARNED},
    "cfc": {"cell": "cfc", "mode": "no_gate", **LEARNED},
    "cfc backbone": {"cell": "cfc", "backbone": (6, 4)},
    "cfc relu": {"cell": "cfc", "backbone": (6,), "activation": "relu"},
    "gru layers": {"cell": "gru", "layers": 2, **LEARNED},
    "elman layers": {"cell": "elman", "layers": 3},
    "indrnn": {"cell": "indrnn", "layers": 2, "activation": "tanh"},
    "indrnn residual": {"cell": "indrnn", "layers": 3, "residual": True, "horizon": 30, **LEARNED},
}
RELU = {"elman relu", "cfc relu", "indrnn residual"}


def spec_of(kind, **options):
    return nc.Spec(
        **({"inputs": 2, "neurons": 5, "outputs": 2, "dt_s": 0.01, "input_limits": LIMITS} | KINDS[kind] | options)
    )


def data_of(spec, steps=40, sequences=37):
    rng = np.random.default_rng(3)
    u = rng.uniform(-1.0, 1.0, (steps, sequences, spec.inputs)).astype(spec.dtype)
    return nc.Controller(spec, seed=1).theta, u, rng.uniform(-1.0, 1.0, (*u.shape[:2], spec.outputs)).astype(spec.dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_forward_is_the_integer_controller_bit_for_bit(kind, bits):
    spec = spec_of(kind)
    theta, u, targets = data_of(spec)
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=bits))
    f.refine(theta, u)
    whole, q = f.all_of(theta, u, targets), f.quantized(theta)
    for b in range(37):
        q.reset()
        assert np.array_equal(q.rollout(u[:, b]), whole.outputs[:, b])
        assert np.array_equal(q.state, whole.final[:, b])
    assert whole.loss == pytest.approx(np.mean((whole.outputs - targets) ** 2), rel=1e-5)
    assert np.array_equal(f.outputs(theta, u), whole.outputs)
    assert f.loss(theta, u, targets) == pytest.approx(whole.loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["ctrnn", "elman", "elman float64", "indrnn residual"])
def test_outputs_in_units_of_their_range_are_of_a_controller_in_physical_units(kind):
    spec = spec_of(kind)
    theta, u, targets = data_of(spec)
    scale = OutputScale(np.array([300.0, -150.0]), np.array([70.0, 60.0]))
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8), output_scale=scale)
    f.refine(theta, u)
    whole, q = f.all_of(theta, u, targets), f.quantized(theta)
    assert np.array_equal(f._fixed.controller(theta).theta_q, q.theta_q)
    for b in range(37):
        q.reset()
        physical = q.formats["out"].dequantize(q.rollout_int(q.quantize_input(u[:, b])))
        assert whole.outputs[:, b] == pytest.approx((physical - scale.middle) / scale.half, rel=1e-5, abs=1e-5)
        assert np.array_equal(q.state, whole.final[:, b])
    p = nc.Controller(spec, scale.physical(spec, theta))
    if kind not in RELU:
        assert q.model_crc32 == p.quantize(weight_bits=8).model_crc32
    fine = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=16), output_scale=scale)
    fine.refine(theta, u)
    loss, gradient = fine(theta, u, targets)
    plain, expected = Gradient(spec)(theta, u, targets)
    assert loss == pytest.approx(plain, rel=1e-2)
    assert np.abs(gradient - expected).max() < 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "gru", "cfc", "indrnn"])
def test_inputs_and_outputs_with_formats_of_their_own_are_trained(cell):
    """The steps are the integer controller's bits, and the gradient is the float one's but for rounding."""
    spans = np.array([1000.0, 0.01]), np.array([500.0, 0.02])
    limits = (tuple((-span, span) for span in side) for side in spans)
    options = {"activation": "tanh"} if cell == "indrnn" else {}
    spec = spec_of("elman", cell=cell, **dict(zip(("input_limits", "output_limits"), limits, strict=True)), **options)
    theta, u, targets = data_of(spec, sequences=20)
    u, targets = (u * spans[0]).astype(np.float32), (0.3 * targets * spans[1]).astype(np.float32)
    f = Gradient(spec, fixed_point=FixedPointConfig())
    whole, q = f.all_of(theta, u, targets), f.quantized(theta)
    assert q.own_formats.inputs == (-10, 6) and q.own_formats.outputs == (-9, 5)
    assert q.model_crc32 == nc.Controller(spec, theta).quantize().model_crc32
    for b in range(20):
        q.reset()
        assert np.array_equal(q.rollout(u[:, b]), whole.outputs[:, b])
        assert np.array_equal(q.state, whole.final[:, b])
    each, plain = f.quantized(theta).layout.views, Gradient(spec)(theta, u, targets)[1]
    for name, exact in each(plain).items():
        assert np.abs(each(whole.theta)[name] - exact).max() <= 2e-2 * np.abs(exact).max(), name
    ranges = OutputScale(np.zeros(2), spans[1])  # of outputs without limits: where training knows their ranges
    open_spec = dataclasses.replace(spec, output_limits=None)
    known = Gradient(open_spec, fixed_point=FixedPointConfig(), output_scale=ranges).quantized(theta)
    assert known.own_formats.outputs == (-9, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_no_numbers_are_refused_though_integers_clip_them(bad):
    spec = spec_of("elman relu")
    theta, u, targets = data_of(spec, sequences=5)
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8))
    u[7, 3, 1] = bad
    for call in (f, f.loss, f.all_of, lambda *args: f.outputs(*args[:2]), lambda *args: f.refine(*args[:2])):
        with pytest.raises(TrainingError, match=rf"^inputs\[7, 3, 1\]: {bad}; allowed: finite numbers in float32$"):
            call(theta, u, targets)


def test_what_does_not_fit_is_refused_when_formats_are_chosen():
    spec = spec_of("elman relu")
    theta, u, _ = data_of(spec, sequences=5)
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8))
    with pytest.raises(TrainingError, match=r"^mask: shape \(2, 2\); allowed: \(40, 5\), none 0$"):
        f.refine(theta, u, np.ones((2, 2)))
    with pytest.raises(TrainingError, match=r"^mask\[0, 0\]: nan; allowed: finite"):
        f.refine(theta, u, np.full((40, 5), np.nan))
    with pytest.raises(LayoutError, match=r"^theta: shape \(3,\); allowed: "):
        f.refine(theta[:3], u)
    many = np.repeat(theta[:, None], 5, axis=1)
    for call in (f.quantized, lambda theta: f.refine(theta, u)):
        with pytest.raises(TrainingError, match=rf"^theta: shape \({len(theta)}, 5\); allowed in fixed point: "):
            call(many)


def test_a_recording_may_be_sequences():
    spec = spec_of("elman", input_limits=None)
    theta, u, targets = data_of(spec, sequences=5)
    config = FixedPointConfig(weight_bits=8)
    rows, sequences = (Gradient(spec, fixed_point=config, calibration=recorded) for recorded in (u.reshape(-1, 2), u))
    assert rows.loss(theta, u, targets) == sequences.loss(theta, u, targets)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_nearly_the_float_controllers_at_16_bits(kind):
    spec = spec_of(kind)
    theta, u, targets = data_of(spec)
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=16))
    f.refine(theta, u)
    loss, gradient = f(theta, u, targets)
    plain, expected = Gradient(spec)(theta, u, targets)
    assert loss == pytest.approx(plain, rel=1e-3)
    assert np.abs(gradient - expected).max() < (1e-2 if kind in RELU else 1e-3) * np.abs(expected).max()


def test_going_back_is_the_float_adjoint_at_the_integers_numbers():
    spec = nc.Spec(
        cell="elman", inputs=1, neurons=3, outputs=1, dt_s=0.01, input_limits=((-1, 1),), dtype="float64", **LEARNED
    )
    theta = nc.Controller(spec, seed=4).theta
    rng = np.random.default_rng(5)
    u, targets = rng.uniform(-1.0, 1.0, (2, 9, 1, 1))
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8))
    q = f.quantized(theta)
    p = {
        name: q.formats[name].dequantize(q.layout.views(q.theta_q)[name])
        for name in ("W_in", "U", "bias", "W_out", "b_out", "h0")
    }
    seen, h, y = q.formats["u"].dequantize(q.quantize_input(u[:, 0])), [p["h0"]], []
    for t in range(9):
        y.append(q.step(u[t, 0]).copy())
        h.append(q.formats["s"].dequantize(q.state[:3]))
    g, dh = {name: np.zeros_like(values) for name, values in p.items()}, np.zeros(3)
    for t in reversed(range(9)):
        dy = 2.0 / 9.0 * (y[t] - targets[t, 0])
        g["W_out"] += np.outer(dy, h[t + 1])
        g["b_out"] += dy
        net = (p["W_out"].T @ dy + dh) * (1.0 - h[t + 1] ** 2)
        g["W_in"] += np.outer(net, seen[t])
        g["U"] += np.outer(net, h[t])
        g["bias"] += net
        dh = p["U"].T @ net
    g["h0"] = dh
    loss, gradient = f(theta, u, targets)
    assert loss == pytest.approx(np.mean((np.array(y) - targets[:, 0]) ** 2), rel=1e-12)
    views = q.layout.views(gradient)
    for name, expected in g.items():
        assert views[name] == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("kind", ["ctrnn", "indrnn residual"])
def test_the_same_bits_on_any_threads_and_in_any_segments(kind):
    spec = spec_of(kind)
    theta, u, targets = data_of(spec)
    mask = (np.random.default_rng(0).random((40, 37)) > 0.3).astype(np.float32)
    results = []
    for options in ({"threads": 1}, {"threads": 2}, {"segment": 40}, {"segment": 7}):
        f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8), **options)
        f.refine(theta, u, mask)
        results.append(f(theta, u, targets, mask))
    assert all(loss == results[0][0] for loss, _ in results)
    assert np.array_equal(results[0][1], results[1][1])
    assert np.allclose(results[2][1], results[3][1], rtol=1e-4, atol=1e-7)


def test_a_deep_network_of_relu_needs_a_format_by_its_outputs():
    spec = spec_of("indrnn residual", layers=5, neurons=32, horizon=200)
    theta, u, targets = data_of(spec, sequences=4)
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8))
    with pytest.raises(ExportError, match="sums can reach"):
        f(theta, u, targets)
    f.refine(theta, u)
    assert f(theta, u, targets)[0] == pytest.approx(Gradient(spec)(theta, u, targets)[0], rel=0.05)


def test_what_fixed_point_does_not_take():
    spec, config = spec_of("elman"), FixedPointConfig()
    theta, u, targets = data_of(spec, sequences=2)
    f = Gradient(spec, fixed_point=config)
    with pytest.raises(TrainingError, match=r"^state: given; allowed in fixed point: None$"):
        f(theta, u, targets, state=np.zeros(f.all_of(theta, u, targets).state.shape[0]))
    with pytest.raises(TrainingError, match=r"^theta: shape \(52, 2\); allowed in fixed point: \(52,\)$"):
        f(np.repeat(theta[:, None], 2, axis=1), u, targets)
    with pytest.raises(TrainingError, match="^fixed_point: given; allowed with backend 'cpu' and without scan$"):
        Gradient(spec_of("indrnn residual"), scan=True, fixed_point=config)
    with pytest.raises(TrainingError, match="^fixed_point: None; allowed: a FixedPointConfig$"):
        Gradient(spec).quantized(theta)
    with pytest.raises(ExportError, match="^calibration: missing"):
        Gradient(spec_of("elman", input_limits=None), fixed_point=config)
    assert (
        Gradient(spec_of("elman", input_limits=None), fixed_point=config, calibration=u[:, 0])
        .quantized(theta)
        .spec.inputs
        == 2
    )
    with pytest.raises(TrainingError, match="^fixed_point: 8; allowed: a FixedPointConfig, or None$"):
        Gradient(spec, fixed_point=8)
    with pytest.raises(TrainingError, match="^controller: .*; allowed: a Controller$"):
        quantize(spec, u)
    with pytest.raises(TrainingError, match="^spec: 8; allowed: a Spec or a Controller$"):
        fit(8, u, targets)
    with pytest.raises(SpecError):
        Gradient(nc.Spec(cell="hopfield", inputs=0, neurons=4, outputs=4, dt_s=0.01), fixed_point=config)


def echo(spec, sequences=48, steps=20):
    """Sequences in which each output is what the input was two steps before."""
    u = np.random.default_rng(1).uniform(-1.0, 1.0, (steps, sequences, spec.inputs)).astype(np.float32)
    return u, np.concatenate([np.zeros_like(u[:2]), u[:-2]])


@pytest.mark.parametrize("kind", ["elman", "indrnn residual"])
def test_training_that_knows_of_the_integers_loses_less(kind):
    spec = spec_of(kind, neurons=8)
    u, targets = echo(spec)
    start = fit(spec, u, targets, epochs=150, learning_rate=0.02, validation=(u, targets))
    config = FixedPointConfig(weight_bits=8)
    coarse = {"epochs": 1, "learning_rate": 1e-12, "validation": (u, targets), "fixed_point": config}
    after = fit(start.controller, u, targets, **coarse).loss  # nothing but quantized
    trained = fit(start.controller, u, targets, **coarse | {"epochs": 30, "learning_rate": 0.002})
    assert trained.loss < after
    outputs = np.zeros_like(u)
    for b in range(u.shape[1]):
        trained.quantized.reset()
        outputs[:, b] = trained.quantized.rollout(u[:, b])
    assert trained.loss == pytest.approx(np.mean((outputs - targets) ** 2), rel=1e-5)
    again = fit(start.controller, u, targets, **coarse | {"epochs": 30, "learning_rate": 0.002}, threads=1)
    assert np.array_equal(again.controller.theta, trained.controller.theta)


def test_fit_in_fixed_point_finds_the_range_of_inputs_in_the_data():
    spec = spec_of("elman", input_limits=None)
    u, targets = echo(spec)
    result = fit(spec, 100.0 * u, targets, epochs=1, fixed_point=FixedPointConfig(weight_bits=8))
    assert result.quantized.formats["u"].frac_bits == 8  # 2^15 / 2^7
    assert fit(spec, u, targets, epochs=1).quantized is None
    with pytest.raises(TrainingError, match="^truncate: 5; allowed in fixed point: None$"):
        fit(spec, u, targets, truncate=5, fixed_point=FixedPointConfig())
    with pytest.raises(TrainingError, match="^optimizer: 'lbfgs'; allowed in fixed point: adam, adamw, sgd$"):
        fit(spec, u, targets, optimizer="lbfgs", fixed_point=FixedPointConfig())


def test_what_grows_beyond_fixed_point_in_mid_training_leaves_the_best_until_then():
    spec = spec_of("elman")
    u, targets = echo(spec)
    rates = {"learning_rate": 1.0, "schedule": lambda step, steps: 1e-3 if step < 4 else 1e6, "clip": None}
    with pytest.raises(DivergedError, match=r"^epoch 3, step \d+: .*allowed in fixed point: less than") as caught:
        fit(spec, u, targets, epochs=5, fixed_point=FixedPointConfig(weight_bits=8), **rates)
    assert caught.value.fit.epoch == 2
    assert caught.value.fit.quantized.spec == spec
    start = nc.Controller(spec, np.full(nc.Controller(spec, seed=0).theta.size, 3e6, np.float32))
    with pytest.raises(ExportError, match="allowed in fixed point"):
        fit(start, u, targets, epochs=1, fixed_point=FixedPointConfig())


def test_quantizing_by_sequences_of_several_lengths():
    spec = spec_of("indrnn residual")
    theta, u, _ = data_of(spec, sequences=5)
    parts = [u[: 10 + 6 * b, b] for b in range(5)]
    q = quantize(nc.Controller(spec, theta), parts, fixed_point=FixedPointConfig(weight_bits=8))
    f = Gradient(spec, fixed_point=FixedPointConfig(weight_bits=8))
    f.refine(theta, u, (np.arange(40)[:, None] < 10 + 6 * np.arange(5)).astype(np.float32))
    assert q.model_crc32 == f.quantized(theta).model_crc32
    assert quantize(nc.Controller(spec, theta), u).formats["W_in.0"].bits == 16
