"""The compiler flags of every jitted function, in one place, as decorators that keep a function's type."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import njit, typeof
from numba.core.compiler import Compiler

from neuroctl.maths.codecache import CodeCache, compiling, signals_held

Function = TypeVar("Function", bound=Callable[..., Any])

# Without Numba's runtime an array argument costs no reference object: nothing is allocated, and a call is faster.
# Every flag is given: a function that does not say "fastmath" takes it from the one that calls it first.
INTEGER: Final[dict[str, Any]] = {
    "nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False,
}  # fmt: skip
# "nnan" and "ninf" are left out on purpose: a step must still see NaN and Inf to hold the last safe output.
# With the error model "numpy" a division does not branch, so loops with divisions vectorize.
STEP: Final[dict[str, Any]] = INTEGER | {"fastmath": {"reassoc", "contract", "nsz", "arcp"}}
# Range reduction subtracts a constant in two parts; reassociation would merge them and lose the small one.
ORDERED: Final[dict[str, Any]] = INTEGER | {"fastmath": {"contract", "nsz"}}


class _Rows(Compiler):
    """Numba's compiler, told that array arguments do not overlap: LLVM then needs no run-time checks to vectorize."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]


def _compiled(function: Function, **options: Any) -> Function:
    dispatcher: Any = njit(**options)(function)
    if dispatcher is function:  # without the JIT
        return function
    dispatcher._cache = CodeCache(function)
    compile_signature = dispatcher.compile

    def compile_whole(signature: Any) -> Any:
        with signals_held(), compiling.during():
            return compile_signature(signature)

    dispatcher.compile = compile_whole
    return dispatcher  # type: ignore[no-any-return]


def jit_step(function: Function) -> Function:
    """Compile float arithmetic on its first call, and cache it on disk."""
    return _compiled(function, **STEP)


def jit_exact(function: Function) -> Function:
    """Compile float arithmetic as written, for plants.

    Functions that call others are compiled with copies of them, and a process has other copies where it compiles than
    where it loads code from Numba's cache. Optimised freely, the copies of one function need not round alike.
    """
    return _compiled(function, **INTEGER)


def jit_exact_inline(function: Function) -> Function:
    """Compile float arithmetic as written, always inlined."""
    return _compiled(function, forceinline=True, **INTEGER)


def jit_exact_rows(function: Function) -> Function:
    """Compile a loop over lanes as written. Each array it writes has to be apart from all its other arguments."""
    return _compiled(function, pipeline_class=_Rows, **INTEGER)


def jit_inline(function: Function) -> Function:
    """Compile a scalar function that is always inlined: a loop that still calls one does not vectorize."""
    return _compiled(function, forceinline=True, **STEP)


def jit_ordered(function: Function) -> Function:
    """Compile float arithmetic whose order of operations matters."""
    return _compiled(function, **ORDERED)


def jit_integer(function: Function) -> Function:
    """Compile integer arithmetic."""
    return _compiled(function, **INTEGER)


def jit_integer_inline(function: Function) -> Function:
    """Compile integer arithmetic, always inlined."""
    return _compiled(function, forceinline=True, **INTEGER)


def jit_held(function: Function) -> Function:
    """Compile arithmetic as written that keeps the interpreter's lock: for what a real-time loop calls in mid-tick.

    A call that gives the lock away has to get it back, and waits for whichever thread took it.
    """
    return _compiled(function, **INTEGER | {"nogil": False})


_compiling: Final = threading.RLock()


def compile_once(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Call a compiled function once, which compiles it or loads it from the cache, and return it.

    From then on it raises TypeError where it would have to compile: in a control loop that would take 0.1 s or more.
    Without the JIT the function that is returned compares the types itself.
    """
    if hasattr(function, "disable_compile"):
        # Whether a function may compile is one switch for all threads: none may turn it off under another's call.
        with _compiling:
            function.disable_compile(False)
            try:
                function(*arguments)
            finally:
                if getattr(
                    function, "signatures", ()
                ):  # else it failed to compile, and Numba's assertion would hide why
                    function.disable_compile()
        return function
    known = [_kind(value) for value in arguments]

    def checked(*values: Any) -> Any:
        if [_kind(value) for value in values] != known:
            raise TypeError("other types than before")
        return function(*values)

    return checked


def compiled_for(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """As ``compile_once``, but return the machine code for just these types: Numba looks at none in a call.

    That look takes 250 ns for six arrays. It is the caller who makes sure then that every array is an ``ndarray``
    itself, writable, aligned and C-contiguous, of the same dtype and number of dimensions: anything else would be read
    as if it were, beyond its end too.
    """
    function = compile_once(function, *arguments)
    overloads: Any = getattr(function, "overloads", None)
    if overloads is None:  # without the JIT
        return function
    return overloads[tuple(map(typeof, arguments))].entry_point  # type: ignore[no-any-return]


def _kind(value: Any) -> Any:
    if type(value) is not np.ndarray:
        return type(value)
    return value.dtype, value.ndim, value.flags.carray
