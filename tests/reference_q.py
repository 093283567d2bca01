"""The integer forms of all cells but the CTRNN in Python integers and fractions, from their equations."""

import dataclasses
from fractions import Fraction

import numpy as np

from neuroctl import QuantController, cells
from tests.reference import clipped, ctrnn_rollout_q, half_up, logistic_q, raw_limits, scale, squash, tanh_q


def clip(x, low, high):
    return max(low, min(high, x))


def dot(row, x):
    return sum(int(w) * int(v) for w, v in zip(row, x, strict=True))


class Dense:
    """What the three dense cells have in common."""

    def __init__(self, q, table):
        self.q, self.spec, self.f, self.table = q, q.spec, q.formats, table
        self.p = {
            name: [[int(v) for v in np.atleast_1d(row)] for row in view]
            for name, view in q.layout.views(q.theta_q).items()
        }
        self.net, self.s = (self.f[name].frac_bits if name in self.f else 0 for name in ("net", "s"))

    def first(self, name, count):
        """The state before the first step: as learned, or zeros."""
        return [value for (value,) in self.p.get(name, [[0]] * count)]

    def summed(self, weights, row, x, x_format):
        return scale(dot(self.p[weights][row], x), self.f[weights].frac_bits + self.f[x_format].frac_bits - self.net)

    def function(self, net):
        kind = self.spec.activation
        if kind in ("logistic", "tanh"):
            x = scale(clip(net, -(11 << self.net), 11 << self.net), self.net - 17)
            return logistic_q(x, self.table) if kind == "logistic" else tanh_q(x, self.table)
        return clip(scale(net, self.net - self.s), 0 if kind == "relu" else -32767, 32767)

    def limits(self):
        f, spec = self.f["out"], self.spec
        if spec.output_limits is None:
            return [(f.low, f.high)] * spec.outputs
        return raw_limits(f, spec.output_limits)

    def out(self, s):
        out, values = self.f["out"].frac_bits, []
        for k, (low, high) in enumerate(self.limits()):
            if self.spec.readout == "identity":
                total, frac = s[k], self.s
            else:
                total, frac = dot(self.p["W_out"][k], s) + self.p["b_out"][k][0], self.f["b_out"].frac_bits
            total, frac = squash(self.spec.output_activation, total, frac, self.table)
            low = min(max(low, 0), high) if self.spec.output_activation == "relu" else low
            values.append(clip(scale(total, frac - out), low, high))
        return values


def decay(packed):
    """d as an exact fraction, and its sign, mantissa, shift."""
    size = abs(packed)
    return (1 if packed >= 0 else -1), size % 65536, size // 65536 - 4


def decayed(x, packed):
    sign, mantissa, shift = decay(packed)
    part = scale(half_up(Fraction(x * mantissa, 65536)), shift) if packed else 0
    return x - sign * part


def names(q, *kinds):
    """Names of the blocks of each layer."""
    return [[kind if q.spec.layers == 1 else f"{kind}.{k}" for kind in kinds] for k in range(q.spec.layers)]


def elman(q, inputs, table):
    d, n, outputs = Dense(q, table), q.spec.neurons, []
    layers = names(q, "W_in", "U", "bias", "h0")
    s = [d.first(h0, n) for *_, h0 in layers]
    for row in inputs:
        x, form = clipped(q, row), "u"
        for k, (w, u, b, _) in enumerate(layers):
            s[k] = [d.function(d.summed(w, i, x, form) + d.summed(u, i, s[k], "s") + d.p[b][i][0]) for i in range(n)]
            x, form = s[k], "s"
        outputs.append(d.out(x))
    return outputs


def jordan(q, inputs, table):
    d, outputs = Dense(q, table), []
    context = d.first("context0", q.spec.outputs)
    f = {name: form.frac_bits for name, form in q.formats.items()}
    alpha = Fraction(q.spec.context_decay)
    for row in inputs:
        u = clipped(q, row)
        c = [clip(scale(v, f["context"] - f["c"]), -32767, 32767) for v in context]
        s = [
            d.function(d.summed("W_in", i, u, "u") + d.summed("U", i, c, "c") + d.p["bias"][i][0])
            for i in range(q.spec.neurons)
        ]
        y = d.out(s)
        packed = int(q.ints[11])
        sign, mantissa, shift = decay(packed)
        assert abs(Fraction(mantissa) / 2 ** (16 + shift) - (1 - alpha)) <= Fraction(1, 2**16) * (1 - alpha) + 2**-40
        context = [decayed(v, packed) + scale(w, f["out"] - f["context"]) for v, w in zip(context, y, strict=True)]
        outputs.append(y)
    return outputs


