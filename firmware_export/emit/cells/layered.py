"""Dense layers around any cell to C: the core as a network of its own, with a prefix of its own, between loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from neuroctl.cells import layers, layout
from neuroctl.cells.fixed import layered as fixed
from neuroctl.cells.fixed.base import READOUT_INTS
from neuroctl.quant import QuantController

from .. import parts
from ..text import Matrix

_LONGEST: Final = 100
Emitter = Callable[[QuantController, parts.ParameterStorage], parts.CellC]


@dataclass(frozen=True)
class Layer:
    """One dense layer's C: its names, sizes and table, and the arrays that it reads and writes."""

    name: str
    rows: int
    columns: int
    weights: Matrix
    bits: int
    x: str
    y: str
    result: parts.Readout

    @property
    def uniform(self) -> bool:
        """Whether no row has a number of its own."""
        return all(entry.uniform for entry in self.result.columns)


def core_of(q: QuantController) -> QuantController:
    """Return the integer controller inside, whose inputs and outputs are activations."""
    core = replace(layers.core_spec(q.spec), input_limits=None)
    part = fixed.core_part(q.spec, layout(core), q.layout)
    return QuantController(core, fixed.core_formats(q.spec, q.formats), q.theta_q[part].copy())


def on_its_line(expression: str, name: str) -> str:
    """Return an expression that is returned with a cast, on a line of its own where it would make a long one."""
    return f"\n        {expression}" if len(expression) + len(name) > _LONGEST else expression


def emit(q: QuantController, parameters: parts.ParameterStorage, core: Emitter) -> parts.CellC:
    """Return the C of a controller with dense layers; ``core`` emits its cell.

    Raises:
        ExportError: a constant does not fit the C type of its format; a damaged file can hold such.

    """
    name, inner = parameters.name, core_of(q)
    prefix = f"{name}_core"
    own = parts.ParameterStorage(prefix, parameters.tunable, inside=name)
    cell = core(inner, own)
    encoder = [_layer(q, parameters, k, layer) for k, layer in enumerate(layers.encoder_layers(q.spec))]
    head = [_layer(q, parameters, len(encoder) + k, layer) for k, layer in enumerate(layers.head_layers(q.spec))]
    at = q.state_layout[next(iter(inner.state_layout.blocks))].offset
    fields = [field._replace(start=field.start + at) for field in cell.fields]
    columns = [column for layer in (*encoder, *head) for column in (layer.weights, *layer.result.columns)]
    widths = sum(layer.rows for layer in (*encoder, *head[:-1])) + inner.spec.outputs
    core_values = cell.values | {
        "name": prefix, "NAME": prefix.upper(), "api": "static inline ", "clips": False, "step_in": "in",
        "at": own.at, "inputs": inner.spec.inputs,
        "outputs": inner.spec.outputs, "affine": inner.spec.readout == "affine",
        "readout": on_its_line(cell.values["readout"], prefix),
        "step_comment": "/* One step of the recurrent network between the dense layers. Internal. */",
    }  # fmt: skip
    values = {"encoder": encoder, "head": head, "core": inner.spec, "core_values": core_values}
    return parts.CellC(fields, [*cell.columns, *columns], values, cell.scratch_bytes + 2 * widths)


def _layer(q: QuantController, parameters: parts.ParameterStorage, k: int, layer: tuple[str, int, int]) -> Layer:
    name, rows, columns = layer
    at = int(q.ints[fixed.LAYERS + fixed.ROW * k + 5])
    p, source = q.layout.views(q.theta_q), layers.sources(q.spec)[name]
    result = parts.layer_readout(
        parameters, q.ints[at : at + READOUT_INTS + 2 * rows], parts.ints(p[f"b_{name}"]), parts.suffix_of(name), rows
    )
    weights = parts.matrix(q, p, parameters, f"W_{name}", (str(rows), str(columns)))
    x = {"u": "seen", "head.0": "core_out"}.get(source, parts.suffix_of(source))
    y = "out" if name == "out" else parts.suffix_of(name)
    result = result._replace(expression=on_its_line(result.expression, parameters.name))
    return Layer(parts.suffix_of(name), rows, columns, weights, q.formats[f"W_{name}"].bits, x, y, result)
