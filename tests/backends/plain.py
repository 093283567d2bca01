"""The plain form of a rollout: a loop over individuals and steps, with the plant's functions as they stand."""

import numpy as np

import neuroctl as nc


def episode(spec, theta, plant, steps, start=None, fitness="fitness"):
    """Return fitness, steps and final state of one episode, in Python's floats."""
    ctl = nc.Controller(spec, theta)
    x = plant.START if start is None else tuple(float(v) for v in start)
    rewards = []
    for _ in range(steps):
        a = tuple(float(v) for v in ctl.step(np.array(plant.observe(x), spec.dtype)))
        if hasattr(plant, "step"):
            x = plant.step(x, a, spec.dt_s)
        else:
            for _ in range(getattr(plant, "SUBSTEPS", 1)):
                x = runge_kutta(plant.derivative, x, a, spec.dt_s / getattr(plant, "SUBSTEPS", 1))
        rewards.append(plant.reward(x, a) if hasattr(plant, "reward") else 0.0)
        if hasattr(plant, "done") and plant.done(x):
            break
    recent = sum(rewards[-getattr(plant, "WINDOW", 1) :])
    t = len(rewards)
    return getattr(plant, fitness)(x, t, sum(rewards), recent), t, x


def runge_kutta(derivative, x, a, h):
    """One step of the classic method."""
    x = np.array(x)
    k1 = np.array(derivative(tuple(x), a))
    k2 = np.array(derivative(tuple(x + h / 2 * k1), a))
    k3 = np.array(derivative(tuple(x + h / 2 * k2), a))
    k4 = np.array(derivative(tuple(x + h * k3), a))
    return tuple(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
