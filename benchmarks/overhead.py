"""What the PyBullet tasks cost over the physics engine, and our evaluator beside a plain loop.

    python benchmarks/overhead.py                 # every task, then AntBulletEnv-v0
    python benchmarks/overhead.py --tasks quadruped arm
    python benchmarks/overhead.py --json

Each task runs under its hand-made baseline, so that robot, contacts and motors are those of the task well done; the
time inside ``stepSimulation`` is measured within the very same steps.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

import sims
from neuroctl.evolve import Genome
from neuroctl.evolve.evaluators import make_evaluator
from sims.bench import overhead

ANT = "AntBulletEnv-v0"
CANDIDATES = 8
ROUNDS = 3


def plain_loop(env: Any, genome: Genome, genomes: np.ndarray) -> int:
    """Step the package's own environment with each candidate, in a plain loop; return the number of steps."""
    steps = 0
    for ctl in (genome.controller(row) for row in genomes):
        observation, _ = env.reset(seed=1)
        ctl.reset()
        over = False
        while not over:
            observation, _, terminated, truncated, _ = env.step(ctl.step(observation))
            over = terminated or truncated
            steps += 1
    return steps


def ant() -> dict[str, float]:
    """Return control steps a second of a plain loop and of our evaluator with one and two workers, on the same work."""
    posed = sims.problem(ANT, neurons=8)
    genome = Genome(posed.spec)
    genomes = 0.1 * np.random.default_rng(1).standard_normal((CANDIDATES, genome.size))
    env = gymnasium.make(ANT, disable_env_checker=True)
    rates: dict[str, list[float]] = {"plain loop": [], "1 worker": [], "2 workers": []}
    with (
        make_evaluator(genome, sims.problem(ANT).objective, 2) as two,
        make_evaluator(genome, posed.objective, 1) as one,
    ):
        for turn in range(ROUNDS + 1):
            begin = perf_counter()
            steps = plain_loop(env, genome, genomes)
            seconds = {"plain loop": perf_counter() - begin}
            for name, evaluator in (("1 worker", one), ("2 workers", two)):
                begin = perf_counter()
                evaluator.evaluate(genomes, [1])
                seconds[name] = perf_counter() - begin
            if turn:  # in the first one workers start and scenes are built
                for name, value in seconds.items():
                    rates[name].append(steps / value)
    env.close()
    return {name: float(np.median(values)) for name, values in rates.items()}


def main() -> None:
    """Print a row a task, and the evaluator's rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bullet = [name for name in sims.names() if not sims.get(name).plant]
    parser.add_argument("--tasks", nargs="*", choices=bullet, default=bullet)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    if not arguments.json:
        print("task         physics [us]  task [us]  controller [us]  over bare stepping")
    for name in arguments.tasks:
        times_us = overhead(name)
        rows[name] = vars(times_us) | {"share": times_us.share}
        if not arguments.json:
            times = f"{times_us.physics_us:>12.1f} {times_us.task_us:>10.1f} {times_us.controller_us:>16.2f}"
            print(f"{name:<12} {times} {100 * times_us.share:>18.0f} %", flush=True)
    rates = ant()
    if arguments.json:
        print(json.dumps({"tasks": rows, "ant_steps_per_s": rates}))
        return
    for name, rate in rates.items():
        print(f"{ANT}, {name}: {rate:.0f} control steps/s, {rate / rates['plain loop']:.2f} of the plain loop")


if __name__ == "__main__":
    main()
