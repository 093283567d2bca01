"""The host's side on the exported firmware itself: on this machine, QEMU's Cortex-M4 and simavr's ATmega328P."""

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from neuroctl.link import BoardDriven, BoardInLoop, HostDriven, Shadow, upload
from tests.crossed import crossed
from tests.firmware.helpers import CELLS, UNEQUAL, controller, extreme_inputs
from tests.link.helpers import linked

boards = pytest.importorskip(
    "firmware_export.boards", reason="there are no simulated boards: exported C was NOT tested"
)
PATIENT_S = 10.0


EMULATED = ["qemu-m4", "simavr-uno"]


@pytest.fixture(params=["host", *EMULATED])
def start(request):
    """Start a board of a controller, or say what is missing for it."""

    def begin(q):
        try:
            return boards.start(q, request.param)
        except nc.BackendUnavailable as missing:
            pytest.skip(f"the link on {request.param} was NOT tested: {missing}")

    begin.target = request.param
    return begin


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: boards.start(nc.Controller(controller().spec)), "source: Controller; allowed: a folder, or a Quant"),
        (lambda: boards.start(None), "source: NoneType; allowed"),
        (lambda: boards.start(controller(), "toaster"), "target: 'toaster'; allowed: host"),
        (lambda: boards.start(controller(), faults=boards.Faults(resets_after=-1)), "resets_after: -1; allowed"),
        (lambda: boards.start(controller(), faults=boards.Faults(silent_after="2")), "silent_after: '2'; allowed"),
    ],
)
def test_what_no_board_can_be_made_of(call, text):
    with pytest.raises(nc.ExportError, match=f"^{text}"):
        call()


def test_a_folder_may_be_named_from_here(tmp_path, monkeypatch):
    """Compilers run in another folder."""
    q = controller()
    for package in ("header", "cmake"):
        firmware_export.export(q, tmp_path / package, package=package)
        monkeypatch.chdir(tmp_path)
        with boards.start(package, "host") as board, linked(board, q, timeout_s=1.0) as link:
            assert link.hello.model_crc32 == q.model_crc32


def same_bits(link, inputs):
    with Shadow(link, timeout_s=PATIENT_S) as shadow:
        for u in inputs:
            shadow.step_int(u)
    return (shadow.steps, shadow.differing_bits, shadow.first)


@pytest.mark.parametrize(("start", "cell"), [*crossed(["host"], CELLS), *crossed(EMULATED, CELLS)], indirect=["start"])
def test_shadow_compares_every_bit(start, cell):
    q = controller(cell=cell)
    steps = 200 if start.target == "simavr-uno" else 1000  # at its 115,200 baud a step takes 10 ms and more
    with start(q) as board, linked(board, q, timeout_s=1.0) as link:
        assert same_bits(link, extreme_inputs(2, steps, seed=1)) == (steps, 0, None)


def test_formats_of_their_own_cross_the_link(start):
    """The board tells no one number for them; its CRC covers them, and the host has them in the controller's file."""
    q = controller(inputs=3, outputs=2, **UNEQUAL)
    steps = 100 if start.target == "simavr-uno" else 500
    with start(q) as board, linked(board, q, timeout_s=1.0) as link:
        assert (link.hello.in_frac_bits, link.hello.out_frac_bits) == (-128, -128)
        assert same_bits(link, extreme_inputs(3, steps, seed=1)) == (steps, 0, None)
        twin, u = nc.QuantController(q.spec, q.formats, q.theta_q), np.array([700.0, 0.007, -1.0], np.float32)
        board_in_loop = BoardInLoop(link, timeout_s=PATIENT_S)
        board_in_loop.reset()
        for k in range(20):
            row = u * np.float32(1 - 0.1 * k)
            assert np.array_equal(board_in_loop.step(row), twin.step(row))
        link.stop()
        reports = []
        with BoardDriven(link, with_state=True, timeout_s=PATIENT_S, on_report=reports.append) as running:
            running.run(0.5)
        for tick, report in enumerate(reports):
            words = np.array([boards.pattern(tick, i) for i in range(3)], np.int32)
            assert np.array_equal(report.inputs, q.formats["u"].dequantize(words).astype(np.float32))


