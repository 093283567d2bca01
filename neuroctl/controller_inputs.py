"""What a controller takes as inputs: one step's numbers, or a sequence of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import array, cast
from neuroctl.errors import LayoutError, SlowInputWarning

Array = NDArray[Any]

_said: set[str] = set()  # dtypes whose faster arrays were spoken of: once for a process


def accepted(u: object, buffer: Array) -> Array:
    """Copy one step's numbers into a controller's buffer, cast to its dtype: the slow door of ``step``.

    Raises:
        LayoutError: u holds no numbers, masked entries, or has another shape than the buffer.

    Warns:
        SlowInputWarning: once, if u is no array of the buffer's dtype that could be read as it lies.

    """
    allowed = f"{buffer.dtype} numbers of shape {buffer.shape}"
    found = array("u", u, allowed)
    if found.shape != buffer.shape:
        raise LayoutError(f"u: shape {found.shape}; allowed: {allowed}")
    buffer[:] = cast(found, buffer.dtype)
    if not isinstance(u, np.ndarray) or u.dtype != buffer.dtype or not u.flags.c_contiguous:
        _say_once(str(buffer.dtype))
    return buffer


def _say_once(dtype: str) -> None:
    if dtype not in _said:
        _said.add(dtype)
        text = f"u: a C-contiguous {dtype} array is faster; what else there is, step converts at every call"
        warnings.warn(text, SlowInputWarning, stacklevel=4)


def sequence(inputs: ArrayLike, dtype: Any, width: int, name: str = "inputs") -> Array:
    """Return inputs as a writable, C-contiguous ``[T, width]`` array with T at least 1.

    Raises:
        LayoutError: wrong shape, no numbers, or masked entries.

    """
    found = array(name, inputs, f"numbers of shape (T, {width})")
    if found.ndim != 2 or found.shape[1] != width or len(found) == 0:
        raise LayoutError(f"{name}: shape {found.shape}; allowed: (T, {width}) with T at least 1")
    with np.errstate(over="ignore"):  # Inf, which a step meets as it would any other
        return np.require(found, dtype=dtype, requirements=["C", "A", "W"])


def recorded(values: ArrayLike, width: int) -> NDArray[np.float64]:
    """Return recorded inputs for fixed point, float64 ``[T, width]``: a new array.

    Raises:
        LayoutError: wrong shape, or not finite numbers.

    """
    found = sequence(values, np.float64, width, "calibration")
    if not np.isfinite(found).all():
        raise LayoutError(f"calibration: shape {found.shape}, holds NaN or Inf; allowed: finite numbers (T, {width})")
    return found.copy()  # it is kept, and may be a buffer of the caller's
