"""What the integer forms of all cells share: options, sums of products, the readout, and intervals.

Formats, integers and ranges are worked out for P controllers of one spec at once: parameters are ``[P, n_params]``, and
a format or a range has a number for each controller. A single controller is a population of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Population
from neuroctl.cells.fixed.narrow import (
    MAX_WEIGHT_FRAC_BITS,
    closest_frac_bits,
    fitting_frac_bits,
    is_narrow,
    with_rounded,
)
from neuroctl.cells.fixed.ranges import Range, hull, plus, row_ranges
from neuroctl.errors import ExportError
from neuroctl.layout import Layout
from neuroctl.maths.activations import ACTIVATIONS, IDENTITY, LOGISTIC
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    QFormats,
    logistic_q,
    round_shift,
    saturate,
    tanh_q,
    widest_frac_bits,
)
from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import first, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Limits, Spec

Array = NDArray[Any]

GUARD_BITS: Final = 30  # sums, and numbers that a 16-bit mantissa multiplies, stay below 2^30
Q15_HIGH: Final = 32767
MAX_SHIFT: Final = 30  # a shift by 32 or more is undefined in C
_MAX_LEFT: Final = 16  # of an activation's argument
Q15: Final = QFormat(16, ACTIVATION_FRAC_BITS)


def refuse(bad: NDArray[np.bool_], text: Callable[[tuple[int, ...]], str]) -> None:
    """Refuse the controllers for which something holds: bool ``[P]`` or ``[P, ...]``.

    Args:
        bad: what is wrong.
        text: what to say of the first place in ``bad``.

    Raises:
        ExportError: some are refused; it holds which.

    """
    if bad.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ExportError(text(place), bad.reshape(len(bad), -1).any(axis=1))


def drive_of(w_in: Array, u_format: QFormat | QFormats) -> Array:
    """Return what the inputs at most add to each neuron's sum, ``[P, n]``; all inputs have the widest one's format."""
    drive: Array = np.abs(w_in).sum(axis=-1) * -u_format.low * np.reshape(u_format.lsb, (-1, 1))
    return drive


def by_inputs(spec: Spec, drive: Array, reach: float) -> str:
    """Name the input whose limits are the widest if the inputs' ``drive`` ``[n]`` is most of a range; else nothing."""
    if spec.scale_inputs or not drive.max() > 0.5 * reach:
        return ""
    if spec.input_limits is None:  # or each has its own format: then any of them may be
        return "; most of it is W_in times the inputs"
    widest = int(np.abs(spec.input_limits).max(axis=-1).argmax())
    low, high = spec.input_limits[widest]
    return f"; most of it is W_in times input_limits[{widest}], {low:g} to {high:g}"


@dataclass(frozen=True)
class FormatOptions:
    """What the user, or a search, wants of the formats.

    Args:
        weight_bits: storage of each matrix, one of ``narrow.WEIGHT_BITS``.
        state_bits: storage of what is integrated over time (y, h, context): 16 or 32.
        s_frac_bits: fractional bits of ReLU's activations instead of the cell's own, with which they cannot
            saturate before h does.

    """

    weight_bits: Mapping[str, int]
    state_bits: int = 32
    s_frac_bits: int | None = None

    def weights(
        self, name: str, w: Array, x_high: int, most: Array, offset: Array | float = 0.0, x_frac_bits: Array | int = 0
    ) -> QFormats:
        """Return the formats of weights: the most fractional bits that fit storage, and each row's sum 30 bits.

        Of 4 bits and fewer: those with the smallest sum of squared errors, whether or not the largest weights saturate.

        Args:
            name: the block.
            w: the weights ``[P, to, from]``.
            x_high: the largest integer that they multiply.
            most: the most fractional bits allowed, ``[P]``.
            offset: a number that each sum gets added, in units of weight times x, ``[P]``.
            x_frac_bits: fractional bits of x, ``[P]``.

        """
        bits = self.weight_bits[name]
        most = np.minimum(MAX_WEIGHT_FRAC_BITS, most)
        frac_bits = closest_frac_bits(w, bits, most) if is_narrow(bits) else fitting_frac_bits(w, bits, most)
        while True:
            formats = QFormats(bits, frac_bits)
            sums = np.abs(formats.quantize(w).astype(np.int64)).sum(axis=-1).max(axis=-1)
            too_large = sums * x_high + np.ldexp(offset, frac_bits + x_frac_bits) >= 1 << GUARD_BITS
            if not too_large.any():
                return formats
            frac_bits = frac_bits - too_large

    def rounded(self, blocks: Layout, theta: Array) -> Array:
        """Return theta ``[P, n_params]`` with the weights of 4 bits and fewer as the integers will have them."""
        return with_rounded(blocks, theta, self.weight_bits)

    def state_frac_bits(self, reach: Array, frac_bits: Array) -> Array:
        """Return the given fractional bits, or as many as leave a state up to ``reach`` its storage."""
        return frac_bits if self.state_bits == 32 else np.minimum(frac_bits, widest_frac_bits(reach, 16))


