"""A population is quantized at once, to what each of its controllers alone is quantized to."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import ExportError, QuantizationWarning
from neuroctl.quant import QuantController, quantize, quantize_many, quantize_possible

LIMITS = ((-1, 1), (-20, 15))
SPECS = {
    "ctrnn": {},
    "ctrnn etd1": {"integrator": "etd1", "output_limits": ((-3, 3),)},
    "ctrnn squashed": {"output_activation": "tanh", "output_limits": ((-0.5, 2),)},
    "ctrnn identity": {"readout": "identity", "outputs": 6, "scale_inputs": True},
    "elman": {"activation": "logistic"},
    "elman relu": {"activation": "relu"},
    "jordan": {"context_decay": 0.9, "output_limits": ((-1, 1),)},
    "jordan relu": {"activation": "relu", "output_limits": ((-1, 1),)},
    "indrnn": {"horizon": 100, "layers": 2, "residual": True},
    "indrnn tanh": {"activation": "tanh", "dtype": "float64"},
    "indrnn hard_tanh": {"activation": "hard_tanh", "layers": 3},
    "hopfield": {"readout": "last"},
    "cfc": {"backbone": (5, 4), "mode": "no_gate"},
    "cfc relu": {"backbone": (5,), "activation": "relu"},
    "gru": {"output_limits": ((-1, 1),)},
}


def population(name, count=40, spread=1.0):
    options = {"inputs": 2, "neurons": 6, "outputs": 1, "dt_s": 0.02, "input_limits": LIMITS} | SPECS[name]
    spec = nc.Spec(cell=name.split()[0], **options)
    theta = np.array([nc.Controller(spec, seed=seed).theta for seed in range(count)])
    if spec.cell != "hopfield":  # magnitudes that differ, so that formats do
        layout = nc.Controller(spec).layout
        for block in layout.blocks.values():
            if not block.name.startswith("u."):
                steps = np.linspace(0, 12, count) if block.name == "tau_s" else np.linspace(-2, 2, count)
                theta[:, block.part] *= spread ** steps[:, None]
    return spec, theta


def same(a: QuantController, b: QuantController) -> bool:
    return (
        a.formats == b.formats
        and (a.theta_q == b.theta_q).all()
        and a.bounds == b.bounds
        and (a.ints == b.ints).all()
        and (a.start == b.start).all()
        and a.model_crc32 == b.model_crc32
    )


@pytest.mark.parametrize("bits", [(16, 32), (8, 32), (16, 16), (4, 32), (3, 16), (2, 32)])
@pytest.mark.parametrize("name", SPECS)
def test_equal_to_one_by_one(name, bits):
    spec, theta = population(name, spread=1.7)
    weight_bits, state_bits = bits
    holds = []
    for row in theta:
        try:
            holds.append(quantize(spec, row, weight_bits=weight_bits, state_bits=state_bits))
        except ExportError:
            holds.append(None)
    many, which = quantize_possible(spec, theta, weight_bits, state_bits)
    assert which.tolist() == [q is not None for q in holds]
    alone = [q for q in holds if q is not None]
    assert len(many or ()) == len(alone) and len(alone) > 10
    assert all(same(a, b) for a, b in zip(many, alone, strict=True))
    columns = many.columns
    assert (columns["start"] == [q.start for q in alone]).all()
    assert (columns["low"] == [q.input_range[0] for q in alone]).all()
    assert (columns["lsb"] == [q.last_bits for q in alone]).all()


def test_formats_of_a_population_differ():
    many = quantize_many(*population("ctrnn", spread=1.7))
    assert len({q.formats["W"].frac_bits for q in many}) > 3
    assert {"residual" in q.formats for q in many} == {True, False}


def test_a_sequence_of_controllers_of_their_own():
    spec, theta = population("elman", 5)
    many = quantize_many(spec, theta)
    assert len(many) == 5 and len(list(many)) == 5 and repr(many) == f"<QuantizedPopulation of 5: {spec.summary()}>"
    assert same(many[-1], many[4]) and [q.model_crc32 for q in many[1:3]] == [many[i].model_crc32 for i in (1, 2)]
    with pytest.raises(IndexError):
        many[5]
    one = many[0]
    one.theta_q[:] = 0
    assert many[0].theta_q.any()


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((3, 5)), np.zeros((0, 67)), "theta", None])
def test_theta_of_another_shape_is_refused(bad):
    spec, _ = population("elman", 1)
    with pytest.raises(nc.LayoutError, match="theta: "):
        quantize_many(spec, bad)


def test_what_cannot_be_held_names_its_row():
    spec, theta = population("elman", 6)
    theta[4, 0] = 3e6
    with pytest.raises(ExportError, match=r"theta\[4\]: W_in, U, bias: sums can reach 6e\+06; allowed") as e:
        quantize_many(spec, theta)
    assert e.value.refused.tolist() == [False] * 4 + [True, False]
    many, which = quantize_possible(spec, theta)
    assert which.tolist() == [True] * 4 + [False, True] and len(many) == 5
    assert quantize_possible(spec, theta[4:5]) == (None, [False])
    theta[2, 1] = np.nan
    with pytest.raises(nc.LayoutError, match=r"theta: W_in\[0, 1, 2\] is nan"):
        quantize_many(spec, theta)


def test_what_the_spec_lacks_is_said_of_none():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01)
    theta = np.array([nc.Controller(spec, seed=0).theta] * 3)
    with pytest.raises(ExportError, match="^calibration: missing"):
        quantize_many(spec, theta)
    with pytest.raises(ExportError, match="^calibration: missing"):
        quantize_possible(spec, theta)


def test_coarse_limits_are_told_as_of_one():
    spec = nc.Spec(cell="elman", inputs=2, neurons=2, outputs=1, dt_s=0.01, input_limits=((9, 9.0001), (-10, 10)))
    theta = np.array([nc.Controller(spec, seed=0).theta] * 3)
    with pytest.raises(ExportError, match="^input_limits: input 0"):
        quantize_many(spec, theta)
    with pytest.warns(QuantizationWarning, match="input_limits: input 0"):
        quantize_many(spec, theta, allow_coarse=True)


def test_a_damaged_file_cannot_overflow_the_proof():
    """Shifts to the left by 30 of sums of 46 bits: beyond 64 bits, and refused as beyond 2^30."""
    spec, theta = population("elman", 1)
    q = quantize(spec, theta[0])
    formats = dict(q.formats) | {"net": nc.QFormat(32, 45), "bias": nc.QFormat(32, 45)}
    huge = q.theta_q.copy()
    huge[:] = 2**31 - 1
    with pytest.raises(ExportError, match="can reach|is shifted by"):
        QuantController(spec, formats, huge)
