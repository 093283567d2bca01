"""Scalar activation functions, typed by their argument: float32 in gives float32 out, float64 gives float64.

The float32 forms are branch-free range-reduced polynomials, so that LLVM vectorises loops over them; the
float64 forms call the C library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from neuroctl.maths.jit import STEP, jit_ordered, jit_step

_OVERLOAD_OPTIONS = {key: value for key, value in STEP.items() if key != "cache"}


@jit_ordered
def _exp32(x: Any) -> Any:
    """e^x in float32 within 1 ulp for |x| <= 87; larger |x| is clamped to 87; NaN stays NaN.

    x = k ln 2 + r with |r| <= ln 2 / 2; e^r by a minimax polynomial of degree 6; 2^k through the exponent's bits.
    """
    x = np.float32(87.0) if x > np.float32(87.0) else x
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    k = np.floor(x * np.float32(1.442695040888963) + np.float32(0.5))
    r = x - k * np.float32(0.693359375)  # ln 2 in two parts: 9 bits here, so that k times it is exact ...
    r = r - k * np.float32(-0.00021219444005469057)  # ... and the rest
    p = np.float32(0.0013814540579915047)
    p = p * r + np.float32(0.00836874544620514)
    p = p * r + np.float32(0.04166838899254799)
    p = p * r + np.float32(0.1666652113199234)
    p = p * r + np.float32(0.4999999403953552)
    p = p * (r * r) + r + np.float32(1.0)
    k = k if k == k else np.float32(0.0)  # converting NaN to an integer is undefined; p is NaN already
    scale = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * scale


@jit_step
def _logistic32(x: Any) -> Any:
    one = np.float32(1.0)
    return one / (one + _exp32(-x))


def logistic(x: Any) -> Any:
    """1 / (1 + e^-x), the CTRNN's output function (Beer 1995, eq. 1). NaN stays NaN.

    Within 4 ulp of the exact value for x >= -86 in float32; below that it stays at about 1.6e-38.
    """
    if isinstance(x, np.float32):
        return _logistic32(x)
    return 1.0 / (1.0 + math.exp(min(-x, 700.0))) if x == x else x


@overload(logistic, jit_options=_OVERLOAD_OPTIONS)  # type: ignore[arg-type]
def _logistic_overload(x):  # type: ignore[no-untyped-def]  # numba compares this signature with the form it returns
    if x == types.float32:
        return lambda x: _logistic32(x)
    if x == types.float64:
        return lambda x: 1.0 / (1.0 + math.exp(-x))
    return None