def check_shift(where: str, shift: Array, least: int = -MAX_SHIFT) -> Array:
    """Return shifts to the right (negative: to the left) that 32 bits can do, of any shape.

    Raises:
        ExportError: one is too far: limits of extreme magnitude, or a damaged file.

    """
    refuse(
        (shift < least) | (shift > MAX_SHIFT),
        lambda at: f"formats: {where} is shifted by {shift[at]} bits; allowed: {least} to {MAX_SHIFT}",
    )
    return shift


def check_argument_shift(shift: Array) -> Array:
    """Return the shifts of an activation's argument, as ``check_shift``."""
    return check_shift("an activation's argument", shift, -_MAX_LEFT)


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


OUT_SHIFT, SQUASH, SQUASH_SHIFT, SQUASH_CLAMP, READOUT_INTS = range(5)
"""Places in ``readout_ints``: the shift to out; the squash's code, its argument's shift and clamp; from READOUT_INTS on
the outputs' lows, then their highs."""


@jit_integer
def readout_q(
    theta: Array, w_out: Any, state: Array, s: Any, n: Any, y: Array, q: Any, affine: Any, ints: Array, at: Any
) -> None:
    """Write outputs: y = saturate((W_out s + b_out) >> shift), or s >> shift; squashed before, if asked.

    ints, from ``at`` on: see the places above.
    """
    at, q, s, w_out, n = U(at), U(q), U(s), U(w_out), U(n)
    argument_shift, clamp = wide(ints, at + U(SQUASH_SHIFT)), wide(ints, at + U(SQUASH_CLAMP))
    code, shift, limits = size(ints, at + U(SQUASH)), wide(ints, at + U(OUT_SHIFT)), at + U(READOUT_INTS)
    for i in range(q):
        if affine != 0:
            total = matvec_q(theta, w_out + i * n, state, s, n) + wide(theta, w_out + q * n + i)
        else:
            total = wide(state, s + i)
        if code != IDENTITY:
            total = squash_q(round_shift(saturate(total, -clamp, clamp), argument_shift), code)
        store(y, i, saturate(round_shift(total, shift), wide(ints, limits + i), wide(ints, limits + q + i)))


def _squashed(spec: Spec) -> bool:
    """Whether the outputs are a bounded function of their sums. ReLU is none: it is a limit of its own, 0."""
    return spec.output_activation in ("tanh", "logistic")


def readout_formats(
    spec: Spec,
    p: Mapping[str, Array],
    options: FormatOptions,
    s: QFormats | QFormat = Q15,
    s_reach: Array | float = 1.0,
    s_high: int = Q15_HIGH,
) -> dict[str, QFormats]:
    """Return the formats of W_out, b_out and out: as many fractional bits as the sum, the weights and the limits allow.

    ``p`` are the parameters by name ``[P, ...]``, ``s`` is the format of what is read out, ``s_reach`` its largest
    magnitude, ``s_high`` that as an integer.
    """
    squashed = _squashed(spec)
    reach: Any = 1.0 if squashed else s_reach
    if spec.output_limits is not None and squashed:
        # Where limits leave [-1, 1] out, the nearer one is what comes out.
        reach = max(abs(min(max(end, low), high)) for low, high in spec.output_limits for end in (-1.0, 1.0))
    elif spec.output_limits is not None:
        reach = max(abs(value) for pair in spec.output_limits for value in pair)
    elif spec.readout == "affine" and not squashed:
        sums = np.abs(p["W_out"]).sum(axis=-1)
        reach = (np.expand_dims(s_reach, -1) * sums + np.abs(p["b_out"])).max(axis=-1)
    if spec.readout == "identity":
        # s itself (in Q15 its 1 is 32767); coarser only where the limits ask for more.
        frac_bits = np.where(reach <= s_reach, s.frac_bits, widest_frac_bits(reach, 16))
        return {"out": QFormats(16, np.broadcast_to(frac_bits, _lanes(p)))}
    out_frac = np.minimum(widest_frac_bits(reach, 16), ACTIVATION_FRAC_BITS if squashed else MAX_SHIFT)
    most = np.asarray((ARGUMENT_FRAC_BITS if squashed else out_frac) + MAX_SHIFT - s.frac_bits)
    offset = np.abs(p["b_out"]).max(axis=-1)
    w_out = options.weights("W_out", p["W_out"], s_high, most, offset, s.frac_bits)
    sum_frac = w_out.frac_bits + s.frac_bits
    out_frac = out_frac if squashed else np.minimum(out_frac, sum_frac)
    out = QFormats(16, np.broadcast_to(out_frac, sum_frac.shape))
    return {"W_out": w_out, "b_out": QFormats(32, sum_frac), "out": out}


