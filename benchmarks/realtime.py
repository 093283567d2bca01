"""A real-time loop at 1 kHz with a CTRNN of 32 neurons, by turns with the same loop with fixed work.

    python benchmarks/realtime.py                  # 60 s, and 60 s with fixed work
    python benchmarks/realtime.py --seconds 600 --json
    python benchmarks/realtime.py --seconds 600 --turn 600          # 10 minutes without a break
    python benchmarks/realtime.py --fifo 50 --cpu 1 --mlock

``library`` is the package's own share of a tick in wall time, ``controller`` the step in wall time: other processes,
interrupts and the hypervisor may hit either, in some minutes more than in others. The fixed loop, which runs by turns
with it, shows how hard. Its body is empty but for compiled arithmetic that is always the same: in ``read`` about as
long as the library's median, in ``step`` as the controller's. What that takes beyond its own median is the machine's
doing, and a share is reported with and without it:
``less noise`` is the share's median and what its quantile exceeds it by more than that of the fixed work exceeds its
own. ``cpu`` is the CPU time of the whole tick, library, controller and callbacks together, to which other processes do
not add. ``wake`` is how late the scheduler, and the interpreter's lock, let the thread run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import tracemalloc
from typing import Any

import numpy as np

from neuroctl import Controller, Spec
from neuroctl.maths.jit import jit_held
from neuroctl.realtime import Histogram, Loop, LoopReport, System

INPUTS, NEURONS, OUTPUTS = 8, 32, 4
WARM_TICKS = 1000
SHOWN = ("wake", "library", "controller", "cpu")
PEERS = {"library": "read", "controller": "controller"}  # shares, and where the fixed loop does as much


class Fixed:
    """A body that does nothing but so many additions."""

    def __init__(self, spec: Spec, count: int):
        self.spec, self._count = spec, count
        self._y = np.zeros(spec.outputs, np.float32)

    def reset(self) -> None:
        """Do nothing."""

    def step(self, u: Any) -> Any:
        """Add, and return the same outputs."""
        additions(self._count)
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

    def __init__(self, spec: Spec, ticks: int, additions: int):
        self._u = np.random.default_rng(0).uniform(-1, 1, (64, spec.inputs)).astype(np.float32)
        self._tick, self._last, self._additions = 0, ticks - 1, additions
        self.before = self.after = 0

    def read(self, u: Any) -> None:
        """Do the fixed work, or give the next recorded inputs."""
        if self._additions:
            if self._tick == 0:
                u.fill(0.0)
            additions(self._additions)
            return
        u[:] = self._u[self._tick & 63]

    def write(self, y: Any) -> None:
        """Count at two ticks."""
        if self._tick == WARM_TICKS:
            self.before = sys.getallocatedblocks()
        elif self._tick == self._last:
            self.after = sys.getallocatedblocks()
        self._tick += 1


def run(body: Any, ticks: int, options: argparse.Namespace, additions: int = 0) -> tuple[LoopReport, dict[str, int]]:
    """Run a body for so many ticks, with so many additions in ``read``.

    Returns the report, the blocks that were left, and the times it was preempted.
    """
    plant = Blocks(body.spec, ticks, additions)
    system = System(fifo=options.fifo, cpu=options.cpu, mlock=options.mlock)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    loop = Loop(body, plant, rate_hz=options.rate, overrun="catch-up", watchdog_s=30.0, system=system)
    report = loop.run(ticks=ticks)
    preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before
    return report, {"blocks": plant.after - plant.before, "preempted": preempted}


def additions_as_long(spec: Spec, options: argparse.Namespace) -> dict[str, int]:
    """Return how many additions take as long as each share's median."""
    count = 1_000_000
    additions(1)
    took = []
    for _ in range(5):
        begin = time.perf_counter_ns()
        additions(count)
        took.append(time.perf_counter_ns() - begin)
    report, _ = run(Controller(spec), 2 * WARM_TICKS, options)
    return {name: max(1, report.histograms[name].quantile(0.5) * count // sorted(took)[2]) for name in PEERS}


def less_noise(figures: dict[str, Any], share: str, quantile: str) -> float:
    """Return a share's quantile in microseconds without what as much fixed work is held up by."""
    full, fixed = figures["full"][share], figures["fixed"][PEERS[share]]
    beyond = (full[quantile] - full["p50_us"]) - (fixed[quantile] - fixed["p50_us"])
    return float(full["p50_us"] + max(0.0, beyond))


def left_bytes(spec: Spec, ticks: int = 5000) -> int:
    """Return the bytes that so many ticks leave behind, after as many to warm up; traced, and so not timed."""
    traced_bytes = [0, 0]
    count = 0

    def write(y: Any) -> None:
        nonlocal count
        count += 1
        if count in (ticks, 2 * ticks):
            traced_bytes[count // ticks - 1] = tracemalloc.get_traced_memory()[0]
        if count == 2 * ticks:
            loop.stop()

    tracemalloc.start()
    loop = Loop(Controller(spec), read=lambda u: u.fill(0.0), write=write, watchdog_s=30.0)
    loop.run()
    tracemalloc.stop()
    return traced_bytes[1] - traced_bytes[0]


def merged(reports: list[LoopReport]) -> dict[str, Histogram]:
    """Return the histograms of several runs as one."""
    whole = {name: Histogram() for name in reports[0].histograms}
    for report in reports:
        for name, histogram in report.histograms.items():
            whole[name].add(histogram)
    return whole


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run both loops by turns, and return what they showed."""
    limits = ((-1.0, 1.0),)
    spec = Spec(
        cell="ctrnn", inputs=INPUTS, neurons=NEURONS, outputs=OUTPUTS, dt_s=1.0 / options.rate,
        input_limits=limits * INPUTS, output_limits=limits * OUTPUTS,
    )  # fmt: skip
    ticks = max(2 * WARM_TICKS, round(options.seconds * options.rate))
    as_long = additions_as_long(spec, options)
    turn = max(2 * WARM_TICKS, min(ticks, round(options.turn * options.rate)))
    full, fixed, counts = [], [], []
    for _ in range(round(ticks / turn)):
        fixed.append(run(Fixed(spec, as_long["controller"]), turn, options, additions=as_long["library"])[0])
        report, count = run(Controller(spec), turn, options)
        full.append(report)
        counts.append(count)
    whole, noise = merged(full), merged(fixed)
    figures: dict[str, Any] = {
        "load": os.getloadavg(),
        "turn_ticks": turn,
        "ticks": sum(report.ticks for report in full),
        "overruns": sum(report.overruns for report in full),
        "drift_periods": max(report.drift_s / report.period_s for report in full),
        "preempted": sum(count["preempted"] for count in counts),
        "blocks left": max(count["blocks"] for count in counts),
        "bytes left, traced": left_bytes(spec),
        "fixed": {name: noise[name].to_dict() for name in ("wake", "read", "controller", "cpu")},
        "full": {name: whole[name].to_dict() for name in SHOWN},
    }
    figures["less noise"] = {
        share: {q: less_noise(figures, share, q) for q in ("p99.9_us", "p99.99_us")} for share in PEERS
    }
    return figures


def main() -> None:
    """Run the loops and print the figures beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--fifo", type=int)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--mlock", action="store_true")
    parser.add_argument("--turn", type=float, default=60.0, help="seconds after which the loops change")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures = measured(options)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{figures['ticks']} ticks in turns of {figures['turn_ticks']}, {figures['overruns']} overruns")
    print(f"\n{'[us]':<28}{'p50':>9}{'p99':>9}{'p99.9':>9}{'p99.99':>9}{'max':>11}")
    for name in SHOWN:
        for kind, column in (("full", name), ("fixed", PEERS.get(name, name))):
            row = figures[kind][column]
            columns = "".join(f"{row[f'{key}_us']:>9.1f}" for key in ("p50", "p99", "p99.9", "p99.99"))
            shown = name if kind == "full" else "fixed work as long" if name in PEERS else f"{name}, fixed loop"
            print(f"{shown:<28}{columns}{row['max_us']:>11.1f}")
    for share, goal in (("library", 100), ("controller", 20)):
        whole, less_noise_us = figures["full"][share]["p99.99_us"], figures["less noise"][share]["p99.99_us"]
        print(f"{share} p99.99: {whole:.1f} us, less noise {less_noise_us:.1f} us (goal {goal})")
    print(f"drift {figures['drift_periods']:.4f} periods (goal: below 1), preempted {figures['preempted']} times")
    print(
        f"memory blocks left by a turn: {figures['blocks left']}; "
        f"bytes left by 5000 traced ticks: {figures['bytes left, traced']}"
    )


if __name__ == "__main__":
    main()
