"""Random numbers for compiled plants: noise of sensors, gusts, in plain scalar functions that vectorize.

A plant brings its generator in three entries of its state x: whole numbers, drawn at the start of an episode from
``SEEDS``, which ``draw`` advances. So each lane has its own stream, an episode depends on its start alone, and no
kernel knows of noise::

    START = (0.0, 1, 1, 1)
    STARTS = ((-1.0, 1.0), *SEEDS)

    def step(x, a, dt_s):
        seeds = draw(x[1], x[2], x[3])
        return x[0] + dt_s * a[0] + 0.01 * normal(seeds[0], seeds[1], seeds[2]), seeds[0], seeds[1], seeds[2]

They are the three multiplicative congruential generators of B. A. Wichmann and I. D. Hill, "Algorithm AS 183: an
efficient and portable pseudo-random number generator", Applied Statistics 31 (1982), with a joint period of 6.95e12.
Every product stays below 2^24: float32, float64 and plain Python give the same whole numbers, which ``uniform`` and
``normal`` divide by the moduli. The derivative of ``draw`` counts as 0.
"""

from __future__ import annotations

from typing import Any, Final

from neuroctl.maths.jit import jit_exact_inline
from neuroctl.maths.packs import like
from neuroctl.maths.rounding import nearest

MODULI: Final = (30269, 30307, 30323)
MULTIPLIERS: Final = (171, 172, 170)
SEEDS: Final = tuple(range(1, modulus) for modulus in MODULI)
"""For ``STARTS``: what the three entries of the state are drawn from."""

_A, _B, _C = MODULI
_BY_A, _BY_B, _BY_C = MULTIPLIERS


@jit_exact_inline
def _fractions(a: Any, b: Any, c: Any) -> Any:
    return a * like(a, 1 / _A) + b * like(b, 1 / _B) + c * like(c, 1 / _C)


@jit_exact_inline
def _rest(x: Any, modulus: int) -> Any:
    """Return x modulo the modulus, for whole x from 0 to 2^24 - 1: how the quotient is rounded makes no difference."""
    m = like(x, modulus)
    rest = x - m * nearest(x * (like(x, 1) / m))
    return rest + m if rest < like(x, 0) else rest


@jit_exact_inline
def draw(a: Any, b: Any, c: Any) -> Any:
    """Return the next three entries of a generator: whole numbers as floats, from 1 to each modulus - 1."""
    return (
        _rest(like(a, _BY_A) * a, _A),
        _rest(like(b, _BY_B) * b, _B),
        _rest(like(c, _BY_C) * c, _C),
    )


@jit_exact_inline
def uniform(a: Any, b: Any, c: Any) -> Any:
    """Return a number from 0 to 1, evenly distributed: the fractional part of the sum a/30269 + b/30307 + c/30323."""
    total = _fractions(a, b, c)
    total = total - like(a, 1) if total >= like(a, 1) else total
    return total - like(a, 1) if total >= like(a, 1) else total


@jit_exact_inline
def normal(a: Any, b: Any, c: Any) -> Any:
    """Return an approximately normal number of mean 0 and variance 1.

    It is twice the sum of three even numbers from -1/2 to 1/2, the Irwin-Hall distribution: within -3 to 3, of kurtosis
    2.6 instead of 3.
    """
    total = _fractions(a, b, c)
    return like(a, 2) * total - like(a, 3)
