"""What the integer forms of all cells share: choices, sums of products, the readout, and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Formats
from neuroctl.errors import ExportError
from neuroctl.maths.activations import ACTIVATIONS, IDENTITY, LOGISTIC
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    logistic_q,
    round_shift,
    saturate,
    tanh_q,
    widest_frac_bits,
)
from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import first, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

GUARD_BITS: Final = 30  # sums, and numbers that a 16-bit mantissa multiplies, stay below 2^30
Q15_HIGH: Final = 32767
MOST_SHIFT: Final = 30  # a shift by 32 or more is undefined in C
_MOST_LEFT: Final = 16  # of an activation's argument
Q15: Final = QFormat(16, ACTIVATION_FRAC_BITS)


@dataclass(frozen=True)
class Choice:
    """What the user, or a search, wants of the formats.

    Args:
        weight_bits: storage of each matrix: 8 or 16.
        state_bits: storage of what is integrated over time (y, h, context): 16 or 32.
        s_frac_bits: fractional bits of ReLU's activations instead of the cell's own choice, with which they cannot
            saturate before h does.

    """

    weight_bits: Mapping[str, int]
    state_bits: int = 32
    s_frac_bits: int | None = None

    def weights(
        self, name: str, w: Array, x_high: int, most: int, offset: float = 0.0, x_frac_bits: int = 0
    ) -> QFormat:
        """Return the format of weights: the most fractional bits that fit storage, and each row's sum 30 bits.

        Args:
            name: the block.
            w: the weights ``[to, from]``.
            x_high: the largest integer that they multiply.
            most: the most fractional bits allowed.
            offset: a number that each sum gets added, in units of weight times x.
            x_frac_bits: fractional bits of x.

        """
        bits = self.weight_bits[name]
        frac_bits = widest_frac_bits(float(np.abs(w).max()), bits, min(24, most))
        while True:
            q = QFormat(bits, frac_bits).quantize(w).astype(np.int64)
            largest = np.abs(q).sum(axis=1).max() * x_high + math.ldexp(offset, frac_bits + x_frac_bits)
            if largest < 1 << GUARD_BITS:
                return QFormat(bits, frac_bits)
            frac_bits -= 1

    def state_frac_bits(self, reach: float, frac_bits: int) -> int:
        """Return the given fractional bits, or as many as leave a state up to ``reach`` its storage."""
        return frac_bits if self.state_bits == 32 else min(frac_bits, widest_frac_bits(reach, 16))


def check_shift(where: str, shift: int, least: int = -MOST_SHIFT) -> int:
    """Return a shift to the right (negative: to the left) that 32 bits can do.

    Raises:
        ExportError: it is too far: limits of extreme magnitude, or a damaged file.

    """
    if not least <= shift <= MOST_SHIFT:
        raise ExportError(f"formats: {where} is shifted by {shift} bits; allowed: {least} to {MOST_SHIFT}")
    return shift


def check_argument_shift(shift: int) -> int:
    """Return the shift of an activation's argument, as ``check_shift``."""
    return check_shift("an activation's argument", shift, -_MOST_LEFT)


@jit_integer_inline
def size(ints: Array, place: Any) -> Any:
    """Return a number of ``ints`` that is the same for all controllers of a spec."""
    return first(wide(ints, U(place)))


@jit_integer_inline
def squash_q(x: Any, code: Any) -> Any:
    """Return logistic or tanh of x, 17 fractional bits, in Q15."""
    if code == LOGISTIC:
        return logistic_q(x)
    return tanh_q(x)


@jit_integer_inline
def matvec_q(a: Array, ao: Any, x: Array, xo: Any, cols: Any) -> Any:
    """Return sum_j a_j x_j of two int32 rows in int64; ``ao`` and ``xo`` are offsets, ``cols`` is at least 1."""
    ao, xo = U(ao), U(xo)
    total = wide(a, ao) * wide(x, xo)
    for j in range(U(1), U(cols)):
        total = total + wide(a, ao + j) * wide(x, xo + j)
    return total


@jit_integer_inline
def drive_q(theta: Array, row: Any, u: Array, m: Any) -> Any:
    """Return sum_k w_k u_k of the raw inputs, saturated into int16."""
    row = U(row)
    total = wide(theta, row) * saturate(wide(u, U(0)), -32768, 32767)
    for k in range(U(1), U(m)):
        total = total + wide(theta, row + k) * saturate(wide(u, k), -32768, 32767)
    return total