def indrnn(q, inputs, table):
    d, spec = Dense(q, table), q.spec
    n, layers, outputs = spec.neurons, range(spec.layers), []
    h = [d.first(f"h0.{k}", n) for k in layers]
    for row in inputs:
        narrow, x, fmt = clipped(q, row), None, "u"
        for k in layers:
            high = q.formats[f"h.{k}"].high if spec.activation == "relu" else 1 << d.net
            new = []
            for i in range(n):
                net = d.summed(f"W_in.{k}", i, narrow, fmt) + decayed(h[k][i], d.p[f"u.{k}"][i][0])
                net += d.p[f"bias.{k}"][i][0]
                if spec.activation == "tanh":
                    new.append(scale(d.function(net), 15 - d.net))
                else:
                    new.append(clip(net, 0 if spec.activation == "relu" else -high, high))
            h[k] = new
            x = [a + b for a, b in zip(new, x, strict=True)] if spec.residual and k > 0 else list(new)
            narrow, fmt = [clip(scale(v, d.net - d.s), -32767, 32767) for v in x], "s"
        outputs.append(d.out(narrow))
    return outputs


def gru(q, inputs, table):
    d, n, outputs = Dense(q, table), q.spec.neurons, []
    layers, extra = names(q, "W_in", "U", "bias", "recurrent_bias", "h0"), q.formats["h"].frac_bits - 15
    h = [d.first(h0, n) for *_, h0 in layers]
    for row in inputs:
        x, form = clipped(q, row), "u"
        for k, (w, u, b, recurrent, _) in enumerate(layers):
            narrow = [scale(v, extra) for v in h[k]]
            drive = [d.summed(w, i, x, form) + d.p[b][i][0] for i in range(3 * n)]
            kept = [d.summed(u, i, narrow, "s") for i in range(3 * n)]
            arguments = [scale(clip(drive[i] + kept[i], -(11 << d.net), 11 << d.net), d.net - 17) for i in range(2 * n)]
            gates = [logistic_q(argument, table) for argument in arguments]
            for i, (r, z) in enumerate(zip(gates[:n], gates[n:], strict=True)):
                recalled = kept[2 * n + i] + d.p[recurrent][i][0]
                c = d.function(drive[2 * n + i] + half_up(Fraction(r * recalled, 1 << 15))) << extra
                h[k][i] = c + half_up(Fraction(z * (h[k][i] - c), 1 << 15))
            x, form = [scale(v, extra) for v in h[k]], "s"
        outputs.append(d.out(x))
    return outputs


def cfc(q, inputs, table):
    d, spec = Dense(q, table), q.spec
    n, outputs, h = spec.neurons, [], Dense(q, table).first("h0", spec.neurons)
    s, whole = {name: form.frac_bits for name, form in q.formats.items()}, [(-32768, 32767)]
    kinds = {"ff": "tanh", "time": "logistic"}
    for row in inputs:
        u = clipped(q, row)
        rows = range(len(d.p["bias"]))
        x = [d.summed("W_in", i, u, "u") + d.summed("U", i, h, "h") + d.p["bias"][i][0] for i in rows]
        if spec.backbone:
            x = [d.function(net) for net in x]
            for k in range(1, len(spec.backbone)):
                x = layer(q, f"backbone.{k}", spec.activation, whole * spec.backbone[k], [x], table)[0]
            ff, t = (layer(q, name, kind, whole * len(d.p[f"b_{name}"]), [x], table)[0] for name, kind in kinds.items())
        else:
            arguments = [scale(clip(net, -(11 << d.net), 11 << d.net), d.net - 17) for net in x]
            ff, t = [tanh_q(a, table) for a in arguments[: 2 * n]], [logistic_q(a, table) for a in arguments[2 * n :]]
        for i, (f, g) in enumerate(zip(ff[:n], ff[n:], strict=True)):
            if spec.mode == "no_gate":
                h[i] = half_up(Fraction(f + half_up(Fraction(t[i] * g, 1 << 15)), 2))
            else:
                h[i] = f + half_up(Fraction(t[i] * (g - f), 1 << 15))
        d.s = s["h"]  # what an identity readout is of
        outputs.append(d.out(h))
        d.s = s["s"]
    return outputs


