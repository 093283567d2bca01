"""Inputs and outputs whose declared ranges differ much: each has its own format, and all are seen in fixed point."""

import dataclasses
import json
import warnings
import zipfile

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.errors import ExportError, FileFormatError, LayoutError
from neuroctl.format_fields import format_from_field, formats_as_fields
from neuroctl.quant import quantize_many
from neuroctl.quantization_report import measure_quantization

CELLS = ("ctrnn", "indrnn", "elman", "jordan", "gru", "cfc")
WIDE, NARROW = (-1000.0, 1000.0), (-0.01, 0.01)
BOTH = {"input_limits": (WIDE, NARROW), "output_limits": ((-500.0, 500.0), (-0.02, 0.02))}
SIZES = {"inputs": 2, "neurons": 6, "outputs": 2, "dt_s": 0.02}
SPANS = np.array([1000.0, 0.04])


def controller(cell="ctrnn", seed=1, **options):
    return nc.Controller(nc.Spec(cell=cell, **(SIZES | BOTH | options)), seed=seed)


def wander(spec, steps=400):
    low, high = np.array(spec.input_limits).T
    return (low + (high - low) * np.random.default_rng(0).random((steps, spec.inputs))).astype(spec.dtype)


def error(ctl, q, inputs):
    """Largest difference of each output, as a share of its range."""
    ctl.reset(), q.reset()
    return np.abs(ctl.rollout(inputs) - q.rollout(inputs)).max(axis=0) / SPANS


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("weight_bits", "most"), [(16, 3e-4), (8, 4e-2)])
def test_a_narrow_input_and_output_beside_wide_ones_are_seen(cell, weight_bits, most):
    ctl = controller(cell)
    u = wander(ctl.spec)
    q = ctl.quantize(weight_bits)
    assert (error(ctl, q, u) < most).all()
    with pytest.warns(nc.QuantizationWarning):
        shared = ctl.quantize(weight_bits, allow_coarse=True, shared_formats=True)
    assert (error(ctl, shared, u) > 0.05).any()
    still = np.where([True, False], u, 0.0).astype(np.float32)  # the narrow input alone makes the difference
    q.reset()
    first = q.rollout_int(q.quantize_input(u))
    q.reset()
    assert (first != q.rollout_int(q.quantize_input(still))).any(axis=0).all()
    assert q.quantize_input([1000.0, 0.01]).tolist() == [32000, 20972]
    assert [form.entry_frac_bits.tolist() for form in (q.formats["u"], q.formats["out"])] == [[5, 21], [6, 20]]


DENSE = ({"encoder": (5,)}, {"head": (4,)}, {"encoder": (5, 3), "head": (4, 3)})


@pytest.mark.parametrize("layers", DENSE, ids=str)
@pytest.mark.parametrize("cell", ["gru", "jordan"])
def test_dense_layers_take_and_give_them(cell, layers):
    """The first layer's weights take the inputs, the last one's give the outputs; a learned start goes with these."""
    ctl = controller(cell, initial_state="learned", **layers)
    q = ctl.quantize()
    assert (error(ctl, q, wander(ctl.spec)) < 3e-4).all()
    own = {name for name, form in q.formats.items() if form.extra}
    remembered = {"U", "context", "context0", "c"} if cell == "jordan" and "head" not in layers else set()
    assert own == {"u", "out", "W_enc.0" if "encoder" in layers else "W_in", "W_out", "b_out"} | remembered


@pytest.mark.parametrize("cell", CELLS)
def test_formats_stand_for_physical_numbers(cell):
    ctl = controller(cell)
    q = ctl.quantize()
    stored, exact = q.layout.views(q.theta_q), ctl.params
    for name in (name for name in q.formats if name in stored):
        lsb = np.broadcast_to(q.formats[name].lsb, exact[name].shape)
        assert (np.abs(q.formats[name].dequantize(stored[name]) - exact[name]) <= 0.5001 * lsb).all()
    report = measure_quantization(q, ctl)
    assert {block.name for block in report.blocks if block.own} >= {"W_out", "b_out"}
    assert sum(block.saturated for block in report.blocks) == 0


@pytest.mark.parametrize("cell", CELLS)
def test_all_ways_to_step_give_the_same_bits(cell):
    ctl = controller(cell, input_limits=(WIDE, NARROW), output_limits=((-20.0, 20.0), (-1e-3, 1e-3)))
    q, u = ctl.quantize(), wander(ctl.spec)
    whole = q.rollout(u)
    q.reset()
    assert np.array_equal(whole, [q.step(row).copy() for row in u])
    q.reset()
    assert np.array_equal(whole, q.dequantize_output([q.step_int(row).copy() for row in q.quantize_input(u)]))
    many = quantize_many(ctl.spec, np.array([nc.Controller(ctl.spec, seed=seed).theta for seed in range(3)]))
    assert many[1].formats == q.formats and many[1].model_crc32 == q.model_crc32
    assert (many.columns["lsb"] == [one.last_bits for one in many]).all()


