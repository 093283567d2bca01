"""Each fault is injected: the plant has to be safe in time, the reason named, and the log readable up to then."""

import asyncio
import ctypes
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.realtime import Log, Loop, System, read_log
from tests.realtime.pieces import FAST, SPEC, Echo, Recorder, WithSafe, fake

ROOT = Path(__file__).resolve().parents[2]
SAFE = [0.0]


def nan_at(tick):
    return lambda k, u: u.fill(math.nan) if k == tick else None


def stale_from(tick):
    return lambda k, u: False if k >= tick else None


def raising(tick, error=None):
    def callback(k, _):
        if k == tick:
            raise error or ValueError("cable")

    return callback


def check_log(path, reason, ticks):
    """The log holds all ticks before the fault and the faulty one, with the safe outputs and the reason."""
    log = read_log(path)
    assert log.complete
    assert log.report["reason"] == reason
    assert log["tick"].tolist() == list(range(ticks + 1))
    assert log.flag("fault").tolist() == [False] * ticks + [True]
    assert (log["outputs"][:-1] == 0.5).all()
    assert log["outputs"][-1].tolist() == SAFE
    return log


FAULTS = [
    ("sensor", Recorder, {"on_read": nan_at(7)}, "input 0 is nan"),
    ("stale sensor", Recorder, {"on_read": stale_from(7)}, "stale reads in a row: 1"),
    ("read", Recorder, {"on_read": raising(7)}, "read raised ValueError: cable"),
    ("write", WithSafe, {"on_write": raising(7)}, "write raised ValueError: cable"),
]


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
@pytest.mark.parametrize(("reason", "kind", "callbacks", "detail"), FAULTS, ids=[row[0] for row in FAULTS])
def test_faults_of_the_plant(reason, kind, callbacks, detail, suffix, tmp_path):
    plant = kind(**callbacks)
    path = tmp_path / f"run.{suffix}"
    report = Loop(Echo(FAST), plant, log=path, **fake()).run()
    assert (report.reason, report.ticks, report.safe, report.ok) == (reason, 7, True, False)
    assert report.detail == f"tick 7: {detail}"
    if kind is WithSafe:
        assert plant.events[-1] == "safe"
    else:
        assert [y.tolist() for y in plant.written] == [[0.5]] * 7 + [SAFE] * (len(plant.written) - 7)
        assert plant.written[-1].tolist() == SAFE
    check_log(path, reason, 7)


def broken(change):
    """A controller that goes wrong in its eighth step."""
    ctl = Echo(FAST)
    step = ctl.step

    def bad_step(u):
        y = step(u)
        return change(ctl, y) if len(ctl.seen) == 8 else y

    ctl.step = bad_step
    return ctl


def setting_fault(ctl, y):
    ctl.fault = True
    return y


