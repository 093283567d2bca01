"""CTRNN to C: the tables of one controller and the expressions that depend on its formats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neuroctl.cells.fixed.ctrnn import ARGUMENT_SHIFT, IN_SHIFT, READOUT, REC_SHIFT
from neuroctl.cells.fixed.ctrnn_formats import MAX_RESIDUAL_BITS
from neuroctl.quant import QuantController

from .. import parts
from ..text import Column, Table, shifted


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    p, big = q.layout.views(q.theta_q), parameters.name.upper()
    recurrent, drive, argument = parts.ints(q.ints[[REC_SHIFT, IN_SHIFT, ARGUMENT_SHIFT]])
    parts.check_range("gain", p["gain"], -(1 << 15), (1 << 15) - 1)
    neurons, expressions = _neurons(q, p, parameters, argument)
    result = parts.readout(q, p, parameters, READOUT)
    sizes = {"W": (f"{big}_NEURONS", f"{big}_NEURONS"), "W_in": (f"{big}_NEURONS", f"{big}_INPUTS")}
    if "W_out" in p:
        sizes["W_out"] = (f"{big}_OUTPUTS", f"{big}_NEURONS")
    matrices = [parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()]
    values = parts.common(q, result) | expressions
    values |= {
        "recurrent": shifted("recurrent", recurrent),
        "drive": shifted("drive", drive),
    }
    fields = _fields(q, big)
    start = parts.start(q, parameters, fields[0], ["y0"])
    values |= {"y_type": fields[0].storage, "start": start.expression}
    return parts.CellC(fields, [*matrices, *neurons, *result.columns, *start.columns], values)


def _fields(q: QuantController, big: str) -> list[parts.Field]:
    size = f"{big}_NEURONS"
    text = f"the neurons' states, {q.formats['y'].frac_bits} fractional bits"
    fields = [
        parts.field(q, "y", size, text),
        parts.field(q, "s", size, "their activations, 15 fractional bits"),
    ]
    if "residual" in q.formats:
        fields.append(parts.field(q, "residual", size, "what y's last steps left over"))
    return fields


def _neurons(
    q: QuantController, p: parts.Blocks, parameters: parts.ParameterStorage, argument: int
) -> tuple[list[Column | Table], dict[str, Any]]:
    """Return the per-neuron tables, and the expressions at neuron ``i`` that use them."""
    size = f"{parameters.name.upper()}_NEURONS"
    shifts = p["tau_s"] >> 16
    gain = parameters.column("gain", size, parts.ints(p["gain"]), constant="int16_t", parameter="int16_t")
    rates = list(zip(parts.ints(p["tau_s"] & 0xFFFF), parts.ints(shifts), strict=True))
    keeps = "residual" in q.formats
    slow, slow_columns = _slow(parameters, size, rates) if keeps else ({}, [])
    activation, rounding = _activation(argument, gain)
    bias = parameters.column("bias", size, tuple(value + rounding for value in parts.ints(p["bias"])))
    rate, rate_at = _rate(parameters, size, rates)
    return (
        [bias, gain, *slow_columns, *([] if keeps else [rate])],
        {
            "bias": bias.at("i"),
            "bias_rounds": rounding > 0,
            "activation": activation,
            "keeps": keeps,
            "rate": rate_at,
            "fast": int(parameters.tunable or any(shift == 0 for _, shift in rates)),
        }
        | slow,
    )


def _rate(parameters: parts.ParameterStorage, size: str, rates: list[tuple[int, int]]) -> tuple[Column | Table, str]:
    """Return the table of rates, and the expression of neuron ``i``'s.

    Constants are laid out for the core that they are compiled for, parameters alike for all cores.
    """
    if not parameters.tunable:
        table = Table(f"{parameters.at}rate", "uint32_t", size, tuple(f"NC_RATE({m}u, {shift})" for m, shift in rates))
        return table, table.at("i")
    column = parameters.column("rate", size, tuple(m | shift << 16 for m, shift in rates), parameter="uint32_t")
    return column, f"NC_RATE({column.at('i')} & 0xFFFFu, {column.at('i')} >> 16)"


def _slow(
    parameters: parts.ParameterStorage, size: str, rates: list[tuple[int, int]]
) -> tuple[dict[str, Any], list[Column]]:
    """Return the expressions of a step that keeps a residual, and their tables."""

    def column(suffix: str, storage: str, values: Iterable[int]) -> Column:
        return parameters.column(suffix, size, tuple(values), constant=storage, parameter=storage)

    alpha = column("alpha", "uint16_t", (m for m, _ in rates))
    over = column("alpha_over", "uint8_t", (max(0, s - MAX_RESIDUAL_BITS) for _, s in rates))
    shift = column("alpha_shift", "uint8_t", (min(s, MAX_RESIDUAL_BITS) for _, s in rates))
    change = f"nc_mul_q16_u16(net - s->y[i], {alpha.at('i')})"
    if parameters.tunable or any(over.values):
        change = f"nc_round_shift({change}, {over.at('i')})"
    return {"change": change, "alpha_shift": shift.at("i")}, [alpha, over, shift]


def _activation(shift: int, gain: Column) -> tuple[str, int]:
    """Return the call of the logistic on ``biased`` = y + bias, and the addition to the bias for its rounding.

    A common gain of 2^k is a rounding shift by a bits, perhaps followed by one by b. Half up twice is
    floor((x + 2^(a-1) + 2^(a+b-1)) / 2^(a+b)); the constant goes into the bias. The logistic shifts to the left.
    """
    right, left = max(0, shift), max(0, -shift)
    first = 17 - gain.values[0].bit_length()
    power = gain.uniform and gain.values[0] > 0 and gain.values[0].bit_count() == 1
    rounding = parts.folded(first) + (1 << (first + right - 1) if right else 0)
    if not power or not parts.folded(first + right):
        return parts.squash("logistic", f"nc_mul_q16_s16(biased, {gain.at('i')})", shift), 0
    return f"nc_logistic(nc_asr(biased, {first + right}u), {left}u)", rounding
