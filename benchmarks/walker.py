"""Evolve the one-legged walker with CMA-ES over lanes, from center-crossing networks and from random ones.

    python benchmarks/walker.py                  # 10 seeds of up to 60 s, each way
    python benchmarks/walker.py --seeds 3 --budget-s 20
    python benchmarks/walker.py --blind          # no sensor: the network has to oscillate by itself

The fitness is the mean forward velocity over 220 time units; the plant allows 0.6264. Center-crossing networks are what
a genome's origin decodes to (Mathayomchan and Beer 2002); the random ones draw weights, biases and inputs
uniformly from [-16, 16] (Beer 1995) and search on from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import cma
import numpy as np

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import decode, genome_size, layout
from sims.plants import walker

SPEC = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity")
STEPS, POPULATION, GOAL = 2200, 128, 0.60
RANGE = 16.0


def from_random(spec: nc.Spec, x: np.ndarray) -> np.ndarray:
    """Decode weights and biases from [-16, 16], tau from [0.5, 10], by a logistic of each gene."""
    p = layout(spec)
    theta = np.empty(p.size, np.float32)
    views, n = p.views(theta), spec.neurons
    unit = np.tanh(x)
    w, bias, tau, w_in = np.split(unit, np.cumsum([n * n, n, n]))
    views["W"][:], views["bias"][:] = RANGE * w.reshape(n, n), RANGE * bias
    views["tau_s"][:], views["gain"][:] = 0.5 * 20.0 ** (0.5 + 0.5 * tau), 1.0
    views["W_in"][:] = RANGE * w_in.reshape(n, -1)
    return theta


def evolve(
    seed: int, budget_s: float, blind: bool, to_theta: Callable[..., Any], start: np.ndarray, sigma: float
) -> dict[str, float]:
    """Return the best velocity, and the seconds until the goal (or the budget's end) with restarts of CMA-ES."""
    begin, best, reached, restart = perf_counter(), -np.inf, None, 0
    while perf_counter() - begin < budget_s and reached is None:
        options = {"popsize": POPULATION, "seed": 1000 * seed + restart + 1, "verbose": -9}
        strategy = cma.CMAEvolutionStrategy(start, sigma, options)
        restart += 1
        best_here, idle = -np.inf, 0
        while perf_counter() - begin < budget_s and not strategy.stop() and idle < 40:
            genomes = strategy.ask()
            theta = np.ascontiguousarray(np.stack([to_theta(SPEC, x) for x in genomes], axis=1))
            if blind:
                theta[layout(SPEC)["W_in"].part] = 0.0
            fitness = get("cpu").rollout(SPEC, theta, walker, STEPS).fitness
            strategy.tell(genomes, (-fitness).tolist())
            idle = 0 if fitness.max() > best_here + 1e-4 else idle + 1
            best_here = max(best_here, float(fitness.max()))
            best = max(best, best_here)
            if best >= GOAL:
                reached = perf_counter() - begin
                break
    return {"velocity": best, "seconds": reached or perf_counter() - begin, "restarts": restart - 1}


def main() -> None:
    """Print a row a seed, and how many reached the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget-s", type=float, default=60.0)
    parser.add_argument("--blind", action="store_true", help="cut the sensor of the leg's angle off")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    size = genome_size(SPEC)
    warm = np.repeat(decode(SPEC, np.zeros(size))[:, None], 2, axis=1)
    get("cpu").rollout(SPEC, np.ascontiguousarray(warm), walker, 2)
    limits = (arguments.budget_s, arguments.blind)
    forms = {
        "center-crossing": lambda seed: evolve(seed, *limits, decode, np.zeros(size), 0.5),
        "random": lambda seed: evolve(
            seed, *limits, from_random, np.random.default_rng(seed).uniform(-1, 1, size), 0.3
        ),
    }
    results = {name: [form(seed) for seed in range(1, arguments.seeds + 1)] for name, form in forms.items()}
    if arguments.json:
        print(json.dumps(results))
        return
    for name, runs in results.items():
        for seed, run in enumerate(runs, 1):
            end = f"after {run['seconds']:5.1f} s, {run['restarts']} restarts"
            print(f"{name:<16} seed {seed:>2}: {run['velocity']:.4f} {end}")
        good = sum(run["velocity"] >= GOAL for run in runs)
        print(f"{name:<16} {good} of {len(runs)} reached {GOAL:.2f} within {arguments.budget_s:g} s")


if __name__ == "__main__":
    main()
