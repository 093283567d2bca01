"""What a loop says of the plant's safe state: one verdict, and never "safe" where that is not known."""

import asyncio
import threading
import time

import pytest

from neuroctl.realtime import Loop
from tests.realtime.pieces import FAST, Echo, Recorder, fake

TIMEOUT_S = 0.3


def broken(text):
    def call(*_):
        raise OSError(text)

    return call


def run(loop, host):
    return loop.run(ticks=5) if host == "run" else asyncio.run(loop.run_async(ticks=5))


def test_a_safe_that_raises_is_replaced_by_the_safe_output():
    plant = Recorder()
    plant.safe = broken("relay")
    report = Loop(Echo(FAST), plant, **fake()).run(ticks=2)
    assert (report.reason, report.safe) == ("finished", True)
    assert plant.written[-1].tolist() == [0.0]
    assert report.messages == ("safe raised OSError: relay", "the safe output was written instead")


@pytest.mark.parametrize("host", ["run", "async"])
@pytest.mark.parametrize("has_safe", [False, True])
def test_a_plant_that_cannot_be_made_safe_is_reported(has_safe, host):
    # From the first write on: a busy machine may skip so many ticks that no third one comes.
    plant = Recorder(on_write=lambda k, y: broken("bus")())
    if has_safe:
        plant.safe = broken("relay")
    report = run(Loop(Echo(FAST), plant), host)
    assert (report.reason, report.safe, report.ok) == ("write", False, False)
    failed = "write of the safe output raised OSError: bus"
    assert report.messages == (*["safe raised OSError: relay"] * has_safe, failed)
    assert "; the plant is NOT known to be safe\n" in report.text()


@pytest.mark.parametrize("host", ["run", "async"])
def test_a_safe_that_does_not_know_is_not_reported_as_safe(host):
    class Unsure(Recorder):
        def safe(self):
            self.events.append("safe")
            return False

    plant = Unsure()
    report = run(Loop(Echo(FAST), plant), host)
    assert (report.reason, report.safe, report.ok) == ("finished", False, False)
    assert plant.events[-2:] == ["safe", "write"]
    assert plant.written[-1].tolist() == [0.0]
    assert report.messages == ("safe returned False: the plant is not known to be safe",)


@pytest.mark.parametrize("works", [1, 2])
def test_the_last_attempt_counts(works):
    """The first is the watchdog's; then the write that hung returns, which may have moved the motors."""
    hangs, attempts = threading.Event(), []
    plant = Recorder(on_write=lambda k, y: hangs.wait(20) if k == 3 else k > 3 and broken("bus")())

    def safe():
        attempts.append(len(plant.written))
        if len(attempts) != works:
            raise OSError("relay")

    plant.safe = safe
    loop = Loop(Echo(FAST), plant, watchdog_s=TIMEOUT_S)
    loop.start()
    deadline = time.monotonic() + 20
    while loop.report is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loop.report.safe is (works == 1)
    hangs.set()
    report = loop.join(10)
    assert (report.reason, report.safe, len(attempts)) == ("watchdog", works == 2, 2)
    assert report.messages == ("safe raised OSError: relay", "write of the safe output raised OSError: bus")
    assert f"; the plant is {'safe' if works == 2 else 'NOT known to be safe'}\n" in report.text()
