"""Output files of a log's thread: MCAP, and a plain spool that becomes an ``.npz``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroctl import machine
from neuroctl.errors import FileFormatError, require
from neuroctl.io import output_file, write_archive
from neuroctl.realtime.kernels import COLUMNS, FLAGS

KIND: Final = "log"
SPOOL_SUFFIX: Final = ".part"
_MCAP_MAGIC: Final = b"\x89MCAP0\r\n"
_FLUSH_S: Final = 0.5
_MAX_CHUNK_BYTES: Final = 1 << 20
_MAX_NPZ_BYTES: Final = 1 << 30  # of a spool that is turned into an .npz, which takes as much memory

Rows = NDArray[np.int64]


class Sink(Protocol):
    """An output file for a loop's records."""

    @property
    def path(self) -> Path:
        """Path of the file."""
        ...

    @property
    def written(self) -> int:
        """Number of complete records in the file, as of now."""
        ...

    @property
    def taken(self) -> int:
        """Number of records passed to ``write`` so far."""
        ...

    def write(self, rows: Rows) -> None:
        """Write n records, int64[n, columns]. Real numbers are float64 bit patterns."""
        ...

    def close(self, report: Mapping[str, Any]) -> None:
        """Add the loop's report, of plain JSON types, and close the file."""
        ...

    def abandon(self) -> None:
        """Close the file as it is, after a write error."""
        ...


def row_type(inputs: int, outputs: int) -> np.dtype[Any]:
    """Return the structured dtype of a record: int64 columns, then inputs, raw outputs and outputs as float64."""
    whole = [(name, "<i8") for name in COLUMNS]
    return np.dtype([*whole, ("inputs", "<f8", (inputs,)), ("raw", "<f8", (outputs,)), ("outputs", "<f8", (outputs,))])


