"""Importing the class or function of a user's ``"module:name"``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from neuroctl.errors import NeuroctlError, TaskError, told


def imported(name: str) -> Callable[..., Any]:
    """Import a class or function by ``"module:name"``; modules of the current folder come first.

    Raises:
        TaskError: it names a file, cannot be imported, or is neither a class nor a function.

    """
    check_no_file(name)
    module, _, attribute = name.partition(":")
    if sys.path[:1] not in ([""], [os.getcwd()]):
        sys.path.insert(0, os.getcwd())
    try:
        target = getattr(importlib.import_module(module), attribute)
    except NeuroctlError:
        raise
    except Exception as error:
        raise TaskError(f"task: {name!r}: {told(error)}") from error
    if not callable(target):
        raise TaskError(f"task: {name!r} is a {type(target).__name__}; allowed: a class, or a function")
    return target  # type: ignore[no-any-return]


def check_no_file(name: str) -> None:
    """Refuse a file's name in place of a module's, such as ``mine.py:fitness``, and name the module.

    Raises:
        TaskError: ``name`` is that of a file.

    """
    file, _, attribute = name.partition(":")
    if file.endswith(".py"):
        path = PurePath(file.removesuffix(".py"))
        is_below = not path.is_absolute() and ".." not in path.parts
        meant = f"{'.'.join(path.parts) if is_below else path.name}:{attribute or 'NAME'}"
        where = "" if is_below else f", in the folder {path.parent}"
        raise TaskError(f"task: {name!r} names a file; allowed: {meant!r}{where}")
