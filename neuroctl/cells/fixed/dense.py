"""The integer forms of Elman, Jordan, IndRNN, GRU and CfC, whose neurons are functions of sums: what they share.

net = (W_in x) >> + (what is remembered) >> + bias, all in one int32 format ``"net"``; activations are int16 in the
format ``"s"``: Q15 where the function is bounded by 1, coarser for ReLU. What decays is multiplied by 1 - d, d a
uint16 mantissa and a shift, so that slow decays keep their precision. Every >> rounds half up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import stack
from neuroctl.cells.base import Population
from neuroctl.cells.fixed.base import (
    GUARD_BITS,
    MAX_SHIFT,
    Q15_HIGH,
    READOUT_INTS,
    FormatOptions,
    by_inputs,
    check_argument_shift,
    check_shift,
    drive_of,
    readout_ints,
    refuse,
    size,
    squash_q,
    stacked,
)
from neuroctl.cells.fixed.ranges import Range, hull, plus, shifted
from neuroctl.layout import Layout
from neuroctl.maths.activations import ACTIVATIONS, LOGISTIC, TANH
from neuroctl.maths.fixed import (
    ACTIVATION_FRAC_BITS,
    ARGUMENT_FRAC_BITS,
    ARGUMENT_LIMIT,
    QFormat,
    QFormats,
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
Words = Mapping[str, NDArray[np.int64]]

_MAX_NET_FRAC_BITS: Final = 26  # the clamp of the argument, 11, has to fit 30 bits
_MIN_NET_FRAC_BITS: Final = 8
MAX_GROWTH: Final = 16.0
"""ReLU neurons saturate at this many times what the inputs alone bring, where what they remember may add up to more."""
_SHIFT_ORIGIN: Final = 4  # the packed shift is positive

N, M, OUT, AFFINE, CODE, IN_SHIFT, REC_SHIFT, ARGUMENT_SHIFT, CLAMP, S_SHIFT, S_LOW, OWN = range(12)
"""Places in ``ints``: sizes; code of the activation; shifts of sums and argument; the argument's clamp; shift from net
to s, the least s; from OWN on three numbers of the cell's own, then ``readout_ints``."""
READOUT: Final = OWN + 3
LAYERS: Final = OWN + 1
"""Place in ``ints`` of the number of layers, of cells of several; see ``layer_shifts``."""


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
def gate_q(net: Any, ints: Array) -> Any:
    """Return the logistic of a sum in the format ``"net"``."""
    clamp = wide(ints, U(CLAMP))
    return squash_q(round_shift(saturate(net, -clamp, clamp), wide(ints, U(ARGUMENT_SHIFT))), LOGISTIC)


@jit_integer_inline
def decayed_q(x: Any, packed: Any) -> Any:
    """Return x (1 - d), d as ``pack_decay`` has it."""
    much = abs(packed)
    part = round_shift(mul_q16(x, much & 65535), (much >> 16) - _SHIFT_ORIGIN)
    return select(packed < 0, x + part, x - part)


def pack_decay(kept: Array, name: str) -> NDArray[np.int32]:
    """Return d = 1 - kept as mantissa | (shift + 4) << 16, negated if d is negative; 0 for 0. ``kept`` is ``[P, n]``.

    d = mantissa 2^-(16 + shift), its top bit set: a decay of 1/T keeps 16 bits, however slow it is.

    Raises:
        ExportError: a number is beyond -7 to 9.

    """
    d = 1.0 - np.asarray(kept, np.float64)
    shift = -np.frexp(d)[1].astype(np.int64)
    mantissa = np.floor(np.ldexp(np.abs(d), 16 + shift) + 0.5).astype(np.int64)
    mantissa, shift = np.where(mantissa == 65536, 32768, mantissa), shift - (mantissa == 65536)
    small = np.abs(d) < 2.0**-30
    refuse(
        (shift <= -_SHIFT_ORIGIN) & ~small,
        lambda at: f"{name}[{at[-1]}]: {kept[at]:g}; allowed in fixed point: -7 to 9",
    )
    packed = mantissa | (shift + _SHIFT_ORIGIN) << 16
    return np.where(small, 0, np.where(d > 0, packed, -packed)).astype(np.int32)


