"""How a cell's compiled steps are called from Python: functions written once here and compiled for each cell.

A copy of a function needs a name of its own: Numba's cache tells functions of a file apart by their names and lines,
and would hand one cell another's code.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numpy.typing import NDArray

from neuroctl.cells.base import INPUTS, prepare_nothing, prepare_nothing_q
from neuroctl.maths.jit import jit_integer, jit_step
from neuroctl.maths.subnormals import flush, restore

Array = NDArray[Any]
Compiled = Callable[..., Any]


def step_checked(cell: str, step: Compiled) -> Compiled:
    """Return a cell's ``step_checked``, see ``cells.base.Cell``."""
    return jit_step(copied(_step_checked, f"{cell}_step_checked", step=step))


def rollout(cell: str, step_prepared: Compiled, prepare: Compiled = prepare_nothing) -> Compiled:
    """Return a cell's ``rollout``, see ``cells.base.Cell``."""
    return jit_step(copied(_rollout, f"{cell}_rollout", step_prepared=step_prepared, prepare=prepare))


def rollout_q(cell: str, step_prepared_q: Compiled, prepare_q: Compiled = prepare_nothing_q) -> Compiled:
    """Return a cell's ``rollout_q``, see ``cells.base.Integer``."""
    return jit_integer(copied(_rollout_q, f"{cell}_rollout_q", step_prepared_q=step_prepared_q, prepare_q=prepare_q))


def copied(template: Any, name: str, **calls: Compiled) -> Compiled:
    """Return a copy of a function under a name of its own, in which names stand for these compiled functions."""
    code = template.__code__.replace(co_name=name, co_qualname=name)
    function = FunctionType(code, template.__globals__ | calls, name)
    function.__doc__ = template.__doc__
    return function


def _step_checked(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> Any:
    """Step a single controller called from Python; return 1, and do nothing, if u has another length, else 0."""
    if u.shape[0] != ints[INPUTS]:
        return 1
    mode = flush()
    step(theta, state, u, y, ints, floats)  # type: ignore[name-defined] # noqa: F821 - the cell's
    restore(mode)
    return 0


def _rollout(theta: Array, state: Array, u: Array, y: Array, ints: Array, floats: Array) -> None:
    """Step through time: u float[T, m] read, y float[T, q] written; else as ``step``."""
    mode = flush()
    prepare(theta, state, ints, floats)  # type: ignore[name-defined] # noqa: F821 - the cell's
    for t in range(u.shape[0]):
        step_prepared(theta, state, u[t], y[t], ints, floats)  # type: ignore[name-defined] # noqa: F821
    restore(mode)


def _rollout_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Step through time: u int32[T, m] read, y int32[T, q] written; else as ``step_q``."""
    prepare_q(theta, state, ints)  # type: ignore[name-defined] # noqa: F821 - the cell's
    for t in range(u.shape[0]):
        step_prepared_q(theta, state, u[t], y[t], ints)  # type: ignore[name-defined] # noqa: F821
