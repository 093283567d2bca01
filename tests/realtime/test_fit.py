"""What a loop refuses before anything moves: plants of another controller, callbacks that do nothing, arguments."""

import array
import asyncio
import dataclasses
import functools
import math
import time
import warnings

import numpy as np
import pytest

import neuroctl as nc
import sims
from neuroctl.errors import LoopError
from neuroctl.link import HostDriven
from neuroctl.realtime import Log, Loop, System
from tests.link.helpers import controller, linked
from tests.link.plain_board import PlainBoard, served
from tests.realtime.pieces import FAST, Echo, FakeClock, Recorder, WithSafe, fake


class Made(Recorder):
    """A plant that says what it was made for."""

    inputs, outputs, dt_s = 2, 2, 0.01

    def __init__(self, **made):
        super().__init__()
        del self.inputs
        self.__dict__.update(made)

    def read(self, u):
        u.fill(0.25)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"inputs": 1}, "plant: inputs: 1; allowed: 2, the controller's"),
        ({"outputs": np.int64(6)}, "plant: outputs: 6; allowed: 2, the controller's"),
        ({"dt_s": 0.05}, "plant: dt_s: 0.05; allowed: 0.01, the controller's, or any_rate=True"),
        ({"spec": nc.Spec(cell="ctrnn", inputs=2, neurons=9, outputs=2, dt_s=0.01)}, "plant: neurons: 9; allowed: 4"),
    ],
)
def test_a_plant_made_for_another_controller_is_refused(made, text):
    plant = Made(**made)
    for parts in ({"plant": plant}, {"read": plant.read, "write": plant.write}):
        with pytest.raises(LoopError, match=text):
            Loop(Echo(), **parts)
    assert plant.reads == 0 and plant.written == []
    Loop(Echo(), Made(), **fake()).run(ticks=1)
    Loop(Echo(), Made(dt_s=0.05), any_rate=True, rate_hz=20, **fake()).run(ticks=1)


def test_a_task_of_another_time_step_is_refused():
    plant = sims.SimPlant("double-pole")
    with pytest.raises(LoopError, match="plant: dt_s: 0.0166667; allowed: 0.001"):
        Loop(Echo(nc.Spec(cell="ctrnn", inputs=3, neurons=4, outputs=1, dt_s=0.001)), plant)
    with pytest.raises(LoopError, match="plant: inputs: 3"):
        Loop(Echo(nc.Spec(cell="ctrnn", inputs=4, neurons=4, outputs=1, dt_s=1 / 60)), plant)
    plant.close()


def test_a_board_of_one_output_is_not_driven_by_a_controller_of_eight():
    q = controller()
    many = Echo(nc.Spec(cell="ctrnn", inputs=q.spec.inputs, neurons=8, outputs=8, dt_s=q.spec.dt_s))
    with served(PlainBoard(q)) as host, linked(host, q) as link:
        plant = HostDriven(link)
        before = link.stats.sent
        with pytest.raises(LoopError, match="plant: outputs: 1; allowed: 8, the controller's"):
            Loop(many, plant)
        with pytest.raises(LoopError, match="plant: outputs: 1; allowed: 8, the controller's"):
            Loop(many, read=plant.read, write=plant.write)
        with pytest.raises(LoopError, match="plant: neurons: 6; allowed: 5, the controller's"):
            Loop(nc.Controller(dataclasses.replace(q.spec, neurons=5)), plant)
        other = nc.Controller(q.spec, seed=99).quantize()
        named = f"plant: another model: the board runs {q.model_crc32:08x}, the controller is {other.model_crc32:08x}; "
        with pytest.raises(LoopError, match=named):
            Loop(other, plant)
        assert link.stats.sent == before


# Arming.