def hopfield(q, inputs, table):
    spec, outputs = q.spec, []
    p = q.layout.views(q.theta_q)
    n, m = spec.neurons, spec.inputs
    order = np.random.default_rng(spec.order_seed).permutation(n)
    low, high = zip(*Dense.limits(type("Q", (), {"f": q.formats, "spec": spec})()), strict=True)
    s = [0] * n
    for row in inputs:
        s[:m] = [1 if v >= 0 else -1 for v in clipped(q, row)]
        for _ in range(spec.settle_steps):
            old = list(s)
            for i in order if spec.update == "asynchronous" else range(n):
                field = dot(p["W"][i], s if spec.update == "asynchronous" else old) - int(p["bias"][i])
                if field != 0 and not (spec.clamp and i < m):
                    s[i] = 1 if field > 0 else -1
            if s == old:
                break
        one = 1 << q.formats["out"].frac_bits
        outputs.append([clip(v * one, a, b) for v, a, b in zip(s[n - spec.outputs :], low, high, strict=True)])
    return outputs


def layer(q, name, activation, limits, x, table):
    """The integers of a dense layer ``[T, rows]`` for those that it takes."""
    p, f, rows = q.layout.views(q.theta_q), q.formats, []
    for values in x:
        row = []
        for weights, bias, (low, high) in zip(p[f"W_{name}"], p[f"b_{name}"], limits, strict=True):
            total, frac = squash(activation, dot(weights, values) + int(bias), f[f"b_{name}"].frac_bits, table)
            low = min(max(low, 0), high) if activation == "relu" else low
            row.append(clip(scale(total, frac - f[name].frac_bits), low, high))
        rows.append(row)
    return rows


def core_of(q, inputs):
    """The controller between dense layers, its formats and parameters by its own names."""
    spec, f = q.spec, dict(q.formats)
    fields = {"encoder": (), "head": (), "dense_activation": "relu", "inputs": len(inputs[0])}
    fields |= {"input_limits": None, "scale_inputs": False}
    own, names = dict(f), {}
    if spec.encoder:
        own["u"] = f[f"enc.{len(spec.encoder) - 1}"]
    if spec.head:
        fields |= {"outputs": spec.head[0], "output_limits": None, "output_activation": spec.dense_activation}
        own |= {"out": f["core.out"], "W_out": f["W_head.0"], "b_out": f["b_head.0"]}
        names = {"W_out": "W_head.0", "b_out": "b_head.0"}
    core, p = dataclasses.replace(spec, **fields), q.layout.views(q.theta_q)
    theta = np.concatenate([np.ravel(p[names.get(name, name)]) for name in cells.layout(core).blocks])
    return QuantController(core, own, theta)


def rollout(q, inputs, table):
    """Outputs ``[T, q]`` of a controller of any cell, from reset."""
    spec, whole = q.spec, (-32768, 32767)
    if not (spec.encoder or spec.head):
        return ctrnn_rollout_q(q, inputs, table)[0] if spec.cell == "ctrnn" else ROLLOUTS[spec.cell](q, inputs, table)
    x = [clipped(q, row) for row in inputs]
    for k, rows in enumerate(spec.encoder):
        x = layer(q, f"enc.{k}", spec.dense_activation, [whole] * rows, x, table)
    x = rollout(core_of(q, x), x, table)
    for k, rows in enumerate(spec.head[1:], start=1):
        x = layer(q, f"head.{k}", spec.dense_activation, [whole] * rows, x, table)
    return layer(q, "out", spec.output_activation, Dense(q, table).limits(), x, table) if spec.head else x


ROLLOUTS = {"elman": elman, "jordan": jordan, "indrnn": indrnn, "gru": gru, "cfc": cfc, "hopfield": hopfield}
