"""Which formats fixed point takes: what a recording may decide, what is too coarse, and what it says of limits."""

import dataclasses
import math

import numba
import numpy as np
import pytest

import neuroctl as nc
from neuroctl.input_limits import BeyondLimits
from neuroctl.quantization_report import measure_quantization
from neuroctl.spec import CELL_NAMES

UNIT = ((-1.0, 1.0),)


def relu(layers, seed, gain=1.0, inputs=3, **fields):
    """A stack of ReLU neurons: its worst case is far from what it meets."""
    options = {"input_limits": UNIT * inputs} | fields
    spec = nc.Spec(cell="indrnn", inputs=inputs, neurons=8, outputs=2, layers=layers, dt_s=0.02, **options)
    ctl = nc.Controller(spec, seed=seed)
    for layer in range(min(layers, 2)):
        ctl.params[f"W_in.{layer}"][:] *= gain
    return ctl


def wander(seed, inputs=3, steps=400, size=0.1):
    steps_of = np.random.default_rng(seed).normal(0, size, (steps, inputs))
    return np.cumsum(steps_of, axis=0).clip(-1, 1).astype(np.float32)


def error(ctl, q, inputs):
    """Root mean square of the difference, in units of the float outputs' spread."""
    truth = nc.Controller(ctl.spec, ctl.theta).rollout(inputs).astype(np.float64)
    q.reset()
    return float(np.sqrt(np.mean((q.rollout(inputs) - truth) ** 2)) / truth.std())


# --- The search ------------------------------------------------------------------------------------------------------


def test_the_search_does_not_end_on_a_plateau():
    """Where the worst case's format is so coarse that a layer is 0, one bit more changes nothing, six change all."""
    ctl, inputs = relu(2, seed=24, gain=4.0), 0.1 * wander(24, size=0.02)
    q = ctl.quantize(calibration=inputs)
    assert np.ptp(q.rollout(inputs)) > 0
    assert error(ctl, q, inputs) < 0.005  # 3.7, and a constant 0, before all formats were tried


STACKS = [(2, 16, 0.002), (3, 16, 0.003), (2, 8, 0.07), (3, 8, 0.05)]


@pytest.mark.parametrize(("layers", "weight_bits", "most"), STACKS[::3] if numba.config.DISABLE_JIT else STACKS)
def test_stacks_follow_float(layers, weight_bits, most):
    for seed in range(1 if numba.config.DISABLE_JIT else 4):
        ctl, inputs = relu(layers, seed), wander(seed)
        assert error(ctl, ctl.quantize(weight_bits=weight_bits, calibration=inputs), inputs) < most


@pytest.mark.parametrize("weight_bits", [8, 16])
@pytest.mark.parametrize("cell", [name for name in CELL_NAMES if name != "hopfield"])
def test_weights_do_not_depend_on_whether_their_input_moved(cell, weight_bits):
    spec = nc.Spec(cell=cell, inputs=3, neurons=6, outputs=1, dt_s=0.02, input_limits=UNIT * 3)
    ctl = nc.Controller(spec, seed=2)
    first = next(name for name in ("W_in", "W_in.0") if name in ctl.params)
    ctl.params[first][:, 0] = 10.0
    moving = wander(0)
    quiet = moving.copy()
    quiet[:, 0] = 0.0
    forms = [ctl.quantize(weight_bits, recorded) for recorded in (moving, quiet)]
    assert forms[0].formats[first] == forms[1].formats[first]
    for q in forms:
        stored = q.formats[first].dequantize(q.layout.views(q.theta_q)[first])
        assert stored[:, 0] == pytest.approx(10.0, abs=q.formats[first].lsb)
    if spec.activation != "relu":
        assert np.array_equal(forms[0].theta_q, forms[1].theta_q)


def test_no_weight_saturates_and_the_report_counts_them():
    for seed in range(4):
        for cell, bits in ((cell, bits) for cell in CELL_NAMES if cell != "hopfield" for bits in (8, 16)):
            spec = nc.Spec(cell=cell, inputs=3, neurons=6, outputs=2, dt_s=0.02, input_limits=UNIT * 3)
            ctl = nc.Controller(spec, seed=seed)
            q = ctl.quantize(bits, wander(seed))
            assert sum(block.saturated for block in measure_quantization(q, ctl).blocks) == 0


def test_a_weight_beyond_its_format_is_counted_and_refused():
    ctl = nc.Controller(nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02, input_limits=UNIT), seed=0)
    q = ctl.quantize()
    ctl.params["W_in"][0] = 100.0
    (block,) = (block for block in measure_quantization(q, ctl).blocks if block.name == "W_in")
    assert block.saturated == 1
    with pytest.raises(nc.ExportError, match="W_in: up to 100; allowed in its format"):
        q.requantize(ctl.theta)


def test_an_input_that_was_quiet_may_move_later():
    """The recording says nothing of what it brings: ReLU's format leaves room for it."""
    ctl = relu(2, seed=3)
    ctl.params["W_in.0"][:, 0] = 3.0
    moving = wander(1)
    quiet = np.where([True, False, False], 0.0, 0.2 * moving).astype(np.float32)
    q = ctl.quantize(calibration=quiet)
    assert error(ctl, q, moving) < 0.02


# --- Coarse formats --------------------------------------------------------------------------------------------------


def mixed(narrow, wide=(-1000.0, 1000.0), **fields):
    return nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=2, dt_s=0.02, input_limits=(narrow, wide), **fields)


