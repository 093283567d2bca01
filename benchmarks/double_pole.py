"""Evolve non-Markov double-pole balancing with four cells, and set the evaluations beside the published ones.

    python benchmarks/double_pole.py                       # 50 seeds, every cell, both fitness functions
    python benchmarks/double_pole.py --seeds 200 --cells ctrnn elman
    python benchmarks/double_pole.py --json

After F. Gomez, J. Schmidhuber and R. Miikkulainen, JMLR 9 (2008), whose plant, fitness functions and tests these are.
Standard fitness: steps balanced; solved at 100,000 from the published start. Damping fitness: it rewards a still pole
over 1,000 steps; solved when a generation's best balances 100,000 steps and then 1,000 from at least 200 of 625 starts.
An evaluation is one training episode, as in the paper; tests are not counted. Each solved champion is then run in
fixed point from all 625 starts.

Every cell is searched by SNES with 8 genomes a generation. Biases are not searched and the networks are small: the
fewer genes, the fewer evaluations. A search that has not improved for a while starts anew; all evaluations count.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.errors import StabilityWarning
from neuroctl.evolve import OPTIMIZERS, Encoding, Genome
from sims.plants import double_pole

TRAINING, LONG, GOAL, POPULATION = 1000, 100_000, 200, 8
CENTRED = {"W_out": 1.0, "b_out": 0.0, "bias": 0.0}  # one neuron spans the force's range, around its middle
PUBLISHED = {
    "standard": "ESP 7,374, CMA-ES 3,521, CoSyNE 1,249 (means); NES about 170 (median)",
    "damping": "ESP 26,342, NEAT 6,929, CMA-ES 6,061, CoSyNE 3,416 (means)",
}


@dataclass(frozen=True)
class Entry:
    """A cell with its size, what of it is not searched, and the search's first width."""

    neurons: int
    sigma: float
    encoding: dict[str, float]
    options: dict[str, Any] = field(default_factory=dict)

    def genome(self, cell: str) -> Genome:
        """Return the genome of a cell of this size."""
        spec = nc.Spec(
            cell=cell, inputs=3, neurons=self.neurons, outputs=1, dt_s=0.02,
            input_limits=((-1, 1),) * 3, output_limits=((-10, 10),), **self.options,
        )  # fmt: skip
        return Genome(spec, Encoding(fixed=self.encoding))


ENTRIES = {
    "ctrnn": Entry(1, 2.0, CENTRED),
    "elman": Entry(1, 1.0, CENTRED, {"activation": "tanh"}),
    "jordan": Entry(1, 1.0, CENTRED, {"activation": "tanh", "context_decay": 0.0}),
    "indrnn": Entry(2, 1.0, {"b_out": 0.0, "bias.0": 0.0}, {"activation": "tanh"}),
}
HEADER = "cell   genes  mean  median  solved  within 1,000  of 625 starts: float  fixed  loss (worst)   most lost"
IDLE = {"standard": 100, "damping": 400}  # evaluations without a better fitness, after which a search starts anew


def generalization_starts() -> np.ndarray:
    """Return the 625 starts, ``[6, 625]``."""
    grid = np.array(list(itertools.product((0.05, 0.25, 0.5, 0.75, 0.95), repeat=4))).T
    starts = np.zeros((6, grid.shape[1]))
    starts[:4] = grid * [[4.32], [2.70], [0.12566304], [0.30019504]]
    starts[:4] -= [[2.16], [1.35], [0.06283152], [0.15009752]]
    return starts


class Search:
    """One seed's search, with restarts."""

    def __init__(self, genome: Genome, sigma: float, seed: int, idle: int):
        self._genome, self._sigma, self._seed, self._idle = genome, sigma, seed, idle
        self.evaluations = self._restarts = 0
        self._start()

    def _start(self) -> None:
        seed = 1000 * self._seed + self._restarts
        self._search = OPTIMIZERS["snes"](self._genome.size, seed, POPULATION, self._sigma)
        self._best, self._since = -np.inf, 0

    def ask(self) -> np.ndarray:
        """Return the next genomes."""
        return self._search.ask()

    def tell(self, fitness: np.ndarray) -> None:
        """Take their fitnesses; start anew if the search idles."""
        self.evaluations += len(fitness)
        self._search.tell(fitness)
        self._since = 0 if fitness.max() > self._best else self._since + len(fitness)
        self._best = max(self._best, float(fitness.max()))
        if self._since >= self._idle or self._search.stop():
            self._restarts += 1
            self._start()


