"""Sine, cosine and arc tangent for compiled plants: float32 in gives float32 out, float64 gives float64.

The float32 forms are branch-free, so that loops over lanes vectorize; ``math.sin`` in a loop does not. The float64
forms call the C library. The polynomials are minimax fits of this project's own. See ``jit_exact`` for why they are
compiled as written.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuroctl.maths.by_dtype import by_dtype
from neuroctl.maths.jit import jit_exact
from neuroctl.maths.scalars import nearest32, one


@jit_exact
def _quadrant(x: Any) -> Any:
    """Return the nearest multiple k of pi/2, its lower bits, and x - k pi/2; NaN and Inf give NaN for the rest."""
    k, quarter = nearest32(x * np.float32(0.6366197723675814))
    r = x - k * np.float32(1.5703125)  # pi/2 in three parts: the first two have 11 bits, so that k times them is exact
    r = r - k * np.float32(0.0004837512969970703)
    r = r - k * np.float32(7.549789948768648e-08)
    return quarter, r


@jit_exact
def _sine_part(r: Any) -> Any:
    z = r * r
    p = np.float32(-0.0001951083977473900)
    p = p * z + np.float32(0.008332131430506706)
    p = p * z - np.float32(0.16666653752326965)
    return r + r * z * p


@jit_exact
def _cosine_part(r: Any) -> Any:
    z = r * r
    p = np.float32(2.4431205019936897e-05)
    p = p * z - np.float32(0.0013887305976822972)
    p = p * z + np.float32(0.04166664555668831)
    return np.float32(1.0) - np.float32(0.5) * z + z * z * p


@jit_exact
def _turned(quarter: Any, r: Any) -> Any:
    """Return the sine of quarter pi/2 + r."""
    value = _cosine_part(r) if quarter & np.int32(1) != 0 else _sine_part(r)
    return -value if quarter & np.int32(2) != 0 else value


@jit_exact
def _sin32(x: Any) -> Any:
    quarter, r = _quadrant(x)
    return _turned(quarter, r)


@jit_exact
def _cos32(x: Any) -> Any:
    quarter, r = _quadrant(x)
    return _turned(quarter + np.int32(1), r)


@jit_exact
def _atan32(x: Any) -> Any:
    a = abs(x)
    t = one(x) / a if a > one(x) else a
    z = t * t
    p = np.float32(0.002974589355289936)
    p = p * z - np.float32(0.016581179574131966)
    p = p * z + np.float32(0.043553534895181656)
    p = p * z - np.float32(0.07580577582120895)
    p = p * z + np.float32(0.10678940266370773)
    p = p * z - np.float32(0.14214208722114563)
    p = p * z + np.float32(0.19994136691093445)
    p = p * z - np.float32(0.3333316743373871)
    angle = t + t * z * p
    angle = np.float32(1.5707963267948966) - angle if a > one(x) else angle
    return -angle if x < 0 else angle


@by_dtype(_sin32, math.sin)
def sin(x: Any) -> Any:
    """Sine of x radians, absolute error below 2e-7 for |x| <= 4000 in float32. NaN and Inf give NaN."""
    return math.sin(x)


@by_dtype(_cos32, math.cos)
def cos(x: Any) -> Any:
    """Cosine of x radians, absolute error below 2e-7 for |x| <= 4000 in float32. NaN and Inf give NaN."""
    return math.cos(x)


@by_dtype(_atan32, math.atan)
def atan(x: Any) -> Any:
    """Arc tangent in radians, absolute error below 3e-7 in float32. NaN stays NaN."""
    return math.atan(x)
