"""What calls of known functions are recorded as: builtins, ``math``, ``numpy``'s of one number, ``neuroctl.maths``."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from neuroctl.maths import activations, logarithm, noise, packs, rounding, scalars, trigonometry
from neuroctl.tracing.graph import Graph, Node

Recorder = Callable[..., Any]
"""Takes the graph and the arguments."""


def is_traced(value: Any) -> bool:
    """Return whether something of a value, which may be a tuple, depends on what the function is given."""
    return any(map(is_traced, value)) if isinstance(value, (tuple, list)) else isinstance(value, Node)


def _operation(kind: str) -> Recorder:
    return lambda graph, *operands: graph.make(kind, *operands)


def _least(graph: Graph, *values: Any) -> Any:
    return _chosen(graph, "lt", values)


def _largest(graph: Graph, *values: Any) -> Any:
    return _chosen(graph, "gt", values)


def _chosen(graph: Graph, better: str, values: Any) -> Any:
    """Return the first of the best, as Python does."""
    rows = tuple(values[0]) if len(values) == 1 else values
    best = rows[0]
    for value in rows[1:]:
        best = graph.where(graph.make(better, value, best), value, best)
    return best


def _sum(graph: Graph, values: Any, start: Any = 0.0) -> Any:
    total = start
    for value in values:
        total = graph.make("add", total, value)
    return total


def as_number(graph: Graph, value: Any) -> Any:
    """Return 1 or 0 for a truth value, all else as it is."""
    if isinstance(value, Node) and value.boolean:
        return graph.where(value, 1.0, 0.0)
    return float(value) if isinstance(value, (bool, str)) else value


def as_truth(graph: Graph, value: Any) -> Any:
    """Return whether a number is not 0; a truth value as it is."""
    if isinstance(value, Node):
        return value if value.boolean else graph.make("ne", value, 0.0)
    return bool(value)


def _copysign(graph: Graph, size: Any, sign: Any) -> Any:
    size = graph.make("abs", size)
    if not isinstance(sign, Node):
        return size if math.copysign(1.0, sign) > 0 else graph.make("neg", size)
    return graph.where(graph.make("lt", sign, 0.0), graph.make("neg", size), size)


def _sign(graph: Graph, x: Any) -> Any:
    return graph.where(graph.make("gt", x, 0.0), 1.0, graph.where(graph.make("lt", x, 0.0), -1.0, 0.0))


def _fmod(graph: Graph, a: Any, b: Any) -> Any:
    return graph.make("sub", a, graph.make("mul", b, graph.make("trunc", graph.make("div", a, b))))


def _scaled(kind: str, factor: float) -> Recorder:
    return lambda graph, x: graph.make("mul", graph.make(kind, x), factor)


def _times(factor: float) -> Recorder:
    return lambda graph, x: graph.make("mul", x, factor)


def _log(graph: Graph, x: Any, base: Any = None) -> Any:
    value = graph.make("log", x)
    return value if base is None else graph.make("div", value, graph.make("log", base))


def _relu(graph: Graph, x: Any) -> Any:
    return graph.where(graph.make("gt", x, 0.0), x, 0.0)


def _hard_tanh(graph: Graph, x: Any) -> Any:
    low = graph.where(graph.make("le", x, -1.0), -1.0, x)
    return graph.where(graph.make("ge", x, 1.0), 1.0, low)


def _length(graph: Graph, value: Any) -> int:
    return len(value)


def _finite(graph: Graph, x: Any) -> Any:
    return graph.make("lt", graph.make("abs", x), math.inf)


def power(graph: Graph, x: Any, exponent: Any) -> Any:
    """Return x to a power; by products where the exponent is a known whole number, as compiled code does."""
    if not isinstance(exponent, Node) and exponent == int(exponent) and abs(exponent) <= 64:
        if not isinstance(x, Node):
            return x**exponent
        if exponent < 0:
            return graph.make("div", 1.0, power(graph, x, -exponent))
        result, base, rest = 1.0, x, int(exponent)
        while rest:
            if rest % 2:
                result = graph.make("mul", result, base)
            rest //= 2
            base = graph.make("mul", base, base) if rest else base
        return result
    if not isinstance(exponent, Node) and exponent == 0.5:
        return graph.make("sqrt", x)
    return graph.make("pow", x, exponent)


_OF_MATH: Final = {
    name: _operation(name)
    for name in (
        "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp",
        "expm1", "log1p", "sqrt", "hypot", "floor", "ceil", "trunc",
    )
} | {
    "log": _log, "log2": _scaled("log", 1.0 / math.log(2.0)), "log10": _scaled("log", 1.0 / math.log(10.0)),
    "fabs": _operation("abs"), "pow": power, "copysign": _copysign, "fmod": _fmod,
    "radians": _times(math.pi / 180.0), "degrees": _times(180.0 / math.pi), "isfinite": _finite,
    "isnan": lambda graph, x: graph.make("ne", x, x),
    "isinf": lambda graph, x: graph.make("eq", graph.make("abs", x), math.inf),
}  # fmt: skip
_NUMPYS: Final = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "absolute": "fabs", "power": "pow",
}  # fmt: skip


def _draw(graph: Graph, *entries: Any) -> tuple[Any, ...]:
    """Record the next entries of a generator, whose derivatives by those before are 0."""
    rows = zip(entries, noise.MULTIPLIERS, noise.MODULI, strict=True)
    return tuple(_constant(graph, _residue(graph, graph.make("mul", float(k), x), float(m))) for x, k, m in rows)


def _residue(graph: Graph, x: Any, modulus: float) -> Any:
    quotient = graph.make("round", graph.make("mul", x, 1.0 / modulus))
    rest = graph.make("sub", x, graph.make("mul", modulus, quotient))
    return graph.where(graph.make("lt", rest, 0.0), graph.make("add", rest, modulus), rest)


def _constant(graph: Graph, whole: Any) -> Any:
    """Return a whole number with the derivative 0: what rounding leaves as it is."""
    return graph.make("round", whole)


def _table() -> Mapping[Any, Recorder]:
    table: dict[Any, Recorder] = {getattr(math, name): recorder for name, recorder in _OF_MATH.items()}
    for name, recorder in _OF_MATH.items():
        if isinstance(function := getattr(np, name, None), np.ufunc):
            table[function] = recorder
    table |= {getattr(np, name): _OF_MATH[of] for name, of in _NUMPYS.items()}
    table |= {np.minimum: _least, np.maximum: _largest, np.sign: _sign, np.rint: _operation("round")}
    table |= {getattr(trigonometry, name): _operation(name) for name in ("sin", "cos", "atan")}
    table |= {getattr(activations, name): _operation(name) for name in ("logistic", "tanh", "decay")}
    table |= {logarithm.log1p: _operation("log1p")}
    table |= {rounding.nearest: _operation("round"), noise.draw: _draw}
    table |= {activations.relu: _relu, activations.hard_tanh: _hard_tanh}
    table |= {
        scalars.zero: lambda graph, x: 0.0,
        scalars.one: lambda graph, x: 1.0,
        packs.like: lambda graph, x, value: value,
        packs.select: lambda graph, mask, a, b: graph.where(as_truth(graph, mask), a, b),
    }
    for cast in (builtins.float, np.float32, np.float64):
        table[cast] = as_number
    table |= {
        builtins.abs: _operation("abs"), builtins.min: _least, builtins.max: _largest, builtins.sum: _sum,
        builtins.len: _length, builtins.bool: as_truth, builtins.round: _operation("round"),
        builtins.int: lambda graph, x: graph.make("trunc", as_number(graph, x)), builtins.pow: power,
    }  # fmt: skip
    return MappingProxyType(table)


KNOWN: Final = _table()
"""What a call of these functions is recorded as, by the function itself."""

OVER: Final = MappingProxyType({
    builtins.range: lambda *a: tuple(range(*map(int, a))), builtins.enumerate: lambda *a: tuple(enumerate(*a)),
    builtins.zip: lambda *a: tuple(zip(*a, strict=False)), builtins.reversed: lambda a: tuple(reversed(a)),
    builtins.tuple: tuple,
})  # fmt: skip
"""What loops go over, by the function that gives it."""
