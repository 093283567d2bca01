"""Where the text of a function stands: in the plant, or in the module that it is imported from."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

from neuroctl.backends.plant import Plant


@dataclass(frozen=True)
class Definition:
    """A function's text.

    Args:
        name: the function's.
        file: that it stands in.
        lines: the file's.
        body: its statements.
        signature: its arguments.
        globals: the names of its module.

    """

    name: str
    file: str
    lines: tuple[str, ...]
    body: tuple[ast.stmt, ...]
    signature: inspect.Signature
    globals: Mapping[str, Any]

    @property
    def first(self) -> int:
        """The number of its first statement's line."""
        return self.body[0].lineno

    def text(self, line: int) -> str:
        """Return a line of the file."""
        return self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""


class Definitions:
    """Finds the text of functions.

    Args:
        plant: whose text is known, whatever its file holds by now.

    """

    def __init__(self, plant: Plant):
        self._plant = plant

    def of(self, function: Any) -> Definition | None:
        """Return a function's text; None if it is not written with ``def`` in Python, or refers to another function's.

        A jitted function is what it was made of.
        """
        function = getattr(function, "py_func", function)
        if not isinstance(function, FunctionType) or function.__closure__:
            return None
        code = function.__code__
        own = function.__globals__ is self._plant.module.__dict__
        try:
            source = (
                self._plant.text_of(code.co_filename) if own else Path(code.co_filename).read_text(encoding="utf-8")
            )
        except OSError:
            return None
        node = _functions(source).get((code.co_name, code.co_firstlineno))
        if node is None:
            return None
        file = str(self._plant.module.__file__) if own and len(self._plant.files) == 1 else code.co_filename
        lines = tuple(source.splitlines())
        return Definition(
            code.co_name, file, lines, tuple(node.body), inspect.signature(function), function.__globals__
        )


@lru_cache(maxsize=64)
def _functions(source: str) -> Mapping[tuple[str, int], ast.FunctionDef]:
    """Return the functions of a text by name and first line, which may be a decorator's."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return {(node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])): node for node in nodes}
