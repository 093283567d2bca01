"""Scalars that keep their type: an int literal beside a float32 gives a float64, in Numba as on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroctl.maths.jit import jit_ordered, jit_step, overload_by_dtype


def zero(x: Any) -> Any:
    """Return 0 in the type of x."""
    return type(x)(0.0)


def one(x: Any) -> Any:
    """Return 1 in the type of x."""
    return type(x)(1.0)


@jit_step
def _zero32(x: Any) -> Any:
    return np.float32(0.0)


@jit_step
def _zero64(x: Any) -> Any:
    return np.float64(0.0)


@jit_step
def _one32(x: Any) -> Any:
    return np.float32(1.0)


@jit_step
def _one64(x: Any) -> Any:
    return np.float64(1.0)


overload_by_dtype(zero, _zero32, _zero64)
overload_by_dtype(one, _one32, _one64)


@jit_ordered
def nearest32(x: Any) -> Any:
    """Return the whole number nearest to a float32 of magnitude below 2^22, as float32 and as int32.

    1.5 * 2^23 added leaves it in the last bits. Of the int32 only the lower 22 bits count; it is defined for NaN too.
    """
    moved = np.float32(x + np.float32(12582912.0))
    return moved - np.float32(12582912.0), moved.view(np.int32)
