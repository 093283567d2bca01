"""How the logistic's pieces in ``neuroctl.maths.fixed`` were found: ``python -m tests.pieces`` prints them (a minute).

On each piece the cubic through the four Chebyshev nodes, rounded; then the coefficients next to it that make the
largest error of the integer evaluation, over the whole piece, least.
"""

import itertools

import numpy as np

UNITS = (17, 18, 18, 18)
AROUND = ((-1, 0, 1), range(-2, 3), range(-3, 4), range(-3, 4))


def exact(x):
    """logistic(x) - 1/2."""
    return 0.5 * np.tanh(0.5 * x)


def evaluate(c, t):
    """The integer form, in units of 2^-31; t in units of 2^-16 of the piece."""
    slope = c[2] + ((c[3] * t) >> 16)
    slope = c[1] + ((slope * t) >> 16)
    return (c[0] << 14) + ((slope * t) >> 3)


def piece(k):
    """The coefficients on [k/2, (k+1)/2], and their largest error in units of 2^-15."""
    nodes = 0.5 - 0.5 * np.cos(np.pi * (2 * np.arange(4) + 1) / 8)
    cubic = np.linalg.solve(np.vander(nodes, increasing=True), exact(0.5 * (k + nodes)))
    start = np.floor(np.ldexp(cubic, UNITS) + 0.5).astype(np.int64)
    t = np.arange(0, 65536, 4)
    truth = exact(0.5 * (k + t / 65536)) * 32768
    candidates = []
    for step in itertools.product(*AROUND):
        c = start + np.array(step)
        if k > 0 or c[0] == 0:  # logistic(0) is exactly 1/2
            candidates.append((float(np.abs(evaluate(c, t) / 65536 - truth).max()), [int(v) for v in c]))
    return min(candidates)


if __name__ == "__main__":
    for k in range(22):
        error, c = piece(k)
        print(f"{c},  # {0.5 * k} to {0.5 * (k + 1)}: {error:.3f}")
