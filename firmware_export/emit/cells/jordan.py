"""Jordan network to C."""

from __future__ import annotations

from neuroctl.cells.fixed import dense as d
from neuroctl.format_fields import frac_bits_text
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
    packed, y_shift, narrow = parts.ints(q.ints[d.OWN : d.OWN + 3])
    bias, activation = dense.activation(q, parameters, "bias", parts.ints(p["bias"]), dense.net(q))
    result = parts.readout(q, p, parameters, d.READOUT)
    sizes = {
        "W_in": (f"{big}_NEURONS", f"{big}_INPUTS"),
        "U": (f"{big}_NEURONS", f"{big}_OUTPUTS"),
        "W_out": (f"{big}_OUTPUTS", f"{big}_NEURONS"),
    }
    text = f"the outputs' decaying sums, {frac_bits_text(q.formats['context'])} fractional bits"
    context = parts.field(q, "context", f"{big}_OUTPUTS", text)
    start = parts.start(q, parameters, context, ["context0"])
    matrices = [parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()]
    return parts.CellC(
        [context],
        [*matrices, bias, *result.columns, *start.columns],
        parts.common(q, result)
        | {
            "activation": activation,
            "bias_is_uniform": bias.uniform,
            "narrow": shifted("s->context[i]", narrow),
            "lost": dense.lost("s->context[i]", (packed,), []),
            "added": shifted("(int32_t)out[i]", y_shift),
            "context_type": f"{q.state_words[0].storage}_t",
            "start": start.expression,
        },
        2 * (q.spec.outputs + q.spec.neurons),
    )
