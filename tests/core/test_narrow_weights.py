"""Weights of 4, 3 and 2 bits: the format that is closest to them, and what follows from it."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells.fixed.narrow import closest_frac_bits
from neuroctl.errors import ExportError
from neuroctl.maths.fixed import QFormat
from neuroctl.quantization_report import measure_quantization
from tests.firmware.helpers import CELLS, controller

NARROW = (2, 3, 4)


def squared_error(w, form):
    return float(np.sum((form.dequantize(form.quantize(w)) - w) ** 2))


@pytest.mark.parametrize("bits", NARROW)
def test_no_other_format_is_closer(bits):
    rng = np.random.default_rng(bits)
    for shape in ((1, 1), (8, 2), (16, 16), (40, 40)):
        for draw in (rng.standard_normal, rng.standard_cauchy, rng.random):
            w = draw((20, *shape)) * 2.0 ** rng.uniform(-8, 8, (20, 1, 1))
            for row, chosen in zip(w, closest_frac_bits(w, bits), strict=True):
                others = [squared_error(row, QFormat(bits, frac_bits)) for frac_bits in range(-24, 25)]
                assert squared_error(row, QFormat(bits, chosen)) <= min(others) * (1 + 1e-9)


@pytest.mark.parametrize("bits", NARROW)
def test_whole_multiples_of_a_power_of_two_stay_as_they_are(bits):
    w = np.ldexp(np.arange(-(1 << bits - 1), 1 << bits - 1, dtype=float), -5)[None, None]
    assert squared_error(w, QFormat(bits, int(closest_frac_bits(w, bits)[0]))) == 0
    assert closest_frac_bits(np.zeros((1, 2, 2)), bits).tolist() == [24]


@pytest.mark.parametrize("bits", NARROW)
@pytest.mark.parametrize("cell", CELLS)
def test_all_else_follows_from_the_weights_as_they_are_stored(cell, bits):
    """The float controller of the stored weights has the same integer form, to the bit."""
    for seed in range(4):
        q = controller(cell=cell, weight_bits=bits, seed=seed)
        ctl = nc.Controller(q.spec, seed=seed)
        stored = q.layout.views(q.theta_q)
        for name in (name for name, form in q.formats.items() if form.bits == bits):
            ctl.params[name][:] = q.formats[name].dequantize(stored[name])
        assert ctl.quantize(weight_bits=bits).model_crc32 == q.model_crc32


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "cfc"])
def test_errors_shrink_with_bits(cell):
    inputs = np.random.default_rng(0).normal(0, 0.5, (300, 2)).astype(np.float32)
    errors = []
    for bits in (2, 4, 8, 16):
        squares = []
        for seed in range(6):
            q = controller(cell=cell, weight_bits=bits, seed=seed)
            exact = nc.Controller(q.spec, seed=seed).rollout(inputs)
            squares.append(np.mean((q.rollout(inputs) - exact) ** 2) / max(float(exact.var()), 1e-9))
        errors.append(float(np.median(squares)))
    assert errors == sorted(errors, reverse=True)


def test_blocks_have_bits_of_their_own():
    spec = nc.Spec(cell="elman", inputs=2, neurons=3, outputs=1, dt_s=0.02, input_limits=((-1, 1),) * 2)
    q = nc.Controller(spec, seed=1).quantize(weight_bits={"W_in": 3, "U": 2})
    assert {name: q.formats[name].bits for name in ("W_in", "U", "W_out")} == {"W_in": 3, "U": 2, "W_out": 16}


@pytest.mark.parametrize("bits", NARROW)
def test_saved_and_loaded(bits, tmp_path):
    q = controller(weight_bits=bits)
    q.save(tmp_path / "q.npz")
    loaded = nc.load(tmp_path / "q.npz")
    assert loaded.model_crc32 == q.model_crc32
    assert loaded.formats["W"].bits == bits


def test_the_report_counts_the_weights_that_saturate():
    q = controller(weight_bits=2)
    ctl = nc.Controller(q.spec, seed=3)
    form = q.formats["W"]
    (block,) = (block for block in measure_quantization(q, ctl).blocks if block.name == "W")
    beyond = np.abs(ctl.params["W"]) > (form.high + 1) * form.lsb
    assert block.bits == 2
    assert block.saturated == beyond.sum() > 0


@pytest.mark.parametrize("bits", NARROW)
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_parameters_in_the_same_formats_are_the_same_controller(cell, bits):
    q = controller(cell=cell, weight_bits=bits)
    again = q.requantize(nc.Controller(q.spec, seed=3).theta)
    assert again.model_crc32 == q.model_crc32


def test_weights_that_need_a_coarser_format_are_refused():
    q = controller(weight_bits=4)
    theta = nc.Controller(q.spec, seed=3).theta
    theta[q.layout["W"].part] *= 4
    text = r"^W: up to .*, which 4 bits with -2 of them fractional are closest to; allowed in its format: 0 and more$"
    with pytest.raises(ExportError, match=text):
        q.requantize(theta)
