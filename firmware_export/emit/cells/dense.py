"""Common parts of Elman, Jordan and IndRNN in C: a weighted sum and its activation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from neuroctl.cells import stack
from neuroctl.cells.fixed import dense as d
from neuroctl.quant import QuantController

from .. import parts
from ..text import Column, Matrix, shifted

CONSTANT: Final = parts.ParameterStorage("")
"""Storage of numbers from the spec, not theta."""


def net(q: QuantController, layer: int | None = None) -> str:
    """Return the sum of ``recurrent``, U times what is remembered, and ``drive`` in net's format, of one of layers."""
    recurrent, drive = parts.ints(q.ints[[d.REC_SHIFT, d.IN_SHIFT]])
    if layer is not None:
        drive, recurrent = map(int, d.layer_shifts(q.spec, q.ints, layer))
    return f"{shifted('recurrent', recurrent)} + {shifted('drive', drive)}"


def activation(
    q: QuantController, parameters: parts.ParameterStorage, suffix: str, bias: tuple[int, ...], net: str, rows: str = ""
) -> tuple[Column, str]:
    """Return the bias's column, and the expression of the int16 activation of ``net`` plus the bias.

    The bias includes the rounding of the following shift, if there is one. ``rows`` is how many there are, in C; of
    the neurons where it is left out.
    """
    kind, argument_shift, s_shift, s_low = (
        q.spec.activation,
        *parts.ints(q.ints[[d.ARGUMENT_SHIFT, d.S_SHIFT, d.S_LOW]]),
    )
    squashes = kind in ("logistic", "tanh")
    shift = argument_shift if squashes else s_shift
    rounding = parts.folded(shift)
    rows = rows or f"{parameters.name.upper()}_NEURONS"
    column = parameters.column(suffix, rows, tuple(value + rounding for value in bias))
    total = f"{net} + {column.at('i')}"
    if squashes:
        return column, squashed(str(kind), total, shift)
    total = f"nc_asr({total}, {shift}u)" if rounding else shifted(total, max(0, shift))
    return column, f"(int16_t)nc_clip({shifted(total, min(0, shift))}, {s_low}, 32767)"


def squashed(function: str, total: str, shift: int) -> str:
    """Return a call of nc_logistic or nc_tanh on a sum shifted to the right, which has the rounding of that in it."""
    total = f"nc_asr({total}, {shift}u)" if parts.folded(shift) else shifted(total, max(0, shift))
    return f"nc_{function}({total}, {max(0, -shift)}u)"


def layer_matrices(q: QuantController, p: parts.Blocks, parameters: parts.ParameterStorage, rows: str) -> list[Matrix]:
    """Return the tables of W_in and U of each layer, of ``rows`` rows, and of W_out where there is one."""
    big = parameters.name.upper()
    sizes: dict[str, tuple[str, str]] = {}
    for k in range(q.spec.layers):
        sizes[stack.of_layer(q.spec, "W_in", k)] = rows, f"{big}_{'NEURONS' if k else 'INPUTS'}"
        sizes[stack.of_layer(q.spec, "U", k)] = rows, f"{big}_NEURONS"
    if "W_out" in p:
        sizes["W_out"] = f"{big}_OUTPUTS", f"{big}_NEURONS"
    return [parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()]


def layer_names(q: QuantController, layer: int, big: str) -> dict[str, str]:
    """Return what the template calls a layer: suffix of its functions, W_in and U, columns of W_in, place of its state.

    ``big`` is the prefix of the C's macros.
    """
    place = f"{big}_NEURONS" if layer == 1 else f"{layer} * {big}_NEURONS"
    return {
        "suffix": "" if q.spec.layers == 1 else f"_{layer}",
        "w_in": stack.of_layer(q.spec, "W_in", layer),
        "u": stack.of_layer(q.spec, "U", layer),
        "columns": f"{big}_{'NEURONS' if layer else 'INPUTS'}",
        "place": f"{place} + " if layer else "",
        "behind": f" + {place}" if layer else "",
    }


def lost(
    x: str,
    packed: tuple[int, ...],
    columns: list[Column],
    parameters: parts.ParameterStorage = CONSTANT,
    suffix: str = "",
) -> str:
    """Return the expression of the loss d x of a decay x (1 - d).

    Args:
        x: the expression that decays.
        packed: decays from ``pack_decay``, one, or one per neuron ``i``.
        columns: the expression's tables are appended to this.
        parameters: storage of the tables.
        suffix: prefix of the tables' suffixes.

    """
    if not any(packed) and not parameters.tunable:
        return "0"
    sizes = [abs(value) for value in packed]
    shifts = [((size >> 16) - 4 if size else 0) for size in sizes]
    up = max(0, -min(shifts))  # a d above 1 is a shift to the left: all are shifted left by this, then right again
    size = f"{parameters.name.upper()}_NEURONS"

    def column(suffix: str, values: Iterable[int], constant: str, parameter: str) -> Column:
        return parameters.column(suffix, size, tuple(values), constant=constant, parameter=parameter)

    mantissa = column(suffix, (value & 0xFFFF for value in sizes), "uint16_t", "uint16_t")
    signs = column(f"{suffix}_sign", (-1 if value < 0 else 1 for value in packed), "", "int8_t")
    right = column(f"{suffix}_shift", (max(0, shift) for shift in shifts), "uint8_t", "uint8_t")
    left = column(f"{suffix}_times", (1 << max(0, -shift) for shift in shifts), "", "uint8_t")
    part = f"nc_mul_q16_u16({x}, {mantissa.at('i')})"
    if parameters.tunable or any(right.values):
        part = f"nc_round_shift({part}, {right.at('i')}{'u' if right.uniform else ''})"
    if parameters.tunable or up:
        part = f"{part} * {left.at('i')}"
    if parameters.tunable or set(signs.values) != {1}:
        part = f"{part} * {signs.at('i')}"
    columns += [mantissa, right, left, signs]
    return part