def test_a_plant_is_armed_after_all_else_is_set_up():
    clock, times = FakeClock(), {}

    class Slow(Echo):
        def reset(self):
            clock.pass_s(3.0)

    plant = Recorder(lambda tick, u: bool(times.setdefault("read", clock.t)))
    plant.arm = lambda: times.setdefault("arm", clock.t)
    report = Loop(Slow(), plant, clock=clock, spin_s=0.0).run(ticks=3)
    assert report.ok
    assert times["read"] - times["arm"] == 10_000_000  # one period
    assert clock.t - times["arm"] < 100_000_000


def test_a_board_does_not_latch_while_the_loop_is_set_up(monkeypatch):
    q = controller()
    with served(PlainBoard(q)) as host, linked(host, q) as link, HostDriven(link, timeout_s=0.6) as plant:
        loop = Loop(q, plant, stale_limit=4, watchdog_s=10.0)  # a busy machine answers late
        q_reset = q.reset
        monkeypatch.setattr(q, "reset", lambda: (q_reset(), time.sleep(1.2)))
        report = loop.run(ticks=5)
    assert (report.reason, report.ticks + report.skipped) == ("finished", 5), report.detail


@pytest.mark.parametrize("host", ["run", "async"])
def test_where_arming_fails_nothing_is_written_but_the_safe_state(host):
    plant = WithSafe()

    def arm():
        raise OSError("no such board")

    plant.arm = arm
    loop = Loop(Echo(FAST), plant)
    report = loop.run() if host == "run" else asyncio.run(loop.run_async())
    assert (report.reason, report.detail, report.safe) == ("arm", "arm raised OSError: no such board", True)
    assert (plant.reads, plant.events) == (0, ["safe"])


# Coroutine functions, and what read returns.


class Awaited(WithSafe):
    """A plant of coroutine functions."""

    def __init__(self, **options):
        super().__init__(**options)
        self.armed = 0

    async def arm(self):
        await asyncio.sleep(0)
        self.armed += 1

    async def read(self, u):
        await asyncio.sleep(0)
        return super().read(u)

    async def write(self, y):
        await asyncio.sleep(0)
        super().write(y)

    async def safe(self):
        await asyncio.sleep(0.02)
        super().safe()


class Called:
    """An object whose call is a coroutine function."""

    async def __call__(self, *_):
        pass


async def nothing(*_):
    pass


def yielding(_):
    yield


@pytest.mark.parametrize("name", ["read", "write", "safe", "arm"])
@pytest.mark.parametrize("callback", [nothing, functools.partial(nothing), Called()], ids=["def", "partial", "object"])
def test_coroutine_functions_are_refused_where_nobody_awaits_them(name, callback):
    plant = WithSafe()
    parts = {"read": plant.read, "write": plant.write, "safe": plant.safe} | {name: callback}
    loop = Loop(Echo(FAST), **parts)
    for run in (loop.run, loop.start):
        with pytest.raises(LoopError, match=f"{name}: a coroutine function; allowed: a plain function, or await run_a"):
            run(ticks=1)
    assert plant.reads == 0 and plant.written == []
    with pytest.raises(LoopError, match=f"{name}: a generator function"):
        Loop(Echo(FAST), **parts | {name: yielding})


@pytest.mark.parametrize("part", ["step", "reset", "warm_up"])
def test_a_controller_of_coroutine_functions_is_refused(part):
    ctl = Echo()
    setattr(ctl, part, nothing)
    with pytest.raises(LoopError, match=f"controller: {part} is a coroutine function; allowed: a plain function"):
        Loop(ctl, Recorder())


def test_what_returns_a_coroutine_is_no_plant_that_is_safe():
    plant = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of coroutines that nobody awaits
        report = Loop(Echo(), read=lambda u: nothing(u), write=plant.write, **fake()).run()
        assert (report.reason, plant.reads) == ("read", 0)
        assert report.detail == "tick 0: read returned coroutine; allowed: None, True, False, or numbers of shape (2,)"
        report = Loop(Echo(), read=plant.read, write=lambda y: nothing(y), **fake()).run()
        assert (report.reason, report.ticks, report.safe) == ("write", 0, False)
        report = Loop(Echo(), read=plant.read, write=plant.write, safe=lambda: nothing(), **fake()).run(ticks=3)
    assert (report.reason, report.safe) == ("finished", True)
    assert "safe raised TypeError: it returned a coroutine" in report.messages[0]
    assert plant.written[-1].tolist() == [0.0, 0.0]  # instead


