"""A motor's current with faults and their labels, generated: load changes, commutation ripple and noise.

python examples/motor_faults.py 400 current.csv         # seconds, a table of t, ampere and fault
"""

import argparse

import numpy as np
from scipy.signal import lfilter

DT_S = 0.005
FAULTS = ("none", "bearing", "sparks", "stall", "drift")


def motor(rng, seconds, faulty=False):
    """Return the current in A, and the fault at each step, 0 for none."""
    n = int(seconds / DT_S)
    load, fault, extra = rng.uniform(1, 4, n)[np.cumsum(rng.random(n) < 0.002)], np.zeros(n, int), np.zeros(n)
    for k, at in enumerate(range(800, n - 800, 1000) if faulty else ()):
        size, kind = rng.integers(200, 400), k % 4
        t, span = np.arange(size) * DT_S, slice(at, at + size)
        hum = rng.uniform(0.1, 0.2) * np.sin(2 * np.pi * rng.uniform(25, 40) * t) * (1 + np.sin(20 * t))
        sparks = (rng.random(size) < 0.06) * rng.normal(0, 0.8, size)
        fault[span], extra[span] = kind + 1, (hum, sparks, 0 * t, np.linspace(0, rng.uniform(0.5, 1), size))[kind]
    stalled = fault == 3
    amperes = lfilter([DT_S / 0.15], [1, DT_S / 0.15 - 1], np.where(stalled, 6, load))
    phase = 2 * np.pi * DT_S * np.cumsum(np.where(stalled, 0, 14 - 1.5 * amperes))
    return amperes + ~stalled * 0.12 * (1 + 0.2 * amperes) * np.sin(phase) + extra + rng.normal(0, 0.02, n), fault


def figures(on, fault, hold):
    """Return precision and recall of steps, of events (begun in a fault or at most hold after), recall of each kind."""
    begins, ends = (np.flatnonzero(np.diff(fault > 0, prepend=0, append=0) == sign) for sign in (1, -1))
    found = np.array([on[a:b].any() for a, b in zip(begins, ends, strict=True)])
    true = [fault[max(0, k - hold) : k + 1].any() for k in np.flatnonzero(np.diff(on * 1, prepend=0) == 1)] or [0]
    hits = (on & (fault > 0)).sum()
    kinds = [found[fault[begins] == k].mean() for k in (1, 2, 3, 4)]
    return np.array([hits / max(on.sum(), 1), hits / (fault > 0).sum(), np.mean(true), found.mean(), *kinds])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("table", type=argparse.FileType("w"))
    asked = parser.parse_args()
    current, labels = motor(np.random.default_rng(0), asked.seconds, faulty=True)
    rows = [f"{k * DT_S:.3f},{x:.4f},{FAULTS[kind]}" for k, (x, kind) in enumerate(zip(current, labels, strict=True))]
    with asked.table as file:
        file.write("\n".join(["t,ampere,fault", *rows]) + "\n")
    print(f"{len(rows)} rows, {np.mean(labels > 0):.0%} of them in {np.sum(np.diff(labels) > 0)} faults")
