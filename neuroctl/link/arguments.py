"""Checks of what callers give the link, before anything is sent."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import array, cast, integer, number, real, shown
from neuroctl.errors import LayoutError, LinkError, ModelError, RefusedError
from neuroctl.link.protocol import (
    MAX_REPORT_EVERY,
    MAX_TIMEOUT_S,
    REQUESTS,
    Hello,
    Mode,
    Sizes,
    Type,
    request_sizes,
)
from neuroctl.maths.fixed import QFormat
from neuroctl.own_formats import OWN_FRAC_BITS
from neuroctl.quant import QuantController

_MIN_TIMEOUT_S: Final = 1e-6
"""A board counts microseconds; a shorter timeout would be 0, which stands for its own."""
_TIMEOUTS: Final = f"{_MIN_TIMEOUT_S:g} to {MAX_TIMEOUT_S:g} seconds"


def check_seconds(name: str, value: Any, max_s: float = MAX_TIMEOUT_S) -> None:
    """Make sure that a duration is from 0 to ``max_s`` seconds.

    Raises:
        LinkError: it is not.

    """
    number(name, value, 0.0, max_s, f"0 to {max_s:g} seconds", error=LinkError)


def check_callback(name: str, value: Any) -> None:
    """Make sure that a callback can be called.

    Raises:
        LinkError: it cannot.

    """
    if not callable(value):
        raise LinkError(f"{name}: {shown(value)}; allowed: a function of one argument")


def check_controller(q: Any) -> None:
    """Make sure that a controller is an integer one: only that can be compared with a board.

    Raises:
        LinkError: it is not.

    """
    if not isinstance(q, QuantController):
        raise LinkError(f"q: {type(q).__name__}; allowed: a QuantController, such as controller.quantize()")


def check_board(hello: Hello, q: QuantController) -> None:
    """Make sure that a board runs a controller, by the model, sizes, formats and time step that it reports.

    Raises:
        ModelError: it does not; names the values of both.

    """
    spec, formats = q.spec, q.formats
    wanted = {
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "state_bytes": len(q.state_bytes()),
        "in_frac_bits": frac_bits_on_wire(formats["u"]),
        "out_frac_bits": frac_bits_on_wire(formats["out"]),
        "dt_us": _dt_us(spec.dt_s, hello.dt_us),
    }
    others = {name: getattr(hello, name) for name, ours in wanted.items() if getattr(hello, name) != ours}
    ours, theirs = q.model_crc32, hello.model_crc32
    if ours != theirs:
        name = f" ({hello.name!r})" if hello.name else ""
        differ = ", ".join(f"{field} {value}, not {wanted[field]}" for field, value in others.items())
        equal = "sizes, formats and time step agree, so weights, limits, names or the order of names differ"
        why = f"it has {differ}" if differ else equal
        raise ModelError(f"model: the board runs {theirs:08x}{name}; allowed: {ours:08x}, the host's; {why}")
    for field, value in others.items():
        text = f"model: the board has {field} {value}; allowed: {wanted[field]}, the controller's"
        raise ModelError(f"{text}; export it again")


def frac_bits_on_wire(form: QFormat) -> int:
    """Return the fractional bits of inputs or outputs as HELLO has them: ``OWN_FRAC_BITS`` where each has its own."""
    return OWN_FRAC_BITS if form.extra else form.frac_bits


def _dt_us(dt_s: float, board_us: int) -> int:
    """Return the expected time step: the board's if it differs by rounding alone, a microsecond or 0.1 %."""
    exact_us = 1e6 * dt_s
    return board_us if abs(board_us - exact_us) <= max(1.0, 1e-3 * exact_us) else round(exact_us)


def as_bytes(name: str, data: Any) -> bytes:
    """Return a bytes-like object as bytes.

    Raises:
        LinkError: it is another object: the length of an array counts elements.

    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise LinkError(f"{name}: {type(data).__name__}; allowed: bytes")
    return bytes(data)


def fill(name: str, values: Any, buffer: NDArray[Any]) -> None:
    """Copy numbers into a buffer of exactly their shape; nothing is broadcast.

    Compiled code and boards do not check. An array of the buffer's dtype is fastest; lists, tuples and
    other numbers are converted.

    Raises:
        LayoutError: they are no numbers, of another shape, or masked.

    """
    if type(values) is np.ndarray and values.dtype == buffer.dtype and values.shape == buffer.shape:
        buffer[:] = values
        return
    allowed = f"numbers of shape {buffer.shape}"
    converted = array(name, values, allowed)
    if converted.shape != buffer.shape:
        raise LayoutError(f"{name}: shape {converted.shape}; allowed: {allowed}")
    buffer[:] = cast(converted, buffer.dtype)


def check_request(kind: Any, flags: Any) -> None:
    """Make sure that a type of request exists, and that flags are an integer from 0 to 255.

    Raises:
        LinkError: one of them is not so.

    """
    if not isinstance(kind, Integral) or kind not in REQUESTS:
        raise LinkError(f"kind: {shown(kind)}; allowed: {', '.join(sorted(type_.name for type_ in REQUESTS))}")
    integer("flags", flags, 0, 255, error=LinkError)


def check_timeout(timeout_s: Any) -> None:
    """Make sure that a timeout is in a board's range; 0 stands for the board's own.

    Raises:
        LinkError: it cannot.

    """
    if not 0.0 <= real(timeout_s) <= MAX_TIMEOUT_S or 0.0 < timeout_s < _MIN_TIMEOUT_S:
        raise LinkError(f"timeout_s: {shown(timeout_s)}; allowed: {_TIMEOUTS}, or 0 for the board's own")


def check_start(mode: Any, report_every: Any, timeout_s: Any, own_timeout_us: int) -> None:
    """Make sure that START can carry its arguments; ``own_timeout_us`` is the board's own timeout.

    Raises:
        LinkError: it cannot.

    """
    if not isinstance(mode, Integral) or mode not in Mode._value2member_map_:
        raise LinkError(f"mode: {shown(mode)}; allowed: STEP, DRIVE, BOARD")
    integer("report_every", report_every, 0, MAX_REPORT_EVERY, error=LinkError)
    check_timeout(timeout_s)
    if timeout_s == 0.0 and own_timeout_us == 0:  # such firmware latches at its first tick
        raise LinkError(f"timeout_s: 0; allowed: {_TIMEOUTS}, as the board has none of its own")


def check_size(kind: Type, payload: bytes, sizes: Sizes) -> None:
    """Make sure that a payload has the length of its type: a board drops others silently.

    Raises:
        RefusedError: it is not.

    """
    allowed = request_sizes(kind, payload, sizes)
    if len(payload) not in allowed:
        text = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
        raise RefusedError(f"{kind.name}: {len(payload)} bytes; allowed: {text or 'what its op says'}")
