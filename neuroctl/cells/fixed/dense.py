"""The integer forms of Elman, Jordan and IndRNN, whose neurons are functions of weighted sums: what they share.

net = (W_in x) >> + (what is remembered) >> + bias, all in one int32 format ``"net"``; activations are int16 in the
format ``"s"``: Q15 where the function is bounded by 1, coarser for ReLU. What decays is multiplied by 1 - d, d a
uint16 mantissa and a shift, so that slow decays keep their precision. Every >> rounds half up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Formats
from neuroctl.cells.fixed.base import (
    GUARD_BITS,
    MOST_SHIFT,
    Q15,
    Q15_HIGH,
    Choice,
    check_argument_shift,
    check_shift,
    hull,
    readout_ints,
    size,
    squash_q,
)
from neuroctl.errors import ExportError
from neuroctl.layout import Layout
from neuroctl.maths.activations import ACTIVATIONS, LOGISTIC, TANH
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    mul_q16,
    round_shift,
    saturate,
    widest_frac_bits,
)
from neuroctl.maths.jit import jit_integer_inline
from neuroctl.maths.packs import select, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]
Blocks = Mapping[str, NDArray[np.float64]]
Range = tuple[int, int]

_MOST_NET_FRAC_BITS: Final = 26  # the clamp of the argument, 11, has to fit 30 bits
_LEAST_NET_FRAC_BITS: Final = 8
MOST_GROWTH: Final = 16.0
"""ReLU neurons saturate at this many times what the inputs alone bring, where what they remember may add up to more."""
_SHIFT_ORIGIN: Final = 4  # the packed shift is positive

N, M, OUT, AFFINE, CODE, IN_SHIFT, REC_SHIFT, ARGUMENT_SHIFT, CLAMP, S_SHIFT, S_LOW, OWN = range(12)
"""Places in ``ints``: sizes; code of the activation; shifts of sums and argument; the argument's clamp; shift from net
to s, the least s; from OWN on three numbers of the cell's own, then ``readout_ints``."""
READOUT: Final = OWN + 3


@jit_integer_inline
def activate_q(net: Any, ints: Array) -> Any:
    """Return the activation of net in the format ``"s"``."""
    code = size(ints, CODE)
    if code == LOGISTIC or code == TANH:
        clamp = wide(ints, U(CLAMP))
        return squash_q(round_shift(saturate(net, -clamp, clamp), wide(ints, U(ARGUMENT_SHIFT))), code)
    else:  # noqa: RET505 - ReLU and hard tanh: a clip
        return saturate(round_shift(net, wide(ints, U(S_SHIFT))), wide(ints, U(S_LOW)), 32767)


@jit_integer_inline
def decayed_q(x: Any, packed: Any) -> Any:
    """Return x (1 - d), d as ``pack_decay`` has it."""
    much = abs(packed)
    part = round_shift(mul_q16(x, much & 65535), (much >> 16) - _SHIFT_ORIGIN)
    return select(packed < 0, x + part, x - part)


def pack_decay(kept: float, name: str) -> int:
    """Return d = 1 - kept as mantissa | (shift + 4) << 16, negated if d is negative; 0 for 0.

    d = mantissa 2^-(16 + shift), its top bit set: a decay of 1/T keeps 16 bits, however slow it is.
    """
    d = 1.0 - kept
    if abs(d) < 2.0**-30:
        return 0
    shift = -math.frexp(abs(d))[1]
    mantissa = math.floor(math.ldexp(abs(d), 16 + shift) + 0.5)
    if mantissa == 65536:
        mantissa, shift = 32768, shift - 1
    if shift <= -_SHIFT_ORIGIN:
        raise ExportError(f"{name}: {kept:g}; allowed in fixed point: -7 to 9")
    packed = mantissa | (shift + _SHIFT_ORIGIN) << 16
    return packed if d > 0 else -packed


def unpack_decay(packed: int) -> float:
    """Return d; see ``pack_decay``.

    Raises:
        ExportError: its shift is beyond what ``pack_decay`` gives; a damaged file can hold such.

    """
    shift = check_shift("a decay", (abs(packed) >> 16) - _SHIFT_ORIGIN, -_SHIFT_ORIGIN)
    return math.copysign(math.ldexp(abs(packed) & 65535, -16 - shift), packed)


