"""Deadlines, overruns, ramps and limits in a fake clock's time: exact and fast."""

import gc
import math
import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys

import neuroctl as nc
from neuroctl.realtime import Loop
from tests.realtime.pieces import SPEC, Echo, FakeClock, Recorder, WithSafe, fake


def started(clock, **options):
    """Return a plant that notes when each read began, in periods from the first deadline, and its loop."""
    plant = Recorder()
    begin = clock.t + 10_000_000
    plant.times = []
    delay = options.pop("delay", {})

    def on_read(tick, u):
        plant.times.append((clock.t - begin) / 1e7)
        clock.pass_s(delay.get(tick, 0.001))

    plant.on_read = on_read
    return plant, Loop(Echo(), plant, clock=clock, spin_s=0.0, **options)


def test_deadlines_do_not_drift_where_the_period_is_no_whole_number_of_nanoseconds():
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=1 / 60)
    clock = FakeClock()
    times = []

    def read(u):
        u.fill(0.0)
        times.append(clock.t)

    loop = Loop(Echo(spec), read=read, write=lambda y: None, clock=clock, spin_s=0.0)
    report = loop.run(ticks=60_000)
    exact = np.arange(60_000) * 1e9 / 60
    assert np.abs(np.array(times) - times[0] - exact).max() <= 1.0
    assert (report.reason, report.ticks, report.overruns, report.drift_s) == ("finished", 60_000, 0, 0.0)


def test_work_within_the_period_moves_no_deadline():
    plant, loop = started(FakeClock(), delay={k: 0.009 for k in range(0, 50, 3)})
    report = loop.run(ticks=50)
    assert plant.times == list(range(50))
    assert report.overruns == 0


def test_skip_leaves_out_the_deadlines_that_have_passed():
    plant, loop = started(FakeClock(), delay={3: 0.035})
    report = loop.run(ticks=10)
    assert plant.times == [0, 1, 2, 3, 7, 8, 9]
    assert (report.ticks, report.overruns, report.skipped) == (7, 1, 3)


def test_catch_up_makes_up_for_them():
    plant, loop = started(FakeClock(), delay={3: 0.035}, overrun="catch-up")
    report = loop.run(ticks=10)
    assert plant.times[:4] == [0, 1, 2, 3]
    assert plant.times[4:7] == pytest.approx([6.5, 6.6, 6.7])
    assert plant.times[7:] == [7, 8, 9]
    assert (report.ticks, report.overruns, report.skipped) == (10, 3, 0)


@pytest.mark.parametrize("policy", ["skip", "catch-up"])
@pytest.mark.parametrize("late", [8, 9])
def test_no_deadline_beyond_the_end_counts_as_skipped(policy, late):
    _, loop = started(FakeClock(), delay={late: 20.0}, overrun=policy)
    report = loop.run(ticks=10)
    assert report.ticks + report.skipped == 10


@pytest.mark.parametrize("policy", ["skip", "catch-up"])
@pytest.mark.parametrize("ticks", [4, 5, 6])
def test_a_tick_that_begins_and_ends_late_near_the_end_is_not_made_twice(policy, ticks):
    class Late(FakeClock):
        def sleep(self, seconds):
            super().sleep(seconds)
            self.pass_s(0.02 if self.sleeps == 4 else 0.0)

    _, loop = started(Late(), delay={3: 0.035}, overrun=policy)
    report = loop.run(ticks=ticks)
    assert (report.ticks, report.skipped) == ((4, ticks - 4) if policy == "skip" else (ticks, 0))


def test_catching_up_is_bounded():
    plant, loop = started(FakeClock(), delay={3: 5.0}, overrun="catch-up")
    report = loop.run(ticks=600)
    assert report.skipped == 500 - 100
    assert report.ticks == 600 - 400
    assert plant.times[-1] == 599


def test_stop_ends_with_the_first_overrun():
    plant, loop = started(FakeClock(), delay={3: 0.012}, overrun="stop")
    report = loop.run(ticks=10)
    assert report.reason == "overrun"
    assert "2.000 ms after the next deadline" in report.detail
    assert not report.ok
    assert (report.ticks, plant.written[-1].tolist()) == (4, [0.0, 0.0])


@pytest.mark.parametrize("policy", ["skip", "catch-up"])
def test_more_missed_deadlines_in_a_row_than_the_limit_end_the_loop(policy):
    late = {k: 0.015 for k in range(2, 100)}
    plant, loop = started(FakeClock(), delay=late, overrun=policy, overrun_limit=5)
    report = loop.run(ticks=100)
    assert report.reason == "overrun limit"
    assert report.ticks == 2 + 6
    assert plant.written[-1].tolist() == [0.0, 0.0]


