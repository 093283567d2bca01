"""The link's protocol, version 1: types, modes, reasons, error codes, and what each payload holds.

docs/link.md says the same in prose; the board's C is ``firmware_export/runtime/nc_link.h``. All numbers are
little-endian, those of the controller are int16 with its fractional bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, Self

VERSION: Final = 1
HELLO_SEED: Final = 0xFFFF
"""Seed of the CRC where the two sides do not know each other's model: HELLO, and ERROR WRONG_MODEL."""
ANSWER: Final = 0x80
"""An answer's type is the request's with this bit."""
MOST_ECHO: Final = 64
MOST_DATA: Final = 128
"""Bytes that a PING echoes, and that one PARAM DATA carries, at most."""
MOST_REPORT_EVERY: Final = (1 << 16) - 1
"""Ticks from one REPORT to the next, at most."""
MOST_TIMEOUT_S: Final = 2147.0
"""The longest timeout that START takes, below 2^31 us; the host itself waits no longer either."""
WINDOW: Final = 128
"""How far a request's seq may be ahead of the last one that the board accepted."""


class Type(IntEnum):
    """Frame types: requests, and what a board sends unasked."""

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
    """What a board does."""

    IDLE = 0
    STEP = 1
    DRIVE = 2
    BOARD = 3
    LATCHED = 4


class Reason(IntEnum):
    """Why a board's outputs are safe."""

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
    """What payloads' lengths depend on: inputs, outputs, and bytes of the state."""

    inputs: int
    outputs: int
    state_bytes: int


@dataclass(frozen=True)
class Hello:
    """What a board says of itself; times in microseconds."""

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
        """What its payloads' lengths depend on."""
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
    """What a board answers to PING."""

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
    """Return a board's mode; one that we do not know counts as LATCHED, which is safe to assume."""
    return Mode(value) if value in Mode._value2member_map_ else Mode.LATCHED


def reason_of(value: int) -> Reason:
    """Return a board's reason; one that we do not know counts as NONE."""
    return Reason(value) if value in Reason._value2member_map_ else Reason.NONE


def code_name(value: int) -> str:
    """Return the name of an error code, or the number itself if we do not know it."""
    return Code(value).name if value in Code._value2member_map_ else str(value)


def request_sizes(kind: int, payload: bytes, sizes: Sizes | None) -> Sequence[int]:
    """Return how many bytes a request's payload may have; of a PARAM its first byte says so. None: it is unknown."""
    match kind:
        case Type.HELLO | Type.STOP:
            return (0,)
        case Type.START:
            return (START.size,)
        case Type.PING:
            return range(MOST_ECHO + 1)
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
            return range(DATA.size + 1, DATA.size + MOST_DATA + 1)
        case Op.COMMIT:
            return (1,)
    return ()


def request_fits(kind: int, flags: int, payload: bytes, sizes: Sizes | None) -> bool:
    """Whether a request is of a known type, and its payload exactly as long as its type says."""
    return len(payload) in request_sizes(kind, payload, sizes)


def answer_fits(kind: int, flags: int, payload: bytes, sizes: Sizes | None) -> bool:
    """Whether what a board sends is of a known type, and its payload exactly as long as type and flags say."""
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
            return PONG.size <= n <= PONG.size + MOST_ECHO
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
    """Return the bytes of the longest frame's body, CRC included, that either side may send."""
    least = 4 + max(HELLO.size, PONG.size + MOST_ECHO, DATA.size + MOST_DATA) + 2
    if sizes is None:
        return least
    return max(least, 6 + TICK.size + 2 * (sizes.inputs + sizes.outputs) + sizes.state_bytes)


def longest_answer(kind: Type, sizes: Sizes | None) -> int:
    """Return the bytes on the wire of the longest answer to a request: frame, zeros and COBS included."""
    payload = longest(sizes) - 6
    if sizes is not None:
        payload = {Type.STEP: 2 * sizes.outputs + sizes.state_bytes, Type.DRIVE: 2 * sizes.inputs}.get(kind, payload)
    return payload + payload // 254 + 9
