"""The interpreter that records a plant's functions: of its own text, every value known or a node of the graph.

Both branches of a condition that is not known are recorded, and what they leave is chosen by it; loops are unrolled.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

import numpy as np

from neuroctl.backends.plant import Plant
from neuroctl.errors import PlantError
from neuroctl.tracing.calls import KNOWN, OVER, as_number, as_truth, is_traced, power
from neuroctl.tracing.graph import MAX_NODES, Graph, Node, TooLarge
from neuroctl.tracing.sources import Definition, Definitions

_MAX_DEPTH: Final = 64  # of calls within calls
_MAX_TABLE: Final = 256  # entries that a traced index may choose from
_BINARY: Final = MappingProxyType({ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Mod: "mod"})
_COMPARES: Final = MappingProxyType(
    {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}
)
_NOTHING: Final = object()  # what a function has returned that has not yet


@dataclass(frozen=True)
class _Unset:
    """What a variable is that only one of two branches sets."""

    name: str


@dataclass(frozen=True)
class _Bind:
    """The assignment of a loop's variable, in an unrolled loop."""

    target: ast.expr
    value: Any
    lineno: int


class _Frame:
    """A call: the function's text, and its variables."""

    def __init__(self, definition: Definition, variables: dict[str, Any]):
        self.definition, self.variables, self.line = definition, variables, definition.first


