"""Scalar activation functions, typed by their argument: float32 in gives float32 out, float64 gives float64.

The float32 forms are branch-free range-reduced polynomials, so that LLVM vectorizes loops over them; the
float64 forms call the C library.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from neuroctl.maths.by_dtype import by_dtype
from neuroctl.maths.jit import jit_ordered, jit_step
from neuroctl.maths.packs import float_of, select
from neuroctl.maths.scalars import nearest32, one, zero


@jit_ordered
def _exp32(x: Any) -> Any:
    """e^x in float32 within 1 ulp for |x| <= 87; larger |x| is clamped to 87; NaN stays NaN.

    x = k ln 2 + r with |r| <= ln 2 / 2; e^r by a minimax polynomial of degree 6; 2^k through the exponent's bits.
    """
    x = select(x > np.float32(87.0), np.float32(87.0), x)
    x = select(x < np.float32(-87.0), np.float32(-87.0), x)
    k, bits = nearest32(x * np.float32(1.442695040888963))
    r = x - k * np.float32(0.693359375)  # ln 2 in two parts: 9 bits here, so that k times it is exact ...
    r = r - k * np.float32(-0.00021219444005469057)  # ... and the rest
    p = np.float32(0.0013814540579915047)
    p = p * r + np.float32(0.00836874544620514)
    p = p * r + np.float32(0.04166838899254799)
    p = p * r + np.float32(0.1666652113199234)
    p = p * r + np.float32(0.4999999403953552)
    p = p * (r * r) + r + np.float32(1.0)
    return p * float_of((bits + np.int32(127)) << np.int32(23))


@jit_step
def _exp64(x: Any) -> Any:
    return math.exp(x)


@by_dtype(_exp32, _exp64)
def exp(x: Any) -> Any:
    """e^x, in float32 within 1 ulp for |x| <= 87, to which larger ones are clamped. NaN stays NaN."""
    return math.exp(min(x, 700.0)) if x == x else x


@jit_step
def _logistic32(x: Any) -> Any:
    return one(x) / (one(x) + _exp32(-x))


@jit_step
def _logistic64(x: Any) -> Any:
    return 1 / (1 + math.exp(-x))


@by_dtype(_logistic32, _logistic64)
def logistic(x: Any) -> Any:
    """1 / (1 + e^-x), the CTRNN's output function (Beer 1995, eq. 1). NaN stays NaN.

    Within 4 ulp of the exact value for x >= -86 in float32; below that it stays at about 1.6e-38.
    """
    return 1.0 / (1.0 + math.exp(min(-x, 700.0))) if x == x else x


@jit_ordered
def _tanh32(x: Any) -> Any:
    """Tanh: an odd polynomial of degree 11 up to 0.625, 1 - 2 / (e^2|x| + 1) beyond."""
    two = np.float32(2.0)
    a = abs(x)
    far = one(x) - two / (_exp32(two * a) + one(x))
    z = x * x
    p = np.float32(0.0020595798268914223)
    p = p * z - np.float32(0.008085625246167183)
    p = p * z + np.float32(0.021663403138518333)
    p = p * z - np.float32(0.05393994227051735)
    p = p * z + np.float32(0.1333315223455429)
    p = p * z - np.float32(0.333333283662796)
    near = x + x * z * p
    far = select(x < zero(x), -far, far)
    return select(a < np.float32(0.625), near, far)


@by_dtype(_tanh32, math.tanh)
def tanh(x: Any) -> Any:
    """Hyperbolic tangent, within 4 ulp. NaN stays NaN."""
    return math.tanh(x)


@jit_step
def relu(x: Any) -> Any:
    """Return x above 0, else 0. NaN stays NaN."""
    return select(x < zero(x), zero(x), x)


@jit_step
def hard_tanh(x: Any) -> Any:
    """Return x clipped into [-1, 1]. NaN stays NaN."""
    low = select(x < -one(x), -one(x), x)
    return select(low > one(x), one(x), low)


@jit_ordered
def _decay32(x: Any) -> Any:
    """1 - e^-x for x >= 0; by its series near 0, where the difference would cancel."""
    p = one(x) - x * np.float32(0.2)
    p = one(x) - x * np.float32(0.25) * p
    p = one(x) - x * np.float32(0.3333333333) * p
    p = one(x) - x * np.float32(0.5) * p
    return select(x < np.float32(0.125), x * p, one(x) - _exp32(-x))


@jit_step
def _decay64(x: Any) -> Any:
    return -math.expm1(-x)


@by_dtype(_decay32, _decay64)
def decay(x: Any) -> Any:
    """1 - e^-x for x >= 0: how far a first-order lag gets in x time constants. Relative error below 1e-6."""
    return -math.expm1(-x)


LOGISTIC, TANH, RELU, HARD_TANH, IDENTITY = range(5)
ACTIVATIONS: Final = MappingProxyType(
    {"logistic": LOGISTIC, "tanh": TANH, "relu": RELU, "hard_tanh": HARD_TANH, "identity": IDENTITY}
)
"""Names and the codes by which compiled steps choose."""
