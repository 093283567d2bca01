"""Ticks: deadlines, read -> step -> write, overruns, ramps, and the way to the safe output."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import array, cast
from neuroctl.errors import LayoutError
from neuroctl.histogram import SIZE
from neuroctl.maths.jit import compile_once
from neuroctl.realtime import kernels
from neuroctl.realtime.clock import Clock
from neuroctl.realtime.kernels import FAULT, LATE, OVERRUN, STALE
from neuroctl.realtime.plant import Callbacks, Steppable

PIECE_NS: Final = 20_000_000
"""Longest sleep [ns], after which a slow loop notices a request to stop."""
WARM_UP_NS: Final = 5_000
"""Least time left before the deadline for which the step is warmed up [ns]."""
MAX_CATCH_UP: Final = 100
"""Largest number of missed ticks that catching up makes up for; further ones are skipped."""

DRIFT_TICKS: Final = 1000
"""Number of ticks whose smallest lateness counts as the drift of the deadlines, whatever delays single ticks."""

POLICIES: Final = ("skip", "catch-up", "stop")


@dataclass(frozen=True)
class Settings:
    """The checked arguments of a loop; see ``Loop``."""

    period_ns: float
    spin_ns: int
    policy: str
    overrun_limit: int | None
    stale_limit: int
    start_ramp_ticks: int
    stop_ramp_ticks: int
    bounds: NDArray[np.float64]


@dataclass
class Ring:
    """Ring buffer of records: ticks put them in, the log's thread takes them out. It may have room for none."""

    rows: NDArray[np.int64]
    cursor: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))

    def __post_init__(self) -> None:
        self.reals = self.rows.view(np.float64)

    @classmethod
    def of(cls, capacity: int, inputs: int, outputs: int) -> Ring:
        """Return a ring for ``capacity`` records."""
        return cls(np.zeros((capacity, len(kernels.COLUMNS) + inputs + 2 * outputs), np.int64))


