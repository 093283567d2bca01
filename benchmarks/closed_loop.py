"""What fixed point costs in closed loop: evolved controllers, float beside 8- and 16-bit weights, in three tasks.

    python benchmarks/closed_loop.py                 # 8 cart-poles (PyBullet), 6 double poles, 6 walkers
    python benchmarks/closed_loop.py --json

Each controller is evolved in float, then run from the same starts in float and in integers, in the same plain loop.
Formats are chosen by recorded inputs, as a study's export does. Beside them stands the float controller with all its
parameters changed by about 1e-5 of themselves: what loses there has no return that any other form could keep.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cma
import numpy as np

import neuroctl as nc
from neuroctl import io
from neuroctl.backends import get
from neuroctl.cells import decode, genome_size
from neuroctl.errors import StabilityWarning
from neuroctl.evolve import StudyConfig, run_study
from sims import EpisodeReturn, controller_spec, score
from sims.plants import double_pole, walker

POLES = nc.Spec(
    cell="ctrnn", inputs=3, neurons=5, outputs=1, dt_s=0.02, input_limits=((-1, 1),) * 3, output_limits=((-10, 10),)
)
LEGS = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity", input_limits=((-2.5, 2.5),))
POLE_STARTS = np.array(
    [[x, 0.0, angle, 0.0, 0.0, 0.0] for x in (-0.5, 0.0, 0.5) for angle in (0.03, 0.07)] + [list(double_pole.START)]
)
UNSEEN = range(7000, 7020)
TOUCH = 1e-5
Form = nc.Controller | nc.QuantController


def episode(form: Form, plant: Any, steps: int, start: Any) -> float:
    """Return the plant's fitness of one episode, in Python's floats."""
    form.reset()
    x, t = tuple(float(v) for v in start), 0
    while t < steps and not (hasattr(plant, "done") and plant.done(x)):
        a = tuple(float(v) for v in form.step(np.array(plant.observe(x), np.float32)))
        if hasattr(plant, "step"):
            x = plant.step(x, a, form.spec.dt_s)
        else:
            for _ in range(plant.SUBSTEPS):
                x = runge_kutta(plant.derivative, x, a, form.spec.dt_s / plant.SUBSTEPS)
        t += 1
    return float(plant.fitness(x, t, 0.0, 0.0))


def runge_kutta(derivative: Any, x: Any, a: Any, h: float) -> tuple[float, ...]:
    """One step of the classic method."""
    x = np.array(x)
    k1 = np.array(derivative(tuple(x), a))
    k2 = np.array(derivative(tuple(x + h / 2 * k1), a))
    k3 = np.array(derivative(tuple(x + h / 2 * k2), a))
    k4 = np.array(derivative(tuple(x + h * k3), a))
    return tuple(float(v) for v in x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))


def evolve(spec: nc.Spec, fitness: Callable[[np.ndarray], np.ndarray], goal: float, seed: int) -> np.ndarray:
    """Return the first theta that reaches the goal, or the best of all restarts."""
    best, best_theta = -np.inf, np.zeros(0)
    for restart in range(20):
        options = {"popsize": 64, "seed": 100 * seed + restart + 1, "verbose": -9, "maxiter": 120}
        strategy = cma.CMAEvolutionStrategy(np.zeros(genome_size(spec)), 0.5, options)
        while not strategy.stop():
            genomes = strategy.ask()
            theta = np.stack([decode(spec, np.asarray(x)) for x in genomes], axis=1).astype(np.float32)
            values = fitness(np.ascontiguousarray(theta))
            strategy.tell(genomes, (-values).tolist())
            if values.max() > best:
                best, best_theta = float(values.max()), theta[:, int(values.argmax())].copy()
            if best >= goal:
                return best_theta
    return best_theta


def poles_fitness(theta: np.ndarray) -> np.ndarray:
    """Return the mean of the steps balanced from all starts."""
    starts, count = len(POLE_STARTS), theta.shape[1]
    many = np.ascontiguousarray(np.tile(theta, starts))
    at = np.ascontiguousarray(np.repeat(POLE_STARTS, count, axis=0).T)
    steps = get("cpu").rollout(POLES, many, double_pole, 1000, starts=at).fitness.reshape(starts, count).mean(axis=0)
    return np.asarray(steps)


def walker_fitness(theta: np.ndarray) -> np.ndarray:
    """Return the mean velocity."""
    return np.asarray(get("cpu").rollout(LEGS, theta, walker, 2200).fitness)


def cartpole_returns(seed: int) -> dict[str, float]:
    """Evolve in PyBullet, and return the mean return of each form from unseen starts."""
    config = StudyConfig(spec=controller_spec("cartpole", neurons=8), task="cartpole", seed=seed, target_score=950.0)
    with tempfile.TemporaryDirectory() as place:
        study = run_study(config, EpisodeReturn("cartpole"), Path(place) / "study", workers=2)
        model = io.load_model(study.best_path)
    made = forms(model.spec, model.theta, model.calibration)
    return {name: float(np.mean(score("cartpole", form, UNSEEN))) for name, form in made.items()}


def plant_returns(spec: nc.Spec, theta: np.ndarray, plant: Any, steps: int, starts: Any) -> dict[str, float]:
    """Return the mean fitness of each form over the starts."""
    recorder = Recorder(nc.Controller(spec, theta))
    for start in starts:
        episode(recorder, plant, steps, start)
    made = forms(spec, theta, np.array(recorder.inputs, np.float32))
    return {
        name: float(np.mean([episode(form, plant, steps, start) for start in starts])) for name, form in made.items()
    }


class Recorder:
    """A controller that keeps what it sees."""

    def __init__(self, ctl: nc.Controller):
        self.spec, self.reset, self._ctl = ctl.spec, ctl.reset, ctl
        self.inputs: list[np.ndarray] = []

    def step(self, u: np.ndarray) -> np.ndarray:
        """Return the controller's outputs."""
        self.inputs.append(u.copy())
        return self._ctl.step(u)


