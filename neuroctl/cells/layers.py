"""Dense layers around a cell: their names and sizes, and the vectors that hold them and the cell inside, the core."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base
from neuroctl.layout import Block, Layout
from neuroctl.spec import Spec


def core_spec(spec: Spec) -> Spec:
    """Return the spec of the cell inside, without dense layers."""
    limits = ((-1.0, 1.0),) * spec.inputs if spec.scale_inputs else spec.input_limits
    return replace(
        spec, encoder=(), head=(), dense_activation="relu", scale_inputs=False, input_names=(), output_names=(),
        inputs=(spec.inputs, *spec.encoder)[-1], input_limits=None if spec.encoder else limits,
        outputs=spec.head[0] if spec.head else spec.outputs,
        output_limits=None if spec.head else spec.output_limits,
        output_activation=spec.dense_activation if spec.head else spec.output_activation,
    )  # fmt: skip


def renamed(spec: Spec, name: str) -> str:
    """Return the name of a block of the core's theta: with a head its readout is the first layer of that."""
    return {"W_out": "W_head.0", "b_out": "b_head.0"}.get(name, name) if spec.head else name


def encoder_layers(spec: Spec) -> list[tuple[str, int, int]]:
    """Return name, rows and columns of the encoder's layers."""
    sizes = (spec.inputs, *spec.encoder)
    return [(f"enc.{k}", rows, sizes[k]) for k, rows in enumerate(spec.encoder)]


def head_layers(spec: Spec) -> list[tuple[str, int, int]]:
    """Return name, rows and columns of the layers behind the core's readout, the outputs' last; none without a head."""
    sizes = (*spec.head, spec.outputs)
    names = [*(f"head.{k}" for k in range(1, len(spec.head))), "out"]
    return [(name, sizes[k + 1], sizes[k]) for k, name in enumerate(names)] if spec.head else []


def own_state(name: str) -> str:
    """Return the name of a block of the core's state."""
    return f"core.{name}" if name in ("u", "held", "ok", "fault") else name


def blocks_of(inner: Layout, name_of: Callable[[str], str]) -> list[tuple[Any, ...]]:
    """Return a layout's blocks under other names, as another layout takes them."""

    def entry(block: Block) -> tuple[Any, ...]:
        return name_of(block.name), block.shape, block.unit, block.low, block.high, block.mask

    return [entry(block) for block in inner.blocks.values()]


def _weights(layers: list[tuple[str, int, int]]) -> list[tuple[Any, ...]]:
    return [
        block
        for name, rows, columns in layers
        for block in ((f"W_{name}", (rows, columns), "1"), (f"b_{name}", (rows,), "1"))
    ]


def layout_around(spec: Spec, inner: Layout) -> Layout:
    """Return the layout of parameters, or of genes, around the core's."""
    core = blocks_of(inner, lambda name: renamed(spec, name))
    return Layout(*_weights(encoder_layers(spec)), *core, *_weights(head_layers(spec)))


def state_layout_around(spec: Spec, inner: Layout) -> Layout:
    """Blocks: scaled inputs; the encoder's activations; the core's state; its outputs and the head's activations."""
    encoder = [(name, (rows,), "1") for name, rows, _ in encoder_layers(spec)]
    head = [(name, (rows,), "1") for name, rows, _ in head_layers(spec)[:-1]]
    out = ("core.out", (core_spec(spec).outputs,), "1")
    first, *flags = base.step_blocks(spec)
    return Layout(first, *encoder, *blocks_of(inner, own_state), out, *head, *flags)


def sources(spec: Spec) -> dict[str, str]:
    """Return for each layer the name of the activations that it takes."""
    encoder, head = encoder_layers(spec), head_layers(spec)
    sources = dict(zip([name for name, *_ in encoder], ["u", *(name for name, *_ in encoder)], strict=False))
    return sources | dict(zip([name for name, *_ in head], ["head.0", *(name for name, *_ in head)], strict=False))


def decoded(
    spec: Spec, cell: base.Cell, layout: Layout, genes: Layout, x: NDArray[np.float64]
) -> NDArray[np.float64]:  # fmt: skip
    """Map a unit-scaled genome to theta: dense weights are ``2 x / sqrt(columns)``, the core's as its cell has them.

    The core's sums over an encoder's activations, and the readout's over a head's, are divided by the square root of
    their number.
    """
    core = core_spec(spec)
    theta = np.zeros((*x.shape[:-1], layout.size))
    p, g = layout.rows(theta), genes.rows(x)
    for name, _, columns in (*encoder_layers(spec), *head_layers(spec)):
        p[f"W_{name}"][:], p[f"b_{name}"][:] = g[f"W_{name}"] * (2.0 / math.sqrt(columns)), g[f"b_{name}"]
    if spec.encoder:
        p["W_enc.0"][:] /= base.input_scale(spec)
    own, inner = cell.genes(core), cell.layout(core)
    begin = genes[renamed(spec, next(iter(own.blocks)))].offset
    decoded = cell.decode(core, x[..., begin : begin + own.size])
    if spec.encoder:
        inner.rows(decoded)[base.first_weights(inner)][:] /= math.sqrt(core.inputs)
    begin = layout[renamed(spec, next(iter(inner.blocks)))].offset
    theta[..., begin : begin + inner.size] = decoded
    if spec.head:
        p["W_out"][:] /= 2.0
        base.decode_readout(spec, p)
    return theta
