"""DAgger: students without velocities learn from teachers that see them, in PyBullet; score beside the teacher's.

    python benchmarks/imitation.py                      # cart-pole and quadrotor, 5 seeds each
    python benchmarks/imitation.py cartpole --seeds 0 1

The cart-pole's teacher is a linear law of position, angle and both speeds; the quadrotor's is its task's hand-made
controller of twelve inputs, of which the student has the nine that are no speeds. Scores are mean returns in 20 and 10
episodes with seeds of their own; steps are those of the environment that were recorded.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from time import perf_counter, process_time
from typing import Any

import numpy as np

import neuroctl as nc
import sims

_SENSORS = (0, 1, 2, 6, 7, 8, 9, 10, 11)


def _linear(x: Any) -> Any:
    return np.clip(x @ np.array([[1.0], [30.0], [2.0], [6.0]]), -10.0, 10.0)


def _cartpole(seed: int) -> nc.train.Imitation:
    spec = sims.controller_spec("cartpole", neurons=16, cell="elman")
    return nc.train.dagger(
        spec, _linear, sims.TeachingEpisode("cartpole", privileged=True), rounds=6, episodes=8, seed=seed, epochs=60,
        learning_rate=5e-3,
    )  # fmt: skip


def _quadrotor(seed: int) -> nc.train.Imitation:
    full = sims.controller_spec("quadrotor", neurons=24, cell="gru")
    limits, names = full.input_limits or (), full.input_names
    spec = replace(
        full, inputs=len(_SENSORS), input_limits=tuple(limits[k] for k in _SENSORS), scale_inputs=True,
        input_names=tuple(names[k] for k in _SENSORS),
    )  # fmt: skip
    return nc.train.dagger(
        spec, sims.baseline("quadrotor"), sims.TeachingEpisode("quadrotor", max_steps=1200), sensors=_SENSORS,
        rounds=16, episodes=6, validation=10, seed=seed, epochs=40, learning_rate=5e-3, batch=8,
    )  # fmt: skip


_TASKS = {"cartpole": _cartpole, "quadrotor": _quadrotor}


def main() -> None:
    """Print a line for each task and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(_TASKS), metavar="TASK", help="cartpole, quadrotor")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    print(f"{'task':10} seed   score  teacher   share    steps   wall s   CPU s")
    for name in options.tasks:
        for seed in options.seeds:
            wall, cpu = perf_counter(), process_time()
            result = _TASKS[name](seed)
            wall, cpu = perf_counter() - wall, process_time() - cpu
            share = result.score / result.teacher_score
            figures = f"{result.score:8.2f} {result.teacher_score:8.2f}  {share:6.1%} {result.demonstrations.steps:8,}"
            print(f"{name:10} {seed:4} {figures} {wall:8.1f} {cpu:7.1f}", flush=True)


if __name__ == "__main__":
    main()
