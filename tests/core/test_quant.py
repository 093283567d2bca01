import numba
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl import io
from neuroctl.cells import decode, genome_size, integer_of, layout
from neuroctl.errors import ExportError
from neuroctl.maths.fixed import LOGISTIC_TABLE, QFormat
from neuroctl.quant import WEIGHT_BITS, QuantController, integer_form
from tests import reference
from tests.strategies import specs

FLOAT32 = st.just("float32")


def inputs_int(rng, steps, count):
    """Raw inputs that hold extremes for a while, jump at random, and stay small."""
    held = rng.choice([-32768, 32767, 0], (steps // 10 + 1, count)).repeat(10, axis=0)[:steps]
    free = rng.integers(-32768, 32768, (steps, count))
    small = rng.integers(-50, 51, (steps, count))
    return np.concatenate([held, free, small]).astype(np.int32)


def random_quant(spec, rng, weight_bits=16, spread=1.0):
    theta = decode(spec, spread * rng.standard_normal(genome_size(spec)))
    ctl = nc.Controller(spec, theta)
    ctl.params["gain"][:] = rng.uniform(-3, 3, spec.neurons)
    return ctl, integer_form(spec, ctl.theta, weight_bits)  # the limits of a strategy may well be coarse


@settings(max_examples=40, deadline=None)
@given(specs(dtype=FLOAT32, always_input_limits=True), st.integers(0, 2**32 - 1), st.sampled_from(WEIGHT_BITS))
def test_integer_step_equals_plain_python_integers(spec, seed, weight_bits):
    rng = np.random.default_rng(seed)
    try:
        _, q = random_quant(spec, rng, weight_bits, spread=rng.uniform(0, 4))
    except ExportError:
        reject()
    u = inputs_int(rng, 20, spec.inputs)
    expected, states = reference.ctrnn_rollout_q(q, u, LOGISTIC_TABLE)
    got = np.array([np.concatenate([q.step_int(row), q.state]) for row in u])
    assert (got == np.hstack([expected, states])).all()


@settings(max_examples=60, deadline=None)
@given(specs(dtype=FLOAT32, always_input_limits=True), st.integers(0, 2**32 - 1))
def test_states_stay_within_the_proven_bounds(spec, seed):
    rng = np.random.default_rng(seed)
    try:
        _, q = random_quant(spec, rng, spread=rng.uniform(0, 6))
    except ExportError:  # weights too wide for 32 bits are refused
        reject()
    low, high = q.bounds["y"]
    n = spec.neurons
    for row in inputs_int(rng, 60, spec.inputs):
        q.step_int(row)
        assert low <= q.state[:n].min() <= q.state[:n].max() <= high
        assert 0 <= q.state[n:].min() <= q.state[n : 2 * n].max() <= 32767
        assert q.state[2 * n :].max() <= 65535
    assert all(max(-low, high) < 2**30 for low, high in q.bounds.values())


def test_lanes_equal_single_controllers():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-1, 1), (-1, 1)))
    rng = np.random.default_rng(0)
    q = nc.Controller(spec, seed=1).quantize()
    form, count, steps = integer_of(spec), 16, 30
    u = rng.integers(-16384, 16385, (steps, 2, count)).astype(np.int32)
    y = np.empty((steps, 1, count), np.int32)
    start = np.repeat(q.state[:, None], count, axis=1)
    for theta in (q.theta_q, np.repeat(q.theta_q[:, None], count, axis=1)):
        state = start.copy()
        form.rollout_q(theta, state, u, y, q.ints)
        for p in range(count):
            q.reset()
            assert (q.rollout_int(np.ascontiguousarray(u[:, :, p])) == y[:, :, p]).all()
            assert (q.state == state[:, p]).all()


