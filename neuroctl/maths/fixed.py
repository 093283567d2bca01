"""Fixed-point arithmetic: formats, the one rounding rule, and the activation table. Generated C says the same.

A number is an integer q and a format: value = q 2^-frac_bits. The one rounding rule, everywhere, is half up:
``(x + 2^(n-1)) >> n``, with an arithmetic shift. The functions take Python ints, int64 or packs of int64 and are
the definition; the C forms in ``firmware_export/runtime/nc_fixed.h`` work in 32 bits and give the same bits wherever
the interval analysis has shown that 32 bits suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import entry, select

ACTIVATION_FRAC_BITS: Final = 15
"""Activations are int16 with 15 fractional bits: [0, 1) in steps of 2^-15."""
ARGUMENT_FRAC_BITS: Final = 17
"""Of the activations' argument: 16 bits within a piece."""
ARGUMENT_LIMIT: Final = 11
"""Arguments beyond +-11 are clamped: there the logistic is within 1.7e-5 of 0 or 1, which is 0.55 of 2^-15."""

_LAST: Final = (2 * ARGUMENT_LIMIT << 16) - 1


@dataclass(frozen=True)
class QFormat:
    """A fixed-point format: ``bits`` of signed storage, of which ``frac_bits`` stand behind the binary point.

    Args:
        bits: of storage.
        frac_bits: fractional bits of all entries; with ``extra``, those that an integer step counts with.
        extra: what each entry has more than that, in tuples nested as the axes of what is stored; empty: nothing.

    Example:
        >>> QFormat(16, 8).quantize([0.5, -1.0, 1000.0])
        array([  128,  -256, 32767], dtype=int32)
        >>> QFormat(16, 8, (0, 6)).quantize([0.5, 0.5])
        array([ 128, 8192], dtype=int32)

    """

    bits: int
    frac_bits: int
    extra: tuple[Any, ...] = ()

    @property
    def entry_frac_bits(self) -> Any:
        """Fractional bits of each entry: an integer if all share them, else an array that goes with the entries."""
        return self.frac_bits + np.array(self.extra) if self.extra else self.frac_bits

    @property
    def low(self) -> int:
        """Smallest integer that the storage holds."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest integer that the storage holds."""
        return (1 << (self.bits - 1)) - 1

    @property
    def lsb(self) -> Any:
        """Value of the last bit: a float if all entries share it, else an array that goes with the entries."""
        return np.ldexp(1.0, -self.entry_frac_bits) if self.extra else math.ldexp(1.0, -self.frac_bits)

    def quantize(self, values: ArrayLike) -> NDArray[np.int32]:
        """Round half up and saturate; NaN gives 0. Returns int32 of the shape of ``values``."""
        return _quantize(values, self.entry_frac_bits, self.low, self.high)

    def dequantize(self, q: ArrayLike) -> NDArray[np.float64]:
        """Return ``q 2^-frac_bits`` in float64."""
        return np.asarray(np.ldexp(np.asarray(q, dtype=np.float64), -self.entry_frac_bits))


def _quantize(values: ArrayLike, frac_bits: Any, low: Any, high: Any) -> NDArray[np.int32]:
    scaled: NDArray[np.float64]
    with np.errstate(over="ignore"):  # what overflows saturates
        scaled = np.floor(np.ldexp(np.asarray(values, dtype=np.float64), frac_bits) + 0.5)
    scaled = np.minimum(np.maximum(scaled, low), high)  # a third of clip's time, for few numbers
    if np.isnan(scaled).any():
        scaled = np.where(np.isnan(scaled), 0.0, scaled)
    return scaled.astype(np.int32)


