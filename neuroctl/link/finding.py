"""Finding the port of a board by the model that it runs."""

from __future__ import annotations

import re
from typing import Any, Final

from neuroctl.errors import LinkError, ModelError, PortError
from neuroctl.link.client import Link
from neuroctl.link.port import ports

_HELLO_S: Final = 2.0
"""Longest time to a board's first answer: many restart when their port is opened."""


def find_board(model_crc32: int | str, baud: int = 115200) -> str:
    """Return the port of the one board that runs a model. Opens every USB serial port and sends HELLO.

    Args:
        model_crc32: the model's CRC-32, such as ``q.model_crc32``, or its hexadecimal digits.
        baud: bits per second, for all ports.

    Raises:
        ModelError: no board runs it, or several do; names the boards.
        LinkError: ``model_crc32`` is no CRC-32.
        BackendUnavailable: pyserial is not installed.

    """
    wanted = _crc32(model_crc32)
    models = {port.device: _model_on(port.device, baud) for port in ports() if port.vid is not None}
    matches = [name for name, model in models.items() if model == f"{wanted:08x}"]
    if len(matches) != 1:
        there = ", ".join(f"{name} ({model})" for name, model in models.items()) or "no USB serial port"
        raise ModelError(f"model: {wanted:08x} is on {len(matches)} boards; allowed: one; there are: {there}")
    return str(matches[0])


def _model_on(name: str, baud: int) -> str:
    try:
        with Link(name, baud=baud, hello_s=_HELLO_S) as link:
            return f"{link.hello.model_crc32:08x}"
    except PortError:
        return "in use"
    except LinkError:
        return "no board of ours"


def _crc32(value: Any) -> int:
    text = f"{value:08x}" if isinstance(value, int) else str(value).lower().removeprefix("0x")
    if not re.fullmatch("[0-9a-f]{8}", text):
        raise LinkError(f"model: {value!r}; allowed: 8 hexadecimal digits, as `neuroctl link` shows them")
    return int(text, 16)
