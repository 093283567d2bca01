"""The sources of an objective: digests of its modules, and versions of the packages that they use.

An objective with a method ``made_of()`` names them itself. For any other, they are the module that defines it, and the
modules outside packages that this one imports in turn.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import metadata
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_LIBRARY: Final = ("neuroctl", "firmware_export")  # by their version: tests pin their results
_TASKS: Final = "neuroctl.sims"  # except for the simulations


def provenance(objective: Any) -> dict[str, str]:
    """Return the sources of an objective, by names of modules and packages."""
    made_of = getattr(objective, "made_of", None)
    return dict(made_of()) if callable(made_of) else source_of(objective)


def source_of(*things: Any) -> dict[str, str]:
    """Return the sources of functions, classes or objects of classes."""
    named = [_named(thing) for thing in things]
    made_of = {"objective": ", ".join(f"{one.__module__}:{one.__qualname__}" for one in named)}
    waiting, known = [one.__module__ for one in named], set[str]()
    while waiting:
        module = sys.modules.get(waiting.pop())
        name = "" if module is None else module.__name__
        top = name.partition(".")[0]
        if module is None or name in known or top in sys.stdlib_module_names:
            continue
        known.add(name)
        file = getattr(module, "__file__", None)
        library = top in _LIBRARY and not name.startswith(_TASKS)
        if not library and file is not None and not _installed(file):
            with suppress(OSError, SyntaxError, ValueError):  # a file that is no Python source has no imports
                source = Path(file).read_bytes()
                made_of[name] = "sha256:" + hashlib.sha256(source).hexdigest()[:16]
                waiting += _used_by(module, source)
        elif version := version_of(top):
            made_of[top] = version
    return dict(sorted(made_of.items()))


def _named(thing: Any) -> Any:
    """Return the function or class behind a wrapper, a partial or an object."""
    while isinstance(thing, partial) or hasattr(thing, "__wrapped__"):
        thing = thing.func if isinstance(thing, partial) else thing.__wrapped__
    return thing if hasattr(thing, "__qualname__") else type(thing)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe the differences in words."""
    texts = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            digests = {str(value).startswith("sha256:") for value in (old, new) if value is not None}
            texts.append(f"{name} is another" if digests == {True} and old and new else f"{name} {old}, now {new}")
    return texts


def _installed(file: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def version_of(package: str) -> str | None:
    """Return a package's version; None if it has none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        version = getattr(sys.modules.get(package), "__version__", None)
        return None if version is None else str(version)


def _used_by(module: ModuleType, source: bytes) -> Iterator[str]:
    """Yield the names of modules that a module imports at its top level."""
    for node in ast.walk(ast.parse(source)):
        if getattr(node, "col_offset", None) != 0:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = resolve_name("." * node.level + (node.module or ""), module.__package__)
            yield from (name, *(f"{name}.{alias.name}" for alias in node.names))