@jit_integer
def readout_q(
    theta: Array, w_out: Any, state: Array, s: Any, n: Any, y: Array, q: Any, affine: Any, ints: Array, at: Any
) -> None:
    """Write outputs: y = saturate((W_out s + b_out) >> shift), or s >> shift; squashed before, if asked.

    ints, from ``at`` on: see ``readout_ints``.
    """
    at, q, s, w_out, n = U(at), U(q), U(s), U(w_out), U(n)
    shift, argument_shift, clamp = wide(ints, at), wide(ints, at + U(2)), wide(ints, at + U(3))
    code, limits = first(wide(ints, at + U(1))), at + U(4)
    for i in range(q):
        if affine != 0:
            total = matvec_q(theta, w_out + i * n, state, s, n) + wide(theta, w_out + q * n + i)
        else:
            total = wide(state, s + i)
        if code != IDENTITY:
            total = squash_q(round_shift(saturate(total, -clamp, clamp), argument_shift), code)
        store(y, i, saturate(round_shift(total, shift), wide(ints, limits + i), wide(ints, limits + q + i)))


def readout_formats(
    spec: Spec, p: Mapping[str, Array], choice: Choice, s: QFormat = Q15, s_reach: float = 1.0
) -> dict[str, QFormat]:
    """Return the formats of W_out, b_out and out: as many fractional bits as the sum, the weights and the limits allow.

    ``s`` is the format of what is read out, ``s_reach`` its largest magnitude.
    """
    squashed = spec.output_activation != "identity"
    reach = 1.0 if squashed else s_reach
    if spec.output_limits is not None and squashed:
        # Where limits leave [-1, 1] out, the nearer one is what comes out.
        reach = max(abs(min(max(end, low), high)) for low, high in spec.output_limits for end in (-1.0, 1.0))
    elif spec.output_limits is not None:
        reach = max(abs(value) for pair in spec.output_limits for value in pair)
    elif spec.readout == "affine" and not squashed:
        reach = float((s_reach * np.abs(p["W_out"]).sum(axis=1) + np.abs(p["b_out"])).max())
    if spec.readout == "identity":
        # s itself (in Q15 its 1 is 32767); coarser only where the limits ask for more.
        return {"out": QFormat(16, s.frac_bits if reach <= s_reach else widest_frac_bits(reach, 16))}
    out_frac = min(widest_frac_bits(reach, 16), ACTIVATION_FRAC_BITS if squashed else MOST_SHIFT)
    most = (ARGUMENT_FRAC_BITS if squashed else out_frac) + MOST_SHIFT - s.frac_bits
    offset = float(np.abs(p["b_out"]).max())
    w_out = choice.weights("W_out", p["W_out"], Q15_HIGH, most, offset, s.frac_bits)
    sum_frac = w_out.frac_bits + s.frac_bits
    out = QFormat(16, out_frac if squashed else min(out_frac, sum_frac))
    return {"W_out": w_out, "b_out": QFormat(32, sum_frac), "out": out}


READOUT_INTS: Final = 4
"""How many numbers stand in front of the outputs' lows and highs in ``readout_ints``."""


def readout_ints(spec: Spec, formats: Formats) -> list[int]:
    """Return the shift to out; the squash's code, its argument's shift and clamp; the outputs' lows and highs."""
    out = formats["out"]
    sum_frac = formats["b_out"].frac_bits if spec.readout == "affine" else formats["s"].frac_bits
    squash = [ACTIVATIONS[spec.output_activation], 0, 0]
    if spec.output_activation != "identity":
        argument_shift = check_argument_shift(sum_frac - ARGUMENT_FRAC_BITS)
        # A sum stays below 2^30; where 11 does not, nothing has to be clamped.
        squash[1:] = [argument_shift, min(ARGUMENT_LIMIT << sum_frac, 1 << GUARD_BITS)]
        sum_frac = ACTIVATION_FRAC_BITS
    lows, highs = [out.low] * spec.outputs, [out.high] * spec.outputs
    if spec.output_limits is not None:
        lows, highs = out.quantize(np.array(spec.output_limits).T).tolist()
    # Never to the left: that would take a sum, which fills 30 bits, beyond its word.
    return [check_shift("out", sum_frac - out.frac_bits, 0), *squash, *lows, *highs]


def readout_bounds(
    spec: Spec, formats: Formats, w_out: Array, b_out: Array, s: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """Range of the readout's sum, and of the sum with its rounding, for activations in the range s."""
    sums = row_ranges(w_out, *s)
    low, high = hull([(a + int(b), c + int(b)) for (a, c), b in zip(sums, b_out, strict=True)])
    squashed = spec.output_activation != "identity"
    shift = formats["b_out"].frac_bits - (ARGUMENT_FRAC_BITS if squashed else formats["out"].frac_bits)
    return {"W_out s + b_out": (low, high), "out, rounded": (low, high + (1 << shift >> 1 if shift > 0 else 0))}


def row_ranges(matrix: Array, low: int, high: int) -> list[tuple[int, int]]:
    """Range of any partial sum of w_j x_j in each row w, with each x_j in [low, high] and low <= 0 <= high."""
    w = np.asarray(matrix, np.int64)
    ups = np.maximum(w, 0).sum(axis=1)
    downs = w.sum(axis=1) - ups
    sums = zip(ups.tolist(), downs.tolist(), strict=True)
    return [(up * low + down * high, up * high + down * low) for up, down in sums]


def hull(ranges: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the smallest range that holds them all."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)
