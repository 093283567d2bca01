import math

import numba
import numpy as np
import pytest

from neuroctl.maths.jit import jit_exact_rows
from neuroctl.maths.logarithm import log1p

EVERY = 50 if numba.config.DISABLE_JIT else 1


@jit_exact_rows
def all_logarithms(x, y):
    for p in range(np.uint64(x.shape[0])):
        y[p] = log1p(x[p])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log1p_is_accurate_over_its_range(dtype):
    small = np.geomspace(1e-37, 0.999999, 200_001)
    x = np.concatenate([small, -small, np.geomspace(0.5, 3e38, 200_001), np.linspace(-0.9, 3, 200_001)])
    x = np.concatenate([[0.0], x])[::EVERY].astype(dtype)
    y = np.empty_like(x)
    all_logarithms(x, y)
    expected = np.log1p(x.astype(np.longdouble))
    assert (np.abs(y - expected) <= 3 * np.spacing(np.abs(expected).astype(dtype))).all()
    assert y[0] == 0


def test_outside_of_its_range_it_is_nan():
    y = np.empty(4, np.float32)
    with np.errstate(all="ignore"):
        all_logarithms(np.array([math.nan, -1.5, -1.0, math.inf], np.float32), y)
    assert np.isnan(y).all()
    assert log1p(0.5) == math.log1p(0.5)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_loops_over_lanes_vectorize():
    all_logarithms(np.ones(64, np.float32), np.ones(64, np.float32))
    single = [text for types, text in all_logarithms.inspect_llvm().items() if "float32" in str(types)]
    assert single and all("x float>" in text for text in single)