def unpack_decay(packed: Array) -> NDArray[np.float64]:
    """Return d, of the shape ``[P, n]`` of ``packed``; see ``pack_decay``.

    Raises:
        ExportError: its shift is beyond what ``pack_decay`` gives; a damaged file can hold such.

    """
    much = np.abs(packed.astype(np.int64))
    shift = check_shift("a decay", (much >> 16) - _SHIFT_ORIGIN, -_SHIFT_ORIGIN)
    size: Array = np.ldexp((much & 65535).astype(np.float64), -16 - shift)
    return np.copysign(size, packed)


def net_format(spec: Spec, reach: Array, drive: Callable[[], Array], names: str) -> QFormats:
    """Return the int32 formats with the most fractional bits that keep sums up to ``reach`` below 2^29.

    Of ``reach`` ``[P]``, the inputs' part is ``drive()`` ``[P, n]``, which is called for a message alone.

    Raises:
        ExportError: too wide for 32 bits.

    """
    frac_bits = widest_frac_bits(reach, GUARD_BITS, _MAX_NET_FRAC_BITS)
    most = math.ldexp(1.0, GUARD_BITS - 1 - _MIN_NET_FRAC_BITS)
    refuse(
        frac_bits < _MIN_NET_FRAC_BITS,
        lambda at: (
            f"{names}: sums can reach {reach[at]:g}; allowed in fixed point: less than {most:g}"
            + by_inputs(spec, drive()[at], reach[at])
        ),
    )
    return QFormats(32, frac_bits)


def s_format(spec: Spec, s_reach: Array, options: FormatOptions) -> tuple[QFormats, Array]:
    """Return the int16 formats of activations up to ``s_reach``, and how far they reach; Q15 where 1 bounds them.

    ReLU saturates where an option asks for more fractional bits.
    """
    widest = widest_frac_bits(s_reach, 16)
    if spec.activation != "relu":
        return QFormats(16, np.where(s_reach <= 1.0, ACTIVATION_FRAC_BITS, widest)), s_reach
    asked = widest if options.s_frac_bits is None else np.full_like(widest, options.s_frac_bits)
    frac_bits = np.minimum(asked, ACTIVATION_FRAC_BITS)
    return QFormats(16, frac_bits), np.ldexp(1.0, 15 - frac_bits)


def input_formats(u_format: QFormat | QFormats, lanes: int) -> QFormats:
    """Return the inputs' format for P controllers."""
    return QFormats(u_format.bits, np.broadcast_to(u_format.frac_bits, lanes).copy())


def weights(options: FormatOptions, name: str, w: Array, x: QFormats, x_high: int, net: QFormats) -> QFormats:
    """Return the formats of weights on x whose sums are shifted into ``net``."""
    return options.weights(name, w, x_high, net.frac_bits + MAX_SHIFT - x.frac_bits)


def quantized(blocks: Layout, theta: Array, formats: Population, packed: Iterable[str]) -> NDArray[np.int32]:
    """Return theta_q: each block of a float theta in its format, those in ``packed`` as decays."""
    theta_q = np.zeros(theta.shape, np.int32)
    views, decays = blocks.rows(theta_q), set(packed)
    for name, values in blocks.rows(theta.astype(np.float64)).items():
        views[name][:] = pack_decay(values, name) if name in decays else formats[name].quantize(values)
    return theta_q


def sum_shift(formats: Population, weights: str, x: str) -> Array:
    """Return the shifts to the right from sums of weights times x to net's format."""
    return check_shift(weights, formats[weights].frac_bits + formats[x].frac_bits - formats["net"].frac_bits)


def layer_drives(spec: Spec, p: Blocks, u_format: QFormat | QFormats, s_reach: Array) -> list[Array]:
    """Return what the inputs, or the layer before, at most add to each sum of each layer, ``[P, rows]`` each."""
    w_in, *later = stack.names(spec, "W_in")
    first = drive_of(p[w_in], u_format)
    return [first, *(np.abs(p[name]).sum(axis=-1) * s_reach[:, None] for name in later)]


