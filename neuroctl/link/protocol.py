"""The link's protocol, version 1: types, modes, reasons, error codes, and the contents of payloads.

docs/link.md describes it in prose; the board's C is ``firmware_export/runtime/nc_link.h``. All numbers are
little-endian; those of the controller are int16 with its fractional bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, Self

VERSION: Final = 1
HELLO_SEED: Final = 0xFFFF
"""Seed of the CRC of frames between sides that may run different models: HELLO, and ERROR WRONG_MODEL."""
ANSWER: Final = 0x80
"""An answer's type is the request's with this bit."""
MAX_ECHO: Final = 64
MAX_DATA: Final = 128
"""Largest number of bytes that a PING echoes, and that one PARAM DATA carries."""
MAX_REPORT_EVERY: Final = (1 << 16) - 1
"""Largest number of ticks from one REPORT to the next."""
MAX_TIMEOUT_S: Final = 2147.0
"""Longest timeout of a START, below 2^31 us, and longest wait of the host."""
WINDOW: Final = 128
"""Largest distance of a request's seq ahead of the last one that the board accepted."""


class Type(IntEnum):
    """Frame types: requests, and those that a board sends by itself."""

    HELLO = 0x01
    STEP = 0x02
    STATE = 0x03
    PARAM = 0x04
    PING = 0x05
    STOP = 0x06
    DRIVE = 0x08
    START = 0x09
    ERROR = 0x87
    REPORT = 0x8A


REQUESTS: Final = frozenset(type_ for type_ in Type if type_ < ANSWER)


class Flag(IntFlag):
    """Flags of a STEP; a REPORT that carries the state has STATE."""

    NONE = 0
    RESET = 1
    STATE = 2


class Mode(IntEnum):
    """Modes of a board.

    Example:
        >>> Mode.STEP.name, Mode(0)
        ('STEP', <Mode.IDLE: 0>)

    """

    IDLE = 0
    STEP = 1
    DRIVE = 2
    BOARD = 3
    LATCHED = 4


class Reason(IntEnum):
    """Why a board's outputs are safe.

    Example:
        >>> from neuroctl.link import Link
        >>> with Link(port, q) as link:  # a board that runs q, just switched on
        ...     link.hello.reason.name
        'RESET'

    """

    NONE = 0
    STOPPED = 1
    TIMEOUT = 2
    OVERRUN = 3
    SENSOR = 4
    RESET = 5


class Code(IntEnum):
    """Why a board refused a request."""

    UNSUPPORTED = 2
    LATCHED = 3
    NOT_STARTED = 4
    PARAM_ORDER = 5
    PARAM_SIZE = 6
    PARAM_CRC = 7
    PARAM_SHAPE = 8
    BAD_VALUE = 9
    WRONG_MODEL = 10


class Op(IntEnum):
    """Steps of a parameter upload."""

    BEGIN = 0
    DATA = 1
    COMMIT = 2


HELLO: Final = struct.Struct("<4B5I4H2b16s")
PONG: Final = struct.Struct("<I2B2HI")
START: Final = struct.Struct("<2BHI")
BEGIN: Final = struct.Struct("<B4I")
DATA: Final = struct.Struct("<BI")
NEXT: Final = struct.Struct("<BI")
ERROR: Final = struct.Struct("<3B")
TICK: Final = struct.Struct("<I")


def fold(crc32: int) -> int:
    """Return the CRC-16's seed of a model: its CRC-32 folded."""
    return (crc32 ^ crc32 >> 16) & 0xFFFF


class Sizes(NamedTuple):
    """Sizes that determine the lengths of payloads: inputs, outputs, and bytes of the state."""

    inputs: int
    outputs: int
    state_bytes: int


@dataclass(frozen=True)
class Hello:
    """A board's answer to HELLO; times in microseconds.

    Example:
        >>> from neuroctl.link import Link
        >>> with Link(port, q) as link:  # a board that runs q
        ...     link.hello.dt_us, link.hello.inputs, link.hello.outputs
        (10000, 2, 1)

    """

    protocol: int
    capabilities: int
    mode: Mode
    reason: Reason
    model_crc32: int
    shape_crc32: int
    dt_us: int
    timeout_us: int
    param_bytes: int
    inputs: int
    outputs: int
    neurons: int
    state_bytes: int
    in_frac_bits: int
    out_frac_bits: int
    name: str

    @property
    def takes_parameters(self) -> bool:
        """Whether parameters can be uploaded."""
        return bool(self.capabilities & 1)

    @property
    def sizes(self) -> Sizes:
        """Sizes that determine the lengths of its payloads."""
        return Sizes(self.inputs, self.outputs, self.state_bytes)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read the answer to HELLO."""
        protocol, capabilities, mode, reason, *rest, name = HELLO.unpack(payload)
        text = "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in name.rstrip(b"\0"))  # a terminal may show it
        return cls(*[protocol, capabilities, mode_of(mode), reason_of(reason), *rest, text])

    def pack(self) -> bytes:
        """Return the answer to HELLO."""
        values = list(self.__dict__.values())
        return HELLO.pack(*values[:-1], self.name.encode("ascii"))


@dataclass(frozen=True)
class Pong:
    """A board's answer to PING.

    Example:
        >>> from neuroctl.link import Link
        >>> with Link(port, q) as link:  # a board that runs q
        ...     pong = link.ping()
        >>> pong.tick, pong.mode.name, pong.overruns
        (0, 'IDLE', 0)

    """

    tick: int
    mode: Mode
    reason: Reason
    bad_frames: int
    stale_frames: int
    overruns: int
    echo: bytes

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read the answer to PING."""
        tick, mode, reason, *counts = PONG.unpack_from(payload)
        return cls(*[tick, mode_of(mode), reason_of(reason), *counts, payload[PONG.size :]])

    def pack(self) -> bytes:
        """Return the answer to PING."""
        return PONG.pack(*list(self.__dict__.values())[:-1]) + self.echo


