"""The inputs of a controller: the numbers of one step, or a sequence of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import array, cast
from neuroctl.errors import LayoutError, SlowInputWarning, warn

Array = NDArray[Any]

_said: set[Any] = set()  # dtypes for which the warning was shown: once per process


def accepted(u: object, buffer: Array) -> Array:
    """Copy the numbers of one step into a controller's buffer, cast to its dtype: the slow path of ``step``.

    Raises:
        LayoutError: u holds no numbers, masked entries, or has another shape than the buffer.

    Warns:
        SlowInputWarning: once, if u is no array of the buffer's dtype that could be read in place.

    """
    dtype = buffer.dtype
    numbers = array("u", u, _allowed(dtype, buffer.shape))
    if numbers.shape != buffer.shape:
        raise LayoutError(f"u: shape {numbers.shape}; allowed: {_allowed(dtype, buffer.shape)}")
    buffer[:] = cast(numbers, dtype)
    if dtype not in _said and (not isinstance(u, np.ndarray) or u.dtype != dtype or not u.flags.c_contiguous):
        _say_once(dtype)
    return buffer


def raw(u: object, *shape: int | str) -> NDArray[np.int32]:
    """Return raw integers, such as lists of them, as int32; numbers beyond saturate, as an input's range does.

    Args:
        u: the argument.
        shape: allowed shape; ``"T"`` stands for any size from 1.

    Raises:
        LayoutError: u holds no integers, masked entries, or has another shape.

    """
    allowed = f"integers of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    numbers = array("u", u, allowed)
    fits = numbers.ndim == len(shape) and numbers.size and all(map(_fits, numbers.shape, shape))
    if not fits or numbers.dtype.kind not in "iu":
        raise LayoutError(f"u: {numbers.dtype} of shape {numbers.shape}; allowed: {allowed}")
    stored, word = np.iinfo(numbers.dtype), np.iinfo(np.int32)
    return numbers.clip(max(stored.min, word.min), min(stored.max, word.max)).astype(np.int32)


def _fits(size: int, wanted: int | str) -> bool:
    return wanted == "T" or size == wanted


@lru_cache(maxsize=64)
def _allowed(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{dtype} numbers of shape {shape}"


def _say_once(dtype: Any) -> None:
    if dtype not in _said:
        _said.add(dtype)
        text = f"u: a C-contiguous {dtype} array is faster; what else there is, step converts at every call"
        warn(text, SlowInputWarning)


def sequence(inputs: ArrayLike, dtype: Any, width: int, name: str = "inputs") -> Array:
    """Return inputs as a writable, C-contiguous ``[T, width]`` array with T at least 1.

    Raises:
        LayoutError: wrong shape, no numbers, or masked entries.

    """
    numbers = array(name, inputs, f"numbers of shape (T, {width})")
    if numbers.ndim != 2 or numbers.shape[1] != width or len(numbers) == 0:
        raise LayoutError(f"{name}: shape {numbers.shape}; allowed: (T, {width}) with T at least 1")
    with np.errstate(over="ignore"):  # Inf, which a step handles as any other
        return np.require(numbers, dtype=dtype, requirements=["C", "A", "W"])


def recorded(values: ArrayLike, width: int) -> NDArray[np.float64]:
    """Return recorded inputs for fixed point, float64 ``[T, width]``: a new array.

    Raises:
        LayoutError: wrong shape, or not finite numbers.

    """
    inputs = sequence(values, np.float64, width, "calibration")
    if not np.isfinite(inputs).all():
        raise LayoutError(f"calibration: shape {inputs.shape}, holds NaN or Inf; allowed: finite numbers (T, {width})")
    return inputs.copy()  # it may be a buffer of the caller's
