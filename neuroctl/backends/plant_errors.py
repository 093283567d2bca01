"""What Numba says of a plant that it cannot compile: in one line, with the user's own file and line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from numba.core.errors import NumbaError

from neuroctl.backends.plant import Plant
from neuroctl.errors import PlantError

_STAGES: Final = re.compile(r"^Failed in \w+ mode pipeline \(step: [^)]*\)\n", re.MULTILINE)
_NO_FORM: Final = re.compile(r"No implementation of function .*? found for signature:\s*>>> (.*?)\n", re.DOTALL)
_DEFINED: Final = re.compile(r"\.\d+(?=')|, defined at \S+ \(\d+\)")  # a variable's version, and a place in the kernel
_OBJECT: Final = re.compile(r"(?:Function\()?<(?:built-in )?(?:function|method|class) '?([\w.]+)'?[^>]*>\)?")


@contextmanager
def plant_errors(plant: Plant, kernel: ModuleType) -> Iterator[None]:
    """Run a kernel, and name the plant's line where it cannot be compiled.

    Args:
        plant: the kernel's.
        kernel: the generated module, see ``kernels.build``.

    Raises:
        PlantError: Numba cannot compile a function of the plant.

    """
    try:
        yield
    except NumbaError as error:
        line = _line_in_plant(plant, kernel, str(error))
        if line is None:
            raise
        text = plant.source.splitlines()[line - 1].strip()
        where = plant.place_of(line)
        raise PlantError(
            f"{plant.name}: {_reason(str(error))} in {text!r} ({where}); allowed: what Numba compiles, on numbers and "
            "tuples of them"
        ) from error


def _reason(message: str) -> str:
    """Return what Numba objects to, of its long explanation."""
    rest = _STAGES.sub("", message)
    form = _NO_FORM.match(rest)
    reason = f"no compiled form of {form[1]}" if form else rest.strip().splitlines()[0]
    reason = _DEFINED.sub("", reason).replace("NRT required but not enabled", "memory would be allocated")
    return _OBJECT.sub(lambda match: match[1], reason).rstrip(". ")


def _line_in_plant(plant: Plant, kernel: ModuleType, message: str) -> int | None:
    """Return the plant's line that the innermost line of the kernel in a message was made of; None if of none."""
    place = re.search(rf'{re.escape(kernel.__name__)}\.py(?:", line | \()(\d+)', message)
    if place is None:
        return None
    number = int(place[1])
    places = {line: place for place, line in _statements(kernel.__source__).items()}
    starts = [line for line in places if line <= number]
    return _statements(plant.source).get(places[max(starts)]) if starts else None


def _statements(source: str) -> dict[tuple[str, int], int]:
    """Return the line of each function's statements, by name and place: the same in a text and its unparsed form."""
    lines: dict[tuple[str, int], int] = {}
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            statements: list[Any] = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
            lines |= {(function.name, place): node.lineno for place, node in enumerate(statements)}
    return lines
