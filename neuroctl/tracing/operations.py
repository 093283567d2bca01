"""The operations that a plant's functions are recorded as: their text, what they give of numbers, their derivatives.

A derivative takes the change ``g`` of a loss with a node, and returns the change with each of its operands; of a whole
number or a truth value it is 0. At a kink and where a slope is infinite there is no derivative; what is taken there is
always finite:

- ``abs`` at 0: 0; ``relu`` and ``hard_tanh`` at their corners: 0
- a condition, and with it ``min``, ``max`` and a clip: the slope of the branch that is taken; nothing comes of the
  condition itself
- ``floor``, ``ceil``, ``trunc``, ``int``, ``round`` and a table's index: 0; so a remainder's slope is 1
- ``sqrt``, ``hypot``, ``log``, ``asin``, ``acos``, ``acosh``, ``atan2`` and powers where their slope is infinite: 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from neuroctl.maths import activations, logarithm, trigonometry
from neuroctl.tracing.graph import Node, Value

Derivative = Callable[[Node, Value], tuple[Any, ...]]


def _none(node: Node, g: Value) -> tuple[Any, ...]:
    return (0.0,) * len(node.operands)


@dataclass(frozen=True)
class Operation:
    """One operation.

    Args:
        text: how it is written, with ``{0}`` and so on for its operands.
        plain: what it gives of numbers.
        derivative: see above.
        boolean: whether it gives a truth value.
        commutes: whether its operands may be swapped.
        risky: whether it, or its derivative, can be NaN or Inf at finite numbers.
        call: the function that the text calls ``_own_name``, which is then imported; None: none.

    """

    text: str
    plain: Callable[..., Any]
    derivative: Derivative = _none
    boolean: bool = False
    commutes: bool = False
    risky: bool = False
    call: Callable[..., Any] | None = None


def _where(condition: Any, a: Any, b: Any) -> Any:
    return condition.graph.where(condition, a, b) if isinstance(condition, Node) else (a if condition else b)


def _make(node: Node, kind: str, *operands: Any) -> Any:
    return node.graph.make(kind, *operands)


def _above(node: Node, value: Any, limit: Any, slope: Callable[[], Any]) -> Any:
    """Return a slope where a value is above a limit, else 0: there the slope is infinite or none."""
    return _where(_make(node, "gt", value, limit), slope(), 0.0)


def _of_quotient(node: Node, g: Value) -> tuple[Any, ...]:
    _, b = node.operands
    if not isinstance(b, Node):
        return g * (1.0 / b), 0.0
    share = g / b
    return share, -(share * node)


def _of_abs(node: Node, g: Value) -> tuple[Any, ...]:
    a = node.operands[0]
    return (_where(_make(node, "gt", a, 0.0), g, _where(_make(node, "lt", a, 0.0), -g, 0.0)),)


def _of_choice(node: Node, g: Value) -> tuple[Any, ...]:
    condition = node.operands[0]
    return 0.0, _where(condition, g, 0.0), _where(condition, 0.0, g)


def _of_remainder(node: Node, g: Value) -> tuple[Any, ...]:
    a, b = node.operands
    return g, 0.0 if not isinstance(b, Node) else -(g * ((a - node) / b))


def _of_power(node: Node, g: Value) -> tuple[Any, ...]:
    x, p = node.operands
    base = _above(node, x, 0.0, lambda: g * p * node / x) if isinstance(x, Node) else 0.0
    exponent = 0.0
    if isinstance(p, Node):
        exponent = _above(node, x, 0.0, lambda: g * node * _make(node, "log", x))
    return base, exponent


def _of_atan2(node: Node, g: Value) -> tuple[Any, ...]:
    y, x = node.operands
    square = x * x + y * y
    share = _above(node, square, 0.0, lambda: g / square)
    return share * x, -(share * y)


def _of_hypot(node: Node, g: Value) -> tuple[Any, ...]:
    a, b = node.operands
    share = _above(node, node, 0.0, lambda: g / node)
    return share * a, share * b


def _with_slope(slope: Callable[[Node, Any], Any]) -> Derivative:
    """Return the derivative of a function of one number from its slope, of the node and its operand."""
    return lambda node, g: (g * slope(node, node.operands[0]),)


def _where_finite(within: Callable[[Node, Any], Any], slope: Callable[[Node, Any], Any]) -> Derivative:
    """Return the same, 0 where ``within`` is not above 0."""
    return lambda node, g: (
        _above(node, within(node, node.operands[0]), 0.0, lambda: g * slope(node, node.operands[0])),
    )


def _root(node: Node, value: Any) -> Any:
    return _make(node, "sqrt", value)


_ARITHMETIC: Final = {
    "add": Operation("{0} + {1}", lambda a, b: a + b, lambda node, g: (g, g), commutes=True),
    "sub": Operation("{0} - {1}", lambda a, b: a - b, lambda node, g: (g, -g)),
    "mul": Operation(
        "{0} * {1}", lambda a, b: a * b, lambda node, g: (g * node.operands[1], g * node.operands[0]), commutes=True
    ),
    "div": Operation("{0} / {1}", lambda a, b: a / b, _of_quotient, risky=True),
    "mod": Operation("{0} % {1}", lambda a, b: a % b, _of_remainder, risky=True),
    "neg": Operation("-{0}", lambda a: -a, lambda node, g: (-g,)),
    "abs": Operation("abs({0})", abs, _of_abs),
    "pow": Operation("{0} ** {1}", lambda a, b: a**b, _of_power, risky=True),
    "where": Operation("{1} if {0} else {2}", lambda c, a, b: a if c else b, _of_choice),
}
_TRUTHS: Final = {
    "lt": Operation("{0} < {1}", lambda a, b: a < b, boolean=True),
    "le": Operation("{0} <= {1}", lambda a, b: a <= b, boolean=True),
    "gt": Operation("{0} > {1}", lambda a, b: a > b, boolean=True),
    "ge": Operation("{0} >= {1}", lambda a, b: a >= b, boolean=True),
    "eq": Operation("{0} == {1}", lambda a, b: a == b, boolean=True, commutes=True),
    "ne": Operation("{0} != {1}", lambda a, b: a != b, boolean=True, commutes=True),
    "and": Operation("{0} & {1}", lambda a, b: a and b, boolean=True, commutes=True),
    "or": Operation("{0} | {1}", lambda a, b: a or b, boolean=True, commutes=True),
    "not": Operation("not {0}", lambda a: not a, boolean=True),
}
_WHOLE: Final = {
    "floor": Operation("np.floor({0})", math.floor),
    "ceil": Operation("np.ceil({0})", math.ceil),
    "trunc": Operation("np.trunc({0})", math.trunc),
    "round": Operation("np.rint({0})", round),
}
_FUNCTIONS: Final = {
    "sin": Operation(
        "_own_sin({0})", math.sin, _with_slope(lambda v, a: _make(v, "cos", a)), call=trigonometry.sin
    ),
    "cos": Operation(
        "_own_cos({0})", math.cos, _with_slope(lambda v, a: -_make(v, "sin", a)), call=trigonometry.cos
    ),
    "tan": Operation("math.tan({0})", math.tan, _with_slope(lambda v, a: v * v + 1.0), risky=True),
    "asin": Operation(
        "math.asin({0})", math.asin,
        _where_finite(lambda v, a: 1.0 - a * a, lambda v, a: 1.0 / _root(v, 1.0 - a * a)), risky=True,
    ),
    "acos": Operation(
        "math.acos({0})", math.acos,
        _where_finite(lambda v, a: 1.0 - a * a, lambda v, a: -1.0 / _root(v, 1.0 - a * a)), risky=True,
    ),
    "atan": Operation(
        "_own_atan({0})", math.atan, _with_slope(lambda v, a: 1.0 / (a * a + 1.0)), call=trigonometry.atan
    ),
    "atan2": Operation("math.atan2({0}, {1})", math.atan2, _of_atan2, risky=True),
    "hypot": Operation("math.hypot({0}, {1})", math.hypot, _of_hypot, risky=True),
    "sinh": Operation("math.sinh({0})", math.sinh, _with_slope(lambda v, a: _make(v, "cosh", a)), risky=True),
    "cosh": Operation("math.cosh({0})", math.cosh, _with_slope(lambda v, a: _make(v, "sinh", a)), risky=True),
    "tanh": Operation("_own_tanh({0})", math.tanh, _with_slope(lambda v, a: 1.0 - v * v), call=activations.tanh),
    "asinh": Operation("math.asinh({0})", math.asinh, _with_slope(lambda v, a: 1.0 / _root(v, a * a + 1.0))),
    "acosh": Operation(
        "math.acosh({0})", math.acosh,
        _where_finite(lambda v, a: a - 1.0, lambda v, a: 1.0 / _root(v, a * a - 1.0)), risky=True,
    ),
    "atanh": Operation(
        "math.atanh({0})", math.atanh,
        _where_finite(lambda v, a: 1.0 - a * a, lambda v, a: 1.0 / (1.0 - a * a)), risky=True,
    ),
    "exp": Operation("math.exp({0})", math.exp, _with_slope(lambda v, a: v), risky=True),
    "expm1": Operation("math.expm1({0})", math.expm1, _with_slope(lambda v, a: v + 1.0), risky=True),
    "log": Operation(
        "math.log({0})", math.log, _where_finite(lambda v, a: a, lambda v, a: 1.0 / a), risky=True
    ),
    "log1p": Operation(
        "_own_log1p({0})", math.log1p,
        _where_finite(lambda v, a: 1.0 + a, lambda v, a: 1.0 / (a + 1.0)), risky=True, call=logarithm.log1p,
    ),
    "sqrt": Operation(
        "math.sqrt({0})", math.sqrt, _where_finite(lambda v, a: v, lambda v, a: 0.5 / v), risky=True
    ),
    "logistic": Operation(
        "_own_logistic({0})", activations.logistic, _with_slope(lambda v, a: v * (1.0 - v)), call=activations.logistic
    ),
    "decay": Operation(
        "_own_decay({0})", activations.decay, _with_slope(lambda v, a: 1.0 - v), risky=True, call=activations.decay
    ),
}  # fmt: skip

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(_ARITHMETIC | _TRUTHS | _WHOLE | _FUNCTIONS)
"""All operations by kind."""
