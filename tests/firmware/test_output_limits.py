"""Output limits of any size, in every cell and form of readout: C, Python's integers and the float form agree."""

import itertools

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from tests.firmware.helpers import (
    CC,
    SANITIZE,
    STRICT_C,
    batch_source,
    compiled,
    extreme_inputs,
    needs_cc,
    run_batch,
    state_of,
)

FORMS = [
    ("ctrnn", {}),
    ("ctrnn", {"readout": "identity"}),
    ("ctrnn", {"output_activation": "logistic"}),
    ("indrnn", {}),
    ("indrnn", {"readout": "identity"}),
    ("elman", {}),
    ("elman", {"output_activation": "tanh"}),
    ("jordan", {"context_decay": 0.5}),
    ("jordan", {"output_activation": "tanh"}),
    ("gru", {}),
    ("cfc", {"mode": "no_gate"}),
    ("hopfield", {"settle_steps": 8}),
]
# 1e-9 is one step of the finest format.
pytestmark = pytest.mark.filterwarnings("ignore::neuroctl.QuantizationWarning")
LARGEST = (1e-9, 1e-4, 0.7, 1.0, 5.0, 32767.0, 32768.0, 40000.0, 65536.0, 1e9)
STEPS = 30


def controllers(low, high):
    """Every form with these output limits, but for those that fixed point refuses."""
    for cell, fields in FORMS:
        outputs = 3 if fields.get("readout") == "identity" else 2
        spec = nc.Spec(
            cell=cell, inputs=2, neurons=3, outputs=outputs, dt_s=0.02, input_limits=((-1.0, 1.0),) * 2,
            output_limits=((low, high),) * outputs, **fields,
        )  # fmt: skip
        ctl = nc.Controller(spec, seed=4)
        try:
            yield ctl, ctl.quantize(allow_coarse=True)
        except nc.ExportError as error:
            refused = high >= 32768.0 if cell == "hopfield" else cell == "jordan" and high < 1e-3  # its U is too large
            assert refused, error


@needs_cc
@pytest.mark.parametrize("low", [-1.0, 0.5])
def test_c_equals_python_for_output_limits_of_any_size(tmp_path, low):
    quants = [q for high in LARGEST for _, q in controllers(low * high, high)]
    inputs = [extreme_inputs(2, STEPS, seed) for seed, _ in enumerate(quants)]
    headers = [firmware_export.export(q, tmp_path / f"c{k}", name=f"c{k}") for k, q in enumerate(quants)]
    program = compiled(CC, [*STRICT_C, *SANITIZE, "-O0"], batch_source(headers, quants), tmp_path)
    for q, u, (outputs, states) in zip(quants, inputs, run_batch(program, quants, inputs), strict=True):
        q.reset()
        assert np.array_equal(q.rollout_int(u), outputs), q.spec
        assert np.array_equal(state_of(q), states[-1]), q.spec


@pytest.mark.parametrize(("low", "high"), list(itertools.product([-1.0, 0.5], LARGEST)))
def test_fixed_point_keeps_to_output_limits_of_any_size(low, high):
    u = np.sin(np.arange(60).reshape(30, 2) / 5)
    for ctl, q in controllers(low * high, high):
        y, lsb = q.rollout(u).astype(np.float64), q.formats["out"].lsb
        assert low * high - lsb / 2 <= y.min() <= y.max() <= high + lsb / 2, q.spec
        exact = ctl.rollout(u).astype(np.float64)
        # A Jordan network's own outputs come back through U, whose words such ranges take to their ends.
        if q.spec.cell != "jordan" or 1e-3 < high < 1e6:
            assert np.abs(exact - y).max() <= 0.01 * np.abs(exact).max() + 2 * lsb, q.spec


def test_a_squashed_output_beyond_1_is_its_limit():
    for low, high, expected in ((5.0, 6.0, 5.0), (-3.0, -2.0, -2.0), (5.0, 6e4, 5.0)):
        limits = {"input_limits": ((-1.0, 1.0),), "output_limits": ((low, high),)}
        spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02, output_activation="tanh", **limits)
        assert nc.Controller(spec, seed=0).quantize().step(np.zeros(1, np.float32)) == expected


@pytest.mark.parametrize("limit", [32768.0, 4e4, 1e9])
def test_limits_that_hide_a_hopfield_networks_outputs_are_refused(limit):
    limits = {"input_limits": ((-1.0, 1.0),), "output_limits": ((-limit, limit),)}
    spec = nc.Spec(cell="hopfield", inputs=1, neurons=2, outputs=1, dt_s=0.02, **limits)
    with pytest.raises(nc.ExportError, match="output_limits: .*limits up to 32767"):
        nc.Controller(spec, seed=0).quantize()
