"""Gradients of integer controllers: forward by the step that generated C equals bit for bit, back by the float adjoint.

The way back takes the numbers that the integers stand for, and every rounding for a line of slope 1 (the
straight-through estimator: Y. Bengio, N. Leonard, A. Courville, "Estimating or propagating gradients through
stochastic neurons for conditional computation", arXiv 1308.3432, 2013, section 3). Parameters stay floats, and are
quantized anew for each pass.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.blocks import aligned
from neuroctl.cells import adjoint_of, integer_of
from neuroctl.cells.base import SCALES, formats_at, input_map
from neuroctl.cells.fixed.base import FormatOptions
from neuroctl.errors import ExportError, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.format_choice import input_format, least_error
from neuroctl.maths.fixed import QFormat
from neuroctl.maths.packs import INT32
from neuroctl.own_formats import own_formats
from neuroctl.quant import format_options
from neuroctl.quant_controller import QuantController, input_range, start_states
from neuroctl.spec import Spec
from neuroctl.train.blocks import Block, Key
from neuroctl.train.engine import Engine, Pass
from neuroctl.train.kernel import integer_gradient_kernel
from neuroctl.train.output_scale import OutputScale
from neuroctl.train.places import Places

Array = NDArray[Any]


@dataclass(frozen=True)
class Integers:
    """An integer controller as kernels take it.

    Args:
        theta: what theta_q stands for, ``[n_params]`` in the spec's dtype; what has no format of its own is as given.
        start: state after reset, int32 ``[S]``.
        model: theta_q, ints, the inputs' offsets, gains, lows and highs, the last bits of inputs and of each piece,
            and the outputs' gains and offsets.
        pieces: of the tape, ``[N, 4]``: row in the state, row in the tape, number of rows, 1 to add to what is there.
        floats: of the adjoint: those of the float step, with the outputs' limits as they are in integers.

    """

    theta: Array
    start: Array
    model: tuple[Any, ...]
    pieces: Array
    floats: Array


class FixedPoint:
    """How the parameters of a spec become integers.

    Args:
        spec: of the controllers.
        config: storage.
        recorded: inputs ``[N, inputs]``, which tell their range where the spec does not; None with input limits.
        places: of the adjoint.
        scale: parameters, and the outputs that kernels give, are in units of the outputs' ranges, and the integer
            controller in physical units; None: they are in the same.

    Raises:
        ExportError: neither limits nor recorded inputs, or the spec has no fixed-point form.

    """

    def __init__(
        self, spec: Spec, config: FixedPointConfig, recorded: Array | None, places: Places,
        scale: OutputScale | None = None,
    ):  # fmt: skip
        self.spec, self._form, self._places, self._scale = spec, integer_of(spec), places, scale
        self.options = format_options(spec, config.weight_bits, config.state_bits)
        ranges = () if scale is None else scale.ranges
        self._own = own_formats(spec, shared=config.shared_formats, output_ranges=ranges)
        self._u_format = input_format(self._own, recorded)
        self._low, self._high = input_range(spec, self._own.physical({"u": self._u_format})["u"])
        self.words = self._form.state_layout_q(spec)

    def _physical(self, theta: Array) -> Array:
        return theta if self._scale is None else self._scale.physical(self.spec, theta).astype(theta.dtype)

    def _quantized(self, theta: Array) -> tuple[Any, Array]:
        seen = self._own.theta(self._physical(theta)[None])
        return self._form.quantize(self._own.step_spec, seen, self._u_format, self.options)

    def controller(self, theta: Array) -> QuantController:
        """Return the integer controller of parameters.

        Raises:
            ExportError: a range is too wide for 32 bits.

        """
        formats, theta_q = self._quantized(theta)
        return QuantController(self.spec, self._own.physical(formats_at(formats, 0)), theta_q[0])

    def refine(self, theta: Array, error: Callable[[], float]) -> None:
        """Choose the format of ReLU's activations by an error, as ``format_choice.search`` does."""
        widest = dataclasses.replace(self.options, s_frac_bits=None)

        def error_of(candidate: FormatOptions) -> float:
            self.options = candidate
            try:
                return error()
            except ExportError:
                return math.inf

        def worst() -> int:
            self.options = widest
            return int(self._quantized(theta)[0]["s"].frac_bits[0])

        self.options = least_error(widest, worst, error_of)

    def integers(self, theta: Array) -> Integers:
        """Return what kernels take of the integer controller of parameters.

        Raises:
            ExportError: a range is too wide for the words.

        """
        many, rows = self._quantized(theta)
        formats, theta_q = self._own.physical(formats_at(many, 0)), rows[0]
        ints = self._form.ints_q(self._own.step_spec, many)
        meant, stored = self._physical(theta.copy()), self._places.params.views(theta_q)
        for name, block in self._places.params.views(meant).items():
            if name in formats:
                block[:] = formats[name].dequantize(stored[name])
        last_bits = self._own.last_bits(formats["u"].frac_bits, formats["out"].frac_bits)
        pieces, lsbs = self._taped(formats)
        gains, offsets = last_bits[self.spec.inputs :], np.zeros(self.spec.outputs)
        if self._scale is not None:
            meant = self._scale.scaled(self.spec, meant).astype(theta.dtype)
            gains, offsets = gains / self._scale.half, -self._scale.middle / self._scale.half
        (offset, gain), u_lsb = input_map(self.spec), 2.0 ** -formats["u"].frac_bits
        gain = gain * (u_lsb / last_bits[: self.spec.inputs])
        bits = np.array([u_lsb, *lsbs])
        model = (theta_q, ints[0], offset, gain, self._low, self._high, bits, gains, offsets)
        return Integers(meant, start_states(self.spec, rows, ints)[0], model, pieces, self._floats(formats["out"]))

    def _taped(self, formats: Any) -> tuple[Array, list[float]]:
        """Return the tape's pieces and their last bits; raw inputs and outputs stand behind the state."""
        tape, size = self._places.tape, self.words.size
        whole: list[tuple[int, Any, int, QFormat]] = []
        blocks = self._form.tape_q(self.spec)
        for name in adjoint_of(self.spec).tape(self.spec):
            for added, (source, form) in enumerate(blocks[name]):
                whole.append((self.words[source].offset, tape[name], min(added, 1), formats[form]))
        whole += [(size, tape["u"], 0, formats["u"]), (size + self.spec.inputs, tape["held"], 0, formats["out"])]
        pieces, lsbs = [], []
        for start, block, added, stored in whole:
            parts = block.size if stored.extra else 1  # rows that have formats of their own are a piece each
            rows = block.size // parts
            pieces += [(start + k, block.offset + k, rows, added) for k in range(parts)]
            lsbs += np.atleast_1d(stored.lsb).tolist()
        return np.array(pieces), lsbs

    def _floats(self, out: Any) -> Array:
        """Return the step's floats; an output at what is the limit in integers does not change."""
        floats, q = self._places.floats.copy(), self.spec.outputs
        low = SCALES + 2 * self.spec.inputs
        ends = floats[low : low + 2 * q].astype(np.float64).reshape(2, q)
        floats[low : low + 2 * q] = out.dequantize(out.quantize(ends)).ravel()
        return floats


