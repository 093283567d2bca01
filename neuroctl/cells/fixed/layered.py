"""Dense layers around any cell in fixed point; see ``cells.layered``.

Each layer is a readout like that of a cell: sums in 30 bits, then the function, then int16. Activations of tanh and the
logistic are Q15; those of ReLU have the format in which its largest sum fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls, layers
from neuroctl.cells.axes import Axes, dense_axes
from neuroctl.cells.base import (
    Bounds,
    Cell,
    Formats,
    Integer,
    Persistent,
    Population,
    Quantized,
    Ranges,
    Taped,
    prepare_nothing_q,
)
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import Range
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.fixed import QFormat, QFormats, saturate
from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import load, store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

(
    M, OUTPUTS, ENCODERS, HEADS, THETA, THETA_END, STATE, STATE_END, X, X_END, OUT, OUT_END, CORE_INTS, LAYERS,
) = range(14)  # fmt: skip
"""Places in ``ints``: numbers of inputs, outputs, and layers of encoder and head; where the core's theta, state, inputs
and outputs begin and end; where its ints begin. From LAYERS on ``ROW`` numbers for each layer, then its
``readout_ints``."""
ROW: Final = 6
"""Of a layer: offset of its weights, rows, columns, offsets in the state of what it takes and leaves, place of its
``readout_ints`` in ``ints``."""


@jit_integer_inline
def layer_q(theta: Array, state: Array, y: Array, ints: Array, row: Any) -> None:
    """Write the outputs of a layer to y."""
    w, rows, cols = base.size(ints, row), base.size(ints, row + 1), base.size(ints, row + 2)
    base.readout_q(theta, w, state, base.size(ints, row + 3), cols, y, rows, 1, ints, base.size(ints, row + 5))


def _step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers; arguments are as ``cells.base.Integer`` says. u saturates into int16."""
    encoders, heads = base.size(ints, ENCODERS), base.size(ints, HEADS)
    for k in range(U(base.size(ints, M))):
        store(state, k, saturate(wide(u, k), -32768, 32767))
    for row in range(LAYERS, LAYERS + ROW * encoders, ROW):
        at = base.size(ints, row + 4)
        layer_q(theta, state, state[at : at + base.size(ints, row + 1)], ints, row)
    out = base.size(ints, OUT)
    core_step_q(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[base.size(ints, THETA) : base.size(ints, THETA_END)],
        state[base.size(ints, STATE) : base.size(ints, STATE_END)],
        state[base.size(ints, X) : base.size(ints, X_END)],
        state[out : base.size(ints, OUT_END)],
        ints[base.size(ints, CORE_INTS) :],
    )
    if heads > 0:
        last = LAYERS + ROW * (encoders + heads - 1)
        for row in range(LAYERS + ROW * encoders, last, ROW):
            at = base.size(ints, row + 4)
            layer_q(theta, state, state[at : at + base.size(ints, row + 1)], ints, row)
        layer_q(theta, state, y, ints, last)
    else:
        for k in range(U(base.size(ints, OUTPUTS))):
            store(y, k, load(state, U(out) + k))


def _prepare_q(theta: Array, state: Array, ints: Array) -> None:
    """Prepare the core's state."""
    core_prepare_q(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[base.size(ints, THETA) : base.size(ints, THETA_END)],
        state[base.size(ints, STATE) : base.size(ints, STATE_END)],
        ints[base.size(ints, CORE_INTS) :],
    )


def layer_spec(spec: Spec, name: str, rows: int, columns: int) -> Spec:
    """Return a spec whose readout is a layer."""
    if name == "out":
        return base.layer_spec(rows, columns, spec.output_activation, spec.dtype, spec.output_limits)
    return base.layer_spec(rows, columns, spec.dense_activation, spec.dtype)


def _layers(spec: Spec) -> list[tuple[str, int, int]]:
    return [*layers.encoder_layers(spec), *layers.head_layers(spec)]


def _source(spec: Spec, name: str) -> str:
    """Return the format of what a layer takes; the core's outputs are the head's first activations."""
    source = layers.sources(spec)[name]
    return "core.out" if source == "head.0" else source


def core_name(spec: Spec, name: str) -> str:
    """Return the format, or the block, that the core has under a name."""
    if name == "u":
        return layers.encoder_layers(spec)[-1][0] if spec.encoder else "u"
    if name == "out":
        return "core.out" if spec.head else "out"
    return layers.renamed(spec, name)


