"""Speed of controllers on this machine, for ``neuroctl bench`` and the scripts in ``benchmarks/``."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter, perf_counter_ns
from typing import Any, Final

import numpy as np

from neuroctl.backends import get
from neuroctl.cells import initial
from neuroctl.checks import integer
from neuroctl.controller import Controller
from neuroctl.errors import LayoutError
from neuroctl.spec import CELL_NAMES, Spec

CALLS: Final = 50_000
INPUTS, OUTPUTS = 8, 4
_DISTINCT: Final = 64  # controllers of a population that differ

_COLD: Final = """
from time import perf_counter
start = perf_counter()
import neuroctl as nc
imported = perf_counter()
import numpy as np
ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=8, neurons=32, outputs=4, dt_s=0.01))
ctl.step(np.zeros(8, np.float32))
print([imported - start, perf_counter() - imported])
"""


def latency(step: Callable[[], Any], calls: int = CALLS) -> dict[str, float]:
    """Measure the duration of single calls, less the median duration of an empty call.

    Returns:
        The 50th, 99th and 99.9th percentile in microseconds: ``p50_us``, ``p99_us``, ``p999_us``.

    Raises:
        LayoutError: ``calls`` is no integer >= 1.

    """
    calls = integer("calls", calls, 1, error=LayoutError)
    times = np.empty(calls, np.int64)
    empty = 0.0
    for call in (lambda: None, step):
        for _ in range(1000):
            call()
        gc.collect()
        gc.disable()
        for i in range(calls):
            start = perf_counter_ns()
            call()
            times[i] = perf_counter_ns() - start
        gc.enable()
        if call is not step:
            empty = float(np.median(times))
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) - empty
    return {"p50_us": p50 / 1e3, "p99_us": p99 / 1e3, "p999_us": p999 / 1e3}


def cell_step(cell: str, neurons: int, *, fixed: bool = False) -> Callable[[], Any]:
    """Return a function that steps a random controller with 8 inputs and 4 outputs once.

    Args:
        cell: name of the cell.
        neurons: number of neurons.
        fixed: whether the controller is in fixed point.

    """
    options: dict[str, Any] = {"readout": "last", "settle_steps": 10} if cell == "hopfield" else {}
    limits = ((-1.0, 1.0),) * INPUTS
    spec = Spec(
        cell=cell, inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01, input_limits=limits, **options
    )  # fmt: skip
    ctl = Controller(spec).quantize() if fixed else Controller(spec)
    u = np.full(INPUTS, 0.1, np.float32)
    return lambda: ctl.step(u)


def lanes(neurons: int, count: int = 1024, steps: int = 256) -> float:
    """Measure the throughput of a population of CTRNNs on recorded inputs, on SIMD lanes and all cores.

    Args:
        neurons: number of neurons of each controller.
        count: number of controllers, an integer >= 1; of each 64 in a row all differ.
        steps: number of control steps in a rollout, an integer >= 1.

    Returns:
        Control steps per second of the whole population, the median of five rollouts.

    Raises:
        SpecError: ``neurons`` is out of range.
        LayoutError: ``count`` or ``steps`` is.

    """
    count, steps = integer("count", count, 1, error=LayoutError), integer("steps", steps, 1, error=LayoutError)
    spec = Spec(cell="ctrnn", inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01)
    few = np.stack([initial(spec, seed) for seed in range(_DISTINCT)], axis=1)
    theta = np.ascontiguousarray(few[:, np.arange(count) % _DISTINCT])
    u = np.random.default_rng(0).standard_normal((steps, INPUTS)).astype(np.float32)
    seconds = []
    for _ in range(6):
        start = perf_counter()
        get("cpu").rollout(spec, theta, u)
        seconds.append(perf_counter() - start)
    return count * steps / float(np.median(seconds[1:]))


def cold_start(runs: int = 5) -> dict[str, float]:
    """Measure the start of a new process with compiled code already cached.

    Returns:
        Medians in seconds: ``import_s`` for the import of neuroctl, then ``first_step_s`` for the first step.

    Raises:
        LayoutError: ``runs`` is no integer >= 1.

    """
    runs = integer("runs", runs, 1, error=LayoutError)
    times = []
    for _ in range(runs + 1):
        done = subprocess.run([sys.executable, "-c", _COLD], capture_output=True, text=True, check=True)
        times.append(json.loads(done.stdout))
    imported, first = np.median(times[1:], axis=0)  # the first may have compiled
    return {"import_s": float(imported), "first_step_s": float(first)}


def short(neurons: tuple[int, ...] = (8, 32)) -> dict[str, Any]:
    """Run the short benchmark for each number of neurons.

    Returns:
        ``step``: latency of each cell, size and form (float and fixed), see ``latency``; ``lanes_steps_per_s``: see
        ``lanes``; ``cold_start``: see ``cold_start``.

    """
    rows = []
    for cell in CELL_NAMES:
        for n in neurons:
            for fixed in (False, True):
                figures = latency(cell_step(cell, n, fixed=fixed), 10_000)
                rows.append({"cell": cell, "neurons": n, "form": "fixed" if fixed else "float"} | figures)
    throughput = {str(n): lanes(n) for n in neurons}
    return {"step": rows, "lanes_steps_per_s": throughput, "cold_start": cold_start(3)}
