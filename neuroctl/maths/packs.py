"""Packs: several lanes as one value, so that one source serves a single controller and a block of lanes.

A pack is an LLVM vector: ``float32x16``, ``float64x8``, ``int32x16``, or ``int64x16``, in which integer steps count.
Code that is written with ``load``, ``store`` and ``select`` works on all forms, and Numba decides by the types which
one it compiles:

- ``a[K]``: ``load(a, k)`` is a number, as for one controller or a GPU's thread;
- ``a[K, W]``, a block of W lanes: ``load(a, k)`` is a pack, and arithmetic with it is done in all lanes at once;
- ``a[K, 2, W]``: ``load(a, k)`` is a pack of twice the width, in two registers. A weight that is read for one of them
  serves the other too.

A number beside a pack counts in all lanes: parameters ``[K]`` with a state ``[K, W]`` are lanes that share weights.
Such numbers have to be of the pack's element type: a float64 that slips into float32 arithmetic does not compile.
Comparisons of packs are masks for ``select``, which takes the place of a branch.

LLVM splits packs on processors whose vectors are narrower. With the JIT disabled a pack is a NumPy row.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

BYTES: Final = 64
"""Size of a pack: a cache line, and the widest vector registers that there are."""


def lanes_of(dtype: Any) -> int:
    """Return how many lanes a pack of floats has: 16 of float32, 8 of float64."""
    return BYTES // np.dtype(dtype).itemsize


class Pack(types.Type):
    """Numba's type of a pack."""

    def __init__(self, element: Any, width: int):
        self.element = element
        self.width = width
        super().__init__(name=f"{element}x{self.width}")

    @property
    def mask(self) -> Mask:
        """Type of what comparing two of these gives."""
        return MASKS[self.width]


class Mask(types.Type):
    """Numba's type of the truth values of a pack's lanes."""

    def __init__(self, width: int):
        self.width = width
        super().__init__(name=f"boolean x{width}")


FLOAT32, FLOAT64 = Pack(types.float32, 16), Pack(types.float64, 8)
INT32, INT64 = Pack(types.int32, 16), Pack(types.int64, 16)
FLOAT32_PAIR, FLOAT64_PAIR, INT32_PAIR = Pack(types.float32, 32), Pack(types.float64, 16), Pack(types.int32, 32)
_ALL: Final = (FLOAT32, FLOAT64, INT32, INT64, FLOAT32_PAIR, FLOAT64_PAIR, INT32_PAIR)
_OF_WIDTH: Final = {(pack.element, pack.width): pack for pack in _ALL}
MASKS: Final = {width: Mask(width) for width in (8, 16, 32)}
_LLVM: Final = {
    types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
}  # fmt: skip
_I32: Final = ir.IntType(32)
_FLOATS, _INTS = (FLOAT32, FLOAT64, FLOAT32_PAIR, FLOAT64_PAIR), (INT32, INT64, INT32_PAIR)
_ROWS: Final = {  # by the array's element and number of axes
    **{(pack.element, 2): pack for pack in (FLOAT32, FLOAT64, INT32, INT64)},
    **{(pack.element, 3): pack for pack in (FLOAT32_PAIR, FLOAT64_PAIR, INT32_PAIR)},
}
_WHOLE: Final = (types.int32, types.int64, types.uint64, types.uint32)


def _vector(kind: Any) -> ir.VectorType:
    if isinstance(kind, Mask):
        return ir.VectorType(ir.IntType(1), kind.width)
    return ir.VectorType(_LLVM[kind.element], kind.width)


class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, _vector(kind))


register_model(Pack)(_Model)
register_model(Mask)(_Model)


def _splat(builder: Any, value: Any, width: int) -> Any:
    """Return a vector with the value in all lanes."""
    kind = ir.VectorType(value.type, width)
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, width), [0] * width))


def _fits(kind: Any, pack: Pack) -> bool:
    kind = types.unliteral(kind)
    return bool(kind in _WHOLE if pack in _INTS else kind == pack.element)


