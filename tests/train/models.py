"""Controllers written once more, from their equations, in torch: what gradients are compared with."""

import dataclasses

import torch

import neuroctl as nc
from neuroctl.cells import initial_blocks, layout
from neuroctl.cells.base import input_map

ACTIVATIONS = {
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "hard_tanh": torch.nn.functional.hardtanh,
    "identity": lambda x: x,
}
# Runge-Kutta methods by Butcher's tableau.
TABLEAUS = {
    "euler": ([[]], [1.0]),
    "heun": ([[], [1.0]], [0.5, 0.5]),
    "rk4": ([[], [0.5], [0.0, 0.5], [0.0, 0.0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}


def blocks(spec: nc.Spec, theta: torch.Tensor) -> dict:
    return {name: theta[b.part].reshape(b.shape) for name, b in layout(spec).blocks.items()}


def read_out(spec, p, s):
    out = ACTIVATIONS[spec.output_activation](s @ p["W_out"].T + p["b_out"]) if spec.readout == "affine" else s
    if spec.output_limits is not None:
        low, high = (torch.tensor(x, dtype=torch.float64) for x in zip(*spec.output_limits, strict=True))
        out = torch.minimum(torch.maximum(out, low), high)
    return out


def ctrnn_step(spec, p, state, u):
    (y,) = state

    def active(y):
        return torch.sigmoid(p["gain"] * (y + p["bias"]))

    def net(y):
        return active(y) @ p["W"].T + u @ p["W_in"].T

    if spec.integrator == "etd1":
        y = y + (1 - torch.exp(-spec.dt_s / p["tau_s"])) * (net(y) - y)
    else:
        slopes = []
        a, b = TABLEAUS[spec.integrator]
        for row in a:
            at = y + sum(c * k for c, k in zip(row, slopes, strict=True))
            slopes.append(spec.dt_s / p["tau_s"] * (net(at) - at))
        y = y + sum(c * k for c, k in zip(b, slopes, strict=True))
    return (y,), read_out(spec, p, active(y))


def layers(spec, p, state):
    """The state of each layer, and its parameters by their plain names."""
    for k, h in enumerate(state):
        own = {name.removesuffix(f".{k}"): values for name, values in p.items() if name.endswith(f".{k}")}
        yield h, p if spec.layers == 1 else own


def elman_step(spec, p, state, u):
    x, kept = u, []
    for h, own in layers(spec, p, state):
        x = ACTIVATIONS[spec.activation](x @ own["W_in"].T + h @ own["U"].T + own["bias"])
        kept.append(x)
    return tuple(kept), read_out(spec, p, x)


def jordan_step(spec, p, state, u):
    context = state[0]
    h = ACTIVATIONS[spec.activation](u @ p["W_in"].T + context @ p["U"].T + p["bias"])
    y = read_out(spec, p, h)
    return (spec.context_decay * context + y,), y


def indrnn_step(spec, p, state, u):
    x, kept = u, []
    for k, h in enumerate(state):
        h = ACTIVATIONS[spec.activation](x @ p[f"W_in.{k}"].T + p[f"u.{k}"] * h + p[f"bias.{k}"])
        kept.append(h)
        x = h + x if spec.residual and k > 0 else h
    return tuple(kept), read_out(spec, p, x)


def gru_step(spec, p, state, u):
    x, kept = u, []
    for h, own in layers(spec, p, state):
        x = gru_layer(own, h, x)
        kept.append(x)
    return tuple(kept), read_out(spec, p, x)


def gru_layer(p, h, u):
    ur, uz, un = p["U"].chunk(3)
    wr, wz, wn = p["W_in"].chunk(3)
    br, bz, bn = p["bias"].chunk(3)
    r = torch.sigmoid(u @ wr.T + h @ ur.T + br)
    z = torch.sigmoid(u @ wz.T + h @ uz.T + bz)
    n = torch.tanh(u @ wn.T + bn + r * (h @ un.T + p["recurrent_bias"]))
    return (1 - z) * n + z * h


def cfc_step(spec, p, state, u):
    (h,) = state
    x = u @ p["W_in"].T + h @ p["U"].T + p["bias"]
    for k in range(1, len(spec.backbone)):
        x = ACTIVATIONS[spec.activation](x) @ p[f"W_backbone.{k}"].T + p[f"b_backbone.{k}"]
    if spec.backbone:
        x = ACTIVATIONS[spec.activation](x)
        x = torch.cat([x @ p[f"W_{name}"].T + p[f"b_{name}"] for name in ("ff", "time")], dim=-1)
    f, g, t = x.chunk(3, dim=-1)
    t = torch.sigmoid(t)
    h = torch.tanh(f) * (1 if spec.mode == "no_gate" else 1 - t) + t * torch.tanh(g)
    return (h,), read_out(spec, p, h)


def dense_step(spec, p, state, u):
    """Encoder, the cell with the head's first layer as its readout, the other layers."""
    f, p = ACTIVATIONS[spec.dense_activation], dict(p)
    for k in range(len(spec.encoder)):
        u = f(u @ p[f"W_enc.{k}"].T + p[f"b_enc.{k}"])
    plain = {"encoder": (), "head": (), "dense_activation": "relu", "input_limits": None, "scale_inputs": False}
    plain["inputs"] = u.shape[-1]
    if not spec.head:
        return STEPS[spec.cell](dataclasses.replace(spec, **plain), p, state, u)
    last = {name: p[name] for name in ("W_out", "b_out")}
    p |= {"W_out": p["W_head.0"], "b_out": p["b_head.0"]}
    plain |= {"outputs": spec.head[0], "output_limits": None, "output_activation": spec.dense_activation}
    state, z = STEPS[spec.cell](dataclasses.replace(spec, **plain), p, state, u)
    for k in range(1, len(spec.head)):
        z = f(z @ p[f"W_head.{k}"].T + p[f"b_head.{k}"])
    return state, read_out(spec, last, z)


STEPS = {
    "ctrnn": ctrnn_step, "elman": elman_step, "jordan": jordan_step, "indrnn": indrnn_step, "gru": gru_step,
    "cfc": cfc_step,
}  # fmt: skip
NAMES = {"ctrnn": ["y"], "jordan": ["context"]}


def names(spec):
    one = spec.layers == 1 and spec.cell != "indrnn"
    return NAMES.get(spec.cell) or (["h"] if one else [f"h.{k}" for k in range(spec.layers)])


def run(spec: nc.Spec, theta: torch.Tensor, u: torch.Tensor, state: tuple) -> torch.Tensor:
    """Return outputs ``[T, B, q]`` of inputs ``[T, B, m]``; a learned initial state is added to ``state``."""
    p, outputs = blocks(spec, theta), []
    if spec.initial_state == "learned":
        learned = [p[source] for source in initial_blocks(spec).values()]
        state = tuple(part + h0 for part, h0 in zip(state, learned, strict=True))
    offset, gain = (torch.tensor(x) for x in input_map(spec))
    for t in range(len(u)):
        step = dense_step if spec.encoder or spec.head else STEPS[spec.cell]
        state, out = step(spec, p, state, (u[t] - offset) * gain)
        outputs.append(out)
    return torch.stack(outputs)


def zeros(spec: nc.Spec, count: int) -> tuple:
    size = (*spec.head, spec.outputs)[0] if spec.cell == "jordan" else spec.neurons
    return tuple(torch.zeros(count, size, dtype=torch.float64, requires_grad=True) for _ in names(spec))
