"""Signals that would end the process end the loop, and what the program may do after that."""

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neuroctl.errors import LoopError
from neuroctl.realtime import Loop, clear_signal, signals
from tests.realtime.pieces import FAST, Echo, Recorder, WithSafe, fake

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGALRM", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGPROF", "SIGXCPU",
    "SIGIO", "SIGPWR", "SIGSTKFLT", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX",
)  # fmt: skip


def sending(*names, tick=3):
    """Return a plant during whose writes the process gets signals, one a tick."""
    numbers = dict(enumerate(map(signals.number_of, names), tick))
    return WithSafe(on_write=lambda k, y: os.kill(os.getpid(), numbers[k]) if k in numbers else None)


def patient(plant, **options):
    """Return a loop whose watchdog bears a busy machine."""
    return Loop(Echo(FAST), plant, watchdog_s=10.0, **options)


def handlers():
    return [signal.getsignal(number) for number in sorted(signal.valid_signals())]


@pytest.mark.parametrize("name", NAMES)
def test_each_signal_that_ends_a_process_ends_the_loop(name):
    before, plant = handlers(), sending(name)
    report = patient(plant).run()
    assert (report.reason, report.safe, report.ok) == (name, True, True)
    assert report.signal == signals.number_of(name)
    assert plant.events[-1] == "safe"
    assert handlers() == before


@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1"])
def test_a_process_that_such_a_signal_hits_is_safe_first(name, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from neuroctl.realtime import Loop\n"
        "from tests.realtime.pieces import FAST, Echo, Recorder\n"
        "def write(y): print('ticking', flush=True) if y[0] else None\n"
        "def safe(): print('safe', flush=True)\n"
        "print(Loop(Echo(FAST), read=Recorder().read, write=write, safe=safe).run().reason)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ticking\n"
    child.send_signal(getattr(signal, name))
    shown = child.communicate(timeout=20)[0].split()
    assert shown[-2:] == ["safe", name]
    assert child.returncode == 0


def test_a_handler_of_the_users_own_is_left_alone():
    numbers = []
    before = signal.signal(signal.SIGUSR1, lambda *_: numbers.append(1))
    try:
        report = patient(sending("SIGUSR1", "SIGUSR1")).run(ticks=30)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (report.reason, numbers) == ("finished", [1, 1])


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert patient(sending("SIGHUP")).run(ticks=30).reason == "finished"
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells who handles a signal in C")
def test_a_handler_in_c_is_left_alone(tmp_path):
    with open(tmp_path / "trace.txt", "w+") as file:
        faulthandler.register(signal.SIGUSR2, file)
        try:
            report = patient(sending("SIGUSR2")).run(ticks=30)
            os.kill(os.getpid(), signal.SIGUSR2)  # after the loop, too
        finally:
            faulthandler.unregister(signal.SIGUSR2)
    assert report.reason == "finished"
    assert (tmp_path / "trace.txt").read_text().count("Current thread") == 2


@pytest.mark.parametrize("names", [("SIGTERM", "SIGHUP"), ("SIGHUP", "SIGHUP"), ("SIGINT", "SIGUSR1")])
def test_only_a_second_ctrl_c_or_sigterm_breaks_into_a_stop_ramp(names):
    plant = sending(*names)
    report = patient(plant, stop_ramp_s=0.05).run()
    assert (report.reason, report.safe) == (names[0], True)
    assert report.ticks + report.skipped >= 50


# After a signal.


@pytest.mark.parametrize("host", ["run", "start", "async"])
def test_after_a_signal_no_loop_runs_until_the_program_says_so(host):
    first = patient(sending("SIGINT"))
    if host == "async":
        assert asyncio.run(first.run_async()).reason == "SIGINT"
    elif host == "start":
        first.start()
        while first.report is None:
            time.sleep(0.01)
        assert first.join().reason == "SIGINT"
    else:
        assert first.run().reason == "SIGINT"
    plant = WithSafe()
    second = patient(plant)
    text = r"run: SIGINT has ended the loops of this program; allowed: after neuroctl.realtime.clear_signal\(\)"
    for loop in (first, second):
        for run in (loop.run, loop.start, lambda **options: asyncio.run(second.run_async(**options))):
            with pytest.raises(LoopError, match=text):
                run(ticks=3)
    assert (plant.reads, plant.events) == (0, [])
    assert clear_signal() == "SIGINT"
    assert clear_signal() is None
    assert second.run(ticks=3).ok


def test_a_signal_in_the_last_moment_counts_too():
    """The run has finished, but its end is still going on: the signal is not lost."""
    plant = WithSafe()
    plant.safe = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert patient(plant).run(ticks=3).reason == "finished"
    with pytest.raises(LoopError, match="run: SIGTERM has ended"):
        Loop(Echo(FAST), Recorder()).run(ticks=3)


def test_a_script_of_many_episodes_ends_with_the_first_ctrl_c():
    code = (
        "import os, signal\n"
        "from neuroctl.realtime import Loop\n"
        "from tests.realtime.pieces import FAST, Echo, WithSafe\n"
        "for episode in range(100):\n"
        "    def on_write(tick, y): tick == 5 and os.kill(os.getpid(), signal.SIGINT)\n"
        "    report = Loop(Echo(FAST), WithSafe(on_write=on_write)).run(seconds=1.0)\n"
        "    print(episode, report.reason, report.safe, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 SIGINT True\n"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("neuroctl.errors.LoopError: run: SIGINT has ended the loops")


def test_a_run_that_ends_by_itself_needs_no_word():
    loop = Loop(Echo(), Recorder(), **fake())
    assert [loop.run(ticks=2).reason for _ in range(3)] == ["finished"] * 3
