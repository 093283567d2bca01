"""One CTRNN step in a compiled loop, beside C built from the same equation, in one run.

    python benchmarks/compiled.py

C is built by cc with -O3 -march=native -ffast-math. Both run 20,000 steps with 8 inputs and 4 outputs; the figures are
the smallest of several runs that take turns, and the ratio is the median of the ratios of neighboring runs.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

import neuroctl as nc
from neuroctl.cells import ctrnn, step_floats, step_ints

STEPS, INPUTS, OUTPUTS, RUNS = 20_000, 8, 4, 11


def built_c(folder: str) -> ctypes.CDLL:
    library = Path(folder) / "ctrnn.so"
    source = Path(__file__).with_name("ctrnn.c")
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(source), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def compare(library: ctypes.CDLL, neurons: int) -> tuple[float, float, float]:
    """Return nanoseconds a step of ours and of C, and the median ratio."""
    spec = nc.Spec(cell="ctrnn", inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01)
    ctl = nc.Controller(spec, seed=0)
    u = np.random.default_rng(0).standard_normal((STEPS, INPUTS)).astype(np.float32)
    ours, theirs = np.empty((STEPS, OUTPUTS), np.float32), np.empty((STEPS, OUTPUTS), np.float32)
    ints, floats = step_ints(spec), step_floats(spec)
    y, scratch = np.zeros(neurons, np.float32), np.zeros(3 * neurons, np.float32)
    sizes = [ctypes.c_long(value) for value in (STEPS, neurons, INPUTS, OUTPUTS)]
    arrays = [pointer(array) for array in (ctl.theta, y, scratch, u, theirs)]

    def run_ours() -> None:
        ctl.reset()
        ctrnn.CELL.rollout(ctl.theta, ctl.state, u, ours, ints, floats)

    def run_c() -> None:
        y[:] = 0
        library.ctrnn_rollout(*arrays, *sizes, ctypes.c_float(0.01))

    run_ours()
    run_c()
    # Chaotic networks drift apart by rounding; the first steps show that both compute the same.
    np.testing.assert_allclose(ours[:20], theirs[:20], rtol=1e-3, atol=1e-3)
    times = np.array([(seconds(run_ours), seconds(run_c)) for _ in range(RUNS)]) / STEPS * 1e9
    return times[:, 0].min(), times[:, 1].min(), float(np.median(times[:, 0] / times[:, 1]))


def main() -> None:
    """Print a row a size."""
    with tempfile.TemporaryDirectory() as folder:
        library = built_c(folder)
        print(f"{'neurons':>7}{'neuroctl [ns]':>15}{'C [ns]':>9}{'ratio':>8}")
        for neurons in (8, 16, 32, 64, 128):
            ours, theirs, ratio = compare(library, neurons)
            print(f"{neurons:>7}{ours:>15.0f}{theirs:>9.0f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
