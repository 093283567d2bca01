"""A data set to train on: sequences of one length or of several, their split, and their batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import array, integer, number, shown
from neuroctl.errors import TrainingError, warn
from neuroctl.spec import Spec
from neuroctl.train.data import Sequences, is_list

Array = NDArray[Any]

SPLIT, ORDER = 1, 2
"""Streams of random numbers of a seed: the split, and the order of sequences in an epoch."""
_COLUMNS_NAMED: Final = 5


def dataset(spec: Spec, inputs: Any, targets: Any, mask: Any = None) -> Sequences:
    """Return checked sequences for a spec.

    Args:
        spec: of the controller.
        inputs: numbers ``[T, B, inputs]``, or a list of B arrays ``[T_b, inputs]``.
        targets: numbers ``[T, B, outputs]`` or classes ``[T, B]``, or a list of B arrays as long as
            those of inputs; or a class for each sequence, B integers.
        mask: weights of steps ``[T, B]``, or a list of B arrays ``[T_b]``; None: all count. Steps beyond the end of a
            shorter sequence never do.

    Raises:
        TrainingError: shapes or lengths do not fit, a number is not finite, or there is one step only.

    Warns:
        UserWarning: a column never changes.

    """
    data = checked(spec, inputs, targets, mask)
    _warn_of_constants("inputs", data.inputs, data.mask)
    if (np.ndim(targets[0]) == 2) if isinstance(targets, (list, tuple)) else (np.ndim(targets) == 3):
        _warn_of_constants("targets", data.targets, data.mask)
    return data


def checked(spec: Spec, inputs: Any, targets: Any, mask: Any = None) -> Sequences:
    """Return what ``dataset`` does, without its warnings.

    Raises:
        TrainingError: as ``dataset``.

    """
    if is_list(inputs):
        inputs, targets, mask = _padded(inputs, targets, mask)
    elif isinstance(inputs, (list, tuple)):  # of lists: by sequences, as arrays are listed, or by steps?
        allowed = f"an array (T, B, {spec.inputs}), or a list of arrays (T_b, {spec.inputs})"
        raise TrainingError(f"inputs: {'a list of no arrays' if inputs else 'an empty list'}; allowed: {allowed}")
    data = Sequences.check(spec, inputs, targets, mask)
    data.check_finite()
    steps, count = data.inputs.shape[:2]
    if steps * count < 2:
        raise TrainingError("inputs: 1 step; allowed: at least 2, in one sequence or several")
    if data.mask is not None and (empty := ~data.mask.any(axis=0)).any():
        raise TrainingError(f"mask: all 0 for sequence {int(np.argmax(empty))}; allowed: a step that counts")
    return data


def _padded(inputs: Sequence[Any], targets: Any, mask: Any) -> tuple[Array, Array, Array | None]:
    """Return sequences as arrays of the longest one's length, with a mask."""
    sequences = [
        array(f"inputs[{k}]", each, "numbers (T, inputs)", error=TrainingError) for k, each in enumerate(inputs)
    ]
    lengths = [len(each) if each.ndim else 0 for each in sequences]
    if 0 in lengths:
        raise TrainingError(f"inputs[{lengths.index(0)}]: no step; allowed: at least 1 in each sequence")
    aims = _like("targets", _at_each_step(targets, lengths), lengths)
    longest = max(lengths)
    stacked = _stacked("inputs", sequences, longest), _stacked("targets", aims, longest)
    if mask is None and min(lengths) == longest:
        return (*stacked, None)
    weights = [np.ones(length) for length in lengths] if mask is None else _like("mask", mask, lengths)
    return (*stacked, _stacked("mask", weights, longest))


def _at_each_step(targets: Any, lengths: Sequence[int]) -> Any:
    """Return a class for each sequence as one for each of its steps; other targets as they are."""
    listed = isinstance(targets, (list, tuple, np.ndarray)) and len(targets) == len(lengths)
    if not listed or not all(np.ndim(each) == 0 for each in targets):
        return targets
    return [np.full(length, label) for length, label in zip(lengths, targets, strict=True)]


def _like(name: str, values: Any, lengths: Sequence[int]) -> list[Array]:
    if not isinstance(values, (list, tuple)) or len(values) != len(lengths):
        got = f"{len(values)} arrays" if isinstance(values, (list, tuple)) else type(values).__name__
        raise TrainingError(f"{name}: {got}; allowed: a list of {len(lengths)}, as of inputs")
    parts = [array(f"{name}[{k}]", each, "numbers", error=TrainingError) for k, each in enumerate(values)]
    for k, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        if part.ndim == 0 or len(part) != length:
            steps = len(part) if part.ndim else 0
            raise TrainingError(f"{name}[{k}]: {steps} steps; allowed: {length}, as inputs[{k}]")
    return parts


