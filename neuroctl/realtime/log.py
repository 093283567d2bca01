"""Log: every tick of a loop, through a ring in memory and a thread of its own, to a file."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl import io
from neuroctl.errors import FileFormatError, LoopError, require
from neuroctl.realtime.kernels import COLUMNS, DUE, FLAGS, HEAD, LOST, TAIL
from neuroctl.realtime.report import LogSummary
from neuroctl.realtime.sinks import KIND, SPOOL_SUFFIX, McapSink, NpzSink, Sink, read_spool
from neuroctl.realtime.ticks import Ring

Array = NDArray[Any]

_SINKS: Final[Mapping[str, Callable[[Path, Mapping[str, Any]], Sink]]] = {".mcap": McapSink, ".npz": NpzSink}
_SLICE: Final = 16  # records that the thread turns into text at once; some 0.2 ms of the interpreter's time
_SLICE_NS: Final = 300_000
_LOOK_S: Final = 0.05
_DRAIN_S: Final = 30.0


class Log:
    """Writes every tick of a loop. The loop puts a record into a ring and never waits; a thread empties the ring.

    Args:
        paths: files, ``.mcap`` (opens in Foxglove) or ``.npz``; existing ones are replaced.
        capacity: records that the ring holds. When the thread is so far behind, further ones are lost, and counted.
        on_error: what follows when a file cannot be written: the loop goes ``"on"``, or is asked to ``"stop"``.

    Raises:
        LoopError: an argument is not allowed.
        BackendUnavailable: the package ``mcap`` is missing.

    """

    def __init__(self, *paths: str | os.PathLike[str], capacity: int = 1 << 14, on_error: str = "on"):
        self._paths = tuple(Path(path) for path in paths)
        for path in self._paths:
            if path.suffix not in _SINKS:
                raise LoopError(f"log: {path}; allowed: files named {' or '.join(_SINKS)}")
            if path.suffix == ".mcap":
                require("mcap.writer", "log")
        if not self._paths:
            raise LoopError("log: no file; allowed: one or more")
        if len({path.resolve() for path in self._paths}) < len(self._paths):
            raise LoopError(f"log: {', '.join(map(str, self._paths))}; allowed: each file once")
        if not 1 <= capacity <= 1 << 24:
            raise LoopError(f"capacity: {capacity}; allowed: 1 to {1 << 24} records")
        if on_error not in ("on", "stop"):
            raise LoopError(f"on_error: {on_error!r}; allowed: on, stop")
        self.capacity, self._stops = capacity, on_error == "stop"

    def start(self, ring: Ring, about: Mapping[str, Any], request: Callable[[str, str], None]) -> None:
        """Create the files and start the thread. Called by the loop.

        Args:
            ring: what the loop puts its records into.
            about: the loop's name, period and sizes.
            request: asks the loop to end, with a reason.

        Raises:
            LoopError: a file cannot be created.

        """
        self._ring, self._request = ring, request
        self._error = ""
        self._sinks: list[Sink] = []
        self._abandoned: list[Sink] = []
        for path in self._paths:
            try:
                self._sinks.append(_SINKS[path.suffix](path, about))
            except (OSError, FileFormatError) as error:
                for sink in self._sinks:
                    sink.abandon()
                if isinstance(error, FileFormatError):
                    raise LoopError(f"log: {error}") from None
                raise LoopError(
                    f"log: {path}: {error.strerror or error}; allowed: a file that can be written"
                ) from None
        self._over, self._closing, self._closed = threading.Event(), threading.Lock(), False
        self._thread = threading.Thread(target=self._work, name="neuroctl log", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """End the thread after it has emptied the ring; gives a disk that hangs half a minute."""
        self._over.set()
        self._thread.join(_DRAIN_S)

    def summary(self, ending: bool = False) -> LogSummary:
        """Return what became of the records so far; ``ending`` counts as written what a file will get at its end."""
        cursor = self._ring.cursor
        counts = [sink.written for sink in self._abandoned]
        counts += [sink.taken if ending else sink.written for sink in self._sinks]
        written = min(counts)
        lost = int(cursor[HEAD] + cursor[LOST]) - written
        return LogSummary(tuple(str(path) for path in self._paths), written, lost, self._error)

    def close(self, report: Mapping[str, Any]) -> None:
        """End the files with the loop's report; only the first call counts."""
        with self._closing:
            first, self._closed = not self._closed, True
        if not first:
            return
        if self._thread.is_alive():
            self._error = self._error or f"log: the disk did not answer for {_DRAIN_S:g} s"
            return
        for sink in list(self._sinks):
            self._try(sink, sink.close, report)

    def _work(self) -> None:
        while True:
            over = self._over.is_set()  # before looking: what comes later is seen in the next round
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
        """Do it, or give the file up and say so: the loop goes on, or ends in order."""
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


