"""What is said of an objective that fails: in one line, with the place in the user's own code."""

from __future__ import annotations

import inspect
from typing import Any, Final

import numpy as np

from neuroctl.errors import NeuroctlError, ObjectiveError, is_users, line_of, told

_MOST_SHOWN: Final = 60  # characters


def blamed(method: str, error: BaseException, where: str) -> NeuroctlError:
    """Return what to raise for an error in an objective: in one line, with the user's file and line.

    Our own errors that no code of the user's led to are told as they are.
    """
    if isinstance(error, NeuroctlError) and line_of(error) is None:
        return error
    return ObjectiveError(f"objective{method}: {told(error)}; {where}")


def number_of(value: Any) -> float:
    """Return a number, or the one in an array.

    Raises:
        TypeError: it is none.
        ValueError: an array of several.

    """
    return float(value.item()) if isinstance(value, np.ndarray) else float(value)


def shown_value(value: Any) -> str:
    """Return what was returned, in few words."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def defined(function: Any) -> str:
    """Return where a user's function begins, as the end of a message; nothing where that is not known."""
    function = inspect.unwrap(function)
    kind = function if isinstance(function, type) else type(function)
    code = getattr(function, "__code__", None) or getattr(kind.__call__, "__code__", None)
    return (
        ""
        if code is None or not is_users(code.co_filename)
        else f"; defined at {code.co_filename}:{code.co_firstlineno}"
    )
