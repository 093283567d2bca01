"""What callers hand to the link: too few or too many numbers never reach a board, a buffer or compiled code."""

import functools
import re

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import LayoutError, LinkError, ModelError, RefusedError
from neuroctl.link import BoardDriven, BoardInLoop, HostDriven, Link, Mode, Shadow, upload
from neuroctl.link.protocol import Type
from tests.link.helpers import controller, linked
from tests.link.plain_board import PlainBoard, served


@functools.cache
def three_outputs():
    """One with 2 inputs and 3 outputs, made when a test asks for it: its code may have to be compiled."""
    return controller(outputs=3, output_limits=((-10.0, 10.0),) * 3)


@pytest.fixture
def host():
    with served(PlainBoard(three_outputs())) as host:
        yield host


@pytest.fixture
def link(host):
    with linked(host, three_outputs()) as link:
        yield link


def refused(call, *words, kind=LayoutError):
    with pytest.raises(kind) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    assert "allowed" in text
    for word in words:
        assert word in text


WRONG_OUTPUTS = {
    "one for all": np.ones(1, np.float32),
    "a number": np.float32(1.0),
    "too few": np.ones(2, np.float32),
    "too many": np.ones(4, np.float32),
    "far too many": np.ones(100_000, np.float32),
    "a column": np.ones((3, 1), np.float32),
    "empty": np.ones(0, np.float32),
    "text": "abc",
    "objects": np.array([None] * 3),
    "complex": np.ones(3, complex),
    "none": None,
    "ragged": [[1.0], [1.0, 2.0], 3.0],
    "masked": np.ma.masked_equal([1.0, 2.0, 3.0], 2.0),
    "nan": np.array([1.0, np.nan, 0.0], np.float32),
    "infinite": np.array([1.0, 0.0, -np.inf], np.float32),
}


@pytest.mark.parametrize("y", WRONG_OUTPUTS.values(), ids=WRONG_OUTPUTS)
def test_outputs_that_are_not_the_boards_are_not_sent(host, link, y):
    with HostDriven(link, timeout_s=5.0) as plant:
        plant.write(np.full(3, 4.0, np.float32))
        sent = link.stats.sent
        refused(lambda: plant.write(y), "y: ")
        assert link.stats.sent == sent
        plant.read(np.zeros(2, np.float32))
        assert three_outputs().dequantize_output(host.board.out).tolist() == [4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    "y", [[1.0, -2.0, 3.0], (1, -2, 3), np.array([1, -2, 3]), np.array([9, 1.0, 9, -2.0, 9, 3.0], np.float32)[1::2]]
)
def test_outputs_of_other_kinds_are_converted(host, link, y):
    with HostDriven(link, timeout_s=5.0) as plant:
        plant.write(y)
        plant.read(np.zeros(2, np.float32))
        assert three_outputs().dequantize_output(host.board.out).tolist() == [1.0, -2.0, 3.0]


WRONG_BUFFERS = {
    "too few": np.zeros(1, np.float32),
    "too many": np.zeros(4, np.float32),
    "a row": np.zeros((1, 2), np.float32),
    "integers": np.zeros(2, np.int32),
    "a list": [0.0, 0.0],
    "read-only": np.broadcast_to(np.float32(0.0), (2,)),
}


@pytest.mark.parametrize("u", WRONG_BUFFERS.values(), ids=WRONG_BUFFERS)
def test_sensors_go_only_into_as_many_inputs(link, u):
    """One sensor is not copied into four inputs, and no fraction is cut off."""
    with HostDriven(link, timeout_s=5.0) as plant:
        refused(lambda: plant.read(u), "u: ")


WRONG_INPUTS = {name: value for name, value in WRONG_OUTPUTS.items() if name not in ("nan", "infinite", "too few")}
WRONG_INPUTS |= {"three": np.ones(3, np.float32), "a row": np.ones((1, 2), np.float32)}


@pytest.mark.parametrize("u", WRONG_INPUTS.values(), ids=WRONG_INPUTS)
def test_inputs_that_are_not_the_boards_are_not_sent(host, link, u):
    """Neither board nor host steps: they stay equal."""
    with Shadow(link, timeout_s=5.0) as shadow:
        for step in (shadow.step, shadow.step_int):
            refused(lambda step=step: step(u), "u: ")
        shadow.step(np.ones(2, np.float32))
        assert (shadow.differing_bits, host.board.ticks) == (0, 1)
    board = BoardInLoop(link)
    board.reset()
    refused(lambda: board.step(u), "u: ")
    assert (board.steps, board.fault, host.board.ticks) == (0, "", 0)


def test_a_board_in_the_loop_takes_inputs_as_the_controller_does(host, link):
    """NaN counts as 0, Inf as the limit; a view with gaps, or a list, as its numbers."""
    twin, board = controller(outputs=3, output_limits=((-10.0, 10.0),) * 3), BoardInLoop(link)
    board.reset()
    for row in ([np.nan, 1.0], [np.inf, -np.inf], [0.25, -0.5]):
        wanted = twin.step(np.array(row, np.float32)).copy()
        assert np.array_equal(board.step(np.repeat(np.array(row, np.float32), 2)[::2]), wanted)
    assert np.array_equal(board.step([0.5, 1.0]), twin.step(np.array([0.5, 1.0], np.float32)))


def test_raw_inputs_beyond_int16_saturate_on_both(link):
    with Shadow(link, timeout_s=5.0) as shadow:
        for row in ([40_000, -40_000], [2**31 - 1, -(2**31)]):
            shadow.step_int(np.array(row, np.int32))
        assert (shadow.steps, shadow.differing_bits) == (2, 0)


