"""What every cell offers to the rest of the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.axes import Axes, dense_axes
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.activations import ACTIVATIONS
from neuroctl.maths.fixed import QFormat, QFormats
from neuroctl.maths.jit import jit_integer, jit_step
from neuroctl.spec import Spec

Array = NDArray[Any]
Formats = Mapping[str, QFormat]
Bounds = Mapping[str, tuple[int, int]]
Persistent = Mapping[str, tuple[str, int, int]]
"""Storage (a NumPy dtype's name), lowest and highest value of an integer state's persistent blocks, in C's order."""
Population = Mapping[str, QFormats]
"""Formats of P controllers of one spec, by name."""
Quantized = tuple[Population, NDArray[np.int32]]
"""Formats of P controllers, and their parameters in them, int32 ``[P, n_params]``."""
Ranges = Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Lowest and highest value of P controllers' intermediates, int64 ``[P]`` each, by name."""

Taped = Mapping[str, tuple[tuple[str, str], ...]]
"""Blocks of a tape by name: of each the blocks of the integer state whose sum it is, and their formats."""


def formats_at(formats: Population, index: int) -> Formats:
    """Return one controller's formats out of those of a population."""
    alone = {name: form.at(index) for name, form in formats.items()}
    return {name: form for name, form in alone.items() if form is not None}


@jit_step
def prepare_nothing(theta: Array, state: Array, ints: Array, floats: Array) -> None:
    """Prepare the state of a cell in which nothing is derived from theta."""


@jit_integer
def prepare_nothing_q(theta: Array, state: Array, ints: Array) -> None:
    """Prepare the integer state of a cell in which nothing is derived from the rest."""


@jit_step
def begin_nothing(theta: Array, carry: Array, ints: Array, floats: Array) -> None:
    """Begin to go back through time, for a cell whose carry starts as zeros."""


@jit_step
def finish_nothing(theta: Array, tape: Array, first: Any, carry: Array, ints: Array, floats: Array) -> None:
    """Finish, for a cell whose carry is final after the first step."""


_ROUNDING: Final = 1e-6  # a state of 1, rounded to float32, still lies within the block's bounds


def _no_numbers(spec: Spec) -> list[Any]:
    return []


def _no_blocks(spec: Spec) -> Mapping[str, str]:
    return {}


def _no_tape(spec: Spec) -> Taped:
    return {}


@dataclass(frozen=True)
class Cell:
    """One kind of network: its layouts, its genome's, and its compiled steps.

    ``step(theta, state, u, y, ints, floats)`` advances one time step: theta float ``[n_params]`` and u ``[inputs]`` are
    read, state ``[states]`` is read and written, y ``[outputs]`` is written. A step takes one controller's arrays, or a
    block of lanes' ``[..., W]`` (see ``maths.packs``); it allocates nothing and raises nothing. ``rollout`` takes a
    time axis in front of u and y.
    ``ints`` and ``floats`` hold what a step needs besides theta: sizes, and the time base and output limits; then what
    ``own_ints`` and ``own_floats`` give.
    ``step_checked`` is ``step`` as Python calls it, for one controller: it says whether u's length fits.
    ``prepare(theta, state, ints, floats)`` refreshes everything in the state that is derived from theta.
    ``step_prepared``, with the arguments of ``step``, assumes that and preserves it, so a rollout prepares only once.
    ``initial(spec)`` tells which block of theta each block of the state starts from where the initial state is learned;
    all else of a state starts at 0. It is empty for a cell whose initial state cannot be learned.
    ``integer`` is its fixed-point form, see ``cells.fixed``; ``adjoint`` its gradient; None if it has none.
    """

    name: str
    layout: Callable[[Spec], Layout]
    state_layout: Callable[[Spec], Layout]
    genes: Callable[[Spec], Layout]
    decode: Callable[[Spec, NDArray[np.float64]], NDArray[np.float64]]
    step: Callable[[Array, Array, Array, Array, Array, Array], None]
    step_checked: Callable[[Array, Array, Array, Array, Array, Array], int]
    rollout: Callable[[Array, Array, Array, Array, Array, Array], None]
    step_prepared: Callable[[Array, Array, Array, Array, Array, Array], None]
    prepare: Callable[[Array, Array, Array, Array], None] = prepare_nothing
    own_ints: Callable[[Spec], Sequence[int]] = _no_numbers
    own_floats: Callable[[Spec], Sequence[float]] = _no_numbers
    initial: Callable[[Spec], Mapping[str, str]] = _no_blocks
    integer: Integer | None = None
    adjoint: Adjoint | None = None


class Product(NamedTuple):
    """One product that a block of theta gets its gradient from: the sum over time of ``delta factor^T``.

    delta: a block of the deltas
    factor: a block of the tape
    before: whether the factor is what the step found, not what it left
    block: the block of theta
    """

    delta: str
    factor: str
    before: bool
    block: str


@dataclass(frozen=True)
class Adjoint:
    """A cell's gradient: ``backward(theta, tape, before, after, dy, dy_at, deltas, at, carry, ints, floats)``.

    It goes back over one time step: from the change of the loss with the step's outputs ``dy`` and with the state that
    it left, to that with the state that it found. All are numbers' or lanes' arrays, as of ``Cell.step``.

    - ``tape(spec)`` names the blocks of the state that are recorded after each step, and once before the first. With
      the scaled inputs and the outputs they make up the tape's rows; ``before`` and ``after`` are offsets of such rows
    - ``carry(spec)`` is what goes from a step to the one before it, 0 at the end. Blocks with the name of a block of
      the state are the change with that; those with the name of a block of theta are sums, what that block gets
    - ``deltas(spec)`` is what a step leaves, from offset ``at`` on, for the ``products(spec)`` that other blocks of
      theta get their gradient from; the first of both is ``"drive"``, the change with W_in u
    - ``begin(theta, carry, ints, floats)`` fills in what in the carry is derived from theta
    - ``finish(theta, tape, first, carry, ints, floats)`` makes the carry's sums and changes final
    """

    tape: Callable[[Spec], tuple[str, ...]]
    carry: Callable[[Spec], Layout]
    deltas: Callable[[Spec], Layout]
    products: Callable[[Spec], tuple[Product, ...]]
    backward: Callable[..., None]
    begin: Callable[..., None] = begin_nothing
    finish: Callable[..., None] = finish_nothing


@dataclass(frozen=True)
class Integer:
    """A cell's integer form, whose step generated C equals bit for bit: ``step_q(theta, state, u, y, ints)``.

    theta int32 of the float layout and u int32 ``[inputs]`` in the format ``"u"`` are read, state int32, see
    ``state_layout_q``, is read and written, y int32 ``[outputs]`` in the format ``"out"`` is written; ints int64 are
    sizes, shifts and limits. All are one controller's, or a block of lanes' ``[..., W]``.
    ``prepare_q`` refreshes what in the state is derived from the rest; ``step_prepared_q`` assumes that and preserves
    it.

    All else is for P controllers of one spec at once: theta ``[P, n_params]``, theta_q int32 of the same layout, and
    ``ints_q`` int64 ``[P, I]`` with sizes, shifts and limits. ``ranges_q`` proves by interval analysis over all int16
    inputs and all reachable states which range each intermediate of the step stays in.
    ``quantize`` takes the inputs' format and a ``cells.fixed.base.FormatOptions``; ``quantize_theta`` takes formats as
    they are. A state after reset is 0, or what ``Cell.initial`` says, then prepared.

    ``persistent_q`` tells, for one controller, which blocks of the state persist from step to step;
    the rest is scratch.
    ``tape_q(spec)`` tells what the blocks of ``Adjoint.tape`` are in integers: each the sum of blocks of the integer
    state, with the formats that these are in. A block that ``Cell.initial`` names is one block, in the format of the
    block of theta that it starts from.
    ``io_axes(spec)`` tells which formats' numbers count inputs (``"u"``) or outputs (``"y"``), along which of their
    axes: along the first such a number grows with them, along the second, a matrix's columns, it takes them.
    """

    quantize: Callable[[Spec, Array, QFormat | QFormats, Any], Quantized]
    quantize_theta: Callable[[Spec, Array, Population], NDArray[np.int32]]
    state_layout_q: Callable[[Spec], Layout]
    ints_q: Callable[[Spec, Population], NDArray[np.int64]]
    ranges_q: Callable[[Spec, Population, NDArray[np.int32], NDArray[np.int64]], Ranges]
    persistent_q: Callable[[Spec, Formats, NDArray[np.int32], Bounds], Persistent]
    step_prepared_q: Callable[[Array, Array, Array, Array, Array], None]
    step_q: Callable[[Array, Array, Array, Array, Array], None]
    rollout_q: Callable[[Array, Array, Array, Array, Array], None]
    prepare_q: Callable[[Array, Array, Array], None] = prepare_nothing_q
    tape_q: Callable[[Spec], Taped] = _no_tape
    io_axes: Callable[[Spec], Axes] = dense_axes


NEURONS, INPUTS, OUTPUTS, AFFINE, OUTPUT_ACTIVATION, ACTIVATION, OPTION = range(7)
"""Places in ``ints``: sizes, 1 for an affine readout, codes of ``ACTIVATIONS``; a cell's own options from OPTION on."""

DT, SCALES = 0, 1
"""Places in ``floats``: dt_s; the inputs' offsets and gains; the outputs' lows and highs; a cell's own constants."""


def step_ints(spec: Spec, cell: Cell) -> NDArray[np.int64]:
    """Return what a step of the spec's cell needs in integers."""
    codes = [ACTIVATIONS[spec.output_activation], ACTIVATIONS[str(spec.activation)]]
    sizes = [spec.neurons, spec.inputs, spec.outputs, int(spec.readout == "affine")]
    return np.array([*sizes, *codes, *cell.own_ints(spec)], dtype=np.int64)


def step_floats(spec: Spec, cell: Cell) -> NDArray[Any]:
    """Return what a step of the spec's cell needs in numbers of the spec's dtype."""
    limits = spec.output_limits or ((-np.inf, np.inf),) * spec.outputs
    lows, highs = zip(*limits, strict=True)
    scales = np.concatenate(input_map(spec))
    return np.array([spec.dt_s, *scales, *lows, *highs, *cell.own_floats(spec)], dtype=spec.dtype)


def first_weights(blocks: Layout) -> str:
    """Return the name of the block of theta that multiplies the inputs."""
    return next(name for name in ("W_enc.0", "W_in", "W_in.0") if name in blocks)


def step_blocks(spec: Spec) -> tuple[tuple[Any, ...], ...]:
    """Return the blocks at the end of every float state: u, the scaled inputs, is scratch; the held output; two flags.

    ``ok`` and ``fault`` are 1 where the last step met finite numbers, and where one ever met others: see
    ``ops.clip_or_hold``.
    """
    return ("u", (spec.inputs,), "1"), ("held", (spec.outputs,), "1"), ("ok", (), "1"), ("fault", (), "1")


def readout_blocks(spec: Spec) -> tuple[tuple[Any, ...], ...]:
    """Return the blocks of an affine readout, none for another."""
    n, q = spec.neurons, spec.outputs
    return (("W_out", (q, n), "1"), ("b_out", (q,), "1")) if spec.readout == "affine" else ()


def activation_bound(spec: Spec) -> float:
    """Return the largest magnitude of the neurons' function."""
    return math.inf if spec.activation == "relu" else 1.0


def initial_blocks(spec: Spec, sizes: Mapping[str, int], bound: float = math.inf) -> tuple[tuple[Any, ...], ...]:
    """Return theta's last blocks, a learned initial state; none where it is zeros.

    ``bound`` is the largest magnitude of a state: what no step leads to is no place to start from.
    """
    if spec.initial_state != "learned":
        return ()
    limit = bound * (1.0 + _ROUNDING)
    return tuple((name, (size,), "1", -limit, limit) for name, size in sizes.items())


def decode_initial(p: Mapping[str, Array], names: Sequence[str], bound: float = math.inf, scale: Any = 1.0) -> None:
    """Turn genes x in the blocks of a learned initial state, if any, into ``tanh(x)``; unbounded into ``scale x``."""
    for name in names:
        if name in p:
            p[name][:] = bound * np.tanh(p[name]) if math.isfinite(bound) else scale * p[name]


def readout_products(spec: Spec, source: str) -> tuple[Product, ...]:
    """Return what W_out gets its gradient from; source: the block of the tape that is read out."""
    return (Product("out", source, False, "W_out"),) if spec.readout == "affine" else ()


def readout_sums(spec: Spec) -> tuple[tuple[Any, ...], ...]:
    """Return the block of the carry at its end: what b_out gets."""
    return (("b_out", (spec.outputs,), "1"),)


@cache_layout
def dense_deltas(spec: Spec) -> Layout:
    """Return the deltas of a cell with one sum a neuron."""
    return Layout(("drive", (spec.neurons,), "1"), ("out", (spec.outputs,), "1"))


def dense_products(spec: Spec, recalled: str) -> tuple[Product, ...]:
    """Return the products of such a cell with an affine readout of h; recalled: the block that U takes."""
    own = Product("drive", "u", False, "W_in"), Product("drive", recalled, True, "U")
    return (*own, *readout_products(spec, "h"))


def input_scale(spec: Spec) -> NDArray[np.float64]:
    """Return the largest magnitude of each input, ``[inputs]``; 1 where it is scaled or the spec declares none."""
    if spec.scale_inputs:
        return np.ones(spec.inputs)
    return np.array([max(abs(low), abs(high)) for low, high in spec.input_limits or ((-1.0, 1.0),) * spec.inputs])


def input_map(spec: Spec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offsets and gains ``[inputs]``: a network sees (u - offset) gain, which is u itself unless scaled."""
    if not spec.scale_inputs or spec.input_limits is None:
        return np.zeros(spec.inputs), np.ones(spec.inputs)
    lows, highs = np.array(spec.input_limits).T
    return 0.5 * (lows + highs), 2.0 / (highs - lows)


def output_scale(spec: Spec) -> NDArray[np.float64]:
    """Return the largest magnitude of each output, ``[outputs]``; 1 where the spec declares none."""
    return np.array([max(abs(low), abs(high)) for low, high in spec.output_limits or ((-1.0, 1.0),) * spec.outputs])


def output_range(spec: Spec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return middle and half width of what an affine readout should span, ``[outputs]`` each: -1 to 1 without limits.

    With an output activation they are of its range, not of the limits.
    """
    limits = spec.output_limits if spec.output_activation == "identity" else None
    lows, highs = np.array(limits or ((-1.0, 1.0),) * spec.outputs).T
    return 0.5 * (lows + highs), 0.5 * (highs - lows)


def decode_readout(spec: Spec, p: Mapping[str, Array]) -> None:
    """Turn genes that lie in ``W_out`` and ``b_out`` into weights, so that one unit moves across the outputs' range.

    The resting activation (1/2 of a logistic, 0 of others) gives the middle of the range, shifted by ``b_out``'s gene.
    """
    if spec.readout != "affine":
        return
    middle, half = output_range(spec)
    rest = 0.5 if (spec.dense_activation if spec.head else spec.activation) == "logistic" else 0.0
    p["W_out"][:] *= (2.0 * half if rest else half)[:, None]
    p["b_out"][:] = middle - rest * p["W_out"].sum(axis=-1) + half * p["b_out"]
