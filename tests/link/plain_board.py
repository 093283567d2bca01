"""The board's side of the protocol in plain Python, on a pseudo-terminal: what the C is compared with."""

import contextlib
import os
import select
import threading
import time
import tty
import zlib

import numpy as np

import neuroctl as nc
from neuroctl.io import canonical_json
from neuroctl.link.arguments import frac_bits_on_wire
from neuroctl.link.frames import Decoder, encode
from neuroctl.link.protocol import (
    ANSWER,
    BEGIN,
    DATA,
    ERROR,
    HELLO_SEED,
    NEXT,
    START,
    TICK,
    Code,
    Flag,
    Hello,
    Mode,
    Op,
    Pong,
    Reason,
    Sizes,
    Type,
    fold,
    request_fits,
)


class Refused(Exception):
    """A request that the board answers with ERROR."""


def image_of(q):
    """The parameters as this board keeps them."""
    return q.theta_q.astype("<i4").tobytes()


def shape_of(q):
    """The CRC-32 of what cannot be uploaded: the spec and the formats."""
    return zlib.crc32(canonical_json([q.spec.to_dict(), {k: [f.bits, f.frac_bits] for k, f in q.formats.items()}]))


class PlainBoard:
    """A board with one controller: bytes in by ``take``, time by ``tick``; both return what it sends."""

    def __init__(self, q, timeout_s=0.5, sensors=None):
        self.q = nc.QuantController(q.spec, q.formats, q.theta_q.copy())
        self.default_s, self.timeout_s = timeout_s, timeout_s
        self.sensors = sensors or (lambda: np.zeros(q.spec.inputs, np.int32))
        self.sizes = Sizes(q.spec.inputs, q.spec.outputs, len(q.state_bytes()))
        self.decoder = Decoder(fold(q.model_crc32), self.sizes, request_fits)
        limits = q.spec.output_limits or ((0.0, 0.0),) * q.spec.outputs
        self.safe = q.formats["out"].quantize([min(max(0.0, low), high) for low, high in limits])
        self.staged, self.staged_for, self.told_s, self.foreign_in_a_row = None, None, -1.0, 0
        self.boot()

    def boot(self):
        """Power up."""
        self.mode, self.reason, self.out = Mode.IDLE, Reason.RESET, self.safe
        self.ticks = self.overruns = self.stale = self.report_seq = self.tells = self.every = 0
        self.last, self.last_answer, self.heard_s, self.due_s = None, b"", 0.0, 0.0
        self.q.reset()

    def latch(self, reason):
        self.mode, self.reason, self.out = Mode.LATCHED, reason, self.safe

    def take(self, data, now_s):
        self.decoder.foreign = None
        frames = self.decoder.feed(data)
        sent = b"".join(self.answer(frame, now_s) for frame in frames)
        frame = self.decoder.foreign
        self.foreign_in_a_row = 0 if frames else self.foreign_in_a_row + (frame is not None)
        if frame and self.foreign_in_a_row >= 3 and now_s - self.told_s > 0.1:
            self.told_s = now_s
            sent += encode(Type.ERROR, frame.seq, 0, ERROR.pack(Code.WRONG_MODEL, frame.type, self.reason), HELLO_SEED)
        return sent

    def watch(self, now_s):
        if self.mode in (Mode.STEP, Mode.DRIVE, Mode.BOARD) and now_s - self.heard_s > self.timeout_s:
            self.latch(Reason.TIMEOUT)

    def tick(self, now_s):
        self.watch(now_s)
        if self.mode != Mode.BOARD or now_s < self.due_s:
            return b""
        self.due_s += self.q.spec.dt_s
        return self.control()

    def control(self):
        """One step of its own, and the REPORT of it."""
        try:
            inputs = self.sensors()
        except OSError:
            self.latch(Reason.SENSOR)
            return b""
        self.out = self.q.step_int(inputs).copy()
        self.ticks += 1
        if not self.every or self.ticks % self.every:
            return b""
        state = self.q.state_bytes() if self.tells else b""
        payload = TICK.pack(self.ticks) + int16(inputs) + int16(self.out) + state
        flags = Flag.STATE if self.tells else 0
        seq, self.report_seq = self.report_seq, (self.report_seq + 1) & 0xFF
        return encode(Type.REPORT, seq, flags, payload, self.seed)

    @property
    def seed(self):
        return fold(self.q.model_crc32)

    def answer(self, frame, now_s):
        self.watch(now_s)
        self.heard_s = now_s
        mark = (frame.seq, frame.type, frame.crc)
        if self.last is not None and frame.type != Type.HELLO:
            if mark == self.last:
                return self.last_answer
            if (self.last[0] - frame.seq) & 0xFF <= 127:
                self.stale += 1
                return b""
        seed = HELLO_SEED if frame.type == Type.HELLO else self.seed
        try:
            kind, payload = frame.type | ANSWER, self.act(frame, now_s)
        except Refused as error:
            kind, payload = Type.ERROR, ERROR.pack(error.args[0], frame.type, self.reason)
        self.last = mark
        self.last_answer = encode(kind, frame.seq, frame.flags, payload, seed)
        return self.last_answer

    def act(self, frame, now_s):
        """Do what is asked and return the answer's payload."""
        data = frame.payload
        match frame.type:
            case Type.HELLO:
                return self.hello().pack()
            case Type.PING:
                counts = (self.decoder.bad_frames & 0xFFFF, self.stale & 0xFFFF, self.overruns)
                return Pong(self.ticks, self.mode, self.reason, *counts, data).pack()
            case Type.STOP:
                self.latch(Reason.STOPPED)
                return b""
            case Type.START:
                return self.start(data, now_s)
            case Type.STATE:
                return self.state(data)
            case Type.PARAM:
                return NEXT.pack(data[0], self.param(data))
        self.need(frame.type)
        if frame.type == Type.DRIVE:
            self.out = np.frombuffer(data, "<i2").astype(np.int32)
            self.ticks += 1
            return int16(self.sensors())
        return self.step(frame)

    def hello(self):
        q, spec = self.q, self.q.spec
        timing = (round(spec.dt_s * 1e6), round(self.timeout_s * 1e6))
        sizes = (spec.inputs, spec.outputs, spec.neurons, self.sizes.state_bytes)
        frac_bits = (frac_bits_on_wire(q.formats["u"]), frac_bits_on_wire(q.formats["out"]))
        crcs = (q.model_crc32, shape_of(q))
        return Hello(1, 1, self.mode, self.reason, *crcs, *timing, len(image_of(q)), *sizes, *frac_bits, "plain")

    def start(self, data, now_s):
        mode, self.tells, self.every, timeout_us = START.unpack(data)
        if mode not in (Mode.STEP, Mode.DRIVE, Mode.BOARD):
            raise Refused(Code.BAD_VALUE)
        self.timeout_s = timeout_us * 1e-6 or self.default_s
        self.mode, self.reason, self.ticks, self.report_seq, self.due_s = Mode(mode), Reason.NONE, 0, 0, now_s
        self.q.reset()
        return b""

    def state(self, data):
        if data:
            self.q.set_state_bytes(data)
            return b""
        return self.q.state_bytes()

    def need(self, kind):
        if self.mode == Mode.LATCHED:
            raise Refused(Code.LATCHED)
        if self.mode != {Type.STEP: Mode.STEP, Type.DRIVE: Mode.DRIVE}[kind]:
            raise Refused(Code.NOT_STARTED)

    def step(self, frame):
        if frame.flags & Flag.RESET:
            self.q.reset()
        self.out = self.q.step_int(np.frombuffer(frame.payload, "<i2").astype(np.int32)).copy()
        self.ticks += 1
        return int16(self.out) + (self.q.state_bytes() if frame.flags & Flag.STATE else b"")

    def param(self, data):
        """Gather parameters beside the old ones; COMMIT swaps them if all came and the CRC-32 holds."""
        if data[0] == Op.BEGIN:
            _, size, *self.staged_for, shape = BEGIN.unpack(data)
            self.staged = None
            if size != len(image_of(self.q)):
                raise Refused(Code.PARAM_SIZE)
            if shape != shape_of(self.q):
                raise Refused(Code.PARAM_SHAPE)
            self.staged = b""
        elif self.staged is None:
            raise Refused(Code.PARAM_ORDER)
        elif data[0] == Op.DATA:
            part = data[DATA.size :]
            if DATA.unpack_from(data)[1] != len(self.staged):
                raise Refused(Code.PARAM_ORDER)
            if len(self.staged) + len(part) > len(image_of(self.q)):
                raise Refused(Code.PARAM_SIZE)
            self.staged += part
        else:
            self.commit()
            return 0
        return len(self.staged)

    def commit(self):
        image, (crc, model) = self.staged, self.staged_for
        if len(image) != len(image_of(self.q)):
            raise Refused(Code.PARAM_SIZE)
        new = nc.QuantController(self.q.spec, self.q.formats, np.frombuffer(image, "<i4").astype(np.int32))
        if zlib.crc32(image) != crc or new.model_crc32 != model:
            raise Refused(Code.PARAM_CRC)
        self.q, self.staged, self.mode, self.out = new, None, Mode.IDLE, self.safe
        self.decoder.expect(self.seed, self.sizes)


