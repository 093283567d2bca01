import math

import numpy as np
import pytest

from neuroctl.maths.jit import jit_step
from neuroctl.maths.trigonometry import atan, cos, sin


@jit_step
def all_sines(x, y):
    for i in range(x.shape[0]):
        y[i] = sin(x[i])


@jit_step
def all_cosines(x, y):
    for i in range(x.shape[0]):
        y[i] = cos(x[i])


@jit_step
def all_arc_tangents(x, y):
    for i in range(x.shape[0]):
        y[i] = atan(x[i])


FORMS = [
    pytest.param(sin, all_sines, np.sin, 4000, 2e-7, id="sin"),
    pytest.param(cos, all_cosines, np.cos, 4000, 2e-7, id="cos"),
    pytest.param(atan, all_arc_tangents, np.arctan, 1e6, 3e-7, id="atan"),
]


@pytest.mark.parametrize(("scalar", "compiled", "exact", "largest", "tolerance"), FORMS)
def test_within_tolerance_of_the_exact_value(scalar, compiled, exact, largest, tolerance):
    x = np.concatenate([np.linspace(-10, 10, 200_001), np.geomspace(1e-30, largest, 100_000)])
    single = x.astype(np.float32)
    y = np.empty_like(single)
    compiled(single, y)
    assert np.abs(y - exact(single.astype(float))).max() < tolerance
    wide = np.empty_like(x)
    compiled(x, wide)
    np.testing.assert_allclose(wide, exact(x), rtol=0, atol=1e-15 * 4)


@pytest.mark.parametrize(("scalar", "compiled", "exact", "largest", "tolerance"), FORMS)
def test_called_from_python(scalar, compiled, exact, largest, tolerance):
    assert scalar(0.5) == float(exact(0.5))
    assert abs(float(scalar(np.float32(0.5))) - exact(0.5)) < tolerance


@pytest.mark.parametrize(("scalar", "compiled", "exact", "largest", "tolerance"), FORMS)
def test_nan_stays_nan(scalar, compiled, exact, largest, tolerance):
    y = np.empty(1, np.float32)
    compiled(np.array([np.nan], np.float32), y)
    assert math.isnan(y[0])