class Interpreter:
    """Records functions of a plant, and those that they call, in a graph.

    Args:
        plant: whose functions they are.
        graph: takes what is recorded.

    """

    def __init__(self, plant: Plant, graph: Graph):
        self.plant, self.graph = plant, graph
        self._definitions, self._frames = Definitions(plant), list[_Frame]()

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what the plant's function of that name gives.

        Raises:
            PlantError: something in it cannot be recorded; names it, with its line, and what to write instead.

        """
        try:
            return self._enter(getattr(self.plant.module, name), arguments, {})
        except TooLarge:
            raise self.refusal(
                f"more than {MAX_NODES} operations", "fewer: loops are unrolled, and both branches recorded"
            ) from None

    def refusal(self, what: str, instead: str) -> PlantError:
        """Return the error that says what cannot be recorded, where, and what may stand there."""
        if not self._frames:
            return PlantError(f"{self.plant.name}: {what}; allowed in a gradient: {instead}")
        frame = self._frames[-1]
        where = frame.definition
        return PlantError(
            f"{self.plant.name}.{where.name}: {what} in {where.text(frame.line)!r} ({where.file}:{frame.line}); "
            f"allowed in a gradient: {instead}"
        )

    # --- Functions ---------------------------------------------------------------------------------------------------

    def _enter(self, function: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        definition = self._definitions.of(function)
        if definition is None:
            name = getattr(function, "__name__", None) or repr(function)
            raise self.refusal(
                f"a call of {name}",
                "functions written with def in the plant, of math, numpy and neuroctl.maths, on numbers",
            )
        if len(self._frames) >= _MAX_DEPTH:
            raise self.refusal("a call within too many others", f"{_MAX_DEPTH}; no function calls itself")
        frame = _Frame(definition, self._bound(definition, arguments, keywords))
        self._frames.append(frame)
        value = self._run(definition.body)
        if value is _NOTHING:
            raise self.refusal("no return", "a function that returns in every case")
        self._frames.pop()
        return value

    def _bound(self, definition: Definition, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = definition.signature.bind(*arguments, **keywords)
        except TypeError as error:
            raise self.refusal(f"a call of {definition.name}: {error}", "its arguments") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    # --- Statements --------------------------------------------------------------------------------------------------

    def _run(self, statements: Sequence[Any]) -> Any:
        """Run statements in the innermost call; return what they return, or ``_NOTHING``."""
        frame = self._frames[-1]
        for place, statement in enumerate(statements):
            frame.line = statement.lineno
            if isinstance(statement, ast.Return):
                return None if statement.value is None else self._value(statement.value)
            if isinstance(statement, ast.If):
                test = as_truth(self.graph, self._value(statement.test))
                if not isinstance(test, Node):
                    return self._run([*(statement.body if test else statement.orelse), *statements[place + 1 :]])
                if _returns(statement):
                    rest = statements[place + 1 :]
                    return self._either(test, [*statement.body, *rest], [*statement.orelse, *rest], merged=False)
                self._either(test, statement.body, statement.orelse, merged=True)
            elif isinstance(statement, ast.For):
                return self._run([*self._unrolled(statement), *statements[place + 1 :]])
            else:
                self._simple(statement)
        return _NOTHING

    def _either(self, test: Node, body: Sequence[Any], orelse: Sequence[Any], *, merged: bool) -> Any:
        """Run both branches; return what they return, or merge the variables that they leave."""
        frame, line = self._frames[-1], self._frames[-1].line
        before, values, variables = frame.variables, [], []
        for condition, statements in ((test, body), (self.graph.make("not", test), orelse)):
            frame.variables = dict(before)
            with self.graph.under(condition):
                values.append(self._run(statements))
            variables.append(frame.variables)
        frame.line = line
        if not merged:
            if any(value is _NOTHING for value in values):
                raise self.refusal("no return in one of the branches", "a function that returns in every case")
            return self._chosen(test, *values)
        frame.variables = {
            name: self._chosen(test, *(each.get(name, _Unset(name)) for each in variables))
            for name in dict.fromkeys([*variables[0], *variables[1]])
        }
        return _NOTHING

    def _chosen(self, test: Node, a: Any, b: Any) -> Any:
        """Return a where the test holds, else b, of tuples entry by entry."""
        if a is b:
            return a
        if isinstance(a, _Unset) or isinstance(b, _Unset):
            return a if isinstance(a, _Unset) else b
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            return tuple(self._chosen(test, x, y) for x, y in zip(a, b, strict=True))
        if _is_number(a) and _is_number(b):
            return self.graph.where(test, a, b)
        if not is_traced((a, b)) and type(a) is type(b) and a == b:
            return a
        raise self.refusal("branches that give different kinds of values", "numbers, or tuples of the same length")

    def _unrolled(self, loop: ast.For) -> list[Any]:
        over = self._value(loop.iter)
        if not isinstance(over, tuple):
            raise self.refusal("a loop over no tuple", "for over a tuple, or range with known bounds")
        if loop.orelse:
            raise self.refusal("else of a loop", "a loop without else")
        statements: list[Any] = []
        for value in over:
            statements += [_Bind(loop.target, value, loop.lineno), *loop.body]
        return statements

    def _simple(self, statement: Any) -> None:
        if isinstance(statement, _Bind):
            self._assign(statement.target, statement.value)
        elif isinstance(statement, ast.Assign):
            value = self._value(statement.value)
            for target in statement.targets:
                self._assign(target, value)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            self._assign(statement.target, self._value(statement.value))
        elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            before = self._name(statement.target.id)
            self._assign(statement.target, self._arithmetic(statement.op, before, self._value(statement.value)))
        elif isinstance(statement, ast.Expr):
            if not isinstance(statement.value, ast.Constant):
                self._value(statement.value)
        elif not isinstance(statement, ast.Pass):
            raise self.refusal(*_STATEMENTS.get(type(statement), (f"{_kind(statement)}", _SOME)))

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._frames[-1].variables[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)) and not any(isinstance(t, ast.Starred) for t in target.elts):
            if not isinstance(value, tuple) or len(value) != len(target.elts):
                raise self.refusal("an assignment to several names", "a tuple of as many values")
            for each, part in zip(target.elts, value, strict=True):
                self._assign(each, part)
        else:
            raise self.refusal("an assignment to no name", "names of variables, and a new tuple for a changed one")

    # --- Expressions -------------------------------------------------------------------------------------------------

    def _value(self, node: ast.expr) -> Any:
        method: Callable[[Any], Any] | None = getattr(self, f"_of_{type(node).__name__}", None)
        if method is None:
            raise self.refusal(*_EXPRESSIONS.get(type(node), (_kind(node), _SOME)))
        self._frames[-1].line = node.lineno
        return method(node)

    def _of_Constant(self, node: ast.Constant) -> Any:  # noqa: N802 - ast's names
        return node.value

    def _of_Name(self, node: ast.Name) -> Any:  # noqa: N802
        return self._name(node.id)

    def _name(self, name: str) -> Any:
        frame = self._frames[-1]
        for names in (frame.variables, frame.definition.globals, vars(builtins)):
            if name in names:
                value = names[name]
                if isinstance(value, _Unset):
                    raise self.refusal(f"{name}, which one branch does not set", "variables set in every case")
                return _constant(value)
        raise self.refusal(f"{name}, which is not set", "variables set in every case")

    def _of_Attribute(self, node: ast.Attribute) -> Any:  # noqa: N802
        owner = self._value(node.value)
        if not isinstance(owner, ModuleType) or not hasattr(owner, node.attr):
            raise self.refusal(f"the attribute {node.attr}", "functions and constants of modules")
        return _constant(getattr(owner, node.attr))

    def _of_Tuple(self, node: ast.Tuple) -> Any:  # noqa: N802
        values: list[Any] = []
        for each in node.elts:
            values += self._value(each.value) if isinstance(each, ast.Starred) else [self._value(each)]
        return tuple(values)

    def _of_BinOp(self, node: ast.BinOp) -> Any:  # noqa: N802
        return self._arithmetic(node.op, self._value(node.left), self._value(node.right))

    def _arithmetic(self, op: ast.operator, a: Any, b: Any) -> Any:
        if isinstance(op, ast.Add) and isinstance(a, tuple) and isinstance(b, tuple):
            return a + b
        a, b = self._number(a), self._number(b)
        if isinstance(op, (ast.Div, ast.FloorDiv, ast.Mod)) and not isinstance(b, Node) and b == 0:
            raise self.refusal("a division by 0", "divisors that are not 0")
        if isinstance(op, ast.Pow):
            return self._made(power, self.graph, a, b)
        if isinstance(op, ast.FloorDiv):
            quotient = self._made(self.graph.make, "div", a, b)
            return quotient.graph.make("floor", quotient) if isinstance(quotient, Node) else a // b
        if (kind := _BINARY.get(type(op))) is None:
            if is_traced((a, b)) or type(op) not in _OF_INTEGERS:
                raise self.refusal("an operation on bits", "+ - * / // % ** on numbers that the function is given")
            return self._made(_OF_INTEGERS[type(op)], a, b)
        return self._made(self.graph.make, kind, a, b)

    def _made(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what records or computes something, and refuse what Python cannot compute."""
        try:
            return function(*arguments)
        except (ArithmeticError, ValueError, TypeError, IndexError) as error:
            raise self.refusal(f"{error}", "what Python computes of these numbers") from None

    def _number(self, value: Any) -> Any:
        if not _is_number(value):
            raise self.refusal(f"a {_kind_of(value)} in arithmetic", "numbers")
        return as_number(self.graph, value) if isinstance(value, Node) else value

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        value = self._value(node.operand)
        if isinstance(node.op, ast.Not):
            return self.graph.make("not", as_truth(self.graph, value))
        if isinstance(node.op, ast.Invert):
            raise self.refusal("an operation on bits", "not, for truth values")
        value = self._number(value)
        return value if isinstance(node.op, ast.UAdd) else self.graph.make("neg", value)

    def _of_Compare(self, node: ast.Compare) -> Any:  # noqa: N802
        left, whole = self._value(node.left), True
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._value(right_node)
            if (kind := _COMPARES.get(type(op))) is None:
                raise self.refusal("in or is", "comparisons of numbers")
            both = self._number(left), self._number(right)
            whole = self.graph.make("and", whole, self._made(self.graph.make, kind, *both))
            left = right
        return whole

    def _of_BoolOp(self, node: ast.BoolOp) -> Any:  # noqa: N802
        return self._joined(isinstance(node.op, ast.And), node.values)

    def _joined(self, every: bool, nodes: Sequence[ast.expr]) -> Any:
        """Return ``a and b``, or ``a or b``: one of the two values, b only looked at where a does not decide."""
        value = self._value(nodes[0])
        if len(nodes) == 1:
            return value
        truth = as_truth(self.graph, value)
        if not isinstance(truth, Node):
            return self._joined(every, nodes[1:]) if truth is every else value
        with self.graph.under(truth if every else self.graph.make("not", truth)):
            rest = self._joined(every, nodes[1:])
        if isinstance(value, Node) and value.boolean and (isinstance(rest, bool) or _is_truth(rest)):
            return self.graph.make("and" if every else "or", value, rest)
        return self._chosen(truth, rest, value) if every else self._chosen(truth, value, rest)

    def _of_IfExp(self, node: ast.IfExp) -> Any:  # noqa: N802
        test = as_truth(self.graph, self._value(node.test))
        if not isinstance(test, Node):
            return self._value(node.body if test else node.orelse)
        with self.graph.under(test):
            a = self._value(node.body)
        with self.graph.under(self.graph.make("not", test)):
            b = self._value(node.orelse)
        return self._chosen(test, a, b)

    def _of_Call(self, node: ast.Call) -> Any:  # noqa: N802
        function = self._value(node.func)
        arguments = [part for each in node.args for part in self._argument(each)]
        if any(each.arg is None for each in node.keywords):
            raise self.refusal("** in a call", "arguments one by one")
        keywords = {str(each.arg): self._value(each.value) for each in node.keywords}
        self._frames[-1].line = node.lineno
        if (over := OVER.get(function) if _hashable(function) else None) is not None:
            if function is range and is_traced(arguments):
                raise self.refusal("a range that is not known", "known bounds, and a condition within the loop")
            return self._made(over, *arguments, **keywords)
        recorder = KNOWN.get(function) if _hashable(function) else None
        if recorder is None:
            return self._enter(function, arguments, keywords)
        if keywords:
            raise self.refusal("a keyword", "positional arguments for known functions")
        values = [each if isinstance(each, (tuple, str)) else self._number(each) for each in arguments]
        return self._made(recorder, self.graph, *values)

    def _argument(self, node: ast.expr) -> Sequence[Any]:
        return self._value(node.value) if isinstance(node, ast.Starred) else (self._value(node),)

    def _of_Subscript(self, node: ast.Subscript) -> Any:  # noqa: N802
        owner = self._value(node.value)
        if not isinstance(owner, tuple):
            raise self.refusal(f"an index of a {_kind_of(owner)}", "tuples of numbers")
        if isinstance(node.slice, ast.Slice):
            parts = (node.slice.lower, node.slice.upper, node.slice.step)
            known = [None if part is None else self._value(part) for part in parts]
            if is_traced(known):
                raise self.refusal("a slice that is not known", "known bounds")
            return self._made(operator.getitem, owner, slice(*known))
        return self._entry(owner, self._value(node.slice))

    def _entry(self, table: tuple[Any, ...], index: Any) -> Any:
        """Return an entry; at an index that is not known a chain of choices, the last entry beyond the end."""
        if isinstance(index, tuple):
            for each in index:
                table = self._entry(table, each)
            return table
        if not isinstance(index, Node):
            return self._made(operator.getitem, table, operator.index(index) if isinstance(index, int) else index)
        if not 0 < len(table) <= _MAX_TABLE:
            raise self.refusal(f"an index into {len(table)} entries", f"1 to {_MAX_TABLE} entries where it varies")
        index = as_number(self.graph, index)
        value = table[-1]
        for place in range(len(table) - 2, -1, -1):
            here = self.graph.make("eq", index, float(place))
            here = self.graph.make("or", here, self.graph.make("eq", index, float(place - len(table))))
            value = self._chosen(here, table[place], value)
        return value


