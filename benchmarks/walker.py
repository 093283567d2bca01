"""Evolve the one-legged walker with CMA-ES over lanes, from center-crossing networks and from random ones.

    python benchmarks/walker.py                  # 10 seeds of up to 60 s, each way
    python benchmarks/walker.py --seeds 3 --budget-s 20
    python benchmarks/walker.py --blind          # no sensor: the network has to oscillate by itself

The fitness is the mean forward velocity over 220 time units; the best schedule known gives 0.6334. Time constants lie
in [0.5, 10].
Center-crossing networks search weights around 0 and put each neuron's bias at the middle of what the others send it
(Mathayomchan and Beer 2002); the random ones start anywhere in weights and biases of [-16, 16] (Beer 1995).
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
from neuroctl.cells import layout
from neuroctl.dynamics import center_crossing_bias
from sims.plants import walker

SPEC = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity")
STEPS, POPULATION, GOAL = 2200, 128, 0.60
RANGE = 16.0


def parameters(w: np.ndarray, bias: np.ndarray, tau: np.ndarray, w_in: np.ndarray) -> np.ndarray:
    """Return theta; tau's genes go through tanh into [0.5, 10]."""
    p = layout(SPEC)
    theta = np.empty(p.size, np.float32)
    views, n = p.views(theta), SPEC.neurons
    views["W"][:], views["bias"][:], views["gain"][:] = w.reshape(n, n), bias, 1.0
    views["tau_s"][:], views["W_in"][:] = 0.5 * 20.0 ** (0.5 + 0.5 * np.tanh(tau)), w_in.reshape(n, -1)
    return theta


def genes(x: np.ndarray) -> list[np.ndarray]:
    n = SPEC.neurons
    return np.split(x, np.cumsum([n * n, n, n]))


def center_crossing(x: np.ndarray) -> np.ndarray:
    w, bias, tau, w_in = genes(x)
    w = 8.0 * w
    return parameters(w, center_crossing_bias(w.reshape(SPEC.neurons, -1)) + 2.0 * bias, tau, 8.0 * w_in)


def from_random(x: np.ndarray) -> np.ndarray:
    w, bias, _, w_in = genes(RANGE * np.tanh(x))
    return parameters(w, bias, genes(x)[2], w_in)


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
            theta = np.ascontiguousarray(np.stack([to_theta(x) for x in genomes], axis=1))
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
    size = SPEC.neurons * (SPEC.neurons + 2 + SPEC.inputs)
    warm = np.repeat(center_crossing(np.zeros(size))[:, None], 2, axis=1)
    get("cpu").rollout(SPEC, np.ascontiguousarray(warm), walker, 2)
    limits = (arguments.budget_s, arguments.blind)
    forms = {
        "center-crossing": lambda seed: evolve(seed, *limits, center_crossing, np.zeros(size), 1.0),
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
