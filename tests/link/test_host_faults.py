"""What a line, a port and a board do wrong, and what the host makes of it: one typed error of one line, or nothing."""

import os
import re
import time

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import (
    BackendUnavailable,
    BoardResetError,
    LatchedError,
    LinkError,
    ModelError,
    NoiseError,
    PortError,
    RefusedError,
    SilenceError,
)
from neuroctl.link import BoardDriven, HostDriven, Link, Shadow
from neuroctl.link.frames import encode
from neuroctl.link.protocol import ANSWER, HELLO_SEED, Mode, Reason, Type, fold
from tests.link.helpers import controller, linked, linked_to_another
from tests.link.plain_board import PlainBoard, served

Q = controller()
ZERO = bytes(4)


@pytest.fixture
def board():
    return PlainBoard(Q)


@pytest.fixture
def host(board):
    with served(board) as host:
        yield host


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert isinstance(error.value, LinkError)
    assert isinstance(error.value, nc.NeuroctlError)


def until(true, wait_s=2.0):
    end = time.monotonic() + wait_s
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    assert true()


class Nth:
    """Spoils the n-th piece of data that passes, counted from when it is made; 0 spoils all."""

    def __init__(self, n, spoil):
        self.left, self.n, self.spoil = n, n, spoil

    def __call__(self, data):
        if not data:
            return data
        self.left -= 1
        return self.spoil(data) if self.left == 0 or self.n == 0 else data


def flip(at):
    """Flip a bit of the byte at a place, or of the last but one."""

    def spoil(data):
        index = at % len(data)
        return data[:index] + bytes((data[index] ^ 16 or 1,)) + data[index + 1 :]

    return spoil


