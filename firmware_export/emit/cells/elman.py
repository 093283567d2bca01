"""Elman network to C."""

from __future__ import annotations

from neuroctl.cells.fixed import dense as d
from neuroctl.quant import QuantController

from .. import parts
from . import dense


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    p, big = q.layout.views(q.theta_q), parameters.name.upper()
    bias, activation = dense.activation(q, parameters, "bias", parts.ints(p["bias"]), dense.net(q))
    result = parts.readout(q, p, parameters, d.READOUT)
    sizes = {"W_in": (f"{big}_NEURONS", f"{big}_INPUTS"), "U": (f"{big}_NEURONS", f"{big}_NEURONS")}
    if "W_out" in p:
        sizes["W_out"] = (f"{big}_OUTPUTS", f"{big}_NEURONS")
    s = parts.field(q, "s", f"{big}_NEURONS", f"activations, {q.formats['s'].frac_bits} fractional bits")
    start = parts.start(q, parameters, s, ["h0"])
    matrices = [parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()]
    return parts.CellC(
        [s],
        [*matrices, bias, *result.columns, *start.columns],
        parts.common(q, result)
        | {"activation": activation, "bias_is_uniform": bias.uniform, "start": start.expression},
        2 * q.spec.neurons,
    )
