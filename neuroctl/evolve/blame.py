"""Messages about an objective that fails: one line, with the place in the user's code."""

from __future__ import annotations

import inspect
from typing import Any, Final

import numpy as np

from neuroctl.errors import NeuroctlError, ObjectiveError, is_users, line_of, told

_MAX_SHOWN: Final = 60  # characters


def blamed(method: str, error: BaseException, where: str) -> NeuroctlError:
    """Return the error to raise for one in an objective: one line, with the user's file and line.

    Our own errors without the user's code in their traceback are returned as they are.
    """
    if isinstance(error, NeuroctlError) and line_of(error) is None:
        return error
    return ObjectiveError(f"objective{method}: {told(error)}; {where}")


def number_of(value: Any) -> float:
    """Return a number, or the only one in an array, as a float.

    Raises:
        TypeError: it is no number.
        ValueError: it is an array of several.

    """
    return float(value.item()) if isinstance(value, np.ndarray) else float(value)


def shown_value(value: Any) -> str:
    """Describe a returned value briefly."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def defined(function: Any) -> str:
    """Return the place of a user's function, as the end of a message; nothing if that is unknown."""
    function = inspect.unwrap(function)
    kind = function if isinstance(function, type) else type(function)
    code = getattr(function, "__code__", None) or getattr(kind.__call__, "__code__", None)
    return (
        ""
        if code is None or not is_users(code.co_filename)
        else f"; defined at {code.co_filename}:{code.co_firstlineno}"
    )
