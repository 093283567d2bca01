"""The protocol as a board keeps it, over a pseudo-terminal: the exported C in a process, and a plain client."""

import os
import struct
import time

import numpy as np
import pytest

from firmware_export import boards, shape_crc32
from firmware_export.boards import Faults, pattern
from neuroctl.errors import ExportError
from tests.firmware.helpers import CELLS, controller, members, needs_cc
from tests.link import reference as r
from tests.link.board import needs_qemu

pytestmark = needs_cc

LOW, HIGH = -32768, 32767


def words(data):
    return np.frombuffer(data, "<i2").tolist()


def state_bytes(q):
    """The state as it is sent: each member in its own storage."""
    kinds = {"int16_t": "<i2", "uint16_t": "<u2", "int32_t": "<i4"}
    return b"".join(q.state[f.start : f.start + f.words].astype(kinds[f.storage]).tobytes() for f in members(q))


@pytest.fixture(scope="module")
def q():
    return controller(6, 3, 2)


@pytest.fixture(scope="module")
def board(q):
    with boards.start(q) as running:
        yield running


@pytest.fixture
def client(board):
    with r.Client(board.port) as connected:
        connected.hello()
        yield connected


def test_hello_says_what_the_board_runs(q, client):
    said = client.hello()
    sizes = {"inputs": 3, "outputs": 2, "neurons": 6, "state_bytes": len(state_bytes(q)), "dt_us": 20000}
    crcs = {"model_crc32": q.model_crc32, "shape_crc32": shape_crc32(q)}
    bits = {"in_frac_bits": q.formats["u"].frac_bits, "out_frac_bits": q.formats["out"].frac_bits}
    wanted = {"protocol": 1, "capabilities": 1, "timeout_us": 100000, "name": b"ctl".ljust(16, b"\0")}
    assert said.items() >= (sizes | crcs | bits | wanted).items()


@pytest.mark.parametrize("cell", CELLS)
def test_steps_and_states_are_the_same_bits(cell):
    """Resets in between; the state after each step, as it is in the integer controller."""
    q = controller(5, 3, 2, cell=cell)
    rng = np.random.default_rng(1)
    with boards.start(q, tunable=False) as running, r.Client(running.port) as client:
        assert client.hello()["capabilities"] == 0
        assert client.start(r.STEPPING) == b""
        for t in range(200):
            u = rng.choice([LOW, HIGH, int(rng.integers(LOW, HIGH + 1))], 3).astype(np.int32)
            reset = rng.random() < 0.05
            if reset:
                q.reset()
            y = q.step_int(u).tolist()
            got = client.step(u, 2 + reset)
            assert words(got[:4]) == y, t
            assert got[4:] == state_bytes(q), t
        assert client.ask(r.STATE) == state_bytes(q)
        assert client.ping(b"\0\1\xff" * 21)["tick"] == 200
        assert client.ask(r.PARAM, b"\2") == (r.UNSUPPORTED, r.PARAM, r.NONE)


def test_a_state_goes_on_where_it_was_put(q, client):
    client.start(r.STEPPING)
    u = np.arange(3, dtype=np.int32) * 5000
    for _ in range(10):
        client.step(u)
    saved = client.ask(r.STATE)
    first = [client.step(u, 2) for _ in range(5)]
    assert client.ask(r.STATE, saved) == b""
    assert [client.step(u, 2) for _ in range(5)] == first
    too_far = struct.pack("<i", 1 << 29) + saved[4:]
    assert client.ask(r.STATE, too_far) == (r.BAD_VALUE, r.STATE, r.NONE)
    assert client.ask(r.STATE) == first[-1][4:], "a refused state changed the board's"