class Bench:
    """All seeds of one cell and one fitness function, side by side in lanes."""

    def __init__(self, cell: str, kind: str, seeds: int, cap: int):
        entry = ENTRIES[cell]
        self.genome, self.kind, self.cap = entry.genome(cell), kind, cap
        self.searches = [Search(self.genome, entry.sigma, seed, IDLE[kind]) for seed in range(1, seeds + 1)]
        self.champions: dict[int, np.ndarray] = {}
        self.steps, self.seconds = 0, 0.0

    def rollout(self, theta: np.ndarray, steps: int, starts: Any = None, fitness: str = "fitness") -> Any:
        """Run episodes, and count their control steps and seconds."""
        begin = perf_counter()
        episodes = get("cpu").rollout(
            self.genome.spec, np.ascontiguousarray(theta), double_pole, steps, starts=starts, fitness=fitness
        )
        self.seconds += perf_counter() - begin
        self.steps += int(episodes.steps.sum())
        return episodes

    def run(self) -> None:
        """Run every search until it is solved or its evaluations are used up."""
        active = list(range(len(self.searches)))
        while active:
            asked = np.concatenate([self.searches[i].ask() for i in active])
            theta = self.genome.theta(asked).T
            episodes = self.rollout(theta, TRAINING, fitness="fitness" if self.kind == "standard" else self.kind)
            fitness = episodes.fitness.astype(np.float64).reshape(len(active), POPULATION)
            solved = self._solved(theta, episodes.steps, fitness)
            for row, i in enumerate(active):
                hits = np.flatnonzero(solved[row])
                if len(hits):
                    self.searches[i].evaluations += int(hits[0]) + 1
                    self.champions[i] = theta[:, row * POPULATION + hits[0]].copy()
                else:
                    self.searches[i].tell(fitness[row])
            active = [i for i in active if i not in self.champions and self.searches[i].evaluations < self.cap]

    def _solved(self, theta: np.ndarray, steps: np.ndarray, fitness: np.ndarray) -> np.ndarray:
        good = steps >= TRAINING
        if self.kind == "damping":  # of each generation the best alone is tested
            best = np.zeros_like(fitness, bool)
            best[np.arange(len(best)), fitness.argmax(axis=1)] = True
            good &= best.ravel()
        index = np.flatnonzero(good)
        if len(index):
            good[index] = self.rollout(theta[:, index], LONG).steps >= LONG
        if self.kind == "damping":
            for k in np.flatnonzero(good):
                good[k] = self.passes(theta[:, k]) >= GOAL
        return good.reshape(fitness.shape)

    def passes(self, theta: np.ndarray) -> int:
        """Return from how many of the 625 starts a controller balances 1,000 steps."""
        return int((self.rollout(theta, TRAINING, generalization_starts()).steps >= TRAINING).sum())

    def fixed_point(self) -> list[tuple[int, int]]:
        """Return for each champion the starts that it masters in float and in fixed point with 16-bit weights."""
        pairs = []
        for theta in self.champions.values():
            q = nc.Controller(self.genome.spec, theta).quantize(weight_bits=16)
            episodes = get("cpu").rollout_quantized([q], double_pole, TRAINING, starts=generalization_starts())
            pairs.append((self.passes(theta), int((episodes.steps >= TRAINING).sum())))
        return pairs


def row(cell: str, kind: str, seeds: int, cap: int) -> dict[str, Any]:
    """Return the figures of one cell and fitness function."""
    warm = Bench(cell, kind, 1, POPULATION)
    warm.run()  # compiles
    bench = Bench(cell, kind, seeds, cap)
    bench.run()
    evaluations = np.array([search.evaluations for search in bench.searches])
    rate = bench.steps / bench.seconds
    pairs = bench.fixed_point()
    floats, integers = (np.array(side) for side in zip(*pairs, strict=True)) if pairs else (np.zeros(1),) * 2
    return {
        "cell": cell, "fitness": kind, "genes": bench.genome.size, "seeds": seeds, "solved": len(bench.champions),
        "within_1000": int(sum(bench.searches[i].evaluations <= 1000 for i in bench.champions)),
        "mean": float(evaluations.mean()), "median": float(np.median(evaluations)),
        "starts_float": float(floats.mean()), "starts_fixed": float(integers.mean()),
        "fixed_loss": float(1 - integers.sum() / max(1, floats.sum())),
        "worst_loss": float(((floats - integers) / np.maximum(floats, 1)).max()),
        "most_lost": int((floats - integers).max()),
        "steps_per_s": rate,
    }  # fmt: skip


def main() -> None:
    """Print a row a cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--cells", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--cap", type=int, default=10_000, help="evaluations after which a seed counts as unsolved")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", StabilityWarning)
    begin = perf_counter()
    rows = []
    for kind, published in PUBLISHED.items():
        if not arguments.json:
            print(f"\n{kind} fitness. Published: {published}")
            print(HEADER)
        for cell in arguments.cells:
            r = row(cell, kind, arguments.seeds, arguments.cap)
            rows.append(r)
            if not arguments.json:
                solved = f"{r['solved']}/{r['seeds']}"
                starts = f"{r['starts_float']:>21.1f} {r['starts_fixed']:>6.1f}"
                losses = f"{100 * r['fixed_loss']:>6.2f} % ({100 * r['worst_loss']:.1f} %) {r['most_lost']:>6} of 625"
                counts = f"{r['genes']:>5} {r['mean']:>5.0f} {r['median']:>7.1f} {solved:>7} {r['within_1000']:>13}"
                print(f"{cell:<6} {counts} {starts} {losses}", flush=True)
    seconds = perf_counter() - begin
    rate = sum(r["steps_per_s"] for r in rows) / len(rows)
    if arguments.json:
        print(json.dumps({"rows": rows, "seconds": seconds}))
    else:
        print(f"\n{seconds:.0f} s; {rate / 1e6:.2f} million control steps/s on all cores, on average of the rows")


if __name__ == "__main__":
    main()
