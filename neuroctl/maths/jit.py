"""The compiler flags of every jitted function, in one place, as decorators that keep a function's type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

# Without Numba's runtime an array argument costs no reference object: nothing is allocated, and a call is faster.
INTEGER: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
# "nnan" and "ninf" are left out on purpose: a step must still see NaN and Inf to hold the last safe output.
# With the error model "numpy" a division does not branch, so loops with divisions vectorise.
STEP: Final[dict[str, Any]] = INTEGER | {"fastmath": {"reassoc", "contract", "nsz", "arcp"}}
# Range reduction subtracts a constant in two parts; reassociation would merge them and lose the small one.
ORDERED: Final[dict[str, Any]] = INTEGER | {"fastmath": {"contract", "nsz"}}


def jit_step(function: Function) -> Function:
    """Compile float arithmetic on its first call, and cache it on disk."""
    return njit(**STEP)(function)  # type: ignore[no-any-return]


def jit_ordered(function: Function) -> Function:
    """Compile float arithmetic whose order of operations matters."""
    return njit(**ORDERED)(function)  # type: ignore[no-any-return]


def jit_integer(function: Function) -> Function:
    """Compile integer arithmetic."""
    return njit(**INTEGER)(function)  # type: ignore[no-any-return]
