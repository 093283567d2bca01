"""Uploading parameters to a board without new firmware: sent in pieces, activated all at once or not at all."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import Final

from neuroctl.checks import integer
from neuroctl.errors import LinkError, RefusedError, SilenceError
from neuroctl.link.arguments import as_bytes, check_callback
from neuroctl.link.client import Link
from neuroctl.link.protocol import BEGIN, DATA, MAX_DATA, NEXT, Mode, Op, Type

_MAX_CRC32: Final = 0xFFFFFFFF


def upload(
    link: Link,
    image: bytes,
    model_crc32: int,
    shape_crc32: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Send parameters to a board of equal shape. Its controller is reset and its outputs are safe until a start.

    The board keeps the old ones until all have arrived with the right CRC-32: a broken upload changes nothing.

    Args:
        link: an open link. It has the new model afterwards: call ``link.check(q)`` before the modes.
        image: the parameter tables in their form in C.
        model_crc32: CRC-32 of their controller.
        shape_crc32: CRC-32 of the sizes and formats compiled into the firmware; has to equal the board's.
        on_progress: called with the number of bytes sent so far.

    Raises:
        LinkError: an argument is of another type; nothing is sent.
        RefusedError: the board takes no parameters, or not these; it keeps the old ones.
        SilenceError: no answer; a later attempt starts from the beginning.

    """
    image = as_bytes("image", image)
    integer("model_crc32", model_crc32, 0, _MAX_CRC32, error=LinkError)
    integer("shape_crc32", shape_crc32, 0, _MAX_CRC32, error=LinkError)
    check_callback("on_progress", on_progress)
    hello = link.hello
    if not hello.takes_parameters:
        raise RefusedError("parameters: the board takes none; export firmware whose tables are in RAM")
    if shape_crc32 != hello.shape_crc32:
        text = f"shape: {shape_crc32:08x}; allowed: {hello.shape_crc32:08x}, the board's"
        raise RefusedError(f"{text}; flash other sizes and formats instead")
    if len(image) != hello.param_bytes:
        raise RefusedError(f"parameters: {len(image)} bytes; allowed: {hello.param_bytes}")
    _send(link, BEGIN.pack(Op.BEGIN, len(image), zlib.crc32(image), model_crc32, shape_crc32), 0)
    for offset in range(0, len(image), MAX_DATA):
        part = image[offset : offset + MAX_DATA]
        _send(link, DATA.pack(Op.DATA, offset) + part, offset + len(part))
        on_progress(offset + len(part))
    _commit(link, model_crc32)


def _send(link: Link, payload: bytes, next_offset: int) -> None:
    answer = link.request(Type.PARAM, payload).payload
    if answer != NEXT.pack(payload[0], next_offset):
        raise RefusedError(f"parameters: the board answers {answer.hex()}; allowed: next offset {next_offset}")


def _commit(link: Link, model_crc32: int) -> None:
    """Make the board activate the parameters.

    If the answer is lost, the board may already accept frames of the new model only, so HELLO asks for its model.
    """
    for _ in range(1 + link.retries):
        with contextlib.suppress(SilenceError):
            link.request(Type.PARAM, bytes((Op.COMMIT,)), retry=False)
        link.mode = Mode.IDLE
        if link.hello_again().model_crc32 == model_crc32:
            return
    raise SilenceError("parameters: no answer to COMMIT; the board still runs the old ones")
