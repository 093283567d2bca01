"""Loops beside each other, forks, and ends by force: signals and the system are as before when the last one ends."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import neuroctl as nc
from neuroctl.realtime import Loop, System
from tests.realtime.pieces import FAST, Echo, Recorder, WithSafe
from tests.realtime.test_faults import process

pytestmark = pytest.mark.usefixtures("thawed")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def state():
    return (
        *(signal.getsignal(number) for number in SIGNALS), sys.getswitchinterval(), gc.isenabled(),
        gc.get_freeze_count(), os.sched_getaffinity(0), os.sched_getscheduler(0),
    )  # fmt: skip


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_reaches_the_loop_that_still_runs(number):
    before = state()
    first, last = Loop(Echo(FAST), WithSafe()), WithSafe()
    second = Loop(Echo(FAST), last)
    first.start(seconds=0.1)
    second.start(seconds=30.0)
    first.join()
    os.kill(os.getpid(), number)
    assert second.join(10).reason == number.name
    assert last.events[-1] == "safe"
    assert state() == before


def test_a_signal_ends_all_loops():
    loops = [Loop(Echo(FAST), WithSafe()) for _ in range(3)]
    for loop in loops:
        loop.start(seconds=30.0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert [loop.join(10).reason for loop in loops] == ["SIGTERM"] * 3


def test_tasks_that_share_a_thread_leave_it_as_it_was():
    before = state()

    async def both():
        first = Loop(Echo(FAST), Recorder(), system=System(cpu=0))
        second = Loop(Echo(FAST), Recorder(), system=System(cpu=0, no_gc=False))
        return await asyncio.gather(first.run_async(seconds=0.05), second.run_async(seconds=0.15))

    assert [report.reason for report in asyncio.run(both())] == ["finished"] * 2
    assert state() == before


def test_a_handler_that_was_set_meanwhile_stays():
    loop, before = Loop(Echo(FAST), Recorder()), signal.getsignal(signal.SIGTERM)
    loop.start(seconds=0.1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)


def test_a_forked_process_ends_as_processes_do():
    loop = Loop(Echo(FAST), Recorder())
    loop.start(seconds=30.0)
    for _ in range(20):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
        child.start()
        child.terminate()
        child.join(10)
        assert child.exitcode == -signal.SIGTERM
    loop.stop()
    assert loop.join(10).reason == "stopped"


def test_one_of_several_threads_may_run_a_loop():
    loop, errors, reports = Loop(Echo(FAST), Recorder()), [], []
    ready = threading.Barrier(4)

    def run():
        ready.wait()
        try:
            reports.append(loop.run(ticks=100))
        except nc.NeuroctlError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 1
    assert errors == ["loop: it is running already; allowed: one run at a time"] * 3


def test_a_signal_after_the_watchdog_leaves_a_callback_that_hangs(tmp_path):
    child = process("hang-watched", tmp_path / "run.mcap")
    time.sleep(0.8)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=10)[0].startswith("watchdog safe True")


def test_a_safe_that_hangs_is_left_by_a_second_signal(tmp_path):
    child = process("hang-safe", tmp_path / "run.mcap")
    shown = ""
    while not shown:  # a second one counts after the watchdog's time; later ones, while it ends, do no harm
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            shown = child.communicate(timeout=0.5)[0]
    assert shown.startswith("SIGINT safe False")  # the safe output was written instead


def test_a_signal_in_the_ramp_keeps_its_name():
    plant = WithSafe(on_write=lambda k, y: os.kill(os.getpid(), signal.SIGINT) if k in (5, 10) else None)
    loop = Loop(Echo(FAST), plant, stop_ramp_s=10.0)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert loop.report.reason == "SIGINT"
    assert plant.events[-1] == "safe"
