"""Scan in time: an IndRNN's sequence cut into blocks that are stepped side by side, as lanes.

A neuron of a ReLU, hard-tanh or linear layer recalls only itself, by h_t = clip(u h_(t-1) + z_t, low, high). Such maps
are closed under composition (docs/scan.md has the proof): any number of steps is a map clip(a h + c, lo, hi) again. So
the map of each block of time is worked out, from them in turn where each block starts, and then all blocks' states.
Back through time a block is a linear map of what the steps after it want changed. Layers follow one another: when
one's states are known at all times, so are the next one's inputs.

Time is taken in windows whose states fit into the cache. A window is ``blocks`` blocks of ``steps`` steps of each
sequence; lane ``sequence * blocks + block`` is one of them. Steps beyond the end of time have inputs 0 and count not.
Arrays are pairs of packs ``[rows, 2, W]``, see ``maths.packs``:

- ``tape``: outputs ``[steps, q]``; scaled inputs ``[steps, m]``; of each layer h ``[steps + 1, n]``, from before the
  first step on; and with ``residual``, from the second layer on, what it puts out, ``[steps, n]``
- ``back``: the change of the loss with outputs ``[steps, q]``; with what a layer puts out ``[steps, n]``; with scaled
  inputs ``[steps, m]``; what the steps after a block want, ``[n]``; the change with what activations got ``[chunk, n]``
- ``maps``: of each neuron c, lo, hi, or a and c on the way back; a last row of 0, or NaN after a number that is not
  finite
- ``sums``: what u and bias of each layer get, in turn, and b_out
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import ops
from neuroctl.cells import ops_adjoint as adjoint
from neuroctl.cells.base import ACTIVATION, AFFINE, INPUTS, NEURONS, OPTION, OUTPUT_ACTIVATION, OUTPUTS, SCALES
from neuroctl.maths import vectors as v
from neuroctl.maths.activations import HARD_TANH, RELU
from neuroctl.maths.jit import jit_exact_rows, jit_inline, jit_step
from neuroctl.maths.packs import lanes_of, like, load, select, store, turn
from neuroctl.maths.scalars import one, zero
from neuroctl.maths.transposed import add_outer, add_transposed
from neuroctl.spec import Spec

Array = NDArray[Any]
U = np.uint64

_WINDOW_BYTES: Final = 384 << 10  # of tape and back, in a core's second-level cache
_CHUNK_BYTES: Final = 24 << 10  # of them between two looks at the same rows, in the first-level cache
_MIN_BLOCKS, _MIN_WORK = 4, 1 << 14  # below, the loop may be as fast
_MAX_GROWTH: Final = 2.0  # of a state in a block, by |u| above 1: beyond, a block's map rounds coarsely


@dataclass(frozen=True)
class Plan:
    """How time is cut.

    Args:
        blocks: blocks of time that a sequence has in a window.
        steps: steps of a block; fewer in the last window.
        chunk: steps that are worked on at a time.
        windows: how many windows there are.

    """

    blocks: int
    steps: int
    chunk: int
    windows: int


def composes(spec: Spec) -> bool:
    """Return whether a cell's steps compose to maps of the same form."""
    return spec.cell == "indrnn" and not spec.dense and spec.activation in ("relu", "hard_tanh")


def pays(spec: Spec, steps: int, sequences: int) -> bool:
    """Return whether a scan is faster than the loop, by a rule that was measured: see docs/scan.md.

    There are at least 4 blocks for each sequence, and ``steps * (layers * neurons + 8)`` is at least 16384.
    """
    blocks = 2 * lanes_of(spec.dtype) // sequences
    return composes(spec) and blocks >= _MIN_BLOCKS and steps * (spec.layers * spec.neurons + 8) >= _MIN_WORK


