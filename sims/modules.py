"""Modules: what a user's ``"module:name"`` stands for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from neuroctl.errors import NeuroctlError, TaskError, told


def imported(name: str) -> Callable[..., Any]:
    """Return what ``"module:name"`` names; modules of the current folder come before all others.

    Raises:
        TaskError: it names a file, cannot be imported, or is neither a class nor a function.

    """
    check_no_file(name)
    module, _, attribute = name.partition(":")
    if sys.path[:1] not in ([""], [os.getcwd()]):
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except NeuroctlError:
        raise
    except Exception as error:
        raise TaskError(f"task: {name!r}: {told(error)}") from error
    if not callable(found):
        raise TaskError(f"task: {name!r} is a {type(found).__name__}; allowed: a class, or a function")
    return found  # type: ignore[no-any-return]


def check_no_file(name: str) -> None:
    """Refuse a file's name where a module's is meant, such as ``mine.py:fitness``, and say how it is written.

    Raises:
        TaskError: it is one.

    """
    file, _, attribute = name.partition(":")
    if file.endswith(".py"):
        path = PurePath(file.removesuffix(".py"))
        here = not path.is_absolute() and ".." not in path.parts
        meant = f"{'.'.join(path.parts) if here else path.name}:{attribute or 'NAME'}"
        where = "" if here else f", in the folder {path.parent}"
        raise TaskError(f"task: {name!r} names a file; allowed: {meant!r}{where}")
