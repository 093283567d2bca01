"""A board that stops itself, wherever its program does so: the last outputs written are the safe ones."""

import ctypes
import struct
import subprocess

import pytest

from tests.firmware.helpers import CC, controller, needs_cc
from tests.link import reference as r
from tests.link.board import HERE, exported

pytestmark = needs_cc

DT_US = 20_000
EMERGENCY = 77
SAFE, FAR = [0, 0], [20000, -20000]
READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int16))
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int16))
TRANSMIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)


def build(folder, *flags):
    command = [CC, "-std=c99", "-shared", "-fPIC", *flags, f"-I{folder}", str(HERE / "stopping.c"), "nc_link.c"]
    return subprocess.run([*command, "-o", "board.so"], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = exported(controller(6, 3, 2), tmp_path_factory.mktemp("stops"))
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "board.so"))


class Board:
    """A board in this process. It can stop itself in ``read``, ``write`` or ``transmit``, each time from now on."""

    def __init__(self, library):
        self.library, self.written, self.sent = library, [], []
        self.stops_in, self.depth, self.deepest = None, 0, 0
        self.seed, self.seq, self.now_us = None, 0, 0
        self.callbacks = READ(self.read), WRITE(self.write), TRANSMIT(self.transmit)
        library.board_start(*self.callbacks)
        self.ask(r.HELLO)
        self.seed = r.folded(struct.unpack_from("<I", self.sent[-1][3], 4)[0])

    def stop_if(self, where):
        if where == self.stops_in and self.depth < 20:
            self.depth += 1
            self.deepest = max(self.depth, self.deepest)
            self.library.board_stop(EMERGENCY)
            self.depth -= 1

    def read(self, _, inputs):
        self.stop_if("read")
        inputs[0], inputs[1], inputs[2] = 20000, -20000, 5000
        return 0

    def write(self, _, outputs):
        before = outputs[:2]
        self.stop_if("write")
        assert outputs[:2] == before, "the outputs changed while they were written"
        self.written.append(before)

    def transmit(self, _, data, size):
        self.sent.append(r.parse(bytes(data[:size]).strip(b"\0"), 0xFFFF, self.seed or 0xFFFF))
        self.stop_if("transmit")

    def ask(self, kind, payload=b""):
        self.seq += 1
        data = r.frame(kind, self.seq, payload, 0xFFFF if kind == r.HELLO else self.seed)
        self.library.board_feed(data, ctypes.c_size_t(len(data)))
        return self.sent[-1]

    def start(self, mode):
        return self.ask(r.START, struct.pack("<BBHI", mode, 0, 1, 10_000_000))

    def tick(self, count):
        for _ in range(count):
            self.library.board_tick(ctypes.c_uint32(self.now_us))
            self.now_us += DT_US

    def says(self):
        reason, ticks = ctypes.c_uint32(), ctypes.c_uint32()
        mode = self.library.board_says(ctypes.byref(reason), ctypes.byref(ticks))
        return mode, reason.value, ticks.value

    def ask_to_move(self):
        """What moves the motors in the mode that was started."""
        self.tick(1)
        if self.mode == r.STEPPING:
            return self.ask(r.STEP, struct.pack("<3h", 20000, -20000, 5000))
        if self.mode == r.DRIVING:
            return self.ask(r.DRIVE, struct.pack("<2h", *FAR))
        return None


@pytest.fixture
def board(library):
    return Board(library)


@pytest.mark.parametrize(
    ("mode", "where"),
    [
        (mode, where)
        for mode in (r.STEPPING, r.DRIVING, r.BOARD)
        for where in ("read", "write", "transmit")
        if (mode, where) != (r.STEPPING, "read")  # a STEP reads no sensors
    ],
)
def test_the_last_outputs_of_a_board_that_stops_itself_are_safe(mode, where, board):
    """No step and no output follows; the reason is the board's, and a host that waits for an answer is told."""
    board.start(mode)
    board.mode = mode
    for _ in range(3):
        board.ask_to_move()
    assert board.says() == (mode, r.NONE, 3)
    assert board.written[-1] != SAFE
    reports, count = len(board.sent), len(board.written)
    board.stops_in = where
    answer = board.ask_to_move()
    stepped = mode != r.DRIVING and where == "write"
    assert board.says() == (r.LATCHED, EMERGENCY, 3 + (stepped or where == "transmit"))
    assert board.written[-1] == SAFE
    assert len(board.written) - count <= 2
    if answer is not None and where != "transmit":
        assert (answer[0], answer[3]) == (
            r.ERROR,
            bytes((r.E_LATCHED, r.DRIVE if mode == r.DRIVING else r.STEP, EMERGENCY)),
        )
    if mode == r.BOARD and where != "transmit":
        assert len(board.sent) == reports, "a REPORT of outputs that were taken back"
    board.tick(5)
    assert board.written[-1] == SAFE
    assert board.says()[:2] == (r.LATCHED, EMERGENCY)


def test_a_stop_in_write_does_not_call_write_again_and_again(board):
    board.stops_in = "write"
    board.library.board_stop(EMERGENCY)
    assert board.deepest == 1
    assert (board.written, board.says()[:2]) == ([SAFE, SAFE], (r.LATCHED, EMERGENCY))


@pytest.mark.parametrize("latched", [False, True])
def test_a_board_that_stops_itself_while_it_is_started_is_not_started(latched, board):
    """Such as one whose emergency stop is still pressed."""
    if latched:
        board.library.board_stop(EMERGENCY)
    board.stops_in = "write"
    kind, _, _, payload = board.start(r.BOARD)
    assert (kind, payload) == (r.ERROR, bytes((r.E_LATCHED, r.START, EMERGENCY)))
    board.tick(3)
    assert board.says() == (r.LATCHED, EMERGENCY, 0)
    assert board.written[-1] == SAFE


@pytest.mark.parametrize(("timeout_us", "good"), [("0", False), ("-1", False), ("0x80000000", False), ("1", True)])
def test_a_timeout_that_the_link_cannot_keep_does_not_compile(timeout_us, good, tmp_path):
    done = build(exported(controller(6, 3, 2), tmp_path), f"-DCTL_LINK_TIMEOUT_US={timeout_us}")
    assert (done.returncode == 0) == good
    assert good or "CTL_LINK_TIMEOUT_US: allowed" in done.stderr