PLANT = """
from math import cos
STATES, START, ACTIONS, OBSERVATIONS = 2, (0.3, 0.5), 2, 2


def step(state, action, dt):
    return 0.99 * state[0] + 1e-3 * action[0], 0.9 * state[1] + 10.0 * action[1]


def observe(state):
    return 1000.0 * cos(state[0]), 0.01 * cos(3.0 * state[1])


def reward(state, action):
    return -abs(state[0]) - abs(action[1])


def done(state):
    return False


def fitness(state, steps, total, recent):
    return total
"""


def test_lanes_give_the_same_bits_whoever_shares_formats(tmp_path):
    """A list may mix controllers of shared and of own formats: what lanes take is each one's."""
    (tmp_path / "unequal.py").write_text(PLANT)
    spec = controller().spec
    own = [nc.Controller(spec, seed=seed).quantize() for seed in range(3)]
    with pytest.warns(nc.QuantizationWarning):
        shared = [nc.Controller(spec, seed=9).quantize(allow_coarse=True, shared_formats=True)]
    run = get("cpu").rollout_quantized
    together = run([*own, *shared], tmp_path / "unequal.py", 50)
    for place, q in enumerate((*own, *shared)):
        alone = run([q], tmp_path / "unequal.py", 50)
        assert together.fitness[place] == alone.fitness[0]
        state, total = np.array([0.3, 0.5], np.float32), np.float32(0)
        q.reset()
        for _ in range(50):
            u = np.array([1000.0 * np.cos(state[0]), 0.01 * np.cos(3.0 * state[1])], np.float32)
            y = q.step(u)
            state = np.array([0.99 * state[0] + 1e-3 * y[0], 0.9 * state[1] + 10.0 * y[1]], np.float32)
            total += -abs(state[0]) - abs(y[1])
        assert alone.fitness[0] == pytest.approx(total, rel=1e-3)


# --- When formats are shared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrow", "own"), [((-64.0, 64.0), False), ((-63.9, 63.9), True), ((0.0, 128.0), False), ((0.0, 127.9), True)]
)
def test_ranges_that_differ_little_share_a_format(narrow, own):
    """4096 steps in the shared format are enough: all controllers that come with the library share theirs."""
    ctl = controller(input_limits=(WIDE, narrow), output_limits=(WIDE, WIDE))
    q = ctl.quantize()
    assert bool(q.own_formats.inputs) == own and not q.own_formats.outputs
    if not own:
        assert formats_as_fields(q.formats)["u"] == [16, 5]
        assert q.model_crc32 == ctl.quantize(shared_formats=True).model_crc32


def test_a_range_that_its_own_format_would_not_resolve_better_changes_nothing():
    ctl = controller(input_limits=(WIDE, (999.0, 1000.0)), output_limits=(WIDE, WIDE))
    with pytest.warns(nc.QuantizationWarning, match="input 1 .* has 32 steps of the format that it shares"):
        assert not ctl.quantize().own_formats.inputs


def test_scaled_inputs_squashed_outputs_and_outputs_that_are_neurons_share():
    assert not controller(scale_inputs=True).quantize().own_formats.inputs
    squashed = {"output_activation": "tanh", "output_limits": ((-1.0, 1.0), (-0.001, 0.001))}
    with pytest.warns(nc.QuantizationWarning, match="output 1 .* has 32.8 steps"):
        assert not controller(**squashed).quantize().own_formats.outputs
    neurons = {"outputs": 6, "readout": "identity", "output_limits": ((0.0, 0.5),) * 5 + ((0.0, 0.001),)}
    with pytest.warns(nc.QuantizationWarning, match="output 5 .* has 32.8 steps"):
        assert not controller(**neurons).quantize().own_formats.outputs


def test_a_hopfield_network_sees_the_sign_of_a_narrow_input():
    spec = nc.Spec(cell="hopfield", inputs=2, neurons=4, outputs=4, dt_s=0.02, input_limits=(WIDE, NARROW))
    q = nc.Controller(spec, seed=0).quantize()
    assert (q.quantize_input([5.0, -0.004]) < 0).tolist() == [False, True]


