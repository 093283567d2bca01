"""The protocol once more, slow and plain, from its text alone: frames, and a client that asks and waits."""

import binascii
import struct
import time

import serial

HELLO, STEP, STATE, PARAM, PING, STOP, DRIVE, START = 1, 2, 3, 4, 5, 6, 8, 9
ANSWER, ERROR, REPORT = 0x80, 0x87, 0x8A
IDLE, STEPPING, DRIVING, BOARD, LATCHED = range(5)
NONE, STOPPED, TIMEOUT, OVERRUN, SENSOR, RESET = range(6)
UNSUPPORTED, E_LATCHED, NOT_STARTED, PARAM_ORDER, PARAM_SIZE, PARAM_CRC, PARAM_SHAPE, BAD_VALUE, WRONG_MODEL = range(
    2, 11
)
HELLO_FORM = "<BBBBIIIIIHHHHbb16s"
HELLO_NAMES = (
    "protocol capabilities mode reason model_crc32 shape_crc32 dt_us timeout_us param_bytes inputs outputs neurons"
    " state_bytes in_frac_bits out_frac_bits name"
).split()


def encode(data):
    """COBS: each zero becomes the distance to the next."""
    out, block = bytearray(), bytearray()
    for byte in data:
        if byte:
            block.append(byte)
        if not byte or len(block) == 254:
            out += bytes([len(block) + 1]) + block
            block.clear()
    return bytes(out + bytes([len(block) + 1]) + block)


def decode(data):
    """None where it is no COBS."""
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or len(block) != code - 1 or 0 in block:
            return None
        out += block
        at += code
        if code != 255 and at < len(data):
            out.append(0)
    return bytes(out)


def folded(crc):
    return (crc ^ crc >> 16) & 0xFFFF


def frame(kind, seq, payload=b"", seed=0xFFFF, flags=0, version=1):
    """A frame on the wire, with its end."""
    body = bytes([version, kind, seq & 255, flags]) + payload
    return encode(body + struct.pack("<H", binascii.crc_hqx(body, seed))) + b"\0"


def parse(data, *seeds):
    """Type, seq, flags and payload of a frame without its end; None unless it holds under one of the seeds."""
    body = decode(data)
    if body is None or len(body) < 6:
        return None
    crc = struct.unpack("<H", body[-2:])[0]
    if body[0] != 1 or all(binascii.crc_hqx(body[:-2], seed) != crc for seed in seeds):
        return None
    return body[1], body[2], body[3], body[4:-2]


class Client:
    """One end of the wire: asks, and waits for the answer."""

    def __init__(self, port, model_crc32=0):
        self.wire = serial.Serial(port, 115200, timeout=0.02)
        self.seed, self.seq, self.rest, self.reports, self.others = folded(model_crc32), 0, b"", [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def send(self, data):
        self.wire.write(data)

    def frames(self, wait_s=0.3):
        """Whatever comes within a while: parsed frames, and None for bad ones."""
        end, frames = time.monotonic() + wait_s, []
        while time.monotonic() < end:
            self.rest += self.wire.read(max(1, self.wire.in_waiting))
            *whole, self.rest = self.rest.split(b"\0")
            frames += [parse(part, self.seed, 0xFFFF) for part in whole if part]
            if frames:
                break
        return frames

    def await_answer(self, wait_s=2.0):
        """The next frame that is no report; those are kept in ``reports``."""
        end = time.monotonic() + wait_s
        while not self.others and time.monotonic() < end:
            self.collect(0.05)
        if not self.others:
            raise TimeoutError("no answer")
        return self.others.pop(0)

    def collect(self, wait_s):
        for got in self.frames(wait_s):
            (self.reports if got is not None and got[0] == REPORT else self.others).append(got)

    def ask(self, kind, payload=b"", flags=0, wait_s=2.0):
        """The answer's payload; of an error a tuple: code, refused type, reason."""
        self.seq = self.seq + 1 & 255
        self.send(frame(kind, self.seq, payload, 0xFFFF if kind == HELLO else self.seed, flags))
        got = self.await_answer(wait_s)
        assert got is not None, "a damaged answer"
        assert got[1] == self.seq
        if got[0] == ERROR:
            assert got[3][1] == kind
            return tuple(got[3])
        assert got[0] == kind | ANSWER
        return got[3]

    def hello(self):
        self.send(b"\0")
        fields = dict(zip(HELLO_NAMES, struct.unpack(HELLO_FORM, self.ask(HELLO)), strict=True))
        self.seed = folded(fields["model_crc32"])
        return fields

    def start(self, mode, options=0, report_every=0, timeout_us=2_000_000):
        return self.ask(START, struct.pack("<BBHI", mode, options, report_every, timeout_us))

    def ping(self, echo=b""):
        answer = self.ask(PING, echo)
        assert answer[14:] == echo
        names = "tick mode reason bad stale overruns".split()
        return dict(zip(names, struct.unpack("<IBBHHI", answer[:14]), strict=True))

    def step(self, words, flags=0):
        return self.ask(STEP, words.astype("<i2").tobytes(), flags)

    def upload(self, image, model_crc32, shape_crc32, crc32=None, commit=True):
        """The last answer: that of COMMIT, or the first error."""
        crc32 = binascii.crc32(image) if crc32 is None else crc32
        got = self.ask(PARAM, struct.pack("<BIIII", 0, len(image), crc32, model_crc32, shape_crc32))
        for at in range(0, len(image), 128):
            if isinstance(got, tuple):
                return got
            part = image[at : at + 128]
            got = self.ask(PARAM, struct.pack("<BI", 1, at) + part)
            if not isinstance(got, tuple):
                assert struct.unpack("<BI", got) == (1, at + len(part))
        if commit:
            got = self.ask(PARAM, b"\x02")
            if not isinstance(got, tuple):
                self.seed = folded(model_crc32)
        return got