SPOILS = {
    "lost": lambda data: b"",
    "corrupted": flip(5),
    "corrupted model": flip(-3),
    "truncated": lambda data: data[: len(data) // 2],
    "end lost": lambda data: data[:-1],
    "duplicated": lambda data: data + data,
    "oversized": lambda data: b"\7" * 3000 + data,
    "random": lambda data: bytes(np.random.default_rng(0).integers(0, 256, 300).astype(np.uint8)),
    "random before": lambda data: bytes(range(255, 0, -1)) + b"\0" + data,
}


@pytest.mark.parametrize("way", ["to_board", "to_host"])
@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_one_spoilt_frame_either_way_changes_no_bit(host, spoil, way):
    """The request is repeated with the same bits, and the board takes it exactly once."""
    with linked(host, Q, timeout_s=0.05) as link, Shadow(link) as shadow:
        setattr(host, way, Nth(3, spoil))
        for _ in range(10):
            shadow.step(np.array([0.5, -0.5], np.float32))
        assert (shadow.steps, shadow.differing_bits, shadow.first) == (10, 0, None)
        assert host.board.ticks == 10
        assert link.stats.lost == 0


@pytest.mark.parametrize("way", ["to_board", "to_host"])
def test_a_tenth_of_all_frames_spoilt_changes_no_bit(host, way):
    rng = np.random.default_rng(2)
    spoils = list(SPOILS.values())

    def spoil(data):
        return spoils[rng.integers(len(spoils))](data) if data and rng.random() < 0.1 else data

    with linked(host, Q, timeout_s=0.03, retries=10) as link, Shadow(link, timeout_s=5.0) as shadow:
        setattr(host, way, spoil)
        for u in rng.normal(size=(150, 2)).astype(np.float32):
            shadow.step(u)
        assert (shadow.differing_bits, host.board.ticks) == (0, 150)
        assert link.stats.retried > 5


def test_reordered_requests_and_answers(host):
    """An old request is dropped by the board, an old answer by the host; both are counted."""
    with linked(host, Q) as link:
        link.start(Mode.STEP)
        old = encode(Type.STEP, link._seq - 1 & 255, 0, ZERO, fold(Q.model_crc32))
        host.to_board = Nth(1, lambda data: data + old)
        host.to_host = Nth(1, lambda data: encode(Type.STEP | ANSWER, 77, 0, bytes(2), fold(Q.model_crc32)) + data)
        link.step(ZERO)
        assert link.ping().stale_frames == 1
        assert (link.stats.stale, host.board.ticks) == (1, 1)


def test_a_wrong_model_names_both(host):
    other = controller(seed=4)
    with pytest.raises(ModelError) as error:
        linked(host, other)
    one_line(error, f"{Q.model_crc32:08x}", f"{other.model_crc32:08x}", "'plain'")


def test_a_board_that_got_another_model_meanwhile_is_found_out(host):
    """Its frames fail at the CRC; the board says WRONG_MODEL, and HELLO tells which one it has."""
    other = controller(seed=4)
    with linked(host, Q) as link:
        host.board.q = other
        host.board.decoder.expect(host.board.seed, host.board.sizes)
        with pytest.raises(ModelError) as error:
            link.start(Mode.STEP)
    one_line(error, f"{Q.model_crc32:08x}", f"{other.model_crc32:08x}")


def test_a_wrong_baud_rate_is_noise(host):
    """At another rate each byte is read as others."""
    host.to_host = lambda data: bytes(b ^ 0x5A | 1 for b in data)
    with pytest.raises(NoiseError) as error:
        linked(host, Q, hello_s=0.3)
    one_line(error, "baud: 115200", "but no frame")


def test_a_silent_board(host):
    host.deaf = True
    begin = time.monotonic()
    with pytest.raises(SilenceError) as error:
        linked(host, Q, hello_s=0.3)
    one_line(error, host.port, "silent")
    assert time.monotonic() - begin < 1.0


def test_a_board_that_falls_silent_in_a_run(host):
    with linked(host, Q, timeout_s=0.02) as link:
        link.start(Mode.STEP)
        host.deaf = True
        with pytest.raises(SilenceError) as error:
            link.step(ZERO)
        one_line(error, "no answer to STEP, asked 4 times")
        assert link.stats.lost == 1


def test_a_board_that_wakes_up_late_is_waited_for(host):
    """Some boards reset when their port is opened, and then take a second to start."""
    host.to_board = Nth(0, lambda data: data if time.monotonic() > awake else b"")
    awake = time.monotonic() + 0.4
    with linked(host, Q, hello_s=2.0) as link:
        assert link.hello.name == "plain"


def test_a_link_that_was_not_opened_leaves_the_port_free(host):
    for _ in range(2):
        with pytest.raises(ModelError):
            linked(host, controller(seed=4))
    with linked(host, Q) as link:
        assert link.ping().mode == Mode.IDLE


def test_a_port_that_does_not_exist():
    with pytest.raises(PortError) as error:
        Link("/dev/ttyNOPE", Q)
    one_line(error, "port: /dev/ttyNOPE does not exist", "there are:")


def test_a_file_is_no_port(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(PortError) as error:
        Link(str(path), Q)
    one_line(error, str(path), "cannot be used as a serial port")


def test_a_busy_port(host):
    with linked(host, Q), pytest.raises(PortError) as error:
        linked(host, Q)
    one_line(error, "in use by another program")


def test_a_baud_rate_that_is_none(host):
    with pytest.raises(PortError) as error:
        linked(host, Q, baud=-1)
    one_line(error, "baud: -1; allowed")


def test_a_port_that_vanishes_in_a_frame(host):
    with linked(host, Q) as link:
        link.start(Mode.STEP)
        host.to_host = lambda data: data[: len(data) // 2]
        link.post(Type.STEP, ZERO)
        until(lambda: host.board.ticks == 1)
        host.unplug()
        with pytest.raises(PortError) as error:
            for _ in range(3):
                link.step(ZERO)
        one_line(error, host.port, "has gone", "reconnect")


def test_reconnecting_says_hello_and_starts_nothing(host, board, tmp_path):
    path = tmp_path / "port"
    host.unplug()
    host.open(path)
    with linked(host, Q) as link:
        link.close()
    with Link(str(path), Q, timeout_s=0.5) as link:
        link.start(Mode.STEP)
        host.to_host = lambda data: data[: len(data) // 2]
        link.post(Type.STEP, ZERO)
        until(lambda: board.ticks == 1)
        host.unplug()
        with pytest.raises(PortError):
            link.ping()
        with pytest.raises(PortError):
            link.reconnect(wait_s=0.2)
        host.to_host = lambda data: data
        host.open(path)
        board.boot()
        assert link.reconnect().mode == Mode.IDLE
        with pytest.raises(RefusedError) as error:
            link.step(ZERO)
        one_line(error, "STEP: refused by the board: NOT_STARTED; start it first")
        link.start(Mode.STEP)
        assert len(link.step(ZERO)) == 2


def test_a_reconnected_board_of_another_model_is_refused(host, board, tmp_path):
    with linked_to_another(host, Q, tmp_path / "port") as link:
        assert link.hello.model_crc32 != Q.model_crc32


@pytest.mark.parametrize("mode", [Shadow, HostDriven])
def test_a_board_that_resets_in_a_run(host, mode):
    with linked(host, Q) as link, mode(link) as running:
        use = running.step if mode is Shadow else running.read
        use(np.zeros(2, np.float32))
        host.board.boot()
        with pytest.raises(BoardResetError) as error:
            use(np.zeros(2, np.float32))
        one_line(error, "started anew", "outputs are safe")
        assert np.array_equal(host.board.out, host.board.safe)
        assert link.ping().reason == Reason.RESET
        running.start()
        use(np.zeros(2, np.float32))


def test_a_board_that_resets_while_it_runs_by_itself(host):
    with linked(host, Q) as link, BoardDriven(link, timeout_s=0.15) as running:
        running.run(0.1)
        host.board.boot()
        with pytest.raises(BoardResetError):
            running.run(1.0)


def test_a_board_that_was_reset_and_started_by_someone_else(host):
    with linked(host, Q) as link, BoardDriven(link, timeout_s=0.15) as running:
        running.run(0.2)
        host.board.ticks = 0
        with pytest.raises(BoardResetError) as error:
            running.run(1.0)
        one_line(error, "tick went back")


def test_a_silent_host_makes_the_board_latch(host):
    """Its outputs go safe within the timeout, and say why at the next frame; only START goes on."""
    with linked(host, Q) as link:
        running = HostDriven(link, timeout_s=0.1)
        running.start()
        running.write(np.array([7.0], np.float32))
        until(lambda: host.board.out[0] == 7 << Q.formats["out"].frac_bits)
        begin = time.monotonic()
        until(lambda: host.board.mode == Mode.LATCHED)
        assert time.monotonic() - begin < 0.1 + 0.05
        assert np.array_equal(host.board.out, host.board.safe)
        with pytest.raises(LatchedError) as error:
            running.read(np.zeros(2, np.float32))
        one_line(error, "reason TIMEOUT", "start it again")
        assert error.value.reason == "TIMEOUT"
        running.start()
        running.read(np.zeros(2, np.float32))


def test_a_failing_sensor_of_a_board_that_runs_by_itself(host):
    def broken():
        raise OSError

    with linked(host, Q) as link, BoardDriven(link, timeout_s=0.15) as running:
        running.run(0.05)
        host.board.sensors = broken
        with pytest.raises(LatchedError) as error:
            running.run(1.0)
        assert error.value.reason == "SENSOR"
        assert np.array_equal(host.board.out, host.board.safe)


def test_reading_without_answers_holds_then_raises(host):
    host.board.sensors = lambda: np.array([1 << 12, 0], np.int32)
    with linked(host, Q, timeout_s=0.01) as link, HostDriven(link, timeout_s=5.0) as running:
        u = np.zeros(2, np.float32)
        running.read(u)
        first = u.copy()
        host.to_board = lambda data: b""
        for _ in range(4):
            u[:] = np.nan
            assert running.read(u) is False
            assert np.array_equal(u, first)
        with pytest.raises(SilenceError) as error:
            running.read(u)
        one_line(error, "5 answers in a row were lost")
        host.to_board = lambda data: data
        assert running.read(u) is True
        assert running.lost_in_a_row == 0


def test_the_first_sensors_are_asked_for_until_they_come(host):
    """Afterwards there is something to hold, whatever is lost."""
    host.board.sensors = lambda: np.array([1 << 12, 0], np.int32)
    with linked(host, Q, timeout_s=0.02) as link:
        host.to_host = Nth(2, lambda data: b"")
        with HostDriven(link, timeout_s=5.0) as running:
            host.to_board = lambda data: b""
            u = np.zeros(2, np.float32)
            running.read(u)
            assert u[0] == (1 << 12) * Q.formats["u"].lsb
            host.to_board = lambda data: data


def test_safe_raises_nothing_and_the_board_does_it_by_itself(host):
    with linked(host, Q, timeout_s=0.01) as link:
        running = HostDriven(link, timeout_s=0.1)
        running.start()
        running.safe()
        assert host.board.reason == Reason.STOPPED
        running.start()
        running.write(np.array([7.0], np.float32))
        host.to_board = lambda data: b""
        running.safe()
        until(lambda: host.board.reason == Reason.TIMEOUT)
        assert np.array_equal(host.board.out, host.board.safe)
        host.unplug()
        running.safe()


@pytest.mark.parametrize("lost", [100, 128, 200, 255])
def test_a_start_counts_however_many_frames_were_lost_before(host, lost):
    """Its seq may look old to the board; then HELLO goes first."""
    with linked(host, Q) as link:
        running = HostDriven(link, timeout_s=5.0, most_lost=1000)
        running.start()
        host.to_board = lambda data: b""
        link.timeout_s = 0.0
        u = np.zeros(2, np.float32)
        for _ in range(lost):
            running.read(u)
        assert running.lost_in_a_row == lost
        link.timeout_s = 0.1
        host.to_board = lambda data: data
        running.start()
        running.read(u)
        assert running.lost_in_a_row == 0
        assert link.ping().mode == Mode.DRIVE


def test_refusals_name_request_and_code(host):
    with linked(host, Q) as link:
        with pytest.raises(RefusedError) as error:
            link.start(Mode.LATCHED)
        one_line(error, "START: refused by the board: BAD_VALUE")
        assert error.value.code == "BAD_VALUE"
        with pytest.raises(RefusedError) as error:
            link.put_state(bytes(3))
        one_line(error, "state: 3 bytes; allowed: 36")
        link.start(Mode.DRIVE)
        with pytest.raises(BoardResetError):
            link.step(ZERO)


def test_modes_need_a_controller(host):
    with linked(host, None) as link, pytest.raises(LinkError, match=r"^q: missing; allowed"):
        Shadow(link)


def test_a_board_that_lies_about_its_sizes_is_refused(host):
    host.board.sizes = host.board.sizes._replace(state_bytes=40)
    with pytest.raises(ModelError) as error:
        linked(host, Q)
    one_line(error, "the board has state_bytes 40", "allowed: 36")


@pytest.mark.parametrize("missing", ["serial", "cobs"])
def test_a_missing_package_names_the_extra(missing):
    import subprocess
    import sys

    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from neuroctl.errors import BackendUnavailable\n"
        "try:\n    from neuroctl.link import Link; Link('/dev/null')\n"
        "except BackendUnavailable as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.match(rf"{missing}.*: not installed.*neuroctl\[serial\]", done.stdout), done.stderr
    assert issubclass(BackendUnavailable, nc.NeuroctlError)


def test_a_hello_takes_any_seed_but_its_own(host):
    """A host of another model is answered: HELLO's seed is the same for all."""
    assert encode(Type.HELLO, 1, 0, b"", HELLO_SEED) != encode(Type.HELLO, 1, 0, b"", fold(Q.model_crc32))
    with linked(host, None) as link:
        assert link.hello.model_crc32 == Q.model_crc32
    assert os.path.exists(host.port)
