"""Rounding that vectorizes, for compiled plants: ``math.floor`` gives an integer in a loop over lanes."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroctl.maths.by_dtype import by_dtype
from neuroctl.maths.jit import jit_exact


@jit_exact
def _nearest32(x: Any) -> Any:
    # 1.5 * 2^23 added leaves the whole number in the last bits.
    return (x + np.float32(12582912.0)) - np.float32(12582912.0)


@jit_exact
def _nearest64(x: Any) -> Any:
    return (x + np.float64(6755399441055744.0)) - np.float64(6755399441055744.0)


@by_dtype(_nearest32, _nearest64)
def nearest(x: Any) -> Any:
    """Return the whole number nearest to x, of magnitude below 2^22, as a float; of two as near the even one.

    Its derivative counts as 0.
    """
    return float(round(x))
