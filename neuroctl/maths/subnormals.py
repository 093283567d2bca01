"""Subnormal numbers count as 0 while a controller steps: a processor is 5 to 70 times slower with them.

What decays ends among them, a state without input as well as a gradient over a thousand steps: below 1.2e-38 in
float32, 2.2e-308 in float64. Some never leave: 0.9 times the smallest one is rounded to itself. So compiled code asks
the processor to take and give 0 for them, and afterwards sets back what its caller had. That is a bit of a register:
steps cost nothing more, and no other number changes. On processors other than x86-64 and ARM's 64-bit ones, on a GPU,
and with the JIT disabled, they stay.
"""

from __future__ import annotations

import platform
from types import TracebackType
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from neuroctl.maths.jit import jit_exact
from neuroctl.maths.packs import compiles

_X86: Final = ("x86_64", "AMD64")
_ARM: Final = ("aarch64", "arm64")
_X86_BITS: Final = 0x8040  # of MXCSR: results are flushed to zero, operands that are subnormal are zero
_ARM_BITS: Final = 1 << 24  # of FPCR: both
_WORD: Final = ir.IntType(64)


def flush() -> int:
    """Let this thread's compiled code take subnormal numbers for 0, and return what ``restore`` sets back."""
    return 0


def restore(mode: Any) -> None:
    """Set back how this thread takes subnormal numbers."""


def _mxcsr(builder: Any, name: str, slot: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(slot, cgutils.voidptr_t)])


def _emit_flush(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if platform.machine() in _X86:
        word = ir.IntType(32)
        old, new = (cgutils.alloca_once(builder, word) for _ in range(2))
        _mxcsr(builder, "stmxcsr", old)
        mode = builder.load(old)
        builder.store(builder.or_(mode, ir.Constant(word, _X86_BITS)), new)
        _mxcsr(builder, "ldmxcsr", new)
        return builder.zext(mode, _WORD)
    if platform.machine() in _ARM:
        mode = builder.asm(ir.FunctionType(_WORD, []), "mrs $0, fpcr", "=r", [], True)
        _set_fpcr(builder, builder.or_(mode, ir.Constant(_WORD, _ARM_BITS)))
        return mode
    return ir.Constant(_WORD, 0)


def _emit_restore(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if platform.machine() in _X86:
        slot = cgutils.alloca_once(builder, ir.IntType(32))
        builder.store(builder.trunc(args[0], ir.IntType(32)), slot)
        _mxcsr(builder, "ldmxcsr", slot)
    elif platform.machine() in _ARM:
        _set_fpcr(builder, args[0])
    return context.get_dummy_value()


def _set_fpcr(builder: Any, mode: Any) -> None:
    builder.asm(ir.FunctionType(ir.VoidType(), [_WORD]), "msr fpcr, $0", "r", [mode], True)


compiles(flush, lambda _: signature(types.uint64), 0, _emit_flush)
compiles(restore, lambda _, mode: signature(types.void, types.uint64), 1, _emit_restore)


@jit_exact
def _flush() -> Any:
    return flush()


@jit_exact
def _restore(mode: Any) -> None:
    restore(mode)


class Flushed:
    """Compiled code that is called in a ``with`` block takes subnormal numbers for 0."""

    def __enter__(self) -> None:
        self._mode = _flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._mode)