def _pack_of(args: Any) -> Pack | None:
    """Return the pack among arguments of which the others are such packs, or numbers that fit it."""
    packs = [a for a in args if isinstance(a, Pack)]
    if not packs or any(not (a == packs[0] or _fits(a, packs[0])) for a in args):
        return None
    return packs[0]


def _vectors(context: Any, builder: Any, kinds: Any, values: Any, pack: Pack) -> list[Any]:
    """Return values as vectors of a pack's type."""
    made = []
    for kind, value in zip(kinds, values, strict=True):
        if not isinstance(kind, (Pack, Mask)):
            value = _splat(builder, context.cast(builder, value, kind, pack.element), pack.width)
        made.append(value)
    return made


Emit = Callable[[Any, Any, Any], Any]


def _define(op: Any, packs: tuple[Pack, ...], emit: Emit, result: Callable[[Pack], Any] = lambda pack: pack) -> None:
    """Let ``op`` take two packs, or a pack and a number: ``emit(builder, a, b)`` on vectors."""

    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            pack = _pack_of(args)
            return signature(result(pack), *args) if len(args) == 2 and pack in packs else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pack = next(a for a in sig.args if isinstance(a, Pack))
        return emit(builder, *_vectors(context, builder, sig.args, args, pack))

    for pack in packs:
        lower_builtin(op, pack, pack)(lower)
        lower_builtin(op, pack, types.Number)(lower)
        lower_builtin(op, types.Number, pack)(lower)


def _instruction(name: str) -> Emit:
    return lambda builder, a, b: getattr(builder, name)(a, b)


def _comparison(kind: str, predicate: str) -> Emit:
    if kind == "float":
        compare = "fcmp_unordered" if predicate == "!=" else "fcmp_ordered"
        return lambda builder, a, b: getattr(builder, compare)(predicate, a, b)
    return lambda builder, a, b: builder.icmp_signed(predicate, a, b)


for _ops, _float, _int in (
    ((operator.add, operator.iadd), "fadd", "add"),
    ((operator.sub, operator.isub), "fsub", "sub"),
    ((operator.mul, operator.imul), "fmul", "mul"),
    ((operator.truediv, operator.itruediv), "fdiv", None),
    ((operator.and_,), None, "and_"),
    ((operator.or_,), None, "or_"),
    ((operator.lshift,), None, "shl"),
    ((operator.rshift,), None, "ashr"),
):
    for _op in _ops:
        if _float:
            _define(_op, _FLOATS, _instruction(_float))
        if _int:
            _define(_op, _INTS, _instruction(_int))
for _op, _predicate in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="),
    (operator.ne, "!="),
):  # fmt: skip
    _define(_op, _FLOATS, _comparison("float", _predicate), lambda pack: pack.mask)
    _define(_op, _INTS, _comparison("int", _predicate), lambda pack: pack.mask)


