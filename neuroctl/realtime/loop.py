"""Loop: a controller and a plant at a fixed rate, with deadlines that do not drift and an end that is safe."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.errors import LoopError
from neuroctl.histogram import Histogram
from neuroctl.realtime import kernels
from neuroctl.realtime.clock import Clock, MonotonicClock
from neuroctl.realtime.log import Log
from neuroctl.realtime.monitor import Monitor
from neuroctl.realtime.plant import Plant, Read, Safe, Steppable, Write
from neuroctl.realtime.report import LogSummary, LoopReport
from neuroctl.realtime.signals import Signals
from neuroctl.realtime.system import System
from neuroctl.realtime.ticks import POLICIES, Ring, Settings, Ticks

_USUAL_TIMEOUT_S: Final = 0.1
_LONGEST_S: Final = 1e9
"""What is longer, 30 years, does not fit the clock."""
_MOST_HZ: Final = 1e5


class Loop:
    """Steps a controller at a fixed rate: read -> step -> write, at absolute deadlines of the monotonic clock.

    However it ends, the plant is brought into its safe state first: ``safe()`` if there is one, else ``safe_output``
    is written. See ``docs/realtime.md`` for what is guaranteed and what not.

    Args:
        controller: a ``Controller``, a ``QuantController``, or anything with ``spec``, ``reset`` and ``step``.
        plant: sensors and motors, see ``Plant``; or the three callbacks one by one:
        read: ``read(u)`` puts the inputs into u, and returns False if they are stale.
        write: ``write(y)`` drives the motors.
        safe: ``safe()`` brings them into their safe state.
        rate_hz: ticks a second; None: ``1 / spec.dt_s``.
        any_rate: allow a rate other than that one, at which the controller runs faster or slower than it was made.
        overrun: what follows when a tick ends after the next deadline: ``"skip"`` the deadlines that have passed,
            ``"catch-up"`` with up to 100 of them, or ``"stop"``.
        overrun_limit: end when more deadlines than this were missed in a row; None: never.
        stale_limit: so many stale reads in a row are borne, with the inputs before, which are 0 until the first fresh
            read; one more ends the loop.
        watchdog_s: when no tick has ended for so long, another thread brings the plant into its safe state, and the
            loop ends when it can; None: 0.1 s or 5 periods, whichever is longer; ``math.inf``, or a clock: never.
        safe_output: [outputs]; None: 0, clipped into the limits.
        output_limits: (low, high) of each output; None: the spec's.
        slew_per_s: largest change of an output in a second, one number or one for each; None: no limit.
        start_ramp_s: so long the outputs are blended from the safe ones to the controller's.
        stop_ramp_s: so long they are blended back when the loop ends in order (not after a fault).
        spin_s: the last part of the wait is spent rehearsing the step and spinning, as a sleep ends a little late.
        system: scheduler, memory, core and garbage collector, see ``System``.
        log: file to write every tick to (``.mcap`` or ``.npz``), or a ``Log``.
        name: of the loop, and of its topic in the log.
        clock: what time is told by; for tests.

    Raises:
        LoopError: an argument is not allowed.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.001))
        >>> loop = Loop(ctl, read=lambda u: None, write=lambda y: None)
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
        if missing := [part for part in ("spec", "reset", "step") if not hasattr(controller, part)]:
            raise LoopError(f"controller: {type(controller).__name__} without {missing[0]}; allowed: a Controller")
        self._controller, self._name = controller, name
        self._callbacks = _callbacks(plant, read, write, safe)
        self._period_s = _period_s(controller.spec, rate_hz, any_rate)
        if overrun not in POLICIES:
            raise LoopError(f"overrun: {overrun!r}; allowed: {', '.join(POLICIES)}")
        if overrun_limit is not None and overrun_limit < 0:
            raise LoopError(f"overrun_limit: {overrun_limit}; allowed: whole numbers from 0, or None")
        if stale_limit < 0:
            raise LoopError(f"stale_limit: {stale_limit}; allowed: whole numbers from 0")
        self._timeout_s = _timeout_s(watchdog_s, self._period_s, clock is None)
        self._settings = Settings(
            period_ns=1e9 * self._period_s,
            spin_ns=int(1e9 * _seconds("spin_s", spin_s)),
            policy=overrun,
            overrun_limit=overrun_limit,
            stale_limit=stale_limit,
            start_ramp_ticks=math.ceil(_seconds("start_ramp_s", start_ramp_s) / self._period_s - 1e-9),
            stop_ramp_ticks=math.ceil(_seconds("stop_ramp_s", stop_ramp_s) / self._period_s - 1e-9),
            bounds=_bounds(controller.spec, output_limits, slew_per_s, safe_output, self._period_s),
        )
        self._system = system or System()
        self._log = Log(log) if isinstance(log, (str, os.PathLike)) else log
        self._clock: Clock = MonotonicClock() if clock is None else clock
        self._ticks: Ticks | None = None
        self._running, self._starting = False, threading.Lock()
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
        """Run in this thread until the time is over, a request to stop, or a fault.

        Args:
            seconds: how long; None: without end.
            ticks: for so many deadlines; None: without end.

        Raises:
            LoopError: the loop is running already, or an argument is not allowed.
            KeyboardInterrupt, SystemExit: raised in a callback; the plant is safe and ``report`` is there by then.

        """
        count = self._count(seconds, ticks)
        self._create(threading.current_thread())
        self._install_signals()
        try:
            return self._run_here(count)
        finally:
            self._restore_signals()

    def start(self, seconds: float | None = None, ticks: int | None = None) -> None:
        """Run in a thread of its own; arguments as for ``run``. The loop ends when the calling thread does.

        Raises:
            LoopError: the loop is running already, or an argument is not allowed.

        """
        count = self._count(seconds, ticks)
        self._create(threading.current_thread())
        self._install_signals()
        self._thread = threading.Thread(target=self._run_quietly, args=(count,), name=f"neuroctl {self._name}")
        self._thread.start()

    def stop(self) -> None:
        """Ask the loop to end, from any thread; returns at once. Wait for it with ``join``."""
        if self._ticks is not None:
            self._ticks.request("stopped")

    def join(self, timeout_s: float | None = None) -> LoopReport | None:
        """Wait for the end of a loop that was started, and return its report; None if it has not ended by then."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return None
            self._thread = None
        self._restore_signals()
        return self._report

    async def run_async(self, seconds: float | None = None, ticks: int | None = None) -> LoopReport:
        """Run as a coroutine, between the other tasks; arguments as for ``run``.

        A tick waits for whatever task is at work, and asyncio wakes up to a millisecond late: the histogram ``wake``
        shows it. Where that is too much, ``start`` runs beside the event loop.

        Raises:
            LoopError: the loop is running already, or an argument is not allowed.
            CancelledError: the task was cancelled; the plant is safe and ``report`` is there by then.

        """
        count = self._count(seconds, ticks)
        self._create(threading.current_thread())
        self._install_signals()
        try:
            with self._session(count) as run:
                while run.reason is None:
                    slept = False
                    while (left := run.left_ns()) > 0:
                        await asyncio.sleep(left * 1e-9)
                        slept = True
                    if not slept:
                        await asyncio.sleep(0)  # or a loop that is always late would leave the others no time
                    run.wake(slept)
                    if run.reason is None:
                        run.tick()
        finally:
            self._restore_signals()
        return self._ended()

    # Inner parts.

    def _count(self, seconds: float | None, ticks: int | None) -> float:
        if seconds is not None and not 0 < seconds <= _LONGEST_S:
            raise LoopError(f"seconds: {seconds}; allowed: greater than 0, up to {_LONGEST_S:g}, or None")
        if ticks is not None and ticks < 1:
            raise LoopError(f"ticks: {ticks}; allowed: whole numbers from 1, or None")
        by_time = math.inf if seconds is None else max(1, round(seconds / self._period_s))
        return min(by_time, math.inf if ticks is None else ticks)

    def _create(self, host: threading.Thread) -> None:
        with self._starting:
            if self._running:
                raise LoopError("loop: it is running already; allowed: one run at a time")
            self._running = True
        try:
            self._set_up(host)
        except BaseException:
            self._running = False
            raise

    def _set_up(self, host: threading.Thread) -> None:
        spec = self._controller.spec
        ring = Ring.of(0 if self._log is None else self._log.capacity, spec.inputs, spec.outputs)
        self._ticks = Ticks(self._controller, *self._callbacks, self._settings, self._clock, ring)
        self._host, self._report, self._begun_ns = host, None, self._clock.now()
        if self._log is not None:
            self._log.start(ring, self._about(), self._ticks.request)

    def _install_signals(self) -> None:
        self._signals = Signals(self._current())
        self._signals.install()

    def _restore_signals(self) -> None:
        if self._signals is not None:
            self._signals.restore()

    def _current(self) -> Ticks:
        if self._ticks is None:
            raise LoopError("loop: it was never started")
        return self._ticks

    def _ended(self) -> LoopReport:
        if self._report is None:
            raise LoopError("loop: it has not ended")
        return self._report

    def _run_quietly(self, count: float) -> None:
        """Run in a thread that nobody catches an exception of: the report holds it."""
        try:
            self._run_here(count)
        except BaseException:
            if self._report is None:  # setting up failed
                raise

    def _run_here(self, count: float) -> LoopReport:
        with self._session(count) as run:
            while run.reason is None:
                run.wait()
                if run.reason is None:
                    run.tick()
        return self._ended()

    @contextmanager
    def _session(self, count: float) -> Iterator[Ticks]:
        """Set everything up, and after the block bring the plant into its safe state before anything else."""
        run = self._current()
        try:
            with ExitStack() as stack:
                try:
                    stack.enter_context(self._system.applied(run.messages.append))
                    self._begin(run, count, stack)
                    yield run
                except BaseException as error:
                    run.end(run.interrupted(error), f"tick {run.ticks}", error)
                    raise
                finally:
                    run.go_safe()
        finally:
            try:
                self._finish()
            finally:
                self._running, run.over = False, True
        if run.error is not None and not isinstance(run.error, Exception):
            raise run.error

    def _begin(self, run: Ticks, count: float, stack: ExitStack) -> None:
        run.beat = self._clock.now()  # setting up may have taken long
        timeout_s = None if math.isinf(self._timeout_s) else self._timeout_s
        monitor = Monitor(run, timeout_s, self._host, self._finish)
        monitor.start()
        stack.callback(monitor.stop)
        self._begun_ns = self._clock.now()
        run.begin(time.time_ns() - self._begun_ns, count)

    def _finish(self) -> None:
        """Build the report, and close the log with it. The watchdog does this too: a callback may hang for ever."""
        run = self._current()
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


def _callbacks(
    plant: Plant | None, read: Read | None, write: Write | None, safe: Safe | None
) -> tuple[Read, Write, Safe | None]:
    if plant is not None:
        if read is not None or write is not None or safe is not None:
            raise LoopError("read, write, safe: given beside a plant; allowed: either a plant, or read and write")
        if not hasattr(plant, "read") or not hasattr(plant, "write"):
            raise LoopError(f"plant: {type(plant).__name__}; allowed: an object with read(u) and write(y)")
        return plant.read, plant.write, getattr(plant, "safe", None)
    if read is None or write is None:
        raise LoopError(f"{'read' if read is None else 'write'}: missing; allowed: a plant, or read and write")
    return read, write, safe


def _period_s(spec: Any, rate_hz: float | None, any_rate: bool) -> float:
    if rate_hz is None:
        rate_hz, any_rate = 1.0 / spec.dt_s, True
    if not 1.0 / _LONGEST_S <= rate_hz <= _MOST_HZ:
        raise LoopError(f"rate_hz: {rate_hz:g}; allowed: {1.0 / _LONGEST_S:g} to {_MOST_HZ:g}")
    if not any_rate and not math.isclose(1.0 / rate_hz, spec.dt_s, rel_tol=1e-6):
        own = 1.0 / spec.dt_s
        raise LoopError(f"rate_hz: {rate_hz:g}; allowed: {own:g}, the controller's own, or another with any_rate=True")
    return 1.0 / rate_hz


def _timeout_s(watchdog_s: float | None, period_s: float, real: bool) -> float:
    if not real:
        return math.inf  # the watchdog's thread lives in the machine's time
    if watchdog_s is None:
        return max(_USUAL_TIMEOUT_S, 5.0 * period_s)
    if not (period_s < watchdog_s <= _LONGEST_S or watchdog_s == math.inf):
        longer = f"longer than the period of {period_s:g} s, up to {_LONGEST_S:g}, or inf"
        raise LoopError(f"watchdog_s: {watchdog_s}; allowed: {longer}")
    return watchdog_s


def _seconds(name: str, value: float) -> float:
    if not 0 <= value <= _LONGEST_S:
        raise LoopError(f"{name}: {value}; allowed: seconds from 0 to {_LONGEST_S:g}")
    return value


def _bounds(
    spec: Any, limits: ArrayLike | None, slew_per_s: ArrayLike | None, safe: ArrayLike | None, period_s: float
) -> NDArray[np.float64]:
    """Return the rows that ``kernels.guard`` takes; limits are rounded to the controller's dtype."""
    count = spec.outputs
    own = getattr(spec, "output_limits", None)
    chosen = own if limits is None else limits
    pairs = _numbers("output_limits", ((-math.inf, math.inf),) * count if chosen is None else chosen, (count, 2))
    bounds = np.empty((4, count))
    bounds[kernels.LOW], bounds[kernels.HIGH] = pairs.astype(getattr(spec, "dtype", "float32")).T
    if not (bounds[kernels.LOW] < bounds[kernels.HIGH]).all():
        raise LoopError(f"output_limits: {pairs.tolist()}; allowed: low < high for each of {count} outputs")
    bounds[kernels.SLEW] = period_s * _numbers("slew_per_s", math.inf if slew_per_s is None else slew_per_s, (count,))
    if not (bounds[kernels.SLEW] > 0).all():
        raise LoopError(f"slew_per_s: {slew_per_s!r}; allowed: greater than 0")
    zero = np.clip(np.zeros(count), bounds[kernels.LOW], bounds[kernels.HIGH])
    bounds[kernels.SAFE] = zero if safe is None else _numbers("safe_output", safe, (count,))
    inside = (bounds[kernels.LOW] <= bounds[kernels.SAFE]) & (bounds[kernels.SAFE] <= bounds[kernels.HIGH])
    if not inside.all() or not np.isfinite(bounds[kernels.SAFE]).all():
        raise LoopError(f"safe_output: {bounds[kernels.SAFE].tolist()}; allowed: finite and within the output limits")
    return bounds


def _numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        return np.broadcast_to(np.asarray(value, np.float64), shape)
    except (TypeError, ValueError):
        raise LoopError(f"{name}: {value!r}; allowed: numbers of shape {shape}") from None
