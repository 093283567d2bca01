"""A logarithm for compiled plants that vectorizes in float32; the float64 form calls the C library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuroctl.maths.by_dtype import by_dtype
from neuroctl.maths.jit import jit_exact
from neuroctl.maths.packs import bits_of, float_of, select


@jit_exact
def _log1p32(x: Any) -> Any:
    """log(1 + x) = k ln 2 + log(1 + f), with 1 + x = 2^k (1 + f) and 1 + f between the roots of 1/2 and 2."""
    u = np.float32(1.0) + x
    lost = (x - (u - np.float32(1.0))) / u  # of x, where 1 + x was rounded
    bits = bits_of(u)
    k = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    f = float_of(bits - (k << np.int32(23))) - np.float32(1.0)
    # As a float: k in the last bits of 1.5 * 2^23.
    exponent = float_of(k + np.int32(0x4B400000)) - np.float32(12582912.0)
    p = np.float32(-0.07634472101926804)
    p = p * f + np.float32(0.12761567533016205)
    p = p * f - np.float32(0.13160187005996704)
    p = p * f + np.float32(0.14201758801937103)
    p = p * f - np.float32(0.16623356938362122)
    p = p * f + np.float32(0.20001226663589478)
    p = p * f - np.float32(0.2500081956386566)
    p = p * f + np.float32(0.3333333134651184)
    square = f * f
    rest = exponent * np.float32(-0.00021219444005469057) + lost - np.float32(0.5) * square + square * f * p
    value = exponent * np.float32(0.693359375) + (f + rest)
    return select(u > np.float32(0.0), value, u * np.float32(math.nan))


@by_dtype(_log1p32, math.log1p)
def log1p(x: Any) -> Any:
    """Logarithm of 1 + x, within 3 ulp in float32. NaN stays NaN; in float32 Inf, -1 and what is below give NaN."""
    return math.log1p(x)