@pytest.mark.parametrize("start", ["simavr-uno"], indirect=True)
def test_an_uno_runs_by_itself_and_takes_no_parameters(start):
    q = controller()
    with start(q) as board, linked(board, q, timeout_s=1.0) as link:
        with pytest.raises(nc.LinkError, match="the board takes none"):
            upload(link, firmware_export.param_image(q), q.model_crc32, firmware_export.shape_crc32(q))
        reports = []
        with BoardDriven(link, with_state=True, timeout_s=PATIENT_S, on_report=reports.append) as running:
            running.run(0.5)
        for tick, report in enumerate(reports):
            words = np.array([boards.pattern(tick, i) for i in range(2)], np.int32)
            assert np.array_equal(np.round(report.inputs / q.formats["u"].lsb).astype(np.int32), words)
            assert np.array_equal(q.dequantize_output(q.step_int(words)), report.outputs)
            assert q.state_bytes() == report.state
        assert len(reports) > 10


@pytest.mark.parametrize("start", ["simavr-uno"], indirect=True)
def test_a_controller_that_an_uno_has_no_room_for_is_refused(start):
    """Its buffers and its stack would meet, and it would answer nonsense or nothing."""
    with pytest.raises(nc.ExportError, match="the program takes .* bytes of RAM, of which there are 2048"):
        start(controller(100, cell="indrnn", layers=1, residual=False))
    with pytest.raises(nc.ExportError, match="^the program's variables are more than the RAM of avr holds$"):
        start(controller(100, weight_bits=8))  # the linker itself refuses


@pytest.mark.parametrize("start", ["host", "qemu-m4"], indirect=True)
def test_an_upload_and_the_modes(start):
    """Every mode, before and after other parameters came."""
    q = controller()
    theta = q.theta_q.copy()
    theta[q.layout["W"].part] //= 2
    new = nc.QuantController(q.spec, q.formats, theta)
    with start(q) as board, linked(board, q, timeout_s=1.0) as link:
        upload(link, firmware_export.param_image(new), new.model_crc32, firmware_export.shape_crc32(new))
        link.check(new)
        assert same_bits(link, extreme_inputs(2, 300, seed=2)) == (300, 0, None)
        reports = []
        with BoardDriven(link, with_state=True, timeout_s=PATIENT_S, on_report=reports.append) as running:
            running.run(0.3)
        new.reset()
        for report in reports:
            y = new.step_int(np.round(report.inputs / new.formats["u"].lsb).astype(np.int32))
            assert np.array_equal(new.dequantize_output(y), report.outputs)
            assert new.state_bytes() == report.state
        assert [report.tick for report in reports] == list(range(1, len(reports) + 1))
        u = np.full(2, np.nan, np.float32)
        with HostDriven(link, timeout_s=PATIENT_S) as plant:
            plant.read(u)
            plant.write(np.ones(1, np.float32))
            plant.read(u)
        assert np.isfinite(u).all()


def test_in_the_loop_with_losses(start):
    """A lost frame is held; the rest is what the controller does on the steps that reached the board."""
    q, twin = controller(), controller()
    with start(q) as board, linked(board, q, timeout_s=1.0) as link:
        loop = BoardInLoop(link, loss=0.05, seed=1, timeout_s=PATIENT_S, most_lost=20)
        loop.reset()
        way, draws = loop._lose, []
        loop._lose = lambda: draws.append(way()) or draws[-1]
        y = np.zeros(1, np.float32)
        for row in np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32):
            draws.clear()
            outputs = loop.step(row)
            if not draws[0]:
                stepped = twin.step(row).copy()
            y = y if any(draws) else stepped
            assert np.array_equal(outputs, y)
        assert 10 < loop.held < 60
        assert loop.fault == ""