@infer_global(operator.neg)
@infer_global(abs)
class _Unary(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(args[0], args[0]) if len(args) == 1 and isinstance(args[0], Pack) else None


def _call(builder: Any, name: str, value: Any, suffix: str) -> Any:
    kind = ir.FunctionType(value.type, [value.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix}"), [value])


def _suffix(pack: Any) -> str:
    return f"v{pack.width}f{pack.element.bitwidth}"


@lower_builtin(operator.neg, Pack)
def _neg(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if sig.args[0] in _INTS:
        return builder.neg(args[0])
    return builder.fneg(args[0])


@lower_builtin(abs, Pack)
def _abs(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if sig.args[0] in _INTS:
        zero = ir.Constant(args[0].type, [0] * sig.args[0].width)
        return builder.select(builder.icmp_signed("<", args[0], zero), builder.neg(args[0]), args[0])
    return _call(builder, "fabs", args[0], _suffix(sig.args[0]))


@infer_global(operator.and_)
@infer_global(operator.or_)
class _Masks(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(args[0], *args) if isinstance(args[0], Mask) and args[0] == args[-1] else None


@lower_builtin(operator.and_, Mask, Mask)
def _and(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.and_(*args)


@lower_builtin(operator.or_, Mask, Mask)
def _or(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.or_(*args)


# --- Functions of both forms -------------------------------------------------------------------------------------
#
# Each is plain Python, which runs with the JIT disabled, and says how compiled code does it. Numba puts that straight
# into the caller. As functions that are called and inlined later, LLVM would vectorize the loops around them worse.


def compiles(plain: Callable[..., Any], typed: Callable[..., Any], count: int, emit: Callable[..., Any]) -> None:
    """Let compiled code call ``plain``, with ``count`` arguments.

    typed: gets the typing context and the arguments' types; returns the signature, or None
    emit: gets Numba's context, the builder, the signature and the arguments; returns the value
    """

    @infer_global(plain)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return typed(self.context, *map(types.unliteral, args)) if len(args) == count else None

    lower_builtin(plain, *[types.Any] * count)(emit)


def _row(context: Any, builder: Any, kind: Any, array: Any, k: Any) -> Any:
    """Return the address of row k; rows of an array that is not contiguous may lie apart, their lanes may not."""
    pack, fields = _pack_in(kind), context.make_array(kind)(context, builder, array)
    if kind.layout == "C":
        first = builder.gep(fields.data, [builder.mul(k, ir.Constant(k.type, pack.width))])
    else:
        step = builder.extract_value(fields.strides, 0)
        first = cgutils.pointer_add(builder, fields.data, builder.mul(k, step))
    return builder.bitcast(first, _vector(pack).as_pointer())


def _pack_in(kind: Any) -> Pack:
    """Return the pack that a row of an array is."""
    return _ROWS[kind.dtype, kind.ndim]


def _element_bytes(kind: Any) -> int:
    return int(kind.dtype.bitwidth // 8)  # what rows are aligned to, at least: a caller's arrays may lie anywhere


def load(a: Any, k: Any) -> Any:
    """Return entry k of ``a[K]``, or row k of ``a[K, W]`` as a pack; k unsigned."""
    value = a[k]
    return value.copy() if isinstance(value, np.ndarray) else value


def _load_type(context: Any, a: Any, k: Any) -> Any:
    return signature(a.dtype if a.ndim == 1 else _pack_in(a), a, types.uint64)


def _emit_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array = sig.args[0]
    if array.ndim == 1:
        return context.get_function(operator.getitem, signature(array.dtype, *sig.args))(builder, args)
    return builder.load(_row(context, builder, array, *args), align=_element_bytes(array))


compiles(load, _load_type, 2, _emit_load)


def wide(a: Any, k: Any) -> Any:
    """Return entry k of ``a[K]``, or row k of ``a[K, W]``, as ``load``, but in int64, in which integer steps count."""
    return np.asarray(a[k], np.int64)[()]


def _emit_wide(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = _emit_load(context, builder, sig, args)
    if sig.args[0].ndim == 1:
        return context.cast(builder, value, sig.args[0].dtype, types.int64)
    return value if sig.args[0].dtype == types.int64 else builder.sext(value, _vector(INT64))


compiles(
    wide, lambda _, a, k: signature(types.int64 if a.ndim == 1 else INT64, a, types.uint64), 2, _emit_wide
)  # fmt: skip


def store(a: Any, k: Any, value: Any) -> None:
    """Write entry k of ``a[K]``, or row k of ``a[K, W]``: a pack, or a number for all lanes; int64 becomes int32."""
    a[k] = value


def _emit_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array, _, kind = sig.args
    if array.ndim == 1:
        write = context.get_function(operator.setitem, signature(types.void, array, types.uint64, array.dtype))
        return write(builder, (args[0], args[1], context.cast(builder, args[2], kind, array.dtype)))
    pack = _pack_in(array)
    vector = _vectors(context, builder, [kind], [args[2]], pack)[0]
    if vector.type != _vector(pack):
        vector = builder.trunc(vector, _vector(pack))
    builder.store(vector, _row(context, builder, array, args[0], args[1]), align=_element_bytes(array))
    return context.get_dummy_value()


compiles(store, lambda _, a, k, value: signature(types.void, a, types.uint64, value), 3, _emit_store)


def like(x: Any, value: float) -> Any:
    """Return a number in the type of x: float32 for a float32, a pack with it in all lanes for a pack; packs stay."""
    return np.full_like(x, value)[()] if isinstance(x, np.ndarray) else type(x)(value)


def _emit_like(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if isinstance(sig.args[0], Pack):
        return _vectors(context, builder, sig.args[1:], args[1:], sig.args[0])[0]
    return context.cast(builder, args[1], sig.args[1], sig.args[0])


compiles(like, lambda _, x, value: signature(x, x, value), 2, _emit_like)


def select(mask: Any, a: Any, b: Any) -> Any:
    """Return a where the mask is true, else b: of numbers one of them, of packs lane by lane."""
    if isinstance(mask, np.ndarray):
        return np.where(mask, a, b)
    return a if mask else b


def _select_type(context: Any, mask: Any, a: Any, b: Any) -> Any:
    result = _pack_of((a, b)) if isinstance(mask, Mask) else context.unify_types(a, b)
    if result is None and isinstance(mask, Mask):
        result = _OF_WIDTH.get((context.unify_types(a, b), mask.width))
    return None if result is None else signature(result, mask, a, b)


def _emit_select(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    mask, a, b = args
    if isinstance(sig.args[0], Mask):
        return builder.select(mask, *_vectors(context, builder, sig.args[1:], (a, b), sig.return_type))
    a, b = (context.cast(builder, x, kind, sig.return_type) for x, kind in zip((a, b), sig.args[1:], strict=True))
    return builder.select(context.cast(builder, mask, sig.args[0], types.boolean), a, b)


compiles(select, _select_type, 3, _emit_select)


def any_lane(mask: Any) -> Any:
    """Return whether a truth value is true, or one of a mask's."""
    return bool(np.any(mask))


def _emit_any(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if not isinstance(sig.args[0], Mask):
        return args[0]
    bits = builder.bitcast(args[0], ir.IntType(sig.args[0].width))
    return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))


compiles(any_lane, lambda _, mask: signature(types.boolean, mask), 1, _emit_any)


def first(x: Any) -> Any:
    """Return the first lane of a pack, or the number itself: of what is the same in all lanes."""
    return x.flat[0] if isinstance(x, np.ndarray) else x


def _emit_first(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.extract_element(args[0], ir.Constant(_I32, 0)) if isinstance(sig.args[0], Pack) else args[0]


compiles(first, lambda _, x: signature(x.element if isinstance(x, Pack) else x, x), 1, _emit_first)


def bits_of(x: Any) -> Any:
    """Return the bits of a float32, or of a pack of them, as int32."""
    return x.view(np.int32)


def float_of(bits: Any) -> Any:
    """Return the float32, or the pack of them, that has these bits."""
    return np.asarray(bits, np.int32).view(np.float32)[()]


def _emit_bits(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.bitcast(args[0], context.get_value_type(sig.return_type))


def _bits_type(element: types.Type, source: types.Type) -> Callable[..., Any]:
    return lambda _, x: signature(_OF_WIDTH[element, x.width], x) if isinstance(x, Pack) else signature(element, source)


compiles(bits_of, _bits_type(types.int32, types.float32), 1, _emit_bits)
compiles(float_of, _bits_type(types.float32, types.int32), 1, _emit_bits)


def entry(table: Any, index: Any) -> Any:
    """Return entries of an int32 table ``[N]`` as int64: of one index, or of an index in each lane."""
    return np.asarray(table[index], np.int64)[()]


def _emit_entry(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if sig.return_type == types.int64:
        return _emit_wide(context, builder, signature(types.int64, sig.args[0], types.uint64), args)
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    start, four, width = builder.ptrtoint(data, ir.IntType(64)), ir.Constant(ir.IntType(64), 4), INT64.width
    places = builder.add(_splat(builder, start, width), builder.mul(args[1], _splat(builder, four, width)))
    narrow, pointers, bits = _vector(INT32), ir.VectorType(data.type, width), ir.VectorType(ir.IntType(1), width)
    gather = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(narrow, [pointers, _I32, bits, narrow]),
        f"llvm.masked.gather.v{width}i32.v{width}p0",
    )
    all_lanes, nothing = ir.Constant(bits, [1] * width), ir.Constant(narrow, ir.Undefined)
    entries = builder.call(gather, [builder.inttoptr(places, pointers), ir.Constant(_I32, 4), all_lanes, nothing])
    return builder.sext(entries, _vector(INT64))


def _entry_type(context: Any, table: Any, index: Any) -> Any:
    return signature(INT64, table, index) if isinstance(index, Pack) else signature(types.int64, table, types.uint64)


compiles(entry, _entry_type, 2, _emit_entry)


def accumulate(a: Any, k: Any, value: Any) -> None:
    """Add to entry k of ``a[K]`` or to row k of ``a[K, W]``; of a pack, a single entry gets the sum of its lanes."""
    a[k] += value.sum() if a.ndim == 1 and isinstance(value, np.ndarray) else value


def _emit_accumulate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array, index, kind = sig.args
    value = args[2]
    if array.ndim == 1 and isinstance(kind, Pack):
        function = ir.FunctionType(_LLVM[kind.element], [_LLVM[kind.element], value.type])
        reduce = cgutils.get_or_insert_function(builder.module, function, f"llvm.vector.reduce.fadd.{_suffix(kind)}")
        value = builder.call(reduce, [ir.Constant(_LLVM[kind.element], -0.0), value], fastmath=("reassoc",))
        kind = kind.element
    before = _emit_load(context, builder, signature(kind, array, index), args[:2])
    return _emit_store(
        context, builder, sig.replace(args=(array, index, kind)), (*args[:2], builder.fadd(before, value))
    )


compiles(accumulate, lambda _, a, k, value: signature(types.void, a, types.uint64, value), 3, _emit_accumulate)


def turn(a: Any, k: Any, a_step: Any, b: Any, j: Any, b_step: Any) -> None:
    """Copy a square of W numbers a side from ``a[N]`` to ``b[M]``, with rows and columns swapped.

    W numbers lie side by side at k, and again ``a_step`` further on; one of each comes to lie at j. All unsigned.
    """
    for row, column in np.ndindex(lanes_of(a.dtype), lanes_of(a.dtype)):
        b[j + column * b_step + row] = a[k + row * a_step + column]


def _emit_turn(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind, pack = sig.args[0], _ROWS[sig.args[0].dtype, 2]
    width, vector = pack.width, _vector(pack)

    def row(array: Any, array_type: Any, k: Any, step: Any, number: int) -> Any:
        place = builder.add(k, builder.mul(step, ir.Constant(step.type, number)))
        data = context.make_array(array_type)(context, builder, array).data
        return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

    rows = [builder.load(row(args[0], kind, args[1], args[2], i), align=_element_bytes(kind)) for i in range(width)]
    halves = [[i // 2 + i % 2 * width + half for i in range(width)] for half in (0, width // 2)]
    masks = [ir.Constant(ir.VectorType(_I32, width), half) for half in halves]
    for _ in range(width.bit_length() - 1):  # rows half of all apart are interleaved: the perfect shuffle
        pairs = zip(rows[: width // 2], rows[width // 2 :], strict=True)
        rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in masks]
    for i, value in enumerate(rows):
        builder.store(value, row(args[3], sig.args[3], args[4], args[5], i), align=_element_bytes(kind))
    return context.get_dummy_value()


compiles(turn, lambda _, *kinds: signature(types.void, *kinds), 6, _emit_turn)
