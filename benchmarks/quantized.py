"""Evolution on the cart-pole in PyBullet: control steps a second of whole studies, float beside fixed point.

    python benchmarks/quantized.py
    python benchmarks/quantized.py --json

A study in fixed point quantizes every candidate and steps the integer controller. Candidates of the first generations
fall after some twenty steps, so that quantizing weighs most there; the second table is of such candidates alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from neuroctl.evolve import FixedPointConfig, Genome, SerialEvaluator, StudyConfig, run_study
from neuroctl.evolve.quantized import QuantizedObjective
from sims import EpisodeReturn, controller_spec

FORMS = {"float32": None, "fixed point": FixedPointConfig()}
SEEDS, GENERATIONS = (1, 2, 3, 4, 5), 25
CANDIDATES, EPISODES, ROUNDS = 12, 4, 7


class Counted:
    """The cart-pole's return, and the number of control steps of all episodes."""

    def __init__(self) -> None:
        self.episode, self.steps = EpisodeReturn("cartpole"), 0

    def __call__(self, controller: Any, seed: int) -> float:
        """Return one episode's return."""
        self.spec, self.reset, self._step = controller.spec, controller.reset, controller.step
        return self.episode(self, seed)

    def step(self, u: Any) -> Any:
        """Count a step of the controller."""
        self.steps += 1
        return self._step(u)


def study(seed: int, storage: FixedPointConfig | None) -> float:
    """Return control steps a second of a short study in this process."""
    config = StudyConfig(
        spec=controller_spec("cartpole", neurons=8), task="cartpole", seed=seed, generations=GENERATIONS,
        fixed_point=storage,
    )  # fmt: skip
    counted = Counted()
    with tempfile.TemporaryDirectory() as folder:
        begin = perf_counter()
        run_study(config, counted, Path(folder) / "study")
        seconds = perf_counter() - begin
    counted.episode.close()
    return counted.steps / seconds


def beginners() -> dict[str, float]:
    """Return control steps a second of random candidates, the median of several rounds."""
    genome = Genome(controller_spec("cartpole", neurons=8))
    genomes = 0.5 * np.random.default_rng(0).standard_normal((CANDIDATES, genome.size))
    rates: dict[str, list[float]] = {name: [] for name in FORMS}
    counts = {name: Counted() for name in FORMS}
    evaluators = {
        name: SerialEvaluator(genome, QuantizedObjective(counts[name], form) if form else counts[name])
        for name, form in FORMS.items()
    }
    for _ in range(ROUNDS + 1):
        for name, evaluator in evaluators.items():
            begin, before = perf_counter(), counts[name].steps
            evaluator.evaluate(genomes, range(EPISODES))
            rates[name].append((counts[name].steps - before) / (perf_counter() - begin))
    return {name: float(np.median(values[1:])) for name, values in rates.items()}


def main() -> None:
    """Print control steps a second of both forms, and their ratio: of studies, and of random candidates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    for form in FORMS.values():
        study(0, form)  # compiled, and the engine loaded
    pairs = [{name: study(seed, form) for name, form in FORMS.items()} for seed in SEEDS]
    studies = {name: float(np.median([pair[name] for pair in pairs])) for name in FORMS}
    ratio = float(np.median([pair["fixed point"] / pair["float32"] for pair in pairs]))
    first = beginners()
    if arguments.json:
        print(json.dumps({"studies": studies, "ratio": ratio, "random candidates": first}))
        return
    for name, rate in studies.items():
        print(f"{name:<12} {rate:8.0f} control steps/s in a study of {GENERATIONS} generations")
    print(f"evolution in fixed point runs at {ratio:.2f} of float's control steps/s (median of {len(SEEDS)} seeds)")
    print(f"with random candidates alone: {first['fixed point'] / first['float32']:.2f}")


if __name__ == "__main__":
    main()
