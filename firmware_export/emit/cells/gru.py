"""GRU to C."""

from __future__ import annotations

from typing import Any

from neuroctl.cells import stack
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.gru import H_SHIFT
from neuroctl.quant import QuantController

from .. import parts
from ..text import Column, shifted
from . import dense


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    p, big = q.layout.views(q.theta_q), parameters.name.upper()
    result, columns = parts.readout(q, p, parameters, d.READOUT), list[Column]()
    layers = [_layer(q, p, parameters, layer, columns) for layer in range(q.spec.layers)]
    text = f"the neurons' states, {q.formats['h'].frac_bits} fractional bits"
    h = parts.field_of_layers(q, "h", text, big)
    start = parts.start(q, parameters, h, stack.names(q.spec, "h0"))
    values = {
        "layers": layers,
        "goal": shifted("(int32_t)candidate", -int(q.ints[H_SHIFT])),
        "h_type": h.storage,
        "start": start.expression,
        "words": h.size,
    }
    matrices = dense.layer_matrices(q, p, parameters, f"3 * {big}_NEURONS")
    return parts.CellC(
        [h],
        [*matrices, *columns, *result.columns, *start.columns],
        parts.common(q, result) | values,
        (6 if q.spec.layers == 1 else 8) * q.spec.neurons,
    )


def _layer(
    q: QuantController, p: parts.Blocks, parameters: parts.ParameterStorage, k: int, columns: list[Column]
) -> dict[str, Any]:
    """Return one layer's names and expressions; append the columns that they use."""
    spec, big = q.spec, parameters.name.upper()
    rows, (drive, recurrent) = f"3 * {big}_NEURONS", map(int, d.layer_shifts(spec, q.ints, k))
    argument, names = int(q.ints[d.ARGUMENT_SHIFT]), dense.layer_names(q, k, big)
    rounding = parts.folded(argument)
    own, kept = (stack.of_layer(spec, name, k) for name in ("bias", "recurrent_bias"))
    bias = parameters.column(parts.suffix_of(own), rows, tuple(value + rounding for value in parts.ints(p[own])))
    recalled = parameters.column(parts.suffix_of(kept), f"{big}_NEURONS", parts.ints(p[kept]))
    columns += [bias, recalled]

    def squashed(function: str, net: str, row: str) -> str:
        return dense.squashed(function, f"{net} + {shifted('drive', drive)} + {bias.at(row)}", argument)

    h = f"s->h[{names['place']}i]"
    return names | {
        "gate": squashed("logistic", shifted("recurrent", recurrent), "i"),
        "candidate": squashed("tanh", "kept", f"2 * {big}_NEURONS + i"),
        "recalled": f"{shifted('recurrent', recurrent)} + {recalled.at('i')}",
        "h": h,
        "narrow": "later" if k % 2 else "narrow",
        "narrowed": shifted(h, int(q.ints[H_SHIFT])),
        "bias_is_uniform": bias.uniform,
        "i_is_unused": bias.uniform and recalled.uniform,
    }
