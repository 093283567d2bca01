"""Slow, plain forms of what the library compiles: NumPy in float64 and Python integers. Written from the equations."""

import math
from fractions import Fraction

import numpy as np

# --- CTRNN in float64 --------------------------------------------------------------------------------------------


def ctrnn_rollout(p, dt_s, inputs, limits=None, y=None):
    """tau_i dy_i/dt = -y_i + sum_j W_ij s_j + sum_k Win_ik u_k by forward Euler; out = W_out s + b_out.

    p: mapping of block name to array. Returns outputs [T, q] and states [T, n].
    """
    n = len(p["bias"])
    y = np.zeros(n) if y is None else np.array(y, float)
    outputs, states = [], []
    for u in np.asarray(inputs, float):
        s = [1 / (1 + math.exp(-p["gain"][j] * (y[j] + p["bias"][j]))) for j in range(n)]
        dy = np.empty(n)
        for i in range(n):
            net = sum(p["W"][i, j] * s[j] for j in range(n)) + sum(p["W_in"][i, k] * u[k] for k in range(len(u)))
            dy[i] = dt_s / p["tau_s"][i] * (net - y[i])
        y = y + dy
        s = np.array([1 / (1 + math.exp(-p["gain"][j] * (y[j] + p["bias"][j]))) for j in range(n)])
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


def logistic_q(x: int, table) -> int:
    """Q15 logistic of x 2^-21 by the table of (logistic - 1/2) 2^17: knots 1/32 apart up to 4, then 1/16."""
    one = 1 << 21
    a = abs(x)
    position = Fraction(a, one // 32)  # in knots
    if a > 4 * one:
        # The first bit of the remainder is dropped, as the shift by one does.
        position = 128 + Fraction((a >> 1) - 2 * one, one // 32)
    position = min(position, 255 - Fraction(1, 65536))
    knot = int(position)
    part = int((position - knot) * 16384)  # 14 bits of the way to the next knot
    left, right = int(table[knot]), int(table[knot + 1])
    half = (left << 14) + (right - left) * part
    return min(32767, 16384 + half_up(Fraction(half if x >= 0 else -half, 65536)))


def ctrnn_rollout_q(q, inputs, table):
    """The integer CTRNN on raw inputs [T, m], from reset. Returns outputs [T, q] and states [T, 2 n]: y then s."""
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
            product = max(-(12 << frac), min(12 << frac, product))
            result.append(logistic_q(scale(product, frac - 21), table))
        return result

    lows, highs = [f["out"].low] * spec.outputs, [f["out"].high] * spec.outputs
    if spec.output_limits is not None:
        lows = [half_up(Fraction(low) * Fraction(2) ** f["out"].frac_bits) for low, _ in spec.output_limits]
        highs = [half_up(Fraction(high) * Fraction(2) ** f["out"].frac_bits) for _, high in spec.output_limits]
        lows = [max(f["out"].low, min(f["out"].high, low)) for low in lows]
        highs = [max(f["out"].low, min(f["out"].high, high)) for high in highs]

    y, outputs, states = [0] * n, [], []
    for row in inputs:
        u = [max(-32768, min(32767, int(v))) for v in row]
        s = activations(y)
        new = []
        for i in range(n):
            net = scale(sum(w * x for w, x in zip(p["W"][i], s, strict=True)), f["W"].frac_bits + 15 - y_frac)
            drive = sum(w * x for w, x in zip(p["W_in"][i], u, strict=True))
            net += scale(drive, f["W_in"].frac_bits + f["u"].frac_bits - y_frac)
            mantissa, shift = flat["tau_s"][i] % 65536, flat["tau_s"][i] // 65536
            new.append(y[i] + scale(half_up(Fraction((net - y[i]) * mantissa, 1 << 16)), shift))
        y = new
        s = activations(y)
        out = []
        for k in range(spec.outputs):
            if spec.readout == "affine":
                total = sum(w * x for w, x in zip(p["W_out"][k], s, strict=True)) + p["b_out"][k][0]
                value = scale(total, f["b_out"].frac_bits - f["out"].frac_bits)
            else:
                value = scale(s[k], 15 - f["out"].frac_bits)
            out.append(max(lows[k], min(highs[k], value)))
        outputs.append(out)
        states.append(y + s)
    return np.array(outputs), np.array(states)
