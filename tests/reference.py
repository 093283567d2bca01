"""Slow, plain forms of what the library compiles: NumPy in float64 and Python integers. Written from the equations."""

import math
from fractions import Fraction

import numpy as np

# --- CTRNN in float64 --------------------------------------------------------------------------------------------


def logistic(x):
    """1 / (1 + e^-x), also where e^-x is beyond floats."""
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def ctrnn_rollout(p, dt_s, inputs, limits=None, y=None):
    """tau_i dy_i/dt = -y_i + sum_j W_ij s_j + sum_k Win_ik u_k by forward Euler; out = W_out s + b_out.

    p: mapping of block name to array. Returns outputs [T, q] and states [T, n].
    """
    n = len(p["bias"])
    y = np.array(p.get("y0", np.zeros(n)) if y is None else y, float)
    outputs, states = [], []
    for u in np.asarray(inputs, float):
        s = [logistic(p["gain"][j] * (y[j] + p["bias"][j])) for j in range(n)]
        dy = np.empty(n)
        for i in range(n):
            net = sum(p["W"][i, j] * s[j] for j in range(n)) + sum(p["W_in"][i, k] * u[k] for k in range(len(u)))
            dy[i] = dt_s / p["tau_s"][i] * (net - y[i])
        y = y + dy
        s = np.array([logistic(p["gain"][j] * (y[j] + p["bias"][j])) for j in range(n)])
        out = p["W_out"] @ s + p["b_out"] if "W_out" in p else s
        if limits is not None:
            out = np.clip(out, [low for low, _ in limits], [high for _, high in limits])
        outputs.append(out)
        states.append(y)
    return np.array(outputs), np.array(states)


# --- CTRNN in Python integers ------------------------------------------------------------------------------------


def half_up(x: Fraction) -> int:
    """The nearest integer, halves up."""
    return math.floor(x + Fraction(1, 2))


def scale(x: int, shift: int) -> int:
    """x 2^-shift, rounded half up where bits fall off; exact otherwise."""
    return half_up(Fraction(x, 1 << shift)) if shift > 0 else x * (1 << -shift)


def logistic_half_q(a: int, table) -> int:
    """(logistic(a 2^-17) - 1/2) 2^31 by cubics on pieces of 1/2, a >= 0: Horner's scheme, each product rounded down."""
    position = min(Fraction(a, 1 << 16), 22 - Fraction(1, 1 << 16))  # in pieces
    piece = int(position)
    t = position - piece
    c0, c1, c2, c3 = (int(c) for c in table[piece])
    slope = c1 + math.floor((c2 + math.floor(c3 * t)) * t)  # in 2^-18
    return (c0 << 14) + math.floor(slope * t * 2**13)


def logistic_q(x: int, table) -> int:
    """Q15 logistic of x 2^-17."""
    half = logistic_half_q(abs(x), table)
    return min(32767, 16384 + half_up(Fraction(half if x >= 0 else -half, 65536)))


def tanh_q(x: int, table) -> int:
    """Q15 tanh of x 2^-17: twice the logistic of 2 x, less one half, rounded half away from 0."""
    t = min(32767, half_up(Fraction(logistic_half_q(2 * abs(x), table), 1 << 15)))
    return -t if x < 0 else t


def squash(kind: str, total: int, frac: int, table) -> tuple[int, int]:
    """An output function of total 2^-frac, and the fractional bits of its result."""
    if kind in ("identity", "relu"):  # ReLU is a limit
        return total, frac
    one = Fraction(11) * Fraction(2) ** frac
    x = scale(math.floor(max(-one, min(one, Fraction(total)))), frac - 17)
    return (logistic_q if kind == "logistic" else tanh_q)(x, table), 15


def raw_limits(form, limits):
    """Limits (low, high) of inputs or outputs as integers of their formats, which may be each one's own."""
    bits = [form.frac_bits + extra for extra in form.extra or (0,) * len(limits)]
    exact = [[half_up(Fraction(end) * Fraction(2) ** b) for end in pair] for b, pair in zip(bits, limits, strict=True)]
    return [[max(form.low, min(form.high, end)) for end in pair] for pair in exact]


def clipped(q, row):
    """Raw inputs as the network sees them: clipped into the declared limits, else into 16 bits."""
    form, limits = q.formats["u"], q.spec.input_limits
    if limits is not None and q.spec.scale_inputs:
        limits = ((-1.0, 1.0),) * len(limits)
    ends = [(-32768, 32767)] * len(row) if limits is None else raw_limits(form, limits)
    return [max(low, min(high, int(v))) for v, (low, high) in zip(row, ends, strict=True)]


def ctrnn_rollout_q(q, inputs, table):
    """The integer CTRNN on raw inputs [T, m], from reset: outputs [T, q] and states [T, 3 n] (y, s, residual)."""
    spec, f = q.spec, q.formats
    p = {
        name: [[int(v) for v in np.atleast_1d(row)] for row in view] for name, view in q.layout.views(q.theta_q).items()
    }
    n = spec.neurons
    flat = {name: [row[0] for row in p[name]] for name in ("bias", "gain", "tau_s")}
    y_frac = f["y"].frac_bits

    def activations(y):
        result = []
        for i in range(n):
            product = half_up(Fraction((y[i] + flat["bias"][i]) * flat["gain"][i], 1 << 16))
            frac = y_frac + f["gain"].frac_bits - 16
            product = max(-(11 << frac), min(11 << frac, product))
            result.append(logistic_q(scale(product, frac - 17), table))
        return result

    ends = [(f["out"].low, f["out"].high)] * spec.outputs
    if spec.output_limits is not None:
        ends = raw_limits(f["out"], spec.output_limits)
    if spec.output_activation == "relu":
        ends = [[min(max(low, 0), high), high] for low, high in ends]

    y, kept, outputs, states = [row[0] for row in p.get("y0", [[0]] * n)], [0] * n, [], []
    for row in inputs:
        u = clipped(q, row)
        s = activations(y)
        new = []
        for i in range(n):
            net = scale(sum(w * x for w, x in zip(p["W"][i], s, strict=True)), f["W"].frac_bits + 15 - y_frac)
            drive = sum(w * x for w, x in zip(p["W_in"][i], u, strict=True))
            net += scale(drive, f["W_in"].frac_bits + f["u"].frac_bits - y_frac)
            mantissa, shift = flat["tau_s"][i] % 65536, flat["tau_s"][i] // 65536
            change = half_up(Fraction((net - y[i]) * mantissa, 1 << 16))
            if "residual" in f:
                fine = min(shift, 16)
                total = scale(change, shift - fine) + kept[i]
                new.append(y[i] + math.floor(Fraction(total, 1 << fine)))
                kept[i] = total % (1 << fine)
            else:
                new.append(y[i] + scale((net - y[i]) * mantissa, shift + 16))
        y = new
        s = activations(y)
        out = []
        for k in range(spec.outputs):
            if spec.readout == "identity":
                total, frac = s[k], 15
            else:
                total = sum(w * x for w, x in zip(p["W_out"][k], s, strict=True)) + p["b_out"][k][0]
                frac = f["b_out"].frac_bits
            total, frac = squash(spec.output_activation, total, frac, table)
            low, high = ends[k]
            out.append(max(low, min(high, scale(total, frac - f["out"].frac_bits))))
        outputs.append(out)
        states.append(y + s + kept)
    return np.array(outputs), np.array(states)