class Ticks:
    """One run of a loop. ``wait`` and ``tick`` alternate until ``reason`` is set; then ``go_safe``.

    Args:
        controller: the controller to step.
        callbacks: of the plant; without ``safe`` the safe output is written.
        settings: of the loop.
        clock: source of time.
        ring: memory for the ticks' records.

    """

    def __init__(
        self, controller: Steppable, callbacks: Callbacks, settings: Settings, clock: Clock, ring: Ring
    ) -> None:
        spec = controller.spec
        dtype = np.dtype(getattr(spec, "dtype", "float32"))
        self._controller, self._step = controller, controller.step
        self._read, self._write, self._safe, self._arm = callbacks
        self._has_fault = inspect.getattr_static(controller, "fault", None) is not None
        self._failing = False
        self._warm_up = getattr(controller, "warm_up", None)
        self._settings, self._clock, self._ring = settings, clock, ring
        self._now, self._cpu = clock.now, clock.cpu
        self._u, self._out = np.zeros(spec.inputs, dtype), np.zeros(spec.outputs, dtype)
        self._y = self._unknown = np.full(spec.outputs, np.nan, dtype)
        self._safe_output = settings.bounds[kernels.SAFE].astype(dtype)
        self._setpoint = settings.bounds[kernels.SAFE].copy()
        self.hists = np.zeros((len(kernels.HISTOGRAMS), SIZE), np.int64)
        self.reason: str | None = None
        self.detail = ""
        self.error: BaseException | None = None
        self.safe_reached = self.going_safe = self.over = self._unsure = False
        self.messages: list[str] = []
        self.ticks = self.overruns = self.skipped = self.stale = self.late_wakes = self.worst_wake_ns = 0
        self._lock = Lock()
        self._request: tuple[str, str] | None = None
        self._stopping = False
        self._ramp, self._ramp_top, self._ramp_place, self._ramp_ticks = 1.0, 1.0, 0, 0
        self._in_row = self._stale_in_row = 0
        self._end_slot = math.inf
        self._compile()
        self.beat = self.least_ns = self._t0 = 0

    def _compile(self) -> None:
        """Call every compiled function once, on copies of its arrays, so that no tick waits for the compiler."""
        hists, ring = self.hists.copy(), Ring(self._ring.rows[:1].copy())
        self._first_bad = compile_once(kernels.first_bad, self._u)
        setpoint, out = self._setpoint.copy(), self._out.copy()
        self._guard = compile_once(kernels.guard, self._out, out, setpoint, self._settings.bounds, 1.0)
        arrays = (ring.rows, ring.reals, ring.cursor)
        self._log = compile_once(kernels.log, *arrays, 0, 0, 0, self._u, self._out, out)
        times = (0,) * 15
        self._record = compile_once(kernels.record, hists, *arrays, self._u, self._out, out, 0, 0, *times[:13])

    def prepare(self) -> None:
        """Reset the controller, then arm the plant: once it is armed, nothing else may take long."""
        self.reset()
        if self._arm is not None and self.may_arm():
            try:
                self._conclude(self._arm())
            except Exception as error:
                self.end("arm", f"arm raised {named(error)}", error)

    def reset(self) -> None:
        """Reset the controller."""
        try:
            refuse_undone(self._controller.reset())
        except Exception as error:
            self.end("controller", f"reset raised {named(error)}", error)

    def may_arm(self) -> bool:
        """Whether nothing has ended the run so far."""
        return self.reason is None and self._request is None

    def begin(self, epoch_ns: int, ticks: float) -> None:
        """Put the first deadline one period from now.

        Args:
            epoch_ns: time since 1970 at this clock's zero.
            ticks: number of deadlines after which the run is over, including skipped ones.

        """
        self._epoch, self._end_slot = epoch_ns, ticks
        self._ramp_ticks = self._settings.start_ramp_ticks
        self._ramp = 0.0 if self._ramp_ticks else 1.0
        self._start = self._now() + int(self._settings.period_ns)
        self._slot, self._due = 0, self._start
        self._before, self._tail, self._cpu_before, self._flags = -1, 0, -1, 0

    # Ending.

    def request(self, reason: str, detail: str = "") -> None:
        """Ask for an orderly end: after the stop ramp, if there is one. From any thread, or a signal's handler."""
        if self._request is None:
            self._request = (reason, detail)

    def end(self, reason: str, detail: str = "", error: BaseException | None = None) -> bool:
        """End at once; the first reason counts. From any thread. Returns whether this was the first."""
        with self._lock:
            if self.reason is not None:
                return False
            self.detail, self.error = detail, error
            self.reason = reason
            return True

    def interrupted(self, error: BaseException) -> str:
        """Return the reason for an end by an exception that is no error: that of the request behind it, or its name."""
        if isinstance(error, KeyboardInterrupt) and self._request is not None:
            return self._request[0]
        return type(error).__name__

    def go_safe(self) -> None:
        """Bring the plant into its safe state, on the loop's own way out: no signal breaks into it. Raises nothing."""
        self.beat, self.going_safe = self._now(), True
        self.make_safe()
        self.beat, self.going_safe = self._now(), True  # the watchdog lets signals break into a safe() that hangs
        self._log_failure()

    def make_safe(self) -> None:
        """Bring the plant into its safe state. From any thread, and as often as wanted; raises nothing."""
        for call, name in self._ways_to_safe():
            try:
                result = call()
                self._conclude(result)
            except BaseException as error:
                self._note(f"{name} raised {named(error)}")
            else:
                if self._is_safe_by(call, result):
                    return

    def _is_safe_by(self, call: Callable[[], Any], result: Any) -> bool:
        """Whether the plant is safe after the call: ``safe`` returns False where that is unknown."""
        if call is self._safe and (result is False or result is np.False_):
            self._unsure = True
            self._note("safe returned False: the plant is not known to be safe")
            return False
        if call is not self._safe and self._safe is not None and not self._unsure:
            self._note("the safe output was written instead")
        self.safe_reached = not self._unsure
        return True

    def _ways_to_safe(self) -> Iterator[tuple[Callable[[], Any], str]]:
        """Yield the calls that bring the plant into its safe state, the best first, each with its name."""
        self.safe_reached = False  # the last attempt counts: a tick may have written since the one before
        if self._safe is not None:
            yield self._safe, "safe"
        output = self._safe_output.copy()  # a plant may scale in place what it is given
        yield lambda: self._write(output), "write of the safe output"

    def _conclude(self, result: Any) -> None:
        """Refuse a result that stands for work not yet done."""
        refuse_undone(result)

    def _note(self, text: str) -> None:
        if text not in self.messages:
            self.messages.append(text)

    # Time.

    def left_ns(self) -> int:
        """Follow a request to stop, and return how long to sleep now, at most a piece [ns]; 0 or below: not at all."""
        if self._request is not None and not self._stopping:
            self._follow(*self._request)
        if self.reason is not None:
            return 0
        return min(self._due - self._settings.spin_ns - self._now(), PIECE_NS)

    def wait(self) -> None:
        """Sleep to shortly before the next deadline, then spin to it. May set ``reason``."""
        slept = False
        while (left := self.left_ns()) > 0:
            self._clock.sleep(left * 1e-9)
            slept = True
        self.wake(slept)

    def wake(self, slept: bool) -> None:
        """Spin to the deadline and take the time.

        Args:
            slept: whether the thread slept; a late wake-up is then not the last tick's doing, but an overrun by itself.

        """
        now, due = self._now, self._due
        t0 = now()
        if self.reason is None:
            if self._warm_up is not None and due - t0 >= WARM_UP_NS:
                try:
                    self._warm_up(self._u)
                except Exception as error:
                    self._y = self._unknown
                    self._failed("controller", f"warm_up raised {named(error)}", error)
                t0 = now()
            while t0 < due:
                t0 = now()
        self._cpu_start, self._t0, self._awaited, self._flags = self._cpu(), t0, due, 0
        if slept and t0 - due >= self._settings.period_ns and self.reason is None:
            self._woke_late(t0 - due)

    def _woke_late(self, by_ns: int) -> None:
        self._flags = LATE
        self.late_wakes += 1
        self.worst_wake_ns = max(self.worst_wake_ns, by_ns)
        # The tick of the last deadline that has passed begins right now; it still lies before the end.
        passed, why = int(by_ns / self._settings.period_ns), "stopped, or out of CPU time"
        self._overran(passed, self._end_slot - 1, f"woke {by_ns * 1e-9:.3f} s late: {why}")

    def _overran(self, passed: int, last: float, why: str) -> None:
        """Apply the overrun policy: deadlines that ``passed`` from ``_due`` on, none beyond ``last``, had no tick."""
        settings = self._settings
        self.overruns += 1
        skips = settings.policy == "skip"
        self._in_row += passed if skips else 1
        skipped = passed if skips else max(0, passed - MAX_CATCH_UP)
        skipped = int(min(skipped, last - self._slot))
        self.skipped += skipped
        self._move_to(self._slot + skipped)
        missed = max(self._in_row, passed)
        if settings.policy == "stop":
            self.end("overrun", f"tick {self.ticks}: {why}")
        elif settings.overrun_limit is not None and missed > settings.overrun_limit:
            self.end("overrun limit", f"tick {self.ticks}: deadlines missed in a row: {missed}; {why}")

    def _move_to(self, slot: int) -> None:
        self._slot = slot
        # From the start and not from the last deadline: rounding does not add up.
        self._due = self._start + int(slot * self._settings.period_ns)

    # One tick.

    def tick(self) -> None:
        """Read, step, write, record; a fault sets ``reason``."""
        self._y = self._unknown
        if self._sense() and self._think() and self._act():
            self._finish()

    def _sense(self) -> bool:
        self._before_read()
        try:
            fresh = self._read(self._u)
        except BaseException as error:
            return self._failed("read", f"read raised {named(error)}", error)
        return self._sensed(fresh)

    def _before_read(self) -> None:
        if self.stale == self.ticks:  # nothing was read so far: what read leaves as it is, is told from a measured 0
            self._u.fill(math.nan)
        self._t1 = self._now()

    def _sensed(self, fresh: Any) -> bool:
        self._t2 = self._now()
        if fresh is None or fresh is True:
            self._stale_in_row = 0
        elif not self._took(fresh):
            return False
        bad = self._first_bad(self._u)
        if bad < 0:
            return True
        hint = "" if self.ticks > self.stale else ", or read did not set it; allowed: u[:] = values, or return them"
        return self._failed("sensor", f"input {bad} is {self._u[bad]}{hint}")

    def _took(self, fresh: Any) -> bool:
        """Handle a result of read besides None and True: False for stale inputs, or the inputs themselves."""
        if fresh is False or fresh is np.False_:
            if self.stale == self.ticks:
                self._u[np.isnan(self._u)] = 0.0
            self._flags |= STALE
            self.stale += 1
            self._stale_in_row += 1
            if self._stale_in_row > self._settings.stale_limit:
                return self._failed("stale sensor", f"stale reads in a row: {self._stale_in_row}")
            return True
        self._stale_in_row = 0
        if fresh is np.True_:
            return True
        if type(fresh) is np.ndarray and fresh.dtype == self._u.dtype and fresh.shape == self._u.shape:
            self._u[:] = fresh
            return True
        kind = _kind(fresh)
        try:
            values = array("read", fresh, "")
        except LayoutError:
            close_undone(fresh)
        else:
            if values.shape == self._u.shape:
                self._u[:] = cast(values, self._u.dtype)
                return True
            kind += f" of shape {values.shape}" if isinstance(fresh, (list, tuple)) else ""
        allowed = f"None, True, False, or numbers of shape {self._u.shape}"
        return self._failed("read", f"read returned {kind}; allowed: {allowed}")

    def _think(self) -> bool:
        self._t3 = self._now()
        try:
            self._y = y = self._step(self._u)
        except BaseException as error:
            return self._failed("controller", f"step raised {named(error)}", error)
        self._t4 = self._now()
        try:
            fault = self._has_fault and self._controller.fault  # type: ignore[attr-defined]
        except Exception as error:
            return self._failed("controller", f"fault raised {named(error)}", error)
        if fault:
            return self._failed("controller", "it reports a fault")
        if self._ramp_ticks:
            self._advance_ramp()
        try:
            flags = self._guard(y, self._out, self._setpoint, self._settings.bounds, self._ramp)
        except TypeError:
            flags = -1 - len(self._out)
        if flags >= 0:
            self._flags |= flags
            return True
        bad = -1 - flags
        if bad < len(self._out):
            return self._failed("controller", f"output {bad} is {y[bad]}")
        return self._failed("controller", f"step returned {_kind(y)}; allowed: {_kind(self._out)}")

    def _act(self) -> bool:
        if not self._may_act():
            return False
        try:
            done = self._write(self._out)
            if done is not None:
                refuse_undone(done)
        except BaseException as error:
            return self._failed("write", f"write raised {named(error)}", error)
        return True

    def _may_act(self) -> bool:
        self._t5 = self._now()
        return self.reason is None  # else the watchdog was quicker

    def _finish(self) -> None:
        """Record the tick, and choose the next deadline."""
        t0, t6, ring, due = self._t0, self._now(), self._ring, self._due
        self._move_to(self._slot + 1)
        late_ns = t6 - self._due
        if late_ns >= 0:
            self._flags |= OVERRUN
        self._record(
            self.hists, ring.rows, ring.reals, ring.cursor, self._u, self._y, self._out, self.ticks, self._flags,
            self._epoch, self._awaited, self._due, self._before, t0, self._t1, self._t2, self._t3, self._t4, self._t5,
            t6, self._tail, self._cpu_before,
        )  # fmt: skip
        if t0 - due < self.least_ns or self.ticks % DRIFT_TICKS == 0:
            self.least_ns = t0 - due
        if late_ns >= 0:
            passed = 1 + int(late_ns / self._settings.period_ns)
            self._overran(passed, self._end_slot, f"it ended {late_ns * 1e-6:.3f} ms after the next deadline")
        elif not self._flags & LATE:
            self._in_row = 0
        self.ticks += 1
        self._before = t0 + self._due - due
        if self._stopping and self._ramp_ticks == 0:
            self.end(*(self._request or ("stopped", "")))
        elif self._slot >= self._end_slot:
            self.request("finished")
        self._cpu_before = self._cpu() - self._cpu_start
        self.beat = end = self._now()
        self._tail = end - t6

    def _failed(self, reason: str, detail: str, error: BaseException | None = None) -> bool:
        """End at once because of a fault; the tick is logged once the plant is safe. Returns False."""
        if error is not None and not isinstance(error, Exception):  # KeyboardInterrupt, or a thread that is killed
            reason = self.interrupted(error)
        self.end(reason, f"tick {self.ticks}: {detail}", error)
        self._failing = True
        return False

    def _log_failure(self) -> None:
        """Log the tick that failed, with the safe outputs."""
        if not self._failing:
            return
        self._failing, ring = False, self._ring
        raw = self._y if _kind(self._y) == _kind(self._out) else self._unknown
        self._log(
            ring.rows, ring.reals, ring.cursor, self.ticks, self._epoch + self._t0, self._flags | FAULT,
            self._u, raw, self._safe_output,
        )  # fmt: skip

    # Ramps.

    def _advance_ramp(self) -> None:
        """Move on by one tick: up to 1 after a start, down to 0 before an end."""
        self._ramp_place += 1
        share = self._ramp_place / self._ramp_ticks
        self._ramp = self._ramp_top * (1.0 - share) if self._stopping else share
        if self._ramp_place >= self._ramp_ticks:
            self._ramp = 0.0 if self._stopping else 1.0
            self._ramp_ticks = 0

    def _follow(self, reason: str, detail: str) -> None:
        """Begin the stop ramp, or end."""
        if self._settings.stop_ramp_ticks == 0 or self.ticks == 0:
            self.end(reason, detail)
            return
        self._stopping, self._ramp_top = True, self._ramp
        self._ramp_place, self._ramp_ticks = 0, self._settings.stop_ramp_ticks


def refuse_undone(result: Any) -> None:
    """Refuse a coroutine or generator in place of a result: its work is not done yet.

    Raises:
        TypeError: the result is one.

    """
    if hasattr(result, "__await__") or isinstance(result, (GeneratorType, AsyncGeneratorType)):
        close_undone(result)
        raise TypeError(f"it returned a {type(result).__name__}; allowed: to do its work before it returns")


def close_undone(result: Any) -> None:
    """Tell a coroutine that nobody will await it, else Python complains later."""
    if inspect.iscoroutine(result):
        result.close()


def named(error: BaseException) -> str:
    """Return an exception's type and its text in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _kind(value: Any) -> str:
    """Return the properties by which the compiled functions tell arrays apart."""
    if type(value) is not np.ndarray:
        return type(value).__name__
    layout = "" if value.flags.c_contiguous else ", strided"
    return f"{value.dtype} of shape {value.shape}{layout}{'' if value.flags.writeable else ', read-only'}"