def mode_of(value: int) -> Mode:
    """Return a board's mode; an unknown one counts as LATCHED, the safe assumption."""
    return Mode(value) if value in Mode._value2member_map_ else Mode.LATCHED


def reason_of(value: int) -> Reason:
    """Return a board's reason; an unknown one counts as NONE."""
    return Reason(value) if value in Reason._value2member_map_ else Reason.NONE


def code_name(value: int) -> str:
    """Return the name of an error code, or the number of an unknown one."""
    return Code(value).name if value in Code._value2member_map_ else str(value)


def request_sizes(kind: int, payload: bytes, sizes: Sizes | None) -> Sequence[int]:
    """Return a request payload's allowed lengths in bytes, none if unknown; a PARAM's first byte decides."""
    match kind:
        case Type.HELLO | Type.STOP:
            return (0,)
        case Type.START:
            return (START.size,)
        case Type.PING:
            return range(MAX_ECHO + 1)
        case Type.PARAM:
            return _param_sizes(payload)
        case Type.STEP:
            return () if sizes is None else (2 * sizes.inputs,)
        case Type.DRIVE:
            return () if sizes is None else (2 * sizes.outputs,)
        case Type.STATE:
            return (0,) if sizes is None else (0, sizes.state_bytes)
        case _:
            return ()


def _param_sizes(payload: bytes) -> Sequence[int]:
    match payload[0] if payload else None:
        case Op.BEGIN:
            return (BEGIN.size,)
        case Op.DATA:
            return range(DATA.size + 1, DATA.size + MAX_DATA + 1)
        case Op.COMMIT:
            return (1,)
    return ()


def request_fits(kind: int, flags: int, payload: bytes, sizes: Sizes | None) -> bool:
    """Whether a request has a known type and a payload of exactly that type's length."""
    return len(payload) in request_sizes(kind, payload, sizes)


def answer_fits(kind: int, flags: int, payload: bytes, sizes: Sizes | None) -> bool:
    """Whether a board's frame has a known type and a payload of exactly the length for its type and flags."""
    n = len(payload)
    if kind == Type.ERROR:
        return n == ERROR.size
    if kind < ANSWER:
        return False
    match kind ^ ANSWER:
        case Type.HELLO:
            return n == HELLO.size
        case Type.STOP | Type.START:
            return n == 0
        case Type.PARAM:
            return n == NEXT.size
        case Type.PING:
            return PONG.size <= n <= PONG.size + MAX_ECHO
    return sizes is not None and _numbers_fit(kind, flags, n, sizes)


def _numbers_fit(kind: int, flags: int, n: int, sizes: Sizes) -> bool:
    state = sizes.state_bytes if flags & Flag.STATE else 0
    if kind == Type.REPORT:
        return n == TICK.size + 2 * (sizes.inputs + sizes.outputs) + state
    match kind ^ ANSWER:
        case Type.STEP:
            return n == 2 * sizes.outputs + state
        case Type.DRIVE:
            return n == 2 * sizes.inputs
        case Type.STATE:
            return n in (0, sizes.state_bytes)
    return False


def longest(sizes: Sizes | None) -> int:
    """Return the length in bytes of the longest body of a frame of either side, including the CRC."""
    fixed = 4 + max(HELLO.size, PONG.size + MAX_ECHO, DATA.size + MAX_DATA) + 2
    if sizes is None:
        return fixed
    return max(fixed, 6 + TICK.size + 2 * (sizes.inputs + sizes.outputs) + sizes.state_bytes)


def longest_answer(kind: Type, sizes: Sizes | None) -> int:
    """Return the length in bytes on the wire of the longest answer to a request, with COBS and zeros."""
    payload = longest(sizes) - 6
    if sizes is not None:
        payload = {Type.STEP: 2 * sizes.outputs + sizes.state_bytes, Type.DRIVE: 2 * sizes.inputs}.get(kind, payload)
    return payload + payload // 254 + 9
