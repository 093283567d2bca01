"""What the integer forms of all cells share: sums of products, weight formats, the readout, and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Formats
from neuroctl.errors import ExportError
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, round_shift, saturate, widest_frac_bits
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

GUARD_BITS: Final = 30  # sums, and numbers that a 16-bit mantissa multiplies, stay below 2^30
Q15_HIGH: Final = 32767
MOST_SHIFT: Final = 30  # a shift by 32 or more is undefined in C
Q15: Final = QFormat(16, ACTIVATION_FRAC_BITS)


@jit_integer
def matvec_q(a: Array, ao: Any, x: Array, xo: Any, cols: Any) -> Any:
    """Return sum_j a_j x_j of two int32 rows in int64; ``ao`` and ``xo`` are offsets."""
    total = np.int64(0)
    ao, xo = U(ao), U(xo)
    for j in range(U(cols)):
        total += np.int64(a[ao + j]) * np.int64(x[xo + j])
    return total


@jit_integer
def readout_q(
    theta: Array, w_out: Any, state: Array, s: Any, n: Any, y: Array, q: Any, affine: Any, shift: Any, ints: Array,
    limits: Any,
) -> None:  # fmt: skip
    """Write outputs: y = saturate((W_out s + b_out) >> shift), or s >> shift. Lows, highs: ``ints[limits:]``."""
    for i in range(q):
        if affine != 0:
            total = matvec_q(theta, w_out + i * n, state, s, n) + np.int64(theta[w_out + q * n + i])
        else:
            total = np.int64(state[s + i])
        y[i] = saturate(round_shift(total, shift), ints[limits + i], ints[limits + q + i])


def weight_format(
    weights: Array, bits: int, x_high: int, most: int, offset: float = 0.0, x_frac_bits: int = ACTIVATION_FRAC_BITS
) -> QFormat:
    """Most fractional bits such that each weight fits its storage and each row's sum of products 31 bits."""
    frac_bits = widest_frac_bits(float(np.abs(weights).max()), bits, min(24, most))
    while True:
        q = QFormat(bits, frac_bits).quantize(weights).astype(np.int64)
        largest = np.abs(q).sum(axis=1).max() * x_high + math.ldexp(offset, frac_bits + x_frac_bits)
        if largest < 1 << GUARD_BITS:
            return QFormat(bits, frac_bits)
        frac_bits -= 1


def readout_formats(
    spec: Spec, p: Mapping[str, Array], weight_bits: int, s: QFormat = Q15, s_reach: float = 1.0
) -> dict[str, QFormat]:
    """Return the formats of W_out, b_out and out: as many fractional bits as the sum, the weights and the limits allow.

    ``s`` is the format of what is read out, ``s_reach`` its largest magnitude.

    Raises:
        ExportError: the readout has a function that fixed point does not have.

    """
    if spec.output_activation != "identity":
        raise ExportError(f"output_activation: {spec.output_activation!r}; allowed in fixed point: identity")
    reach = s_reach
    if spec.output_limits is not None:
        reach = max(abs(value) for pair in spec.output_limits for value in pair)
    elif spec.readout == "affine":
        reach = float((s_reach * np.abs(p["W_out"]).sum(axis=1) + np.abs(p["b_out"])).max())
    if spec.readout == "identity":
        # s itself (in Q15 its 1 is 32767); coarser only where the limits ask for more.
        return {"out": QFormat(16, s.frac_bits if reach <= s_reach else widest_frac_bits(reach, 16))}
    out_frac = widest_frac_bits(reach, 16)
    most = out_frac + MOST_SHIFT - s.frac_bits
    w_out = weight_format(p["W_out"], weight_bits, Q15_HIGH, most, float(np.abs(p["b_out"]).max()), s.frac_bits)
    sum_frac = w_out.frac_bits + s.frac_bits
    return {"W_out": w_out, "b_out": QFormat(32, sum_frac), "out": QFormat(16, min(out_frac, sum_frac))}


def readout_ints(spec: Spec, formats: Formats) -> list[int]:
    """Return the readout's shift, then the outputs' lows and highs as integers."""
    out = formats["out"]
    sum_frac = formats["b_out"].frac_bits if spec.readout == "affine" else formats["s"].frac_bits
    lows, highs = [out.low] * spec.outputs, [out.high] * spec.outputs
    if spec.output_limits is not None:
        lows = [int(out.quantize(low)) for low, _ in spec.output_limits]
        highs = [int(out.quantize(high)) for _, high in spec.output_limits]
    return [sum_frac - out.frac_bits, *lows, *highs]


def readout_bounds(
    spec: Spec, formats: Formats, w_out: Array, b_out: Array, s: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """Range of the readout's sum, and of the sum with its rounding, for activations in the range s."""
    sums = [row_range(row, *s) for row in w_out]
    low, high = hull([(a + int(b), c + int(b)) for (a, c), b in zip(sums, b_out, strict=True)])
    shift = formats["b_out"].frac_bits - formats["out"].frac_bits
    return {"W_out s + b_out": (low, high), "out, rounded": (low, high + (1 << shift >> 1))}


def row_range(row: Array, low: int, high: int) -> tuple[int, int]:
    """Range of any partial sum of w_j x_j with each x_j in [low, high] and low <= 0 <= high."""
    ends = [sorted((int(w) * low, int(w) * high)) for w in row]
    return sum(end[0] for end in ends), sum(end[1] for end in ends)


def hull(ranges: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the smallest range that holds them all."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)