class QFormats:
    """The formats of one block in P controllers.

    Args:
        bits: of storage: one number for all, or int64 ``[P]``; a controller with 0 bits has no such block.
        frac_bits: int64 ``[P]``.

    """

    __slots__ = ("bits", "frac_bits", "high", "low")

    def __init__(self, bits: Any, frac_bits: NDArray[np.int64]):
        self.bits, self.frac_bits = bits, frac_bits
        self.high = (1 << np.maximum(bits, 1) - 1) - 1
        """Largest integer that the storage holds: one number for all, or int64 ``[P]``."""
        self.low = -self.high - 1
        """Smallest integer that the storage holds, as ``high``."""

    def __len__(self) -> int:
        return len(self.frac_bits)

    @property
    def lsb(self) -> NDArray[np.float64]:
        """Value of each last bit, float64 ``[P]``."""
        lsb: NDArray[np.float64] = np.ldexp(1.0, -self.frac_bits)
        return lsb

    def quantize(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Round half up and saturate each controller's values ``[P, ...]``; NaN gives 0. Returns int32."""
        column = (-1,) + (1,) * (values.ndim - 1)
        low, high = np.reshape(self.low, column), np.reshape(self.high, column)
        return _quantize(values, self.frac_bits.reshape(column), low, high)

    def at(self, index: int) -> QFormat | None:
        """Return one controller's format, None where it has no such block."""
        bits = self.bits if isinstance(self.bits, int) else int(self.bits[index])
        return QFormat(bits, int(self.frac_bits[index])) if bits else None

    def repeat(self, times: int) -> QFormats:
        """Return formats in which each controller's stand ``times`` times, one behind the other."""
        bits = self.bits if isinstance(self.bits, int) else np.repeat(self.bits, times)
        return QFormats(bits, np.repeat(self.frac_bits, times))


def widest_frac_bits(largest: Any, bits: int, most: Any = 30) -> Any:
    """Return the most fractional bits with which +-``largest`` still fits ``bits`` of signed storage.

    Args:
        largest: a magnitude, or an array of them.
        bits: of storage.
        most: what is allowed: an integer, or an array like ``largest``.

    Returns:
        An int, or int64 of the shape of ``largest``.

    """
    largest = np.asarray(largest, np.float64)
    frac_bits = np.minimum(most, bits - 1 - np.frexp(largest)[1].astype(np.int64))
    # frexp leaves room for all but the numbers that round up to 2^(bits-1); step down for those.
    frac_bits = frac_bits - (np.floor(np.ldexp(largest, frac_bits) + 0.5) >= 1 << (bits - 1))
    frac_bits = np.where(largest == 0.0, most, frac_bits)
    return frac_bits if frac_bits.ndim else int(frac_bits)


LOGISTIC_TABLE: Final = np.array(
    [
        (0, 32775, -37, -635), (16051, 30821, -1987, -365), (30285, 25789, -3072, -36),
        (41625, 19557, -3151, 169), (49912, 13765, -2629, 227), (55593, 9184, -1933, 204),
        (59320, 5918, -1322, 153), (61694, 3729, -865, 106), (63179, 2311, -547, 71),
        (64096, 1421, -341, 47), (64659, 872, -213, 29), (65003, 529, -130, 20),
        (65212, 321, -77, 12), (65339, 198, -49, 7), (65417, 119, -31, 6),
        (65464, 70, -16, 3), (65492, 44, -10, 2), (65509, 29, -10, 4),
        (65520, 14, -2, 2), (65526, 12, -5, 2), (65530, 5, 0, 0),
        (65532, 4, 0, 0),
    ],
    dtype=np.int32,
)  # fmt: skip
"""22 pieces, 8 bytes each in C: on [k/2, (k+1)/2], logistic(x) - 1/2 = c0 + t (c1 + t (c2 + t c3)) with t in [0, 1).

In units of 2^-17, then 2^-18. Each is the cubic through the piece's Chebyshev nodes, rounded, and moved to where the
largest error of the integer evaluation is least; at most 0.17 of 2^-15.
"""
LOGISTIC_TABLE.flags.writeable = False
_COEFFICIENTS: Final = LOGISTIC_TABLE.ravel()


@jit_integer_inline
def saturate(x: Any, low: Any, high: Any) -> Any:
    """Clip x into [low, high]."""
    raised = select(x < low, low, x)
    return select(raised > high, high, raised)


@jit_integer_inline
def round_shift(x: Any, n: Any) -> Any:
    """Return x 2^-n, rounded half up for n > 0; exact for n <= 0."""
    right, left = select(n > 0, n, 0 * n), select(n < 0, -n, 0 * n)
    return ((x << left) + ((1 << right) >> 1)) >> right


@jit_integer_inline
def mul_q16(a: Any, m: Any) -> Any:
    """Return a m 2^-16, rounded half up: a 32-bit number times a 16-bit mantissa."""
    return (a * m + 32768) >> 16


@jit_integer_inline
def _half_q(a: Any) -> Any:
    """Return logistic(a) - 1/2 in 31 fractional bits, below 2^30, for a >= 0 in 17 fractional bits."""
    a = select(a > _LAST, _LAST, a)
    at, t = (a >> 16) * 4, a & 65535
    slope = entry(_COEFFICIENTS, at + 2) + ((entry(_COEFFICIENTS, at + 3) * t) >> 16)
    slope = entry(_COEFFICIENTS, at + 1) + ((slope * t) >> 16)
    return (entry(_COEFFICIENTS, at) << 14) + ((slope * t) >> 3)


@jit_integer_inline
def logistic_q(x: Any) -> Any:
    """Logistic by piecewise cubics: x in 17 fractional bits; returns 1..32767 in Q15.

    Within 0.72 LSB of Q15 of the exact value for |x| <= 11, within 1.0 LSB beyond.
    """
    half = _half_q(abs(x))
    return 16384 + ((select(x < 0, -half, half) + 32768) >> 16)


@jit_integer_inline
def tanh_q(x: Any) -> Any:
    """Tanh by the logistic's pieces, tanh x = 2 logistic(2 x) - 1: x in 17 fractional bits; -32767..32767 in Q15.

    Within 0.90 LSB of Q15 of the exact value for |x| <= 5.5, within 1.0 LSB beyond.
    """
    t = (_half_q(abs(2 * x)) + 16384) >> 15
    return select(x < 0, -t, t)


@jit_integer_inline
def quantized(u: Any, offset: Any, gain: Any, lsb: Any, low: Any, high: Any) -> Any:
    """Return ``QFormat.quantize((u - offset) gain)``, clipped into [low, high], for a control loop.

    u: a float; offset, gain: float64; lsb: float64, a power of two, so that the division is exact; low, high: int32
    """
    x = (np.float64(u) - offset) * gain
    # Clipped before it is rounded down, it fits an int32: a large number would wrap to the other limit.
    scaled = x / lsb + 0.5 if x == x else np.float64(0.0)
    scaled = np.float64(high) if scaled > high else scaled
    scaled = np.float64(low) if scaled < low else scaled
    value = np.int32(scaled)  # towards 0; math.floor of a float is an int64, and np.floor is none of CUDA's
    return value - np.int32(1) if value > scaled else value


@jit_integer
def quantize_into(u: Any, offset: Any, gain: Any, lsb: Any, low: Any, high: Any, out: Any) -> None:
    """Write ``quantized`` inputs. u: float[m]; offset, gain: float64[m]; lsb: float64; low, high, out: int32[m]."""
    for i in range(u.shape[0]):
        out[i] = quantized(u[i], offset[i], gain[i], lsb, low[i], high[i])


@jit_integer
def clip_in_place(u: Any, low: Any, high: Any) -> None:
    """Clip raw inputs into their declared limits. u: int32[m], read and written; low, high: int32[m]."""
    for i in range(u.shape[0]):
        u[i] = saturate(u[i], low[i], high[i])


@jit_integer
def dequantize_into(q: Any, lsb: Any, out: Any) -> None:
    """Write q lsb to out. q: int32[n]; lsb: float64[n], powers of two; out: float[n]."""
    for i in range(q.shape[0]):
        out[i] = np.float64(q[i]) * lsb[i]
