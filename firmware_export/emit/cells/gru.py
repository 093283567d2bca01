"""GRU to C."""

from __future__ import annotations

from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.gru import H_SHIFT
from neuroctl.quant import QuantController

from .. import parts
from ..text import shifted
from . import dense


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    p, big = q.layout.views(q.theta_q), parameters.name.upper()
    rows, recurrent, drive, argument, h_shift = (
        f"3 * {big}_NEURONS",
        *parts.ints(q.ints[[d.REC_SHIFT, d.IN_SHIFT, d.ARGUMENT_SHIFT, H_SHIFT]]),
    )
    rounding = parts.folded(argument)
    bias = parameters.column("bias", rows, tuple(value + rounding for value in parts.ints(p["bias"])))
    recalled = parameters.column("recurrent_bias", f"{big}_NEURONS", parts.ints(p["recurrent_bias"]))
    result = parts.readout(q, p, parameters, d.READOUT)
    sizes = {"W_in": (rows, f"{big}_INPUTS"), "U": (rows, f"{big}_NEURONS")}
    if "W_out" in p:
        sizes["W_out"] = (f"{big}_OUTPUTS", f"{big}_NEURONS")

    def squashed(function: str, net: str, row: str) -> str:
        return dense.squashed(function, f"{net} + {shifted('drive', drive)} + {bias.at(row)}", argument)

    values = {
        "gate": squashed("logistic", shifted("recurrent", recurrent), "i"),
        "candidate": squashed("tanh", "kept", f"2 * {big}_NEURONS + i"),
        "recalled": f"{shifted('recurrent', recurrent)} + {recalled.at('i')}",
        "narrow": shifted("s->h[i]", h_shift),
        "goal": shifted("(int32_t)candidate", -h_shift),
        "h_type": f"{q.state_words[0].storage}_t",
        "bias_is_uniform": bias.uniform,
        "i_is_unused": bias.uniform and recalled.uniform,
    }
    h = parts.field(q, "h", f"{big}_NEURONS", f"the neurons' states, {q.formats['h'].frac_bits} fractional bits")
    start = parts.start(q, parameters, h, ["h0"])
    return parts.CellC(
        [h],
        [
            *(parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()),
            bias,
            recalled,
            *result.columns,
            *start.columns,
        ],
        parts.common(q, result) | values | {"start": start.expression},
        6 * q.spec.neurons,
    )