def test_run_async_awaits_them():
    plant = Awaited()
    report = asyncio.run(Loop(Echo(FAST), plant).run_async(ticks=20))
    assert (report.reason, report.safe, plant.armed) == ("finished", True, 1)
    assert report.ticks + report.skipped == 20
    assert len(plant.written) == report.ticks and plant.written[0].tolist() == [0.5]
    assert plant.events[-1] == "safe"


@pytest.mark.parametrize("part", ["read", "write", "safe"])
def test_run_async_awaits_what_a_plain_function_returns(part):
    plant, awaited = WithSafe(), Awaited()
    setattr(plant, part, lambda *of: getattr(awaited, part)(*of))
    report = asyncio.run(Loop(Echo(FAST), plant).run_async(ticks=5))
    assert report.ok and (awaited.reads or awaited.events)


def test_an_awaited_fault_is_followed_by_an_awaited_safe():
    def on_read(tick, u):
        if tick == 3:
            raise OSError("bus")

    plant = Awaited(on_read=on_read)
    report = asyncio.run(Loop(Echo(FAST), plant).run_async())
    assert (report.reason, report.ticks, report.safe, plant.events[-1]) == ("read", 3, True, "safe")
    assert report.detail == "tick 3: read raised OSError: bus"


@pytest.mark.parametrize("cancels", [1, 2])
def test_a_cancelled_task_awaits_safe_to_its_end(cancels):
    plant = Awaited()
    loop = Loop(Echo(FAST), plant)

    async def cancel():
        task = asyncio.create_task(loop.run_async())
        for pause in (0.05, 0.005)[:cancels]:
            await asyncio.sleep(pause)
            task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert (loop.report.reason, loop.report.safe, plant.events[-1]) == ("CancelledError", True, "safe")


def test_the_watchdog_has_the_event_loop_await_safe():
    plant, went_safe = Awaited(), []

    async def hang(u):
        if len(plant.written) == 3:
            await asyncio.sleep(2.0)
        u.fill(0.25)

    async def safe():
        await asyncio.sleep(0)
        went_safe.append(len(plant.written))

    plant.read, plant.safe = hang, safe
    report = asyncio.run(Loop(Echo(FAST), plant, watchdog_s=0.5).run_async())
    assert (report.reason, report.safe, report.ticks) == ("watchdog", True, 3)
    assert went_safe == [3, 3]  # by the watchdog, and at the end
    assert len(plant.written) == 3


def test_an_event_loop_that_hangs_awaits_nothing_and_that_is_said():
    plant = Awaited()

    async def hang(u):
        if len(plant.written) == 3:
            time.sleep(2.5)
        u.fill(0.25)

    plant.read, written = hang, []
    plant.write = lambda y: written.append(y.copy()) or plant.written.append(y)
    report = asyncio.run(Loop(Echo(FAST), plant, watchdog_s=0.5).run_async())
    assert report.reason == "watchdog"
    told = (
        "safe raised TimeoutError: the event loop did not get to it in 0.5 s",
        "the safe output was written instead",
    )
    assert report.messages == told
    assert written[3].tolist() == [0.0]
    assert plant.events[-1] == "safe"  # once the event loop went on


