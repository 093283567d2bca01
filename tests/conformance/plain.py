"""Every cell in plain NumPy and Python floats, from the literature's equations: what all forms are compared with."""

import dataclasses
import math

import numpy as np

from tests import reference_rnn


def logistic(x):
    return 1 / (1 + np.exp(-x))


def ctrnn(spec, p, inputs):
    """tau dy/dt = -y + W s + W_in u, stepped by the textbook's methods with u held over a step."""
    y, h, outputs = p.get("y0", np.zeros(spec.neurons)), spec.dt_s, []
    for u in inputs:

        def slope(y, u=u):
            return (p["W"] @ logistic(p["gain"] * (y + p["bias"])) + p["W_in"] @ u - y) / p["tau_s"]

        k1 = slope(y)
        if spec.integrator == "euler":
            y = y + h * k1
        elif spec.integrator == "heun":
            y = y + h / 2 * (k1 + slope(y + h * k1))
        elif spec.integrator == "rk4":
            k2 = slope(y + h / 2 * k1)
            k3 = slope(y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3))
        else:  # the leak exactly, all else held: exponential Euler
            y = y + (1 - np.exp(-h / p["tau_s"])) * (k1 * p["tau_s"])
        s = logistic(p["gain"] * (y + p["bias"]))
        outputs.append(p["W_out"] @ s + p["b_out"] if spec.readout == "affine" else s)
    return np.array(outputs)


def hopfield(spec, p, inputs):
    """Show the observation, sweep until nothing changes, read the last neurons."""
    n, m, outputs = spec.neurons, spec.inputs, []
    s, v = np.zeros(n), np.zeros(n)
    order = np.random.default_rng(spec.order_seed).permutation(n)
    for u in inputs:
        observed = np.clip(u, -1, 1)
        continuous = spec.update == "continuous"
        s[:m] = np.where(observed >= 0, 1, -1) if not continuous else (observed if spec.clamp else np.tanh(observed))
        v[:m] = observed
        free = [i for i in range(n) if not (spec.clamp and i < m)]
        for _ in range(spec.settle_steps):
            old = s.copy()
            if continuous:
                change = spec.dt_s * (p["W"] @ old - p["bias"] - v)
                v[free] += change[free]
                s[free] = np.tanh(v[free])
                if np.abs(change[free]).max(initial=0) <= 1e-6:
                    break
                continue
            for i in order:
                field = math.fsum(p["W"][i] * (s if spec.update == "asynchronous" else old)) - p["bias"][i]
                if i in free and field != 0:
                    s[i] = np.sign(field)
            if (s == old).all():
                break
        outputs.append(s[n - spec.outputs :].copy())
    return np.array(outputs)


ROLLOUTS = {"ctrnn": ctrnn, "hopfield": hopfield} | reference_rnn.ROLLOUTS


def dense_layers(spec, p, inputs):
    """x = f(W x + b) layer by layer, the cell, whose readout is the head's first layer, and layer by layer to y."""
    f, g = (np.vectorize(reference_rnn.FUNCTIONS[name]) for name in (spec.dense_activation, spec.output_activation))
    x, p = inputs, dict(p)
    for k in range(len(spec.encoder)):
        x = f(x @ p[f"W_enc.{k}"].T + p[f"b_enc.{k}"])
    fields = {"encoder": (), "head": (), "dense_activation": "relu", "inputs": x.shape[1]}
    fields |= {"input_limits": None, "scale_inputs": False}
    if not spec.head:
        return ROLLOUTS[spec.cell](dataclasses.replace(spec, **fields), p, x)
    fields |= {"outputs": spec.head[0], "output_limits": None, "output_activation": spec.dense_activation}
    w_out, b_out = p["W_out"], p["b_out"]
    p |= {"W_out": p["W_head.0"], "b_out": p["b_head.0"]}
    z = ROLLOUTS[spec.cell](dataclasses.replace(spec, **fields), p, x)
    if spec.cell == "ctrnn":  # written without output activation
        z = f(z)
    for k in range(1, len(spec.head)):
        z = f(z @ p[f"W_head.{k}"].T + p[f"b_head.{k}"])
    y = g(z @ w_out.T + b_out)
    return y if spec.output_limits is None else np.clip(y, *np.array(spec.output_limits).T)


def rollout(spec, theta, inputs):
    """Outputs ``[T, q]`` in float64 for theta as it is stored."""
    from neuroctl.cells import layout

    p = {name: np.asarray(view, float) for name, view in layout(spec).views(theta).items()}
    if spec.encoder or spec.head:
        return dense_layers(spec, p, np.asarray(inputs, float))
    return ROLLOUTS[spec.cell](spec, p, np.asarray(inputs, float))
