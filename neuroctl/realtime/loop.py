"""Loop: a controller and a plant at a fixed rate, with deadlines that do not drift and an end that is safe."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from neuroctl.checks import integer
from neuroctl.errors import LoopError
from neuroctl.histogram import Histogram
from neuroctl.realtime import arguments, kernels
from neuroctl.realtime.awaiting import AwaitingTicks
from neuroctl.realtime.claims import Claim, alone, owners, refuse_used_link
from neuroctl.realtime.clock import Clock, MonotonicClock
from neuroctl.realtime.log import Log
from neuroctl.realtime.monitor import Monitor
from neuroctl.realtime.plant import Plant, Read, Safe, Steppable, Write
from neuroctl.realtime.report import LogSummary, LoopReport
from neuroctl.realtime.signals import Signals, refuse_after_signal
from neuroctl.realtime.system import System
from neuroctl.realtime.ticks import POLICIES, Ring, Settings, Ticks

Run = TypeVar("Run", bound=Ticks)


class Loop:
    """Steps a controller at a fixed rate: read -> step -> write, at absolute deadlines of the monotonic clock.

    However it ends, the plant is brought into its safe state first: ``safe()`` if there is one, else ``safe_output``
    is written. See ``docs/realtime.md`` for what is guaranteed.

    Args:
        controller: a ``Controller``, a ``QuantController``, or anything with ``spec``, ``reset`` and ``step``.
        plant: sensors and motors, see ``Plant``; or its callbacks one by one:
        read: ``read(u)`` writes the inputs into u, and returns False if they are stale; or it returns the inputs.
        write: ``write(y)`` drives the motors by y, the loop's own buffer: copy values to keep.
        safe: ``safe()`` brings the motors into their safe state.
        arm: ``arm()`` enables the motors; called once all else is set up.
        rate_hz: ticks per second; None: ``1 / spec.dt_s``.
        any_rate: allow another rate, at which the controller runs faster or slower than it was designed to.
        overrun: policy for a tick that ends after the next deadline: ``"skip"`` the deadlines that have passed,
            ``"catch-up"`` with up to 100 of them, or ``"stop"``.
        overrun_limit: tolerated number of consecutive missed deadlines; None: any.
        stale_limit: tolerated number of consecutive stale reads, which leave the inputs as they were, 0 before the
            first fresh read; one more ends the loop.
        watchdog_s: longest time without the end of a tick, after which another thread brings the plant into its safe
            state and the loop ends when it can; None: 0.1 s or 5 periods, whichever is longer; ``math.inf``, or a
            ``clock``: no watchdog.
        safe_output: [outputs]; None: 0, clipped into the limits.
        output_limits: (low, high) of each output; None: the spec's.
        slew_per_s: largest change of an output per second, one number or one per output; None: no limit.
        start_ramp_s: time over which the outputs are blended from the safe ones to the controller's.
        stop_ramp_s: time over which they are blended back when the loop ends in order (not after a fault).
        spin_s: last part of each wait, spent warming the step up and spinning, as a sleep ends a little late.
        system: scheduler, memory, core and garbage collector, see ``System``.
        log: file to write every tick to (``.mcap`` or ``.npz``), or a ``Log``, which takes several.
        name: of the loop, and of its topic in the log.
        clock: source of time; for tests.

    Raises:
        LoopError: an argument is not allowed, or the plant was made for a controller of other sizes, another time step
            or another model.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.001))
        >>> loop = Loop(ctl, read=lambda u: u.fill(0.5), write=lambda y: None)
        >>> loop.run(ticks=5).reason
        'finished'

    """

    def __init__(
        self,
        controller: Steppable,
        plant: Plant | None = None,
        *,
        read: Read | None = None,
        write: Write | None = None,
        safe: Safe | None = None,
        arm: Safe | None = None,
        rate_hz: float | None = None,
        any_rate: bool = False,
        overrun: str = "skip",
        overrun_limit: int | None = None,
        stale_limit: int = 0,
        watchdog_s: float | None = None,
        safe_output: ArrayLike | None = None,
        output_limits: ArrayLike | None = None,
        slew_per_s: ArrayLike | None = None,
        start_ramp_s: float = 0.0,
        stop_ramp_s: float = 0.0,
        spin_s: float = 50e-6,
        system: System | None = None,
        log: str | os.PathLike[str] | Log | None = None,
        name: str = "loop",
        clock: Clock | None = None,
    ) -> None:
        self._controller = arguments.controller_of(controller)
        self._callbacks = arguments.callbacks_of(plant, read, write, safe, arm)
        any_rate = arguments.flag("any_rate", any_rate)
        arguments.check_fit(controller, plant, self._callbacks, any_rate)
        self._alone = tuple(alone(controller, plant, self._callbacks))
        self._parts = (controller, *owners(plant, self._callbacks))
        self._period_s = arguments.period_of(controller.spec, rate_hz, any_rate)
        self._timeout_s = arguments.timeout_of(watchdog_s, self._period_s, clock is None)
        if overrun_limit is not None:
            overrun_limit = integer("overrun_limit", overrun_limit, 0, error=LoopError)
        self._settings = Settings(
            period_ns=1e9 * self._period_s,
            spin_ns=int(1e9 * arguments.duration("spin_s", spin_s)),
            policy=arguments.choice("overrun", overrun, POLICIES),
            overrun_limit=overrun_limit,
            stale_limit=integer("stale_limit", stale_limit, 0, error=LoopError),
            start_ramp_ticks=math.ceil(arguments.duration("start_ramp_s", start_ramp_s) / self._period_s - 1e-9),
            stop_ramp_ticks=math.ceil(arguments.duration("stop_ramp_s", stop_ramp_s) / self._period_s - 1e-9),
            bounds=arguments.bounds_of(controller.spec, output_limits, slew_per_s, safe_output, self._period_s),
        )
        self._system = System() if system is None else arguments.one_of_ours("system", system, System, "a System")
        if log is not None and not isinstance(log, (str, os.PathLike)):
            log = arguments.one_of_ours("log", log, Log, "a path, or Log(path, path)")
        self._log = Log(log) if isinstance(log, (str, os.PathLike)) else log
        self._name = arguments.text("name", name)
        if clock is not None:
            arguments.instance("clock", clock, ("now", "cpu", "sleep"), "an object with now(), cpu(), sleep(seconds)")
        self._clock: Clock = MonotonicClock() if clock is None else clock
        self._ticks: Ticks | None = None
        self._running, self._starting = False, threading.Lock()
        self._claim: Claim | None = None
        self._thread: threading.Thread | None = None
        self._signals: Signals | None = None
        self._report: LoopReport | None = None

    @property
    def period_s(self) -> float:
        """Time between two deadlines, in seconds."""
        return self._period_s

    @property
    def report(self) -> LoopReport | None:
        """Report of the last run that ended; None before, and while one is running."""
        return self._report

    @property
    def reason(self) -> str | None:
        """Why the loop is ending or has ended; None before. Set even if a callback hangs and the loop cannot end."""
        return None if self._ticks is None else self._ticks.reason

    # Hosts.

    def run(self, seconds: float | None = None, ticks: int | None = None) -> LoopReport:
        """Run in this thread until the time is over, a stop is requested, or a fault occurs.

        Args:
            seconds: duration; None: no limit.
            ticks: number of deadlines; None: no limit.

        Raises:
            LoopError: the loop is running already, or another that uses its controller, plant or board; a signal has
                ended one before (see ``clear_signal``), a callback is a coroutine function, or an argument is not
                allowed.
            KeyboardInterrupt, SystemExit: raised in a callback; the plant is safe and ``report`` is there by then.

        """
        count = arguments.end_of_run(seconds, ticks, self._period_s)
        arguments.refuse_coroutines(self._callbacks)
        run = self._create(Ticks)
        try:
            return self._run_here(run, count)
        finally:
            self._restore_signals()

    def start(self, seconds: float | None = None, ticks: int | None = None) -> None:
        """Run in a thread of its own; arguments as for ``run``. The loop ends when the calling thread does.

        Raises:
            LoopError: as ``run``.

        """
        count = arguments.end_of_run(seconds, ticks, self._period_s)
        arguments.refuse_coroutines(self._callbacks)
        run = self._create(Ticks)
        self._thread = threading.Thread(target=self._run_quietly, args=(run, count), name=f"neuroctl {self._name}")
        self._thread.start()

    def stop(self) -> None:
        """Ask the loop to end, from any thread; returns at once. Wait for it with ``join``."""
        if self._ticks is not None:
            self._ticks.request("stopped")

    def join(self, timeout_s: float | None = None) -> LoopReport | None:
        """Wait for the end of a loop that was started, and return its report; None if it has not ended by then.

        Raises:
            LoopError: ``timeout_s`` is not allowed.

        """
        if timeout_s is not None:
            timeout_s = min(arguments.duration("timeout_s", timeout_s), threading.TIMEOUT_MAX)
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return None
            self._thread = None
        self._restore_signals()
        return self._report

    async def run_async(self, seconds: float | None = None, ticks: int | None = None) -> LoopReport:
        """Run as a coroutine, between the other tasks; arguments as for ``run``. Awaits the callbacks' results.

        A tick waits for whatever task is at work, and asyncio wakes up to a millisecond late: the histogram ``wake``
        shows it. Where that is too much, ``start`` runs beside the event loop.

        Raises:
            LoopError: as ``run``, but for coroutine functions.
            CancelledError: the task was cancelled; the plant is safe and ``report`` is there by then.

        """
        count = arguments.end_of_run(seconds, ticks, self._period_s)
        run = self._create(AwaitingTicks)
        try:
            with self._session(run):
                await self._tick_on(run, count)
        finally:
            self._restore_signals()
        return self._ended()

    # Inner parts.

    async def _tick_on(self, run: AwaitingTicks, count: float) -> None:
        try:
            await run.prepare_awaiting()
            self._begin(run, count)
            while run.reason is None:
                slept = False
                while (left := run.left_ns()) > 0:
                    await asyncio.sleep(left * 1e-9)
                    slept = True
                if not slept:
                    await asyncio.sleep(0)  # or a loop that is always late would leave the others no time
                run.wake(slept)
                if run.reason is None:
                    await run.tick_awaiting()
        except BaseException as error:
            run.end(run.interrupted(error), f"tick {run.ticks}", error)
            raise
        finally:
            await run.go_safe_awaiting()

    def _create(self, kind: type[Run]) -> Run:
        """Set up a run before its thread begins, and have signals end it."""
        refuse_after_signal()
        with self._starting:
            if self._running:
                raise LoopError("loop: it is running already; allowed: one run at a time")
            self._running = True
        try:
            self._claim = Claim(self._name, self._alone)
            refuse_used_link(self._parts)
            return self._set_up(kind)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._claim is not None:
            self._claim.release()
        self._running = False

    def _set_up(self, kind: type[Run]) -> Run:
        spec = self._controller.spec
        ring = Ring.of(0 if self._log is None else self._log.capacity, spec.inputs, spec.outputs)
        self._ticks = run = kind(self._controller, self._callbacks, self._settings, self._clock, ring)
        self._host, self._report, self._begun_ns = threading.current_thread(), None, self._clock.now()
        if self._log is not None:
            self._log.start(ring, self._about(), run.request, run.messages.append)
        self._signals = Signals(run)
        self._signals.install()
        return run

    def _restore_signals(self) -> None:
        if self._signals is not None:
            self._signals.restore()

    def _ended(self) -> LoopReport:
        if self._report is None:
            raise LoopError("loop: it has not ended")
        return self._report

    def _run_quietly(self, run: Ticks, count: float) -> None:
        """Run in a thread whose exceptions nobody catches: the report holds them."""
        try:
            self._run_here(run, count)
        except BaseException:
            if self._report is None:  # setting up failed
                raise

    def _run_here(self, run: Ticks, count: float) -> LoopReport:
        with self._session(run):
            run.prepare()
            self._begin(run, count)
            while run.reason is None:
                run.wait()
                if run.reason is None:
                    run.tick()
        return self._ended()

    @contextmanager
    def _session(self, run: Ticks) -> Iterator[None]:
        """Set the system up, and after the block bring the plant into its safe state before anything else."""
        try:
            with ExitStack() as stack:
                try:
                    stack.enter_context(self._system.applied(run.messages.append))
                    timeout_s = None if math.isinf(self._timeout_s) else self._timeout_s
                    self._monitor = Monitor(run, timeout_s, self._host, partial(self._finish, run))
                    stack.callback(self._monitor.stop)
                    yield
                except BaseException as error:
                    run.end(run.interrupted(error), f"tick {run.ticks}", error)
                    raise
                finally:
                    run.go_safe()
        finally:
            try:
                self._finish(run)
            finally:
                run.over = True
                self._let_go()
        if run.error is not None and not isinstance(run.error, Exception):
            raise run.error

    def _begin(self, run: Ticks, count: float) -> None:
        """Start the watchdog and the first period; setting up may have taken long."""
        run.beat = self._begun_ns = self._clock.now()
        self._monitor.start()
        run.begin(time.time_ns() - self._begun_ns, count)

    def _finish(self, run: Ticks) -> None:
        """Build the report, and close the log with it. The watchdog does this too: a callback may hang for ever."""
        duration_s = 1e-9 * (self._clock.now() - self._begun_ns)
        if self._log is not None:
            self._log.drain()
            self._log.close(self._build(run, duration_s, self._log.summary(ending=True)).to_dict())
        self._report = self._build(run, duration_s, None if self._log is None else self._log.summary())

    def _build(self, run: Ticks, duration_s: float, log: LogSummary | None) -> LoopReport:
        return LoopReport(
            reason=run.reason or "stopped",
            detail=run.detail,
            safe=run.safe_reached,
            ticks=run.ticks,
            overruns=run.overruns,
            skipped=run.skipped,
            stale=run.stale,
            late_wakes=run.late_wakes,
            worst_wake_s=1e-9 * run.worst_wake_ns,
            period_s=self._period_s,
            duration_s=duration_s,
            drift_s=1e-9 * run.least_ns,
            histograms={name: Histogram(run.hists[k]) for k, name in enumerate(kernels.HISTOGRAMS)},
            messages=tuple(run.messages),
            log=log,
            error=run.error,
        )

    def _about(self) -> dict[str, Any]:
        spec = self._controller.spec
        return {
            "name": self._name,
            "period_s": self._period_s,
            "inputs": spec.inputs,
            "outputs": spec.outputs,
            "dtype": str(getattr(spec, "dtype", "float32")),
            "spec": spec.to_dict() if hasattr(spec, "to_dict") else None,
        }
