"""Fixed point: choosing formats, and proving that 32 bits suffice, for one controller or a population at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import cell_of, integer_of
from neuroctl.cells.base import Formats, Population, formats_at
from neuroctl.cells.fixed.base import FormatOptions, refuse
from neuroctl.cells.fixed.narrow import WEIGHT_BITS as WEIGHT_BITS
from neuroctl.checks import array, cast, choice_of
from neuroctl.controller_inputs import recorded as _recorded
from neuroctl.errors import ExportError, LayoutError, QuantizationWarning, warn
from neuroctl.format_choice import LARGEST, check_coarse, check_magnitude, input_format, search
from neuroctl.input_limits import beyond_limits
from neuroctl.input_limits import limits_from as limits_from
from neuroctl.own_formats import OwnFormats, own_formats
from neuroctl.quant_controller import LIMIT as LIMIT
from neuroctl.quant_controller import IntArray, input_range, prove, start_states
from neuroctl.quant_controller import QuantController as QuantController
from neuroctl.spec import Spec

Array = NDArray[Any]

STATE_BITS: Final = (16, 32)
_MAX_SEARCH_STEPS: Final = 1000


def quantize(
    spec: Spec,
    theta: ArrayLike,
    *,
    weight_bits: int | Mapping[str, int] = 16,
    state_bits: int = 32,
    calibration: ArrayLike | None = None,
    reference: Callable[[Array], Array] | None = None,
    allow_coarse: bool = False,
    shared_formats: bool = False,
) -> QuantController:
    """Choose power-of-two formats for a float controller and return its integer form.

    The inputs' format comes from ``spec.input_limits`` if declared, else from the largest recorded input. Where sharing
    it would leave an input fewer than 4096 steps (12 bits) between its limits, each input has a format of its own, and
    weights are rounded relative to the range of their input; outputs alike. All other formats follow from the weights
    by interval analysis, so that no input and no history can overflow 32 bits, and no weight of 8 or 16 bits
    saturates; of fewer bits the largest do, where that leaves all a smaller sum of squared errors. Recorded inputs let
    a search refine the format of ReLU's activations, whose worst case is far from what they meet: it takes the
    fractional bits with the smallest root mean square error of the outputs against the float controller over the first
    1,000 recorded steps. No weight depends on what was recorded.

    Args:
        spec: the controller.
        theta: its parameters ``[n_params]``.
        weight_bits: storage of the weight matrices, 2, 3, 4, 8 or 16, or of each by its block's name; 16 where it is
            not named.
        state_bits: storage of what is integrated over time (y, h, Jordan's context): 16 or 32. A CTRNN's neurons would
            stall in 16 bits unless tau is about dt, so they keep a residual of 16 more: the RAM of 32, and more flash.
        calibration: recorded inputs ``[T, inputs]`` in physical units; needed without declared limits. They are
            kept with the controller, as test vectors.
        reference: what the float controller makes of inputs ``[T, inputs]`` from reset; ``Controller.quantize`` gives
            its own. Without it formats are not searched.
        allow_coarse: take limits between which an input or output has fewer than 16 steps, such as 1000 and 1000.1, and
            recorded inputs of which one moves by less than 16 steps of the format that all share.
        shared_formats: have all inputs share a format, and all outputs, as earlier versions did.

    Warns:
        QuantizationWarning: a declared input or output has fewer than 256 steps between its limits; recorded inputs lie
            beyond the declared limits, where fixed point clips them; or what ``allow_coarse`` takes.

    Raises:
        ExportError: neither limits nor calibration, an option is bad, a range is too wide for its word, an input or
            output has fewer than 16 steps between its limits, or an input without limits in what is recorded.
        LayoutError: theta or calibration have the wrong shape, or hold NaN or Inf.

    """
    q = integer_form(spec, theta, weight_bits, state_bits, calibration, reference, shared_formats=shared_formats)
    check_coarse(q.own_formats, q.calibration, allow=allow_coarse)
    beyond = beyond_limits(spec.input_limits, q.calibration)
    if beyond is not None and beyond.numbers:
        warn(f"calibration: {beyond}; fixed point clips them", QuantizationWarning)
    return q


def integer_form(
    spec: Spec,
    theta: ArrayLike,
    weight_bits: int | Mapping[str, int] = 16,
    state_bits: int = 32,
    calibration: ArrayLike | None = None,
    reference: Callable[[Array], Array] | None = None,
    *,
    shared_formats: bool = False,
) -> QuantController:
    """Do what ``quantize`` does, and say nothing of limits: for those who have seen to them, once for many.

    Raises:
        ExportError: as ``quantize``, but for coarse formats.
        LayoutError: as ``quantize``.

    """
    options = format_options(spec, weight_bits, state_bits)
    flat = cell_of(spec).layout(spec).coerce(theta, spec.dtype)
    recorded = None if calibration is None else _recorded(calibration, spec.inputs)
    own = own_formats(spec, shared=shared_formats)
    u_format = input_format(own, recorded)
    _check_magnitudes(spec, flat[None])
    if recorded is not None and reference is not None:

        def rollout(formats: Formats, theta_q: IntArray, inputs: Array) -> Array:
            return QuantController(spec, formats, theta_q).rollout(inputs)

        options = search(own, flat, u_format, options, recorded[:_MAX_SEARCH_STEPS], reference, rollout)
    formats, theta_q = integer_of(spec).quantize(own.step_spec, own.theta(flat[None]), u_format, options)
    return QuantController(spec, own.physical(formats_at(formats, 0)), theta_q[0], recorded)


def quantize_many(
    spec: Spec,
    theta: ArrayLike,
    *,
    weight_bits: int | Mapping[str, int] = 16,
    state_bits: int = 32,
    allow_coarse: bool = False,
    shared_formats: bool = False,
) -> QuantizedPopulation:
    """Quantise P float controllers at once: each one equals what ``quantize`` makes of it without a recording.

    Args:
        spec: of all; with ``input_limits``.
        theta: their parameters ``[P, n_params]``.
        weight_bits: as ``quantize``.
        state_bits: as ``quantize``.
        allow_coarse: as ``quantize``.
        shared_formats: as ``quantize``.

    Returns:
        A sequence of P ``QuantController``, each made when it is asked for. ``rollout_quantized`` of a backend takes it
        as it is.

    Warns:
        QuantizationWarning: as ``quantize``.

    Raises:
        ExportError: as ``quantize``; of a controller, it names the row of theta.
        LayoutError: theta has the wrong shape, or holds NaN or Inf.

    """
    options = format_options(spec, weight_bits, state_bits)
    layout = cell_of(spec).layout(spec)
    numbers = array("theta", theta, f"numbers of shape (P, {layout.size})")
    if numbers.ndim != 2 or numbers.shape[1] != layout.size or len(numbers) == 0:
        raise LayoutError(f"theta: shape {numbers.shape}; allowed: (P, {layout.size}) with P at least 1")
    rows = np.ascontiguousarray(cast(numbers.astype(np.float64), spec.dtype))
    layout.check(rows.T)
    own = own_formats(spec, shared=shared_formats)
    try:
        population = _quantized(own, rows, options)
    except ExportError as error:
        if error.refused is None:
            raise
        raise ExportError(f"theta[{int(np.argmax(error.refused))}]: {error}", error.refused) from None
    check_coarse(own, allow=allow_coarse)
    return population


def quantize_possible(
    spec: Spec, theta: Array, weight_bits: int | Mapping[str, int] = 16, state_bits: int = 32, *,
    shared_formats: bool = False,
) -> tuple[QuantizedPopulation | None, NDArray[np.bool_]]:  # fmt: skip
    """Quantise those of P controllers that fixed point can hold, None where that is none of them.

    Args:
        spec: of all; with ``input_limits``.
        theta: their parameters ``[P, n_params]`` in the spec's dtype, finite and within the layout's bounds.
        weight_bits: as ``quantize``.
        state_bits: as ``quantize``.
        shared_formats: as ``quantize``.

    Returns:
        The population, and which rows of theta it holds, bool ``[P]``.

    Raises:
        ExportError: the spec has no fixed-point form.

    """
    options, holds = format_options(spec, weight_bits, state_bits), np.ones(len(theta), np.bool_)
    own = own_formats(spec, shared=shared_formats)
    while holds.any():
        try:
            return _quantized(own, theta[holds], options), holds
        except ExportError as error:
            if error.refused is None:
                raise
            holds[holds] = ~error.refused
    return None, holds


def _quantized(own: OwnFormats, rows: Array, options: FormatOptions) -> QuantizedPopulation:
    """Quantise rows of theta; an error that concerns some of them says which."""
    u_format = input_format(own, None)
    _check_magnitudes(own.spec, rows)
    form, spec = integer_of(own.spec), own.step_spec
    formats, theta_q = form.quantize(spec, own.theta(rows), u_format, options)
    ints = form.ints_q(spec, formats)
    prove(form.ranges_q(spec, formats, theta_q, ints))
    return QuantizedPopulation(own, formats, theta_q, ints)


def _check_magnitudes(spec: Spec, rows: Array) -> None:
    largest = np.abs(rows).max(axis=1)
    refuse(
        largest > LARGEST,
        lambda at: f"theta: up to {largest[at]:g}; allowed in fixed point: up to {LARGEST:g}",
    )
    check_magnitude("output_limits", [value for pair in spec.output_limits or () for value in pair], LARGEST)


def format_options(spec: Spec, weight_bits: int | Mapping[str, int], state_bits: int) -> FormatOptions:
    """Return what is asked of the formats.

    Raises:
        ExportError: bits that are not allowed, or of a block that is no matrix of weights.

    """
    state_bits = choice_of("state_bits", state_bits, STATE_BITS, error=ExportError)
    return FormatOptions(_weight_bits(spec, weight_bits), state_bits)


def _weight_bits(spec: Spec, asked: int | Mapping[str, int]) -> dict[str, int]:
    matrices = [name for name, block in cell_of(spec).layout(spec).blocks.items() if len(block.shape) == 2]
    bits_of = asked if isinstance(asked, Mapping) else dict.fromkeys(matrices, asked)
    for name, bits in bits_of.items():
        if name not in matrices:
            raise ExportError(f"weight_bits: {name!r}; allowed: {', '.join(matrices)}")
        choice_of("weight_bits", bits, WEIGHT_BITS, error=ExportError)
    return {name: int(bits_of.get(name, 16)) for name in matrices}


class QuantizedPopulation(Sequence[QuantController]):
    """P integer controllers of one spec, as ``quantize_many`` makes them; each is built when it is asked for.

    Args:
        own: spec of all, with the formats that inputs and outputs have of their own.
        formats: of each block, and of ``u``, ``y``, ``s`` and ``out``, as a step counts: ``QFormats`` of P.
        theta_q: int32 ``[P, n_params]``.
        ints: what a step needs besides, int64 ``[P, I]``; see the cell's ``ints_q``.

    Example:
        >>> spec = Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.01, input_limits=((-1, 1),))
        >>> population = quantize_many(spec, np.zeros((100, 29)))
        >>> population
        <QuantizedPopulation of 100: elman: 1 input, 4 neurons, 1 output, dt_s 0.01>
        >>> population[7].step_int([100])
        array([0], dtype=int32)

    """

    def __init__(self, own: OwnFormats, formats: Population, theta_q: IntArray, ints: NDArray[np.int64]):
        self.own, self.spec, self.formats, self.theta_q, self.ints = own, own.spec, formats, theta_q, ints

    def __repr__(self) -> str:
        return f"<QuantizedPopulation of {len(self)}: {self.spec.summary()}>"

    def __len__(self) -> int:
        return len(self.theta_q)

    @overload
    def __getitem__(self, index: int) -> QuantController: ...
    @overload
    def __getitem__(self, index: slice) -> list[QuantController]: ...
    def __getitem__(self, index: int | slice) -> QuantController | list[QuantController]:
        """Return a new controller, or a list of them."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return QuantController(self.spec, self._formats_at(place), self.theta_q[place].copy())

    def __iter__(self) -> Iterator[QuantController]:
        return (self[place] for place in range(len(self)))

    def repeat(self, times: int) -> QuantizedPopulation:
        """Return a population in which each controller stands ``times`` times, one behind the other."""
        formats = {name: form.repeat(times) for name, form in self.formats.items()}
        theta_q, ints = np.repeat(self.theta_q, times, axis=0), np.repeat(self.ints, times, axis=0)
        return QuantizedPopulation(self.own, formats, theta_q, ints)

    @property
    def columns(self) -> dict[str, Array]:
        """What lanes are made of, each ``[P, ...]``: theta, ints, start, lowest and highest raw input, last bits."""
        lanes = len(self)
        low, high = input_range(self.spec, self._formats_at(0)["u"])
        return {
            "theta": self.theta_q,
            "ints": self.ints,
            "start": start_states(self.spec, self.theta_q, self.ints),
            "low": np.broadcast_to(low, (lanes, len(low))),
            "high": np.broadcast_to(high, (lanes, len(high))),
            "lsb": self.own.last_bits(self.formats["u"].frac_bits, self.formats["out"].frac_bits),
        }

    def _formats_at(self, place: int) -> Formats:
        return self.own.physical(formats_at(self.formats, place))
