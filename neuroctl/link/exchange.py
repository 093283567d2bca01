"""Frames out and in over an open port: one awaited answer, requests whose answers nobody awaits, and REPORTs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from neuroctl.link.frames import Decoder, Frame, encode
from neuroctl.link.port import Port
from neuroctl.link.protocol import ANSWER, HELLO_SEED, PONG, Code, Type, longest_answer
from neuroctl.link.stats import Stats

_MAX_UNCHECKED_WIRE_S: Final = 0.5
"""Longest time of an answer on the wire while only the board vouches for the length of its frames."""
_MAX_HELD_BYTES: Final = 1 << 22
_FRAME_BYTES: Final = 256
"""Memory of a REPORT besides its payload."""


class Asked(NamedTuple):
    """A request that was sent; its answer has the same seq and flags."""

    kind: Type
    seq: int
    flags: int
    payload: bytes


class Reports:
    """REPORTs that wait for ``on_report``: at most 4 MiB of them, the newest, whatever a board sends."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> int:
        """Add a REPORT; return the number of older ones dropped for it."""
        self._frames.append(frame)
        self._bytes += len(frame.payload) + _FRAME_BYTES
        dropped = 0
        while self._bytes > _MAX_HELD_BYTES:
            self.take()
            dropped += 1
        return dropped

    def take(self) -> Frame:
        """Remove and return the oldest."""
        frame = self._frames.popleft()
        self._bytes -= len(frame.payload) + _FRAME_BYTES
        return frame

    def clear(self) -> None:
        """Drop all."""
        self._frames.clear()
        self._bytes = 0


class Exchange:
    """Sending and receiving below the meaning of requests: one at a time, while other threads wait."""

    def __init__(self, port: Port, baud: int, timeout_s: float):
        self.baud, self.timeout_s = baud, timeout_s
        self.stats = Stats()
        self.on_report: Callable[[Frame], None] = lambda _: None
        """Called with each REPORT at the end of the request or ``poll`` that received it; its exceptions propagate.

        It may make requests itself; REPORTs received during those wait for the next request or ``poll``.
        """
        self._port = port
        self._lock = threading.RLock()
        self._decoder = Decoder()
        self._seq = 0
        self._seed = HELLO_SEED
        self._awaited: Asked | None = None
        self._answer: Frame | None = None
        self._posted: set[int] = set()
        self._reports = Reports()
        self._report_seq: int | None = None
        self._depth = 0
        self._resync = True
        self._foreign = False
        self._unanswered = 0
        self._is_checked = False
        """Whether the board's sizes have been checked against a controller on the host."""

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Lock the link, then deliver the REPORTs received: on_report may make requests, but not inside another one.

        REPORTs received by requests of on_report wait for the next turn, else this one might never end.
        """
        with self._lock:
            self._depth += 1
            try:
                yield
            finally:
                try:
                    for _ in range(len(self._reports) if self._depth == 1 else 0):
                        if self._reports:  # on_report may start the board, which forgets them
                            self.on_report(self._reports.take())
                finally:
                    self._depth -= 1

    def _next(self, kind: Type, payload: bytes, flags: int) -> tuple[Asked, bytes]:
        self._seq = seq = (self._seq + 1) & 0xFF
        self._unanswered += 1
        if seq in self._posted:
            self._posted.discard(seq)
            self.stats.lost += 1
        self.stats.sent += 1
        seed = HELLO_SEED if kind == Type.HELLO else self._seed
        return Asked(kind, seq, flags, payload), encode(kind, seq, flags, payload, seed)

    def _send(self, wire: bytes) -> None:
        # A zero ends whatever a damaged frame left in the board's buffer.
        self._port.write(b"\0" + wire if self._resync else wire)
        self._resync = False

    def _wait_s(self, wire: bytes, kind: Type) -> float:
        """Return the longest time to an answer: the timeout, and the longest answer's time on the wire."""
        wire_s = 10 * (len(wire) + longest_answer(kind, self._decoder.sizes)) / self.baud
        return self.timeout_s + (wire_s if self._is_checked else min(wire_s, _MAX_UNCHECKED_WIRE_S))

    def _exchange(self, asked: Asked, wire: bytes) -> Frame | None:
        """Send once; return the answer, or None if none came in time or the board asks for a repetition."""
        self._awaited, self._answer, self._foreign = asked, None, False
        self._send(wire)
        deadline = time.monotonic() + self._wait_s(wire, asked.kind)
        while self._answer is None and not self._foreign:
            left = deadline - time.monotonic()
            if left < 0:
                break
            self._take(left)
        self._awaited = None
        self._resync = self._answer is None
        return self._answer

    def _take(self, wait_s: float) -> None:
        data = self._port.read(wait_s)
        if not data:
            return
        self.stats.bytes_in += len(data)
        for frame in self._decoder.feed(data):
            self._accept(frame)
        self.stats.bad = self._decoder.bad_frames

    def _accept(self, frame: Frame) -> None:
        if frame.type == Type.REPORT:
            self._keep(frame)
        elif frame.type == Type.ERROR and frame.payload[0] == Code.WRONG_MODEL:
            self._foreign = True
        elif self._answer is None and self._awaited is not None and self._answers(frame, self._awaited):
            self._answer = frame
            self._unanswered = 0
            if self._awaited.kind == Type.START:
                self._report_seq = None  # a board counts its REPORTs from then on
        elif frame.seq in self._posted:
            self._posted.discard(frame.seq)
            self._unanswered = (self._seq - frame.seq) & 0xFF
            self.stats.answered += 1
        else:
            self.stats.stale += 1

    def _answers(self, frame: Frame, asked: Asked) -> bool:
        """Whether a frame answers a request: by seq and flags, and by the contents for that kind of request."""
        if (frame.seq, frame.flags) != (asked.seq, asked.flags):
            return False
        if frame.type == Type.ERROR:
            return frame.payload[1] == asked.kind != Type.HELLO  # which no board refuses
        if frame.type != asked.kind | ANSWER:
            return False
        match asked.kind:
            case Type.PING:
                return frame.payload[PONG.size :] == asked.payload
            case Type.STATE:
                sizes = self._decoder.sizes
                return sizes is not None and len(frame.payload) == (0 if asked.payload else sizes.state_bytes)
        return True

    def _keep(self, frame: Frame) -> None:
        self.stats.reports += 1
        if self._report_seq is not None:
            self.stats.reports_lost += (frame.seq - self._report_seq - 1) & 0xFF
        self._report_seq = frame.seq
        self.stats.reports_lost += self._reports.put(frame)
