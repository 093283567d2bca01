"""``neuroctl link`` and ``neuroctl run --hil``, on a board in plain Python."""

import json
import re
import time

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cli.linking import _wandering
from neuroctl.link.protocol import Mode
from tests.cli.test_cli import SPEC
from tests.commands import neuroctl, one_line_error
from tests.link.plain_board import PlainBoard, image_of, served, shape_of

SLOW_S = 10.0
"""A timeout of the board that a busy machine does not reach."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "ctl.npz"
    nc.Controller(SPEC, seed=1).save(path, meta={"task": "cartpole"})
    return path


@pytest.fixture
def host(saved):
    with served(PlainBoard(nc.load(saved).quantize(), timeout_s=SLOW_S)) as host:
        yield host


def test_what_a_board_is(host):
    report = json.loads(neuroctl("link", host.port, "--json").stdout)
    assert (report["name"], report["mode_now"], report["reason"], report["inputs"]) == ("plain", "IDLE", "RESET", 2)
    assert report["model_crc32"] == f"{host.board.q.model_crc32:08x}"
    assert "state bytes" in neuroctl("link", host.port).stdout


def test_shadow(host, saved):
    report = json.loads(neuroctl("link", host.port, saved, "--mode", "shadow", "--steps", 500, "--json").stdout)
    assert (report["steps"], report["differing_bits"], report["first"]) == (500, 0, None)
    assert report["link"]["answered"] > 500
    assert host.board.mode == Mode.LATCHED


def test_shadow_that_differs_fails(host, saved):
    step = host.board.step
    host.board.step = lambda frame: bytes((step(frame)[0] ^ 1,)) + step(frame)[1:]
    done = neuroctl("link", host.port, saved, "--mode", "shadow", "--steps", 5, code=1)
    assert "step 0: out[0] is" in done.stdout


def test_the_board_runs_it(host, saved):
    report = json.loads(neuroctl("link", host.port, saved, "--mode", "board", "--steps", 30, "--json").stdout)
    assert report["steps"] >= 30
    assert report["link"]["reports_lost"] == 0
    assert len(report["outputs"]) == 1


def test_the_host_runs_it(host, saved):
    report = json.loads(neuroctl("link", host.port, saved, "--mode", "host", "--steps", 20, "--json").stdout)
    assert report["steps"] == 20
    assert report["inputs"] == [0.0, 0.0]


def test_hardware_in_the_loop_scores_as_the_controller_does(host, saved):
    alone = json.loads(neuroctl("run", saved, "--episodes", 2, "--quantized", "--json").stdout)
    looped = json.loads(neuroctl("run", saved, "--episodes", 2, "--hil", host.port, "--json").stdout)
    assert looped["returns"] == alone["returns"]
    assert looped["form"] == "board"
    assert (looped["hil"]["held"], looped["hil"]["last_fault"]) == (0, "")
    assert looped["hil"]["steps"] >= sum(alone["returns"])


def test_losses_in_the_loop_are_counted(host, saved):
    text = neuroctl("run", saved, "--episodes", 2, "--hil", host.port, "--loss", 0.3).stdout
    assert "cartpole, board" in " ".join(text.split())
    assert re.search(r"board: \d+ steps, [1-9]\d* of them held, outputs went safe \d+ times", text)


def test_another_controllers_file_is_refused(host, saved, tmp_path):
    nc.Controller(SPEC, seed=2).save(tmp_path / "other.npz")
    one_line_error(
        neuroctl("link", host.port, tmp_path / "other.npz", "--mode", "shadow", code=1), "model: the board runs"
    )


def test_bad_use(saved):
    one_line_error(neuroctl("link", "/dev/ttyNOPE", saved, code=1), "/dev/ttyNOPE does not exist")
    one_line_error(neuroctl("run", saved, "--hil", "/dev/ttyNOPE", code=1), "/dev/ttyNOPE does not exist")
    assert "a controller file is needed" in neuroctl("link", "/dev/ttyNOPE", "--mode", "shadow", code=2).stderr
    assert "Example: neuroctl link upload" in neuroctl("link", "upload", "--help").stdout


@pytest.mark.parametrize("option", [("--timeout", "inf"), ("--timeout", "1e9"), ("--timeout", "nan"), ("--baud", "0")])
def test_options_out_of_range_are_bad_use(host, option):
    assert f"Invalid value for '{option[0]}'" in neuroctl("link", host.port, *option, code=2).stderr


def test_a_baud_rate_beyond_all_is_one_line(host, saved):
    for command in (("link", host.port), ("run", saved, "--hil", host.port)):
        one_line_error(neuroctl(*command, "--baud", 99999999999, code=1), "baud: 99999999999; allowed")


def test_the_inputs_of_a_long_comparison_do_not_keep_the_board_waiting():
    """They are made in pieces: the first at once, and all of them are never in memory."""
    begin = time.monotonic()
    rows = _wandering(2, 10**12, seed=0)
    first = [next(rows) for _ in range(20_000)]
    assert time.monotonic() - begin < 2.0
    u = np.array(first)
    assert (u.dtype, u.shape) == (np.int32, (20_000, 2))
    held = (u[1:] == u[:-1]).all(axis=1).mean()
    assert 0.75 < held < 0.85
    assert u.min() < -32000
    assert u.max() > 32000
    assert np.array_equal(list(_wandering(2, 5000, seed=0)), u[:5000])
    assert len(list(_wandering(2, 5000, seed=1))) == 5000


def test_upload(host, saved, tmp_path, monkeypatch, capsys):
    """The image comes from the export; here it is the plain board's."""
    import firmware_export
    from neuroctl.cli import app

    q = host.board.q
    theta = q.theta_q.copy()
    theta[q.layout["W"].part] //= 2
    new = nc.QuantController(q.spec, q.formats, theta)
    new.save(tmp_path / "new.npz")
    monkeypatch.setattr(firmware_export, "param_image", image_of, raising=False)
    monkeypatch.setattr(firmware_export, "shape_crc32", shape_of, raising=False)
    app(["link", "upload", host.port, str(tmp_path / "new.npz"), "--json"], standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert (report["before"], report["after"]) == (f"{q.model_crc32:08x}", f"{new.model_crc32:08x}")
    assert host.board.q.model_crc32 == new.model_crc32
