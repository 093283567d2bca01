"""Dense layers around any cell: an encoder between inputs and cell, a head between its readout and the outputs.

    x_0 = u,  x_k = f(W_enc.k x_(k-1) + b_enc.k);  z_0 = the cell's outputs for x, through f;
    z_k = f(W_head.k z_(k-1) + b_head.k),  y = g(W_out z + b_out)

The cell is one of its own, the core: its inputs are the encoder's last layer, its readout is the head's first layer
(``W_head.0``, ``b_head.0``), or without a head the readout itself. So a Jordan network's context is of the head's first
layer. Vectors theta, state and so on hold the core's as one part; the steps of cells that these call see that alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, calls, layers, ops
from neuroctl.cells import ops_adjoint as adjoint
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths import vectors as v
from neuroctl.maths.activations import ACTIVATIONS
from neuroctl.maths.jit import jit_inline, jit_step
from neuroctl.maths.packs import like, load, select, store
from neuroctl.maths.scalars import zero
from neuroctl.maths.transposed import transposed
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

(
    ENCODERS, HEADS, CODE, THETA, THETA_END, STATE, STATE_END, X, X_END, OUT, OUT_END, HELD, OK, CORE_OK, TAPE,
    TAPE_HELD, DELTA, DY, OUT_DELTA, OUT_SUM, BACK, CORE_INTS, LAYERS,
) = range(base.OPTION, base.OPTION + 23)  # fmt: skip
"""Places in ``ints``: numbers of layers of encoder and head; their function; where the core's theta, state, inputs and
outputs begin and end; offsets in the state of the outputs that are held, and of both ``ok``; in a row of the tape of
the core's row and of the outputs; in the deltas of the core's, of the change with its outputs and with W_out z; in the
carry of what b_out gets; in ints of ``BACK_ROW`` numbers for each layer's way back, and of the core's own. From LAYERS
on: ``ROW`` numbers for each layer."""
ROW: Final = 5
"""Of a layer: offset of its weights in theta, rows, columns, offsets in the state of what it takes and leaves."""
BACK_ROW: Final = 7
"""Of a layer's weights: their offset, rows, columns; where the tape has what they took; in the deltas the change with
W x, and with x before its function; in the carry what the bias of x gets."""


@jit_step
def _through_layer(theta: Array, state: Array, ints: Array, row: Any) -> None:
    """Leave f(W x + b) of a layer in the state; b stands behind W."""
    w, rows, cols, x, y = ints[row], ints[row + 1], ints[row + 2], ints[row + 3], ints[row + 4]
    v.linear(theta, w, state, x, theta, w + rows * cols, state, y, rows, cols)
    ops.apply(ints[CODE], state, y, rows)


@jit_inline
def _poison(state: Array, ok: Any, x: Any) -> None:
    """Make x NaN where an input was bad: ReLU turns NaN into 0, and the core would not see it."""
    good, value = load(state, U(ok)), load(state, U(x))
    store(state, U(x), select(good != zero(good), value, like(value, np.nan)))


@jit_step
def _enter(theta: Array, state: Array, u: Array, ints: Array, floats: Array) -> None:
    """Leave what the core takes in the state."""
    ops.load_inputs(u, ints[base.INPUTS], floats, base.SCALES, state, 0, ints[OK])
    for k in range(ints[ENCODERS]):
        _through_layer(theta, state, ints, LAYERS + ROW * k)
    _poison(state, ints[OK], ints[X])


@jit_step
def _leave(theta: Array, state: Array, y: Array, ints: Array, floats: Array) -> None:
    """Write the outputs for what the core gave."""
    q, heads, row = ints[base.OUTPUTS], ints[HEADS], LAYERS + ROW * ints[ENCODERS]
    if heads > 0:
        for _ in range(heads - 1):
            _through_layer(theta, state, ints, row)
            row += ROW
        w, cols = ints[row], ints[row + 2]
        v.linear(theta, w, state, ints[row + 3], theta, w + q * cols, y, 0, q, cols)
        ops.apply(ints[base.OUTPUT_ACTIVATION], y, 0, q)
    else:
        v.copy(state, ints[OUT], y, 0, q)
    v.copy(state, ints[CORE_OK], state, ints[OK], 1)
    ops.clip_or_hold(floats, base.SCALES + 2 * ints[base.INPUTS], state, ints[OK], ints[HELD], y, q)


def _step(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Advance one time step; arguments are as ``cells.base.Cell`` says. A bad input leaves the core as it was."""
    own_floats = base.SCALES + 2 * (ints[base.INPUTS] + ints[base.OUTPUTS])
    _enter(theta, state, u, ints, floats)
    core_step(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[ints[THETA] : ints[THETA_END]], state[ints[STATE] : ints[STATE_END]], state[ints[X] : ints[X_END]],
        state[ints[OUT] : ints[OUT_END]], ints[ints[CORE_INTS] :], floats[own_floats:],
    )  # fmt: skip
    _leave(theta, state, y, ints, floats)