def test_a_tick_in_time_ends_a_row_of_overruns():
    late = {k: 0.015 for k in range(2, 100, 2)}
    _, loop = started(FakeClock(), delay=late, overrun_limit=1)
    assert loop.run(ticks=100).reason == "finished"


class Jumping(FakeClock):
    """One in which a sleep takes 2 s once, as if the process had been stopped."""

    def sleep(self, seconds):
        super().sleep(seconds)
        if self.sleeps == 5:
            self.pass_s(2.0)


def test_a_jump_of_time_is_one_overrun_and_is_named():
    report = started(Jumping())[1].run(ticks=400)
    assert (report.reason, report.overruns, report.late_wakes, report.worst_wake_s) == ("finished", 1, 1, 2.0)
    assert (report.skipped, report.ticks) == (200, 200)
    assert report.histograms["wake"].max == 2_000_000_000
    assert "1 wake-ups a period late or more, the latest by 2.000 s" in report.text()


@pytest.mark.parametrize(
    ("options", "reason"), [({"overrun": "stop"}, "overrun"), ({"overrun_limit": 50}, "overrun limit")]
)
def test_a_jump_of_time_follows_the_policy_before_anything_is_written(options, reason):
    plant, loop = started(Jumping(), **options)
    report = loop.run(ticks=400)
    assert (report.reason, report.ticks) == (reason, 4)
    assert "woke 2.000 s late" in report.detail
    assert plant.reads == 4


def test_a_slow_loop_sees_a_request_to_stop_soon():
    clock = FakeClock()
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=10.0)
    plant = Recorder(on_write=lambda tick, y: loop.stop() if tick == 0 else None)
    loop = Loop(Echo(spec), plant, clock=clock, spin_s=0.0)
    before = clock.t
    assert loop.run().reason == "stopped"
    assert clock.t - before <= 10.1e9
    assert clock.longest <= 0.02


# What reaches the plant.


def test_the_start_ramp_blends_from_the_safe_output():
    plant = Recorder()
    loop = Loop(Echo(y=1.0), plant, **fake(), start_ramp_s=0.05, safe_output=[-0.5, 0.5])
    loop.run(ticks=8)
    share = np.minimum(np.arange(1, 9) / 5, 1.0)
    expected = np.stack([-0.5 * (1 - share) + share, 0.5 * (1 - share) + share], axis=1)
    assert np.allclose(plant.written[:8], expected, atol=1e-7)
    assert plant.written[4].tolist() == [1.0, 1.0]


def test_the_stop_ramp_blends_to_the_safe_output_at_the_loops_rate():
    clock, plant = FakeClock(), WithSafe()
    loop = Loop(Echo(y=1.0), plant, clock=clock, spin_s=0.0, stop_ramp_s=0.04)
    before = clock.t
    report = loop.run(ticks=6)
    assert [y[0] for y in plant.written] == [1.0] * 6 + [0.75, 0.5, 0.25, 0.0]
    assert clock.t - before == 10 * 10_000_000
    assert (report.reason, report.ticks, plant.events[-1]) == ("finished", 10, "safe")


def test_a_stop_in_the_start_ramp_ramps_down_from_where_it_is():
    plant = Recorder(on_write=lambda tick, y: loop.stop() if tick == 4 else None)
    loop = Loop(Echo(y=1.0), plant, **fake(), start_ramp_s=0.1, stop_ramp_s=0.02)
    loop.run()
    assert [round(float(y[0]), 6) for y in plant.written] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.0, 0.0]


def test_after_a_fault_there_is_no_ramp():
    def on_read(tick, u):
        if tick == 3:
            u[0] = math.nan

    plant = Recorder(on_read)
    Loop(Echo(y=1.0), plant, **fake(), stop_ramp_s=1.0).run()
    assert [float(y[0]) for y in plant.written] == [1.0, 1.0, 1.0, 0.0]


def test_limits_are_the_specs_and_can_be_narrowed():
    plant = Recorder()
    Loop(Echo(y=7.0), plant, **fake()).run(ticks=1)
    assert plant.written[0].tolist() == [1.0, 2.0]
    Loop(Echo(y=7.0), plant, **fake(), output_limits=((-0.5, 0.5), (0.0, 0.1))).run(ticks=1)
    assert (plant.written[2] == np.array([0.5, 0.1], np.float32)).all()


def test_the_slew_rate_bounds_each_change():
    ctl = Echo(y=1.0)
    plant = Recorder(on_write=lambda tick, y: ctl.y.fill(-1.0) if tick == 3 else None)
    report = Loop(ctl, plant, **fake(), slew_per_s=[20.0, math.inf]).run(ticks=8)
    expected = [0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2, 0.0]
    assert np.allclose([y[0] for y in plant.written[:8]], expected, atol=1e-7)
    assert [float(y[1]) for y in plant.written[:8]] == [1.0] * 4 + [0.0] * 4
    assert report.ok


