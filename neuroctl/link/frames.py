"""Frames: COBS(version, type, seq, flags, payload, CRC-16) and a zero byte. Pure functions of bytes."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from typing import Final, NamedTuple

from neuroctl.errors import require
from neuroctl.link import protocol
from neuroctl.link.protocol import ANSWER, HELLO_SEED, VERSION, Code, Sizes, Type

_cobs = require("cobs.cobs", "serial")

MIN_BODY_BYTES: Final = 6
"""Bytes of a frame without payload: version, type, seq, flags, CRC-16."""
Fits = Callable[[int, int, bytes, Sizes | None], bool]


class Frame(NamedTuple):
    """A frame whose version, type, length and CRC were right."""

    type: int
    seq: int
    flags: int
    payload: bytes
    crc: int


def encode(kind: int, seq: int, flags: int, payload: bytes, seed: int) -> bytes:
    """Return a frame as sent over the wire, including its closing zero.

    Args:
        kind: see ``protocol.Type``.
        seq: 0 to 255.
        flags: 0 to 255.
        payload: no longer than the receiver's limit.
        seed: of the CRC: ``protocol.fold`` of the model's CRC-32, or ``HELLO_SEED``.

    """
    body = bytes((VERSION, kind, seq, flags)) + payload
    wire: bytes = _cobs.encode(body + crc_hqx(body, seed).to_bytes(2, "little"))
    return wire + b"\0"


class Decoder:
    """Finds frames in a stream of bytes. Invalid ones are dropped whole, up to the next zero, and counted.

    It holds the bytes of one frame at most, however long the noise is.

    Args:
        seed: of the CRC of frames other than HELLO and ERROR WRONG_MODEL.
        sizes: the board's. While they are unknown, None, frames whose length depends on them are invalid.
        fits: ``protocol.answer_fits`` on the host, ``protocol.request_fits`` on a board.

    """

    def __init__(self, seed: int = HELLO_SEED, sizes: Sizes | None = None, fits: Fits = protocol.answer_fits):
        self.bad_frames = 0
        self.foreign: Frame | None = None
        self._fits, self._rest, self._overlong = fits, b"", False
        self.expect(seed, sizes)

    def expect(self, seed: int, sizes: Sizes | None) -> None:
        """Set the model's seed and sizes."""
        self._seed, self.sizes = seed, sizes
        longest = protocol.longest(sizes)
        self._longest = longest + longest // 254 + 1

    def clear(self) -> None:
        """Drop the beginning of a frame, as after the port was opened again."""
        self._rest, self._overlong = b"", False

    def feed(self, data: bytes) -> list[Frame]:
        """Add received bytes and return the frames that they complete, oldest first."""
        *whole, rest = (self._rest + data).split(b"\0")
        frames = []
        for wire in whole:
            if self._overlong or len(wire) > self._longest:
                self._overlong = False
                self.bad_frames += 1
            elif wire:
                frame = self._frame(wire)
                if frame is None:
                    self.bad_frames += 1
                else:
                    frames.append(frame)
        if len(rest) > self._longest:
            rest, self._overlong = b"", True
        self._rest = rest
        return frames

    def _frame(self, wire: bytes) -> Frame | None:
        try:
            body: bytes = _cobs.decode(wire)
        except _cobs.DecodeError:
            return None
        if len(body) < MIN_BODY_BYTES or body[0] != VERSION:
            return None
        _, kind, seq, flags = body[:4]
        frame = Frame(kind, seq, flags, body[4:-2], int.from_bytes(body[-2:], "little"))
        if not self._fits(kind, flags, frame.payload, self.sizes):
            return None
        if crc_hqx(body[:-2], self._seed_of(frame)) != frame.crc:
            self.foreign = frame
            return None
        return frame

    def _seed_of(self, frame: Frame) -> int:
        if frame.type & ~ANSWER == Type.HELLO:
            return HELLO_SEED
        if frame.type == Type.ERROR and frame.payload[0] == Code.WRONG_MODEL:
            return HELLO_SEED
        return self._seed
