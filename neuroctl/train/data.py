"""Recorded sequences, checked: what goes in, what should come out, and which steps count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import array, cast
from neuroctl.errors import TrainingError
from neuroctl.spec import Spec

Array = NDArray[Any]


@dataclass(frozen=True)
class Sequences:
    """Sequences of one length, time first.

    Args:
        inputs: ``[T, B, m]``.
        targets: ``[T, B, q]``, or ``[0, B, q]`` where nothing is asked for but outputs.
        mask: weight of each step, ``[T, B]``, or None: all count alike.

    """

    inputs: Array
    targets: Array
    mask: Array | None

    @classmethod
    def of_inputs(cls, spec: Spec, inputs: ArrayLike) -> Sequences:
        """Return sequences without targets; inputs and errors are as of ``check``."""
        u = _numbers("inputs", inputs, spec.dtype, ("T", "B", spec.inputs))
        return cls(u, np.empty((0, u.shape[1], spec.outputs), spec.dtype), None)

    @classmethod
    def check(cls, spec: Spec, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None) -> Sequences:
        """Return sequences for a spec, in its dtype.

        Args:
            spec: of the controller.
            inputs: numbers ``[T, B, inputs]``, finite.
            targets: numbers ``[T, B, outputs]``, finite; or classes, integers ``[T, B]``, which become probabilities.
            mask: numbers ``[T, B]`` from 0 on, or booleans. Not all 0.

        Raises:
            TrainingError: another shape or class, or a mask that is not allowed; see ``check_finite`` for the others.

        """
        u = _numbers("inputs", inputs, spec.dtype, ("T", "B", spec.inputs))
        steps, count = u.shape[:2]
        if np.ndim(targets) == 2:
            targets = array("targets", targets, "numbers (T, B, outputs), or classes (T, B)", error=TrainingError)
            targets = _one_hot(targets, spec.outputs) if targets.dtype.kind in "iu" else targets
        y = _numbers("targets", targets, spec.dtype, (steps, count, spec.outputs))
        if mask is None:
            return cls(u, y, None)
        weights = _numbers("mask", mask, spec.dtype, (steps, count))
        _check_finite("mask", weights)
        if (weights < 0).any() or not weights.any():
            raise TrainingError(f"mask: from {weights.min():g} to {weights.max():g}; allowed: >= 0, not all 0")
        return cls(u, y, weights)

    def check_finite(self) -> None:
        """Refuse NaN and Inf. Steps notice them, so only a loss that is not finite asks where they are.

        Raises:
            TrainingError: there is one; names its place.

        """
        _check_finite("inputs", self.inputs)
        _check_finite("targets", self.targets)


def _numbers(name: str, values: ArrayLike, dtype: str, shape: tuple[int | str, ...]) -> Array:
    if type(values) is np.ndarray and values.dtype == dtype and values.flags.c_contiguous and _fits(values, shape):
        return values
    allowed = f"({', '.join(map(str, shape))})"
    numbers = array(name, values, f"numbers {allowed}", error=TrainingError)
    if not _fits(numbers, shape):
        raise TrainingError(f"{name}: shape {numbers.shape}; allowed: {allowed}, none 0")
    return np.ascontiguousarray(cast(numbers, dtype))


def _fits(numbers: Array, shape: tuple[int | str, ...]) -> bool:
    if numbers.shape == shape:
        return True
    return numbers.ndim == len(shape) and all(
        got == size if isinstance(size, int) else got > 0 for size, got in zip(shape, numbers.shape, strict=True)
    )


def _check_finite(name: str, numbers: Array) -> None:
    if not np.isfinite(numbers).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        where = ", ".join(map(str, place))
        raise TrainingError(f"{name}[{where}]: {numbers[place]}; allowed: finite numbers in {numbers.dtype}")


def _one_hot(classes: Array, count: int) -> Array:
    if ((classes < 0) | (classes >= count)).any():
        place = tuple(int(i) for i in np.argwhere((classes < 0) | (classes >= count))[0])
        where = ", ".join(map(str, place))
        raise TrainingError(f"targets[{where}]: class {classes[place]}; allowed: 0 to {count - 1}")
    return np.eye(count)[classes]