def _stacked(name: str, parts: Sequence[Array], longest: int) -> Array:
    """Stack ``[T_b, ...]`` to ``[T, B, ...]``, with zeros beyond the end of each."""
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise TrainingError(
            f"{name}: {' and '.join(map(str, sorted(shapes)))} numbers a step; allowed: as many in each"
        )
    stacked = np.zeros((longest, len(parts), *shapes.pop()), np.result_type(*parts))
    for k, part in enumerate(parts):
        stacked[: len(part), k] = part
    return stacked


def _warn_of_constants(name: str, numbers: Array, mask: Array | None) -> None:
    """Warn of columns without information: they are usually a mistake in the recording."""
    rows = numbers.reshape(-1, numbers.shape[2]) if mask is None else numbers[mask > 0]
    constant = np.flatnonzero((rows == rows[0]).all(axis=0))
    if len(constant):
        listed = ", ".join(f"{k} ({rows[0, k] + 0.0:g})" for k in constant[:_COLUMNS_NAMED])
        more = "" if len(constant) <= _COLUMNS_NAMED else f" and {len(constant) - _COLUMNS_NAMED} more"
        warn(f"{name}: column{'s' * (len(constant) > 1)} {listed}{more} never change{'s' * (len(constant) == 1)}")


def taken(data: Sequences, which: Array) -> Sequences:
    """Return some of the sequences, by their numbers."""
    mask = None if data.mask is None else data.mask[:, which]
    return Sequences(data.inputs[:, which], data.targets[:, which], mask)


def split(spec: Spec, data: Sequences, validation: Any, seed: int) -> tuple[Sequences, Sequences | None]:
    """Return the sequences to train on and those to validate with, None if there are none.

    Args:
        spec: of the controller.
        data: all sequences.
        validation: share of the sequences that are kept for validation, at least one unless it is 0; or inputs and
            targets, or inputs, targets and a mask.
        seed: of the choice.

    Raises:
        TrainingError: no sequence would be left to train on, or validation is something else.

    """
    if isinstance(validation, (tuple, list)):
        if len(validation) not in (2, 3):
            raise TrainingError(f"validation: {len(validation)} arrays; allowed: (inputs, targets[, mask]), or a share")
        try:
            return data, dataset(spec, *validation)
        except TrainingError as error:
            raise TrainingError(f"validation {error}") from None
    share = number("validation", validation, 0.0, 1.0, "0 to 1, or (inputs, targets[, mask])", error=TrainingError)
    count = data.inputs.shape[1]
    kept = math.ceil(share * count - 1e-9)
    if kept == 0:
        return data, None
    if kept >= count:
        plural = "s" * (count > 1)
        allowed = "allowed: 0, sequences of their own, or a trace cut into several by train.windows"
        raise TrainingError(
            f"validation: {shown(validation)} of {count} sequence{plural} leaves none to train on; {allowed}"
        )
    order = _rng(seed, SPLIT).permutation(count)
    return taken(data, np.sort(order[kept:])), taken(data, np.sort(order[:kept]))


def batches(data: Sequences, size: int, seed: int, epoch: int) -> Iterator[Sequences]:
    """Yield an epoch's sequences in batches of up to ``size``, in an order that seed and epoch determine."""
    count = data.inputs.shape[1]
    if size >= count:
        yield data
        return
    order = _rng(seed, ORDER, epoch).permutation(count)
    for first in range(0, count, size):
        yield taken(data, order[first : first + size])


def pieces(data: Sequences, length: int | None) -> Iterator[Sequences]:
    """Yield the steps of sequences in pieces of a length; None: all at once."""
    steps = len(data.inputs)
    for first in range(0, steps, length or steps):
        part = slice(first, first + (length or steps))
        mask = None if data.mask is None else data.mask[part]
        yield Sequences(data.inputs[part], data.targets[part], mask)


def weight_of(data: Sequences) -> float:
    """Return the sum of the weights of all steps."""
    return float(data.inputs[..., 0].size if data.mask is None else data.mask.sum(dtype=np.float64))


def _rng(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def windows(trace: Any, length: int, *, every: int | None = None) -> Array:
    """Cut a trace into sequences of one length, such as to hold some back for validation.

    Args:
        trace: numbers ``[T, columns]`` or ``[T]``.
        length: steps of each sequence, an integer from 1 to T.
        every: steps from the beginning of one to that of the next, an integer >= 1; None: ``length``, without overlap.

    Returns:
        ``[length, B, columns]``, or ``[length, B]`` of a trace without columns; a rest shorter than ``length`` is left
        out.

    Raises:
        TrainingError: an argument is not allowed.

    Example:
        >>> windows(np.arange(7.0), 3).T
        array([[0., 1., 2.],
               [3., 4., 5.]])

    """
    numbers = array("trace", trace, "numbers (T, columns) or (T,)", error=TrainingError)
    if numbers.ndim not in (1, 2) or not len(numbers):
        raise TrainingError(f"trace: shape {numbers.shape}; allowed: (T, columns) or (T,), none 0")
    length = integer("length", length, 1, len(numbers), error=TrainingError)
    between = length if every is None else integer("every", every, 1, error=TrainingError)
    starts = range(0, len(numbers) - length + 1, between)
    return np.stack([numbers[first : first + length] for first in starts], axis=1)
