"""Checks of what callers give the link, before anything is sent."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Final

from neuroctl.checks import integer, real
from neuroctl.errors import LinkError, RefusedError
from neuroctl.link.protocol import MOST_REPORT_EVERY, MOST_TIMEOUT_S, Mode, Sizes, Type, request_sizes

_LEAST_TIMEOUT_S: Final = 1e-6
"""A board counts in microseconds; less would be 0, which means another thing."""
_TIMEOUTS: Final = f"{_LEAST_TIMEOUT_S:g} to {MOST_TIMEOUT_S:g} seconds"


def check_seconds(name: str, value: Any) -> None:
    """Make sure that a wait is one that can be waited.

    Raises:
        LinkError: it is not.

    """
    if not _in_range(value, 0.0, MOST_TIMEOUT_S):
        raise LinkError(f"{name}: {value!r}; allowed: 0 to {MOST_TIMEOUT_S:g} seconds")


def check_whole(name: str, value: Any, most: int | None = None) -> None:
    """Make sure that a number is an integer >= 0.

    Raises:
        LinkError: it is not.

    """
    integer(name, value, 0, most, error=LinkError)


def check_start(mode: Any, report_every: Any, timeout_s: Any, own_timeout_us: int) -> None:
    """Make sure that START can carry its arguments; ``own_timeout_us`` is the board's own timeout.

    Raises:
        LinkError: it cannot.

    """
    if isinstance(mode, bool) or not isinstance(mode, Integral) or mode not in Mode._value2member_map_:
        raise LinkError(f"mode: {mode!r}; allowed: STEP, DRIVE, BOARD")
    check_whole("report_every", report_every, MOST_REPORT_EVERY)
    if not _in_range(timeout_s, 0.0, MOST_TIMEOUT_S) or 0.0 < timeout_s < _LEAST_TIMEOUT_S:
        raise LinkError(f"timeout_s: {timeout_s!r}; allowed: {_TIMEOUTS}, or 0 for the board's own")
    if timeout_s == 0.0 and own_timeout_us == 0:  # firmware that was compiled so latches at its first tick
        raise LinkError(f"timeout_s: 0; allowed: {_TIMEOUTS}, as the board has none of its own")


def check_size(kind: Type, payload: bytes, sizes: Sizes) -> None:
    """Make sure that a payload is as long as its type says: a board drops others without a word.

    Raises:
        RefusedError: it is not.

    """
    allowed = request_sizes(kind, payload, sizes)
    if len(payload) not in allowed:
        text = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
        raise RefusedError(f"{kind.name}: {len(payload)} bytes; allowed: {text or 'what its op says'}")


def _in_range(value: Any, least: float, most: float) -> bool:
    return least <= real(value) <= most