BROKEN = [
    (lambda ctl, y: np.full_like(y, math.inf), "output 0 is inf"),
    (setting_fault, "it reports a fault"),
    (lambda ctl, y: [0.5], "step returned list; allowed: float32 of shape (1,)"),
    (lambda ctl, y: np.zeros(3, np.float32), "step returned float32 of shape (3,); allowed: float32 of shape (1,)"),
    (
        lambda ctl, y: np.broadcast_to(y, y.shape),
        "step returned float32 of shape (1,), read-only; allowed: float32 of shape (1,)",
    ),
    (lambda ctl, y: 1 / 0, "step raised ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("change", "detail"), BROKEN, ids=[row[1] for row in BROKEN])
def test_faults_of_the_controller(change, detail, tmp_path):
    plant = Recorder()
    report = Loop(broken(change), plant, log=tmp_path / "run.npz", **fake()).run()
    assert (report.reason, report.detail) == ("controller", f"tick 7: {detail}")
    assert [y.tolist() for y in plant.written[:8]] == [[0.5]] * 7 + [SAFE]
    check_log(tmp_path / "run.npz", "controller", 7)


def test_a_strided_output_is_named():
    ctl = Echo(SPEC)
    ctl.step = lambda u: np.zeros((2, 2), np.float32)[:, 0]
    report = Loop(ctl, Recorder(), **fake()).run()
    shape = "float32 of shape (2,)"
    assert (report.reason, report.detail) == ("controller", f"tick 0: step returned {shape}, strided; allowed: {shape}")


class Raising(Echo):
    """A controller of which a part raises."""

    def __init__(self, part):
        super().__init__(FAST)
        setattr(self, part, self.fail)

    def fail(self, *_):
        raise ValueError("chip")


class RaisingFault:
    """A controller that cannot say whether it has a fault."""

    spec, fault = FAST, property(Raising.fail)

    def reset(self):
        pass

    def step(self, u):
        return np.zeros(1, np.float32)


@pytest.mark.parametrize("part", ["reset", "warm_up", "fault"])
def test_whatever_of_the_controller_raises_is_its_fault(part):
    plant = WithSafe()
    report = Loop(RaisingFault() if part == "fault" else Raising(part), plant).run(ticks=50)
    assert (report.reason, report.safe, plant.events[-1]) == ("controller", True, "safe")
    assert report.detail.endswith(f"{part} raised ValueError: chip")


def test_a_nan_is_seen_although_integers_know_none():
    limits = ((-1.0, 1.0),) * 2
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.001, input_limits=limits)
    report = Loop(nc.Controller(spec).quantize(), Recorder(nan_at(3)), **fake()).run()
    assert (report.reason, report.ticks) == ("sensor", 3)


def test_what_write_does_to_its_argument_does_not_reach_the_next_safe_output():
    def on_write(_, y):
        y *= 2

    plant = Recorder(nan_at(0), on_write)
    Loop(Echo(FAST), plant, safe_output=[0.25], **fake()).run()
    assert [y.tolist() for y in plant.written] == [[0.25]] * len(plant.written)


def test_stale_is_also_what_numpy_calls_false():
    report = Loop(Echo(FAST), Recorder(lambda k, u: np.float32(k) < 7), **fake()).run()
    assert (report.reason, report.ticks) == ("stale sensor", 7)


def test_stale_reads_are_borne_up_to_the_limit():
    plant = Recorder(lambda k, u: False if k % 4 else None)
    report = Loop(Echo(FAST), plant, stale_limit=3, **fake()).run(ticks=20)
    assert (report.reason, report.stale) == ("finished", 15)
    plant = Recorder(stale_from(5))
    report = Loop(Echo(FAST), plant, stale_limit=3, **fake()).run(ticks=20)
    assert (report.reason, report.ticks) == ("stale sensor", 8)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_error_is_raised_after_the_plant_is_safe(error):
    plant = WithSafe(raising(3, error))
    loop = Loop(Echo(FAST), plant, **fake())
    with pytest.raises(type(error)):
        loop.run()
    assert plant.events[-1] == "safe"
    assert loop.report.reason == type(error).__name__


# In the machine's own time.

TIMEOUT_S = 0.15
SLACK_S = 0.5  # what a busy machine may add


class Hang:
    """Waits until it is released, and knows since when."""

    def __init__(self):
        self.release, self.since = threading.Event(), None

    def __call__(self):
        self.since = time.monotonic()
        return self.release.wait(20)

    def at(self, tick=5):
        return lambda k, _: self() if k == tick else None


@pytest.mark.parametrize("where", ["read", "write", "step"])
def test_the_watchdog_acts_while_a_callback_hangs(where, tmp_path):
    hang, went_safe = Hang(), threading.Event()
    plant = WithSafe(**({f"on_{where}": hang.at()} if where != "step" else {}))
    plant.safe = went_safe.set
    ctl = broken(lambda ctl, y: hang() and y) if where == "step" else Echo(FAST)
    loop = Loop(ctl, plant, watchdog_s=TIMEOUT_S, log=tmp_path / "run.mcap")
    loop.start()
    assert went_safe.wait(20)  # a busy machine may take long to set a loop up
    assert time.monotonic() - hang.since < TIMEOUT_S + 0.001 + SLACK_S
    deadline = time.monotonic() + 10
    while loop.report is None and time.monotonic() < deadline:
        time.sleep(0.01)
    # The callback still hangs, but report and log are there.
    assert loop.reason == "watchdog"
    assert "no tick ended for 0." in loop.report.detail
    log = read_log(tmp_path / "run.mcap")
    assert (log.complete, log.report["reason"]) == (True, "watchdog")
    assert log["tick"].tolist() == list(range(loop.report.ticks))
    written = len(plant.written)
    hang.release.set()
    assert loop.join(10).reason == "watchdog"
    assert len(plant.written) == written  # what came back late was not let through


def test_without_a_hang_the_watchdog_is_quiet():
    report = Loop(Echo(FAST), Recorder(), watchdog_s=1.0).run(seconds=0.5)
    assert report.reason == "finished"


def test_a_thread_that_is_killed_leaves_the_plant_safe():
    plant = WithSafe()
    loop = Loop(Echo(FAST), plant)
    loop.start()
    while not plant.written:
        time.sleep(0.001)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(loop._thread.ident), ctypes.py_object(SystemExit))
    report = loop.join(10)
    assert report.reason == "SystemExit"
    assert plant.events[-1] == "safe"


def test_a_loop_ends_with_the_thread_that_started_it():
    plant = WithSafe()
    loop = Loop(Echo(FAST), plant)
    starter = threading.Thread(target=loop.start)
    starter.start()
    starter.join()
    report = loop.join(10)
    assert report.reason == "host ended"
    assert plant.events[-1] == "safe"
    assert any("signals: not handled" in message for message in report.messages)


def test_hosts_agree():
    async def beside():
        counted = []

        async def other():
            while True:
                counted.append(1)
                await asyncio.sleep(0.005)

        task = asyncio.create_task(other())
        report = await Loop(Echo(FAST), Recorder()).run_async(seconds=0.2)
        task.cancel()
        return report, len(counted)

    report, counted = asyncio.run(beside())
    assert report.reason == "finished" and counted > 5
    assert report.ticks + report.skipped == 200
    loop = Loop(Echo(FAST), Recorder())
    loop.start(seconds=0.2)
    with pytest.raises(nc.NeuroctlError, match="running already"):
        loop.run()
    report = loop.join()
    assert report.reason == "finished"
    assert report.ticks + report.skipped == 200