@lru_cache(maxsize=256)
def cut(spec: Spec, steps: int, sequences: int) -> Plan | None:
    """Return how to cut so many steps of sequences into blocks; None: they fill the lanes as they are."""
    blocks = 2 * lanes_of(spec.dtype) // sequences
    if blocks < 2:
        return None
    row = 2 * lanes_of(spec.dtype) * np.dtype(spec.dtype).itemsize
    n, layers = spec.neurons, spec.layers
    rows = (2 if spec.residual else 1) * n * layers + n + 2 * spec.outputs + spec.inputs
    window = max(1, min(_WINDOW_BYTES // (row * rows), -(-steps // blocks)))
    chunk = max(8, min(32, _CHUNK_BYTES // (row * (3 * n + max(spec.inputs, spec.outputs)))))
    return Plan(blocks, window, min(chunk, window), -(-steps // (window * blocks)))


def tape_rows(spec: Spec, steps: int) -> int:
    """Return the rows of a tape of so many steps."""
    n, layers = spec.neurons, spec.layers
    more = (layers - 1) * n * steps if spec.residual else 0
    return steps * (spec.outputs + spec.inputs) + layers * (steps + 1) * n + more


def back_rows(spec: Spec, steps: int, chunk: int) -> int:
    """Return the rows of what goes back over so many steps."""
    return steps * (spec.outputs + spec.neurons + spec.inputs) + (1 + chunk) * spec.neurons


def tame(u: Array, steps: int) -> bool:
    """Return whether no state grows much in a block of so many steps, by recurrent weights u beyond 1."""
    largest = float(np.abs(u).max())
    return largest <= 1.0 or steps * np.log(largest) <= np.log(_MAX_GROWTH)


# --- Lanes ----------------------------------------------------------------------------------------------------------


@jit_inline
def _block_of(lane: Any, first: Any, steps: Any, blocks: Any, total: Any) -> Any:
    """Return a lane's sequence, the time at which its block begins, and how many of its steps are before the end."""
    begin = first + (lane % blocks) * steps
    return lane // blocks, begin, min(begin + steps, max(total, begin)) - begin


@jit_exact_rows
def to_lanes(values: Array, total: Any, first: Any, steps: Any, blocks: Any, rows: Array, at: Any) -> None:
    """Copy ``values[total or 1, B, K]`` from time ``first`` on to ``rows[at + step * K + k]``; 0 beyond the end."""
    sequences, size, width = U(values.shape[1]), U(values.shape[2]), U(rows.shape[2])
    total, first, steps, blocks, at = U(total), U(first), U(steps), U(blocks), U(at)
    flat, lanes, apart = values.reshape(-1), rows.reshape(-1), sequences * size
    if values.shape[0] == 1:
        apart = U(0)
    elif sequences == U(1):  # all numbers of a step are then steps of their own
        total, first, steps, size, apart = total * size, first * size, steps * size, U(1), U(1)
    for group in range(U(0), U(2) * width, width):
        done = U(0)
        if apart == U(1) and first + (group + width) * steps <= total:
            done = steps - steps % width
            for t in range(U(0), done, width):
                turn(flat, first + group * steps + t, steps, lanes, (at + t) * U(2) * width + group, U(2) * width)
        for lane in range(group, group + width):
            b, begin, known = _block_of(lane, first, steps, blocks, total)
            if lane >= sequences * blocks:
                b, known = U(0), U(0)
            for k in range(size):
                for t in range(done, known):
                    rows[at + t * size + k, group // width, lane - group] = flat[(begin + t) * apart + b * size + k]
                for t in range(max(done, known), steps):
                    rows[at + t * size + k, group // width, lane - group] = 0


@jit_exact_rows
def from_lanes(rows: Array, at: Any, first: Any, steps: Any, blocks: Any, values: Array) -> None:
    """Copy ``rows[at + step * K + k]`` to ``values[T, B, K]``, from time ``first`` on."""
    total, sequences, size = U(values.shape[0]), U(values.shape[1]), U(values.shape[2])
    first, steps, blocks, at, width = U(first), U(steps), U(blocks), U(at), U(rows.shape[2])
    flat, lanes, apart = values.reshape(-1), rows.reshape(-1), sequences * size
    if sequences == U(1):
        total, first, steps, size, apart = total * size, first * size, steps * size, U(1), U(1)
    for group in range(U(0), U(2) * width, width):
        done = U(0)
        if apart == U(1) and first + (group + width) * steps <= total:
            done = steps - steps % width
            for t in range(U(0), done, width):
                turn(lanes, (at + t) * U(2) * width + group, U(2) * width, flat, first + group * steps + t, steps)
        for lane in range(group, min(group + width, sequences * blocks)):
            b, begin, known = _block_of(lane, first, steps, blocks, total)
            for k in range(size):
                for t in range(done, known):
                    flat[(begin + t) * apart + b * size + k] = rows[at + t * size + k, group // width, lane - group]


# --- Forward --------------------------------------------------------------------------------------------------------


@jit_inline
def _range(code: Any, x: Any) -> Any:
    """Return the ends that an activation clips to, in the type of the number x."""
    if code == RELU:
        return zero(x), like(x, np.inf)
    if code == HARD_TANH:
        return like(x, -1), one(x)
    return like(x, -np.inf), like(x, np.inf)


@jit_inline
def _clip(x: Any, low: Any, high: Any) -> Any:
    """Return x within its ends; NaN stays NaN."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


@jit_inline
def _power(x: Any, exponent: Any) -> Any:
    """Return x^exponent, by squares in float64."""
    result, square = np.float64(1), float(x)
    while exponent > U(0):
        if exponent & U(1) != U(0):
            result *= square
        square *= square
        exponent = exponent >> U(1)
    return like(x, result)


@jit_inline
def _compose(
    theta: Array, u: Any, tape: Array, z: Any, n: Any, steps: Any, maps: Array, low: Any, high: Any
) -> None:  # fmt: skip
    """Add steps to each neuron's map: c = u c + z, and its ends, which are where the ends of h's range lead.

    A negative u swaps them: they are sorted when the map is used. Above a ReLU with u >= 0 there is no end.
    """
    for i in range(n):
        w = load(theta, u + i)
        c, lo, hi = load(maps, i), load(maps, n + i), load(maps, U(2) * n + i)
        if high == np.inf and w >= zero(w):
            for t in range(steps):
                x = load(tape, z + t * n + i)
                c, lo = w * c + x, w * lo + x
                lo = select(lo < low, low, lo)
        else:
            for t in range(steps):
                x = load(tape, z + t * n + i)
                c, lo, hi = w * c + x, _clip(w * lo + x, low, high), _clip(w * hi + x, low, high)
        store(maps, i, c)
        store(maps, n + i, lo)
        store(maps, U(2) * n + i, hi)


@jit_inline
def _start_maps(maps: Array, n: Any, low: Any, high: Any, largest: Any, sequences: Any, ends: Array, k: Any) -> None:
    """Set all maps to h itself, from the least to the greatest h there is; windows start from ``ends[k + i]``."""
    for i in range(n):
        least, most = low, high
        for b in range(sequences):
            least, most = min(least, ends[k + i, b]), max(most, ends[k + i, b])
        value = load(maps, i)
        store(maps, i, zero(value))
        store(maps, n + i, like(value, max(least, -largest)))
        store(maps, U(2) * n + i, like(value, min(most, largest)))


@jit_inline
def _join(
    theta: Array, u: Any, n: Any, steps: Any, maps: Array, sequences: Any, blocks: Any, ends: Array, k: Any,
    tape: Array, h: Any,
) -> None:  # fmt: skip
    """Set h to where each block starts, and ``ends[k + i]``, where each sequence's window starts, to where it ends."""
    width = U(tape.shape[2])
    for i in range(n):
        a = _power(load(theta, u + i), steps)
        for b in range(sequences):
            value = ends[k + i, b]
            for lane in range(b * blocks, (b + U(1)) * blocks):
                r, p = lane // width, lane % width
                tape[h + i, r, p] = value
                lo, hi = maps[n + i, r, p], maps[U(2) * n + i, r, p]
                value = _clip(a * value + maps[i, r, p], min(lo, hi), max(lo, hi))
            ends[k + i, b] = value
        for lane in range(sequences * blocks, U(2) * width):
            tape[h + i, lane // width, lane % width] = ends[k + i, 0]


@jit_inline
def _run(theta: Array, u: Any, tape: Array, h: Any, n: Any, steps: Any, low: Any, high: Any) -> None:
    """Step all blocks; h is the first step's start, behind it come z, which become the states that follow."""
    for i in range(n):
        w, value = load(theta, u + i), load(tape, h + i)
        for t in range(U(1), steps + U(1)):
            value = _clip(w * value + load(tape, h + t * n + i), low, high)
            store(tape, h + t * n + i, value)


@jit_inline
def _scale_inputs(tape: Array, x: Any, m: Any, steps: Any, floats: Array, maps: Array, bad: Any) -> None:
    """x_i = (x_i - offset_i) gain_i; note what is not finite."""
    found = load(maps, bad)
    for t in range(steps):
        for i in range(m):
            value = load(tape, x + t * m + i)
            value = (value - floats[U(SCALES) + i]) * floats[U(SCALES) + m + i]
            found = found + value * zero(value)
            store(tape, x + t * m + i, value)
    store(maps, bad, found)


@jit_inline
def _clip_outputs(tape: Array, y: Any, q: Any, steps: Any, floats: Array, low: Any, maps: Array, bad: Any) -> None:
    """Clip outputs into their limits; note what is not finite."""
    found = load(maps, bad)
    for t in range(steps):
        for i in range(q):
            value = load(tape, y + t * q + i)
            found = found + value * zero(value)
            store(tape, y + t * q + i, _clip(value, floats[low + i], floats[low + q + i]))
    store(maps, bad, found)


@jit_inline
def _source(stage: Any, residual: Any, x: Any, n: Any, steps: Any, m: Any, layers: Any) -> Any:
    """Return the offset in the tape of what a stage's products take in; the readout is the stage after all layers."""
    h = x + steps * m
    if stage == U(0):
        return x
    if residual and stage > U(1):
        return h + layers * (steps + U(1)) * n + (stage - U(2)) * steps * n
    return h + (stage - U(1)) * (steps + U(1)) * n + n


@jit_step
def forward(
    theta: Array, tape: Array, maps: Array, ends: Array, ints: Array, floats: Array, steps: Any, sequences: Any,
    blocks: Any, chunk: Any, whole: Any,
) -> None:  # fmt: skip
    """Step a window whose inputs are in the tape; ``ends[layers * n, B]`` are the states h before it, then after it.

    whole: False: only ``ends`` count, not the last layer's states and the outputs.
    """
    n, m, q, layers = U(ints[NEURONS]), U(ints[INPUTS]), U(ints[OUTPUTS]), U(ints[OPTION])
    steps, sequences, blocks, chunk = U(steps), U(sequences), U(blocks), U(chunk)
    affine, code, residual = ints[AFFINE] != 0, ints[OUTPUT_ACTIVATION], ints[OPTION + 1] != 0
    low, high = _range(ints[ACTIVATION], floats[0])
    x, bad, limits = steps * q, U(3) * n, U(SCALES) + U(2) * m
    states = x + steps * m
    w_in, before = U(0), U(0)
    for stage in range(layers + U(1)):
        source = _source(stage, residual, x, n, steps, m, layers)
        cols = m if stage == U(0) else n
        to, rows, u = states + stage * (steps + U(1)) * n, n, w_in + n * cols
        bias = u + n
        if stage == layers:
            to, rows, bias = U(0), q, w_in + q * n
        behind = to + n if stage < layers else to
        previous = to - (steps + U(1)) * n if stage < layers else states + (layers - U(1)) * (steps + U(1)) * n
        if stage > U(0):
            _join(theta, before, n, steps, maps, sequences, blocks, ends, (stage - U(1)) * n, tape, previous)
        if stage == layers and not whole:
            break
        if stage < layers:
            _start_maps(maps, n, low, high, like(low, np.finfo(tape.dtype).max), sequences, ends, stage * n)
        for first in range(U(0), steps, chunk):
            count = min(chunk, steps - first)
            if stage > U(0):
                _run(theta, before, tape, previous + first * n, n, count, low, high)
                if residual and stage > U(1):
                    inner = _source(stage - U(1), residual, x, n, steps, m, layers) + first * n
                    v.sum_of(tape, previous + n + first * n, inner, source + first * n, count * n)
            else:
                _scale_inputs(tape, x + first * m, m, count, floats, maps, bad)
            if stage == layers and not affine:
                v.copy(tape, source + first * n, tape, first * n, count * n)
            else:
                for t in range(first, first + count):
                    v.linear(theta, w_in, tape, source + t * cols, theta, bias, tape, behind + t * rows, rows, cols)
            if stage < layers:
                _compose(theta, u, tape, behind + first * n, n, count, maps, low, high)
            else:
                ops.apply(code, tape, first * q, count * q)
                _clip_outputs(tape, first * q, q, count, floats, limits, maps, bad)
        before, w_in = u, bias + rows


# --- Back -----------------------------------------------------------------------------------------------------------


@jit_inline
def _compose_back(
    theta: Array, u: Any, tape: Array, h: Any, back: Array, g: Any, n: Any, steps: Any, maps: Array, low: Any, high: Any
) -> None:  # fmt: skip
    """Add steps, from the last to the first, to each neuron's map a r + c of what the steps after them want changed."""
    for i in range(n):
        w = load(theta, u + i)
        a, c = load(maps, i), load(maps, n + i)
        for s in range(steps):
            k = (steps - U(1) - s) * n + i
            value = load(tape, h + k)
            slope = select((value > low) & (value < high), w, zero(w))
            a, c = slope * a, slope * (c + load(back, g + k))
        store(maps, i, a)
        store(maps, n + i, c)


@jit_inline
def _join_back(
    maps: Array, n: Any, sequences: Any, blocks: Any, carry: Array, k: Any, back: Array, at: Any
) -> None:  # fmt: skip
    """Set rows of ``back`` to what the steps after each block want, and ``carry[k + i]`` to what the window wants."""
    width = U(back.shape[2])
    for i in range(n):
        for b in range(sequences):
            value = carry[k + i, b]
            for s in range(blocks):
                lane = (b + U(1)) * blocks - U(1) - s
                r, p = lane // width, lane % width
                back[at + i, r, p] = value
                value = maps[i, r, p] * value + maps[n + i, r, p]
            carry[k + i, b] = value
        for lane in range(sequences * blocks, U(2) * width):
            back[at + i, lane // width, lane % width] = 0


@jit_inline
def _run_back(
    theta: Array, u: Any, tape: Array, h: Any, back: Array, g: Any, d: Any, carry: Any, n: Any, steps: Any,
    sums: Array, du: Any, low: Any, high: Any,
) -> None:  # fmt: skip
    """Go back over steps of all blocks: d, the change with what the activations got, and the sums for u and bias."""
    for i in range(n):
        w, r = load(theta, u + i), load(back, carry + i)
        d_u, d_bias, after = load(sums, du + i), load(sums, du + n + i), load(tape, h + steps * n + i)
        for s in range(steps):
            k = (steps - U(1) - s) * n + i
            change = load(back, g + k) + r
            change = select((after > low) & (after < high), change, zero(change))
            store(back, d + k, change)
            after = load(tape, h + k)
            r, d_u, d_bias = w * change, d_u + change * after, d_bias + change
        store(back, carry + i, r)
        store(sums, du + i, d_u)
        store(sums, du + n + i, d_bias)


@jit_step
def backward(
    theta: Array, tape: Array, back: Array, maps: Array, carry: Array, sums: Array, grad: Array, ints: Array,
    floats: Array, steps: Any, sequences: Any, blocks: Any, chunk: Any, with_inputs: Any,
) -> None:  # fmt: skip
    """Go back over a window from the change with its outputs, and add up the gradient.

    ``carry[layers * n, B]`` is the change with the states h after the window, then with those before it.
    """
    n, m, q, layers = U(ints[NEURONS]), U(ints[INPUTS]), U(ints[OUTPUTS]), U(ints[OPTION])
    steps, sequences, blocks, chunk = U(steps), U(sequences), U(blocks), U(chunk)
    affine, residual = ints[AFFINE] != 0, ints[OPTION + 1] != 0
    low, high = _range(ints[ACTIVATION], floats[0])
    x, g, inputs = steps * q, steps * q, steps * (q + n)
    states, carried, d = x + steps * m, inputs + steps * m, inputs + steps * m + n
    for back_by in range(layers + U(1)):
        stage = layers - back_by
        source = _source(stage, residual, x, n, steps, m, layers)
        cols, rows = (m if stage == U(0) else n), (q if stage == layers else n)
        w_in = U(0) if stage == U(0) else n * m + U(2) * n + (stage - U(1)) * (n * n + U(2) * n)
        own = states + stage * (steps + U(1)) * n
        if stage < layers:
            _join_back(maps, n, sequences, blocks, carry, stage * n, back, carried)
        for i in range(n):
            store(maps, i, one(load(maps, i)))
            store(maps, n + i, zero(load(maps, i)))
        end = steps
        while end > U(0):
            first = end - min(chunk, end)
            count, delta = end - first, d
            if stage == layers:
                delta = first * q
                for t in range(first, end):
                    adjoint.through_readout(
                        ints[AFFINE], ints[OUTPUT_ACTIVATION], tape, t * q, back, t * q, back, t * q, sums,
                        U(2) * layers * n, q, floats, U(SCALES) + U(2) * m,
                    )  # fmt: skip
            else:
                _run_back(
                    theta, w_in + n * cols, tape, own + first * n, back, g + first * n, d, carried, n, count, sums,
                    U(2) * stage * n, low, high,
                )  # fmt: skip
            if stage == layers and not affine:
                v.copy(back, delta, back, g + first * n, count * n)
            else:
                add_outer(
                    back, delta, rows, tape, source + first * cols, cols, count, grad, w_in, rows, cols
                )  # fmt: skip
                to = (g if stage > U(0) else inputs) + first * cols
                if stage > U(0) or with_inputs:
                    if not residual or stage == layers or stage == U(0):
                        v.fill(0, back, to, count * cols)
                    for t in range(count):
                        add_transposed(theta, w_in, rows, back, delta + t * rows, back, to + t * cols, cols)
            if stage > U(0):
                _compose_back(
                    theta, w_in - U(2) * n, tape, own - (steps + U(1)) * n + (first + U(1)) * n, back, g + first * n,
                    n, count, maps, low, high,
                )  # fmt: skip
            end = first
