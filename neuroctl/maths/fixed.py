"""Fixed-point arithmetic: formats, the one rounding rule, and the activation table. Generated C says the same.

A number is an integer q and a format: value = q 2^-frac_bits. The one rounding rule, everywhere, is half up:
``(x + 2^(n-1)) >> n``, with an arithmetic shift. The scalar functions take Python ints or int64 and are the
definition; the C forms in ``firmware_export/runtime/nc_fixed.h`` work in 32 bits and give the same bits wherever the
interval analysis has shown that 32 bits suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.maths.jit import jit_integer

ACTIVATION_FRAC_BITS: Final = 15
"""Activations are int16 with 15 fractional bits: [0, 1) in steps of 2^-15."""
ARGUMENT_FRAC_BITS: Final = 21
"""Of the activations' argument."""
ARGUMENT_LIMIT: Final = 11
"""Arguments beyond +-11 are clamped: there the logistic is within 1.7e-5 of 0 or 1, which is 0.55 of 2^-15."""

_PIECE_BITS: Final = ARGUMENT_FRAC_BITS - 1
_PIECES: Final = 2 * ARGUMENT_LIMIT
_LAST: Final = (_PIECES << _PIECE_BITS) - 1
_COEFFICIENT_BITS: Final = (17, 18, 21, 21)


@dataclass(frozen=True)
class QFormat:
    """A fixed-point format: ``bits`` of signed storage, of which ``frac_bits`` stand behind the binary point."""

    bits: int
    frac_bits: int

    @property
    def low(self) -> int:
        """Smallest integer that the storage holds."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest integer that the storage holds."""
        return (1 << (self.bits - 1)) - 1

    @property
    def lsb(self) -> float:
        """Value of the last bit."""
        return math.ldexp(1.0, -self.frac_bits)

    def quantize(self, values: ArrayLike) -> NDArray[np.int32]:
        """Round half up and saturate; NaN gives 0. Returns int32 of the shape of ``values``."""
        scaled = np.floor(np.ldexp(np.asarray(values, dtype=np.float64), self.frac_bits) + 0.5)
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=self.high, neginf=self.low)
        return np.asarray(np.clip(scaled, self.low, self.high), dtype=np.int32)

    def dequantize(self, q: ArrayLike) -> NDArray[np.float64]:
        """Return ``q 2^-frac_bits`` in float64."""
        return np.asarray(np.ldexp(np.asarray(q, dtype=np.float64), -self.frac_bits))


def widest_frac_bits(largest: float, bits: int, most: int = 30) -> int:
    """Return the most fractional bits with which +-``largest`` still fits ``bits`` of signed storage."""
    if largest == 0.0:
        return most
    frac_bits = min(most, bits - 1 - math.frexp(largest)[1])
    # frexp leaves room for all but the numbers that round up to 2^(bits-1); step down for those.
    return frac_bits if math.floor(math.ldexp(largest, frac_bits) + 0.5) < 1 << (bits - 1) else frac_bits - 1


def _logistic_table() -> NDArray[np.int32]:
    """Return ``[22, 4]``: on [k/2, (k+1)/2], logistic(x) - 1/2 = c0 + t (c1 + t (c2 + t c3)) with t in [0, 1).

    Each row is the cubic through the piece's four Chebyshev nodes, in units of 2^-17, 2^-18, 2^-21 and 2^-21. Computed
    in decimal arithmetic, which gives the same digits on every machine; libm's exp does not.
    """
    context = Context(prec=40)
    nodes = [Decimal(1) / 2 + Decimal(node) / 2 for node in ("0.9238795325", "0.3826834324", "-0.3826834324")]
    nodes.append(1 - nodes[0])
    table = []
    for piece in range(_PIECES):
        values = [1 / (1 + context.exp(-(piece + t) / 2)) - Decimal("0.5") for t in nodes]
        table.append(
            [
                int((c * (1 << bits)).to_integral_value(ROUND_HALF_EVEN))
                for c, bits in zip(_cubic(nodes, values), _COEFFICIENT_BITS, strict=True)
            ]
        )
    return np.array(table, dtype=np.int32)


