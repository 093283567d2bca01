"""Checks of arguments: integers, numbers and arrays of numbers, refused by one-line messages of one form."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import LayoutError, NeuroctlError

_MAX_SHOWN: Final = 80
_MAX_NAMES: Final = 12
ABOVE_0: Final = math.ulp(0.0)
"""The smallest number greater than 0."""
FINITE: Final = sys.float_info.max
"""The largest finite number."""


def shown(value: object) -> str:
    """Return a value's text for a one-line error, shortened if it is long."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # Python refuses to write integers of thousands of digits
        text = f"{type(value).__name__} too long to show"
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def listed(names: Iterable[object], nothing: str) -> str:
    """Return names with commas between them for a one-line error, the first few of many; ``nothing`` for none."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _MAX_NAMES} more" if len(texts) > _MAX_NAMES else ""
    parts = (text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..." for text in texts[:_MAX_NAMES])
    return ", ".join(parts) + more or nothing


def printable(text: str) -> str:
    """Return a text that is safe for a terminal: control characters, such as escapes in a file's notes, as codes."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def integer(name: str, value: object, low: int, high: int | None = None, *, error: type[NeuroctlError]) -> int:
    """Return an integer as Python's own. NumPy's integers are accepted, bool is not.

    Args:
        name: name of the argument, for the message.
        value: the argument.
        low: smallest allowed value.
        high: largest allowed value; None for no limit.
        error: class of the error to raise.

    Raises:
        error: ``value`` is no integer, or out of range.

    """
    if not isinstance(value, bool) and isinstance(value, Integral):
        number = int(value)
        if low <= number and (high is None or number <= high):
            return number
    allowed = f"integers >= {low}" if high is None else f"integers from {low} to {high}"
    raise error(f"{name}: {shown(value)}; allowed: {allowed}")


def choice_of(name: str, value: object, allowed: tuple[int, ...], *, error: type[NeuroctlError]) -> int:
    """Return one of a few integers as Python's own. NumPy's integers are accepted, bool is not.

    Raises:
        error: ``value`` is another.

    """
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value) in allowed:
        return int(value)
    *rest, last = map(str, allowed)
    raise error(f"{name}: {shown(value)}; allowed: {', '.join(rest)} or {last}")


def real(value: object) -> float:
    """Return a number, Python's or NumPy's, as a float; for everything else NaN, which is in no range.

    That is for bool, text, None, arrays, and integers beyond every float.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def number(name: str, value: object, low: float, high: float, allowed: str, *, error: type[NeuroctlError]) -> float:
    """Return a number, Python's or NumPy's, as a float.

    Args:
        name: name of the argument, for the message.
        value: the argument.
        low: smallest allowed value; ``ABOVE_0`` where 0 is not allowed.
        high: largest allowed value; ``FINITE`` where Inf is not allowed.
        allowed: description of allowed values, for the message.
        error: class of the error to raise.

    Raises:
        error: ``value`` is no number, see ``real``, or out of range.

    """
    result = real(value)
    if low <= result <= high:
        return result
    raise error(f"{name}: {shown(value)}; allowed: {allowed}")


def share(name: str, value: object, *, error: type[NeuroctlError]) -> float:
    """Return a number from 0 to 1.

    Raises:
        error: it is none.

    """
    return number(name, value, 0.0, 1.0, "0 to 1", error=error)


def flag(name: str, value: object, *, error: type[NeuroctlError]) -> bool:
    """Return True or False as Python's own; NumPy's are accepted.

    Raises:
        error: it is neither.

    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise error(f"{name}: {shown(value)}; allowed: True, False")


def one_of(name: str, value: object, allowed: Iterable[str], *, error: type[NeuroctlError]) -> str:
    """Return a string that is one of those allowed, such as the keys of a table.

    Raises:
        error: it is another, or no string.

    """
    names = tuple(allowed)
    if isinstance(value, str) and value in names:
        return value
    raise error(f"{name}: {shown(value)}; allowed: {', '.join(names)}")


def array(name: str, values: object, allowed: str, *, error: type[NeuroctlError] = LayoutError) -> NDArray[Any]:
    """Return numbers as an array of bool, integers or floats, without a copy if they are one; shape is not checked.

    Args:
        name: name of the argument, for the message.
        values: the argument.
        allowed: description of allowed values, for the message.
        error: class of the error to raise.

    Raises:
        error: they are no real numbers (text, None, complex), rows of unequal lengths, masked entries, or an array of
            another package that cannot be read as it is, such as a tensor that tracks gradients.

    """
    reason = ""
    try:
        if count := _masked(values):
            raise error(f"{name}: {count} masked entries; allowed: {allowed}, none masked")
        numbers = np.asarray(values)
        if numbers.dtype == object:
            numbers = _reals(numbers)
        if numbers.dtype.kind in "biuf":
            return numbers
    except NeuroctlError:
        raise
    except (TypeError, ValueError):
        pass
    except (OverflowError, RuntimeError) as problem:  # an integer beyond every float; a tensor's own advice
        reason = f": {' '.join(str(problem).split()).rstrip('.')}"
    kind = f"{values.dtype} array" if isinstance(values, np.ndarray) else type(values).__name__
    raise error(f"{name}: {kind}{reason}; allowed: {allowed}")


def finite(numbers: NDArray[Any]) -> bool:
    """Whether all of an array's floats are finite.

    Their squares' sum is finite only if they are, and is a quick call; one that overflows proves nothing.
    """
    return math.isfinite(np.vdot(numbers, numbers)) or bool(np.isfinite(numbers).all())


def cast(numbers: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return an array in a float dtype; numbers beyond it become Inf, without a warning."""
    with np.errstate(over="ignore"):
        return numbers.astype(dtype, copy=False)


def _masked(values: object) -> int:
    """Return the number of masked entries, which are no measurements."""
    if isinstance(values, np.ma.MaskedArray):
        return int(np.ma.getmaskarray(values).sum())
    return sum(map(_masked, values)) if isinstance(values, (list, tuple)) else 0


def _reals(objects: NDArray[Any]) -> NDArray[Any]:
    """Convert objects that are real numbers, such as integers beyond 64 bits; refuse others, such as None."""
    if not all(isinstance(value, Real) for value in objects.flat):
        raise TypeError("not real numbers")
    return objects.astype(np.float64)