def test_outputs_are_safe_until_started_and_after_stop(board, client):
    client.ask(r.STOP)
    reason = client.ping()["reason"]
    u = np.array([HIGH, LOW, HIGH], np.int32)
    assert client.step(u) == (r.E_LATCHED, r.STEP, reason)
    assert client.ask(r.DRIVE, struct.pack("<2h", 100, 100)) == (r.E_LATCHED, r.DRIVE, reason)
    assert client.start(r.DRIVING) == b""
    assert client.step(u) == (r.NOT_STARTED, r.STEP, r.NONE)
    assert words(client.ask(r.DRIVE, struct.pack("<2h", 100, -100))) == [pattern(0, i) for i in range(3)]
    assert board.motors()[1][-1].tolist() == [100, -100]
    assert words(client.ask(r.DRIVE, struct.pack("<2h", HIGH, LOW))) == [pattern(1, i) for i in range(3)]
    assert board.motors()[1][-1].tolist() == [20480, -20480], "outputs are clipped to their limits"
    assert client.ask(r.STOP) == b""
    assert board.motors()[1][-1].tolist() == [0, 0]
    assert client.ping().items() >= {"mode": r.LATCHED, "reason": r.STOPPED}.items()


@pytest.mark.parametrize("mode", [r.STEPPING, r.DRIVING, r.BOARD])
def test_a_silent_host_costs_no_more_than_the_timeout_and_a_period(mode, board, client):
    """Safe each time; and in time, at the latest at the fifth try, if this machine was busy with something else."""
    took_ns = []
    while not took_ns or (min(took_ns) > 70_000_000 and len(took_ns) < 5):
        client.start(mode, timeout_us=50_000)
        if mode == r.STEPPING:
            client.step(np.array([HIGH, LOW, 0], np.int32))
        elif mode == r.DRIVING:
            client.ask(r.DRIVE, struct.pack("<2h", 300, 300))
        silent_ns = time.monotonic_ns()
        time.sleep(0.2)
        ns, out = board.motors()
        assert out[-1].tolist() == [0, 0]
        assert client.ping().items() >= {"mode": r.LATCHED, "reason": r.TIMEOUT}.items()
        took_ns.append(ns[-1] - silent_ns)
    assert min(took_ns) > 40_000_000
    assert min(took_ns) <= 70_000_000


def test_any_frame_keeps_the_watchdog_quiet(client):
    client.start(r.STEPPING, timeout_us=300_000)
    for _ in range(10):
        time.sleep(0.05)
        assert client.ping()["mode"] == r.STEPPING


def test_a_host_that_names_no_timeout_gets_the_boards_own(client):
    client.start(r.STEPPING, timeout_us=0)
    time.sleep(0.3)
    assert client.ping().items() >= {"mode": r.LATCHED, "reason": r.TIMEOUT}.items()


def test_the_board_steps_by_itself_and_reports_each_step(q, client):
    """Shadow: the integer controller on the reported inputs gives the reported outputs and states."""
    client.reports.clear()
    client.start(r.BOARD, options=1, report_every=1)
    end = time.monotonic() + 5
    while len(client.reports) < 25 and time.monotonic() < end:
        client.collect(0.1)
    client.ask(r.STOP)
    q.reset()
    for tick, (_, seq, flags, payload) in enumerate(client.reports):
        assert (seq, flags) == (tick & 255, 2)
        assert struct.unpack("<I", payload[:4]) == (tick + 1,)
        u = words(payload[4:10])
        assert u == [pattern(tick, i) for i in range(3)]
        assert words(payload[10:14]) == q.step_int(np.array(u, np.int32)).tolist()
        assert payload[14:] == state_bytes(q)
    assert len(client.reports) >= 25


def test_reports_are_as_rare_as_asked(client):
    client.reports.clear()
    client.start(r.BOARD, report_every=5)
    for _ in range(4):
        client.collect(0.3)
    client.ask(r.STOP)
    ticks = [struct.unpack("<I", payload[:4])[0] for *_, payload in client.reports]
    assert len(ticks) >= 2
    assert ticks == list(range(5, 5 * len(ticks) + 5, 5))
    assert {len(payload) for *_, payload in client.reports} == {14}


