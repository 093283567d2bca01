"""Hopfield network to C: integer weights, neurons of -1, 0 and 1; only the sign of a field matters."""

from __future__ import annotations

import numpy as np

from neuroctl.cells.fixed.hopfield import LIMITS, OUT_SHIFT
from neuroctl.quant import QuantController

from .. import parts
from ..text import shifted


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    name, big, p, spec = parameters.name, parameters.name.upper(), q.layout.views(q.theta_q), q.spec
    n, count = spec.neurons, spec.outputs
    lows, highs, updates = np.split(q.ints[LIMITS:], [count, 2 * count])
    low = parts.column(name, "out_low", f"{big}_OUTPUTS", parts.ints(lows))
    high = parts.column(name, "out_high", f"{big}_OUTPUTS", parts.ints(highs))
    bias = parameters.column("bias", f"{big}_NEURONS", parts.ints(p["bias"]))
    value = shifted("(int32_t)sum", -int(q.ints[OUT_SHIFT]))
    result = parts.Readout([low, high], f"nc_clip({value}, {low.at('i')}, {high.at('i')})")
    columns = [bias, low, high]
    first = spec.inputs if spec.clamp else 0
    ordered = tuple(i for i in parts.ints(updates) if i >= first)
    order = parts.column(name, "order", str(max(1, len(ordered))), ordered or (0,))
    if spec.update == "asynchronous":
        columns.append(order)
    return parts.CellC(
        [
            parts.field(q, "s", f"{big}_NEURONS", "the neurons: -1, 1, or 0 as long as it does not know"),
            parts.field(q, "converged", "", "1 if a further sweep would change nothing"),
            parts.field(q, "sweeps", "", "how many sweeps the last step took"),
        ],
        [parts.matrix(q, p, parameters, "W", (f"{big}_NEURONS", f"{big}_NEURONS")), *columns],
        parts.common(q, result)
        | {
            "bias": bias.at("i"),
            "order": order.at("k"),
            "asynchronous": spec.update == "asynchronous",
            "first": first,
            "updated": len(ordered),
            "most_sweeps": spec.settle_steps,
            "first_out": n - count,
        },
        0 if spec.update == "asynchronous" else 2 * n,
    )