def test_fixed_point_follows_float():
    spec = nc.Spec(
        cell="ctrnn", inputs=2, neurons=8, outputs=1, dt_s=1 / 60,
        input_limits=((-1, 1), (-1, 1)), output_limits=((-10.0, 10.0),),
    )  # fmt: skip
    t = np.arange(2000) / 60
    u = np.stack([np.sin(t), np.cos(3 * t)], axis=1)
    worst = {}
    for bits in (8, 16):
        errors = []
        for seed in range(3 if numba.config.DISABLE_JIT else 10):
            ctl = nc.Controller(spec, seed=seed)
            errors.append(np.abs(ctl.rollout(u) - ctl.quantize(weight_bits=bits).rollout(u)).max())
        worst[bits] = np.median(errors)
    assert worst[16] < 0.02
    assert worst[8] < 1.0
    assert worst[16] < worst[8] / 8


def test_inputs_saturate_at_the_declared_range():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1, input_limits=((-0.5, 1.5),))
    q = nc.Controller(spec, seed=0).quantize()
    assert q.formats["u"] == QFormat(16, 14)
    assert list(q.quantize_input([[5.0], [-5.0], [np.nan], [np.inf], [-np.inf]]).ravel()) == [
        24576,
        -8192,
        0,
        24576,
        -8192,
    ]
    for value in (5.0, -5.0, np.inf, -np.inf, np.nan, 0.3, -0.30001):
        u = np.array([value], np.float32)
        q.reset()
        y = q.step(u).copy()
        q.reset()
        assert q.dequantize_output(q.step_int(q.quantize_input(u))) == y


def test_calibration_sets_the_input_format():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1)
    ctl = nc.Controller(spec, seed=0)
    assert ctl.quantize(calibration=[[0.3], [-0.9]]).formats["u"].frac_bits == 15
    assert ctl.quantize(calibration=[[30.0]]).formats["u"].frac_bits == 10
    with pytest.raises(nc.ExportError, match="calibration: missing"):
        ctl.quantize()


@pytest.mark.parametrize("calibration", [[[np.nan]], [[1.0, 2.0]], [], "abc", [1.0]])
def test_bad_calibration_is_refused(calibration):
    with pytest.raises(nc.LayoutError, match="calibration"):
        nc.Controller(nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1)).quantize(calibration=calibration)


@pytest.mark.parametrize("bits", [0, 1, 5, 32, True, "16", None])
def test_bad_weight_bits_are_refused(bits):
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1, input_limits=((-1, 1),))
    with pytest.raises(nc.ExportError, match="^weight_bits: .*; allowed: 2, 3, 4, 8 or 16$"):
        nc.Controller(spec).quantize(weight_bits=bits)


def one_neuron(**blocks):
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=0.01, input_limits=((-1, 1),))
    ctl = nc.Controller(spec)
    values = {"W": 1, "bias": 0, "gain": 1, "tau_s": 0.1, "W_in": 1, "W_out": 1, "b_out": 0} | blocks
    for name, value in values.items():
        ctl.params[name][:] = value
    return ctl


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ({"W": 1e9}, "W, W_in, bias: y can reach"),
        ({"bias": 1e7}, "W, W_in, bias: y can reach"),
        ({"gain": 1e9}, "gain: "),
        ({"tau_s": 0.006}, r"tau_s\[0\]: 0\.006; allowed in fixed point: at least dt_s"),
        ({"tau_s": 1e9}, r"tau_s\[0\]: 1e\+09; allowed"),
        ({"W": np.nan}, "W.*nan"),
    ],
)
def test_what_fixed_point_cannot_hold_is_refused(blocks, text):
    with pytest.raises(nc.NeuroctlError, match=text):
        one_neuron(**blocks).quantize()


