"""Other parameters in the formats of an integer controller: what fits is rounded into them, the rest is refused."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import ExportError
from tests.firmware.helpers import CELLS, controller


def theta_of(q, seed=3):
    return nc.Controller(q.spec, seed=seed).theta


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_parameters_give_the_same_controller(cell):
    q = controller(cell=cell)
    again = q.requantize(theta_of(q))
    assert again.model_crc32 == q.model_crc32
    assert again.formats == q.formats


@pytest.mark.parametrize("cell", CELLS)
def test_other_parameters_are_rounded_into_the_formats_kept(cell):
    """Each within half a last bit; tau and u, which have a packed form, by what the float controller does with them."""
    q = controller(cell=cell, calibrated=True)
    flat = theta_of(q)
    flat = (flat * np.random.default_rng(0).uniform(0.9, 0.99, flat.shape)).astype(np.float32)
    if "tau_s" in q.layout:
        flat[q.layout["tau_s"].part] *= 1.2
    other = q.requantize(flat)
    assert other.calibration is q.calibration
    for name, block in q.layout.blocks.items():
        if name in q.formats:
            error = other.formats[name].dequantize(other.theta_q[block.part]) - flat[block.part]
            assert np.abs(error).max() <= 0.5001 * q.formats[name].lsb
    if not cell.startswith("hopfield"):
        u = np.random.default_rng(1).normal(0, 0.5, (100, 2))
        reach = np.abs(nc.Controller(q.spec, flat).rollout(u)).max()
        assert np.abs(other.rollout(u) - nc.Controller(q.spec, flat).rollout(u)).max() < 0.02 * max(reach, 1.0)


@pytest.mark.parametrize(
    ("block", "factor", "text"),
    [("W", 100.0, "^W: up to"), ("b_out", 1e6, "^b_out: up to"), ("bias", 1e4, "^bias: up to"), ("gain", 2.5, "^gain")],
)
def test_what_does_not_fit_its_format_is_refused(block, factor, text):
    q = controller()
    flat = theta_of(q)
    flat[q.layout[block].part] *= factor
    with pytest.raises(ExportError, match=text + ".*; allowed in its format: "):
        q.requantize(flat)


def test_what_fits_but_is_not_proven_is_refused():
    """Each weight fits its word, but no longer all the sums of them."""
    q = controller(neurons=64)
    flat = theta_of(q)
    form = q.formats["W"]
    flat[q.layout["W"].part] = np.float32(form.high * form.lsb * 0.99)
    with pytest.raises(ExportError, match="can reach .*; allowed: below 2\\^30"):
        q.requantize(flat)


def test_a_neuron_too_slow_for_formats_without_a_residual_is_refused():
    q = controller()
    assert "residual" not in q.formats
    flat = theta_of(q)
    flat[q.layout["tau_s"].part] = 1e6
    with pytest.raises(ExportError, match=r"^tau_s: up to 1e\+06; allowed in formats without a residual"):
        q.requantize(flat)
    flat[q.layout["tau_s"].part] = 0.011
    with pytest.raises(ExportError, match=r"^tau_s\[0\]: 0.011; allowed in fixed point: at least dt_s"):
        q.requantize(flat)


@pytest.mark.parametrize("theta", [[1.0], None, "x", [[1.0]]])
def test_bad_parameters_are_refused(theta):
    with pytest.raises(nc.LayoutError, match="^theta: "):
        controller().requantize(theta)


def test_nan_is_refused():
    q = controller()
    flat = theta_of(q)
    flat[3] = np.nan
    with pytest.raises(nc.LayoutError, match="^theta: W.*nan"):
        q.requantize(flat)