class IntegerBlock(Block):
    """A block that steps integer controllers: R packs of 16 lanes ``[R, rows, 16]``, with raw inputs and outputs.

    Arguments are as of ``Block``; ``words`` is the size of the integer state.
    """

    def __init__(self, spec: Spec, places: Places, key: Key, segment: int, words: int):
        super().__init__(spec, places, key, segment)
        packs = self.losses.size // INT32.width
        shape = packs, words + spec.inputs + spec.outputs, INT32.width
        self.stepped = aligned(shape, np.int32)
        self.checkpoints = aligned((len(self.checkpoints), *shape), np.int32)
        self.rows = tuple(array.reshape(*array.shape[:-2], packs, -1) for array in (self.u, self.out, self.tape))


class IntegerPass(Pass):
    """One pass that steps in integers."""

    engine: IntegerEngine

    def __init__(self, engine: IntegerEngine, theta: Array, *arguments: Any):
        super().__init__(engine, theta, *arguments)
        if self.own:
            raise TrainingError(f"theta: shape {theta.shape}; allowed in fixed point: ({len(theta)},)")
        self.data.check_inputs()
        self.integers = engine.fixed.integers(theta)
        self.size = self.integers.start.size
        if self.details:
            self.final = np.empty((self.size, self.lanes), np.int32)

    def _step(self, block: Any, code: int) -> None:
        its = self.integers
        block.stepped[:, : self.size] = its.start[:, None]
        self.engine.kernel.run(
            code, its.theta, *its.model, *block.rows, *block.arguments(its.pieces, its.floats, self.sums)
        )

    def _final(self, block: Block, count: int) -> Array:
        words: Array = block.stepped[:, : self.size].swapaxes(0, 1).reshape(self.size, -1)
        return words[:, :count]


class IntegerEngine(Engine):
    """Runs sequences through integer controllers on the CPU; arguments as of ``Engine``, and how they become such."""

    form = IntegerPass

    def __init__(self, spec: Spec, places: Places, threads: int | None, segment: int | None, fixed: FixedPoint):
        self.fixed = fixed
        super().__init__(spec, places, threads, segment, None)

    def _kernel(self) -> Any:
        return integer_gradient_kernel(self.spec)

    def _block(self, key: Key) -> Block:
        return IntegerBlock(self.spec, self.places, key, self.steps_kept(key.steps), self.fixed.words.size)
