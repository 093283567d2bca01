"""Fixed-point arithmetic: formats, the one rounding rule, and the activation table. Generated C says the same.

A number is an integer q and a format: value = q 2^-frac_bits. The one rounding rule, everywhere, is half up:
``(x + 2^(n-1)) >> n``, with an arithmetic shift. The scalar functions take Python ints or int64 and are the
definition; the C forms in ``firmware_export/runtime/nc_fixed.h`` work in 32 bits and give the same bits wherever the
interval analysis has shown that 32 bits suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.maths.jit import jit_integer

ACTIVATION_FRAC_BITS: Final = 15
"""Activations are int16 with 15 fractional bits: [0, 1) in steps of 2^-15."""
ARGUMENT_FRAC_BITS: Final = 21
"""The table's argument: 16 bits between two entries that lie 1/32 apart."""
ARGUMENT_LIMIT: Final = 12
"""Arguments beyond +-12 are clamped: there the logistic is within 6.2e-6 of 0 or 1, a fifth of 2^-15."""

_FOLD: Final = 4 << ARGUMENT_FRAC_BITS
_LAST: Final = (255 << 16) - 1


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


def _logistic_table() -> NDArray[np.uint16]:
    """256 entries for logistic(x) - 1/2 in units of 2^-17: x in [0, 4) by 1/32, then in [4, 12) by 1/16.

    A chord runs below the curve by up to h^2/8 |f''|; each entry is lifted by half of that. Computed in decimal
    arithmetic, which gives the same digits on every machine; libm's exp does not.
    """
    context = Context(prec=40)
    entries = []
    for index in range(256):
        x, h = (Decimal(index) / 32, 32) if index < 128 else (Decimal(4) + Decimal(index - 128) / 16, 16)
        s = 1 / (1 + context.exp(-x))
        lift = s * (1 - s) * (2 * s - 1) / (16 * h * h)
        entries.append(int((s - Decimal("0.5") + lift) * (1 << 17) + Decimal("0.5")))
    return np.array(entries, dtype=np.uint16)


LOGISTIC_TABLE: Final = _logistic_table()
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
    a = (a >> 1) + _FOLD // 2 if a > _FOLD else a  # beyond 4 the entries lie 1/16 apart
    a = _LAST if a > _LAST else a
    left = np.int64(LOGISTIC_TABLE[a >> 16])
    right = np.int64(LOGISTIC_TABLE[(a >> 16) + 1])
    return (left << 14) + (right - left) * ((a & 65535) >> 2)


@jit_integer
def logistic_q(x: Any) -> Any:
    """Logistic by table and linear interpolation: x in 21 fractional bits, |x| <= 12; returns 0..32767 in Q15.

    Within 0.80 LSB of Q15 of the exact value; an argument clamped to 12 may be 1.0 LSB off.
    """
    half = _half_q(-x if x < 0 else x)
    s = 16384 + (((-half if x < 0 else half) + 32768) >> 16)
    return 32767 if s > 32767 else s


@jit_integer
def tanh_q(x: Any) -> Any:
    """Tanh by the logistic's table, tanh x = 2 logistic(2 x) - 1: |x| <= 12 as there; -32767..32767 in Q15.

    Within 1.1 LSB of Q15 of the exact value.
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
