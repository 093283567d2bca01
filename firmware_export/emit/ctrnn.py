"""CTRNN to C: the tables of one controller and the expressions that depend on its formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware_export.emit.text import Column, array, shifted
from neuroctl.errors import ExportError
from neuroctl.quant import QuantController

_MOST_SHIFT: Final = 30
_MOST_FOLDED: Final = 24  # of 2^30 + 2^24 nothing overflows
_SIZES: Final = {
    "W": "{0}_NEURONS * {0}_NEURONS",
    "W_in": "{0}_NEURONS * {0}_INPUTS",
    "W_out": "{0}_OUTPUTS * {0}_NEURONS",
}

Blocks = Mapping[str, NDArray[Any]]


class Shifts(NamedTuple):
    """Bits to shift right, half up, by where; negative is to the left. See ``ints_q`` of the cell."""

    recurrent: int
    drive: int
    argument: int
    out: int


def context(q: QuantController, name: str) -> dict[str, Any]:
    """Return what the cell's template needs besides the common part.

    Args:
        q: the controller.
        name: prefix of every identifier.

    Raises:
        ExportError: a constant does not fit the C type that its format names; a damaged file can hold such.

    """
    p = q.layout.views(q.theta_q)
    recurrent, drive, argument, _, out = (int(value) for value in q.ints[4:9])
    shifts = Shifts(recurrent, drive, argument, out)
    _check(q, p, shifts)
    matrices = [block for block in _SIZES if block in p]
    columns, expressions = _neurons(p, name, shifts)
    readout_columns, readout = _readout(q, p, name, shifts.out)
    return {
        "tables": [_matrix(q, p, name, block) for block in matrices]
        + [column.definition for column in columns + readout_columns if not column.uniform],
        "weight_bits": {block: q.formats[block].bits for block in matrices},
        "recurrent": shifted("recurrent", shifts.recurrent),
        "drive": shifted("drive", shifts.drive),
        "readout": readout,
        "readout_is_uniform": all(column.uniform for column in readout_columns),
        "odd_neurons": q.spec.neurons % 2 == 1,
        "odd_outputs": q.spec.outputs % 2 == 1,
    } | expressions


def _neurons(p: Blocks, name: str, shifts: Shifts) -> tuple[list[Column], dict[str, Any]]:
    """Return the per-neuron tables, and the expressions at neuron ``i`` that use them."""
    size = f"{name.upper()}_NEURONS"
    gain = Column(f"{name}_gain", "int16_t", size, _ints(p["gain"]))
    alpha = Column(f"{name}_alpha", "uint16_t", size, _ints(p["tau_s"] & 0xFFFF))
    alpha_shift = Column(f"{name}_alpha_shift", "uint8_t", size, _ints(p["tau_s"] >> 16))
    activation, rounding = _activation(shifts.argument, gain)
    bias = Column(f"{name}_bias", "int32_t", size, tuple(value + rounding for value in _ints(p["bias"])))
    return [bias, gain, alpha, alpha_shift], {
        "bias": bias.at("i"),
        "bias_rounds": rounding > 0,
        "activation": activation,
        "alpha": alpha.at("i"),
        "change": f"nc_round_shift(change, {alpha_shift.at('i')})",
    }


def _activation(shift: int, gain: Column) -> tuple[str, int]:
    """Return the call of the logistic on ``biased`` = y + bias, and what to add to the bias beforehand.

    A common gain of 2^k is a rounding shift by a bits, perhaps followed by one by b. Half up twice is
    floor((x + 2^(a-1) + 2^(a+b-1)) / 2^(a+b)); the constant goes into the bias. A shift to the left is the table's.
    """
    right, left = max(0, shift), max(0, -shift)
    first = 17 - gain.values[0].bit_length()
    power = gain.uniform and gain.values[0] > 0 and gain.values[0].bit_count() == 1
    if not power or first + right > _MOST_FOLDED:
        product = f"nc_mul_q16_s16(biased, {gain.at('i')})"
        return f"nc_logistic({shifted(product, right)}, {left}u)", 0
    rounding = (1 << (first - 1)) + (1 << (first + right - 1) if right else 0)
    return f"nc_logistic(nc_asr(biased, {first + right}u), {left}u)", rounding


def _readout(q: QuantController, p: Blocks, name: str, shift: int) -> tuple[list[Column], str]:
    """Return the per-output tables, and the expression of output ``i`` from ``sum``."""
    count, size = q.spec.outputs, f"{name.upper()}_OUTPUTS"
    low = Column(f"{name}_out_low", "int16_t", size, _ints(q.ints[9 : 9 + count]))
    high = Column(f"{name}_out_high", "int16_t", size, _ints(q.ints[9 + count :]))
    if "b_out" not in p:
        return [low, high], f"nc_clip({shifted('sum', shift)}, {low.at('i')}, {high.at('i')})"
    b_out = Column(f"{name}_b_out", "int32_t", size, _ints(p["b_out"]))
    total = shifted(f"sum + {b_out.at('i')}", shift)
    return [b_out, low, high], f"nc_clip({total}, {low.at('i')}, {high.at('i')})"


def _ints(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values.ravel())


def _matrix(q: QuantController, p: Blocks, name: str, block: str) -> str:
    size = _SIZES[block].format(name.upper())
    return array(f"int{q.formats[block].bits}_t", f"{name}_{block.lower()}", size, _ints(p[block]))


def _check(q: QuantController, p: Blocks, shifts: Shifts) -> None:
    for block in (*(block for block in _SIZES if block in p), "gain"):
        form = q.formats[block]
        if form.bits not in (8, 16):
            raise ExportError(f"{block}: {form.bits} bits; allowed in C: 8 or 16")
        _check_range(block, p[block], form.low, form.high)
    _check_range("tau_s, its mantissa", p["tau_s"] & 0xFFFF, 0, 0xFFFF)
    _check_range("tau_s, its shift", p["tau_s"] >> 16, 0, _MOST_SHIFT)
    for where, shift in shifts._asdict().items():
        least = -17 if where == "argument" else -_MOST_SHIFT
        if not least <= shift <= _MOST_SHIFT:
            raise ExportError(f"formats: {where} is shifted by {shift} bits; allowed in C: {least} to {_MOST_SHIFT}")


def _check_range(block: str, values: NDArray[np.int32], low: int, high: int) -> None:
    least, most = int(values.min()), int(values.max())
    if least < low or most > high:
        raise ExportError(f"{block}: {least} to {most}; allowed in C: {low} to {high}")
