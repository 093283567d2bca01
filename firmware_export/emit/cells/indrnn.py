"""IndRNN to C: a stack of layers, each with its own tables and shifts."""

from __future__ import annotations

from typing import Any

from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.base import READOUT_INTS
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS
from neuroctl.quant import QuantController

from .. import parts
from ..text import Column, shifted
from . import dense


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    p, big, spec = q.layout.views(q.theta_q), parameters.name.upper(), q.spec
    result = parts.readout(q, p, parameters, d.READOUT)
    columns: list[Column] = []
    layers = [_layer(q, p, parameters, layer, columns) for layer in range(spec.layers)]
    sizes = {f"W_in.{k}": (f"{big}_NEURONS", f"{big}_{'NEURONS' if k else 'INPUTS'}") for k in range(spec.layers)}
    if "W_out" in p:
        sizes["W_out"] = (f"{big}_OUTPUTS", f"{big}_NEURONS")
    reach = tuple((part.low, part.high) for part in q.state_words)
    storage = f"{q.state_words[0].storage}_t"  # of all layers, which C keeps in one array
    count = spec.layers * spec.neurons
    text = f"the layers' states, {q.formats['net'].frac_bits} fractional bits"
    narrow = int(q.ints[d.S_SHIFT])
    h = parts.Field("h", storage, f"{spec.layers} * {big}_NEURONS", 0, count, reach, text)
    start = parts.start(q, parameters, h, [f"h0.{layer}" for layer in range(spec.layers)])
    matrices = [parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()]
    return parts.CellC(
        [h],
        [*matrices, *columns, *result.columns, *start.columns],
        parts.common(q, result)
        | {
            "layers": layers,
            "residual": spec.residual and spec.layers > 1,
            "h_type": storage,
            "narrow": shifted("x", narrow),
            "start": start.expression,
        },
        spec.neurons * (10 if spec.residual and spec.layers > 1 else 6),
    )


def _layer(
    q: QuantController, p: parts.Blocks, parameters: parts.ParameterStorage, k: int, columns: list[Column]
) -> dict[str, Any]:
    """Return one layer's expressions at neuron ``i``; append the columns that they use."""
    spec, net_frac, first = q.spec, q.formats["net"].frac_bits, len(columns)
    lost = dense.lost("h", parts.ints(p[f"u.{k}"]), columns, parameters, f"d_{k}")
    biases, layer_ints = parts.ints(p[f"bias.{k}"]), q.ints[d.READOUT + READOUT_INTS + 2 * spec.outputs :]
    if spec.activation == "tanh":
        bias, new = dense.activation(q, parameters, f"bias_{k}", biases, "net")
        new, added = shifted(f"(int32_t){new}", ACTIVATION_FRAC_BITS - net_frac), ""
    else:
        bias = parameters.column(f"bias_{k}", f"{parameters.name.upper()}_NEURONS", biases)
        high = int(layer_ints[spec.layers + k])
        new, added = f"nc_clip(net, {0 if spec.activation == 'relu' else -high}, {high})", f" + {bias.at('i')}"
    columns.append(bias)
    return {
        "block": f"W_in.{k}",
        "table": f"{parameters.at}{parts.suffix_of(f'W_in.{k}')}",
        "drive": shifted("drive", int(layer_ints[k])),
        "lost": lost,
        "bias": added,
        "new": new,
        "uniform": all(column.uniform for column in columns[first:]),
    }