def int16(values):
    return np.asarray(values).astype("<i2").tobytes()


class Served:
    """A board on a pseudo-terminal, served by a thread; ``to_board`` and ``to_host`` may spoil what passes."""

    def __init__(self, board):
        self.board, self.deaf = board, False
        self.to_board = self.to_host = lambda data: data
        self.open()

    def open(self, link=None):
        """Plug it in; ``link`` is a path that names the port, and stays the same when it is plugged in again."""
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._link = link
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.port)
        self._end = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        ready = select.poll()
        ready.register(self.master, select.POLLIN)
        while not self._end:
            data = os.read(self.master, 4096) if ready.poll(2) else b""
            if self.deaf:
                continue
            now_s = time.monotonic()
            sent = self.board.take(self.to_board(data), now_s) if data else b""
            sent = self.to_host(sent + self.board.tick(now_s)) if data or self.board.mode != Mode.IDLE else b""
            if sent:
                os.write(self.master, sent)

    def unplug(self):
        """Take it out; a host that has it open reads end of file or an error."""
        self._end = True
        self._thread.join()
        if self._link is not None:  # else it might lead to another process's board, which got the number
            self._link.unlink(missing_ok=True)
        os.close(self.master)
        os.close(self._slave)


@contextlib.contextmanager
def served(board):
    """Serve a board on a pty until the block ends."""
    host = Served(board)
    try:
        yield host
    finally:
        if not host._end:
            host.unplug()
