"""The three modes, states, and hardware in the loop, on a board in plain Python."""

import gc
import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import LinkError
from neuroctl.link import BoardDriven, BoardInLoop, HostDriven, Mode, Shadow, port
from neuroctl.link.protocol import Reason, Type
from neuroctl.link.stats import Stats
from neuroctl.realtime import Loop
from tests.link.helpers import CELLS, controller, linked
from tests.link.plain_board import PlainBoard, Served, served

Q = controller()


@pytest.fixture
def host():
    with served(PlainBoard(Q)) as host:
        yield host


def raw_inputs(count, seed=0):
    return np.random.default_rng(seed).integers(-32768, 32768, (count, 2)).astype(np.int32)


@pytest.mark.parametrize("cell", CELLS)
def test_shadow_compares_every_bit(cell):
    q = controller(cell)
    with served(PlainBoard(q)) as host, linked(host, q) as link, Shadow(link) as shadow:
        for u in raw_inputs(300):
            shadow.step_int(u)
        assert (shadow.steps, shadow.differing_bits, shadow.first) == (300, 0, None)
        assert shadow.bits == 300 * 8 * (2 + len(q.state_bytes()))


@pytest.mark.parametrize(
    ("byte", "bit", "word", "place"),
    [(0, 0, "out[0]", 0), (2 + 4 * 3 + 2, 5, "y[3]", 21), (2 + 24 + 11, 6, "s[5]", 14)],
)
def test_shadow_finds_one_flipped_bit(byte, bit, word, place):
    """Its step, the word's name and both values."""

    class Faulty(PlainBoard):
        def step(self, frame):
            data = bytearray(super().step(frame))
            if self.ticks == 8:
                data[byte] ^= 1 << bit
            return bytes(data)

    with served(Faulty(Q)) as host, linked(host, Q) as link, Shadow(link) as shadow:
        for u in raw_inputs(12):
            shadow.step_int(u)
    assert shadow.differing_bits == 1
    assert (shadow.first.step, shadow.first.word) == (7, word)
    assert abs(shadow.first.host - shadow.first.board) == 1 << place
    assert str(shadow.first) == (
        f"step 7: {word} is {shadow.first.host} on the host, {shadow.first.board} on the board"
    )


def test_shadow_finds_a_state_that_went_astray(host):
    """A board whose state is hit once differs from there on."""
    with linked(host, Q) as link, Shadow(link) as shadow:
        for index, u in enumerate(raw_inputs(40)):
            if index == 20:
                host.board.q.state[2] ^= 1 << 9
            shadow.step_int(u)
    assert shadow.first.step == 20
    assert shadow.differing_bits > 1


def test_shadow_takes_physical_inputs(host):
    plain = controller()
    with linked(host, Q) as link, Shadow(link) as shadow:
        for u in np.random.default_rng(1).normal(0, 2, (20, 2)).astype(np.float32):
            assert np.array_equal(shadow.step(u), plain.step(u))


def test_a_step_may_reset_before_it(host):
    with linked(host, Q) as link:
        link.start(Mode.STEP)
        first = link.step(b"\1\2\3\4", with_state=True)
        assert link.step(b"\1\2\3\4", with_state=True) != first
        assert link.step(b"\1\2\3\4", reset=True, with_state=True) == first


def test_states_are_read_and_put(host):
    """A board goes on from the host's state."""
    q = controller()
    q.rollout_int(raw_inputs(30))
    with linked(host, Q) as link:
        link.start(Mode.STEP)
        link.put_state(q.state_bytes())
        assert link.state() == q.state_bytes()
        u = raw_inputs(1, seed=8)[0]
        answer = link.step(u.astype("<i2").tobytes(), with_state=True)
        assert answer == q.step_int(u).astype("<i2").tobytes() + q.state_bytes()


