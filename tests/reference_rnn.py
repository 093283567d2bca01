"""Slow, plain forms of the discrete-time cells, in Python's floats, written from their equations."""

import math

import numpy as np

from tests.reference import logistic

FUNCTIONS = {
    "identity": lambda x: x,
    "tanh": math.tanh,
    "logistic": logistic,
    "relu": lambda x: max(0.0, x),
    "hard_tanh": lambda x: max(-1.0, min(1.0, x)),
}


def _out(spec, p, h):
    if spec.readout == "identity":
        y = list(h)
    else:
        g = FUNCTIONS[spec.output_activation]
        y = [
            g(sum(w * v for w, v in zip(row, h, strict=True)) + b)
            for row, b in zip(p["W_out"], p["b_out"], strict=True)
        ]
    if spec.output_limits is not None:
        y = [min(max(v, low), high) for v, (low, high) in zip(y, spec.output_limits, strict=True)]
    return y


def _sum(row, x):
    return sum(float(w) * float(v) for w, v in zip(row, x, strict=True))


def first(p, name, count):
    """The state before the first step: as learned, or zeros."""
    return [float(value) for value in p.get(name, [0.0] * count)]


def of_layer(p, layer):
    """The parameters of a layer by their plain names."""
    own = {name.removesuffix(f".{layer}"): values for name, values in p.items() if name.endswith(f".{layer}")}
    return own if "U" in own else p


def elman(spec, p, inputs):
    """h = f(W_in x + U h + bias), layer by layer: x is the inputs, then the h of the layer before."""
    f, outputs, layers = FUNCTIONS[spec.activation], [], [of_layer(p, k) for k in range(spec.layers)]
    h = [first(own, "h0", spec.neurons) for own in layers]
    for x in inputs:
        for k, own in enumerate(layers):
            rows = zip(own["W_in"], own["U"], own["bias"], strict=True)
            x = h[k] = [f(_sum(w, x) + _sum(r, h[k]) + b) for w, r, b in rows]
        outputs.append(_out(spec, p, x))
    return np.array(outputs)


def jordan(spec, p, inputs):
    """s = alpha s + y; h = f(W_in u + U s + bias)."""
    f, s, outputs = FUNCTIONS[spec.activation], first(p, "context0", spec.outputs), []
    for u in inputs:
        rows = zip(p["W_in"], p["U"], p["bias"], strict=True)
        y = _out(spec, p, [f(_sum(w, u) + _sum(r, s) + b) for w, r, b in rows])
        s = [spec.context_decay * a + b for a, b in zip(s, y, strict=True)]
        outputs.append(y)
    return np.array(outputs)


def indrnn(spec, p, inputs):
    """h = f(W_in x + u h + bias), layer by layer; residual: x of the next layer is h + x."""
    f, outputs = FUNCTIONS[spec.activation], []
    h = [first(p, f"h0.{k}", spec.neurons) for k in range(spec.layers)]
    for x in inputs:
        for k in range(spec.layers):
            rows = zip(p[f"W_in.{k}"], p[f"u.{k}"], h[k], p[f"bias.{k}"], strict=True)
            h[k] = [f(_sum(w, x) + u * old + b) for w, u, old, b in rows]
            x = [a + b for a, b in zip(h[k], x, strict=True)] if spec.residual and k > 0 else h[k]
        outputs.append(_out(spec, p, x))
    return np.array(outputs)


def gru(spec, p, inputs):
    """r, z = s(W u + U h + b); n = tanh(W_n u + b_n + r (U_n h + d)); h = (1 - z) n + z h, layer by layer."""
    outputs, layers = [], [of_layer(p, k) for k in range(spec.layers)]
    h = [first(own, "h0", spec.neurons) for own in layers]
    for x in inputs:
        for k, own in enumerate(layers):
            x = h[k] = _gru_layer(own, x, h[k])
        outputs.append(_out(spec, p, x))
    return np.array(outputs)


def _gru_layer(p, u, h):
    s, n = FUNCTIONS["logistic"], len(h)
    drive = [_sum(w, u) + b for w, b in zip(p["W_in"], p["bias"], strict=True)]
    kept = [_sum(w, h) for w in p["U"]]
    r, z = ([s(drive[k + i] + kept[k + i]) for i in range(n)] for k in (0, n))
    c = [math.tanh(drive[2 * n + i] + r[i] * (kept[2 * n + i] + p["recurrent_bias"][i])) for i in range(n)]
    return [(1 - z[i]) * c[i] + z[i] * h[i] for i in range(n)]


def cfc(spec, p, inputs):
    """x = [u, h] through the backbone; h = tanh(W_f x) (1 - t) + t tanh(W_g x), without the gate tanh(W_f x) + ..."""
    s, n, outputs = FUNCTIONS["logistic"], spec.neurons, []
    h, f = first(p, "h0", n), FUNCTIONS[spec.activation]
    for u in inputs:
        x = [_sum(w, u) + _sum(r, h) + b for w, r, b in zip(p["W_in"], p["U"], p["bias"], strict=True)]
        for k in range(len(spec.backbone)):
            x = [f(value) for value in x]
            names = [f"backbone.{k + 1}"] if k + 1 < len(spec.backbone) else ["ff", "time"]
            layers = [(p[f"W_{name}"], p[f"b_{name}"]) for name in names]
            x = [_sum(row, x) + b for weights, biases in layers for row, b in zip(weights, biases, strict=True)]
        f1, f2, t = [math.tanh(a) for a in x[:n]], [math.tanh(a) for a in x[n : 2 * n]], [s(a) for a in x[2 * n :]]
        kept = [1.0 if spec.mode == "no_gate" else 1.0 - a for a in t]
        h = [a * k + b * c for a, k, b, c in zip(f1, kept, t, f2, strict=True)]
        outputs.append(_out(spec, p, h))
    return np.array(outputs)


ROLLOUTS = {"elman": elman, "jordan": jordan, "indrnn": indrnn, "gru": gru, "cfc": cfc}
