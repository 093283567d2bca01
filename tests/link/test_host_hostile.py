"""A board that means harm, or is out of its mind: the host stays small and quick, and says it in one line."""

import contextlib
import subprocess
import sys
import time

import numpy as np
import pytest

from neuroctl.errors import LinkError, ModelError, SilenceError
from neuroctl.link import BoardDriven, Hello, HostDriven, Link, Mode, Shadow, exchange, upload
from neuroctl.link.exchange import Reports
from neuroctl.link.frames import Frame, encode
from neuroctl.link.protocol import ANSWER, ERROR, HELLO, HELLO_SEED, NEXT, PONG, TICK, Code, Flag, Type, fold
from tests.link.helpers import controller, linked
from tests.link.plain_board import PlainBoard, image_of, served

Q = controller()
SEED = fold(Q.model_crc32)
ABSURD = {"inputs": 65535, "outputs": 65535, "state_bytes": 65535, "neurons": 65535, "param_bytes": 2**32 - 1}


class Telling(PlainBoard):
    """A board that tells other things of itself."""

    def __init__(self, **fields):
        super().__init__(Q)
        self.fields = fields

    def hello(self):
        return Hello(**(super().hello().__dict__ | self.fields))


# --- Sizes -----------------------------------------------------------------------------------------------------------


def test_absurd_sizes_cost_no_long_wait():
    """At 115,200 baud the longest frame of such a board would take 28 s."""
    with served(Telling(**ABSURD)) as host, Link(host.port, timeout_s=0.05, hello_s=1.0) as link:
        host.deaf = True
        begin = time.monotonic()
        with pytest.raises(SilenceError):
            link.ping()
        assert time.monotonic() - begin < 4 * (0.05 + 0.5) + 1.0


def test_absurd_sizes_are_refused_where_the_controller_is_known():
    with served(Telling(**ABSURD)) as host:
        begin = time.monotonic()
        with pytest.raises(ModelError, match="the board has inputs 65535"):
            linked(host, Q)
        assert time.monotonic() - begin < 1.0


def test_a_long_answer_of_a_controller_that_is_known_is_waited_for():
    """The line takes as long as it takes."""
    with served(PlainBoard(Q)) as host, linked(host, Q) as link:
        link.baud = 100
        assert link._wait_s(bytes(10), Type.STATE) > 5.0


# --- REPORTs ---------------------------------------------------------------------------------------------------------


def test_reports_that_wait_are_bounded_and_the_newest_stay():
    reports, lost = Reports(), 0
    for index in range(100_000):
        lost += reports.put(Frame(Type.REPORT, index & 0xFF, 0, index.to_bytes(4, "little"), 0))
    assert len(reports) + lost == 100_000
    assert len(reports) * 260 <= 1 << 22
    first = int.from_bytes(reports.take().payload, "little")
    assert first == lost
    for _ in range(500):
        reports.put(Frame(Type.REPORT, 0, 0, bytes(300_000), 0))
    assert len(reports) < 15
    reports.clear()
    assert (len(reports), reports.put(Frame(Type.REPORT, 0, 0, b"", 0))) == (0, 0)


def test_a_board_that_only_reports_takes_no_memory_for_ever(monkeypatch):
    """In the middle of a request that it never answers."""
    monkeypatch.setattr(exchange, "_MAX_HELD_BYTES", 1 << 16)
    payload = TICK.pack(1) + bytes(2 * 3)
    flood = b"".join(encode(Type.REPORT, seq, 0, payload, SEED) for seq in range(256)) * 4
    with served(PlainBoard(Q)) as host, linked(host, Q, timeout_s=1.5, retries=0) as link:
        handed = []
        link.on_report = handed.append
        host.to_host = lambda data: flood
        host.board.mode = Mode.BOARD  # so that it is served without being asked
        with pytest.raises(SilenceError):
            link.stop()
        counts = (link.stats.reports, len(handed), link.stats.reports_lost)
        host.to_host = lambda data: data
        link.retries = 100
        link.ping()  # else the board's end would wait for ever to be rid of its flood
        assert 0 < counts[1] <= (1 << 16) // 256
        assert counts[2] > 0
        assert counts[0] == counts[1] + counts[2]


# --- Names -----------------------------------------------------------------------------------------------------------

NASTY = "\x1b]0;owned\x07\x9b[b]\n"


def nasty():
    board = Telling()
    plain = board.hello().pack()
    name = NASTY.encode("latin-1")[:16].ljust(16, b"\0")
    board.act = lambda frame, now_s: (
        plain[:-16] + name if frame.type == Type.HELLO else PlainBoard.act(board, frame, now_s)
    )
    return board


def test_a_boards_name_brings_no_escapes_to_the_screen():
    with served(nasty()) as host:
        with linked(host, None) as link:
            assert link.hello.name == "?]0;owned??[b]?"
        done = subprocess.run([sys.executable, "-m", "neuroctl", "link", host.port], capture_output=True)
        assert b"owned" in done.stdout, done.stderr
        assert not set(b"\x1b\x07\x9b") & set(done.stdout + done.stderr)
    with served(nasty()) as host, pytest.raises(ModelError) as error:
        linked(host, controller(seed=9))
    assert str(error.value).isprintable()


# --- Answers ---------------------------------------------------------------------------------------------------------


