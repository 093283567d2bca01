"""Uploads: all parameters or none, wherever they break."""

import dataclasses
import zlib

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import RefusedError, SilenceError
from neuroctl.link import Mode, Shadow, upload
from neuroctl.link.protocol import BEGIN, DATA, Op, Type
from tests.link.helpers import controller, linked
from tests.link.plain_board import PlainBoard, image_of, served, shape_of

OLD = controller()


def other():
    """Another controller of the same shape: some weights differ."""
    theta = OLD.theta_q.copy()
    theta[OLD.layout["W"].part] //= 2
    return nc.QuantController(OLD.spec, OLD.formats, theta)


NEW = other()


@pytest.fixture
def host():
    with served(PlainBoard(OLD)) as host:
        yield host


def send(link, image=None, crc=None, shape=None):
    upload(link, image_of(NEW) if image is None else image, crc or NEW.model_crc32, shape or shape_of(NEW))


def steps_as(link, q, count=20):
    """The board steps as this controller does."""
    link.check(q)
    with Shadow(link) as shadow:
        for u in np.random.default_rng(0).integers(-32768, 32768, (count, 2)).astype(np.int32):
            shadow.step_int(u)
    return (shadow.differing_bits, shadow.steps) == (0, count)


def test_an_upload_swaps_all_parameters(host):
    stages = []
    with linked(host, OLD) as link:
        link.start(Mode.STEP)
        upload(link, image_of(NEW), NEW.model_crc32, shape_of(NEW), stages.append)
        assert link.hello.model_crc32 == NEW.model_crc32
        assert (host.board.mode, link.mode) == (Mode.IDLE, Mode.IDLE)
        assert np.array_equal(host.board.out, host.board.safe)
        assert steps_as(link, NEW)
    assert stages == [128, 256, len(image_of(NEW))]
    assert np.array_equal(host.board.q.theta_q, NEW.theta_q)


class CutAfter:
    """Lets so many frames pass and then none, in one direction."""

    def __init__(self, frames):
        self.left = frames

    def __call__(self, data):
        keep = b""
        for frame in data.split(b"\0")[:-1]:
            if frame:
                self.left -= 1
            keep += frame + b"\0" if self.left >= 0 else b""
        return keep


@pytest.mark.parametrize("frames", range(5))
@pytest.mark.parametrize("way", ["to_board", "to_host"])
def test_a_line_cut_at_any_frame_leaves_the_old_parameters_or_the_new_ones(host, way, frames):
    """BEGIN, three of DATA, COMMIT: only when COMMIT came is anything new, and then all of it."""
    with linked(host, OLD, timeout_s=0.02, retries=1, hello_s=0.05) as link:
        setattr(host, way, CutAfter(frames))
        with pytest.raises(SilenceError):
            send(link)
        setattr(host, way, lambda data: data)
        committed = way == "to_host" and frames == 4
        assert np.array_equal(host.board.q.theta_q, (NEW if committed else OLD).theta_q)
        link.hello_again()
        assert steps_as(link, NEW if committed else OLD)
        send(link)
        assert steps_as(link, NEW)


@pytest.mark.parametrize("frame", range(5))
@pytest.mark.parametrize("way", ["to_board", "to_host"])
def test_one_lost_frame_is_repeated(host, way, frame):
    """A lost answer to COMMIT too, after which the board knows frames of the new model only."""
    count = iter(range(100))

    def lose(data):
        return b"" if data and next(count) == frame else data

    with linked(host, OLD, timeout_s=0.05) as link:
        setattr(host, way, lose)
        send(link)
        assert steps_as(link, NEW)


def test_an_upload_that_goes_on_with_another_controller_running(host):
    """Until COMMIT the board steps with the old parameters."""
    image = image_of(NEW)
    with linked(host, OLD) as link:
        link.start(Mode.STEP)
        link.request(Type.PARAM, BEGIN.pack(0, len(image), zlib.crc32(image), NEW.model_crc32, shape_of(NEW)))
        link.request(Type.PARAM, DATA.pack(1, 0) + image[:128])
        assert steps_as(link, OLD)


def refused(link, payload):
    with pytest.raises(RefusedError) as error:
        link.request(Type.PARAM, payload)
    return error.value.code


def test_what_a_board_refuses(host):
    image = image_of(NEW)
    crc, shape = zlib.crc32(image), shape_of(NEW)

    def begin(size=0, crc=crc, shape=shape):
        return BEGIN.pack(Op.BEGIN, size or len(image), crc, NEW.model_crc32, shape)

    with linked(host, OLD) as link:
        assert refused(link, bytes((Op.COMMIT,))) == "PARAM_ORDER"
        assert refused(link, DATA.pack(1, 0) + image[:4]) == "PARAM_ORDER"
        assert refused(link, begin(size=4)) == "PARAM_SIZE"
        assert refused(link, begin(shape=1)) == "PARAM_SHAPE"
        link.request(Type.PARAM, begin(crc=crc ^ 1))
        assert refused(link, DATA.pack(1, 128) + image[128:256]) == "PARAM_ORDER"
        link.request(Type.PARAM, DATA.pack(1, 0) + image[:128])
        assert refused(link, bytes((Op.COMMIT,))) == "PARAM_SIZE"
        for at in range(128, len(image), 128):
            link.request(Type.PARAM, DATA.pack(1, at) + image[at : at + 128])
        assert refused(link, DATA.pack(1, len(image)) + bytes(4)) == "PARAM_SIZE"
        assert refused(link, bytes((Op.COMMIT,))) == "PARAM_CRC"
        assert steps_as(link, OLD)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"shape": 1}, "shape: 00000001; allowed: "),
        ({"image": bytes(8)}, "parameters: 8 bytes; allowed: 292"),
    ],
)
def test_what_the_host_refuses_at_once(host, wrong, text):
    with linked(host, OLD) as link:
        with pytest.raises(RefusedError) as error:
            send(link, **wrong)
        assert text in str(error.value)
        assert link.stats.sent == 1


def test_a_board_without_parameters_in_ram(host):
    fixed = dataclasses.replace(host.board.hello(), capabilities=0)
    host.board.hello = lambda: fixed
    with linked(host, OLD) as link, pytest.raises(RefusedError, match="takes none"):
        send(link)