@pytest.mark.parametrize(
    "blocks",
    [
        {"W": 0, "W_in": 0, "W_out": 0},
        {"W": 0, "W_in": 0, "W_out": 0, "bias": 1e-9, "gain": 1e-9},
        {"W": 1e5, "W_in": 1e-6},
        {"W": 1e-6, "W_in": 1e5},
        {"W_out": 1e-7, "b_out": 1e5},
        {"W_out": 1e6},
        {"gain": -2.0},
        {"tau_s": 0.01},
        {"tau_s": 1e5},
    ],
)
def test_lopsided_ranges_still_equal_plain_integers(blocks):
    q = one_neuron(**blocks).quantize()
    u = inputs_int(np.random.default_rng(0), 30, 1)
    expected, _ = reference.ctrnn_rollout_q(q, u, LOGISTIC_TABLE)
    assert (q.rollout_int(u) == expected).all()
    shifts = q.ints[[4, 5, 6, 9]]
    assert np.abs(shifts).max() <= 30, "a shift by 32 is undefined in C"
    assert 0 < q.ints[7] < 2**31


def test_quant_file_round_trip(tmp_path):
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=1, dt_s=0.1)
    q = nc.Controller(spec, seed=0).quantize(calibration=[[0.5], [0.25]])
    q.save(tmp_path / "q.npz")
    again = nc.load(tmp_path / "q.npz")
    assert isinstance(again, QuantController)
    assert again.model_crc32 == q.model_crc32
    assert (again.calibration == q.calibration).all()
    u = inputs_int(np.random.default_rng(0), 30, 1)
    assert (again.rollout_int(u) == q.rollout_int(u)).all()


def test_crc_tells_controllers_apart():
    crcs = {one_neuron(W=w, tau_s=tau).quantize().model_crc32 for w in (1, 1.001) for tau in (0.1, 0.2)}
    assert len(crcs) == 4


def test_raw_steps_check_their_input():
    q = one_neuron().quantize()
    for bad in (np.zeros(2, np.int32), [0, 0], np.zeros(1, np.float32)):
        with pytest.raises(nc.LayoutError):
            q.step_int(bad)
        with pytest.raises(nc.LayoutError):
            q.rollout_int(bad)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: a.arrays["theta_q"].__setitem__(0, 40000), "W: .*int16"),
        (lambda a: a.arrays.update(calibration=np.zeros((3, 2))), "calibration"),
        (lambda a: a.arrays.update(theta_q=a.arrays["theta_q"][:-1]), "theta_q"),
        (lambda a: a.fields["formats"].pop("W"), "W is missing"),
        (lambda a: a.fields["formats"].update(y=[32, 60]), "2\\^30|y"),
        (lambda a: a.fields["formats"].update(y=["x", 3]), "formats: y is .*; allowed"),
        (lambda a: a.fields["formats"].update(W=[16, 10**30]), "formats: W is .*; allowed"),
        (lambda a: a.fields["formats"].update(out=[64, 3]), "formats: out is .*; allowed"),
        (lambda a: a.fields["formats"].update(out=[16, 40]), "formats: out is shifted by -.*; allowed: 0 to 30"),
        (lambda a: a.fields["formats"].update(gain=[16, 60]), "argument is shifted by .*; allowed"),
        (lambda a: a.arrays["theta_q"].__setitem__(3, -1), "tau_s, as dt/tau, is shifted by -1 bits; allowed: 0 to 30"),
        (
            lambda a: a.arrays["theta_q"].__setitem__(3, 40 << 16),
            "tau_s, as dt/tau, is shifted by 40 bits; allowed: 0 to 30",
        ),
    ],
)
def test_a_sound_file_with_bad_content_is_refused(tmp_path, change, text):
    one_neuron().quantize(calibration=[[0.5]]).save(tmp_path / "q.npz")
    archive = io.read_archive(tmp_path / "q.npz")
    change(archive)
    io.write_archive(tmp_path / "q.npz", archive.kind, archive.fields, archive.arrays)
    with pytest.raises(nc.FileFormatError, match=text) as caught:
        nc.load(tmp_path / "q.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [40 << 16 | 40000, -(40 << 16 | 40000)])
def test_a_decay_that_no_shift_gives_is_refused(tmp_path, packed):
    spec = nc.Spec(cell="indrnn", inputs=1, neurons=1, outputs=1, dt_s=0.1, input_limits=((-1, 1),))
    nc.Controller(spec).quantize().save(tmp_path / "q.npz")
    archive = io.read_archive(tmp_path / "q.npz")
    archive.arrays["theta_q"][nc.Controller(spec).layout["u.0"].part] = packed
    io.write_archive(tmp_path / "q.npz", archive.kind, archive.fields, archive.arrays)
    with pytest.raises(nc.FileFormatError, match="a decay is shifted by 36 bits; allowed: -4 to 30"):
        nc.load(tmp_path / "q.npz")


@pytest.mark.parametrize("limit", [1e39, 1.7e308])
@pytest.mark.parametrize("name", ["input_limits", "output_limits"])
def test_limits_beyond_every_word_are_refused(name, limit):
    fields = {"input_limits": ((-1, 1),), "dtype": "float64"} | {name: ((-limit, limit),)}
    spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.1, **fields)
    with pytest.raises(nc.ExportError, match=f"{name}: up to .*; allowed in fixed point: up to"):
        nc.Controller(spec, np.zeros(layout(spec).size)).quantize()


