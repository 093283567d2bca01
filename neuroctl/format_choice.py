"""Formats in fixed point: of the inputs, and of ReLU's activations by a search; and which of them are too coarse.

A weight's format follows from the weights and the declared ranges alone: a recording in which a sensor was quiet says
nothing about the weights behind it. So no weight depends on what was recorded, and none of 8 or 16 bits saturates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import integer_of
from neuroctl.cells.base import Formats, formats_at
from neuroctl.cells.fixed.base import FormatOptions
from neuroctl.errors import ExportError, QuantizationWarning, warn
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, widest_frac_bits
from neuroctl.own_formats import OwnFormats, closest_fit, steps_between
from neuroctl.spec import Limits, Spec

Array = NDArray[Any]

LARGEST: Final = float(np.finfo(np.float32).max)  # float64 may hold what overflows in the sums of an analysis
_LARGEST_INPUT: Final = 2.0**45  # of 30 bits to shift an input by, and 15 that it has
_MIN_STEPS: Final = 16
_FEW_STEPS: Final = 256
_GAIN: Final = 0.99
"""Fewer fractional bits are taken as long as more leave no less than this of the error."""
_QUIET: Final = 1 / 128
_SWEEP_STEPS: Final = 200


def input_format(own: OwnFormats, recorded: Array | None) -> QFormat:
    """Return the format in which a step counts inputs: by the declared limits, else by the largest recorded input.

    Raises:
        ExportError: neither is there, or they are too large.

    """
    spec = own.spec
    if spec.scale_inputs:
        largest = 1.0
    elif spec.input_limits is not None:
        largest = check_magnitude("input_limits", spec.input_limits, _LARGEST_INPUT)
    elif recorded is not None:
        largest = check_magnitude("calibration", recorded, _LARGEST_INPUT)
    else:
        raise ExportError("calibration: missing; allowed: recorded inputs (T, inputs), or a spec with input_limits")
    return own.u_format(QFormat(16, widest_frac_bits(largest, 16)))


def check_magnitude(name: str, values: ArrayLike, most: float) -> float:
    """Return the largest magnitude.

    Raises:
        ExportError: it is above ``most``.

    """
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest > most:
        raise ExportError(f"{name}: up to {largest:g}; allowed in fixed point: up to {most:g}")
    return largest


def check_coarse(own: OwnFormats, recorded: Array | None = None, *, allow: bool = False) -> None:
    """Refuse limits, or ranges of recorded inputs, that the formats of a controller tell little apart in between.

    Args:
        own: formats of inputs and outputs; what their spec declares is looked at.
        recorded: inputs ``[T, inputs]`` that tell the inputs' ranges where the spec declares no limits.
        allow: warn only.

    Warns:
        QuantizationWarning: an input or output has fewer than 256 steps between its limits, or, with ``allow``, 16; a
            recorded input without limits has fewer than 16, with ``allow``.

    Raises:
        ExportError: one has fewer than 16; names it, the one that sets a shared format, and the last bit of each.

    """
    for kind, ranges, has_own in _declared(own, recorded):
        if told := _few_steps(kind, ranges, has_own):
            steps, others = told[1:]
            declared = kind == "output" or own.spec.input_limits is not None
            text = f"{kind}_limits: {told[0]}" if declared else f"calibration: {told[0]}"
            if steps < _MIN_STEPS and not allow:
                advice = ("" if kind == "output" else "scale_inputs=True, or ") if declared else "input_limits, or "
                raise ExportError(f"{text}; allowed: at least {_MIN_STEPS} steps, or {advice}allow_coarse=True")
            if declared:
                warn(f"{text}{others}", QuantizationWarning)
            elif steps < _MIN_STEPS:  # how far a sensor moved in a recording is no more than a hint
                warn(f"{text}; declare input_limits", QuantizationWarning)


def warn_coarse(own: OwnFormats) -> None:
    """Warn of an input or output that was given fewer than 16 steps between its limits, as earlier versions may have.

    Args:
        own: formats of inputs and outputs; what their spec declares is looked at.

    Warns:
        QuantizationWarning: an input or output has so few.

    """
    for kind, ranges, has_own in _declared(own):
        if (told := _few_steps(kind, ranges, has_own)) and told[1] < _MIN_STEPS:
            warn(f"{kind}_limits: {told[0]}", QuantizationWarning)


def _declared(own: OwnFormats, recorded: Array | None = None) -> list[tuple[str, Limits, bool]]:
    """Return the known ranges of inputs and of outputs, each with their kind, and whether each has its own format."""
    spec = own.spec
    inputs, outputs = spec.input_limits or (), spec.output_limits or ()
    if recorded is not None and spec.input_limits is None:
        inputs = tuple(zip(recorded.min(axis=0).tolist(), recorded.max(axis=0).tolist(), strict=True))
    if spec.output_activation != "identity":
        least = -1.0 if spec.output_activation == "tanh" else 0.0
        most = math.inf if spec.output_activation == "relu" else 1.0
        outputs = tuple((min(max(least, low), high), min(max(most, low), high)) for low, high in outputs)
    rows = [("output", outputs, bool(own.outputs))]
    return rows if spec.scale_inputs else [("input", inputs, bool(own.inputs)), *rows]


def _few_steps(kind: str, ranges: Limits, has_own: bool) -> tuple[str, float, str] | None:
    """Return what to say of the range with the fewest steps, how many these are, and of others that have few."""
    bits = [closest_fit(limits) for limits in ranges]
    steps = [steps_between(limits, one if has_own else min(bits)) for limits, one in zip(ranges, bits, strict=True)]
    few = [index for index, count in enumerate(steps) if 0 < count < _FEW_STEPS]  # 0: it is constant
    if not few:
        return None
    worst = min(few, key=lambda index: steps[index])
    widest = worst if has_own else bits.index(min(bits))

    def name(index: int) -> str:
        low, high = ranges[index]
        return f"{kind} {index} ({low:.7g} to {high:.7g}, last bit {math.ldexp(1.0, -bits[index]):.2g})"

    text = f"{name(worst)} has {steps[worst]:.3g} steps "
    shared = f"of the format that it shares with {name(widest)}"
    text += "between its limits in fixed point" if worst == widest else shared
    return text, steps[worst], f", and {len(few) - 1} more have fewer than {_FEW_STEPS}" if len(few) > 1 else ""


def search(
    own: OwnFormats,
    theta: Array,
    u_format: QFormat,
    options: FormatOptions,
    recorded: Array,
    reference: Callable[[Array], Array],
    rollout: Callable[[Formats, NDArray[np.int32], Array], Array],
) -> FormatOptions:
    """Return the options with the fractional bits of ReLU's activations that leave the outputs the smallest error.

    All from the worst case's to Q15's are tried, as errors may stay the same for several: as long as the format is so
    coarse that a layer is 0. Of those within 1 % of the smallest error it takes the fewest, which saturate last.

    Args:
        own: the controller's spec, with the formats of its inputs and outputs.
        theta: its parameters ``[n_params]``.
        u_format: in which a step counts inputs.
        options: all others.
        recorded: inputs ``[T, inputs]``; those that hardly moved are swept through their limits in a second run.
        reference: what the float controller makes of inputs from reset.
        rollout: what an integer controller of formats and theta_q makes of them.

    """
    spec = own.spec
    if spec.activation != "relu":
        return options
    runs = [(inputs, reference(inputs)) for inputs in _excited(spec, recorded)]

    def quantized(candidate: FormatOptions) -> tuple[Formats, NDArray[np.int32]]:
        many, theta_q = integer_of(spec).quantize(own.step_spec, own.theta(theta[None]), u_format, candidate)
        return own.physical(formats_at(many, 0)), theta_q[0]

    def error_of(candidate: FormatOptions) -> float:
        try:
            formats, theta_q = quantized(candidate)
            errors = [np.mean((rollout(formats, theta_q, u).astype(np.float64) - truth) ** 2) for u, truth in runs]
        except ExportError:
            return math.inf
        return math.sqrt(float(np.mean(errors)))

    return least_error(options, lambda: quantized(options)[0]["s"].frac_bits, error_of)


def least_error(
    options: FormatOptions, worst: Callable[[], int], error_of: Callable[[FormatOptions], float]
) -> FormatOptions:
    """Return the options with the fractional bits of activations that ``search`` takes.

    ``worst`` tells those of the worst case. Where that fits no word, as in deep networks, all from 0 on are tried.
    """
    try:
        fewest = worst()
    except ExportError:
        fewest = 0
    candidates = [
        dataclasses.replace(options, s_frac_bits=frac_bits) for frac_bits in range(fewest, ACTIVATION_FRAC_BITS + 1)
    ]
    errors = [error_of(candidate) for candidate in candidates]
    enough = min(errors, default=math.inf) / _GAIN
    if math.isinf(enough):
        return options
    return next(one for one, error in zip(candidates, errors, strict=True) if error <= enough)


def _excited(spec: Spec, recorded: Array) -> list[Array]:
    """Return the recording, and a second one in which inputs that were quiet move, if there are such."""
    if spec.input_limits is None:
        return [recorded]
    lows, highs = np.array(spec.input_limits).T
    quiet = np.ptp(recorded, axis=0) < _QUIET * (highs - lows)
    if not quiet.any():
        return [recorded]
    wave = np.abs(2 * (np.arange(len(recorded)) / _SWEEP_STEPS % 1.0) - 1)[:, None]  # a triangle, from high to high
    moved = np.where(quiet, lows + (highs - lows) * wave, recorded)
    return [recorded, np.asarray(moved, recorded.dtype)]