def net_format(reach: float, names: str) -> QFormat:
    """Return the int32 format with the most fractional bits that keep sums up to ``reach`` below 2^29.

    Raises:
        ExportError: too wide for 32 bits.

    """
    frac_bits = widest_frac_bits(reach, GUARD_BITS, _MOST_NET_FRAC_BITS)
    if frac_bits < _LEAST_NET_FRAC_BITS:
        most = math.ldexp(1.0, GUARD_BITS - 1 - _LEAST_NET_FRAC_BITS)
        raise ExportError(f"{names}: sums can reach {reach:g}; allowed in fixed point: less than {most:g}")
    return QFormat(32, frac_bits)


def s_format(spec: Spec, s_reach: float, choice: Choice) -> tuple[QFormat, float]:
    """Return the int16 format of activations up to ``s_reach``, and how far it reaches; Q15 where 1 bounds them.

    ReLU saturates where a choice asks for more fractional bits.
    """
    if spec.activation != "relu":
        form = Q15 if s_reach <= 1.0 else QFormat(16, widest_frac_bits(s_reach, 16))
        return form, s_reach
    asked = choice.s_frac_bits
    frac_bits = min(widest_frac_bits(s_reach, 16) if asked is None else asked, ACTIVATION_FRAC_BITS)
    return QFormat(16, frac_bits), math.ldexp(1.0, 15 - frac_bits)


def weights(choice: Choice, name: str, w: Array, x: QFormat, x_high: int, net: QFormat) -> QFormat:
    """Return the format of weights on x whose sums are shifted into ``net``."""
    return choice.weights(name, w, x_high, net.frac_bits + MOST_SHIFT - x.frac_bits)


def quantized(blocks: Layout, theta: Array, formats: Formats, packed: Iterable[str]) -> NDArray[np.int32]:
    """Return theta_q: each block of a float theta in its format, those in ``packed`` as decays."""
    p = {name: np.asarray(view, np.float64) for name, view in blocks.views(theta).items()}
    theta_q = np.zeros(blocks.size, np.int32)
    decays = set(packed)
    for name, block in blocks.blocks.items():
        if name in decays:
            theta_q[block.part] = [pack_decay(float(kept), f"{name}[{i}]") for i, kept in enumerate(p[name])]
        else:
            theta_q[block.part] = formats[name].quantize(p[name]).ravel()
    return theta_q


def sum_shift(formats: Formats, weights: str, x: str) -> int:
    """Return the shift to the right from a sum of weights times x to net's format."""
    return check_shift(weights, formats[weights].frac_bits + formats[x].frac_bits - formats["net"].frac_bits)


def shifted(ranges: list[Range], shift: int) -> list[Range]:
    """Return ranges after a rounding shift."""
    return [(round_shift(low, shift), round_shift(high, shift)) for low, high in ranges]


def dense_ints(spec: Spec, formats: Formats, w_in: str, rec_shift: int, own: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return ``ints``; see the places above."""
    net, s = formats["net"], formats["s"]
    argument = net.frac_bits - ARGUMENT_FRAC_BITS
    sizes = [spec.neurons, spec.inputs, spec.outputs, int(spec.readout == "affine"), ACTIVATIONS[str(spec.activation)]]
    shifts = [
        sum_shift(formats, w_in, "u"),
        rec_shift,
        check_argument_shift(argument) if spec.activation in ("logistic", "tanh") else argument,
        ARGUMENT_LIMIT << net.frac_bits,
        check_shift("net", net.frac_bits - s.frac_bits),
        -Q15_HIGH if spec.activation == "hard_tanh" else 0,
    ]
    return np.array([*sizes, *shifts, *own, *readout_ints(spec, formats)], dtype=np.int64)


def s_range(spec: Spec) -> tuple[int, int]:
    """Return the range of an activation in the format ``"s"``."""
    return (0 if spec.activation in ("logistic", "relu") else -Q15_HIGH), Q15_HIGH


def net_bounds(drive: list[Range], in_shift: int, kept: list[Range], bias: Array) -> dict[str, Range]:
    """Range of the sums that make up net: ``drive`` before its shift, ``kept`` in net's format."""
    driven = shifted(drive, in_shift)
    net = [(a + c + int(b), e + f + int(b)) for (a, e), (c, f), b in zip(driven, kept, bias, strict=True)]
    return {
        "W_in x": hull(drive),
        "W_in x, shifted": hull(driven),
        "remembered": hull(kept),
        "net": hull(net),
    }
