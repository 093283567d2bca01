"""Kernels: one generated module for each cell, plant, dtype and fitness function, so that Numba can cache it.

A jitted function that is passed as an argument, or closed over, is never found in Numba's cache again; a module on
disk is. Its name holds a hash of all the sources that it is made of, so that a changed plant gives another module.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from neuroctl.backends.plant import Plant, typed_source
from neuroctl.cells.base import Cell
from neuroctl.maths.codecache import not_stored, own_content, sources, write_private


def cache_folder() -> Path:
    """Return where generated modules lie: below ``NUMBA_CACHE_DIR``, else the user's cache folder."""
    numba_folder = os.environ.get("NUMBA_CACHE_DIR")
    if numba_folder:
        return Path(numba_folder) / "neuroctl-kernels"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuroctl" / "kernels"


def build(text: str, name: str) -> ModuleType:
    """Import a module from its text, which is also written to the cache folder: Numba keeps code only of files."""
    title = f"{name}_{_hash(text)}"
    if title in sys.modules:
        return sys.modules[title]
    module = ModuleType(title)
    module.__file__ = _file(title, text)
    module.__dict__["__source__"] = text
    sys.modules[title] = module
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    return module


def _file(title: str, text: str) -> str:
    """Return the path of a file that holds the text; where there can be none, a name that no file has."""
    path = cache_folder() / f"{title}.py"
    content = text.encode()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            if own_content(path) == content:
                return str(path)
        write_private(path, content)
    except OSError as error:
        not_stored(error)
        return f"<{title}>"
    return str(path)


def _hash(text: str) -> str:
    return hashlib.sha256((text + sources()).encode()).hexdigest()[:16]


def retype(dtype: Callable[[float], Any]) -> Callable[[Any], Any]:
    """Return the function that gives numbers, and tuples of them, a dtype and leaves all else as it is."""

    def typed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(typed(entry) for entry in value)
        return dtype(value) if isinstance(value, float) else value

    return typed


def float_step(cell: Cell) -> dict[str, Callable[..., Any]]:
    """Return what kernels call of a cell's float form."""
    return {"_prepare": cell.prepare, "_step_prepared": cell.step_prepared}


def constants(values: NDArray[Any]) -> str:
    """Return the text that makes a vector of numbers again, bit for bit."""
    return f"np.array({values.tolist()}, dtype=np.{values.dtype})"


def head(functions: Mapping[str, Callable[..., Any]], dtype: str, title: str, plant: Plant | None = None) -> str:
    """Return the part that all kernels share: imports, the plant's functions, and one control step of the plant.

    functions: the library's jitted ones that the kernel calls, by the names it gives them.
    """
    lines = [] if plant is None else [typed_source(plant), *_optional(plant), _next_state(plant)]
    return "\n".join(
        [
            f'"""{title}. Generated; safe to delete."""',
            "import numpy as np",
            "from numpy import inf",
            *(f"from {call.__module__} import {call.__name__} as {name}" for name, call in functions.items()),
            "from neuroctl.backends.kernels import retype",
            "from neuroctl.maths.jit import jit_exact as _jit_step",
            "from neuroctl.maths.jit import jit_exact_inline as _jit, jit_exact_rows as _jit_rows",
            "_F, _U = np." + dtype + ", np.uint64",
            "_typed = retype(_F)",
            *lines,
        ]
    )


def _optional(plant: Plant) -> list[str]:
    functions = []
    if not plant.has("done"):
        functions.append("@_jit\ndef done(x):\n    return False")
    if not plant.has("reward"):
        functions.append("@_jit\ndef reward(x, a):\n    return _F(0)")
    if not plant.has("cost"):
        functions.append("@_jit\ndef cost(x, a):\n    return -reward(x, a)")
    if not plant.has("critic"):
        functions.append("@_jit\ndef critic(x):\n    return observe(x)")
    return functions


def _next_state(plant: Plant) -> str:
    """Return ``_next(x, a, h)``: the plant's own step, or a step of the classic Runge-Kutta method."""
    if plant.has("step"):
        return "@_jit\ndef _next(x, a, h):\n    return step(x, a, h)"

    def moved(slope: str, part: str) -> str:
        return tuple_of(f"x[{i}] + {part} * {slope}[{i}]" for i in range(len(plant.start)))

    landed = tuple_of(
        f"x[{i}] + sixth * (k1[{i}] + _F(2) * (k2[{i}] + k3[{i}]) + k4[{i}])" for i in range(len(plant.start))
    )
    return "\n".join(
        [
            "@_jit",
            "def _next(x, a, h):",
            "    half, sixth = _F(0.5) * h, h / _F(6)",
            "    k1 = derivative(x, a)",
            f"    k2 = derivative({moved('k1', 'half')}, a)",
            f"    k3 = derivative({moved('k2', 'half')}, a)",
            f"    k4 = derivative({moved('k3', 'h')}, a)",
            f"    return {landed}",
        ]
    )


def tuple_of(parts: Iterable[str]) -> str:
    """Return the text of a tuple: of more than 30 Python makes a list first, which does not compile for a GPU."""
    every = list(parts)
    groups = [every[k : k + 16] for k in range(0, len(every), 16)]
    return " + ".join("(" + "".join(f"{part}, " for part in group) + ")" for group in groups)