@pytest.mark.parametrize("mode", [HostDriven, BoardDriven, Shadow, BoardInLoop])
def test_a_mode_says_what_its_board_is(link, mode):
    running = mode(link)
    assert (running.inputs, running.outputs, running.dt_s) == (2, 3, 0.01)
    assert running.model_crc32 == three_outputs().model_crc32


@pytest.mark.parametrize("mode", [HostDriven, BoardDriven, Shadow, BoardInLoop])
def test_a_mode_starts_no_board_that_runs_another_controller(host, link, mode):
    """Such as one that got other parameters since, which the link knows of."""
    running, other = mode(link), controller(seed=4, outputs=3, output_limits=((-10.0, 10.0),) * 3)
    host.board.q = other
    host.board.decoder.expect(host.board.seed, host.board.sizes)
    link.hello_again()
    link.check(other)
    with pytest.raises(ModelError, match=f"{other.model_crc32:08x}"):
        (running.reset if mode is BoardInLoop else running.start)()
    assert host.board.mode == Mode.IDLE


@pytest.mark.parametrize(
    ("field", "value"),
    [("dt_us", 50_000), ("in_frac_bits", 3), ("out_frac_bits", 30), ("inputs", 3), ("outputs", 1), ("state_bytes", 40)],
)
def test_a_board_that_tells_other_numbers_than_its_models_is_refused(host, field, value):
    """Before anything moves: sizes, the time step and the formats are compared too."""
    hello = host.board.hello
    host.board.hello = lambda: nc.link.Hello(**(hello().__dict__ | {field: value}))
    refused(lambda: linked(host, three_outputs()), f"the board has {field} {value}", "export it again", kind=ModelError)


@pytest.mark.parametrize("told_us", [22, 23])
def test_a_time_step_that_whole_microseconds_cannot_tell_is_the_controllers(told_us):
    q = controller(dt_s=1 / 44_100)
    board = PlainBoard(q)
    hello = board.hello
    board.hello = lambda: nc.link.Hello(**(hello().__dict__ | {"dt_us": told_us}))
    with served(board) as host, linked(host, q) as link:
        assert link.hello.dt_us == told_us


def test_a_float_controller_is_not_compared_with_a_board(host, link):
    floats = nc.Controller(three_outputs().spec)
    for call in (lambda: Link(host.port, floats), lambda: link.check(floats), lambda: link.check(None)):
        refused(call, "q: ", "controller.quantize()", kind=LinkError)


def test_what_is_no_request_is_not_sent(link):
    link.start(Mode.STEP)
    sent = link.stats.sent
    for call, text, kind in (
        (lambda: link.request(77), "kind: 77; allowed: DRIVE, HELLO", LinkError),
        (lambda: link.request(Type.ERROR), "kind: <Type.ERROR: 135>; allowed", LinkError),
        (lambda: link.post([], b""), "kind: []; allowed", LinkError),
        (lambda: link.request(Type.STEP, bytes(4), 256), "flags: 256; allowed: integers from 0 to 255", LinkError),
        (lambda: link.step(np.zeros(4, np.uint8)), "payload: ndarray; allowed: bytes", LinkError),
        (lambda: link.step("abcd"), "payload: str; allowed: bytes", LinkError),
        (lambda: link.drive([0] * 6), "payload: list; allowed: bytes", LinkError),
        (lambda: link.ping("x"), "payload: str; allowed: bytes", LinkError),
        (lambda: link.put_state([0]), "state: list; allowed: bytes", LinkError),
        (lambda: link.poll("1"), "wait_s: '1'; allowed", LinkError),
        (lambda: link.reconnect(-1.0), "wait_s: -1.0; allowed", LinkError),
        (lambda: upload(link, "image", 0, 0), "image: str; allowed: bytes", LinkError),
        (lambda: upload(link, b"", -1, 0), "model_crc32: -1; allowed", LinkError),
        (lambda: upload(link, b"", 0, "x"), "shape_crc32: 'x'; allowed", LinkError),
        (lambda: link.step(memoryview(np.zeros(4, np.int32))), "STEP: 16 bytes; allowed: 4", RefusedError),
    ):
        with pytest.raises(kind, match=rf"\A{re.escape(text)}.*\Z"):
            call()
    assert link.stats.sent == sent
    link.step(bytearray(4))
    link.step(memoryview(bytes(4)))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda link: HostDriven(link, most_lost=0), "most_lost: 0; allowed: integers >= 1"),
        (lambda link: HostDriven(link, timeout_s="1"), "timeout_s: '1'; allowed"),
        (lambda link: BoardDriven(link, report_every=1.5), "report_every: 1.5; allowed"),
        (lambda link: BoardDriven(link, on_report=3), "on_report: 3; allowed: a function"),
        (lambda link: BoardDriven(link).run("1"), "duration_s: '1'; allowed"),
        (lambda link: BoardDriven(link).poll("1"), "wait_s: '1'; allowed"),
        (lambda link: BoardInLoop(link, loss="0.1"), "loss: '0.1'; allowed: 0 to 1"),
        (lambda link: BoardInLoop(link, loss=np.nan), "loss: nan; allowed"),
        (lambda link: BoardInLoop(link, seed=-1), "seed: -1; allowed"),
        (lambda link: BoardInLoop(link, most_lost="5"), "most_lost: '5'; allowed"),
        (lambda link: BoardInLoop(link, timeout_s=-1.0), "timeout_s: -1.0; allowed"),
        (lambda link: Shadow(link, timeout_s=None), "timeout_s: None; allowed"),
    ],
)
def test_arguments_of_the_modes_are_checked_when_they_are_given(link, make, text):
    refused(lambda: make(link), text, kind=LinkError)