def test_seq_wraps_around(host):
    with linked(host, Q) as link:
        for index in range(600):
            assert link.ping(index.to_bytes(2, "little")).echo == index.to_bytes(2, "little")
        assert (link.stats.answered, link.stats.lost, link.stats.stale) == (601, 0, 0)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_host_drives_in_physical_units(scaled):
    """Sensors come as the controller would quantize them; outputs go to the motors clipped into their limits."""
    q = controller(scale_inputs=scaled)
    truth = np.array([0.5, -1.75])
    with served(PlainBoard(q, sensors=lambda: q.quantize_input(truth))) as host, linked(host, q) as link:
        with HostDriven(link, timeout_s=5.0) as plant:
            u = np.full(2, np.nan, np.float32)
            plant.read(u)
            assert np.allclose(u, truth, atol=2 * q.formats["u"].lsb)
            truth[:] = 1.0, 0.25
            plant.read(u)
            assert np.allclose(u, truth, atol=2 * q.formats["u"].lsb)
            for asked, written in ((3.25, 3.25), (11.0, 10.0), (-1e9, -10.0)):
                plant.write(np.array([asked], np.float32))
                plant.read(u)
                assert q.dequantize_output(host.board.out)[0] == written
        assert host.board.mode == Mode.LATCHED
        assert np.array_equal(host.board.out, host.board.safe)
        assert (link.stats.lost, link.stats.stale) == (0, 0)
        assert link.stats.answered == link.stats.sent


def test_a_watchdog_may_stop_the_board_from_another_thread(host):
    """In the middle of requests of the loop's own thread, which is told so at its next one."""
    with linked(host, Q) as link, HostDriven(link, timeout_s=5.0) as plant:
        u = np.zeros(2, np.float32)
        watchdog = threading.Timer(0.1, plant.safe)
        watchdog.start()
        with pytest.raises(LinkError):
            while True:
                plant.read(u)
                plant.write(np.ones(1, np.float32))
        watchdog.join()
        assert (host.board.mode, host.board.reason) == (Mode.LATCHED, Reason.STOPPED)
        assert (link.stats.lost, link.stats.bad, link.stats.stale) == (0, 0, 0)


def test_what_is_written_reaches_the_motors_at_the_next_read_at_last(host):
    with linked(host, Q, timeout_s=0.02) as link, HostDriven(link, timeout_s=5.0) as plant:
        u = np.zeros(2, np.float32)
        plant.read(u)
        host.to_board = lambda data: b""
        plant.write(np.array([5.0], np.float32))
        host.to_board = lambda data: data
        time.sleep(0.05)
        plant.read(u)
        assert Q.dequantize_output(host.board.out)[0] == 5.0


