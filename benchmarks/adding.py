"""The adding problem: two numbers far apart in time, to be summed at the end.

    python benchmarks/adding.py --steps 1000 --seeds 0 1 2 3 4 --out adding.csv
    python benchmarks/adding.py --steps 1000 --cell elman --seeds 0 --out elman.csv
    python benchmarks/adding.py --plot adding.png adding.csv elman.csv

A sequence has two inputs: a number from 0 to 1, and a marker that is 1 at one step of each half and else 0. The target,
at the last step alone, is the sum of the two marked numbers. Who always answers 1 has a mean square error (MSE) of 1/6.
S. Li et al., "Independently recurrent neural network (IndRNN)", CVPR 2018, section 5.1: two layers of 128 ReLU neurons,
Adam, batches of sequences that are all new: here 64. Weights on inputs and between layers start within 1 / steps, so
that sums over all steps begin small; for the same reason the learning rate is 0.3 / steps, and falls along a cosine.
Training ends when the MSE of 1000 new sequences is below 0.01, or after 30 minutes of CPU time: 15 minutes on 2 cores.

Rows: the MSE of the last 100 batches, or in the last row of those that got there of the 1000 sequences; seconds of a
clock, and CPU seconds of all threads.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.train import Adam, Gradient, Projection, start
from neuroctl.train.optim import clip, global_norm

BATCH, EVERY, RECENT, GOAL, TESTED = 64, 100, 30, 0.01, 1000
NAMES = {"indrnn": "IndRNN", "elman": "Elman"}
FALLS, LEAST = 8000, 0.01  # batches over which the learning rate falls, and the share of it that is left
COLUMNS = ("cell", "steps", "seed", "batches", "mse", "seconds", "cpu_seconds")


def sequences(rng: np.random.Generator, steps: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, targets and the mask that the last step alone counts by."""
    u = np.zeros((steps, count, 2), np.float32)
    u[:, :, 0] = rng.uniform(0, 1, (steps, count))
    lane = np.arange(count)
    for at in (rng.integers(0, steps // 2, count), rng.integers(steps // 2, steps, count)):
        u[at, lane, 1] = 1
    y, mask = np.zeros((steps, count, 1), np.float32), np.zeros((steps, count), np.float32)
    y[-1, :, 0] = (u[:, :, 0] * u[:, :, 1]).sum(axis=0)
    mask[-1] = 1
    return u, y, mask


def network(cell: str, lengths: list[int], neurons: int, seed: int) -> tuple[nc.Spec, np.ndarray]:
    """Return a network, and parameters with which sums over all steps of the first length begin small."""
    own: dict[str, Any] = {"layers": 2, "horizon": lengths[-1]} if cell == "indrnn" else {}
    spec = nc.Spec(cell=cell, inputs=2, neurons=neurons, outputs=1, dt_s=1.0, **own)
    theta = start(spec, seed).copy()
    if cell == "indrnn":
        rng, p = np.random.default_rng([seed, 1]), layout(spec).views(theta)
        for layer in range(2):
            p[f"W_in.{layer}"][:] = rng.uniform(-1, 1, p[f"W_in.{layer}"].shape) / lengths[0]
    return spec, theta


def train(
    cell: str, lengths: list[int], neurons: int, seed: int, *, rate: float, minutes: float, threads: int | None
) -> Iterator[dict[str, Any]]:
    """Yield a row every 100 batches, until the goal is reached at the last length or the CPU time is over."""
    spec, theta = network(cell, lengths, neurons, seed)
    gradient, adam, bounds = Gradient(spec, threads=threads), Adam(), Projection(spec)
    state, rng, errors, lengths = adam.begin(theta), np.random.default_rng([seed, 2]), [], list(lengths)
    began, cpu = perf_counter(), process_time()

    def row(mse: float) -> dict[str, Any]:
        taken = round(perf_counter() - began, 1), round(process_time() - cpu, 1)
        return dict(zip(COLUMNS, (cell, lengths[0], seed, len(errors), float(mse), *taken), strict=True))

    while process_time() - cpu < 60 * minutes:
        mse, slope = gradient(theta, *sequences(rng, lengths[0], BATCH))
        errors.append(mse)
        k = len(errors)
        slope = clip(slope, global_norm(slope), 1.0)
        share = LEAST + 0.5 + 0.5 * math.cos(math.pi * min(k / FALLS, 1.0))
        theta, state = adam.step(theta, slope, state, k, rate * share / lengths[0])
        theta = bounds(theta)
        if k % EVERY:
            continue
        recent = np.mean(errors[-EVERY:])
        if np.mean(errors[-RECENT:]) < GOAL:
            tested = gradient.loss(theta, *sequences(np.random.default_rng([seed, 3, k]), lengths[0], TESTED))
            if tested < GOAL:
                yield row(tested)
                lengths.pop(0)
                if not lengths:
                    return
                continue
        yield row(recent)


def plot(place: str, files: list[str]) -> None:
    """Draw the MSE of all rows over batches."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for file in files:
        with Path(file).open(newline="") as rows:
            for row in csv.DictReader(rows):
                curves.setdefault((file, row["cell"], row["seed"]), []).append(row)
    names = {key: f"{NAMES[key[1]]}, T = {', then '.join(dict.fromkeys(row['steps'] for row in rows))}"
             for key, rows in curves.items()}  # fmt: skip
    colors = {name: f"C{k}" for k, name in enumerate(dict.fromkeys(names.values()))}
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for key, rows in curves.items():
        name = names[key]
        label = name if name not in {line.get_label() for line in axes.lines} else None
        points = [(float(row["batches"]), float(row["mse"])) for row in rows]
        axes.semilogy(*zip(*points, strict=True), color=colors[name], lw=1, label=label)
    axes.axhline(1 / 6, color="gray", ls=":", lw=1, label="always 1")
    axes.axhline(GOAL, color="black", ls=":", lw=1, label="goal")
    axes.set(xlabel="batches of 64 sequences", ylabel="mean square error", ylim=(None, 1))
    axes.legend(fontsize=8)
    figure.savefig(place, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", default="indrnn", choices=("indrnn", "elman"))
    parser.add_argument("--steps", type=int, nargs="+", default=[1000],
                        help="length of a sequence; several: one after the other, each until the goal")  # fmt: skip
    parser.add_argument("--neurons", type=int, default=128, help="of a layer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rate", type=float, default=0.3, help="learning rate of the first batches times steps")
    parser.add_argument("--minutes", type=float, default=30, help="of CPU time for a seed, at most")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", help="CSV file for the rows; those of other seeds in it stay")
    parser.add_argument("--plot", nargs="+", metavar="FILE", help="picture to draw, then CSV files")
    o = parser.parse_args()
    if o.plot:
        plot(o.plot[0], o.plot[1:])
        return
    print(" ".join(f"{name:>11}" for name in COLUMNS))
    for seed in o.seeds:
        for row in train(o.cell, o.steps, o.neurons, seed, rate=o.rate, minutes=o.minutes, threads=o.threads):
            print(" ".join(f"{value:>11.5g}" if isinstance(value, float) else f"{value:>11}" for value in row.values()),
                  flush=True)  # fmt: skip
            if o.out:
                new = not Path(o.out).exists()
                with Path(o.out).open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    if new:
                        writer.writeheader()
                    writer.writerow(row)


if __name__ == "__main__":
    main()
