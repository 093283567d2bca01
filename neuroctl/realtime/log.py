"""Log: every tick of a loop, written to files by a thread of its own that empties a ring in memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from neuroctl.checks import integer, shown
from neuroctl.errors import FileFormatError, LoopError, require
from neuroctl.realtime.arguments import choice
from neuroctl.realtime.kernels import DUE, HEAD, LOST, TAIL
from neuroctl.realtime.report import LogSummary
from neuroctl.realtime.sinks import McapSink, NpzSink, Sink
from neuroctl.realtime.ticks import Ring

_SINKS: Final[Mapping[str, Callable[[Path, Mapping[str, Any], bool], Sink]]] = {".mcap": McapSink, ".npz": NpzSink}
_SLICE: Final = 16  # records that the thread turns into text at once; some 0.2 ms of the interpreter's time
_SLICE_NS: Final = 300_000
_LOOK_S: Final = 0.05
_DRAIN_S: Final = 30.0


class Log:
    """Writes every tick of a loop. The loop puts a record into a ring and never waits; a thread empties the ring.

    Args:
        paths: files, ``.mcap`` (opens in Foxglove) or ``.npz``. A complete one of an earlier run is replaced. If one is
            being written, or was left by a run that crashed, the new one gets a number: ``run-1.mcap``.
        capacity: number of records that the ring holds. When it is full, further ones are lost, and counted.
        on_error: what the loop does when a file cannot be written: it goes ``"on"``, or is asked to ``"stop"``.

    Raises:
        LoopError: an argument is not allowed.
        BackendUnavailable: the package ``mcap`` is missing.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> from neuroctl.realtime import Loop, read_log
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01))
        >>> loop = Loop(ctl, read=lambda u: u.fill(0.5), write=lambda y: None, log=Log("run.npz"), overrun="catch-up")
        >>> loop.run(ticks=5).log.written, len(read_log("run.npz"))
        (5, 5)

    """

    def __init__(self, *paths: str | os.PathLike[str], capacity: int = 1 << 14, on_error: str = "on"):
        self._paths = tuple(map(_path, paths))
        for path in self._paths:
            if path.suffix == ".mcap":
                require("mcap.writer", "log")
        if not self._paths:
            raise LoopError("log: no file; allowed: one or more")
        if len({os.path.realpath(path) for path in self._paths}) < len(self._paths):
            raise LoopError(f"log: {', '.join(map(str, self._paths))}; allowed: each file once")
        capacity = integer("capacity", capacity, 1, 1 << 24, error=LoopError)
        choice("on_error", on_error, ("on", "stop"))
        self._thread: threading.Thread | None = None
        self._busy = False
        self.capacity, self._stops = capacity, on_error == "stop"
        self._closing = threading.Lock()

    def start(
        self, ring: Ring, about: Mapping[str, Any], request: Callable[[str, str], None], note: Callable[[str], None]
    ) -> None:
        """Create the files and start the thread. Called by the loop.

        Args:
            ring: buffer that the loop puts its records into.
            about: the loop's name, period and sizes.
            request: called to ask the loop to end, with a reason.
            note: called with a message if a file gets another name.

        Raises:
            LoopError: a file cannot be created, or another loop is using this log.

        """
        with self._closing:
            if self._busy or (self._thread is not None and self._thread.is_alive()):
                raise LoopError("log: another loop is using it; allowed: a Log of its own for each loop")
            self._busy = True
        self._ring, self._request = ring, request
        self._error = ""
        self._sinks: list[Sink] = []
        self._abandoned: list[Sink] = []
        try:
            for path in self._paths:
                self._sinks.append(_opened(path, about, note))
        except BaseException:
            for sink in self._sinks:
                sink.abandon()
            self._busy = False
            raise
        self._written_to = tuple(str(sink.path) for sink in self._sinks)
        self._over, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="neuroctl log", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """End the thread after it has emptied the ring; wait half a minute at most for a disk that hangs."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_DRAIN_S)

    def summary(self, ending: bool = False) -> LogSummary:
        """Return a summary so far; ``ending`` counts as written the records that a file gets at its end."""
        cursor = self._ring.cursor
        counts = [sink.written for sink in self._abandoned]
        counts += [sink.taken if ending else sink.written for sink in self._sinks]
        written = min(counts)
        lost = int(cursor[HEAD] + cursor[LOST]) - written
        return LogSummary(self._written_to, written, lost, self._error)

    def close(self, report: Mapping[str, Any]) -> None:
        """End the files with the loop's report; only the first call counts."""
        with self._closing:
            first, self._closed = not self._closed, True
        if not first:
            return
        if self._thread is not None and self._thread.is_alive():
            self._error = self._error or f"log: the disk did not answer for {_DRAIN_S:g} s"
        else:
            for sink in list(self._sinks):
                self._try(sink, sink.close, report)
        self._busy = False

    def _work(self) -> None:
        while True:
            over = self._over.is_set()  # before looking: later records are written in the next round
            if not self._empty() and over:
                return
            if not over:
                self._over.wait(_LOOK_S)

    def _empty(self) -> bool:
        """Write what the ring holds, slice by slice; return whether there was something."""
        cursor, rows = self._ring.cursor, self._ring.rows
        end, begin = int(cursor[HEAD]), int(cursor[TAIL])
        for tail in range(begin, end, _SLICE):
            self._let_tick_pass()
            places = np.arange(tail, min(tail + _SLICE, end)) % len(rows)
            block = rows[places]
            cursor[TAIL] = tail + len(block)
            for sink in list(self._sinks):
                self._try(sink, sink.write, block)
        return end > begin

    def _let_tick_pass(self) -> None:
        """Sleep over a tick that is near: a thread at work would keep the loop's from the interpreter's lock."""
        left_ns = int(self._ring.cursor[DUE]) - time.monotonic_ns()
        if 0 < left_ns < _SLICE_NS:
            time.sleep((left_ns + _SLICE_NS // 2) * 1e-9)

    def _try(self, sink: Sink, work: Callable[[Any], None], argument: Any) -> None:
        """Call ``work``; if it fails, give the file up and note the error: the loop goes on, or ends in order."""
        try:
            work(argument)
        except Exception as error:
            text = (getattr(error, "strerror", None) or " ".join(str(error).split())) or type(error).__name__
            self._error = self._error or f"log: {text}"
            self._sinks.remove(sink)
            self._abandoned.append(sink)
            if self._stops:
                self._request("log", text)
            sink.abandon()


def _path(path: Any) -> Path:
    try:
        if isinstance(path, (str, os.PathLike)) and (name := Path(path)).suffix in _SINKS:
            os.path.realpath(name)  # refuses an impossible file name
            return name
    except (TypeError, ValueError, OSError):
        pass
    text = str(path) if isinstance(path, (str, os.PathLike)) else shown(path)
    raise LoopError(f"log: {' '.join(text.split())}; allowed: files named {' or '.join(_SINKS)}")


def _opened(path: Path, about: Mapping[str, Any], note: Callable[[str], None]) -> Sink:
    """Open a file of this name, or of the next free number if an unfinished run owns the name.

    Raises:
        LoopError: it cannot be created.

    """
    number, name = 0, path
    while True:
        try:
            sink = _SINKS[path.suffix](name, about, number == 0)
        except FileExistsError:
            number += 1
            name = path.with_name(f"{path.stem}-{number}{path.suffix}")
        except FileFormatError as error:
            raise LoopError(f"log: {error}") from None
        except OSError as error:
            reason = error.strerror or error
            raise LoopError(f"log: {name}: {reason}; allowed: a file that can be written") from None
        else:
            break
    if number:
        note(f"log: {path} is another's, or of a run that has not ended; this one is in {name}")
    return sink