def _claim(path: Path, may_replace: Callable[[int], bool]) -> int:
    """Open a file, emptied, that no other run is writing to or has left unfinished; return its descriptor.

    Args:
        path: its name.
        may_replace: whether an existing file, given by its open descriptor, may be replaced.

    Raises:
        FileExistsError: another run is writing to it, or it may not be replaced.
        FileFormatError: it is no regular file.
        OSError: it cannot be created.

    """
    handle = os.open(output_file(path), os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _lock(handle, path)
        if os.fstat(handle).st_size and not may_replace(handle):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.lseek(handle, 0, os.SEEK_SET)
        os.ftruncate(handle, 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _lock(handle: int, path: Path) -> None:
    """Keep other runs, including those of this process, from a file until it is closed."""
    try:
        machine.lock(handle, f"log: {path.name}")
    except BlockingIOError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
    except OSError:  # some file systems know no locks
        pass


def _is_log(path: Path) -> bool:
    """Whether an ``.npz`` is a log; its arrays are not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f'"kind":"{KIND}"'.encode() in archive.read("header.npy")
    except (OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def _never(_handle: int) -> bool:
    return False


class NpzSink:
    """Raw records in ``FILE.npz.part`` after one line of JSON; ``close`` turns them into ``FILE.npz``.

    If the process is killed, the ``.part`` file remains; ``read_log`` can read it.

    Args:
        path: ``FILE.npz``.
        about: the loop's name, period and sizes.
        replace: whether an existing log ``FILE.npz`` may be replaced. A ``.part`` file or any other file never is.

    Raises:
        FileExistsError: another run is writing to this file, or a file exists that may not be replaced.
        FileFormatError: the path is not that of a regular file.
        OSError: the file cannot be created.

    """

    def __init__(self, path: Path, about: Mapping[str, Any], replace: bool):
        if output_file(path).exists() and not (replace and _is_log(path)):  # now, and not when it is written
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.path, self._about = path, dict(about)
        self._bytes, self._row_bytes = 0, row_type(about["inputs"], about["outputs"]).itemsize
        self._spool = path.with_name(path.name + SPOOL_SUFFIX)
        self._file = open(_claim(self._spool, _never), "wb", buffering=0)  # noqa: SIM115
        try:
            self._put(json.dumps({"format": "neuroctl", "kind": KIND, "about": self._about}).encode() + b"\n")
        except OSError:
            self._file.close()
            raise
        self._bytes = 0

    @property
    def written(self) -> int:
        """Number of complete records in the spool."""
        return self._bytes // self._row_bytes

    @property
    def taken(self) -> int:
        """Number of records passed to ``write``: the same as ``written``, as nothing is buffered."""
        return self.written

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            count = self._file.write(left)
            left, self._bytes = left[count:], self._bytes + count

    def write(self, rows: Rows) -> None:
        """Write records."""
        self._put(rows.astype("<i8", copy=False).tobytes())

    def close(self, report: Mapping[str, Any]) -> None:
        """Turn the spool into an ``.npz``.

        Raises:
            FileFormatError: the ``.npz`` cannot be written, or would exceed 1 GiB; the spool remains.

        """
        self._file.close()
        if os.path.getsize(self._spool) > _MAX_NPZ_BYTES:
            raise FileFormatError(f"{self._spool}: too long for an .npz, so it stays; read_log reads it")
        _, rows = read_spool(self._spool)
        fields = {"about": self._about, "report": dict(report)}
        write_archive(self.path, KIND, fields, {name: rows[name] for name in rows.dtype.names or ()})
        os.unlink(self._spool)

    def abandon(self) -> None:
        """Leave the spool as it is."""
        self._file.close()


def read_spool(path: str | os.PathLike[str]) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return a spool's field ``about`` and its complete records, a structured array; see ``row_type``.

    Raises:
        FileFormatError: the file cannot be read, or is not the spool of a log.

    """
    try:
        with open(path, "rb") as file:
            head = json.loads(file.readline(1 << 20))
            data = file.read()
        about = head["about"]
        kind = row_type(int(about["inputs"]), int(about["outputs"]))
    except OSError as error:
        raise FileFormatError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise FileFormatError(f"{os.fspath(path)}: a foreign file; allowed: a log of a loop") from None
    return about, np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)


class McapSink:
    """MCAP file with one JSON message per record on ``/NAME``, in compressed chunks of about half a second.

    A message's log time is the wake-up time in nanoseconds since 1970. NaN and Inf are written as null, as JSON has
    neither. The loop's report is a message on ``/NAME/report``. If the process is killed, the last chunk is lost.

    Args:
        path: the file.
        about: the loop's name, period and sizes.
        replace: whether an existing complete MCAP file may be replaced. Any other file never is.

    Raises:
        FileExistsError: another run is writing to this file, or a file exists that may not be replaced.
        FileFormatError: the path is not that of a regular file.
        OSError: the file cannot be created.

    """

    def __init__(self, path: Path, about: Mapping[str, Any], replace: bool):
        writer = require("mcap.writer", "log")
        self.path = path
        self.written = self.taken = 0
        self._width = len(COLUMNS)
        self._text, longest = _template(about)
        self._file = open(_claim(path, _mcap_ended if replace else _never), "wb")  # noqa: SIM115
        # A chunk is what is lost if the process is killed; the library closes it by its size.
        chunk = int(min(_MAX_CHUNK_BYTES, max(256, longest * _FLUSH_S / about["period_s"])))
        try:
            self._writer = writer.Writer(self._file, chunk_size=chunk, compression=writer.CompressionType.LZ4)
            self._writer.start(library="neuroctl")
            self._writer.add_metadata("neuroctl", {"about": json.dumps(about)})
            self._channel = self._topic(f"/{about['name']}", "neuroctl.Tick", _schema(about))
            self._file.flush()
        except OSError:
            self.abandon()
            raise
        self._report_topic = f"/{about['name']}/report"
        self._last_ns = 0

    def _topic(self, topic: str, name: str, schema: Mapping[str, Any]) -> int:
        schema_id = self._writer.register_schema(name=name, encoding="jsonschema", data=json.dumps(schema).encode())
        return int(self._writer.register_channel(topic=topic, message_encoding="json", schema_id=schema_id))

    def write(self, rows: Rows) -> None:
        """Write records."""
        whole, reals = rows[:, : self._width].tolist(), rows.view(np.float64)[:, self._width :].tolist()
        for numbers, values in zip(whole, reals, strict=True):
            tick, time_ns, flags, *durations = numbers
            text = self._text % (
                tick,
                flags,
                *(_BOOL[flags >> bit & 1] for bit in range(len(FLAGS))),
                *durations,
                *values,
            )
            if "nan" in text or "inf" in text:
                text = text.replace("-inf", "null").replace("inf", "null").replace("nan", "null")
            self.taken += 1
            if self._message(self._channel, time_ns, text, tick):
                self.written = self.taken

    def _message(self, channel: int, time_ns: int, text: str, sequence: int) -> bool:
        """Write a message; return whether it and all those before it have reached the file."""
        before = self._file.tell()
        self._writer.add_message(channel, log_time=time_ns, data=text.encode(), publish_time=time_ns, sequence=sequence)
        self._last_ns = time_ns
        if self._file.tell() != before:  # a chunk was closed
            self._file.flush()
            return True
        return False

    def close(self, report: Mapping[str, Any]) -> None:
        """Write the report, the last chunk and the index."""
        schema = {"type": "object", "properties": {name: _json_type(value) for name, value in report.items()}}
        channel = self._topic(self._report_topic, "neuroctl.LoopReport", schema)
        self._message(channel, self._last_ns, json.dumps(report), 0)
        self._writer.finish()
        self._file.close()
        self.written = self.taken

    def abandon(self) -> None:
        """Close the file after a write error, without another flush. Records not yet in the file are lost."""
        with contextlib.suppress(OSError):
            self._file.raw.close()


def _mcap_ended(handle: int) -> bool:
    """Whether a file is a complete MCAP: it begins and ends with the same magic bytes."""
    size = len(_MCAP_MAGIC)
    begin = os.read(handle, size)
    return (
        os.fstat(handle).st_size >= 2 * size
        and os.lseek(handle, -size, os.SEEK_END) > 0
        and begin == _MCAP_MAGIC == os.read(handle, size)
    )


_BOOL: Final = ("false", "true")


def _template(about: Mapping[str, Any]) -> tuple[str, int]:
    """Return a record's JSON with placeholders for its numbers, and an estimate of its greatest length."""
    real = "%.9g" if about["dtype"] == "float32" else "%.17g"
    parts = ['"tick":%d', '"flags":%d', *(f'"{name}":%s' for name in FLAGS), *(f'"{name}":%d' for name in COLUMNS[3:])]
    for name, count in _arrays(about).items():
        parts.append(f'"{name}":[{",".join([real] * count)}]')
    text = "{" + ",".join(parts) + "}"
    return text, len(text) + 8 * sum(_arrays(about).values())


def _arrays(about: Mapping[str, Any]) -> dict[str, int]:
    return {"inputs": about["inputs"], "raw": about["outputs"], "outputs": about["outputs"]}


def _schema(about: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"type": "integer"} for name in COLUMNS if name != "time_ns"}
    properties |= {name: {"type": "boolean"} for name in FLAGS}
    properties |= {name: {"type": "array", "items": {"type": "number"}} for name in _arrays(about)}
    return {"title": "neuroctl.Tick", "type": "object", "properties": properties}


def _json_type(value: Any) -> dict[str, str]:
    kinds: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return {"type": kinds.get(type(value), "object")}