OUTPUT = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(OUTPUT, min_size=1, max_size=30), st.floats(0.5, 500.0), st.integers(0, 5))
def test_no_output_leaves_its_limits_or_exceeds_its_slew_rate(values, slew, ramp):
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01, output_limits=((-3.1, 4.7),))
    ctl, plant = Echo(spec), Recorder()
    remaining = list(values)
    plant.on_read = lambda tick, u: ctl.y.fill(remaining[tick])
    Loop(ctl, plant, **fake(), slew_per_s=slew, start_ramp_s=0.01 * ramp).run(ticks=len(values))
    y = np.array([0.0, *(float(w[0]) for w in plant.written[:-1])])
    assert (y >= np.float32(-3.1)).all() and (y <= np.float32(4.7)).all()
    assert np.abs(np.diff(y)).max() <= slew * 0.01 + 1e-6


def test_a_float64_controller_gets_and_gives_float64():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.01, dtype="float64")
    plant = Recorder()
    assert Loop(nc.Controller(spec), plant, **fake()).run(ticks=3).ok
    assert plant.written[0].dtype == np.float64


@pytest.mark.parametrize("make", [nc.Controller, lambda spec: nc.Controller(spec).quantize()])
def test_outputs_are_those_of_the_controller_stepped_alone(make):
    spec = nc.Spec(
        cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.01, input_limits=((-1, 1),) * 2, output_limits=((-1, 1),)
    )
    u = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    plant = Recorder(lambda tick, into: np.copyto(into, u[tick]))
    ctl = make(spec)
    Loop(ctl, plant, **fake()).run(ticks=50)
    ctl.reset()
    assert (np.array(plant.written[:50]) == ctl.rollout(u)).all()


def test_each_run_resets_the_controller():
    ctl = Echo()
    loop = Loop(ctl, Recorder(), **fake())
    assert [loop.run(ticks=2).ticks for _ in range(3)] == [2, 2, 2]
    assert ctl.resets == 3


# Memory.


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the JIT is disabled: plain Python allocates")
@pytest.mark.parametrize("quantized", [False, True])
def test_ticks_allocate_nothing(quantized):
    ctl = nc.Controller(SPEC, seed=1)
    sizes = {}

    def on_write(y):
        sizes["tick"] = tick = sizes.get("tick", -1) + 1
        if tick == 500:
            gc.collect()
            _nrt_python.memsys_enable_stats()
            tracemalloc.start()
        elif tick == 1000:
            sizes["before"], sizes["nrt"] = tracemalloc.get_traced_memory()[0], rtsys.get_allocation_stats()
        elif tick == 5999:
            sizes["after"] = tracemalloc.get_traced_memory()[0]
            sizes["nrt after"] = rtsys.get_allocation_stats()
            tracemalloc.stop()

    ctl = ctl.quantize(calibration=np.zeros((4, 2), np.float32)) if quantized else ctl
    Loop(ctl, read=lambda u: u.fill(0.0), write=on_write, **fake()).run(ticks=6000)
    # The test's own numbers, and the lock of the monitor's thread while it waits: no byte for each of 5,000 ticks.
    assert sizes["after"] - sizes["before"] <= 1500
    assert sizes["nrt after"] == sizes["nrt"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_hz": 50}, "rate_hz: 50; allowed: 100, the controller's own"),
        ({"rate_hz": -1}, "rate_hz"),
        ({"overrun": "panic"}, "overrun: 'panic'; allowed: skip, catch-up, stop"),
        ({"overrun_limit": -1}, "overrun_limit"),
        ({"stale_limit": -1}, "stale_limit"),
        ({"watchdog_s": 0.005}, "watchdog_s: 0.005; allowed: longer than the period of 0.01 s"),
        ({"start_ramp_s": -1.0}, "start_ramp_s"),
        ({"stop_ramp_s": math.nan}, "stop_ramp_s"),
        ({"spin_s": math.inf}, "spin_s"),
        ({"spin_s": 1e308}, "spin_s"),
        ({"watchdog_s": 1e308}, "watchdog_s"),
        ({"rate_hz": 1e-320, "any_rate": True}, "rate_hz"),
        ({"output_limits": ((1, 0), (0, 1))}, "output_limits"),
        ({"output_limits": ((0, 1),) * 3}, "output_limits"),
        ({"slew_per_s": 0.0}, "slew_per_s"),
        ({"slew_per_s": "fast"}, "slew_per_s"),
        ({"safe_output": [0.0, 3.0]}, "safe_output"),
        ({"safe_output": [math.nan, 0.0]}, "safe_output"),
        ({"log": "run.txt"}, "log: run.txt; allowed: files named .mcap or .npz"),
        ({"safe": lambda: None}, "read, write, safe, arm: given beside a plant"),
    ],
)
def test_bad_arguments_are_named(options, text):
    with pytest.raises(nc.NeuroctlError) as caught:
        Loop(Echo(), Recorder(), **options)
    assert text in str(caught.value)
    assert "allowed" in str(caught.value)