def _constant(value: Any) -> Any:
    """Return a module's constant as the interpreter takes it: arrays as tuples."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
        return _tuples(value)
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (Node, int, float, np.number, np.bool_))


def _is_truth(value: Any) -> bool:
    return isinstance(value, Node) and value.boolean


def _hashable(function: Any) -> bool:
    return callable(function) and getattr(type(function), "__hash__", None) is not None


def _returns(statement: ast.AST) -> bool:
    return any(isinstance(node, ast.Return) for node in ast.walk(statement))


def _kind(node: Any) -> str:
    return f"{type(node).__name__}"


def _kind_of(value: Any) -> str:
    return "function" if isinstance(value, FunctionType) else type(value).__name__


_SOME: Final = "assignments, if, for over known bounds, return, and expressions of numbers and tuples"
_STATEMENTS: Final[Mapping[type, tuple[str, str]]] = MappingProxyType({
    ast.While: ("while", "for over a range with known bounds, and a condition within it"),
    ast.Break: ("break", "a condition around what follows"),
    ast.Continue: ("continue", "a condition around what follows"),
    ast.Raise: ("raise", "a value, and done(x) to end an episode"),
    ast.Assert: ("assert", "no check within a step"),
    ast.Try: ("try", "a condition on what could fail"),
    ast.FunctionDef: ("a function within a function", "functions of the module"),
    ast.Import: ("import", "imports at the top of the file"),
    ast.ImportFrom: ("import", "imports at the top of the file"),
    ast.Global: ("global", "arguments, results and constants"),
})  # fmt: skip
_EXPRESSIONS: Final[Mapping[type, tuple[str, str]]] = MappingProxyType({
    ast.Lambda: ("lambda", "functions written with def in the plant"),
    ast.List: ("a list", "tuples"),
    ast.ListComp: ("a list", "tuples, written out"),
    ast.GeneratorExp: ("a generator", "tuples, written out, or a loop"),
    ast.Dict: ("a dict", "tuples, and constants by name"),
    ast.JoinedStr: ("a text", "numbers"),
    ast.NamedExpr: (":=", "an assignment of its own"),
})  # fmt: skip
_OF_INTEGERS: Final[Mapping[type, Callable[[Any, Any], Any]]] = MappingProxyType({
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
})  # fmt: skip