@pytest.mark.parametrize(
    "values",
    [np.array([0.5, -1.0], np.float32), np.array([0.5, -1.0]), np.array([1, 0]), np.array([True, False]),
     [0.1, -1], (0.1, np.float32(0.3)), [np.array(0.5), 2], array.array("d", [0.1, 0.2])],
    ids=str,
)  # fmt: skip
def test_inputs_may_be_returned(values):
    ctl = Echo()
    assert Loop(ctl, read=lambda u: values, write=lambda y: None, **fake()).run(ticks=2).ok
    assert [u.tolist() for u in ctl.seen] == [np.asarray(values, np.float32).tolist()] * 2


def rebinding(u):
    u = np.array([0.5, 0.5], np.float32)  # noqa: F841


def half(u):
    u[0] = 0.5


@pytest.mark.parametrize(
    ("read", "reason", "text"),
    [
        (rebinding, "sensor", "input 0 is nan, or read did not set it; allowed: u[:] = values, or return them"),
        (half, "sensor", "input 1 is nan, or read did not set it"),
        (lambda u: np.zeros(1, np.float32), "read", "read returned float32 of shape (1,); allowed: None, True"),
        (lambda u: np.zeros((2, 1)), "read", "read returned float64 of shape (2, 1)"),
        (lambda u: np.zeros(2, complex), "read", "read returned complex128 of shape (2,)"),
        (lambda u: np.ma.masked_array([1.0, 2.0], [0, 1]), "read", "read returned MaskedArray"),
        (lambda u: [0.5], "read", "read returned list of shape (1,); allowed: None, True, False, or numbers of shape"),
        (lambda u: [0.5, "fast"], "read", "read returned list; allowed"),
        (lambda u: [0.5, None], "read", "read returned list; allowed"),
        (lambda u: [np.ma.masked, 0.5], "read", "read returned list; allowed"),
        (lambda u: 0.5, "read", "read returned float"),
        (lambda u: 0, "read", "read returned int"),
        (lambda u: np.array([1e300, 0.0]), "sensor", "input 0 is inf"),
    ],
)
def test_what_else_read_does_is_a_fault(read, reason, text):
    plant = Recorder()
    report = Loop(Echo(), read=read, write=plant.write, **fake()).run(ticks=5)
    assert (report.reason, report.ticks, report.ok) == (reason, 0, False)
    assert text in report.detail
    assert [y.tolist() for y in plant.written] == [[0.0, 0.0]]


def test_stale_inputs_are_0_until_the_first_fresh_ones():
    ctl = Echo()
    plant = Recorder()
    turns = iter((False, False, True))

    def read(u):
        return plant.read(u) if next(turns) else False

    Loop(ctl, read=read, write=plant.write, stale_limit=2, **fake()).run(ticks=3)
    assert [u.tolist() for u in ctl.seen] == [[0.0, 0.0], [0.0, 0.0], [0.25, 0.25]]


# Arguments.


class Broken(Echo):
    """A controller whose spec lacks its sizes."""

    def __init__(self):
        super().__init__()
        self.spec = object()


