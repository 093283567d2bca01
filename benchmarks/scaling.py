"""Evaluations a second on the cart-pole in PyBullet: one process, a pool of two, and a local Ray cluster of two.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --steps 10000    # control steps of an episode at most: how long an episode takes

The candidates are a balancing controller and its near relatives, so that every episode is long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from neuroctl.evolve import Genome, StudyConfig, run_study
from neuroctl.evolve.evaluators import Evaluator, make_evaluator
from neuroctl.io import read_archive
from sims import EpisodeReturn, controller_spec

CANDIDATES, SEEDS, ROUNDS = 16, (1, 2), 5
SPEC = controller_spec("cartpole", neurons=8)


def balancing() -> np.ndarray:
    """Return genomes of controllers that balance, from a short study."""
    config = StudyConfig(spec=SPEC, task="cartpole", seed=1, target_score=900.0)
    with tempfile.TemporaryDirectory() as folder:
        run_study(config, EpisodeReturn("cartpole"), Path(folder) / "study", workers=2)
        best = read_archive(Path(folder) / "study" / "checkpoint.npz").arrays["best_genome"]
    return best + 1e-3 * np.random.default_rng(0).standard_normal((CANDIDATES, len(best)))


def rounds(evaluators: dict[str, Evaluator], genomes: np.ndarray) -> tuple[dict[str, list[float]], float]:
    """Return evaluations a second of each, in turns, and the mean return; all give the same bits."""
    rates: dict[str, list[float]] = {name: [] for name in evaluators}
    first = b""
    for turn in range(ROUNDS + 1):
        for name, evaluator in evaluators.items():
            begin = perf_counter()
            values = evaluator.evaluate(genomes, SEEDS)
            if turn:  # in the first one workers start
                rates[name].append(CANDIDATES / (perf_counter() - begin))
            first = first or values.tobytes()
            assert values.tobytes() == first, f"{name}: other values"
    return rates, float(values.mean())


def main() -> None:
    """Print evaluations a second, and how one way compares with another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    genomes, genome = balancing(), Genome(SPEC)
    returns = [EpisodeReturn("cartpole", arguments.steps) for _ in range(3)]
    with make_evaluator(genome, returns[1], 2) as pool:
        with make_evaluator(genome, returns[0], 1) as one:
            alone, earned = rounds({"one process": one, "pool of 2": pool}, genomes)
        with make_evaluator(genome, returns[2], 2, cluster="local") as ray:  # its daemons take some of a core
            beside, _ = rounds({"pool of 2": pool, "Ray, 2 cores": ray}, genomes)
    median = {name: float(np.median(values)) for name, values in (beside | alone).items()}
    episode_s = 1.0 / median["one process"] / len(SEEDS)
    speedup, share = (float(np.median(np.divide(*list(rates.values())[::-1]))) for rates in (alone, beside))
    if arguments.json:
        print(json.dumps({"evaluations_per_s": median, "episode_s": episode_s, "speedup": speedup, "ray": share}))
        return
    print(f"{CANDIDATES} candidates, {len(SEEDS)} episodes of a return of {earned:.0f}, {episode_s:.2f} s each")
    for name, rate in median.items():
        print(f"{name:<14} {rate:6.2f} evaluations/s")
    print(f"two workers are {speedup:.2f} times as fast as one; Ray runs at {share:.2f} of the pool's rate")


if __name__ == "__main__":
    main()