def layer_formats(spec: Spec, p: Blocks, options: FormatOptions, formats: Population) -> dict[str, QFormats]:
    """Return the formats of W_in, U and bias of each layer, of those of ``u``, ``s`` and ``net``."""
    own: dict[str, QFormats] = {}
    for k in range(spec.layers):
        w_in, u, bias = (stack.of_layer(spec, name, k) for name in ("W_in", "U", "bias"))
        x, x_high = (formats["s"], Q15_HIGH) if k else (formats["u"], -formats["u"].low)
        own[w_in] = weights(options, w_in, p[w_in], x, x_high, formats["net"])
        own[u] = weights(options, u, p[u], formats["s"], Q15_HIGH, formats["net"])
        own[bias] = formats["net"]
    return own


def layer_ints(spec: Spec, formats: Population, own: Any = 0) -> NDArray[np.int64]:
    """Return ``ints`` of a cell of layers, see ``cells.stack``: at the end each layer's shifts of W_in x and U h.

    ``own`` is the first of the cell's three.
    """
    shifts = [
        (sum_shift(formats, stack.of_layer(spec, "W_in", k), "s" if k else "u"),
         sum_shift(formats, stack.of_layer(spec, "U", k), "s"))
        for k in range(spec.layers)
    ]  # fmt: skip
    cell_ints = (own, spec.layers, 0)
    first, last = stack.of_layer(spec, "W_in", 0), [shift for pair in shifts for shift in pair]
    return dense_ints(spec, formats, first, shifts[0][1], cell_ints, last)


def layer_shifts(spec: Spec, ints: Array, layer: int) -> tuple[Array, Array]:
    """Return a layer's shifts of W_in x and U h, ``[P]``, of ``ints`` ``[P, I]``."""
    at = READOUT + READOUT_INTS + 2 * spec.outputs + 2 * layer
    return ints[..., at], ints[..., at + 1]


def of_layers(spec: Spec, text: str, layer: int) -> str:
    """Return the name of a layer's intermediate: ``text, layer 1``, or with one layer ``text`` alone."""
    return text if spec.layers == 1 else f"{text}, layer {layer}"


def dense_ints(
    spec: Spec, formats: Population, w_in: str, rec_shift: Any, cell_ints: Sequence[Any], last: Sequence[Any] = (),
    read: str = "s",
) -> NDArray[np.int64]:  # fmt: skip
    """Return ``ints``, see the places above; ``cell_ints`` are the cell's three, ``last`` those at the end.

    ``read`` is the format of what is read out.
    """
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
    return stacked([*sizes, *shifts, *cell_ints, *readout_ints(spec, formats, read), *last], len(net.frac_bits))


def s_range(spec: Spec) -> tuple[int, int]:
    """Return the range of an activation in the format ``"s"``."""
    return (0 if spec.activation in ("logistic", "relu") else -Q15_HIGH), Q15_HIGH


def largest(p: Blocks, name: str) -> Array | float:
    """Return each controller's largest magnitude in a block ``[P, n]``, ``[P]``; 0 where there is no such block."""
    return np.abs(p[name]).max(axis=-1) if name in p else 0.0


def from_start(range_: tuple[Any, Any], p: Mapping[str, Array], name: str) -> Range:
    """Return the range ``[P]`` of a state that steps lead to, with that in a block of theta_q that it starts from."""
    lanes = len(next(iter(p.values())))
    low, high = (np.broadcast_to(np.int64(end), lanes) for end in range_)
    if name not in p:
        return low, high
    return np.minimum(low, p[name].min(axis=-1)), np.maximum(high, p[name].max(axis=-1))


def input_range(formats: Population) -> tuple[Any, Any]:
    """Return the range of raw inputs, which is int16's for all."""
    return formats["u"].low, formats["u"].high


def net_ranges(drive: Range, in_shift: Array, kept: Range, bias: Array) -> dict[str, Range]:
    """Range of the sums that make up net: ``drive`` before its shift, ``kept`` in net's format."""
    driven = shifted(drive, in_shift)
    return {
        "W_in x": hull(drive),
        "W_in x, shifted": hull(driven),
        "remembered": hull(kept),
        "net": hull(plus(driven, kept, (bias, bias))),
    }
