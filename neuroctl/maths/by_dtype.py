"""Functions that have one form for float32, written here, and one for float64, which may call the C library."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from neuroctl.maths.jit import STEP
from neuroctl.maths.packs import FLOAT32, FLOAT32_PAIR, FLOAT64, FLOAT64_PAIR


@intrinsic
def _get(typing: Any, pack: Any, lane: Any) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], context.cast(builder, args[1], sig.args[1], types.int32))

    return pack.element(pack, lane), lower


@intrinsic
def _put(typing: Any, pack: Any, lane: Any, value: Any) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.insert_element(args[0], args[2], context.cast(builder, args[1], sig.args[1], types.int32))

    return pack(pack, lane, pack.element), lower


Function = Callable[[Any], Any]


def by_dtype(single: Function, double: Function) -> Callable[[Function], Function]:
    """Decorate a function of a number: ``single`` on float32 or packs of it, ``double`` on float64, in compiled code.

    ``double`` may call the C library, and so takes the lanes of a pack one after the other. The function itself is
    what plain Python calls with a float.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def plain(x: Any) -> Any:
            if isinstance(x, (np.float32, np.ndarray)) and x.dtype == np.float32:
                return single(x)
            if isinstance(x, np.ndarray):
                return np.array([function(value) for value in x.ravel()]).reshape(x.shape)
            return function(x)

        options: Any = STEP

        @overload(plain, jit_options=options)
        def typed(x):  # type: ignore[no-untyped-def]  # numba compares this signature with that of the form it returns
            if x in (types.float32, FLOAT32, FLOAT32_PAIR):
                return lambda x: single(x)
            if x == types.float64:
                return lambda x: double(x)
            return _lane_by_lane(double, x.width) if x in (FLOAT64, FLOAT64_PAIR) else None

        return plain

    return decorate


def _lane_by_lane(function: Function, width: int) -> Function:
    get: Any = _get
    put: Any = _put

    def each(x):  # type: ignore[no-untyped-def]
        result = x
        for lane in range(width):
            result = put(result, lane, function(get(x, lane)))
        return result

    return each
