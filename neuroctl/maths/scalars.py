"""Scalars that keep their type: an int literal beside a float32 gives a float64, in Numba as on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroctl.maths.jit import jit_inline, jit_ordered
from neuroctl.maths.packs import bits_of, like


@jit_inline
def zero(x: Any) -> Any:
    """Return 0 in the type of x."""
    return like(x, 0)


@jit_inline
def one(x: Any) -> Any:
    """Return 1 in the type of x."""
    return like(x, 1)


@jit_ordered
def nearest32(x: Any) -> Any:
    """Return the whole number nearest to a float32 of magnitude below 2^22, as float32 and as int32.

    1.5 * 2^23 added leaves it in the last bits. Of the int32 only the lower 22 bits count; it is defined for NaN too.
    """
    moved = x + np.float32(12582912.0)
    return moved - np.float32(12582912.0), bits_of(moved)