def forms(spec: nc.Spec, theta: np.ndarray, recorded: np.ndarray) -> dict[str, Form]:
    """Return the float controller, itself touched a little, and its integer forms."""
    ctl = nc.Controller(spec, theta)
    touched = theta * (1 + TOUCH * np.random.default_rng(0).standard_normal(len(theta)))
    return {
        "float32": ctl,
        "touched": nc.Controller(spec, touched.astype(np.float32)),
        "w8": ctl.quantize(weight_bits=8, calibration=recorded),
        "w16": ctl.quantize(weight_bits=16, calibration=recorded),
    }


def main() -> None:
    """Print a row a controller, and how many lie within 1 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", StabilityWarning)  # evolution takes what works, fast modes included
    rows: list[dict[str, Any]] = []
    for seed in range(1, 9):
        rows.append({"task": "cartpole", "seed": seed} | cartpole_returns(seed))
    for seed in range(1, 7):
        theta = evolve(POLES, poles_fitness, 1000.0, seed)
        rows.append({"task": "double pole", "seed": seed} | plant_returns(POLES, theta, double_pole, 1000, POLE_STARTS))
    for seed in range(1, 7):
        theta = evolve(LEGS, walker_fitness, 0.58, seed)
        rows.append({"task": "walker", "seed": seed} | plant_returns(LEGS, theta, walker, 2200, [walker.START]))
    for row in rows:
        for name in ("touched", "w8", "w16"):
            row[f"{name}_loss"] = 1.0 - row[name] / row["float32"]
    if arguments.json:
        print(json.dumps(rows))
        return
    columns = ("float32", "touched", "w8", "w16", "loss", "loss w8", "loss w16")
    print(f"{'task':<12} {'seed':>4}" + "".join(f" {name:>9}" for name in columns))
    for r in rows:
        returns = "".join(f" {r[name]:>9.4g}" for name in columns[:4])
        losses = "".join(f" {100 * r[f'{name}_loss']:>8.2f}%" for name in columns[1:4])
        print(f"{r['task']:<12} {r['seed']:>4}{returns}{losses}")
    for name in columns[1:4]:
        losses = [row[f"{name}_loss"] for row in rows]
        good = sum(abs(loss) <= 0.01 for loss in losses)
        print(f"{name}: {good} of {len(rows)} within 1 % of float, the worst loses {100 * max(losses):.1f} %")


if __name__ == "__main__":
    main()
