"""Two loops that run at once share no controller, plant or board; one after the other they may."""

import asyncio
import os
import types

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import LinkError, LoopError
from neuroctl.link import BoardDriven, BoardInLoop, HostDriven
from neuroctl.realtime import Loop
from neuroctl.realtime.claims import Claim
from tests.link.helpers import controller, linked
from tests.link.plain_board import PlainBoard, served
from tests.realtime.pieces import FAST, Echo, Recorder, WithSafe


def refused_beside(running, other, text):
    """Start one loop, see that the other is refused while it runs, and not after that; return the refused one."""
    running.start()
    try:
        with pytest.raises(LoopError, match=f"^{text}$"):
            other.run(ticks=1)
        with pytest.raises(LoopError, match=f"^{text}$"):
            asyncio.run(other.run_async(ticks=1))
    finally:
        running.stop()
        running.join()
    assert other.run(ticks=2).reason == "finished"


def test_a_controller_steps_in_one_loop_at_a_time():
    ctl, other = nc.Controller(FAST), WithSafe()
    text = "controller: the running loop 'left' is using it; allowed: a controller of its own for each loop"
    refused_beside(Loop(ctl, WithSafe(), name="left"), Loop(ctl, other), text)
    assert len(other.written) == 2  # none while the other ran


def test_a_plant_is_driven_by_one_loop_at_a_time():
    plant = Recorder()
    text = "plant: the running loop 'loop' is using it; allowed: a plant of its own for each loop"
    for parts in ({"plant": plant}, {"read": Recorder().read, "write": plant.write}):
        refused_beside(Loop(Echo(FAST), plant), Loop(Echo(FAST), **parts), text)
    plain = types.SimpleNamespace(read=lambda u: u.fill(0.25), write=lambda y: None)
    refused_beside(Loop(Echo(FAST), plain), Loop(Echo(FAST), plain), text)


def test_what_is_not_shared_runs_beside():
    class Hub(Recorder):
        """Two arms of one object."""

        def write_right(self, y):
            pass

    hub, link, ctl = Hub(), 3, nc.Controller(FAST)
    hub.link = link  # a number of PyBullet's
    other = WithSafe()
    other.link = link
    left = Loop(ctl, hub)
    left.start(seconds=30.0)
    assert Loop(Echo(FAST), read=hub.read, write=hub.write_right).run(ticks=2).ok
    assert Loop(nc.Controller(FAST, ctl.theta), other).run(ticks=2).ok
    left.stop()
    assert left.join(10).reason == "stopped"


def test_a_board_is_driven_by_one_loop_at_a_time():
    q = controller()
    with served(PlainBoard(q)) as host, linked(host, q) as link, HostDriven(link) as plant:
        text = f"board: the running loop 'loop' is using {link.port}; allowed: a board of its own for each loop"
        first = Loop(q, plant, stale_limit=4, watchdog_s=10.0)
        for second in (
            Loop(nc.QuantController(q.spec, q.formats, q.theta_q), HostDriven(link)),
            Loop(BoardInLoop(link), Recorder()),
        ):
            first.start()
            with pytest.raises(LoopError, match=text):
                second.run(ticks=1)
            first.stop()
            assert first.join(10).reason == "stopped"


def test_a_loop_leaves_a_board_alone_that_a_mode_runs_outside_it():
    q = controller()
    with served(PlainBoard(q)) as host, linked(host, q) as link, BoardDriven(link) as board:
        sent = link.stats.sent
        with pytest.raises(LoopError, match=f"^board: BoardDriven is using {link.port}; allowed: one mode at a time"):
            Loop(q, HostDriven(link)).run(ticks=1)
        assert (link.stats.sent, link.user) == (sent, board)
        board.safe()
        assert Loop(q, HostDriven(link), stale_limit=4, watchdog_s=10.0).run(ticks=1).reason == "finished"


def test_what_a_refused_or_failed_run_took_is_free_again(tmp_path):
    ctl, plant = nc.Controller(FAST), Recorder()
    blocked = Loop(ctl, plant, log=tmp_path / "no such folder" / "run.npz")
    with pytest.raises(LoopError):
        blocked.run(ticks=1)
    running = Loop(Echo(FAST), plant)
    running.start(seconds=30.0)
    with pytest.raises(LoopError, match="plant"):
        Loop(ctl, plant).run(ticks=1)
    assert Loop(ctl, Recorder()).run(ticks=1).ok  # the refused loop let go of its controller
    running.stop()
    running.join()


def test_a_forked_process_is_not_held_up_by_its_parents_loops(monkeypatch):
    parts = [((id(FAST), ""), "controller", "it")]
    parents = Claim("parent's", parts)
    with pytest.raises(LoopError, match='the running loop "parent\'s" is using it'):
        Claim("second", parts)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    Claim("child's", parts).release()
    monkeypatch.undo()
    parents.release()
    Claim("second", parts).release()


# A float controller's parameters, compared in the board's formats.


@pytest.mark.parametrize("cell", ["ctrnn", "jordan"])
def test_a_board_of_another_float_controller_is_refused(cell):
    q = controller(cell)
    ours, other = nc.Controller(q.spec, seed=3), nc.Controller(q.spec, seed=4)
    with served(PlainBoard(q)) as host, linked(host, q) as link:
        before = link.stats.sent
        plant = HostDriven(link)
        with pytest.raises(
            LoopError, match=f"^plant: another model: .* {q.model_crc32:08x}, .*; allowed: .*any_model=True"
        ):
            Loop(other, plant)
        assert link.stats.sent == before
        for ctl, driven in ((ours, plant), (other, HostDriven(link, any_model=True))):
            assert Loop(ctl, driven, stale_limit=4, watchdog_s=10.0).run(ticks=3).reason == "finished"
        assert Loop(nc.Controller(q.spec, seed=4).quantize(), HostDriven(link, any_model=np.True_))


def test_swapped_arms_are_named_both_ways():
    """Larger weights than the board's do not fit its formats; smaller ones do."""
    q = controller()
    theta = nc.Controller(q.spec, seed=4).theta
    small, large = nc.Controller(q.spec, theta * 0.25), nc.Controller(q.spec, theta * 4.0)
    for ours, other in ((small, large), (large, small)):
        runs, quantized = ours.quantize(), other.quantize()
        with served(PlainBoard(runs)) as host, linked(host, runs) as link:
            for ctl in (other, quantized):
                with pytest.raises(LoopError) as refused:
                    Loop(ctl, HostDriven(link))
                text = f"plant: another model: the board runs {runs.model_crc32:08x}, the controller is "
                assert str(refused.value).startswith(text)
                assert str(refused.value).endswith("runs, or HostDriven(link, any_model=True)")
            assert f" {quantized.model_crc32:08x};" in str(refused.value)


def test_any_model_is_a_flag():
    q = controller()
    with served(PlainBoard(q)) as host, linked(host, q) as link:
        with pytest.raises(LinkError, match="any_model: 1; allowed: True, False"):
            HostDriven(link, any_model=1)
