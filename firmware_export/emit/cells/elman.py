"""Elman network to C."""

from __future__ import annotations

from neuroctl.cells import stack
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
    result = parts.readout(q, p, parameters, d.READOUT)
    layers, biases = [], []
    for k, name in enumerate(stack.names(q.spec, "bias")):
        bias, activation = dense.activation(
            q, parameters, parts.suffix_of(name), parts.ints(p[name]), dense.net(q, k)
        )  # fmt: skip
        biases.append(bias)
        layers.append(
            dense.layer_names(q, k, big) | {"activation": activation, "bias_is_uniform": bias.uniform}
        )  # fmt: skip
    s = parts.field_of_layers(q, "s", f"activations, {q.formats['s'].frac_bits} fractional bits", big)
    start = parts.start(q, parameters, s, stack.names(q.spec, "h0"))
    matrices = dense.layer_matrices(q, p, parameters, f"{big}_NEURONS")
    return parts.CellC(
        [s],
        [*matrices, *biases, *result.columns, *start.columns],
        parts.common(q, result) | {"layers": layers, "start": start.expression, "words": s.size},
        2 * q.spec.neurons,
    )
