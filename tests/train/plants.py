"""Plants that gradients are tried on, as text, as plain Python steps them, and once more in torch."""

from dataclasses import replace

import numpy as np

import neuroctl as nc
from neuroctl.backends.plant import load, next_state

SWING = """
from neuroctl.maths.trigonometry import sin
import math

ACTIONS = {actions}
{timing}
START = (0.3, -0.2, 0.1, 0.8)
STARTS = ((-0.65, 0.65), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5))  # the last is a stiffness


def slope(x, a):
    push = a[0] - 0.5 * a[-1]
    return x[1], -x[3] * sin(x[0]) - 0.2 * x[1] + push, x[0] * x[1] - x[2] + a[-1], 0.0


{step}


def observe(x):
    return {observed}


def cost(x, a):
    return math.log1p(x[0] * x[0] + 0.3 * x[1] * x[1] + x[2] * x[2]) + 0.01 * a[0] * a[0]


def done(x):
    return abs(x[0]) > 0.7


def fitness(x, steps, total, recent):
    return total
"""
OBSERVED = ("sin(x[0])", "x[1] * x[2]", "x[2] + x[0]")
BY_SLOPE = "def derivative(x, a):\n    return slope(x, a)"
BY_STEP = """def step(x, a, dt_s):
    d = slope(x, a)
    return x[0] + dt_s * d[0], x[1] + dt_s * d[1], x[2] + dt_s * d[2], x[3]"""


def swing(folder, inputs=3, outputs=2, *, substeps=2, by_step=False, name="swing"):
    """Return a swing of some stiffness with a second, driven state."""
    observed = "(" + "".join(f"{each}, " for each in OBSERVED[:inputs]) + ")"
    step, timing = (BY_STEP, "") if by_step else (BY_SLOPE, f"SUBSTEPS = {substeps}")
    path = folder / f"{name}.py"
    path.write_text(SWING.format(actions=outputs, timing=timing, step=step, observed=observed))
    return load(path)


def starts_of(plant, count, seed=0):
    low, high = np.array(plant.starts).T
    return (low + (high - low) * np.random.default_rng(seed).random((count, len(low)))).T


def plain_cost(spec, theta, plant, starts, steps):
    """Return the mean cost of a step: a ``Controller`` and the plant's own functions, one episode after the other."""
    total, lasted = 0.0, []
    for start in np.asarray(starts, float).T:
        controller = nc.Controller(spec, theta.copy())
        x, over, cost, count = tuple(start.tolist()), False, 0.0, 0
        for _ in range(steps):
            if not over:
                a = tuple(controller.step(np.array(plant.module.observe(x), spec.dtype)).astype(float).tolist())
                x = next_state(plant, x, a, spec.dt_s)
                cost, over, count = plant.module.cost(x, a), plant.module.done(x), count + 1
            total += cost
        lasted.append(count)
    return total / (steps * starts.shape[1]), lasted


def torch_cost(spec, theta, plant, starts, steps):
    """Return the same in torch, of tensors theta and starts ``[4, B]``."""
    import torch

    from tests.train import models

    class Clip(torch.autograd.Function):
        """Clips; a change passes inside, and beyond a limit where it leads back."""

        @staticmethod
        def forward(context, y, low, high):
            context.save_for_backward(y, low, high)
            return torch.minimum(torch.maximum(y, low), high)

        @staticmethod
        def backward(context, d):
            y, low, high = context.saved_tensors
            return d * (((y >= low) | (d < 0)) & ((y <= high) | (d > 0))), None, None

    def slope(x, a):
        push = a[:, 0] - 0.5 * a[:, -1]
        return torch.stack([
            x[1], -x[3] * torch.sin(x[0]) - 0.2 * x[1] + push, x[0] * x[1] - x[2] + a[:, -1], 0 * x[3],
        ])  # fmt: skip

    def move(x, a):
        if plant.has("step"):
            return x + spec.dt_s * slope(x, a)
        h = spec.dt_s / plant.substeps
        for _ in range(plant.substeps):
            k1 = slope(x, a)
            k2 = slope(x + h / 2 * k1, a)
            k3 = slope(x + h / 2 * k2, a)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, a))
        return x

    stepped = spec if spec.cell == "jordan" and not spec.head else replace(spec, output_limits=None)
    step = models.dense_step if spec.encoder or spec.head else models.STEPS[spec.cell]
    p, state, x = models.blocks(spec, theta), models.zeros(spec, starts.shape[1]), starts
    if spec.initial_state == "learned":
        learned = [p[source] for source in models.initial_blocks(spec).values()]
        state = tuple(part + h0 for part, h0 in zip(state, learned, strict=True))
    offset, gain = (torch.tensor(v) for v in models.input_map(spec))
    low, high = torch.tensor(spec.output_limits or ((-np.inf, np.inf),) * spec.outputs, dtype=torch.float64).T
    alive, total, paid = torch.ones(starts.shape[1], dtype=bool), 0.0, torch.zeros(starts.shape[1])
    for _ in range(steps):
        u = torch.stack([torch.sin(x[0]), x[1] * x[2], x[2] + x[0]][: spec.inputs], dim=1)
        state, y = step(stepped, p, state, (u - offset) * gain)
        a = Clip.apply(y, low, high)
        x = torch.where(alive, move(x, a), x)
        cost = torch.log1p(x[0] ** 2 + 0.3 * x[1] ** 2 + x[2] ** 2) + 0.01 * a[:, 0] ** 2
        paid = torch.where(alive, cost, paid)
        alive = alive & (torch.abs(x[0]) <= 0.7)
        total = total + paid.sum()
    return total / (steps * starts.shape[1])