def core_formats(spec: Spec, formats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the core's formats, by its own names."""
    around = {f"{kind}{name}" for name, *_ in _layers(spec) for kind in ("W_", "b_", "")}
    kept = {"u", "out", "W_out", "b_out"}
    own = {name: form for name, form in formats.items() if name not in around | kept | {"core.out"}}
    shared = {name: formats.get(core_name(spec, name)) for name in kept}
    own = {name: form for name, form in own.items() if name not in ("W_head.0", "b_head.0")}
    return own | {name: form for name, form in shared.items() if form is not None}


def core_part(spec: Spec, core: Layout, theta: Layout) -> slice:
    """Return where the core's parameters are."""
    begin = theta[layers.renamed(spec, next(iter(core.blocks)))].offset
    return slice(begin, begin + core.size)


def _readout_names(name: str) -> dict[str, str]:
    return {"W_out": f"W_{name}", "b_out": f"b_{name}", "out": name}


class _Form:
    """The functions of an integer form around a core's."""

    def __init__(self, cell: Cell, outer: Cell, form: Integer):
        self.cell, self.outer, self.form = cell, outer, form
        self.state_layout_q = cache_layout(self._state_layout_q)

    def _part(self, spec: Spec) -> slice:
        return core_part(spec, self.cell.layout(layers.core_spec(spec)), self.outer.layout(spec))

    def _state_layout_q(self, spec: Spec) -> Layout:
        """Blocks: inputs, the encoder's activations, the core's state, its outputs, the head's activations."""
        core = layers.core_spec(spec)
        encoder, head = layers.encoder_layers(spec), layers.head_layers(spec)[:-1]
        own = [(block.name, block.shape, "1") for block in self.form.state_layout_q(core).blocks.values()]
        return Layout(
            ("u", (spec.inputs,), "1"), *((name, (rows,), "1") for name, rows, _ in encoder), *own,
            ("core.out", (core.outputs,), "1"), *((name, (rows,), "1") for name, rows, _ in head),
        )  # fmt: skip

    def quantize(
        self, spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions
    ) -> Quantized:
        """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

        Raises:
            ExportError: a range is too wide for the words.

        """
        rounded = options.rounded(self.outer.layout(spec), theta)
        p, core = self.outer.layout(spec).rows(rounded.astype(np.float64)), layers.core_spec(spec)
        formats: dict[str, QFormats] = {"u": d.input_formats(u_format, len(theta))}
        for layer in layers.encoder_layers(spec):
            self._add_layer(spec, layer, p, formats, options, -u_format.low)
        bits = {name: options.weight_bits[renamed] for name, renamed in self._matrices(spec)}
        own, _ = self.form.quantize(
            core, theta[:, self._part(spec)], formats[core_name(spec, "u")], replace(options, weight_bits=bits)
        )
        formats |= {core_name(spec, name): form for name, form in own.items() if name != "u"}
        for layer in layers.head_layers(spec):
            self._add_layer(spec, layer, p, formats, options, base.Q15_HIGH)
        return formats, self.quantize_theta(spec, theta, formats)

    def _matrices(self, spec: Spec) -> list[tuple[str, str]]:
        blocks = self.cell.layout(layers.core_spec(spec)).blocks.values()
        return [(block.name, layers.renamed(spec, block.name)) for block in blocks if len(block.shape) == 2]

    def _add_layer(
        self, spec: Spec, layer: tuple[str, int, int], p: Mapping[str, Array], formats: dict[str, QFormats],
        options: base.FormatOptions, x_high: int,
    ) -> None:  # fmt: skip
        name = layer[0]
        x = formats[_source(spec, name)]
        own = replace(options, weight_bits={"W_out": options.weight_bits[f"W_{name}"]})
        blocks = {"W_out": p[f"W_{name}"], "b_out": p[f"b_{name}"]}
        found = base.readout_formats(layer_spec(spec, *layer), blocks, own, x, (x_high + 1) * x.lsb, x_high)
        formats |= {renamed: found[known] for known, renamed in _readout_names(name).items()}

    def quantize_theta(self, spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
        """Return theta in given formats."""
        theta_q, part = np.zeros(theta.shape, np.int32), self._part(spec)
        p, views = self.outer.layout(spec).rows(theta.astype(np.float64)), self.outer.layout(spec).rows(theta_q)
        for name, *_ in _layers(spec):
            for block in (f"W_{name}", f"b_{name}"):
                views[block][:] = formats[block].quantize(p[block])
        core = layers.core_spec(spec)
        theta_q[:, part] = self.form.quantize_theta(core, theta[:, part], core_formats(spec, formats))
        return theta_q

    def ints_q(self, spec: Spec, formats: Population) -> NDArray[np.int64]:
        """Return sizes, shifts and limits; see the places above."""
        core, theta, state = layers.core_spec(spec), self.outer.layout(spec), self.state_layout_q(spec)
        part, inner, around = self._part(spec), self.form.state_layout_q(core), _layers(spec)
        x, out = state[core_name(spec, "u")], state["core.out"]
        at = state[next(iter(inner.blocks))].offset
        rows: list[Any] = []
        readouts: list[Any] = []
        place = LAYERS + ROW * len(around)
        for name, count, columns in around:
            source = state[_source(spec, name)].offset
            left = state[name].offset if name in state else 0
            rows += [theta[f"W_{name}"].offset, count, columns, source, left, place + len(readouts)]
            own = {known: formats[renamed] for known, renamed in _readout_names(name).items()}
            readouts += base.readout_ints(layer_spec(spec, name, count, columns), own)
        sizes = [spec.inputs, spec.outputs, len(spec.encoder), len(layers.head_layers(spec)), part.start, part.stop]
        sizes += [at, at + inner.size, x.offset, x.offset + x.size, out.offset, out.offset + out.size]
        sizes += [place + len(readouts), *rows]
        numbers = base.stacked([*sizes, *readouts], len(formats["u"]))
        return np.concatenate([numbers, self.form.ints_q(core, core_formats(spec, formats))], axis=1)

    def ranges_q(self, spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
        """Return the range of each intermediate: the layers', and the core's by its own names.

        Arguments are as ``cells.base.Integer`` says.
        """
        core, p = layers.core_spec(spec), self.outer.layout(spec).rows(theta_q.astype(np.int64))
        x = d.input_range(formats)
        ranges: dict[str, Range] = {}
        bounded = (-base.Q15_HIGH if spec.dense_activation == "tanh" else 0), base.Q15_HIGH
        for name, rows, columns in _layers(spec):
            own = {known: formats[renamed] for known, renamed in _readout_names(name).items()}
            x = bounded if layers.sources(spec)[name] != "u" else x
            found = base.readout_ranges(
                layer_spec(spec, name, rows, columns), own, p[f"W_{name}"], p[f"b_{name}"], x
            )  # fmt: skip
            ranges |= {f"{name}, {text}": range_ for text, range_ in found.items()}
        inner = self.form.ranges_q(
            core, core_formats(spec, formats), theta_q[:, self._part(spec)], ints[:, int(ints[0, CORE_INTS]) :]
        )
        return ranges | dict(inner)

    def persistent_q(self, spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
        """Return what persists of the core's state."""
        core = layers.core_spec(spec)
        return self.form.persistent_q(core, core_formats(spec, formats), theta_q[self._part(spec)], bounds)

    def tape_q(self, spec: Spec) -> Taped:
        """Return the core's, and the activations as they are."""
        inner = {
            name: tuple((block, core_name(spec, form)) for block, form in sums)
            for name, sums in self.form.tape_q(layers.core_spec(spec)).items()
        }
        inner["core.u"] = ((core_name(spec, "u"),) * 2,)
        inner["core.held"] = (("core.out", core_name(spec, "out")),)
        return inner | {name: ((name, name),) for name, *_ in _layers(spec)}

    def io_axes(self, spec: Spec) -> Axes:
        """Return what counts inputs or outputs: the layers at either end, or where there are none what the core has."""
        dense, core = dense_axes(spec), self.form.io_axes(layers.core_spec(spec))
        inputs = {"u": dense["u"], "W_enc.0": dense["W_in"]}
        outputs = {name: dense[name] for name in ("W_out", "b_out", "out")}
        if spec.encoder and spec.head:
            return inputs | outputs
        inner, own = ("y", inputs) if spec.encoder else ("u", outputs)
        return {name: axes for name, axes in core.items() if inner in axes} | own


def _compiled(name: str, template: Any, **core: Any) -> Any:
    """As ``cells.layered`` does, of integer arithmetic."""
    globals()[name] = jit_integer(calls.copied(template, name, **core))
    return globals()[name]


def layered_q(cell: Cell, outer: Cell) -> Integer | None:
    """Return the integer form of ``outer``, which has dense layers around ``cell``; None if that has none."""
    form, title = cell.integer, f"layered_{cell.name}"
    if form is None:
        return None
    same = form.step_q is form.step_prepared_q
    step = _compiled(f"{title}_step_q", _step_q, core_step_q=form.step_q)
    prepared = step if same else _compiled(f"{title}_prepared_q", _step_q, core_step_q=form.step_prepared_q)
    prepare = form.prepare_q
    if prepare is not prepare_nothing_q:
        prepare = _compiled(f"{title}_prepare_q", _prepare_q, core_prepare_q=prepare)
    own = _Form(cell, outer, form)
    return Integer(
        quantize=own.quantize, quantize_theta=own.quantize_theta, state_layout_q=own.state_layout_q, ints_q=own.ints_q,
        ranges_q=own.ranges_q, persistent_q=own.persistent_q, step_prepared_q=prepared, step_q=step,
        rollout_q=calls.rollout_q(title, prepared, prepare), prepare_q=prepare, tape_q=own.tape_q,
        io_axes=own.io_axes,
    )  # fmt: skip
