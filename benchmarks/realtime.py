"""A real-time loop at 1 kHz with a CTRNN of 32 neurons, between two halves of the same loop with an empty body.

    python benchmarks/realtime.py                  # 60 s, and half of that empty before and after
    python benchmarks/realtime.py --seconds 600 --json
    python benchmarks/realtime.py --fifo 50 --cpu 1 --mlock --log run.mcap

``library`` is the package's own share of a tick in wall time, ``controller`` the step in wall time: other processes,
interrupts and the hypervisor may hit either. The empty loop shows how hard: its ``read`` is a fixed piece of compiled
arithmetic, about as long as the library's share and always the same, so whatever it takes beyond its median is the
machine's doing. ``cpu`` is the CPU time of the whole tick, library, controller and callbacks together, to which other
processes do not add. ``wake`` is how late the scheduler, and the interpreter's lock, let the thread run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tracemalloc
from typing import Any

import numpy as np

from neuroctl import Controller, Spec
from neuroctl.maths.jit import jit_held
from neuroctl.realtime import Histogram, Loop, LoopReport, System

INPUTS, NEURONS, OUTPUTS = 8, 32, 4
WARM_TICKS = 1000
SHOWN = ("wake", "library", "controller", "cpu", "read")
FIXED_WORK = 16_000  # additions, one after the other: about 20 us


class Empty:
    """A body that does nothing."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._y = np.zeros(spec.outputs, np.float32)

    def reset(self) -> None:
        """Do nothing."""

    def step(self, u: Any) -> Any:
        """Return the same outputs."""
        return self._y


@jit_held
def additions(count: Any) -> Any:
    """Add as often as told; each waits for the one before."""
    total = 0.0
    for k in range(count):
        total += 1.0 / (k + 1)
    return total


class Blocks:
    """Callbacks of a plant that is not there; they count the interpreter's memory blocks once warm and at the end."""

    def __init__(self, spec: Spec, ticks: int, *, works: bool = False):
        self._u = np.random.default_rng(0).uniform(-1, 1, (64, spec.inputs)).astype(np.float32)
        self._tick, self._last, self._works = 0, ticks - 1, works
        self.before = self.after = 0

    def read(self, u: Any) -> None:
        """Do the fixed work, or give the next recorded inputs."""
        if self._works:
            additions(FIXED_WORK)
            return
        u[:] = self._u[self._tick & 63]

    def write(self, y: Any) -> None:
        """Count at two ticks."""
        if self._tick == WARM_TICKS:
            self.before = sys.getallocatedblocks()
        elif self._tick == self._last:
            self.after = sys.getallocatedblocks()
        self._tick += 1


def run(
    body: Any, ticks: int, options: argparse.Namespace, log: str | None = None
) -> tuple[LoopReport, dict[str, int]]:
    """Run a body for so many ticks; return the report, the blocks that were left, and the times it was preempted."""
    plant = Blocks(body.spec, ticks, works=isinstance(body, Empty))
    system = System(fifo=options.fifo, cpu=options.cpu, mlock=options.mlock)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    loop = Loop(body, plant, rate_hz=options.rate, overrun="catch-up", watchdog_s=30.0, system=system, log=log)
    report = loop.run(ticks=ticks)
    preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before
    return report, {"blocks": plant.after - plant.before, "preempted": preempted}


def left_bytes(spec: Spec, ticks: int = 5000) -> int:
    """Return the bytes that so many ticks leave behind, after as many to warm up; traced, and so not timed."""
    found = [0, 0]
    count = 0

    def write(y: Any) -> None:
        nonlocal count
        count += 1
        if count in (ticks, 2 * ticks):
            found[count // ticks - 1] = tracemalloc.get_traced_memory()[0]
        if count == 2 * ticks:
            loop.stop()

    tracemalloc.start()
    loop = Loop(Controller(spec), read=lambda u: None, write=write, watchdog_s=30.0)
    loop.run()
    tracemalloc.stop()
    return found[1] - found[0]


def merged(reports: list[LoopReport]) -> dict[str, Histogram]:
    """Return the histograms of several runs as one."""
    whole = {name: Histogram() for name in reports[0].histograms}
    for report in reports:
        for name, histogram in report.histograms.items():
            whole[name].add(histogram)
    return whole


def main() -> None:
    """Run the loops and print the figures beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--fifo", type=int)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--mlock", action="store_true")
    parser.add_argument("--log", help="write the loop's ticks to this file meanwhile")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    limits = ((-1.0, 1.0),)
    spec = Spec(
        cell="ctrnn", inputs=INPUTS, neurons=NEURONS, outputs=OUTPUTS, dt_s=1.0 / options.rate,
        input_limits=limits * INPUTS, output_limits=limits * OUTPUTS,
    )  # fmt: skip
    ticks = max(2 * WARM_TICKS, round(options.seconds * options.rate))
    additions(1)
    first, _ = run(Empty(spec), max(2 * WARM_TICKS, ticks // 2), options)
    full, counts = run(Controller(spec), ticks, options, options.log)
    last, _ = run(Empty(spec), max(2 * WARM_TICKS, ticks // 2), options)
    empty = merged([first, last])
    found: dict[str, Any] = {
        "load": os.getloadavg(),
        "ticks": full.ticks,
        "overruns": full.overruns,
        "drift_periods": full.drift_s / full.period_s,
        "preempted": counts["preempted"],
        "blocks left": counts["blocks"],
        "bytes left, traced": left_bytes(spec),
        "empty": {name: empty[name].to_dict() for name in SHOWN},
        "full": {name: full.histograms[name].to_dict() for name in SHOWN},
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(full.text())
    print(f"\n{'[us]':<24}{'p50':>9}{'p99':>9}{'p99.9':>9}{'p99.99':>9}{'max':>11}")
    for name in SHOWN:
        for kind in ("empty", "full"):
            row = found[kind][name]
            figures = "".join(f"{row[f'{key}_us']:>9.1f}" for key in ("p50", "p99", "p99.9", "p99.99"))
            shown = "fixed work" if (name, kind) == ("read", "empty") else name
            print(f"{shown + ', ' + kind:<24}{figures}{row['max_us']:>11.1f}")
    library, controller = found["full"]["library"]["p99.99_us"], found["full"]["controller"]["p99.99_us"]
    print(f"library p99.99 {library:.1f} us (goal 100), controller p99.99 {controller:.1f} us (goal 20)")
    print(f"drift {found['drift_periods']:.4f} periods (goal: below 1), preempted {counts['preempted']} times")
    print(
        f"memory blocks left by the run: {counts['blocks']}; "
        f"bytes left by 5000 traced ticks: {found['bytes left, traced']}"
    )


if __name__ == "__main__":
    main()
