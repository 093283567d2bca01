"""CTRNN to C: the tables of one controller and the expressions that depend on its formats."""

from __future__ import annotations

from typing import Any, Final

from firmware_export.emit import parts
from firmware_export.emit.text import Column, Table, shifted
from neuroctl.cells.ctrnn import READOUT
from neuroctl.quant import QuantController

_MOST_RESIDUAL_BITS: Final = 16


def emit(q: QuantController, name: str) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type that its format names; a damaged file can hold such.

    """
    p, big = q.layout.views(q.theta_q), name.upper()
    recurrent, drive, argument = parts.ints(q.ints[4:7])
    parts.check_range("gain", p["gain"], -(1 << 15), (1 << 15) - 1)
    neurons, expressions = _neurons(q, p, name, argument)
    result = parts.readout(q, p, name, READOUT)
    sizes = {"W": f"{big}_NEURONS * {big}_NEURONS", "W_in": f"{big}_NEURONS * {big}_INPUTS"}
    if "W_out" in p:
        sizes["W_out"] = f"{big}_OUTPUTS * {big}_NEURONS"
    matrices = [parts.matrix(q, p, name, block, size) for block, size in sizes.items()]
    values = parts.common(q, result) | expressions
    values |= {
        "recurrent": shifted("recurrent", parts.check_shift("recurrent", recurrent)),
        "drive": shifted("drive", parts.check_shift("drive", drive)),
    }
    return parts.CellC(_fields(q, big), matrices + neurons + parts.tables(result.columns), values)


def _fields(q: QuantController, big: str) -> list[parts.Field]:
    size, y = f"{big}_NEURONS", parts.signed_storage(*q.bounds["y"])
    fields = [
        parts.field(q, "y", y, size, f"the neurons' states, {q.formats['y'].frac_bits} fractional bits"),
        parts.field(q, "s", "int16_t", size, "their activations, 15 fractional bits"),
    ]
    if "residual" in q.formats:
        fields.append(parts.field(q, "residual", "uint16_t", size, "what y's last steps left over"))
    return fields


def _neurons(q: QuantController, p: parts.Blocks, name: str, argument: int) -> tuple[list[str], dict[str, Any]]:
    """Return the per-neuron tables, and the expressions at neuron ``i`` that use them."""
    size = f"{name.upper()}_NEURONS"
    shifts = p["tau_s"] >> 16
    parts.check_range("tau_s, its mantissa", p["tau_s"] & 0xFFFF, 0, 0xFFFF)
    parts.check_range("tau_s, its shift", shifts, 0, parts.MOST_SHIFT)
    gain = Column(f"{name}_gain", "int16_t", size, parts.ints(p["gain"]))
    rates = list(zip(parts.ints(p["tau_s"] & 0xFFFF), parts.ints(shifts), strict=True))
    keeps = "residual" in q.formats
    slow, slow_columns = _slow(name, size, rates) if keeps else ({}, [])
    rate = Table(f"{name}_rate", "uint32_t", size, tuple(f"NC_RATE({m}u, {shift})" for m, shift in rates))
    activation, rounding = _activation(argument, gain)
    bias = parts.column(name, "bias", size, tuple(value + rounding for value in parts.ints(p["bias"])))
    definitions = [] if keeps or rate.uniform else [rate.definition]
    return (
        parts.tables([bias, gain, *slow_columns]) + definitions,
        {
            "bias": bias.at("i"),
            "bias_rounds": rounding > 0,
            "activation": activation,
            "keeps": keeps,
            "rate": rate.at("i"),
            "fast": int(any(shift == 0 for _, shift in rates)),
            "y_type": parts.signed_storage(*q.bounds["y"]),
        }
        | slow,
    )


def _slow(name: str, size: str, rates: list[tuple[int, int]]) -> tuple[dict[str, Any], list[Column]]:
    """Return the expressions of a step that keeps a residual, and their tables."""
    alpha = Column(f"{name}_alpha", "uint16_t", size, tuple(m for m, _ in rates))
    over = Column(f"{name}_alpha_over", "uint8_t", size, tuple(max(0, s - _MOST_RESIDUAL_BITS) for _, s in rates))
    shift = Column(f"{name}_alpha_shift", "uint8_t", size, tuple(min(s, _MOST_RESIDUAL_BITS) for _, s in rates))
    change = f"nc_mul_q16_u16(net - s->y[i], {alpha.at('i')})"
    if any(over.values):
        change = f"nc_round_shift({change}, {over.at('i')})"
    return {"change": change, "alpha_shift": shift.at("i")}, [alpha, over, shift]


def _activation(shift: int, gain: Column) -> tuple[str, int]:
    """Return the call of the logistic on ``biased`` = y + bias, and what to add to the bias beforehand.

    A common gain of 2^k is a rounding shift by a bits, perhaps followed by one by b. Half up twice is
    floor((x + 2^(a-1) + 2^(a+b-1)) / 2^(a+b)); the constant goes into the bias. A shift to the left is the table's.
    """
    right, left = max(0, shift), max(0, -shift)
    first = 17 - gain.values[0].bit_length()
    power = gain.uniform and gain.values[0] > 0 and gain.values[0].bit_count() == 1
    rounding = parts.folded(first) + (1 << (first + right - 1) if right else 0)
    if not power or not parts.folded(first + right):
        return parts.squash("logistic", f"nc_mul_q16_s16(biased, {gain.at('i')})", shift), 0
    return f"nc_logistic(nc_asr(biased, {first + right}u), {left}u)", rounding
