"""The formats of inputs and outputs: one that all inputs share and one of all outputs, or for each one its own.

An integer step knows one format of inputs and one of outputs. An input with e fractional bits more than that is to the
step an input that is 2^e times as large, and its column of W_in is divided by 2^e before it is quantized; an output's
row of W_out, its b_out and its limits are multiplied. So steps, range proof and C are the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import integer_of, layout
from neuroctl.cells.base import Formats
from neuroctl.errors import LayoutError
from neuroctl.maths.fixed import QFormat, widest_frac_bits
from neuroctl.spec import Limits, Spec

Array = NDArray[Any]

SHARED_STEPS: Final = 4096
"""With fewer steps (12 bits) than these between the limits of one input, or output, each has its own format."""
NORMAL: Final = 15
"""Fractional bits that an integer step counts with where each has its own: of a number whose range is about -1 to 1."""
IO_BITS: Final = 16
OWN_FRAC_BITS: Final = -128
"""What a board tells for the fractional bits of its inputs, or outputs, where each has its own: its CRC covers them."""


@dataclass(frozen=True)
class OwnFormats:
    """Which inputs and outputs of a controller have how many fractional bits of their own.

    Args:
        spec: the controller.
        inputs: fractional bits of each input more than those that the step counts with; empty: all share a format.
        outputs: as ``inputs``, of each output.

    """

    spec: Spec
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()

    @classmethod
    def of_formats(cls, spec: Spec, formats: Formats) -> OwnFormats:
        """Return those of a controller's formats.

        Raises:
            LayoutError: they are of another number of inputs or outputs, or the outputs cannot have their own.

        """
        both = formats["u"].extra, formats["out"].extra
        for name, extra, count in zip(("u", "out"), both, (spec.inputs, spec.outputs), strict=True):
            if extra and len(extra) != count:
                raise LayoutError(f"formats: {name} has {len(extra)} entries; allowed: {count}")
        if both[1] and not scales_outputs(spec):
            raise LayoutError("formats: each output has its own; allowed: with an affine readout, not squashed")
        return cls(spec, *both)

    @cached_property
    def step_spec(self) -> Spec:
        """The spec that the integer step sees: limits of outputs as scaled; those of inputs concern no step."""
        changes: dict[str, Any] = {"input_limits": None} if self.inputs else {}
        if self.outputs and self.spec.output_limits is not None:
            scaled = np.ldexp(np.array(self.spec.output_limits), np.array(self.outputs)[:, None])
            changes["output_limits"] = tuple(map(tuple, scaled.tolist()))
        return replace(self.spec, **changes) if changes else self.spec

    def u_format(self, shared: QFormat) -> QFormat:
        """Return the format in which the step counts inputs; ``shared`` is that without formats of their own."""
        return QFormat(IO_BITS, NORMAL) if self.inputs else shared

    def last_bits(self, u_frac_bits: ArrayLike, out_frac_bits: ArrayLike) -> NDArray[np.float64]:
        """Return the value of the last bit of each input, then of each output, ``[..., inputs + outputs]``.

        ``u_frac_bits`` and ``out_frac_bits`` ``[...]`` are those that the step counts with.
        """
        inputs = np.expand_dims(u_frac_bits, -1) + np.array(self.inputs or (0,) * self.spec.inputs, np.int64)
        outputs = np.expand_dims(out_frac_bits, -1) + np.array(self.outputs or (0,) * self.spec.outputs, np.int64)
        lsbs: NDArray[np.float64] = np.ldexp(1.0, -np.concatenate([inputs, outputs], axis=-1))
        return lsbs

    def theta(self, theta: Array) -> Array:
        """Return parameters ``[..., n_params]`` as the integer step sees them."""
        if not self._extras:
            return theta
        scaled = theta.astype(np.float64)
        for name, block in layout(self.spec).rows(scaled).items():
            if name in self._extras:
                block[:] = np.ldexp(block, self._extras[name])
        return scaled

    def physical(self, formats: Formats) -> Formats:
        """Return the formats of physical numbers, of those that the step counts with."""
        extras = {name: _nested(extra.tolist()) for name, extra in self._extras.items()}
        return {name: QFormat(form.bits, form.frac_bits, extras.get(name, ())) for name, form in formats.items()}

    @cached_property
    def _extras(self) -> Mapping[str, NDArray[np.int64]]:
        """Fractional bits of each block's entries beyond those of the step; they go with the block's axes."""
        extra = {axis: np.array(bits) for axis, bits in (("u", self.inputs), ("y", self.outputs)) if bits}
        blocks: dict[str, NDArray[np.int64]] = {}
        for name, (rows, *columns) in integer_of(self.spec).io_axes(self.spec).items():
            if rows in extra:
                blocks[name] = extra[rows][:, None] if columns else extra[rows]
            if columns and columns[0] in extra:
                blocks[name] = blocks.get(name, 0) - extra[columns[0]][None]
        return blocks


def _nested(entries: Any) -> Any:
    return tuple(map(_nested, entries)) if isinstance(entries, list) else entries


@lru_cache(maxsize=64)
def own_formats(spec: Spec, *, shared: bool = False, output_ranges: Limits = ()) -> OwnFormats:
    """Return the formats that each input and each output has by its declared limits, if sharing one loses too much.

    Args:
        spec: the controller.
        shared: all share one, whatever it loses.
        output_ranges: of the outputs where the spec declares no limits.

    """
    if shared:
        return OwnFormats(spec)
    inputs = () if spec.scale_inputs else _extra_bits(spec.input_limits or ())
    return OwnFormats(spec, inputs, _extra_bits(spec.output_limits or output_ranges) if scales_outputs(spec) else ())


def scales_outputs(spec: Spec) -> bool:
    """Whether weights can scale each output: they are sums, and nothing comes between these and the limits."""
    return spec.readout == "affine" and spec.output_activation in ("identity", "relu")


def closest_fit(limits: tuple[float, float]) -> int:
    """Return the most fractional bits that hold what lies between limits."""
    return int(widest_frac_bits(max(map(abs, limits)), IO_BITS))


def steps_between(limits: tuple[float, float], frac_bits: int) -> float:
    """Return the number of steps between limits in a format."""
    return float(np.ldexp(limits[1] - limits[0], frac_bits))


def _extra_bits(ranges: Limits) -> tuple[int, ...]:
    each = [closest_fit(limits) for limits in ranges]
    shared = min(each, default=0)
    lost = any(
        bits > shared and 0 < steps_between(limits, shared) < SHARED_STEPS
        for bits, limits in zip(each, ranges, strict=True)
    )
    return tuple(bits - NORMAL for bits in each) if lost else ()
