"""The graph that a plant's functions are recorded in: each value once, constants folded, and who is computed when.

A value is a number, which is known, or a ``Node``, which depends on what the function is given. A node that stands in
one branch of a condition only, has that ``Guard``: where the condition does not hold the node may be NaN or Inf, and
nothing that comes of it counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

MAX_NODES: Final = 50_000
"""Largest number of operations of a function; compiling more takes minutes."""


class TooLarge(Exception):
    """A function has more operations than ``MAX_NODES``."""


@dataclass(eq=False)
class Guard:
    """A branch: the condition under which what is recorded in it counts, and the branch around it.

    Args:
        parent: the branch around it; None at the outermost.
        holds: the whole condition, of the branches around it too.
        depth: how many branches lie around it.
        risky: whether something in it can become NaN or Inf at finite numbers.

    """

    parent: Guard | None
    holds: Value
    depth: int
    risky: bool = False


@dataclass(eq=False, slots=True)
class Node:
    """A value that depends on what a function is given.

    Args:
        graph: that it belongs to.
        index: its place, after those of its operands.
        kind: name of its ``Operation``; ``"input"`` of what a function is given, with its text as the only operand.
        operands: what it is made of.
        boolean: whether it is a truth value.
        guard: the branch that it is computed for; None: always.

    """

    graph: Graph
    index: int
    kind: str
    operands: tuple[Any, ...]
    boolean: bool
    guard: Guard | None = None

    def __add__(self, other: Value) -> Value:
        return self.graph.make("add", self, other)

    def __radd__(self, other: Value) -> Value:
        return self.graph.make("add", other, self)

    def __sub__(self, other: Value) -> Value:
        return self.graph.make("sub", self, other)

    def __rsub__(self, other: Value) -> Value:
        return self.graph.make("sub", other, self)

    def __mul__(self, other: Value) -> Value:
        return self.graph.make("mul", self, other)

    def __rmul__(self, other: Value) -> Value:
        return self.graph.make("mul", other, self)

    def __truediv__(self, other: Value) -> Value:
        return self.graph.make("div", self, other)

    def __rtruediv__(self, other: Value) -> Value:
        return self.graph.make("div", other, self)

    def __neg__(self) -> Value:
        return self.graph.make("neg", self)


Value: TypeAlias = Any
"""A number or a truth value: known, or a node."""


def _key(value: Any) -> Any:
    if isinstance(value, Node):
        return value.index
    return value if isinstance(value, str) else float(value).hex()


def _is(value: Any, number: float) -> bool:
    return not isinstance(value, Node) and value == number


def _without_work(kind: str, a: Any, b: Any) -> Any:
    """Return what a sum, difference, product or quotient is where one of the two is 0 or 1; None: as it is."""
    if kind == "add":
        return b if _is(a, 0) else a if _is(b, 0) else None
    if kind == "sub":
        return a if _is(b, 0) else -b if _is(a, 0) else None
    if kind == "mul":
        if _is(a, 0) or _is(b, 0):
            return 0.0
        return b if _is(a, 1) else a if _is(b, 1) else -b if _is(a, -1) else -a if _is(b, -1) else None
    if kind == "div":
        return 0.0 if _is(a, 0) else a if _is(b, 1) else None
    return None


@dataclass(eq=False)
class Graph:
    """Values in the order in which they can be computed.

    Args:
        operations: an ``Operation`` by kind.

    """

    operations: Mapping[str, Any]
    nodes: list[Node] = field(default_factory=list)
    guard: Guard | None = None
    _known: dict[Any, Node] = field(default_factory=dict)
    _finished: bool = False

    def input(self, text: str) -> Node:
        """Return the value that has this text in the function that is written."""
        return self._node("input", (text,), False)

    def make(self, kind: str, *operands: Any) -> Any:
        """Return an operation's value: a number if all operands are, else a node, the same one for the same operands.

        Raises:
            ArithmeticError: of numbers, as Python raises it.
            ValueError: of numbers, as Python raises it.
            TooLarge: there are too many nodes.

        """
        operation = self.operations[kind]
        if not any(isinstance(value, Node) for value in operands):
            return operation.plain(*operands)
        if kind == "where":
            return self._where(*operands)
        if operation.boolean and kind in ("and", "or"):
            return self._both(kind, *operands)
        if len(operands) == 2 and (value := _without_work(kind, *operands)) is not None:
            return value
        if kind == "neg" and operands[0].kind == "neg":
            return operands[0].operands[0]
        if kind == "not" and operands[0].kind == "not":
            return operands[0].operands[0]
        if operation.commutes and _order(operands[0]) > _order(operands[1]):
            operands = operands[::-1]
        return self._node(kind, operands, operation.boolean)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a where a condition holds, else b."""
        return self.make("where", condition, a, b)

    def _where(self, condition: Any, a: Any, b: Any) -> Any:
        if not isinstance(condition, Node):
            return a if condition else b
        if a is b or (not isinstance(a, Node) and not isinstance(b, Node) and a == b):
            return a
        if _truth(a) and _truth(b):
            return self.make("or", self.make("and", condition, a), self.make("and", self.make("not", condition), b))
        a, b = (self._where(each, 1.0, 0.0) if _is_traced_truth(each) else each for each in (a, b))
        if condition.kind == "not":
            condition, a, b = condition.operands[0], b, a
        return self._node("where", (condition, a, b), False)

    def _both(self, kind: str, a: Any, b: Any) -> Any:
        for one, other in ((a, b), (b, a)):
            if not isinstance(one, Node):
                decides = bool(one) is (kind == "or")
                return bool(one) if decides else other
        return a if a is b else self._node(kind, (a, b), True)

    @contextmanager
    def under(self, condition: Value) -> Iterator[None]:
        """Record what counts only where a condition holds."""
        outer = self.guard
        whole = condition if outer is None else self.make("and", outer.holds, condition)
        self.guard = Guard(outer, whole, 1 if outer is None else outer.depth + 1)
        try:
            yield
        finally:
            self.guard = outer

    def finish(self) -> None:
        """Keep all branches as they are, whatever is recorded from now on."""
        self.guard, self._finished = None, True

    def _node(self, kind: str, operands: tuple[Any, ...], boolean: bool) -> Node:
        key = (kind, *map(_key, operands))
        node = self._known.get(key)
        if node is None:
            if len(self.nodes) >= MAX_NODES:
                raise TooLarge
            node = Node(self, len(self.nodes), kind, operands, boolean, self.guard)
            self.nodes.append(node)
            self._known[key] = node
        elif not self._finished:
            node.guard = _around(node.guard, self.guard)
        if kind != "input" and self.operations[kind].risky:
            _mark(self.guard)
        return node


def _around(a: Guard | None, b: Guard | None) -> Guard | None:
    """Return the innermost branch that holds both."""
    while a is not b:
        if a is None or b is None:
            return None
        if a.depth >= b.depth:
            a = a.parent
        else:
            b = b.parent
    return a


def _mark(guard: Guard | None) -> None:
    while guard is not None and not guard.risky:
        guard.risky = True
        guard = guard.parent


def _order(value: Any) -> tuple[int, float]:
    return (1, value.index) if isinstance(value, Node) else (0, float(value))


def _truth(value: Any) -> bool:
    return value.boolean if isinstance(value, Node) else isinstance(value, bool)


def _is_traced_truth(value: Any) -> bool:
    return isinstance(value, Node) and value.boolean
