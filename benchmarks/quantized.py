"""Evaluations a second on the cart-pole in PyBullet: float beside fixed point, which is quantised for each candidate.

python benchmarks/quantized.py
python benchmarks/quantized.py --json
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import numpy as np

from neuroctl.cells import genome_size
from neuroctl.evolve import FixedPoint, SerialEvaluator
from neuroctl.evolve.quantized import InFixedPoint
from sims import EpisodeReturn, controller_spec

CANDIDATES, EPISODES, ROUNDS = 12, 4, 7


def main() -> None:
    """Print evaluations (of four episodes each) and control steps a second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    spec = controller_spec("cartpole", neurons=8)
    genomes = 0.5 * np.random.default_rng(0).standard_normal((CANDIDATES, genome_size(spec)))
    float_form, fixed_form = EpisodeReturn("cartpole"), InFixedPoint(EpisodeReturn("cartpole"), FixedPoint())
    evaluators = {"float32": SerialEvaluator(spec, float_form), "fixed point": SerialEvaluator(spec, fixed_form)}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in evaluators}
    for _ in range(ROUNDS + 1):
        for name, evaluator in evaluators.items():
            begin = perf_counter()
            values = evaluator.evaluate(genomes, range(EPISODES))
            seconds = perf_counter() - begin
            rates[name].append((CANDIDATES / seconds, float(values.sum()) / seconds))
    medians = {name: np.median(rounds[1:], axis=0) for name, rounds in rates.items()}
    ratio = float(medians["fixed point"][1] / medians["float32"][1])
    if arguments.json:
        print(json.dumps({name: list(map(float, median)) for name, median in medians.items()} | {"ratio": ratio}))
        return
    for name, (evaluations, steps) in medians.items():
        print(f"{name:<12} {evaluations:6.1f} evaluations/s, {steps:8.0f} control steps/s")
    print(f"fixed point runs at {ratio:.2f} of float's control steps/s")


if __name__ == "__main__":
    main()
