"""Inputs that no sensor should give: huge, infinite, not a number, read-only, out of place in memory."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.maths.fixed import quantize_into
from neuroctl.spec import CELL_NAMES

HUGE = [sign * 10.0**power for power in range(-3, 39) for sign in (1, -1)]


def fixed(cell="elman", **fields):
    fields = {"input_limits": ((-1.0, 1.0),) * 2, "dtype": "float32"} | fields
    ctl = nc.Controller(nc.Spec(cell=cell, inputs=2, neurons=3, outputs=1, dt_s=0.02, **fields), seed=1)
    return ctl.quantize(allow_coarse=True)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("low", [-1.0, -1e-9, -1e9])
@pytest.mark.filterwarnings("ignore::neuroctl.QuantizationWarning")  # 1e-9 is two steps of the finest format
def test_a_huge_input_saturates_on_its_own_side(cell, dtype, low):
    q = fixed(cell, dtype=dtype, input_limits=((low, -low),) * 2)
    for value in [*HUGE, np.inf, -np.inf, np.nan]:
        u = np.array([value, -value], dtype)
        expected = q.quantize_input(u)
        quantize_into(u, *q.conversion[:5], q._ui)
        assert q._ui.tolist() == expected.tolist()
        if abs(value) > -low:
            assert np.sign(expected).tolist() == np.sign(u).tolist()
        q.reset()
        y = q.step(u).copy()
        q.reset()
        assert q.rollout(u[None])[0] == y


@pytest.mark.parametrize("scaled", [False, True])
def test_the_largest_doubles_saturate_without_a_warning(scaled):
    q = fixed(dtype="float64", scale_inputs=scaled, input_limits=((-3.0, 1.0),) * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        top = q.rollout(np.array([[1.7e308, -1.7e308]]))
        q.reset()
        assert q.rollout(np.array([[1.0, -3.0]])) == top


def test_nan_counts_as_zero_in_a_step_and_in_a_rollout():
    q = fixed()
    u = np.array([[np.nan, 0.5], [np.inf, np.nan], [-np.inf, 0.1]], np.float32)
    plain = np.array([[0.0, 0.5], [1.0, 0.0], [-1.0, 0.1]], np.float32)
    steps = np.array([q.step(row).copy() for row in u])
    for inputs in (u, plain):
        q.reset()
        assert (q.rollout(inputs) == steps).all()
    with pytest.raises(nc.LayoutError, match="inputs: shape"):
        q.rollout(np.zeros((3, 5)))


def test_fixed_point_takes_read_only_and_unaligned_arrays():
    q = fixed()
    frozen = np.frombuffer(np.array([0.1, 0.2], np.float32).tobytes(), np.float32)
    unaligned = np.frombuffer(b"\0" + frozen.tobytes(), np.uint8)[1:].view(np.float32)
    first = q.step(frozen.copy()).copy()
    for u in (frozen, unaligned):
        q.reset()
        assert q.step(u) == first


BUILD = """
import threading, neuroctl as nc
spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.02)
failed, start = [], threading.Barrier(4)
def build():
    start.wait()
    try:
        for _ in range(100):
            nc.Controller(spec)
    except Exception as error:
        failed.append(repr(error))
threads = [threading.Thread(target=build) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
raise SystemExit("; ".join(failed) or None)
"""


def test_threads_build_controllers_at_the_same_time():
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