@pytest.mark.parametrize(("every", "with_state"), [(1, True), (3, False)])
def test_reports_of_a_board_that_runs_by_itself(every, with_state):
    """Each as the host's own controller has it on the same inputs."""
    inputs = iter(raw_inputs(10_000, seed=4))
    sensed, reports = [], []

    def sensors():
        sensed.append(next(inputs))
        return sensed[-1]

    q = controller(dt_s=0.002)
    with served(PlainBoard(q, sensors=sensors)) as host, linked(host, q) as link:
        options = {"report_every": every, "with_state": with_state, "timeout_s": 0.3, "on_report": reports.append}
        with BoardDriven(link, **options) as board:
            pong = board.run(0.4)
        assert pong.mode == Mode.BOARD
    ticks = [report.tick for report in reports]
    assert len(ticks) > 20
    assert ticks == list(range(every, ticks[-1] + 1, every))
    assert (link.stats.reports, link.stats.reports_lost) == (len(reports), 0)
    twin = controller(dt_s=0.002)
    for tick, u in enumerate(sensed[: ticks[-1]], start=1):
        y = twin.step_int(u)
        if tick % every == 0:
            report = reports[tick // every - 1]
            assert np.array_equal(report.inputs, u * np.float32(q.formats["u"].lsb))
            assert np.array_equal(report.outputs, twin.dequantize_output(y))
            assert report.state == (twin.state_bytes() if with_state else b"")


def test_lost_reports_are_counted(host):
    with linked(host, Q) as link, BoardDriven(link, timeout_s=2.0) as board:
        board.run(0.1)
        host.to_host = lambda data: b""
        time.sleep(0.1)
        host.to_host = lambda data: data
        board.run(0.1)
        assert 5 <= link.stats.reports_lost <= 15


def test_what_a_callback_raises_ends_the_run_and_stops_the_board(host):
    def full(_):
        raise OSError("disk full")

    with linked(host, Q) as link:
        with pytest.raises(OSError, match="disk full"), BoardDriven(link, on_report=full, timeout_s=1.0) as board:
            board.run(1.0)
        assert host.board.mode == Mode.LATCHED


def test_a_board_in_the_loop_equals_the_controller(host):
    twin = controller()
    u = np.random.default_rng(3).normal(size=(50, 2)).astype(np.float32)
    with linked(host, Q) as link:
        board = BoardInLoop(link)
        for _ in range(2):
            board.reset()
            twin.reset()
            for row in u:
                assert np.array_equal(board.step(row), twin.step(row))
    assert (board.steps, board.held, board.fault) == (100, 0, "")


def test_a_lost_frame_holds_the_last_outputs(host):
    """Lost on the way out, the board has not stepped; on the way back, it has."""
    twin = controller()
    u = np.random.default_rng(3).normal(size=(400, 2)).astype(np.float32)
    with linked(host, Q) as link:
        board = BoardInLoop(link, loss=0.1, seed=1, most_lost=20)
        board.reset()
        ways, exchange, last = [], board._lose, np.zeros(1, np.float32)
        board._lose = lambda: ways.append(exchange()) or ways[-1]
        for row in u:
            ways.clear()
            y = board.step(row)
            if not ways[0]:
                stepped = twin.step(row).copy()
            last = last if any(ways) else stepped
            assert np.array_equal(y, last)
        assert 40 < board.held < 120
        assert host.board.ticks < 400
        assert board.fault == ""
        assert link.stats.retried == 0


def test_losses_are_the_same_for_the_same_seed(host):
    def held(seed):
        board = BoardInLoop(link, loss=0.2, seed=seed)
        board.reset()
        return [board.step(np.ones(2, np.float32)) is not None and board.held for _ in range(100)]

    with linked(host, Q) as link:
        assert held(1) == held(1) != held(2)


def test_five_losses_in_a_row_are_safe_until_the_next_start():
    q = controller(output_limits=((2.0, 10.0),))
    with served(PlainBoard(q, timeout_s=5.0)) as host, linked(host, q, timeout_s=0.01) as link:
        board = BoardInLoop(link)
        board.reset()
        u = np.full(2, 1.5, np.float32)
        for _ in range(10):
            held = board.step(u).copy()
        assert held[0] != 2.0
        host.to_board = lambda data: b""
        for _ in range(4):
            assert np.array_equal(board.step(u), held)
            assert board.fault == ""
        assert board.step(u)[0] == 2.0  # zero clipped into the limits
        assert board.fault == "5 frames in a row were lost"
        host.to_board = lambda data: data
        assert board.step(u)[0] == 2.0
        board.reset()
        assert board.fault == ""
        assert board.last_fault == "5 frames in a row were lost"
        board.step(u)
        assert (board.held, board.went_safe) == (6, 1)


def test_a_board_that_resets_in_the_loop_is_named(host):
    with linked(host, Q) as link:
        board = BoardInLoop(link)
        board.reset()
        board.step(np.ones(2, np.float32))
        host.board.boot()
        assert board.step(np.ones(2, np.float32))[0] == 0.0
        assert "started anew" in board.fault


@pytest.mark.parametrize("options", [{"loss": -0.1}, {"loss": 1.5}, {"most_lost": 0}])
def test_arguments_of_the_loop_are_checked(host, options):
    with linked(host, Q) as link, pytest.raises(LinkError, match=rf"^{next(iter(options))}: .*; allowed"):
        BoardInLoop(link, **options)


RUNNERS = {
    "HostDriven": lambda mode: mode.start(),
    "BoardDriven": lambda mode: mode.start(),
    "Shadow": lambda mode: mode.start(),
    "BoardInLoop": lambda mode: mode.reset(),
}
KINDS = {kind.__name__: kind for kind in (HostDriven, BoardDriven, Shadow, BoardInLoop)}


@pytest.mark.parametrize("second", RUNNERS)
@pytest.mark.parametrize("first", RUNNERS)
def test_one_mode_at_a_time_runs_a_board(host, first, second):
    with linked(host, Q) as link:
        running, other = KINDS[first](link), KINDS[second](link)
        for _ in range(2):  # again is not a second one
            RUNNERS[first](running)
        sent, on_report = link.stats.sent, link.on_report
        refused = rf"^board: {first} is using {link.port}; allowed: one mode at a time, another after link.stop\(\)$"
        with pytest.raises(LinkError, match=refused):
            RUNNERS[second](other)
        if second != "BoardInLoop":
            with pytest.raises(LinkError, match=refused), other:
                pass
        assert (link.stats.sent, link.on_report, link.user) == (sent, on_report, running)  # the board was not stopped
        link.stop()
        RUNNERS[second](other)
        assert link.user is other


def test_a_start_by_request_takes_no_board_away(host):
    with linked(host, Q) as link:
        with HostDriven(link) as running:
            sent = link.stats.sent
            with pytest.raises(
                LinkError, match=rf"^board: HostDriven is using {link.port}; allowed: one mode at a time"
            ):
                link.start(Mode.STEP)
            assert (link.stats.sent, link.user, link.mode) == (sent, running, Mode.DRIVE)
        link.start(Mode.STEP)
        link.start(Mode.STEP)  # again is not a second one
        with HostDriven(link) as running:  # nobody is known to use the link
            assert link.user is running


def test_nobody_drives_by_an_object_that_is_gone(host):
    with linked(host, Q) as link:
        HostDriven(link).start()
        gc.collect()
        with Shadow(link) as shadow:
            assert link.user is shadow


def test_statistics_as_json():
    assert Stats().to_dict()["round_trip"] is None


def test_a_round_trip_is_timed(host):
    with linked(host, Q) as link:
        for _ in range(50):
            link.request(Type.PING)
        figures = link.stats.to_dict()["round_trip"]
        assert 10 < figures["p50_us"] <= figures["p99_us"] <= figures["worst_us"]


def test_a_float64_controller(tmp_path):
    spec = nc.Spec(
        cell="elman", inputs=2, neurons=3, outputs=1, dt_s=0.01, dtype="float64", input_limits=((-1, 1),) * 2
    )
    q, twin = nc.Controller(spec, seed=0).quantize(), nc.Controller(spec, seed=0).quantize()
    with served(PlainBoard(q)) as host, linked(host, q) as link:
        board = BoardInLoop(link)
        board.reset()
        assert np.array_equal(board.step(np.array([0.1, 0.2])), twin.step(np.array([0.1, 0.2])))


def test_a_loop_goes_on_after_its_board_was_unplugged_and_has_another_name(monkeypatch):
    """Meanwhile the board is not called safe: its own timeout makes it so, and nobody sees that."""
    host = Served(PlainBoard(Q))
    monkeypatch.setattr(
        port, "ports", lambda: [SimpleNamespace(device=host.port, serial_number="S1", location=None)] * (not host._end)
    )
    with linked(host, Q) as link, HostDriven(link, timeout_s=2.0) as plant:
        loop, name = Loop(Q, plant, stale_limit=4, watchdog_s=10.0), link.port
        loop.start()
        while host.board.ticks < 3:  # on a busy machine a loop may take long to be set up
            time.sleep(0.01)
        host.unplug()
        report = loop.join(20)
        assert report.reason in ("read", "write") and not report.safe
        assert "has gone" in report.detail and "or run the command again" in report.detail
        assert report.messages[0] == "safe returned False: the plant is not known to be safe"
        taken = os.openpty()  # the name that there was
        host.open()
        link.reconnect()
        assert link.port != name
        assert loop.run(ticks=5).safe
        for end in taken:
            os.close(end)
    host.unplug()