def test_an_input_too_narrow_for_a_shared_format_is_refused():
    ctl = nc.Controller(mixed((-0.01, 0.01)), seed=0)
    text = r"input 0 \(-0.01 to 0.01, last bit 4.8e-07\) has 0.64 steps of .* input 1 \(-1000 to 1000, last bit 0.031\)"
    with pytest.raises(nc.ExportError, match=f"input_limits: {text}; allowed: at least 16 steps, .*allow_coarse"):
        ctl.quantize(shared_formats=True)
    with pytest.warns(nc.QuantizationWarning, match=text):
        q = ctl.quantize(allow_coarse=True, shared_formats=True)
    assert q.quantize_input([0.01, 0.0])[0] == 0
    assert ctl.quantize().quantize_input([0.01, 0.0])[0] > 1 << 14
    nc.Controller(mixed((-0.01, 0.01), scale_inputs=True), seed=0).quantize()


def test_an_output_too_narrow_for_a_shared_format_is_refused():
    spec = nc.Spec(
        cell="elman",
        inputs=1,
        neurons=3,
        outputs=2,
        dt_s=0.02,
        input_limits=UNIT,
        output_limits=((-1e3, 1e3), (0, 0.1)),
    )
    with pytest.raises(nc.ExportError, match=r"output_limits: output 1 \(0 to 0.1, .* output 0 \(-1000 to 1000, "):
        nc.Controller(spec, seed=0).quantize(shared_formats=True)
    with pytest.warns(nc.QuantizationWarning, match="output 1"):
        nc.Controller(spec, seed=0).quantize(allow_coarse=True, shared_formats=True)
    nc.Controller(spec, seed=0).quantize()
    # tanh reaches 1 alone, and an output that its limits leave constant loses nothing
    for pair in ((0.0, 0.1), (5.0, 10.0)):
        squashed = dataclasses.replace(spec, output_activation="tanh", output_limits=((-1e3, 1e3), pair))
        if pair[0]:
            squashed = dataclasses.replace(squashed, output_limits=((-1.0, 1.0), pair))
        nc.Controller(squashed, seed=0).quantize()


def test_fewer_than_8_bits_of_a_range_are_told():
    with pytest.warns(nc.QuantizationWarning, match=r"input_limits: input 0 .* has 192 steps"):
        nc.Controller(mixed((-3.0, 3.0)), seed=0).quantize(shared_formats=True)
    with pytest.warns(nc.QuantizationWarning, match=r"has 16 steps between its limits"):
        nc.Controller(mixed((1000.0, 1000.5)), seed=0).quantize()
    nc.Controller(mixed((-3.0, 3.0)), seed=0).quantize()
    nc.Controller(mixed((-4.0, 4.0)), seed=0).quantize()


def test_what_was_saved_coarse_is_loaded(tmp_path):
    """It is told again where there are fewer than 16 steps."""
    with pytest.warns(nc.QuantizationWarning):
        q = nc.Controller(mixed((1000.0, 1000.1)), seed=0).quantize(allow_coarse=True)
    q.save(tmp_path / "q.npz")
    with pytest.warns(nc.QuantizationWarning, match=r"^input_limits: input 0 .* has 3.2 steps "):
        assert nc.load(tmp_path / "q.npz").model_crc32 == q.model_crc32


# --- Inputs beyond their limits --------------------------------------------------------------------------------------


def test_recorded_inputs_beyond_the_limits_are_counted():
    ctl = nc.Controller(mixed((-1.0, 1.0), (-1.0, 1.0)), seed=0)
    recorded = np.zeros((200, 2))
    recorded[:3, 1], recorded[3, 0] = 1.5, -7.0
    text = r"4 of 400 numbers \(1 %\) lie beyond input_limits, most of input 1 \(-1 to 1\): 1.5 % of the steps"
    with pytest.warns(nc.QuantizationWarning, match=text):
        q = ctl.quantize(calibration=recorded)
    told = measure_quantization(q, ctl).to_dict()["inputs_beyond_limits"]
    assert told == {"numbers": 4, "steps": 200, "by_input": [1, 3]}


def test_the_limit_itself_is_not_beyond():
    third = 1 / 3
    count = BeyondLimits(((-third, third), (third, 1e300)))
    count.count(np.array([[third, third], [-third, 2.0]], np.float32)).count(np.array([third, third]))
    assert (count.numbers, count.rows) == (0, 3)
    assert count.count([math.nextafter(0.34, 1), math.nan]).by_input.tolist() == [1, 0]
    assert str(count).startswith("1 of 8 numbers")


# --- State bits ------------------------------------------------------------------------------------------------------


def test_a_16_bit_state_that_saves_no_ram_says_so():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=8, outputs=1, dt_s=1 / 60, input_limits=((-3.0, 3.0), (-0.5, 0.5)))
    ctl = nc.Controller(spec, seed=1)
    ctl.params["tau_s"][:] = 1.0
    note = measure_quantization(ctl.quantize(state_bits=16), ctl).state_note
    assert note.startswith("state_bits 16 saves no RAM: 48 bytes, and 48 with 32")
    assert measure_quantization(ctl.quantize(state_bits=32), ctl).state_note == ""
    ctl = relu(1, seed=0, activation="hard_tanh")
    narrow = ctl.quantize(state_bits=16)
    assert len(narrow.state_bytes()) < len(ctl.quantize().state_bytes())
    assert measure_quantization(narrow, ctl).state_note == ""