def _prepare(theta: Array, state: Array, ints: Array, floats: Array) -> None:
    """Prepare the core's state."""
    at = base.SCALES + 2 * (ints[base.INPUTS] + ints[base.OUTPUTS])
    core_prepare(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[ints[THETA] : ints[THETA_END]], state[ints[STATE] : ints[STATE_END]], ints[ints[CORE_INTS] :],
        floats[at:],
    )  # fmt: skip


def _begin(theta: Array, carry: Array, ints: Array, floats: Array) -> None:
    """Begin the core's way back; its carry comes first."""
    at = base.SCALES + 2 * (ints[base.INPUTS] + ints[base.OUTPUTS])
    core_begin(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[ints[THETA] : ints[THETA_END]], carry, ints[ints[CORE_INTS] :], floats[at:]
    )


def _finish(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Finish the core's way back."""
    at = base.SCALES + 2 * (ints[base.INPUTS] + ints[base.OUTPUTS])
    core_finish(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[ints[THETA] : ints[THETA_END]], tape, first + ints[TAPE], carry, ints[ints[CORE_INTS] :], floats[at:]
    )


@jit_step
def _through_layer_back(
    theta: Array, tape: Array, after: Any, deltas: Array, at: Any, carry: Array, ints: Array, row: Any
) -> None:  # fmt: skip
    """Set the change with what x is a function of, from that with W x, and sum up what the bias of x gets."""
    w, rows, cols, x = ints[row], ints[row + 1], ints[row + 2], after + ints[row + 3]
    d, dx = at + ints[row + 4], at + ints[row + 5]
    transposed(theta, w, rows, deltas, d, deltas, dx, cols)
    adjoint.through_activation(ints[CODE], tape, x, deltas, dx, cols)
    v.add(deltas, dx, carry, ints[row + 6], cols)


def _backward(
    theta: Array, tape: Array, before: Any, after: Any, dy: Array, dy_at: Any, deltas: Array, at: Any, carry: Array,
    ints: Array, floats: Array,
) -> None:  # fmt: skip
    """Go back over one step, see ``Adjoint``."""
    m, q, heads = ints[base.INPUTS], ints[base.OUTPUTS], ints[HEADS]
    limits, row = base.SCALES + 2 * m, ints[BACK]
    adjoint.through_readout(
        heads, ints[base.OUTPUT_ACTIVATION], tape, after + ints[TAPE_HELD], dy, dy_at, deltas, at + ints[OUT_DELTA],
        carry, ints[OUT_SUM], q, floats, limits,
    )  # fmt: skip
    if heads > 0:
        for _ in range(heads - 1):
            _through_layer_back(theta, tape, after, deltas, at, carry, ints, row)
            row += BACK_ROW
        transposed(theta, ints[row], ints[row + 1], deltas, at + ints[row + 4], deltas, at + ints[DY], ints[row + 2])
        row += BACK_ROW
    core_backward(  # type: ignore[name-defined] # noqa: F821 - the cell's
        theta[ints[THETA] : ints[THETA_END]], tape, before + ints[TAPE], after + ints[TAPE], deltas, at + ints[DY],
        deltas, at + ints[DELTA], carry, ints[ints[CORE_INTS] :], floats[limits + 2 * q :],
    )  # fmt: skip
    for _ in range(ints[ENCODERS]):
        _through_layer_back(theta, tape, after, deltas, at, carry, ints, row)
        row += BACK_ROW


def _compiled(name: str, template: Any, decorate: Any, **core: Any) -> Any:
    """Return a copy of a template that calls a core's function; this module has it under its name, for kernels."""
    globals()[name] = decorate(calls.copied(template, name, **core))
    return globals()[name]


def layered(cell: base.Cell) -> base.Cell:
    """Return the cell of specs with dense layers around this one; its integer form comes from ``fixed.layered``."""
    title, same = f"layered_{cell.name}", cell.step is cell.step_prepared
    nothing = cell.prepare is base.prepare_nothing
    step = _compiled(f"{title}_step", _step, jit_inline if same else jit_step, core_step=cell.step)
    prepared = step if same else _compiled(f"{title}_prepared", _step, jit_inline, core_step=cell.step_prepared)
    prepare = cell.prepare if nothing else _compiled(f"{title}_prepare", _prepare, jit_step, core_prepare=cell.prepare)

    @cache_layout
    def layout(spec: Spec) -> Layout:
        return layers.layout_around(spec, cell.layout(layers.core_spec(spec)))

    @cache_layout
    def state_layout(spec: Spec) -> Layout:
        return layers.state_layout_around(spec, cell.state_layout(layers.core_spec(spec)))

    @cache_layout
    def genes(spec: Spec) -> Layout:
        return layers.layout_around(spec, cell.genes(layers.core_spec(spec)))

    def decode(spec: Spec, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return layers.decoded(spec, cell, layout(spec), genes(spec), x)

    def own_ints(spec: Spec) -> list[int]:
        return _places(spec, cell, back, layout(spec), state_layout(spec))

    def own_floats(spec: Spec) -> list[float]:
        return [float(number) for number in base.step_floats(layers.core_spec(spec), cell)]

    back = None if cell.adjoint is None else _adjoint(title, cell, cell.adjoint)
    return base.Cell(
        name=cell.name, layout=layout, state_layout=state_layout, genes=genes, decode=decode, step=step,
        step_checked=calls.step_checked(title, step), rollout=calls.rollout(title, prepared, prepare),
        step_prepared=prepared, prepare=prepare, own_ints=own_ints, own_floats=own_floats,
        initial=lambda spec: cell.initial(layers.core_spec(spec)), adjoint=back,
    )  # fmt: skip


def _tape(spec: Spec, core: base.Adjoint) -> tuple[str, ...]:
    """Return the blocks of the tape: a row of the core's, then the activations that this does not hold."""
    around = (*layers.encoder_layers(spec)[:-1], *layers.head_layers(spec)[:-1])
    return (*core.tape(layers.core_spec(spec)), "core.u", "core.held", *(name for name, *_ in around))


def _taped(spec: Spec, name: str) -> str:
    """Return the block of the tape that holds a layer's activations: the core's inputs and outputs are such, too."""
    last = layers.encoder_layers(spec)[-1:]
    return "core.u" if last and name == last[0][0] else "core.held" if name == "head.0" else name


def _adjoint(title: str, cell: base.Cell, core: base.Adjoint) -> base.Adjoint:
    """Return the adjoint around a core's."""

    @cache_layout
    def carry(spec: Spec) -> Layout:
        around = (*layers.encoder_layers(spec), *layers.head_layers(spec))
        own = layers.blocks_of(core.carry(layers.core_spec(spec)), lambda name: layers.renamed(spec, name))
        return Layout(*own, *((f"b_{name}", (rows,), "1") for name, rows, _ in around))

    @cache_layout
    def deltas(spec: Spec) -> Layout:
        """Blocks: of the encoder, the core's, the change with its outputs, and of the head."""
        encoder, head = (
            [(name, (rows,), "1") for name, rows, _ in layers]
            for layers in (layers.encoder_layers(spec), layers.head_layers(spec))
        )
        own = layers.blocks_of(core.deltas(layers.core_spec(spec)), lambda name: f"core.{name}")
        return Layout(*encoder, *own, ("core.dy", (layers.core_spec(spec).outputs,), "1"), *head)

    def products(spec: Spec) -> tuple[base.Product, ...]:
        taken = {name: _taped(spec, source) for name, source in layers.sources(spec).items()}
        inner = [
            base.Product(
                f"core.{product.delta}", "core.u" if product.factor == "u" else product.factor, product.before,
                layers.renamed(spec, product.block),
            )
            for product in core.products(layers.core_spec(spec))
        ]  # fmt: skip
        own = [base.Product(name, source, False, f"W_{name}") for name, source in taken.items()]
        count = len(spec.encoder)
        return (*own[:count], *inner, *own[count:])

    begin = core.begin
    if begin is not base.begin_nothing:
        begin = _compiled(f"{title}_begin", _begin, jit_step, core_begin=begin)
    finish = core.finish
    if finish is not base.finish_nothing:
        finish = _compiled(f"{title}_finish", _finish, jit_step, core_finish=finish)
    backward = _compiled(f"{title}_backward", _backward, jit_inline, core_backward=core.backward)
    return base.Adjoint(lambda spec: _tape(spec, core), carry, deltas, products, backward, begin, finish)


def _places(spec: Spec, cell: base.Cell, back: base.Adjoint | None, theta: Layout, state: Layout) -> list[int]:
    """Return a spec's own ints, see the places above."""
    core, own = layers.core_spec(spec), base.step_ints(layers.core_spec(spec), cell).tolist()
    begin, inner = theta[layers.renamed(spec, next(iter(cell.layout(core).blocks)))].offset, cell.state_layout(core)
    at = state[layers.own_state(next(iter(inner.blocks)))].offset
    encoder, head = layers.encoder_layers(spec), layers.head_layers(spec)
    x, out = state[encoder[-1][0] if encoder else "u"], state["core.out"]
    takes = {name: "core.out" if source == "head.0" else source for name, source in layers.sources(spec).items()}
    rows = [
        number
        for name, rows, columns in (*encoder, *head)
        for number in (
            theta[f"W_{name}"].offset, rows, columns, state[takes[name]].offset,
            state[name].offset if name in state else 0,
        )
    ]  # fmt: skip
    taped, ways = _way_back(spec, back, theta, state)
    heads = [len(spec.encoder), len(spec.head), ACTIVATIONS[spec.dense_activation]]
    parts = [begin, begin + cell.layout(core).size, at, at + inner.size, x.offset, x.offset + x.size]
    parts += [out.offset, out.offset + out.size, state["held"].offset, state["ok"].offset, state["core.ok"].offset]
    first = LAYERS + len(rows)
    return [*heads, *parts, *taped, first, first + len(ways), *rows, *ways, *own]


def _way_back(
    spec: Spec, back: base.Adjoint | None, theta: Layout, state: Layout
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Return the places of tape, deltas and carry, and the rows of the way back."""
    if back is None:
        return [0] * (BACK - TAPE), []
    names = (*back.tape(spec), "u", "held")
    tape = Layout(*((name, state[name].shape, "1") for name in names))
    deltas, carry, taken = back.deltas(spec), back.carry(spec), layers.sources(spec)
    encoder, head = layers.encoder_layers(spec), layers.head_layers(spec)
    core = next(product for product in back.products(spec) if product.delta.startswith("core."))
    driven = deltas[core.delta]

    def row(weights: str, rows: int, columns: int, delta: str, source: str) -> list[int]:
        at = tape[_taped(spec, source)].offset
        summed = carry[f"b_{source}"].offset
        change = deltas["core.dy" if source == "head.0" else source].offset
        return [theta[weights].offset, rows, columns, at, deltas[delta].offset, change, summed]

    ways = [row(f"W_{name}", rows, columns, name, taken[name]) for name, rows, columns in reversed(head)]
    if encoder:
        last = encoder[-1]
        ways.append(row(core.block, driven.size, last[1], core.delta, last[0]))
        ways += [row(f"W_{name}", rows, columns, name, taken[name]) for name, rows, columns in encoder[:0:-1]]
    end = "out" if head else "core.dy"
    places = [tape[names[0]].offset, tape["held"].offset, driven.offset, deltas["core.dy"].offset]
    places += [deltas[end].offset, carry["b_out"].offset if head else 0]
    return places, [number for way in ways for number in way]