class Answering(PlainBoard):
    """A board whose answers are spoiled after they were made, with a right CRC."""

    def __init__(self, kind, spoil):
        super().__init__(Q, 5.0)
        self.kind, self.spoil = kind, spoil

    def answer(self, frame, now_s):
        sent = super().answer(frame, now_s)
        if frame.type != self.kind:
            return sent
        kind, flags, payload = self.spoil(frame.type | ANSWER, frame.flags, self.act(frame, now_s))
        return encode(kind, frame.seq, flags, payload, SEED)


U = np.ones(2, np.float32)
ODD = {
    "a step without its state": (Type.STEP, lambda k, f, p: (k, 0, p[:2]), Shadow, lambda m: m.step(U)),
    "a step with a state that was not": (
        Type.STEP, lambda k, f, p: (k, Flag.STATE, p + bytes(36)), None, lambda link: link.step(bytes(4)),
    ),
    "a step with unknown flags": (Type.STEP, lambda k, f, p: (k, 0xFC, p), None, lambda link: link.step(bytes(4))),
    "no state": (Type.STATE, lambda k, f, p: (k, f, b""), None, lambda link: link.state()),
    "a state for a put": (Type.STATE, lambda k, f, p: (k, f, bytes(36)), None, lambda link: link.put_state(bytes(36))),
    "another echo": (Type.PING, lambda k, f, p: (k, f, p[:-1] + b"x"), None, lambda link: link.ping(b"abc")),
    "a longer echo": (Type.PING, lambda k, f, p: (k, f, p + b"x"), None, lambda link: link.ping(b"abc")),
    "an error of another request": (
        Type.STEP, lambda k, f, p: (Type.ERROR, f, ERROR.pack(Code.LATCHED, Type.PING, 1)), None,
        lambda link: link.step(bytes(4)),
    ),
    "sensors with flags": (Type.DRIVE, lambda k, f, p: (k, 2, p), HostDriven, lambda m: m.start()),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "spoil", "mode", "call"), ODD.values(), ids=ODD)
def test_what_does_not_answer_the_request_is_no_answer(kind, spoil, mode, call):
    """It is counted, the request is repeated, and then the board counts as silent."""
    with served(Answering(kind, spoil)) as host, linked(host, Q, timeout_s=0.02) as link:
        link.start(Mode.STEP)
        with pytest.raises(SilenceError), contextlib.ExitStack() as stack:
            call(link if mode is None else stack.enter_context(mode(link)))
        assert link.stats.stale >= 4


def random_answers(rng, count):
    """Frames that count, of every type, with flags, seqs and lengths as they come."""
    payloads = [
        b"", bytes(2), bytes(4), bytes(36), bytes(38), NEXT.pack(1, 77), PONG.pack(1, 9, 99, 1, 2, 3),
        TICK.pack(5) + bytes(6), TICK.pack(5) + bytes(6 + 36),
        ERROR.pack(3, 2, 200), ERROR.pack(200, 5, 7), ERROR.pack(10, 2, 0),
        rng.bytes(HELLO.size), rng.bytes(int(rng.integers(0, 80))),
    ]  # fmt: skip
    kinds = [kind | ANSWER for kind in Type] + [Type.ERROR] * 4 + [0, 0x20, 0xFF, Type.STEP]
    for _ in range(count):
        kind = int(rng.choice(kinds))
        seed = HELLO_SEED if rng.random() < 0.2 or kind & ~ANSWER == Type.HELLO else SEED
        flags = int(rng.choice([0, 1, 2, 3, 4, 0x80, 0xFF]))
        yield encode(kind, int(rng.integers(256)), flags, payloads[rng.integers(len(payloads))], seed)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_board_answers_only_link_errors_are_raised(seed):
    rng = np.random.default_rng(seed)
    board = PlainBoard(Q, 5.0)
    answer = board.answer

    def mad(frame, now_s):
        honest = answer(frame, now_s)
        flags = int(rng.choice([0, 2, 3, 0xFF]))
        payload = [bytes(2), bytes(38), bytes(4), bytes(36), b"", ERROR.pack(int(rng.integers(12)), frame.type, 9)][
            rng.integers(6)
        ]
        kind = int(rng.choice([frame.type | ANSWER, Type.ERROR]))
        noise = b"".join(random_answers(rng, 5)) + encode(kind, frame.seq, flags, payload, SEED)
        return noise + honest if rng.random() < 0.5 else noise

    with served(board) as host, linked(host, Q, timeout_s=0.005, retries=1) as link:
        board.answer = mad
        modes = [Shadow(link), HostDriven(link, most_lost=2), BoardDriven(link, timeout_s=0.01)]
        shadow, plant, runs = modes
        calls = [
            link.ping, link.state, link.stop, link.hello_again, link.poll, shadow.start, plant.start, runs.start,
            lambda: shadow.step(U), lambda: plant.read(np.zeros(2, np.float32)),
            lambda: plant.write(np.ones(1, np.float32)), lambda: runs.poll(0.002),
            lambda: link.put_state(bytes(36)), lambda: link.start(Mode.STEP),
            lambda: upload(link, image_of(Q), 1, link.hello.shape_crc32),
        ]  # fmt: skip
        link._hello_s = 0.02
        for _ in range(150):
            with contextlib.suppress(LinkError):
                calls[rng.integers(len(calls))]()