def test_a_request_that_comes_twice_acts_once(client):
    """Also one that comes twice long after; the answer is the same bits."""
    client.start(r.STEPPING)
    again = r.frame(r.STEP, client.seq + 1, struct.pack("<3h", 1, 2, 3), client.seed, flags=2)
    answers = []
    for _ in range(3):
        client.send(again)
        answers.append(client.await_answer())
    client.seq += 1
    assert answers[0] == answers[1] == answers[2]
    assert client.ping()["tick"] == 1


def test_what_is_older_than_the_last_request_is_dropped(client):
    client.start(r.STEPPING)
    client.ping()
    before = client.ping()
    for behind in (1, 2, 50, 126):
        client.send(r.frame(r.STEP, client.seq - behind, struct.pack("<3h", 1, 2, 3), client.seed))
    client.send(r.frame(r.STEP, client.seq, struct.pack("<3h", 1, 2, 3), client.seed))  # as new as the last, but other
    after = client.ping()
    assert after["stale"] - before["stale"] == 5
    assert (after["tick"], after["bad"]) == (before["tick"], before["bad"])


def test_a_jump_forward_is_taken(client):
    client.start(r.STEPPING)
    client.seq += 100
    assert len(client.step(np.zeros(3, np.int32))) == 4


BAD = {
    "version": lambda c: r.frame(r.PING, c.seq + 1, b"", c.seed, version=2),
    "unknown type": lambda c: r.frame(7, c.seq + 1, b"", c.seed),
    "an answer's type": lambda c: r.frame(r.STEP | r.ANSWER, c.seq + 1, b"", c.seed),
    "too short a payload": lambda c: r.frame(r.STEP, c.seq + 1, bytes(5), c.seed),
    "too long a payload": lambda c: r.frame(r.STEP, c.seq + 1, bytes(7), c.seed),
    "too long an echo": lambda c: r.frame(r.PING, c.seq + 1, bytes(65), c.seed),
    "oversized": lambda c: r.frame(r.PING, c.seq + 1, bytes(3000), c.seed),
    "CRC": lambda c: r.frame(r.PING, c.seq + 1, b"", c.seed ^ 1),
    "HELLO under the model's seed": lambda c: r.frame(r.HELLO, c.seq + 1, b"", c.seed),
    "shorter than a frame": lambda c: r.encode(b"\1\5\1\0\0") + b"\0",
    "no COBS": lambda c: b"\x20\1\2\0",
    "cut off": lambda c: r.frame(r.PING, c.seq + 1, b"abcd", c.seed)[:-5] + b"\0",
    "a whole one behind a broken one": lambda c: b"\1\2\3" + r.frame(r.PING, c.seq + 1, b"", c.seed),
    "wrong baud": lambda c: b"\xf8\x80\xfe\x1e\x06\xe0\xff\xf8\0",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_frame_is_dropped_counted_and_costs_no_other(what, client):
    before = client.ping()
    client.send(BAD[what](client))
    assert client.frames(0.05) == []
    assert client.ping()["bad"] - before["bad"] == 1


def test_empty_frames_count_for_nothing(client):
    before = client.ping()
    client.send(b"\0" * 50)
    assert client.ping()["bad"] == before["bad"]


def test_a_host_with_another_model_is_told_so_once_in_a_while(client):
    """Three frames in a row; then at most ten errors a second, in the seed that both know."""
    time.sleep(0.15)
    began = time.monotonic()
    other = client.seed ^ 0x1234
    for k in range(1, 60):
        client.send(r.frame(r.PING, client.seq + k, b"", other))
        time.sleep(0.002)
    errors = client.frames(0.2)
    assert 1 <= len(errors) <= (time.monotonic() - began) / 0.1 + 1
    for kind, _, _, payload in errors:
        assert (kind, payload[:2]) == (r.ERROR, bytes([r.WRONG_MODEL, r.PING]))
    client.seq += 60
    client.ping()


@pytest.mark.parametrize(
    "payload",
    [(0, 0, 0, 0), (4, 0, 0, 0), (255, 0, 0, 0), (1, 2, 0, 0), (1, 0, 0, 1 << 31), (3, 255, 1, 1000)],
)
def test_bad_values_of_start_change_nothing(payload, client):
    before = client.ping()
    assert client.ask(r.START, struct.pack("<BBHI", *payload))[:2] == (r.BAD_VALUE, r.START)
    assert client.ping() == before


def test_unknown_flags_are_refused(client):
    client.start(r.STEPPING)
    assert client.step(np.zeros(3, np.int32), flags=4) == (r.BAD_VALUE, r.STEP, r.NONE)
    assert client.ask(r.PING, flags=1) == (r.BAD_VALUE, r.PING, r.NONE)


# --- Faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [r.DRIVING, r.BOARD])
def test_a_sensor_that_fails_makes_outputs_safe(mode, q):
    with boards.start(q, faults=Faults(sensor_fails_after=3)) as board, r.Client(board.port) as client:
        client.hello()
        client.start(mode)
        if mode == r.DRIVING:
            answers = [client.ask(r.DRIVE, struct.pack("<2h", 7, 7)) for _ in range(4)]
            assert answers[3] == (r.E_LATCHED, r.DRIVE, r.SENSOR)
        else:
            time.sleep(0.2)
        assert client.ping().items() >= {"mode": r.LATCHED, "reason": r.SENSOR, "tick": 3}.items()
        assert board.motors()[1][-1].tolist() == [0, 0]


def test_a_board_that_resets_is_idle_and_says_so(q):
    with boards.start(q, faults=Faults(resets_after=5)) as board, r.Client(board.port) as client:
        client.hello()
        client.start(r.STEPPING)
        for _ in range(3):
            client.step(np.zeros(3, np.int32))
        assert client.step(np.zeros(3, np.int32)) == (r.NOT_STARTED, r.STEP, r.RESET)
        assert board.motors()[1][-1].tolist() == [0, 0]
        client.start(r.STEPPING)
        assert len(client.step(np.zeros(3, np.int32))) == 4


def test_a_board_that_falls_silent_stays_silent(q):
    with boards.start(q, faults=Faults(silent_after=2)) as board, r.Client(board.port) as client:
        client.hello()
        client.start(r.STEPPING)
        with pytest.raises(TimeoutError):
            client.ask(r.PING, wait_s=0.2)


# --- The simulated boards themselves -----------------------------------------------------------------------------


@needs_qemu
def test_the_emulated_core_gives_the_same_bits(q):
    rng = np.random.default_rng(3)
    with boards.start(q, "qemu-m4") as board, r.Client(board.port) as client:
        assert client.hello()["model_crc32"] == q.model_crc32
        client.start(r.STEPPING)
        q.reset()
        for _ in range(200):
            u = rng.integers(LOW, HIGH + 1, 3).astype(np.int32)
            assert words(client.step(u)) == q.step_int(u).tolist()
        client.start(r.BOARD, report_every=1, timeout_us=150_000)
        time.sleep(0.1)
        assert client.ping()["tick"] in range(2, 20)
        time.sleep(0.3)
        assert client.ping()["reason"] == r.TIMEOUT


@needs_qemu
def test_the_emulated_core_resets(q):
    with boards.start(q, "qemu-m4", faults=Faults(resets_after=3)) as board, r.Client(board.port) as client:
        client.hello()
        client.start(r.STEPPING)
        client.step(np.zeros(3, np.int32))
        time.sleep(0.3)
        assert client.step(np.zeros(3, np.int32)) == (r.NOT_STARTED, r.STEP, r.RESET)


def test_a_closed_board_is_gone(q, tmp_path):
    board = boards.start(q)
    folder, pid = board._folder, board._process.pid
    board.close()
    board.close()
    assert not folder.exists()
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(board.port)


def test_bad_arguments(tmp_path, q):
    with pytest.raises(ExportError, match=r"^target: 'pdp11'; allowed: host, qemu-m4, simavr-uno"):
        boards.start(q, "pdp11")
    with pytest.raises(ExportError, match="no such folder"):
        boards.start(tmp_path / "none")