def test_what_is_missing_is_named():
    with pytest.raises(nc.NeuroctlError, match="write: missing"):
        Loop(Echo(), read=lambda u: None)
    with pytest.raises(nc.NeuroctlError, match="controller: object without spec"):
        Loop(object(), Recorder())
    with pytest.raises(nc.NeuroctlError, match="plant: object"):
        Loop(Echo(), object())
    loop = Loop(Echo(), Recorder(), **fake())
    with pytest.raises(nc.NeuroctlError, match="ticks: 0"):
        loop.run(ticks=0)
    with pytest.raises(nc.NeuroctlError, match="seconds: 0"):
        loop.run(seconds=0)
    with pytest.raises(nc.NeuroctlError, match="seconds: 1e\\+308; allowed"):
        loop.run(seconds=1e308)


def test_another_rate_has_to_be_said():
    clock = FakeClock()
    before = clock.t
    Loop(Echo(), Recorder(), clock=clock, spin_s=0.0, rate_hz=50, any_rate=True).run(ticks=10)
    assert clock.t - before == 10 * 20_000_000


# Warming up.


class WarmedUp(Echo):
    """Notes when it was warmed up, and with what."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.warm_ups = clock, []

    def warm_up(self, u):
        self.warm_ups.append((self.clock.t, u.copy()))


class Spinning(FakeClock):
    """One in which each look at it takes a microsecond, so that spinning ends."""

    def now(self):
        self.t += 1000
        return self.t


def test_a_step_is_warmed_up_with_the_inputs_before_where_there_is_time():
    clock = Spinning()
    ctl = WarmedUp(clock)
    late = {3: 0.009989}
    plant = Recorder(on_read=lambda tick, u: clock.pass_s(late.get(tick, 0.001)))
    report = Loop(ctl, plant, clock=clock, spin_s=50e-6).run(ticks=6)
    assert report.overruns == 0
    begin = clock.t - 6 * 10_000_000
    assert len(ctl.warm_ups) == 5, "not where a tick ended just before the next deadline"
    assert [u.tolist() for _, u in ctl.warm_ups] == [[0.0, 0.0]] + [[0.25, 0.25]] * 4
    assert all(t > begin for t, _ in ctl.warm_ups)


@pytest.mark.parametrize("kind", ["float", "fixed"])
@pytest.mark.parametrize("cell", ["ctrnn", "indrnn", "elman", "jordan", "hopfield", "gru", "cfc"])
def test_a_warm_up_changes_no_bit(kind, cell):
    spec = nc.Spec(cell=cell, inputs=2, neurons=4, outputs=2, dt_s=0.01, input_limits=((-1.0, 1.0),) * 2)
    one, two = nc.Controller(spec, seed=1), nc.Controller(spec, seed=1)
    if kind == "fixed":
        one, two = one.quantize(), two.quantize()
    rng = np.random.default_rng(0)
    for u in rng.uniform(-1, 1, (50, 2)).astype(np.float32):
        y = one.step(u)
        kept = y.copy()
        one.warm_up(rng.uniform(-1, 1, 2).astype(np.float32))
        one.warm_up(np.full(2, np.nan, np.float32))
        assert np.array_equal(y, kept)
        assert np.array_equal(two.step(u), kept)
        assert np.array_equal(one.state, two.state)
        assert not one.fault


@pytest.mark.parametrize("kind", ["float", "fixed"])
@pytest.mark.parametrize(
    "u",
    [np.zeros(1, "f4"), np.zeros(99, "f4"), np.zeros((2, 1), "f4"), np.zeros((1, 2), "f4")],
    ids=["too few", "too many", "column", "row"],
)
def test_a_warm_up_refuses_inputs_that_a_step_refuses(u, kind):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=2, dt_s=0.01, input_limits=((-1.0, 1.0),) * 2)
    ctl = nc.Controller(spec).quantize() if kind == "fixed" else nc.Controller(spec)
    with pytest.raises(nc.errors.LayoutError, match="u: .*; allowed: "):
        ctl.warm_up(u)
