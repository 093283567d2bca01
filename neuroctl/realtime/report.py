"""The report of a loop that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from neuroctl.histogram import Histogram
from neuroctl.realtime.signals import number_of

ORDERLY: Final = ("finished", "stopped")


@dataclass(frozen=True)
class LogSummary:
    """Outcome of a log: its files, records written and lost, and the first error, if any."""

    paths: tuple[str, ...]
    written: int
    lost: int
    error: str = ""


@dataclass(frozen=True)
class LoopReport:
    """How a loop ran and why it ended.

    Args:
        reason: ``finished``, ``stopped``, or a signal's name, such as ``SIGINT``; ``read``, ``write``, ``controller``,
            ``sensor``, ``stale sensor``, ``arm``, ``overrun``, ``overrun limit``, ``watchdog``, ``host ended``,
            ``log``; or the name of an exception that is no error: ``KeyboardInterrupt``, ``SystemExit``,
            ``CancelledError``.
        detail: the reason's details in one line.
        safe: whether the plant took its safe state.
        ticks: ticks that ended with their outputs written.
        overruns: ticks that ended after the next deadline, or began a whole period late.
        skipped: number of deadlines without a tick.
        stale: ticks with stale inputs.
        late_wakes: wake-ups a whole period late or more: the process was stopped, or got no CPU time.
        worst_wake_s: lateness of the latest of them, in seconds.
        period_s: time between two deadlines.
        duration_s: from the first deadline to the end.
        drift_s: lateness of the least late of the last ticks (up to 1000), counted from the first deadline in periods.
        histograms: durations by name, see ``kernels.HISTOGRAMS``.
        messages: requests that the system refused, and errors besides the reason.
        log: outcome of the log; None without one.
        error: the exception behind the reason.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> from neuroctl.realtime import Loop
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01))
        >>> report = Loop(ctl, read=lambda u: u.fill(0.5), write=lambda y: None, overrun="catch-up").run(ticks=5)
        >>> report.ok, report.reason, report.ticks, report.histograms["wake"].count
        (True, 'finished', 5, 5)

    """

    reason: str
    detail: str
    safe: bool
    ticks: int
    overruns: int
    skipped: int
    stale: int
    late_wakes: int
    worst_wake_s: float
    period_s: float
    duration_s: float
    drift_s: float
    histograms: Mapping[str, Histogram] = field(repr=False)
    messages: tuple[str, ...] = ()
    log: LogSummary | None = None
    error: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the loop ended because it should, and the plant is safe."""
        return (self.reason in ORDERLY or self.signal is not None) and self.safe

    @property
    def signal(self) -> int | None:
        """Number of the signal that ended the loop; None if none did."""
        return number_of(self.reason)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types; durations in microseconds or seconds, as their names say."""
        names = (
            "reason", "detail", "ok", "safe", "ticks", "overruns", "skipped", "stale", "late_wakes", "worst_wake_s",
            "period_s", "duration_s", "drift_s",
        )  # fmt: skip
        fields = {name: getattr(self, name) for name in names}
        fields["histograms"] = {name: histogram.to_dict() for name, histogram in self.histograms.items()}
        fields["messages"] = list(self.messages)
        log = self.log
        fields["log"] = None if log is None else {
            "paths": list(log.paths), "written": log.written, "lost": log.lost, "error": log.error,
        }  # fmt: skip
        return fields

    def text(self) -> str:
        """Return the report as a few lines of text for people."""
        why = f"{self.reason}: {self.detail}" if self.detail else self.reason
        lines = [
            f"{why}; the plant is {'safe' if self.safe else 'NOT known to be safe'}",
            f"{self.ticks} ticks of {1e3 * self.period_s:g} ms in {self.duration_s:.1f} s: {self.overruns} overruns, "
            f"{self.skipped} deadlines skipped, {self.stale} stale inputs, drift {1e6 * self.drift_s:.0f} us",
        ]
        if self.late_wakes:
            lines.append(f"{self.late_wakes} wake-ups a period late or more, the latest by {self.worst_wake_s:.3f} s")
        lines.append(f"{'[us]':<12}{'p50':>10}{'p99':>10}{'p99.9':>10}{'p99.99':>10}{'max':>12}")
        for name, histogram in self.histograms.items():
            row = histogram.to_dict()
            figures = [row[f"{key}_us"] for key in ("p50", "p99", "p99.9", "p99.99")]
            lines.append(f"{name:<12}" + "".join(f"{v:>10.1f}" for v in figures) + f"{row['max_us']:>12.1f}")
        if self.log is not None:
            tail = f"; {self.log.error}" if self.log.error else ""
            lines.append(f"log: {', '.join(self.log.paths)}: {self.log.written} records, {self.log.lost} lost{tail}")
        return "\n".join([*lines, *(f"note: {message}" for message in self.messages)])
