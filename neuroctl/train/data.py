"""Recorded sequences, checked: what goes in, what should come out, and which steps count."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        resets: 1 where an episode begins at a step, else 0, ``[T, B]``; or None: nowhere but where sequences do.

    """

    inputs: Array
    targets: Array
    mask: Array | None
    resets: Array | None = None

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
            targets: numbers ``[T, B, outputs]``, finite; or classes, integers ``[T, B]``, or ``[B]`` for all steps of a
                sequence, which become probabilities.
            mask: numbers ``[T, B]`` from 0 on, or booleans. Not all 0.

        Raises:
            TrainingError: another shape or class, a list of arrays, or a mask that is not allowed; see
                ``check_finite`` for the others.

        """
        u = _numbers("inputs", inputs, spec.dtype, ("T", "B", spec.inputs))
        steps, count = u.shape[:2]
        if type(targets) is not np.ndarray or targets.ndim != 3:
            targets = _targets(targets, steps, count, spec.outputs)
        y = _numbers("targets", targets, spec.dtype, (steps, count, spec.outputs))
        if mask is None:
            return cls(u, y, None)
        weights = _numbers("mask", mask, spec.dtype, (steps, count))
        _check_finite("mask", weights)
        if (weights < 0).any() or not weights.any():
            raise TrainingError(f"mask: from {weights.min():g} to {weights.max():g}; allowed: >= 0, not all 0")
        return cls(u, y, weights)

    def with_resets(self, resets: ArrayLike | None) -> Sequences:
        """Return these sequences with episodes that begin within them.

        Args:
            resets: booleans, or numbers 0 and 1, ``[T, B]``; None: none.

        Raises:
            TrainingError: another shape or number.

        """
        if resets is None:
            return self
        flags = _numbers("resets", resets, str(self.inputs.dtype), self.inputs.shape[:2])
        if not ((flags == 0) | (flags == 1)).all():
            place, where = _first((flags != 0) & (flags != 1))
            raise TrainingError(f"resets[{where}]: {flags[place]:g}; allowed: 0 and 1, or booleans")
        return replace(self, resets=flags)

    def check_finite(self) -> None:
        """Refuse NaN and Inf. Steps notice them, so only a loss that is not finite asks where they are.

        Raises:
            TrainingError: there is one; names its place.

        """
        self.check_inputs()
        _check_finite("targets", self.targets)

    def check_inputs(self) -> None:
        """Refuse NaN and Inf among the inputs, which integer controllers clip, so that no loss shows them.

        Raises:
            TrainingError: there is one; names its place.

        """
        _check_finite("inputs", self.inputs)

    def check_probabilities(self) -> None:
        """Refuse targets below 0.

        Raises:
            TrainingError: there is one; names its place.

        """
        if (self.targets < 0).any():
            place, where = _first(self.targets < 0)
            allowed = "classes, or probabilities >= 0, with loss 'cross_entropy'"
            raise TrainingError(f"targets[{where}]: {self.targets[place]:g}; allowed: {allowed}")


def _first(wrong: Array) -> tuple[tuple[int, ...], str]:
    """Return the first place of what is wrong, and its text."""
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return place, ", ".join(map(str, place))


def _numbers(name: str, values: ArrayLike, dtype: str, shape: tuple[int | str, ...]) -> Array:
    if type(values) is np.ndarray and values.dtype == dtype and values.flags.c_contiguous and _fits(values, shape):
        return values
    allowed = f"({', '.join(map(str, shape))})"
    numbers = _one_array(name, values, allowed)
    if not _fits(numbers, shape):
        raise TrainingError(f"{name}: shape {numbers.shape}; allowed: {allowed}, none 0")
    return np.ascontiguousarray(cast(numbers, dtype))


def is_list(values: Any) -> bool:
    """Return whether values are a list of arrays. It does not say whether these are sequences or steps."""
    return isinstance(values, (list, tuple)) and any(hasattr(each, "__array__") and np.ndim(each) for each in values)


def _one_array(name: str, values: ArrayLike, allowed: str) -> Array:
    if is_list(values):
        raise TrainingError(f"{name}: a list of arrays; allowed: one array {allowed}")
    return array(name, values, f"numbers {allowed}", error=TrainingError)


def _targets(targets: ArrayLike, steps: int, count: int, outputs: int) -> Array:
    """Return targets as an array: as given, or probabilities of classes."""
    allowed = f"({steps}, {count}, {outputs}), or classes, integers ({steps}, {count}) or ({count},)"
    numbers = _one_array("targets", targets, allowed)
    if numbers.shape == (count,):
        numbers = np.broadcast_to(numbers, (steps, count))
    if numbers.ndim != 2:
        return numbers
    if numbers.dtype.kind not in "iu" or outputs == 1:
        raise TrainingError(
            f"targets: {numbers.dtype} of shape {numbers.shape}; allowed with {outputs} "
            f"output{'s' * (outputs > 1)}: {allowed if outputs > 1 else f'({steps}, {count}, 1)'}"
        )
    return _one_hot(numbers, outputs)


def _fits(numbers: Array, shape: tuple[int | str, ...]) -> bool:
    if numbers.shape == shape:
        return True
    return numbers.ndim == len(shape) and all(
        got == size if isinstance(size, int) else got > 0 for size, got in zip(shape, numbers.shape, strict=True)
    )


def _check_finite(name: str, numbers: Array) -> None:
    if not np.isfinite(numbers).all():
        place, where = _first(~np.isfinite(numbers))
        raise TrainingError(f"{name}[{where}]: {numbers[place]}; allowed: finite numbers in {numbers.dtype}")


def _one_hot(classes: Array, count: int) -> Array:
    if ((classes < 0) | (classes >= count)).any():
        place, where = _first((classes < 0) | (classes >= count))
        raise TrainingError(f"targets[{where}]: class {classes[place]}; allowed: 0 to {count - 1}")
    return np.eye(count)[classes]
