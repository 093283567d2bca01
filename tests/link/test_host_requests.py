"""Requests under what a caller may do wrong: other models, callbacks that ask, many losses, arguments out of range."""

import math
import re
import time

import numpy as np
import pytest

from neuroctl.errors import LinkError, ModelError, PortError, RefusedError, SilenceError
from neuroctl.link import BoardDriven, HostDriven, Link, Shadow
from neuroctl.link.protocol import Mode, Reason, Type
from tests.link.helpers import controller, linked, linked_to_another
from tests.link.plain_board import PlainBoard, served
from tests.link.test_host_faults import until

Q = controller()
ZERO = bytes(4)


@pytest.fixture
def host():
    with served(PlainBoard(Q)) as host:
        yield host


# --- Another model ---------------------------------------------------------------------------------------------------


def refuses_to_start(link, board):
    for start in (lambda: link.start(Mode.STEP), HostDriven(link).start, Shadow(link).start):
        with pytest.raises(ModelError):
            start()
    assert board.mode == Mode.IDLE


def test_nothing_is_started_after_another_board_was_plugged_in(host, tmp_path):
    path = tmp_path / "port"
    with linked_to_another(host, Q, path) as link:
        refuses_to_start(link, host.board)
        host.unplug()
        host.board = PlainBoard(Q)
        host.open(path)
        link.reconnect()
        link.start(Mode.STEP)


def test_nothing_is_started_after_a_board_got_another_model(host):
    with linked(host, Q) as link:
        host.board.q = controller(seed=4)
        host.board.decoder.expect(host.board.seed, host.board.sizes)
        with pytest.raises(ModelError):
            link.ping()
        refuses_to_start(link, host.board)
        link.stop()  # that harms no model
        assert host.board.mode == Mode.LATCHED


# --- Callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_may_ask_the_board(host):
    """Its answer is its own, and so is that of the request during which the REPORT came."""
    with (
        served(PlainBoard(controller(dt_s=0.005), timeout_s=5.0)) as host,
        linked(host, controller(dt_s=0.005)) as link,
    ):
        states, ticks = [], []

        def ask(report):
            ticks.append(report.tick)
            states.append(link.state())

        with BoardDriven(link, on_report=ask, timeout_s=5.0) as board:
            for index in range(200):
                board.poll(0.002)
                assert link.ping(bytes((index,))).echo == bytes((index,))
        assert len(states) > 30
        assert {len(state) for state in states} == {link.hello.state_bytes}
        assert ticks == sorted(set(ticks))
        assert (link.stats.lost, link.stats.stale) == (0, 0)


def test_a_callback_may_stop_the_board(host):
    with linked(host, Q) as link:
        board = BoardDriven(link, on_report=lambda _: link.stop(), timeout_s=1.0)
        board.start()
        board.run(0.1)
        assert (host.board.mode, host.board.reason) == (Mode.LATCHED, Reason.STOPPED)
        assert link.mode == Mode.IDLE


def test_what_a_callback_raises_leaves_a_request_that_is_over(host):
    """The next request gets its own answer, and the REPORTs behind are still handed over."""
    with linked(host, Q) as link:
        link.start(Mode.BOARD, report_every=1, timeout_s=5.0)
        reports = []

        def fail(frame):
            reports.append(frame.seq)
            if len(reports) == 1:
                raise OSError("disk full")

        until(lambda: host.board.ticks > 8)
        link.on_report = fail
        with pytest.raises(OSError, match="disk full"):
            link.ping()
        assert link.ping(b"next").echo == b"next"
        assert len(reports) > 3
        assert reports == list(range(reports[0], reports[0] + len(reports)))
        assert (link.stats.lost, link.stats.stale) == (0, 0)


# --- Many losses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "lost"),
    [("ping", 127), ("stop", 128), ("step", 129), ("ping", 255), ("stop", 256), ("step", 300), ("stop", 127)],
)
def test_any_request_counts_however_many_were_lost_before(host, ask, lost):
    """Its seq may look old to the board; then HELLO goes first."""
    with linked(host, Q) as link:
        link.start(Mode.STEP, timeout_s=100.0)
        link.timeout_s, host.to_board = 0.0, lambda data: b""
        for _ in range(lost):
            with pytest.raises(SilenceError):
                link.step(ZERO, retry=False)
        link.timeout_s, host.to_board = 0.1, lambda data: data
        if ask == "ping":
            assert link.ping(b"here").echo == b"here"
        elif ask == "stop":
            link.stop()
        else:
            assert len(link.step(ZERO, retry=False)) == 2
        assert host.board.stale == 0
        assert host.board.mode == (Mode.LATCHED if ask == "stop" else Mode.STEP)


def test_a_read_counts_however_many_writes_were_lost_before_it(host):
    with linked(host, Q) as link, HostDriven(link, timeout_s=5.0) as plant:
        u = np.zeros(2, np.float32)
        lost = []
        host.to_board = lambda data: lost.append(data.count(b"\0")) or b""
        for _ in range(200):
            plant.write(np.ones(1, np.float32))
        until(lambda: sum(lost) == 200)
        host.to_board = lambda data: data
        assert plant.read(u) is True


