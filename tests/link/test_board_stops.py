"""A board that stops itself, wherever its program does so: the last outputs written are the safe ones."""

import pytest

from tests.firmware.helpers import controller, needs_cc
from tests.link import reference as r
from tests.link.board import EMERGENCY, SAFE, LibraryBoard, build, exported, library_of

pytestmark = needs_cc


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return library_of(controller(6, 3, 2), tmp_path_factory.mktemp("stops"))


@pytest.fixture
def board(library):
    return LibraryBoard(library)


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
