"""A scan in time beside the loop, on one long sequence, in one process and in turns.

    python benchmarks/scan.py
    python benchmarks/scan.py --json

Nanoseconds a step: the smallest of several calls in several turns, and in brackets the median. Loops are a controller's
``rollout``, forward only, and ``Gradient(scan=False)``, forward and back; both run one sequence. On one thread.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter
from typing import Any

import numpy as np

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.train import Gradient

STEPS, TURNS, CALLS = 65_536, 5, 5
NEURONS = (1, 4, 8, 16, 32)
FORMS = ("forward_loop", "forward_scan", "both_loop", "both_scan")


def network(neurons: int, activation: str) -> tuple[nc.Spec, np.ndarray]:
    spec = nc.Spec(cell="indrnn", inputs=1, neurons=neurons, outputs=1, dt_s=0.01, activation=activation)
    rng = np.random.default_rng(0)
    theta = (0.4 * rng.standard_normal(layout(spec).size)).astype(np.float32)
    theta[layout(spec)["u.0"].part] = rng.uniform(-1 if activation == "hard_tanh" else 0, 1, neurons)
    return spec, theta


def measure(neurons: int, activation: str) -> dict[str, Any]:
    spec, theta = network(neurons, activation)
    u, y = np.random.default_rng(1).standard_normal((2, STEPS, 1, 1)).astype(np.float32)
    ctl, flat = nc.Controller(spec, theta), np.ascontiguousarray(u[:, 0])
    loop, scan = (Gradient(spec, scan=way, threads=1) for way in (False, True))
    calls = (
        lambda: ctl.rollout(flat), lambda: scan.outputs(theta, u), lambda: loop(theta, u, y), lambda: scan(theta, u, y)
    )  # fmt: skip
    times = np.empty((TURNS, CALLS, len(calls)))
    for call in calls:
        call()
    for turn in range(TURNS):
        for form, call in enumerate(calls):
            for k in range(CALLS):
                begin = perf_counter()
                call()
                times[turn, k, form] = (perf_counter() - begin) / STEPS * 1e9
    least = dict(zip(FORMS, times.min(axis=(0, 1)).round(2).tolist(), strict=True))
    medians = dict(zip(FORMS, np.median(times, axis=(0, 1)).round(2).tolist(), strict=True))
    return {"neurons": neurons, "activation": activation, "least_ns": least, "median_ns": medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    arguments = parser.parse_args()
    rows = [measure(neurons, activation) for activation in ("relu", "hard_tanh") for neurons in NEURONS]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("activation   n   forward: loop, scan (medians)       ratio   both ways: loop, scan (medians)     ratio")
    for row in rows:
        least, median = row["least_ns"], row["median_ns"]
        cells = []
        for a, b in (FORMS[:2], FORMS[2:]):
            text = f"{least[a]:7.1f} {least[b]:6.1f} ({median[a]:.1f} {median[b]:.1f})"
            cells.append(f"{text.ljust(35)}{least[a] / least[b]:6.1f}")
        print(f"{row['activation']:10} {row['neurons']:3}  {cells[0]}  {cells[1]}")


if __name__ == "__main__":
    main()
