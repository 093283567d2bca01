"""What a controller takes as inputs: one step's array, or a sequence of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.errors import LayoutError

Array = NDArray[Any]


def accepted(u: object, buffer: Array) -> Array:
    """Copy a read-only or unaligned array, or a subclass's, into a controller's buffer, or say what is wrong.

    Raises:
        LayoutError: u has another type, dtype, shape or memory order than the buffer.

    """
    allowed = f"allowed: a C-contiguous {buffer.dtype} array of shape {buffer.shape}"
    if not isinstance(u, np.ndarray):
        raise LayoutError(f"u: {type(u).__name__}; {allowed}")
    if u.dtype != buffer.dtype or u.shape != buffer.shape:
        raise LayoutError(f"u: {u.dtype} of shape {u.shape}; {allowed}")
    if not u.flags.c_contiguous:
        raise LayoutError(f"u: not contiguous, strides {u.strides}; {allowed}")
    buffer[:] = u
    return buffer


def sequence(inputs: ArrayLike, dtype: Any, width: int, name: str = "inputs") -> Array:
    """Return inputs as a writable, C-contiguous ``[T, width]`` array with T at least 1.

    Raises:
        LayoutError: wrong shape, or not numbers.

    """
    try:
        array = np.require(inputs, dtype=dtype, requirements=["C", "A", "W"])
    except (TypeError, ValueError, OverflowError):
        raise LayoutError(f"{name}: {type(inputs).__name__}; allowed: numbers of shape (T, {width})") from None
    if array.ndim != 2 or array.shape[1] != width or len(array) == 0:
        raise LayoutError(f"{name}: shape {array.shape}; allowed: (T, {width}) with T at least 1")
    return array
