"""Modules: what a user's ``"module:name"`` stands for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from neuroctl.errors import NeuroctlError, TaskError, told


def imported(name: str) -> Callable[..., Any]:
    """Return what ``"module:name"`` names; modules of the current folder come before all others.

    Raises:
        TaskError: it cannot be imported, or is neither a class nor a function.

    """
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