@dataclass(frozen=True)
class LogData:
    """A log that was read: T records.

    Args:
        about: the loop's name, period_s, inputs, outputs, dtype, and spec.
        columns: ``tick``, ``time_ns`` (since 1970), ``flags`` and durations int64[T]; ``inputs``, ``raw`` (the
            controller's outputs) and ``outputs`` (what was written) float64[T, n].
        report: the loop's report as plain JSON types; None if the file was not ended.
        complete: whether the file was ended; else it was read up to where it breaks off.

    """

    about: dict[str, Any]
    columns: dict[str, Array] = field(repr=False)
    report: dict[str, Any] | None = field(repr=False)
    complete: bool

    def __len__(self) -> int:
        return len(self.columns["tick"])

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def flag(self, name: str) -> Array:
        """Return where a flag is set, bool[T]; names are in ``kernels.FLAGS``."""
        return (self.columns["flags"] >> FLAGS.index(name) & 1).astype(bool)


def read_log(path: str | os.PathLike[str]) -> LogData:
    """Read an ``.mcap`` or ``.npz`` log, or the ``.npz.part`` that a killed process left.

    Raises:
        FileFormatError: the file is missing, or no log of a loop.
        BackendUnavailable: the package ``mcap`` is missing.

    """
    name = os.fspath(path)
    if name.endswith(SPOOL_SUFFIX):
        about, rows = read_spool(path)
        return LogData(about, {key: rows[key] for key in rows.dtype.names or ()}, None, False)
    if name.endswith(".mcap"):
        return _read_mcap(path)
    archive = io.read_archive(path)
    io.expect_kind(archive, KIND, path)
    return LogData(archive.fields["about"], archive.arrays, archive.fields["report"], True)


def _read_mcap(path: str | os.PathLike[str]) -> LogData:
    try:
        return _from_records(path)
    except FileFormatError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # What lies outside the chunks has no checksum.
        named = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise FileFormatError(f"{os.fspath(path)}: damaged: {named}") from None


def _from_records(path: str | os.PathLike[str]) -> LogData:
    records = require("mcap.records", "log")
    about: dict[str, Any] = {}
    report: dict[str, Any] | None = None
    topics: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    complete = False
    for found in _records(path):
        if isinstance(found, records.Metadata) and found.name == "neuroctl":
            about = json.loads(found.metadata["about"])
        elif isinstance(found, records.Channel):
            topics[found.id] = found.topic
        elif isinstance(found, records.Message) and topics.get(found.channel_id, "").endswith("/report"):
            report = json.loads(found.data)
        elif isinstance(found, records.Message):
            rows.append(json.loads(found.data) | {"time_ns": found.log_time})
        elif isinstance(found, records.Footer):
            complete = True
    if not about:
        raise FileFormatError(f"{os.fspath(path)}: a foreign file; allowed: a log of a loop")
    columns: dict[str, Array] = {name: np.array([row[name] for row in rows], np.int64) for name in COLUMNS}
    for name, size in (("inputs", "inputs"), ("raw", "outputs"), ("outputs", "outputs")):
        values = np.array([row[name] for row in rows], np.float64).reshape(len(rows), about[size])
        columns[name] = values.astype(about["dtype"]).astype(np.float64)  # JSON holds as many digits as that needs
    return LogData(about, columns, report, complete)


def _records(path: str | os.PathLike[str]) -> Any:
    """Yield a file's records up to its end, or to where it breaks off."""
    reader = require("mcap.stream_reader", "log")
    errors = require("mcap.exceptions", "log")
    try:
        with open(path, "rb") as file:
            yield from reader.StreamReader(file, validate_crcs=True).records
    except OSError as error:
        raise FileFormatError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from None
    except (errors.McapError, ValueError, RuntimeError, EOFError, struct.error):
        return  # broken off, or damaged: what came before it counts