NUMBERS = ["1", math.nan, -1, [1], True, 1j, None]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "name",
    ["rate_hz", "overrun_limit", "stale_limit", "watchdog_s", "start_ramp_s", "stop_ramp_s", "spin_s", "slew_per_s",
     "safe_output", "output_limits"],
)  # fmt: skip
def test_every_number_of_a_loop_is_checked(name, value):
    if value is True and name in ("slew_per_s", "safe_output"):
        pytest.skip("a bool is a number among those of an array")
    if value is None and name not in ("stale_limit", "start_ramp_s", "stop_ramp_s", "spin_s"):
        pytest.skip("None is allowed")
    if (name, value) in (("slew_per_s", [1]), ("safe_output", [1]), ("safe_output", -1)):
        pytest.skip("one number within the limits is allowed for all outputs")
    with pytest.raises(LoopError, match=f"^{name}: .*; allowed: "):
        Loop(Echo(FAST), Recorder(), **{name: value})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"overrun_limit": 1.5}, "overrun_limit: 1.5; allowed: integers >= 0"),
        ({"stale_limit": 0.5}, "stale_limit: 0.5; allowed: integers >= 0"),
        ({"any_rate": "no"}, "any_rate: 'no'; allowed: True, False"),
        ({"overrun": ["skip"]}, r"overrun: \['skip'\]; allowed: skip, catch-up, stop"),
        ({"safe_output": np.ma.masked_array([0.0, 0.0], [0, 1])}, "safe_output: .*; allowed: numbers of shape"),
        ({"safe_output": 10**400}, "safe_output: .*; allowed"),
        ({"log": ["a.mcap"]}, r"log: \['a.mcap'\]; allowed: a path, or Log\(path, path\)"),
        ({"log": 5}, "log: 5; allowed: a path"),
        ({"log": b"a.mcap"}, "log: b'a.mcap'; allowed: a path"),
        ({"system": {"fifo": 5}}, "system: {'fifo': 5}; allowed: a System"),
        ({"name": None}, "name: None; allowed: a printable text"),
        ({"name": ""}, "name: ''; allowed: a printable text"),
        ({"name": "\ud800"}, "name: .*; allowed: a printable text"),
        ({"clock": 5}, r"clock: int; allowed: an object with now\(\), cpu\(\), sleep\(seconds\)"),
        ({"plant": None, "read": 5, "write": print}, "read: 5; allowed: a function"),
        ({"plant": None, "read": print, "write": print, "safe": "off"}, "safe: 'off'; allowed: a function"),
        ({"plant": Recorder}, "plant: the class Recorder; allowed: an object with read"),
        ({"controller": Echo}, "controller: the class Echo without"),
        ({"controller": Broken()}, "controller: inputs: None; allowed: integers >= 1"),
    ],
)
def test_every_argument_of_a_loop_is_checked(options, text):
    arguments = {"controller": Echo(), "plant": Recorder()} | options
    with pytest.raises(LoopError, match=text) as caught:
        Loop(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["1", math.nan, math.inf, 0, -1, [1], True], ids=repr)
def test_every_argument_of_a_run_is_checked(value):
    loop = Loop(Echo(), Recorder(), **fake())
    for name in ("seconds", "ticks"):
        for run in (loop.run, loop.start, lambda **options: asyncio.run(loop.run_async(**options))):
            with pytest.raises(LoopError, match=f"^{name}: .*; allowed: "):
                run(**{name: value})
    with pytest.raises(LoopError, match="ticks: 2.5; allowed: integers >= 1"):
        loop.run(ticks=2.5)
    if value != 0:
        with pytest.raises(LoopError, match="timeout_s: .*; allowed"):
            loop.join(value)


def test_numbers_of_numpy_are_taken():
    loop = Loop(Echo(), Recorder(), overrun_limit=np.int64(3), start_ramp_s=np.float32(0.1), **fake())
    assert loop.run(ticks=np.int64(3), seconds=np.float32(1.0)).ticks == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Log(5), lambda: Log(["a.npz"]), lambda: Log(b"a.npz"), lambda: Log("a\0.npz"),
        lambda: Log("a.npz", capacity="x"), lambda: Log("a.npz", capacity=1.5), lambda: Log("a.npz", capacity=math.nan),
        lambda: Log("a.npz", on_error=["stop"]), lambda: System(fifo="x"), lambda: System(fifo=1.5),
        lambda: System(cpu="0"), lambda: System(cpu=math.nan), lambda: System(mlock="no"), lambda: System(no_gc=None),
    ],
)  # fmt: skip
def test_every_argument_of_a_log_and_a_system_is_checked(make):
    with pytest.raises(LoopError, match="; allowed: "):
        make()


def test_a_plant_is_written_the_same_buffer_each_time():
    kept = []
    Loop(Echo(), read=Recorder().read, write=kept.append, safe=lambda: None, **fake()).run(ticks=3)
    assert all(y is kept[0] for y in kept)  # the loop's own buffer, as its documentation says