def _cubic(nodes: list[Decimal], values: list[Decimal]) -> list[Decimal]:
    """Return the coefficients of the cubic through four points, the constant first (Newton's divided differences)."""
    differences = list(values)
    for order in range(1, 4):
        for i in range(3, order - 1, -1):
            differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order])
    coefficients = [differences[3], Decimal(0), Decimal(0), Decimal(0)]
    for i in range(2, -1, -1):  # times (t - nodes[i]), plus differences[i]
        shifted = [Decimal(0), *coefficients[:3]]
        coefficients = [a - nodes[i] * b for a, b in zip(shifted, coefficients, strict=True)]
        coefficients[0] += differences[i]
    return coefficients


LOGISTIC_TABLE: Final = _logistic_table()
"""What ``logistic_q`` and ``tanh_q`` share: 22 pieces of 8 bytes in C."""
LOGISTIC_TABLE.flags.writeable = False


@jit_integer
def saturate(x: Any, low: Any, high: Any) -> Any:
    """Clip x into [low, high]."""
    return low if x < low else (high if x > high else x)


@jit_integer
def round_shift(x: Any, n: Any) -> Any:
    """Return x 2^-n, rounded half up for n > 0; exact for n <= 0."""
    return (x + (1 << (n - 1))) >> n if n > 0 else x << -n


@jit_integer
def mul_q16(a: Any, m: Any) -> Any:
    """Return a m 2^-16, rounded half up: a 32-bit number times a 16-bit mantissa."""
    return (a * m + 32768) >> 16


@jit_integer
def _half_q(a: Any) -> Any:
    """Return logistic(a) - 1/2 in 31 fractional bits, below 2^30, for a >= 0 in 21 fractional bits."""
    a = _LAST if a > _LAST else a
    piece, t = a >> _PIECE_BITS, (a >> 5) & 32767
    slope = np.int64(LOGISTIC_TABLE[piece, 2]) + ((np.int64(LOGISTIC_TABLE[piece, 3]) * t) >> 15)
    slope = np.int64(LOGISTIC_TABLE[piece, 1]) + ((slope * t) >> 18)
    return (np.int64(LOGISTIC_TABLE[piece, 0]) << 14) + ((slope * t) >> 2)


@jit_integer
def logistic_q(x: Any) -> Any:
    """Logistic by piecewise cubics: x in 21 fractional bits; returns 0..32767 in Q15.

    Within 0.73 LSB of Q15 of the exact value for |x| <= 11, within 1.0 LSB beyond.
    """
    half = _half_q(-x if x < 0 else x)
    s = 16384 + (((-half if x < 0 else half) + 32768) >> 16)
    return 32767 if s > 32767 else s


@jit_integer
def tanh_q(x: Any) -> Any:
    """Tanh by the logistic's pieces, tanh x = 2 logistic(2 x) - 1: x in 21 fractional bits; -32767..32767 in Q15.

    Within 1.0 LSB of Q15 of the exact value.
    """
    half = _half_q(-2 * x if x < 0 else 2 * x)
    t = (half + 16384) >> 15
    t = 32767 if t > 32767 else t
    return -t if x < 0 else t


@jit_integer
def quantize_into(u: Any, offset: Any, gain: Any, lsb: Any, low: Any, high: Any, out: Any) -> None:
    """Write ``QFormat.quantize((u - offset) gain)``, clipped into [low_i, high_i], to out; for a control loop.

    u: float[m]; offset, gain: float64[m]; lsb: float64, a power of two, so that the division is exact; low, high, out:
    int32[m]
    """
    for i in range(u.shape[0]):
        x = (np.float64(u[i]) - offset[i]) * gain[i]
        scaled = math.floor(x / lsb + 0.5) if abs(u[i]) < np.inf else np.float64(0.0)
        value = np.float64(high[i]) if scaled > high[i] or u[i] == np.inf else scaled
        out[i] = np.int32(np.float64(low[i]) if value < low[i] or u[i] == -np.inf else value)


@jit_integer
def dequantize_into(q: Any, lsb: Any, out: Any) -> None:
    """Write q lsb to out. q: int32[n]; lsb: float64, a power of two; out: float[n]."""
    for i in range(q.shape[0]):
        out[i] = np.float64(q[i]) * lsb