@pytest.mark.parametrize("integrator", ["heun", "rk4"])
def test_integrators_without_a_fixed_point_form_are_refused(integrator):
    spec = nc.Spec(
        cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1, input_limits=((-1, 1),), integrator=integrator
    )
    with pytest.raises(nc.ExportError, match=f"integrator: '{integrator}'; allowed in fixed point: euler, etd1"):
        nc.Controller(spec).quantize()


def test_exponential_euler_has_a_fixed_point_form():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=4, outputs=1, dt_s=0.1, input_limits=((-1, 1),), integrator="etd1")
    ctl = nc.Controller(spec, seed=2)
    ctl.params["tau_s"][:] = 0.05  # below dt: Euler could not
    u = np.sin(np.arange(300) / 9)[:, None]
    assert np.abs(ctl.rollout(u) - ctl.quantize().rollout(u)).max() < 0.01


@pytest.mark.parametrize(
    "u",
    [[1, -300], (1, -300), np.array([1, -300]), np.array([1, -300], np.int16), np.array([1, -300], ">i4")],
    ids=repr,
)
def test_raw_inputs_may_be_a_list(u):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-1, 1), (-1, 1)))
    q = nc.Controller(spec, seed=1).quantize()
    exact = q.step_int(np.array([1, -300], np.int32)).copy()
    for use in (lambda: q.step_int(u), lambda: q.rollout_int([u])[0]):
        q.reset()
        assert use() == exact


def test_raw_inputs_beyond_32_bits_saturate():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-1, 1), (-1, 1)))
    q = nc.Controller(spec, seed=1).quantize()
    low, high = q.input_range
    exact = q.step_int(np.array([high[0], low[1]], np.int32)).copy()
    q.reset()
    assert q.step_int([2**40, -(2**40)]) == exact
    q.reset()
    exact = q.step_int(np.array([2**31 - 1, 0], np.int32)).copy()
    q.reset()
    assert q.step_int(np.array([2**64 - 1, 0], np.uint64)) == exact


@pytest.mark.parametrize("u", [[1.0, 2.0], [True, False], [1], [[1, 2]], "12", None, [], [1, None], np.float32([1, 2])])
def test_raw_inputs_that_are_no_integers_are_refused(u):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-1, 1), (-1, 1)))
    q = nc.Controller(spec, seed=1).quantize()
    with pytest.raises(nc.LayoutError, match=r"^u: .*; allowed: integers of shape \(2,\)$"):
        q.step_int(u)
    with pytest.raises(nc.LayoutError, match=r"^u: .*; allowed: integers of shape \(T, 2\)$"):
        q.rollout_int([u])
    with pytest.raises(nc.LayoutError, match=r"^u: .*; allowed: integers of shape \(T, 2\)$"):
        q.rollout_int([])
