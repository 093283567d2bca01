"""What evolved controllers do in figures that robotics people ask for, from starts that evolution did not see.

    python benchmarks/robots.py                              # those that come with the package
    python benchmarks/robots.py quadruped studies/*/best.npz # others, of one task
    python benchmarks/robots.py --json

double-pole: starts of 100 from which it balances 1,000 steps. quadruped, minitaur, hexapod: distance in 10 s, and falls
of 20. t-maze: turns to the right side, of 200. quadrotor: largest distance from its place from 5 s on, in 20 flights.
Each in float and in fixed point with 16-bit weights.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neuroctl as nc
import sims
from neuroctl import io
from neuroctl.errors import StabilityWarning
from sims.bullet.t_maze import FOUND
from sims.registry import CONTROLLERS

FIRST = 5000
SETTLED_S = 5.0


def balanced(task: str, ctl: Any) -> str:
    """Of 100 starts."""
    count = sum(not episode.terminated for episode in sims.records(task, ctl, range(FIRST, FIRST + 100)))
    return f"balances {count} of 100 starts for 1,000 steps"


def walked(task: str, ctl: Any) -> str:
    """Median distance and falls."""
    ends = [episode(task, ctl, seed, lambda env: env.distance_m) for seed in range(FIRST, FIRST + 20)]
    limit = sims.get(task).max_episode_steps
    falls = sum(len(places) < limit for places in ends)
    distances = [places[-1] for places in ends]
    return f"walks {np.median(distances):.2f} m in 10 s (worst {min(distances):.2f} m), falls {falls} of 20 times"


def turned(task: str, ctl: Any) -> str:
    """Of 200 mazes."""
    right = sims.score(task, ctl, range(FIRST, FIRST + 200)) > FOUND + 0.5
    return f"turns right {int(right.sum())} of 200 times"


def held(task: str, ctl: Any) -> str:
    """Distance from the place to hold."""
    settled = round(SETTLED_S * sims.get(task).control_hz)
    far = []
    for seed in range(FIRST, FIRST + 20):
        misses = episode(task, ctl, seed, lambda env: env.miss_m)
        far.append(max(misses[settled:]) if len(misses) == sims.get(task).max_episode_steps else np.inf)
    return f"stays within {np.median(far):.2f} m from {SETTLED_S:g} to 20 s (worst {max(far):.2f} m of 20 flights)"


def episode(task: str, ctl: Any, seed: int, figure: Callable[[Any], float]) -> list[float]:
    """Return a figure after each step of an episode."""
    env: Any = sims.make(task).unwrapped
    observation, _ = env.reset(seed=seed)
    ctl.reset()
    figures = []
    for _ in range(sims.get(task).max_episode_steps):
        observation, _, over, _, _ = env.step(ctl.step(observation))
        figures.append(figure(env))
        if over:
            break
    env.close()
    return figures


FIGURES: dict[str, Callable[[str, Any], str]] = {
    "double-pole": balanced, "quadruped": walked, "minitaur": walked, "hexapod": walked, "t-maze": turned,
    "quadrotor": held,
}  # fmt: skip


def pretrained(task: str) -> Path:
    """Return where the controller that comes with a task lies."""
    return CONTROLLERS / f"{task}.npz"


def main() -> None:
    """Print a line a controller and form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=FIGURES)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", StabilityWarning)
    names = [arguments.task] if arguments.task else [name for name in FIGURES if pretrained(name).is_file()]
    files = {name: arguments.files or [pretrained(name)] for name in names}
    rows = []
    for name, paths in files.items():
        for path in paths:
            model = io.load_model(path)
            ctl = nc.Controller(model.spec, model.theta)
            for form, one in (("float", ctl), ("fixed", ctl.quantize(calibration=model.calibration))):
                rows.append({"task": name, "file": str(path), "form": form, "figure": FIGURES[name](name, one)})
                if not arguments.json:
                    print(f"{name} {path.parent.name}/{path.name}, {form}: {rows[-1]['figure']}", flush=True)
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
