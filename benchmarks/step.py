"""Latency of one control step from Python, beside what a user would write instead, in one run.

    python benchmarks/step.py            # table
    python benchmarks/step.py --json

Each form steps a CTRNN with 8 inputs and 4 outputs (torch: an RNNCell of the same sizes). Figures are the median,
99th and 99.9th percentile of single calls, timed one by one, and the ratio of medians to neuroctl's.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

import neuroctl as nc

INPUTS, OUTPUTS = 8, 4
CALLS = 50_000


def neuroctl_step(neurons: int) -> Callable[[], Any]:
    ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01))
    u = np.full(INPUTS, 0.1, np.float32)
    return lambda: ctl.step(u)


def fixed_step(neurons: int) -> Callable[[], Any]:
    limits = ((-1.0, 1.0),) * INPUTS
    spec = nc.Spec(cell="ctrnn", inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01, input_limits=limits)
    ctl = nc.Controller(spec).quantize()
    u = np.full(INPUTS, 0.1, np.float32)
    return lambda: ctl.step(u)


def numpy_step(neurons: int) -> Callable[[], Any]:
    p = nc.Controller(nc.Spec(cell="ctrnn", inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01)).params
    y, u, rate = np.zeros(neurons, np.float32), np.full(INPUTS, 0.1, np.float32), np.float32(0.01) / p["tau_s"]

    def step() -> Any:
        s = 1 / (1 + np.exp(-p["gain"] * (y + p["bias"])))
        y[:] += rate * (p["W"] @ s + p["W_in"] @ u - y)
        return p["W_out"] @ (1 / (1 + np.exp(-p["gain"] * (y + p["bias"])))) + p["b_out"]

    return step


def torch_step(neurons: int) -> Callable[[], Any] | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    cell, readout = torch.nn.RNNCell(INPUTS, neurons), torch.nn.Linear(neurons, OUTPUTS)
    state = {"h": torch.zeros(1, neurons)}
    u = np.full((1, INPUTS), 0.1, np.float32)

    @torch.inference_mode()
    def step() -> Any:
        state["h"] = cell(torch.from_numpy(u), state["h"])
        return readout(state["h"]).numpy()

    return step


FORMS = {"neuroctl": neuroctl_step, "neuroctl fixed": fixed_step, "NumPy": numpy_step, "torch RNNCell": torch_step}


def measure(step: Callable[[], Any]) -> dict[str, float]:
    """Time single calls; the clock's own cost, measured in the same way, is taken off."""
    times = np.empty(CALLS, np.int64)
    for call in (lambda: None, step):
        for _ in range(1000):
            call()
        gc.disable()
        for i in range(CALLS):
            start = perf_counter_ns()
            call()
            times[i] = perf_counter_ns() - start
        gc.enable()
        if call is not step:
            empty = float(np.median(times))
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) - empty
    return {"p50_us": p50 / 1e3, "p99_us": p99 / 1e3, "p999_us": p999 / 1e3}


def main() -> None:
    """Measure every form at every size and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--neurons", type=int, nargs="*", default=[8, 32, 128])
    arguments = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for neurons in arguments.neurons:
        steps = {name: make(neurons) for name, make in FORMS.items()}
        results[str(neurons)] = {name: measure(step) for name, step in steps.items() if step is not None}
    if arguments.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "step": results}, indent=1))
        return
    print(f"{'neurons':>7}  {'form':<15}{'p50 [us]':>9}{'p99':>8}{'p99.9':>8}{'ratio':>8}")
    for neurons, forms in results.items():
        base = forms["neuroctl"]["p50_us"]
        for name, t in forms.items():
            cells = f"{t['p50_us']:>9.2f}{t['p99_us']:>8.2f}{t['p999_us']:>8.2f}{t['p50_us'] / base:>8.1f}"
            print(f"{neurons:>7}  {name:<15}{cells}")
    if torch_step(8) is None:
        print("torch is not installed: its row is missing", file=sys.stderr)


if __name__ == "__main__":
    main()
