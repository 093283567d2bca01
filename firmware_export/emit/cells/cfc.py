"""CfC to C."""

from __future__ import annotations

from typing import Any

from neuroctl.cells import cfc
from neuroctl.cells.fixed import cfc as fixed
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.base import READOUT_INTS
from neuroctl.cells.fixed.layered import ROW
from neuroctl.quant import QuantController

from .. import parts
from ..text import Column
from . import dense
from .layered import Layer, on_its_line


def emit(q: QuantController, parameters: parts.ParameterStorage) -> parts.CellC:
    """Return the cell's C.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    p, big, spec = q.layout.views(q.theta_q), parameters.name.upper(), q.spec
    result = parts.readout(q, p, parameters, d.READOUT)
    rows = str(spec.backbone[0]) if spec.backbone else f"3 * {big}_NEURONS"
    sizes = {"W_in": (rows, f"{big}_INPUTS"), "U": (rows, f"{big}_NEURONS")}
    if "W_out" in p:
        sizes["W_out"] = (f"{big}_OUTPUTS", f"{big}_NEURONS")
    bias, values = _first(q, parameters, parts.ints(p["bias"]), rows)
    layers = [_layer(q, parameters, k, layer) for k, layer in enumerate(cfc.heads(spec))]
    h = parts.field(q, "h", f"{big}_NEURONS", f"the neurons' states, {q.formats['h'].frac_bits} fractional bits")
    start = parts.start(q, parameters, h, ["h0"])
    matrices = [parts.matrix(q, p, parameters, block, size) for block, size in sizes.items()]
    behind = [column for layer in layers for column in (layer.weights, *layer.result.columns)]
    values |= {
        "layers": layers,
        "backbone": spec.backbone,
        "no_gate": spec.mode == "no_gate",
        "bias_is_uniform": bias.uniform,
        "start": start.expression,
    }
    return parts.CellC(
        [h],
        [*matrices, bias, *behind, *result.columns, *start.columns],
        parts.common(q, result) | values,
        2 * (3 * spec.neurons + sum(spec.backbone)),
    )


def _first(
    q: QuantController, parameters: parts.ParameterStorage, bias: tuple[int, ...], rows: str
) -> tuple[Column, dict[str, Any]]:
    """Return the bias's column, and what rows of W_in and U give: the backbone's activation, or f and g, and t."""
    column, activation = dense.activation(q, parameters, "bias", bias, dense.net(q), rows)
    total = f"net + {column.at(f'2 * {parameters.name.upper()}_NEURONS + i')}"
    gate = dense.squashed("logistic", total, int(q.ints[d.ARGUMENT_SHIFT]))
    return column, {"activation": activation, "net": dense.net(q), "gate": gate}


def _layer(q: QuantController, parameters: parts.ParameterStorage, k: int, layer: tuple[str, int, int]) -> Layer:
    """Return a layer behind the first."""
    name, rows, columns = layer
    place = int(q.ints[d.READOUT + READOUT_INTS + 2 * q.spec.outputs + 2 + ROW * k + 5])
    p, suffix = q.layout.views(q.theta_q), parts.suffix_of(name)
    numbers = q.ints[place : place + READOUT_INTS + 2 * rows]
    result = parts.layer_readout(parameters, numbers, parts.ints(p[f"b_{name}"]), suffix, rows)
    weights = parts.matrix(q, p, parameters, f"W_{name}", (str(rows), str(columns)))
    result = result._replace(expression=on_its_line(result.expression, parameters.name))
    x = parts.suffix_of(fixed.source(q.spec, name))
    return Layer(suffix, rows, columns, weights, q.formats[f"W_{name}"].bits, x, suffix, result)
