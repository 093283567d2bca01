"""Inputs mapped from their limits to [-1, 1], in float, lanes and fixed point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.backends import get
from tests.strategies import any_cell


def scaled(spec, on=True):
    return nc.Spec.from_dict(spec.to_dict() | {"scale_inputs": on})


@settings(max_examples=60, deadline=None)
@given(any_cell(always_input_limits=True, dtype=st.just("float64")), st.integers(0, 2**31))
def test_the_network_sees_its_limits_as_plus_and_minus_one(spec, seed):
    rng = np.random.default_rng(seed)
    low, high = np.array(spec.input_limits).T
    unit = rng.uniform(-1.2, 1.2, (8, spec.inputs))
    physical = low + (unit + 1) / 2 * (high - low)
    plain = nc.Controller(scaled(spec, False), seed=seed % 100)
    mapped = nc.Controller(scaled(spec), plain.theta)
    expected, got = plain.rollout(unit), mapped.rollout(physical)
    # A sign, or a network near a bifurcation, may turn on the last bit of an input.
    close = np.isclose(got, expected, rtol=1e-6, atol=1e-6)
    assert close.all() or spec.cell == "hopfield"
    lanes = get("cpu").rollout(scaled(spec), np.repeat(plain.theta[:, None], 3, axis=1), physical)
    np.testing.assert_allclose(lanes.outputs[:, :, 1], got, rtol=1e-6, atol=1e-4)


def test_genes_move_across_the_scaled_range():
    spec = nc.Spec(cell="elman", inputs=2, neurons=3, outputs=1, dt_s=0.1, input_limits=((0, 1000), (-1e-3, 1e-3)))
    plain, mapped = nc.Controller(spec, seed=0), nc.Controller(scaled(spec), seed=0)
    np.testing.assert_allclose(mapped.params["W_in"], plain.params["W_in"] * [1000, 1e-3], rtol=1e-5)


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "indrnn", "jordan", "gru", "cfc"])
def test_fixed_point_takes_physical_inputs_too(cell):
    spec = nc.Spec(
        cell=cell, inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((0, 1023), (15.0, 35.0)), scale_inputs=True,
        activation={"indrnn": "tanh"}.get(cell),
    )  # fmt: skip
    ctl = nc.Controller(spec, seed=3)
    q = ctl.quantize()
    u = np.random.default_rng(0).uniform((0, 15), (1023, 35), (200, 2)).astype(np.float32)
    assert np.abs(ctl.rollout(u) - q.rollout(u)).max() < 5e-3
    raw = q.quantize_input([[0, 15], [1023, 35], [511.5, 25], [2000, 0], [np.nan, np.inf]])
    one = 1 << q.formats["u"].frac_bits
    assert raw.tolist() == [[-one, -one], [one, one], [0, 0], [one, -one], [0, one]]
    q.reset()
    by_step = [q.step(row).copy() for row in u]
    q.reset()
    assert (np.array(by_step) == q.rollout(u)).all()


def test_it_needs_limits():
    with pytest.raises(nc.SpecError, match="scale_inputs: True; allowed: False, or True with input_limits"):
        nc.Spec(cell="elman", inputs=1, neurons=1, outputs=1, dt_s=0.1, scale_inputs=True)


def test_nan_holds_the_output():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.1, input_limits=((0, 10),), scale_inputs=True)
    ctl = nc.Controller(spec, seed=0)
    before = ctl.step(np.array([3.0], np.float32)).copy()
    assert ctl.step(np.array([np.nan], np.float32)) == before
    assert ctl.fault
