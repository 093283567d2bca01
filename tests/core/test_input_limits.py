"""Limits of inputs that nobody declared: measured over recorded inputs."""

import math

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.quant import limits_from


def recorded(steps=4000):
    rng = np.random.default_rng(0)
    return np.column_stack([rng.uniform(-1, 1, steps), rng.uniform(0, 400, steps), np.full(steps, 9.81)])


def test_limits_are_twice_the_recorded_range_and_make_a_spec():
    limits = limits_from(recorded())
    assert limits[0] == pytest.approx((-2, 2), rel=0.02)
    assert limits[1] == pytest.approx((-200, 600), rel=0.02)
    assert limits[2] == (0.0, 19.6), "a still input's value and its magnitude"
    spec = nc.Spec(cell="ctrnn", inputs=3, neurons=2, outputs=1, dt_s=0.01, input_limits=limits)
    assert spec.input_limits == limits


def test_a_spike_does_not_set_the_limits_and_none_of_the_options_is_ignored():
    data = recorded()
    data[7, 0] = 1e6
    assert limits_from(data)[0] == pytest.approx((-2, 2), rel=0.02)
    assert limits_from(data, tail=0.0)[0][1] > 1e6
    assert limits_from(data, margin=0.0)[1] == pytest.approx((0, 400), abs=2)


def test_a_declared_finite_side_is_kept():
    data, infinite = recorded(), math.inf
    limits = limits_from(data, [(-infinite, 3.0), (0.0, infinite), (0.0, 10.0)])
    assert limits[0] == (pytest.approx(-2, rel=0.02), 3.0)
    assert limits[1] == (0.0, pytest.approx(600, rel=0.02))
    assert limits[2] == (0.0, 10.0)


def test_a_small_range_far_from_zero_keeps_its_digits():
    low, high = limits_from([[101325.0], [101325.5]], tail=0.0)[0]
    assert (low, high) == (pytest.approx(101324.75, abs=0.011), pytest.approx(101325.75, abs=0.011))


def test_still_zero_gets_one_unit():
    assert limits_from(np.zeros((5, 1))) == ((-1.0, 1.0),)
    assert limits_from(np.zeros((5, 1)), [(0.0, math.inf)]) == ((0.0, 1.0),)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (([1.0, 2.0],), {}),
        (([[math.nan]],), {}),
        ((np.zeros((0, 2)),), {}),
        (("text",), {}),
        (([[1.0]], [(0.0, 1.0), (0.0, 1.0)]), {}),
        (([[1.0]], [(math.nan, 1.0)]), {}),
        (([[1.0]], [(50.0, math.inf)]), {}),
        (([[1.0]],), {"tail": -0.1}),
        (([[1.0]],), {"tail": 0.5}),
        (([[1.0]],), {"margin": math.inf}),
        (([[1.0]],), {"margin": math.nan}),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, options):
    with pytest.raises(nc.LayoutError, match="; allowed: ") as caught:
        limits_from(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_a_number_that_is_not_finite_is_named():
    numbers = np.zeros((4, 2))
    numbers[2, 1] = np.nan
    with pytest.raises(nc.LayoutError, match=r"^recorded\[2, 1\]: nan, of input 1; allowed: finite numbers$"):
        limits_from(numbers)
