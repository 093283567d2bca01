import numba
import numpy as np
import pytest

from neuroctl.maths import activations
from neuroctl.maths.fixed import LOGISTIC_TABLE, QFormat, logistic_q, tanh_q, widest_frac_bits
from neuroctl.maths.jit import STEP, jit_integer, jit_step
from tests import reference

EVERY = 50 if numba.config.DISABLE_JIT else 1
"""Plain Python takes every so many of the arguments."""


@jit_step
def logistic_all(x, y):
    for i in range(x.shape[0]):
        y[i] = activations.logistic(x[i])


@jit_integer
def logistic_q_all(x, y):
    for i in range(x.shape[0]):
        y[i] = logistic_q(x[i])


@jit_integer
def tanh_q_all(x, y):
    for i in range(x.shape[0]):
        y[i] = tanh_q(x[i])


def compiled(function):
    """Return a loop over a function, compiled with a step's flags but not cached: it closes over the function."""

    @numba.njit(fastmath=STEP["fastmath"], error_model="numpy")
    def run(x, y):
        for i in range(x.shape[0]):
            y[i] = function(x[i])

    return run


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("function", "reference_form", "reach", "ulp"),
    [
        (activations.tanh, np.tanh, (-20, 20), 4),
        (activations.decay, lambda x: -np.expm1(-x), (0, 30), 8),
        (activations.relu, lambda x: np.maximum(x, 0), (-5, 5), 0),
        (activations.hard_tanh, lambda x: np.clip(x, -1, 1), (-5, 5), 0),
    ],
)
def test_functions_are_accurate_over_their_range(function, reference_form, reach, ulp, dtype):
    x = np.concatenate([np.linspace(*reach, 200_001), np.geomspace(1e-30, 1, 50_000)])[::EVERY].astype(dtype)
    y = np.empty_like(x)
    run = compiled(function)
    run(x, y)
    expected = reference_form(x.astype(np.longdouble))
    assert (np.abs(y - expected) <= ulp * np.spacing(np.abs(expected).astype(dtype))).all()
    x[0] = np.nan
    run(x, y)
    assert np.isnan(y[0])


def exact(x):
    return 1 / (1 + np.exp(-x.astype(np.longdouble)))


@pytest.mark.parametrize(("dtype", "reach", "ulp"), [("float32", 86, 4), ("float64", 700, 4)])
def test_logistic_is_within_4_ulp(dtype, reach, ulp):
    x = np.linspace(-reach, 100, 400_001)[::EVERY].astype(dtype)
    y = np.empty_like(x)
    logistic_all(x, y)
    expected = exact(x)
    error = np.abs(y - expected) / np.spacing(expected.astype(dtype))
    assert error.max() <= ulp
    assert (np.diff(y) >= -np.spacing(y[1:])).all()


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the JIT is disabled: there is no assembly to look at")
def test_logistic_vectorizes():
    fresh = numba.njit(**STEP | {"cache": False})(logistic_all.py_func)  # what comes from a cache cannot be looked at
    fresh(np.zeros(1, np.float32), np.zeros(1, np.float32))
    assembly = fresh.inspect_asm(fresh.signatures[0])
    assert "divps" in assembly, "no packed division: the loop was not vectorized"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logistic_at_the_ends(dtype):
    x = np.array([-np.inf, -1e30, 0, 1e30, np.inf, np.nan], dtype)
    y = np.empty_like(x)
    logistic_all(x, y)
    assert (y[:2] < 2e-38).all()
    assert list(y[2:5]) == [0.5, 1, 1]
    assert np.isnan(y[5])


def test_table_logistic_is_within_one_lsb_over_all_16_bit_arguments():
    """All 65,536 int16 arguments over [-16, 16), and a dense grid of the table's own argument; 176 bytes in C."""
    coarse = np.arange(-32768, 32768, dtype=np.int64) << 6  # 11 fractional bits -> 17
    fine = np.arange(-11 << 17, (11 << 17) + 1, 3, dtype=np.int64)
    for x, logistic_most in ((coarse[::EVERY], 1.0), (fine[::EVERY], 0.72)):
        for compiled, function, most in ((logistic_q_all, exact, logistic_most), (tanh_q_all, np.tanh, 1.0)):
            y = np.empty_like(x)
            compiled(x, y)
            assert np.abs(y - function(x / 2.0**17) * 32768).max() <= most
            assert (np.diff(y) >= -1).all()
    assert LOGISTIC_TABLE.shape == (22, 4)
    assert LOGISTIC_TABLE[:, :2].max() < 65536
    assert np.abs(LOGISTIC_TABLE[:, 2:]).max() < 32768


def test_table_logistic_equals_the_plain_form():
    x = np.random.default_rng(0).integers(-12 << 17, 12 << 17, 5000)
    x = np.concatenate([x, [0, 1, -1, 1 << 16, (1 << 16) - 1, 11 << 17, (11 << 17) - 1, -11 << 17, 12 << 17]])
    y = np.empty_like(x)
    logistic_q_all(x, y)
    assert [reference.logistic_q(int(v), LOGISTIC_TABLE) for v in x] == list(y)
    tanh_q_all(x, y)
    assert [reference.tanh_q(int(v), LOGISTIC_TABLE) for v in x] == list(y)


def test_qformat_rounds_half_up_and_saturates():
    f = QFormat(16, 4)
    values = [0.03125, -0.03125, 0.031, 5000.0, -5000.0, np.nan, np.inf, -np.inf]
    assert list(f.quantize(values)) == [1, 0, 0, 32767, -32768, 0, 32767, -32768]
    assert list(f.dequantize([16, -8])) == [1.0, -0.5]


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("largest", [1e-6, 0.5, 0.99999, 1.0, 1.00001, 2.4, 127.0, 127.6, 32767.4, 32767.6, 1e6])
def test_widest_frac_bits_is_the_widest_that_fits(largest, bits):
    frac_bits = widest_frac_bits(largest, bits, 40)
    top = 2 ** (bits - 1) - 1
    assert np.floor(largest * 2.0**frac_bits + 0.5) <= top
    assert frac_bits == 40 or np.floor(largest * 2.0 ** (frac_bits + 1) + 0.5) > top
