"""A board that stood still: what the host wanted before it woke is not done, however much of it is queued."""

import os
import signal
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from firmware_export import boards
from neuroctl.errors import LatchedError, SilenceError
from neuroctl.link import HostDriven
from tests.firmware.helpers import controller, needs_cc
from tests.link import reference as r
from tests.link.board import DT_US, FAR, SAFE, LibraryBoard, library_of
from tests.link.helpers import linked

pytestmark = needs_cc

TIMEOUT_US = 500_000
ASKS = {
    r.DRIVING: (r.DRIVE, struct.pack("<2h", *FAR)),
    r.STEPPING: (r.STEP, struct.pack("<3h", 20000, -20000, 5000)),
    r.BOARD: (r.PING, b""),
}
START = struct.pack("<BBHI", r.DRIVING, 0, 0, TIMEOUT_US)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return library_of(controller(6, 3, 2), tmp_path_factory.mktemp("late"))


def running(library, mode, has_clock):
    """A board that runs and has moved its motors; then it stands still for longer than its timeout."""
    board = LibraryBoard(library, has_clock)
    board.tick(1)
    board.start(mode, TIMEOUT_US)
    for _ in range(3):
        board.tick(1)
        board.ask(*ASKS[mode])
    board.tick(1)
    assert board.says()[:2] == (mode, r.NONE)
    assert board.written[-1] != SAFE
    board.written.clear()
    board.sent.clear()
    board.now_us += TIMEOUT_US
    return board


@pytest.mark.parametrize("has_clock", [True, False])
@pytest.mark.parametrize("mode", ASKS)
def test_what_was_queued_while_the_board_stood_still_moves_nothing(library, mode, has_clock):
    """With its own clock the board knows before it acts; without, where its program ticks before it feeds."""
    board = running(library, mode, has_clock)
    if not has_clock:
        board.tick(1)
    queued = b"".join(board.frame(*ASKS[mode]) for _ in range(63))
    board.feed(queued)
    assert set(map(tuple, board.written)) == {tuple(SAFE)}
    assert board.says()[:2] == (r.LATCHED, r.TIMEOUT)
    if mode != r.BOARD:
        assert {got[0] for got in board.sent} == {r.ERROR}
        assert {got[3][0] for got in board.sent} == {r.E_LATCHED}


def test_a_program_that_feeds_before_it_ticks_stops_at_the_tick(library):
    """Without a clock of the board's: the frames' time is unknown, and may have been long ago."""
    board = running(library, r.DRIVING, has_clock=False)
    board.feed(b"".join(board.frame(*ASKS[r.DRIVING]) for _ in range(63)))
    board.tick(1)
    assert board.says()[:2] == (r.LATCHED, r.TIMEOUT)
    assert board.written[-1] == SAFE


@pytest.mark.parametrize("has_clock", [True, False])
@pytest.mark.parametrize("at_once", [10_000, 7, 1], ids=["all", "some", "one"])
def test_a_start_that_was_queued_starts_nothing(library, has_clock, at_once):
    """Whoever sent it may be gone. However many bytes a turn of the board's program takes; later ones count."""
    board = running(library, r.DRIVING, has_clock)
    if not has_clock:
        board.tick(1)
    queued = board.frame(*ASKS[r.DRIVING]) + board.frame(r.START, START) + board.frame(*ASKS[r.DRIVING])
    for at in range(0, len(queued), at_once):
        board.feed(queued[at : at + at_once])
        board.tick(1)
        board.now_us += 100 - DT_US
    assert board.library.board_wait_us(board.now_us) == 0, "a board that sleeps would not notice that nothing is queued"
    assert set(map(tuple, board.written)) == {tuple(SAFE)}
    board.tick(1)
    assert board.library.board_wait_us(board.now_us) == 0xFFFFFFFF
    assert board.ask(r.START, START)[0] == r.START | r.ANSWER
    assert board.says()[0] == r.DRIVING


def test_a_start_counts_again_after_a_tenth_of_a_second_of_bytes(library):
    """A line that is never quiet does not keep a board from being started for ever."""
    board = running(library, r.DRIVING, has_clock=True)
    for _ in range(5):
        assert board.ask(r.START, START)[0] == r.ERROR
        board.tick(1)
    board.now_us += 30_000
    board.tick(1)
    assert board.ask(r.START, START)[0] == r.START | r.ANSWER


@pytest.mark.parametrize("has_clock", [True, False])
def test_a_board_that_slept_while_it_was_idle_is_started(library, has_clock):
    """A board that waits for bytes does not tick meanwhile; that is no standing still."""
    board = LibraryBoard(library, has_clock)
    board.tick(1)
    board.now_us += 100 * TIMEOUT_US
    assert board.start(r.DRIVING, TIMEOUT_US)[0] == r.START | r.ANSWER
    board.tick(1)
    assert board.ask(*ASKS[r.DRIVING])[0] == r.DRIVE | r.ANSWER
    board.tick(1)
    assert board.says() == (r.DRIVING, r.NONE, 1)


@pytest.mark.parametrize("has_clock", [True, False])
def test_frames_younger_than_the_timeout_are_acted_on(library, has_clock):
    board = running(library, r.DRIVING, has_clock)
    board.now_us -= 2 * DT_US
    assert board.ask(*ASKS[r.DRIVING])[0] == r.DRIVE | r.ANSWER
    board.tick(1)
    assert board.says()[:2] == (r.DRIVING, r.NONE)
    assert board.written == [FAR]


@pytest.mark.parametrize("has_clock", [True, False])
def test_a_silent_host_makes_the_outputs_safe_when_the_timeout_has_passed(library, has_clock):
    board = LibraryBoard(library, has_clock)
    board.start(r.DRIVING, TIMEOUT_US)
    board.ask(*ASKS[r.DRIVING])
    for _ in range(TIMEOUT_US // DT_US):
        assert board.says()[0] == r.DRIVING
        board.tick(1)
    board.tick(1)
    assert board.says()[:2] == (r.LATCHED, r.TIMEOUT)
    assert board.library.board_wait_us(board.now_us) == 0xFFFFFFFF
    assert board.start(r.DRIVING)[0] == r.START | r.ANSWER, "nothing is queued behind a silent host"


def child_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_process_that_was_stopped_drives_no_old_outputs():
    """The exported firmware on this machine, stopped for longer than its timeout while the host goes on."""
    q = controller(6, 3, 2)
    with boards.start(q) as board, linked(board, q, timeout_s=0.005) as link:
        plant = HostDriven(link, timeout_s=0.3, most_lost=1000)
        plant.start()
        u, y = np.zeros(3, np.float32), np.full(2, 0.5, np.float32)
        plant.write(y)
        plant.read(u)
        process = child_of(board._process.pid)
        os.kill(process, signal.SIGSTOP)
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            plant.read(u)
            plant.write(-y)
        os.kill(process, signal.SIGCONT)
        with pytest.raises(LatchedError) as error:
            for _ in range(100):
                plant.read(u)
                time.sleep(0.01)
        assert error.value.reason == "TIMEOUT"
        _, outputs = board.motors()
        assert (outputs[0] == 0).all()
        assert (outputs[:, 0] >= 0).all(), "an old DRIVE moved the motors"
        assert (outputs[-1] == 0).all()
        plant.start()
        try:
            assert plant.read(u) or plant.read(u)
        except SilenceError:
            pytest.fail("a board that woke up goes on when it is started")