def _lanes(p: Mapping[str, Array]) -> tuple[int]:
    return (len(next(iter(p.values()))),)


@lru_cache(maxsize=256)
def layer_spec(rows: int, columns: int, function: str, dtype: str, limits: Limits | None = None) -> Spec:
    """Return a spec whose readout is a dense layer with a function, and limits of what it gives."""
    return Spec(
        cell="elman", inputs=1, neurons=columns, outputs=rows, dt_s=1.0, dtype=dtype, output_activation=function,
        output_limits=limits,
    )  # fmt: skip


def readout_ints(spec: Spec, formats: Population, read: str = "s") -> list[Any]:
    """Return the readout's part of ``ints``, see the places above; ``read`` is the format of what is read out."""
    out = formats["out"]
    sum_frac = formats["b_out" if spec.readout == "affine" else read].frac_bits
    squash: list[Any] = [ACTIVATIONS[spec.output_activation] if _squashed(spec) else IDENTITY, 0, 0]
    if _squashed(spec):
        argument_shift = check_argument_shift(sum_frac - ARGUMENT_FRAC_BITS)
        # A sum stays below 2^30; where 11 does not, nothing has to be clamped.
        squash[1:] = [argument_shift, np.minimum(ARGUMENT_LIMIT << sum_frac, 1 << GUARD_BITS)]
        sum_frac = np.full_like(sum_frac, ACTIVATION_FRAC_BITS)
    # Never to the left: that would take a sum, which fills 30 bits, beyond its word.
    return [check_shift("out", sum_frac - out.frac_bits, 0), *squash, *output_ends(spec, out)]


def output_ends(spec: Spec, out: QFormats) -> list[Any]:
    """Return the outputs' lows, then their highs, each ``[P]``: the declared limits, else what the format holds.

    ReLU's lows are not below 0.
    """
    if spec.output_limits is None:
        return [0 if spec.output_activation == "relu" else out.low] * spec.outputs + [out.high] * spec.outputs
    lows, highs = np.array(spec.output_limits, np.float64).T
    if spec.output_activation == "relu":
        lows = np.minimum(np.maximum(lows, 0.0), highs)
    limits = np.concatenate([lows, highs])
    return list(out.quantize(np.broadcast_to(limits, (len(out), limits.size))).T)


def stacked(numbers: Sequence[Any], lanes: int) -> NDArray[np.int64]:
    """Return ``ints`` int64 ``[P, I]`` of I numbers, each one for all or ``[P]``."""
    ints = np.empty((lanes, len(numbers)), np.int64)
    for place, number in enumerate(numbers):
        ints[:, place] = number
    return ints


def readout_ranges(spec: Spec, formats: Population, w_out: Array, b_out: Array, s: tuple[Any, Any]) -> dict[str, Range]:
    """Range of the readout's sum, and of the sum with its rounding, for activations in the range s."""
    low, high = hull(plus(row_ranges(w_out, *s), (b_out, b_out)))
    squashed = _squashed(spec)
    shift = formats["b_out"].frac_bits - (ARGUMENT_FRAC_BITS if squashed else formats["out"].frac_bits)
    half = np.where(shift > 0, np.int64(1) << np.clip(shift, 0, MAX_SHIFT) >> 1, 0)
    return {"W_out s + b_out": (low, high), "out, rounded": (low, high + half)}
