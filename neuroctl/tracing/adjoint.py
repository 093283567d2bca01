"""Reverse mode: from a recorded function to the function that takes changes back through it, as text.

The change of a loss with a function's inputs follows from that with its outputs, node by node from the last to the
first, by the chain rule. It is recorded in the same graph: what the function computes anyway is used again, and what
neither inputs reach nor outputs need is left out. The text is straight-line code on numbers, which LLVM vectorizes over
lanes like the plant.

A. Griewank, A. Walther, "Evaluating Derivatives", 2nd edition, SIAM 2008, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from neuroctl.backends.plant import Plant
from neuroctl.tracing.graph import Graph, Guard, Node
from neuroctl.tracing.interpreter import Interpreter
from neuroctl.tracing.operations import OPERATIONS

_BACK: Final = "bar"


@dataclass(frozen=True)
class Recorded:
    """A function as it was recorded.

    Args:
        name: the function's.
        arguments: names of its arguments, as the text has them.
        inputs: their entries, nodes of the graph.
        outputs: what it gives, numbers or nodes.
        graph: all nodes.

    """

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[tuple[Node, ...], ...]
    outputs: tuple[Any, ...]
    graph: Graph


@dataclass(frozen=True)
class Text:
    """A function that is written.

    Args:
        name: the function's.
        lines: its text, decorated with ``@_jit``; numbers are wrapped as ``_F(...)``, and ``np`` and ``math`` are used.
        functions: those of the library that it calls, by the names that it gives them.
        operations: how many it has.

    """

    name: str
    lines: str
    functions: Mapping[str, Callable[..., Any]]
    operations: int


def record(plant: Plant, name: str, sizes: Mapping[str, int | None]) -> Recorded:
    """Record a function of a plant.

    Args:
        plant: the plant.
        name: of the function: ``"derivative"``, ``"observe"`` and so on.
        sizes: how many entries each of its arguments has, by name; None: it is a number.

    Raises:
        PlantError: something in it cannot be recorded; names it, with its line, and what to write instead.

    """
    graph = Graph(OPERATIONS)
    inputs = tuple(
        tuple(graph.input(argument if size is None else f"{argument}[{i}]") for i in range(1 if size is None else size))
        for argument, size in sizes.items()
    )
    values = [nodes[0] if size is None else nodes for nodes, size in zip(inputs, sizes.values(), strict=True)]
    interpreter = Interpreter(plant, graph)
    outputs = interpreter.call(name, *values)
    rows = outputs if isinstance(outputs, tuple) else (outputs,)
    if not all(isinstance(row, (Node, int, float)) for row in rows):
        raise interpreter.refusal(f"{name} gives no numbers", "a number, or a tuple of numbers")
    return Recorded(name, tuple(sizes), inputs, tuple(map(_as_number, rows)), graph)


def _as_number(value: Any) -> Any:
    if isinstance(value, Node) and value.boolean:
        return value.graph.where(value, 1.0, 0.0)
    return value


def forward(recorded: Recorded, name: str) -> Text:
    """Return the text of the function itself, of the same arguments: for tests, and to read."""
    return _written(recorded, name, recorded.arguments, recorded.outputs)


@lru_cache(maxsize=256)
def adjoint_of(
    plant: Plant, name: str, sizes: tuple[tuple[str, int | None], ...], wanted: tuple[str, ...], minus: bool = False
) -> Text:
    """Return the adjoint of a plant's function with the name ``_NAME_back``, see ``adjoint``; made once."""
    return adjoint(record(plant, name, dict(sizes)), f"_{name}_back", wanted, minus=minus)


def adjoint(recorded: Recorded, name: str, wanted: Sequence[str] | None = None, *, minus: bool = False) -> Text:
    """Return the text of a function's adjoint.

    It takes the function's arguments and ``bar``, a tuple with the change of a loss with each output, and returns a
    tuple: the change with each entry of the wanted arguments, one argument after another.

    Args:
        recorded: the function; it cannot be used for anything else afterwards.
        name: of the adjoint.
        wanted: names of arguments; None: all.
        minus: give minus the change: that of the function's negative.

    """
    graph = recorded.graph
    graph.finish()
    recorded_nodes = tuple(graph.nodes)
    targets = [
        node
        for argument, nodes in zip(recorded.arguments, recorded.inputs, strict=True)
        if wanted is None or argument in wanted
        for node in nodes
    ]
    changes: dict[int, Any] = {}
    for place, output in enumerate(recorded.outputs):
        if isinstance(output, Node):
            bar = graph.input(f"{_BACK}[{place}]")
            _add(changes, output, -bar if minus else bar)
    reached = _reached(recorded_nodes, targets)
    for node in reversed(recorded_nodes):
        if node.kind == "input" or node.boolean or node.index not in changes or node.index not in reached:
            continue
        shares = OPERATIONS[node.kind].derivative(node, changes[node.index])
        for operand, share in zip(node.operands, shares, strict=True):
            if isinstance(operand, Node) and operand.index in reached and not operand.boolean:
                _add(changes, operand, _within(node.guard, operand.guard, share))
    bars = [changes.get(node.index, 0.0) for node in targets]
    return _written(recorded, name, (*recorded.arguments, _BACK), bars)


def _add(changes: dict[int, Any], node: Node, share: Any) -> None:
    before = changes.get(node.index, 0.0)
    changes[node.index] = node.graph.make("add", before, share)


def _reached(nodes: Sequence[Node], targets: Sequence[Node]) -> set[int]:
    """Return which nodes depend on the targets."""
    reached = {node.index for node in targets}
    for node in nodes:
        if any(isinstance(operand, Node) and operand.index in reached for operand in node.operands):
            reached.add(node.index)
    return reached


def _within(guard: Guard | None, outer: Guard | None, share: Any) -> Any:
    """Return a share, and 0 where the branch that it comes of is not taken: there it may be 0 times Inf."""
    if guard is outer or guard is None or not guard.risky or not isinstance(guard.holds, Node):
        return share
    return guard.holds.graph.where(guard.holds, share, 0.0)


# --- Text ------------------------------------------------------------------------------------------------------------


def _written(recorded: Recorded, name: str, arguments: Sequence[str], outputs: Sequence[Any]) -> Text:
    nodes = recorded.graph.nodes
    needed = _needed(nodes, outputs)
    lines = ["@_jit", f"def {name}({', '.join(arguments)}):"]
    functions: dict[str, Callable[..., Any]] = {}
    for node in nodes:
        if node.index not in needed or node.kind == "input":
            continue
        operation = OPERATIONS[node.kind]
        if operation.call is not None:
            functions[f"_own_{operation.call.__name__}"] = operation.call
        lines.append(f"    t{node.index} = {operation.text.format(*map(_operand, node.operands))}")
    lines.append(f"    return ({''.join(f'{_operand(value)}, ' for value in outputs)})")
    return Text(name, "\n".join(lines), MappingProxyType(functions), len(lines) - 3)


def _needed(nodes: Sequence[Node], outputs: Sequence[Any]) -> set[int]:
    needed = {value.index for value in outputs if isinstance(value, Node)}
    for node in reversed(nodes):
        if node.index in needed:
            needed |= {operand.index for operand in node.operands if isinstance(operand, Node)}
    return needed


def _operand(value: Any) -> str:
    if isinstance(value, Node):
        return str(value.operands[0]) if value.kind == "input" else f"t{value.index}"
    if isinstance(value, bool):
        return repr(value)
    number = float(value)
    if math.isfinite(number):
        return f"_F({number!r})"
    return f"_F({'np.nan' if math.isnan(number) else 'np.inf' if number > 0 else '-np.inf'})"