def test_a_cancelled_task_leaves_the_plant_safe():
    plant = WithSafe()
    loop = Loop(Echo(FAST), plant)

    async def cancel():
        task = asyncio.create_task(loop.run_async())
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert loop.report.reason == "CancelledError"
    assert plant.events[-1] == "safe"


# Processes that are hit from outside.


def process(*arguments):
    command = [sys.executable, "-m", "tests.realtime.process", *map(str, arguments)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ticking\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("host", ["run", "start", "async"])
def test_signals_at_any_moment(number, host, tmp_path):
    draws = random.Random(f"{number}{host}")
    for turn in range(2):
        path = tmp_path / f"run-{turn}.mcap"
        child = process(host, path)
        time.sleep(draws.uniform(0.0, 0.3))
        child.send_signal(number)
        shown = child.communicate(timeout=20)[0].split("\n")
        assert shown[0] == f"{number.name} safe True restored True", shown
        log = read_log(path)
        assert (log.complete, log.report["reason"]) == (True, number.name)
        assert len(log) == log.report["ticks"]


def test_a_second_signal_leaves_a_callback_that_hangs(tmp_path):
    child = process("hang", tmp_path / "run.mcap")
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=20)[0].startswith("SIGINT safe True")


def test_a_process_that_was_stopped_goes_on_and_says_so(tmp_path):
    child = process("run", tmp_path / "run.mcap")
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    child.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    assert child.communicate(timeout=20)[0].startswith("SIGTERM safe True")  # and not: watchdog
    report = read_log(tmp_path / "run.mcap").report
    assert report["overruns"] >= 1
    assert report["skipped"] >= 500


def test_a_process_that_was_stopped_ends_where_the_policy_says_so(tmp_path):
    child = process("strict", tmp_path / "run.mcap")
    child.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    child.send_signal(signal.SIGCONT)
    assert child.communicate(timeout=20)[0].startswith("overrun limit safe True")
    report = read_log(tmp_path / "run.mcap").report
    assert "deadlines missed in a row" in report["detail"]


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_a_process_that_is_killed_leaves_a_readable_log(suffix, tmp_path):
    child = process("run", tmp_path / f"run.{suffix}")
    time.sleep(2.0)
    child.kill()
    child.communicate(timeout=20)
    log = read_log(tmp_path / ("run.mcap" if suffix == "mcap" else "run.npz.part"))
    assert (log.complete, log.report) == (False, None)
    assert len(log) > 300
    assert (np.diff(log["tick"]) == 1).all()


def test_a_loop_ends_with_its_program(tmp_path):
    child = process("orphan", tmp_path / "run.mcap")
    child.communicate(timeout=20)
    assert read_log(tmp_path / "run.mcap").report["reason"] == "host ended"


# What the system refuses.


def test_what_is_not_permitted_is_said():
    code = (
        "import os, resource\n"
        "from tests.realtime.pieces import FAST, Echo, Recorder\n"
        "from neuroctl.realtime import Loop, System\n"
        "loop = Loop(Echo(FAST), Recorder(), system=System(fifo=10, mlock=True))\n"
        "loop.run(ticks=1)\n"  # imports what it needs while it may
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); os.setgid(65534); os.setuid(65534)\n"
        "print(loop.run(ticks=5).text())"
    )
    if os.getuid() != 0:
        pytest.skip("not root: a process without rights could NOT be made")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "note: fifo: the thread does not run under SCHED_FIFO: Operation not permitted" in done.stdout, done.stderr
    assert "note: mlock: memory is not locked" in done.stdout


def test_the_system_is_left_as_it_was(thawed):
    import gc

    def state():
        return (
            gc.isenabled(), gc.get_freeze_count(), sys.getswitchinterval(), os.sched_getaffinity(0),
            os.sched_getscheduler(0), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM),
        )  # fmt: skip

    before, states = state(), []
    plant = Recorder(lambda k, u: states.append(state()) if k == 0 else None)
    Loop(Echo(FAST), plant, system=System(cpu=0)).run(ticks=3)
    assert state() == before
    assert states[0][0] is False and states[0][1] > 0
    assert states[0][2] < before[2] and states[0][3] == {0}
    assert states[0][5] != before[5]


def test_bad_requests_of_the_system_are_named():
    with pytest.raises(nc.NeuroctlError, match="fifo: 100; allowed"):
        System(fifo=100)
    with pytest.raises(nc.NeuroctlError, match="cpu: -1; allowed"):
        System(cpu=-1)


def test_a_log_can_be_kept_by_a_log_object(tmp_path):
    log = Log(tmp_path / "a.mcap", tmp_path / "a.npz")
    report = Loop(Echo(FAST), Recorder(), log=log, **fake()).run(ticks=100)
    assert (report.log.written, report.log.lost) == (100, 0)
