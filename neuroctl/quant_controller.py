"""The integer controller: what the microcontroller computes, bit for bit."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import cell_of, initial_blocks, integer_of
from neuroctl.cells.base import Bounds, Formats, Population, Ranges, input_map, prepare_nothing_q
from neuroctl.cells.fixed.base import refuse
from neuroctl.cells.fixed.narrow import closest_frac_bits, is_narrow
from neuroctl.cells.fixed.state_words import StateWords, state_words
from neuroctl.checks import array
from neuroctl.controller_inputs import accepted, raw, sequence
from neuroctl.controller_inputs import recorded as _recorded
from neuroctl.copying import Rebuilt
from neuroctl.errors import ExportError, FileFormatError, LayoutError, NeuroctlError
from neuroctl.format_choice import warn_coarse
from neuroctl.format_fields import check_fits, format_from_field, formats_as_fields
from neuroctl.io import Archive, canonical_json, notes_from, notes_of, write_archive
from neuroctl.maths.fixed import QFormat, QFormats, clip_in_place, dequantize_into, quantize_into
from neuroctl.own_formats import OwnFormats
from neuroctl.spec import Spec

Array = NDArray[Any]
IntArray = NDArray[np.int32]

LIMIT: Final = 1 << 30
"""What every intermediate of an integer step stays below in magnitude: see ``prove``."""
_CODES: Final = {"int16": "i2", "uint16": "u2", "int32": "i4"}


class QuantController(Rebuilt):
    """A fixed-point controller: the same ``reset``, ``step`` and ``rollout`` as ``Controller``, in integers inside.

    ``step_int`` is the definition that generated C equals bit for bit. Construct it with ``Controller.quantize``.

    Args:
        spec: the controller.
        formats: format of each block of theta, and of ``u`` (inputs), ``y`` (state), ``s`` and ``out``. Where ``u`` or
            ``out`` has ``extra`` bits, each input or output has its own, and blocks of weights follow from them.
        theta_q: int32 ``[n_params]``, theta's layout.
        calibration: recorded inputs ``[T, inputs]`` in physical units, or None.
        meta: notes of plain JSON types, as of ``Controller``.

    Raises:
        ExportError: the interval analysis cannot prove that 32 bits hold every intermediate.
        FileFormatError: meta is no mapping.

    Example:
        >>> from neuroctl import Controller
        >>> spec = Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.01, input_limits=((-1, 1),))
        >>> q = Controller(spec, np.zeros(29)).quantize()
        >>> q
        <QuantController elman: 1 input, 4 neurons, 1 output, dt_s 0.01, 29 parameters, fixed point>
        >>> q.step_int([100])
        array([0], dtype=int32)

    """

    __slots__ = (
        "_spec", "layout", "state_layout", "_formats", "_theta", "_bounds", "calibration", "_words", "_ints",
        "_start", "_u", "_ui", "_yi", "_y", "_spare_state", "_spare_yi", "_spare_y", "_step", "_rollout", "_offset",
        "_gain", "_u_low", "_u_high", "_u_lsb", "_y_lsb", "_own", "_meta",
    )  # fmt: skip
    _made_of = ("_spec", "_formats", "_theta", "calibration", "_meta", "_state")

    def __init__(
        self, spec: Spec, formats: Formats, theta_q: IntArray, calibration: Array | None = None, *,
        meta: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self._build(spec, formats, _whole_theta(spec, theta_q), calibration, notes_from(meta))

    def _build(
        self, spec: Spec, formats: Formats, theta_q: IntArray, calibration: Array | None, meta: dict[str, Any]
    ) -> None:
        """Take theta as it is, and make all that follows from it."""
        cell = integer_of(spec)
        self._spec, self._meta = spec, meta
        self.layout = cell_of(spec).layout(spec)
        self.state_layout = cell.state_layout_q(spec)
        self._own = OwnFormats.of_formats(spec, formats)
        self._formats = dict(self._own.physical(formats))
        self._theta = theta_q
        alone, rows, seen = _population_of_one(formats), self._theta[None], self._own.step_spec
        ints = cell.ints_q(seen, alone)
        self._ints: NDArray[np.int64] = ints[0]
        self._bounds = _bounds_at(prove(cell.ranges_q(seen, alone, rows, ints)), 0)
        self.calibration = calibration
        self._words = state_words(seen, formats, theta_q, self._bounds)
        self._start: IntArray = start_states(spec, rows, ints)[0]
        self._state = self._start.copy()
        self._u = np.zeros(spec.inputs, spec.dtype)
        self._ui = np.zeros(spec.inputs, np.int32)
        self._yi = np.zeros(spec.outputs, np.int32)
        self._y = np.zeros(spec.outputs, spec.dtype)
        self._spare_state, self._spare_yi, self._spare_y = self._state.copy(), self._yi.copy(), self._y.copy()
        self._step, self._rollout = cell.step_q, cell.rollout_q
        self._offset, self._gain = input_map(spec)
        self._u_low, self._u_high = input_range(spec, formats["u"])
        lsbs = self._own.last_bits(formats["u"].frac_bits, formats["out"].frac_bits)
        self._u_lsb, self._y_lsb = 2.0 ** -formats["u"].frac_bits, lsbs[spec.inputs :]
        self._gain = self._gain * (self._u_lsb / lsbs[: spec.inputs])  # powers of two, so nothing is rounded
        self.step(np.zeros(spec.inputs, spec.dtype))  # compile, or load from the cache, now
        clip_in_place(self._ui, self._u_low, self._u_high)
        self.reset()

    def __repr__(self) -> str:
        return f"<QuantController {self._spec.summary()}, {self.layout.size} parameters, fixed point>"

    @property
    def spec(self) -> Spec:
        """Topology and time base."""
        return self._spec

    @property
    def meta(self) -> dict[str, Any]:
        """Notes of plain JSON types; writable in place. ``save`` stores them; the model's CRC-32 is without them."""
        return self._meta

    @property
    def formats(self) -> Mapping[str, QFormat]:
        """Format of each block of theta, and of ``u`` (inputs), ``y`` (state), ``s`` (activations) and ``out``."""
        return MappingProxyType(self._formats)

    @property
    def own_formats(self) -> OwnFormats:
        """Which inputs and outputs have formats of their own."""
        return self._own

    @property
    def theta_q(self) -> IntArray:
        """Integer parameters int32 ``[n_params]`` in theta's layout; a tau's slot holds dt/tau, see the cell."""
        return self._theta

    @property
    def state(self) -> IntArray:
        """Integer state int32, see ``state_layout``; CTRNN: ``state[:neurons]`` is y, then s."""
        return self._state

    @property
    def state_words(self) -> tuple[StateWords, ...]:
        """The parts of ``state`` that persist from step to step, in C's order; the rest is scratch."""
        return self._words

    def state_bytes(self) -> bytes:
        """Return what outlives a step of the state: C's words in C's order, little-endian, without gaps."""
        return b"".join(
            self._state[part.start : part.start + part.words].astype(f"<{_CODES[part.storage]}").tobytes()
            for part in self._words
        )

    def set_state_bytes(self, data: bytes) -> None:
        """Go on from what ``state_bytes`` returned, here or on a board of the same model.

        Raises:
            LayoutError: it is of another length, or has a word beyond what steps lead to, as after a reset of another
                model. The state is untouched.

        """
        size = sum(int(_CODES[part.storage][1:]) * part.words for part in self._words)
        if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) != size:
            got = f"{len(data)} bytes" if isinstance(data, (bytes, bytearray)) else type(data).__name__
            raise LayoutError(f"state: {got}; allowed: {size} bytes")
        at, state = 0, self._state.copy()
        for part in self._words:
            words = np.frombuffer(data, f"<{_CODES[part.storage]}", part.words, at)
            bad = (words < part.low) | (words > part.high)
            if bad.any():
                i = int(np.argmax(bad))
                raise LayoutError(f"state: {part.name}[{i}] is {words[i]}; allowed: {part.low} to {part.high}")
            state[part.start : part.start + part.words] = words
            at += words.nbytes
        self._state[:] = state

    @property
    def ints(self) -> NDArray[np.int64]:
        """Sizes, shifts and limits that the integer step uses; see the cell's ``ints_q``."""
        return self._ints

    @property
    def conversion(self) -> tuple[Any, ...]:
        """Arguments of ``quantize_into`` (offset, gain, lsb, low, high) and of ``dequantize_into`` (lsb).

        Where each input has a format of its own, the gain includes what it has more than the lsb says.
        """
        return (self._offset, self._gain, self._u_lsb, self._u_low, self._u_high, self._y_lsb)

    @property
    def last_bits(self) -> NDArray[np.float64]:
        """Value of the last bit of each input, then of each output, float64 ``[inputs + outputs]``."""
        return self._own.last_bits(self._formats["u"].frac_bits, self._formats["out"].frac_bits)

    @property
    def input_range(self) -> tuple[IntArray, IntArray]:
        """Lowest and highest raw inputs int32 ``[inputs]``: the declared limits, else what int16 holds."""
        return self._u_low, self._u_high

    @property
    def start(self) -> IntArray:
        """State after reset, int32, as ``state``."""
        return self._start

    @property
    def bounds(self) -> Bounds:
        """Proven range (low, high) of every intermediate of a step."""
        return self._bounds

    @property
    def fault(self) -> bool:
        """Always False: integers know no NaN; ``quantize_input`` turns NaN into 0 and saturates the rest."""
        return False

    @property
    def model_crc32(self) -> int:
        """CRC-32 over spec, formats and integer parameters: equal for equal firmware."""
        header = canonical_json(self.fields)
        return zlib.crc32(self._theta.astype("<i4").tobytes(), zlib.crc32(header))

    @property
    def fields(self) -> dict[str, Any]:
        """Spec and formats as JSON has them: with theta_q all that makes the controller."""
        return {"spec": self._spec.to_dict(), "formats": formats_as_fields(self._formats)}

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays of its files: ``theta_q``, and ``calibration`` where there is one."""
        recorded = {} if self.calibration is None else {"calibration": self.calibration}
        return {"theta_q": self._theta, **recorded}

    def requantize(self, theta: ArrayLike) -> QuantController:
        """Return the integer controller of other parameters in the formats of this one.

        It differs from this one in numbers alone, so that a board that runs this one can be given the other's.

        Args:
            theta: float parameters ``[n_params]``, laid out as this one's.

        Raises:
            ExportError: a parameter does not fit its format, or with them 32 bits are not proven to suffice.
            LayoutError: theta has the wrong length, or holds NaN, Inf or what the spec does not allow.

        """
        flat = self._own.theta(self.layout.coerce(theta, self._spec.dtype))
        for name, values in self.layout.views(flat.astype(np.float64)).items():
            bounded = math.isfinite(self.layout[name].high)  # within what its format holds, or a rounding beyond
            if name in self._formats and not bounded:
                _check_holds(name, self._formats[name], values)
        cell = integer_of(self._spec)
        theta_q = cell.quantize_theta(self._own.step_spec, flat[None], _population_of_one(self._formats))[0]
        return QuantController(self._spec, self._formats, theta_q, self.calibration, meta=self._meta)

    def reset(self) -> None:
        """Set the whole state to its start."""
        self._state[:] = self._start

    def quantize_input(self, u: ArrayLike) -> IntArray:
        """Physical inputs ``[..., inputs]`` to int32; half up, saturating at the declared range; NaN gives 0."""
        numbers = array("u", u, f"numbers of shape (..., {self._spec.inputs})")
        if numbers.shape[-1:] != (self._spec.inputs,):
            raise LayoutError(f"u: shape {numbers.shape}; allowed: numbers of shape (..., {self._spec.inputs})")
        return np.clip(self._formats["u"].quantize(_seen(self._spec, numbers)), self._u_low, self._u_high).astype(
            np.int32
        )

    def dequantize_output(self, y: ArrayLike) -> Array:
        """Integer outputs ``[..., outputs]`` to physical units in the spec's dtype."""
        numbers = array("y", y, f"numbers of shape (..., {self._spec.outputs})")
        if numbers.shape[-1:] != (self._spec.outputs,):
            raise LayoutError(f"y: shape {numbers.shape}; allowed: numbers of shape (..., {self._spec.outputs})")
        return self._formats["out"].dequantize(numbers).astype(self._spec.dtype)

    def step(self, u: ArrayLike) -> Array:
        """Advance one time step on physical inputs ``[inputs]``; returns the controller's own output buffer.

        NaN counts as 0, Inf as the limit on its side. What is no C-contiguous array in the spec's dtype is converted to
        that first, as by ``Controller.step``.

        Raises:
            LayoutError: u has the wrong shape, holds no numbers or masked entries. The state is untouched.

        Warns:
            SlowInputWarning: once for a process, if u has to be converted.

        """
        if type(u) is not ndarray or u.shape != self._ui.shape or u.dtype != self._y.dtype or not u.flags.carray:
            u = accepted(u, self._u)
        quantize_into(u, self._offset, self._gain, self._u_lsb, self._u_low, self._u_high, self._ui)
        self._step(self._theta, self._state, self._ui, self._yi, self._ints)
        dequantize_into(self._yi, self._y_lsb, self._y)
        return self._y

    def warm_up(self, u: Array) -> None:
        """Do what ``step(u)`` would on copies of state and outputs; see ``Controller.warm_up``.

        Raises:
            LayoutError: as ``step``.

        """
        self._spare_state[:] = self._state
        if not isinstance(u, np.ndarray) or u.shape != self._ui.shape or u.dtype != self._y.dtype or not u.flags.carray:
            u = accepted(u, self._u)
        quantize_into(u, self._offset, self._gain, self._u_lsb, self._u_low, self._u_high, self._ui)
        self._step(self._theta, self._spare_state, self._ui, self._spare_yi, self._ints)
        dequantize_into(self._spare_yi, self._y_lsb, self._spare_y)

    def step_int(self, u: ArrayLike) -> IntArray:
        """Advance one time step on raw integers.

        Args:
            u: int32 ``[inputs]`` in the format ``"u"``; clipped into ``input_range``, as in C. Lists and other
                integers are converted first.

        Returns:
            Outputs int32 ``[outputs]`` in the format ``"out"``: the controller's own buffer.

        Raises:
            LayoutError: u has the wrong shape, holds no integers or masked entries. The state is untouched.

        """
        if type(u) is not ndarray or u.dtype != np.int32 or u.shape != self._ui.shape:
            u = raw(u, *self._ui.shape)
        self._ui[:] = u
        clip_in_place(self._ui, self._u_low, self._u_high)
        self._step(self._theta, self._state, self._ui, self._yi, self._ints)
        return self._yi

    def rollout(self, inputs: ArrayLike) -> Array:
        """Step through physical inputs ``[T, inputs]``, going on from the current state; returns ``[T, outputs]``.

        NaN and Inf count as in ``step``.

        Raises:
            LayoutError: wrong shape, or not numbers.

        """
        u = sequence(inputs, np.float64, self._spec.inputs)
        return self.dequantize_output(self.rollout_int(self.quantize_input(u)))

    def rollout_int(self, u: ArrayLike) -> IntArray:
        """Step through raw inputs int32 ``[T, inputs]``, taken as in ``step_int``; returns int32 ``[T, outputs]``.

        Raises:
            LayoutError: u has the wrong shape, holds no integers or masked entries.

        """
        whole = raw(u, "T", self._spec.inputs)
        y = np.empty((len(whole), self._spec.outputs), np.int32)
        clipped = np.require(np.clip(whole, self._u_low, self._u_high), requirements=["C", "A", "W"])
        self._rollout(self._theta, self._state, clipped, y, self._ints)
        return y

    def save(self, path: str | os.PathLike[str], *, meta: Mapping[str, Any] | None = None) -> None:
        """Write the integer controller (not its state) to an ``.npz`` file.

        Args:
            path: where to; an existing file is replaced atomically.
            meta: notes of plain JSON types instead of the controller's own.

        Raises:
            FileFormatError: it cannot be written.

        """
        notes = notes_from(self._meta if meta is None else meta, path)
        stored = {"meta": notes} if notes or meta is not None else {}
        write_archive(path, "quant", self.fields | stored, self.arrays)

    @classmethod
    def from_archive(cls, archive: Archive, path: str | os.PathLike[str]) -> QuantController:
        """Build the controller that an archive holds; its bounds are proven again.

        Raises:
            FileFormatError: a field or an array is missing or bad.

        """
        try:
            spec = Spec.from_dict(archive.fields["spec"])
            formats = {name: format_from_field(name, pair) for name, pair in archive.fields["formats"].items()}
            theta_q = archive.arrays["theta_q"]
            size = cell_of(spec).layout(spec).size
            if theta_q.dtype != np.int32 or theta_q.shape != (size,):
                raise LayoutError(f"theta_q: {theta_q.dtype} of shape {theta_q.shape}; allowed: int32 ({size},)")
            for name, block in cell_of(spec).layout(spec).blocks.items():
                check_fits(name, theta_q[block.part], formats.get(name))
            calibration = archive.arrays.get("calibration")
            recorded = None if calibration is None else _recorded(calibration, spec.inputs)
            q = cls(spec, formats, theta_q, recorded, meta=notes_of(archive, path))
        except KeyError as error:
            raise FileFormatError(f"{os.fspath(path)}: {error.args[0]} is missing") from None
        except (NeuroctlError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
            raise FileFormatError(f"{os.fspath(path)}: {error}") from None
        warn_coarse(q.own_formats)
        return q


def _whole_theta(spec: Spec, theta_q: object) -> IntArray:
    """Return integer parameters as int32; compiled code takes the length on trust."""
    size = cell_of(spec).layout(spec).size
    integers = array("theta_q", theta_q, f"{size} integers")
    if integers.dtype.kind not in "iu" or integers.shape != (size,):
        raise LayoutError(f"theta_q: {integers.dtype} of shape {integers.shape}; allowed: int32 ({size},)")
    return np.ascontiguousarray(integers, dtype=np.int32)


def _check_holds(name: str, form: QFormat, values: NDArray[np.float64]) -> None:
    """Check that a block, as a step sees it, fits its format; few bits saturate, as far as their closest format does.

    Raises:
        ExportError: it does not.

    """
    scaled = np.floor(np.ldexp(values, form.frac_bits) + 0.5)
    if form.low <= scaled.min() and scaled.max() <= form.high:
        return
    largest = np.abs(values).max()
    if not is_narrow(form.bits):
        raise ExportError(f"{name}: up to {largest:g}; allowed in its format: {form.high * 2.0**-form.frac_bits:g}")
    closest = int(closest_frac_bits(values[None], form.bits)[0])
    if closest < form.frac_bits:
        bits = f"{form.bits} bits with {closest} of them fractional are closest to"
        raise ExportError(f"{name}: up to {largest:g}, which {bits}; allowed in its format: {form.frac_bits} and more")


def prove(ranges: Ranges) -> Ranges:
    """Return the ranges if 32-bit arithmetic holds them all.

    The terms that enter a multiplication by a 16-bit mantissa, and those that a rounding shift adds half a unit
    to, have to stay below 2^30; so the one limit is 2^30.

    Raises:
        ExportError: one may overflow; names it, its bound and what to change.

    """
    reaches = {name: np.maximum(-low, high) for name, (low, high) in ranges.items()}
    if not (np.array(list(reaches.values())) < LIMIT).all():
        for name, reach in reaches.items():
            refuse(reach >= LIMIT, lambda at: _too_far(name, int(reach[at])))  # noqa: B023 - called at once
    return ranges


def _too_far(name: str, reach: int) -> str:
    return f"{name}: can reach {reach}; allowed: below 2^30; narrow its weights or inputs"


def start_states(spec: Spec, theta_q: IntArray, ints: NDArray[np.int64]) -> IntArray:
    """Return the states after reset of P controllers, int32 ``[P, S]``: 0 or as learned, and what follows from it."""
    form, blocks = integer_of(spec), cell_of(spec).layout(spec)
    words = form.state_layout_q(spec)
    states = np.zeros((len(theta_q), words.size), np.int32)
    for name, source in initial_blocks(spec).items():
        ((block, _),) = form.tape_q(spec)[name]
        states[:, words[block].part] = theta_q[:, blocks[source].part]
    if form.prepare_q is not prepare_nothing_q:
        for theta, state, numbers in zip(theta_q, states, ints, strict=True):
            form.prepare_q(theta, state, numbers)
    return states


def input_range(spec: Spec, u: QFormat) -> tuple[IntArray, IntArray]:
    """Return the lowest and highest raw inputs int32 ``[inputs]``: the declared limits, else what int16 holds."""
    if spec.input_limits is None:
        return np.full(spec.inputs, u.low, np.int32), np.full(spec.inputs, u.high, np.int32)
    lows, highs = zip(*spec.input_limits, strict=True)
    return u.quantize(_seen(spec, lows)), u.quantize(_seen(spec, highs))


def output_range(spec: Spec, out: QFormat) -> tuple[IntArray, IntArray]:
    """Return the lowest and highest raw outputs int32 ``[outputs]``: the declared limits, else what int16 holds."""
    if spec.output_limits is None:
        return np.full(spec.outputs, out.low, np.int32), np.full(spec.outputs, out.high, np.int32)
    lows, highs = zip(*spec.output_limits, strict=True)
    return out.quantize(lows), out.quantize(highs)


def _seen(spec: Spec, u: ArrayLike) -> NDArray[np.float64]:
    """Return physical inputs as the network sees them: scaled, if the spec asks for it."""
    offset, gain = input_map(spec)
    with np.errstate(over="ignore"):  # Inf, which saturates, as a huge number would
        return (np.asarray(u, np.float64) - offset) * gain


def _population_of_one(formats: Formats) -> Population:
    return {name: QFormats(form.bits, np.array([form.frac_bits])) for name, form in formats.items()}


def _bounds_at(ranges: Ranges, index: int) -> Bounds:
    return MappingProxyType({name: (int(low[index]), int(high[index])) for name, (low, high) in ranges.items()})
