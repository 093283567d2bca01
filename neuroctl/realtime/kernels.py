"""The compiled parts of a tick, besides the callbacks and the controller: check, guard, record."""

from __future__ import annotations

import math
from typing import Any, Final

from neuroctl.histogram import record_into
from neuroctl.maths.jit import jit_held, jit_integer

WAKE, JITTER, READ, CONTROLLER, WRITE, LIBRARY, LATENCY, CPU = range(8)
HISTOGRAMS: Final = ("wake", "jitter", "read", "controller", "write", "library", "latency", "cpu")
"""Rows of a loop's histograms. [ns]

wake: from the deadline to the moment the thread ran: the scheduler's lateness, and the interpreter's lock.
jitter: how far the time between two starts is off the whole periods between them.
read, controller, write: inside the callbacks and the controller's step.
library: the rest of a tick, from the wake-up to the moment before the next sleep: this package's own share.
latency: from the deadline until the outputs were written.
cpu: CPU time of the thread in the whole tick: what exceeds it in wall time is waiting, and other threads'.
"""

OVERRUN, STALE, LIMITED, SLEWED, RAMP, LATE, FAULT = (1 << bit for bit in range(7))
FLAGS: Final = ("overrun", "stale", "limited", "slewed", "ramp", "late", "fault")
"""Bits of a record's flags.

overrun: the tick ended after the next deadline. stale: the inputs are those of an earlier tick.
limited, slewed, ramp: an output was changed by its limits, its slew rate, a start or stop ramp.
late: the thread woke a whole period late or more. fault: the tick ended the loop, and its outputs are the safe ones.
"""

LOW, HIGH, SLEW, SAFE = range(4)
"""Rows of ``bounds`` float64[4, outputs]: limits, the largest change in a tick, the safe output."""

HEAD, TAIL, LOST, DUE = range(4)
"""Places in ``cursor`` int64[4]: records put in, records taken out, records lost, the next deadline [ns]."""

COLUMNS: Final = ("tick", "time_ns", "flags", "wake_ns", "read_ns", "controller_ns", "write_ns", "library_ns")
"""Integers at a record's beginning; inputs, the controller's raw outputs and the outputs follow as float64."""


@jit_held
def first_bad(u: Any) -> Any:
    """Return the place of the first NaN or Inf in u float[n], else -1. Allocates nothing, raises nothing."""
    for i in range(len(u)):
        if not math.isfinite(u[i]):
            return i
    return -1


@jit_held
def guard(y: Any, out: Any, setpoint: Any, bounds: Any, ramp: Any) -> Any:
    """Let outputs through: out = clip(safe + ramp (y - safe)), no further from the last ones than the slew rate allows.

    y: float[m], the controller's; read.
    out: the controller's dtype [m], what is written to the plant; written, but for a NaN or Inf in y.
    setpoint: float64[m], the last output before rounding to out's dtype; read and written.
    bounds: float64[4, m], rows ``LOW`` to ``SAFE``; read.
    ramp: 0 (safe) to 1 (the controller's).
    Returns flags, or -1 - i for a NaN or Inf in y[i], or -1 - m for a y of another length.
    Allocates nothing, raises nothing.
    """
    m = len(out)
    if len(y) != m:
        return -1 - m
    for i in range(m):
        if not math.isfinite(y[i]):
            return -1 - i
    flags = 0 if ramp == 1 else RAMP
    for i in range(m):
        value = bounds[SAFE, i] * (1 - ramp) + y[i] * ramp
        if not bounds[LOW, i] <= value <= bounds[HIGH, i]:
            value = min(max(value, bounds[LOW, i]), bounds[HIGH, i])
            flags |= LIMITED
        if abs(value - setpoint[i]) > bounds[SLEW, i]:
            value = setpoint[i] + math.copysign(bounds[SLEW, i], value - setpoint[i])
            flags |= SLEWED
        setpoint[i] = value
        out[i] = value
    return flags


@jit_integer
def put(ring: Any, reals: Any, cursor: Any, slot: Any, u: Any, y: Any, out: Any) -> None:
    """Copy inputs, raw outputs and outputs into a record, and hand it to the writer."""
    place = len(COLUMNS)
    for i in range(len(u)):
        reals[slot, place + i] = u[i]
    place += len(u)
    for i in range(len(out)):
        reals[slot, place + i] = y[i]
        reals[slot, place + len(out) + i] = out[i]
    cursor[HEAD] += 1


@jit_held
def free_slot(ring: Any, cursor: Any) -> Any:
    """Return the next record's slot; below 0 if nothing is logged, or if the ring is full, which counts as lost."""
    if len(ring) == 0:
        return -1
    if cursor[HEAD] - cursor[TAIL] >= len(ring):
        cursor[LOST] += 1
        return -1
    return cursor[HEAD] % len(ring)


@jit_held
def log(ring: Any, reals: Any, cursor: Any, tick: Any, time_ns: Any, flags: Any, u: Any, y: Any, out: Any) -> None:
    """Put a record of an unfinished tick into the ring; the arguments are those of ``record``."""
    slot = free_slot(ring, cursor)
    if slot < 0:
        return
    for column in range(len(COLUMNS)):
        ring[slot, column] = 0
    ring[slot, 0], ring[slot, 1], ring[slot, 2] = tick, time_ns, flags
    put(ring, reals, cursor, slot, u, y, out)


@jit_held
def record(
    hists: Any, ring: Any, reals: Any, cursor: Any, u: Any, y: Any, out: Any,
    tick: Any, flags: Any, epoch: Any, due: Any, next_due: Any, before: Any, t0: Any, t1: Any, t2: Any, t3: Any,
    t4: Any, t5: Any, t6: Any, tail: Any, cpu: Any,
) -> None:  # fmt: skip
    """Count a tick's durations, and put its record into the ring unless that is full.

    hists: int64[HISTOGRAMS, SIZE], written.
    ring, reals: one memory as int64 and as float64 [capacity, columns], written; of no length: nothing is logged.
    cursor: int64[4], see ``HEAD``.
    u, y, out: inputs, raw outputs, outputs; read.
    tick, flags: number of the tick; bits, see ``FLAGS``.
    epoch: offset from the loop's times to those since 1970 [ns].
    due, next_due: this tick's deadline and the next one [ns].
    before: start of this tick at which the jitter would be 0 [ns]; below 0 in the first.
    t0 to t6: wake-up; read began, ended; step began, ended; write began, ended [ns].
    tail, cpu: of the last tick: the library's time after t6, and CPU time [ns]; cpu is below 0 in the first.
    Allocates nothing, raises nothing.
    """
    library = t1 - t0 + t3 - t2 + t5 - t4 + tail
    record_into(hists, WAKE, t0 - due)
    if before >= 0:
        record_into(hists, JITTER, abs(t0 - before))
    record_into(hists, READ, t2 - t1)
    record_into(hists, CONTROLLER, t4 - t3)
    record_into(hists, WRITE, t6 - t5)
    record_into(hists, LIBRARY, library)
    record_into(hists, LATENCY, t6 - due)
    if cpu >= 0:
        record_into(hists, CPU, cpu)
    cursor[DUE] = next_due
    slot = free_slot(ring, cursor)
    if slot < 0:
        return
    ring[slot, 0], ring[slot, 1], ring[slot, 2], ring[slot, 3] = tick, epoch + t0, flags, t0 - due
    ring[slot, 4], ring[slot, 5], ring[slot, 6], ring[slot, 7] = t2 - t1, t4 - t3, t6 - t5, library
    put(ring, reals, cursor, slot, u, y, out)