def test_a_model_that_changed_during_many_losses_is_not_stepped(host):
    other = controller(seed=4)
    with linked(host, Q) as link:
        link.start(Mode.STEP, timeout_s=100.0)
        link.timeout_s, host.to_board = 0.0, lambda data: b""
        for _ in range(130):
            with pytest.raises(SilenceError):
                link.step(ZERO, retry=False)
        link.timeout_s, host.to_board = 0.1, lambda data: data
        host.board.q = other
        host.board.decoder.expect(host.board.seed, host.board.sizes)
        with pytest.raises(ModelError):
            link.step(ZERO, retry=False)
        assert host.board.ticks == 0


def test_a_silent_board_stays_a_lost_frame_after_many_losses(host):
    """A real-time loop does not wait longer for HELLO than for its own answer."""
    with linked(host, Q, timeout_s=0.001) as link, HostDriven(link, timeout_s=5.0, most_lost=1000) as plant:
        u = np.zeros(2, np.float32)
        host.to_board = lambda data: b""
        begin = time.monotonic()
        assert not any(plant.read(u) for _ in range(200))
        assert time.monotonic() - begin < 5.0
        host.to_board = lambda data: data


# --- The tick --------------------------------------------------------------------------------------------------------


def test_the_tick_may_wrap_around(host):
    """At 1 kHz it does after 49.7 days."""
    with linked(host, Q) as link, BoardDriven(link, timeout_s=0.15) as running:
        running._tick = 2**32 - 2
        running.run(0.3)
        assert running._tick < 1000


def test_a_board_without_a_timeout_of_its_own_is_not_started(host):
    """Old firmware may have been compiled so; it would latch at once."""
    host.board.timeout_s = host.board.default_s = 0.0
    with linked(host, Q) as link:
        for start in (BoardDriven(link).start, HostDriven(link).start, lambda: link.start(Mode.STEP)):
            refused(start, "timeout_s: 0; allowed: 1e-06 to 2147 seconds, as the board has none of its own")
        assert host.board.mode == Mode.IDLE
        link.start(Mode.STEP, timeout_s=1.0)


# --- Arguments -------------------------------------------------------------------------------------------------------


def refused(call, text, kind=LinkError):
    with pytest.raises(kind, match=rf"\A{re.escape(text)}.*\Z"):
        call()


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0, 1e9, "1"])
@pytest.mark.parametrize("name", ["timeout_s", "hello_s"])
def test_waits_of_a_link_are_checked(host, name, value):
    refused(lambda: linked(host, Q, **{name: value}), f"{name}: {value!r}; allowed: 0 to 2147 seconds")


@pytest.mark.parametrize("retries", [-1, 1.5, None])
def test_retries_are_checked(host, retries):
    refused(lambda: linked(host, Q, retries=retries), f"retries: {retries!r}; allowed: integers >= 0")


@pytest.mark.parametrize("baud", [0, -1, 10**9, 99_999_999_999, 10**30, "x", None, 9600.5])
def test_a_baud_rate_that_is_none(host, baud):
    try:
        linked(host, Q, baud=baud).close()  # a pseudo-terminal takes some that no port can do
    except PortError as error:
        assert str(error).startswith(f"baud: {baud!r}; allowed: what the port can do")
    else:
        assert baud == 10**9


@pytest.mark.parametrize("port", [None, "", "a\0b", 7, b"/dev/ttyS0"])
def test_a_port_that_is_no_name(port):
    refused(lambda: Link(port, Q), f"port: {port!r}; allowed: a name such as /dev/ttyACM0", PortError)


def test_a_wait_without_end_is_no_overflow(host):
    with linked(host, Q) as link:
        link.start(Mode.BOARD, report_every=1, timeout_s=5.0)
        link.poll(math.inf)
        assert link.stats.reports > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout_s": value}, f"timeout_s: {value!r}; allowed: 1e-06 to 2147 seconds, or 0 for the board's own")
        for value in (5000.0, -1.0, math.nan, math.inf, 1e-7, "1")
    ]
    + [
        ({"report_every": value}, f"report_every: {value!r}; allowed: integers from 0 to 65535")
        for value in (70000, -1, 1.5)
    ]
    + [({"mode": 300}, "mode: 300; allowed: STEP, DRIVE, BOARD")],
)
def test_arguments_of_a_start_are_checked(host, options, text):
    with linked(host, Q) as link:
        refused(lambda: link.start(**({"mode": Mode.BOARD} | options)), text)
        if "mode" not in options:
            refused(lambda: BoardDriven(link, **options).start(), text)
        assert (host.board.mode, link.stats.sent) == (Mode.IDLE, 1)


def test_payloads_of_a_wrong_length_are_refused_before_they_are_sent(host):
    with linked(host, Q) as link:
        link.start(Mode.STEP)
        sent = link.stats.sent
        for call, text in (
            (lambda: link.ping(bytes(65)), "PING: 65 bytes; allowed: 0 to 64"),
            (lambda: link.step(bytes(3)), "STEP: 3 bytes; allowed: 4"),
            (lambda: link.drive(b""), "DRIVE: 0 bytes; allowed: 2"),
            (lambda: link.post(Type.DRIVE, bytes(4)), "DRIVE: 4 bytes; allowed: 2"),
            (lambda: link.request(Type.STATE, bytes(3)), "STATE: 3 bytes; allowed: 0 or 36"),
            (lambda: link.request(Type.PARAM), "PARAM: 0 bytes; allowed: what its op says"),
            (lambda: link.put_state(b""), "state: 0 bytes; allowed: 36"),
        ):
            refused(call, text, RefusedError)
        assert link.stats.sent == sent
        assert len(link.ping(bytes(64)).echo) == 64