def test_recorded_inputs_that_share_a_format_too_coarse_for_one_are_refused_or_told():
    """A recording gives no input a format of its own: a sensor that was quiet would saturate when it moves."""
    ctl, recorded = controller(input_limits=None), wander(controller().spec)
    text = r"^calibration: input 1 .* steps of the format that it shares with input 0 .*"
    allowed = "at least 16 steps, or input_limits, or allow_coarse=True"
    with pytest.raises(ExportError, match=f"{text}; allowed: {allowed}$"):
        ctl.quantize(calibration=recorded)
    with pytest.warns(nc.QuantizationWarning, match=f"{text}; declare input_limits$"):
        q = ctl.quantize(calibration=recorded, allow_coarse=True)
    assert not q.own_formats.inputs
    recorded[:, 1] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ctl.quantize(calibration=recorded)  # what did not move at all tells nothing


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_files_hold_each_ones_bits(cell, tmp_path):
    q = controller(cell).quantize()
    q.save(tmp_path / "q.npz")
    loaded = nc.load(tmp_path / "q.npz")
    assert (loaded.model_crc32, loaded.formats) == (q.model_crc32, q.formats)
    assert q.fields["formats"]["u"] == [16, 15, [5, 21]]
    assert all(len(field) == 2 for name, field in q.fields["formats"].items() if name not in ("u", "out"))
    again = q.requantize(controller(cell).theta)
    assert (again.model_crc32, again.formats) == (q.model_crc32, q.formats)
    other = q.requantize(0.5 * controller(cell).theta) if cell in ("elman", "gru") else q
    assert other.formats == q.formats


def test_a_file_of_shared_formats_loads_as_it_was_and_says_what_it_cannot_see(tmp_path):
    with pytest.warns(nc.QuantizationWarning):
        q = controller(output_limits=None).quantize(allow_coarse=True, shared_formats=True)
    assert q.fields["formats"]["u"] == [16, 5]
    q.save(tmp_path / "q.npz")
    with pytest.warns(nc.QuantizationWarning, match=r"^input_limits: input 1 \(-0.01 to 0.01, .*\) has 0.64 steps"):
        loaded = nc.load(tmp_path / "q.npz")
    assert (loaded.model_crc32, loaded.formats) == (q.model_crc32, q.formats)
    assert loaded.quantize_input([0.0, 0.01])[1] == 0


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("u", [16, 15, [5]]),
        ("u", [16, 15, [5, 21, 3]]),
        ("u", [16, 15, [5, 256]]),
        ("u", [16, 15, [5, 2.5]]),
        ("u", [16, 15, [5, True]]),
        ("u", [16, 15, 5]),
        ("out", [16, 15, [5, 5, 5]]),
        ("W", [16, 15, [5, 5]]),
    ],
)
def test_a_damaged_file_is_one_line(name, field, tmp_path):
    q = controller().quantize()
    fields = json.loads(json.dumps(q.fields))
    fields["formats"][name] = field
    nc.io.write_archive(tmp_path / "q.npz", "quant", fields, q.arrays)
    with pytest.raises(FileFormatError, match=rf"^.*q\.npz: formats: {name} ") as refused:
        nc.load(tmp_path / "q.npz")
    assert "\n" not in str(refused.value)
    assert zipfile.is_zipfile(tmp_path / "q.npz")


def test_outputs_that_no_weight_scales_are_refused():
    spec = dataclasses.replace(controller().spec, output_activation="tanh", output_limits=None)
    q = nc.Controller(spec, seed=1).quantize()
    formats = dict(q.formats) | {"out": format_from_field("out", [16, 15, [15, 12]])}
    with pytest.raises(LayoutError, match="formats: each output has its own; allowed: with an affine readout"):
        nc.QuantController(spec, formats, q.theta_q)


def test_limits_that_no_format_resolves_are_refused_still():
    ctl = controller(input_limits=((1000.0, 1000.1), NARROW))
    with pytest.raises(
        ExportError, match=r"input 0 .* has 3.2 steps between its limits in fixed point; allowed: at least"
    ):
        ctl.quantize()


# --- Copies ----------------------------------------------------------------------------------------------------------


def test_a_format_goes_with_its_entries():
    form = nc.QFormat(16, 8, ((0, 6),))
    assert form.lsb.tolist() == [[2.0**-8, 2.0**-14]]
    assert form.quantize(np.full((3, 2), 0.5)).tolist() == [[128, 8192]] * 3
    assert form.dequantize([[128, 8192]] * 3).tolist() == [[0.5, 0.5]] * 3
    assert hash(form) == hash(nc.QFormat(16, 8, ((0, 6),))) and form != nc.QFormat(16, 8)
