"""Reading logs back, including truncated, damaged and malicious ones."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl import io
from neuroctl.errors import FileFormatError, require
from neuroctl.realtime.kernels import COLUMNS, FLAGS
from neuroctl.realtime.sinks import KIND, SPOOL_SUFFIX, read_spool

Array = NDArray[Any]

_MAX_CHUNK_BYTES: Final = 1 << 24
"""Largest size of a decompressed chunk, 16 times ours. A few hundred bytes may claim to hold terabytes."""


@dataclass(frozen=True)
class LogData:
    """The contents of a log: T records.

    Args:
        about: the loop's name, period_s, inputs, outputs, dtype, and spec.
        columns: ``tick``, ``time_ns`` (since 1970), ``flags`` and durations int64[T]; ``inputs``, ``raw`` (the
            controller's outputs) and ``outputs`` (what was written) float64[T, n].
        report: the loop's report as plain JSON types; None if the file is incomplete.
        complete: whether the file has its end; else it was read up to the last intact record.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> from neuroctl.realtime import Loop
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01))
        >>> loop = Loop(ctl, read=lambda u: u.fill(0.5), write=lambda y: None, log="run.npz", overrun="catch-up")
        >>> report = loop.run(ticks=5)
        >>> data = read_log("run.npz")
        >>> data.complete, data["inputs"].shape, data["tick"].tolist()
        (True, (5, 1), [0, 1, 2, 3, 4])

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
        """Return the ticks at which a flag is set, bool[T]; names are in ``kernels.FLAGS``."""
        return (self.columns["flags"] >> FLAGS.index(name) & 1).astype(bool)


def read_log(path: str | os.PathLike[str]) -> LogData:
    """Read an ``.mcap`` or ``.npz`` log, or the ``.npz.part`` that a killed process left.

    Raises:
        FileFormatError: the file is missing, damaged, or no log of a loop.
        BackendUnavailable: the package ``mcap`` is missing.

    """
    name = io.file_name(path)
    try:
        return _checked(name, _read(name))
    except FileFormatError:
        raise
    except (
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError
    ) as error:  # fmt: skip
        # What lies outside an MCAP's chunks has no checksum.
        named = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
        raise FileFormatError(f"{name}: damaged: {named}") from None


def _read(name: str) -> LogData:
    if name.endswith(SPOOL_SUFFIX):
        about, rows = read_spool(name)
        return LogData(about, {key: rows[key] for key in rows.dtype.names or ()}, None, False)
    if name.endswith(".mcap"):
        return _read_mcap(name)
    archive = io.read_archive(name)
    io.expect_kind(archive, KIND, name)
    return LogData(archive.fields["about"], archive.arrays, archive.fields["report"], True)


def _checked(name: str, data: LogData) -> LogData:
    """Return the log after a check of the fields, types and shapes that its users rely on.

    Raises:
        FileFormatError: a field is missing, or of another type or shape.

    """
    about, report = data.about, data.report
    if not isinstance(about, dict):
        raise FileFormatError(f"{name}: a foreign file; allowed: a log of a loop")
    period_s = about["period_s"]
    if not (isinstance(about["name"], str) and isinstance(period_s, Real) and 0 < float(period_s) < math.inf):
        raise FileFormatError(f"{name}: damaged: the loop's name or period")
    if report is not None and not (isinstance(report, dict) and isinstance(report.get("reason"), str)):
        raise FileFormatError(f"{name}: damaged: the loop's report")
    shapes = {column: (len(data),) for column in COLUMNS} | {
        column: (len(data), about[sizes]) for column, sizes in _SIZES.items()
    }
    for column, shape in shapes.items():
        kind = "i" if column in COLUMNS else "f"
        if data[column].shape != shape or data[column].dtype.kind != kind:
            raise FileFormatError(f"{name}: damaged: {column}: {data[column].dtype} of shape {data[column].shape}")
    return data


_SIZES: Final[Mapping[str, str]] = {"inputs": "inputs", "raw": "outputs", "outputs": "outputs"}


def _read_mcap(name: str) -> LogData:
    records = require("mcap.records", "log")
    about: dict[str, Any] = {}
    report: dict[str, Any] | None = None
    topics: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    complete = False
    for record in _records(name):
        if isinstance(record, records.Metadata) and record.name == "neuroctl":
            about = json.loads(record.metadata["about"])
        elif isinstance(record, records.Channel):
            topics[record.id] = record.topic
        elif isinstance(record, records.Message) and topics.get(record.channel_id, "").endswith("/report"):
            report = json.loads(record.data)
        elif isinstance(record, records.Message):
            rows.append(json.loads(record.data) | {"time_ns": record.log_time})
        elif isinstance(record, records.Footer):
            complete = True
    if not about:
        raise FileFormatError(f"{name}: a foreign file; allowed: a log of a loop")
    columns: dict[str, Array] = {column: np.array([row[column] for row in rows], np.int64) for column in COLUMNS}
    dtype = {"float32": np.float32, "float64": np.float64}[about["dtype"]]
    for column, size in _SIZES.items():
        values = np.array([row[column] for row in rows], np.float64).reshape(len(rows), about[size])
        with np.errstate(over="ignore"):
            columns[column] = values.astype(dtype).astype(np.float64)  # JSON holds as many digits as that needs
    return LogData(about, columns, report, complete)


def _records(name: str) -> Iterator[Any]:
    """Yield an MCAP's records up to its end, or to the first damaged one."""
    reader, chunk = require("mcap.stream_reader", "log"), require("mcap.records", "log").Chunk
    errors = require("mcap.exceptions", "log")
    try:
        with open(name, "rb") as file:
            for record in reader.StreamReader(_Bounded(file), emit_chunks=True, validate_crcs=True).records:
                if isinstance(record, chunk):
                    yield from reader.breakup_chunk(_decompressed(record), validate_crc=True)
                else:
                    yield record
    except OSError as error:
        raise FileFormatError(f"{name}: cannot be read: {error.strerror or error}") from None
    except (errors.McapError, ValueError, RuntimeError, EOFError, struct.error):
        return  # broken off, or damaged: what came before it counts


class _Bounded:
    """A file whose reads are capped at its size: a damaged length would ask for exabytes of memory."""

    def __init__(self, file: IO[bytes]):
        self._file, self._left = file, os.fstat(file.fileno()).st_size

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or the rest of the file if that is less."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def _decompressed(chunk: Any) -> Any:
    """Return a chunk with its records decompressed.

    Raises:
        ValueError: it is damaged, or holds more than ``_MAX_CHUNK_BYTES``.

    """
    if chunk.compression == "lz4":
        lz4 = require("lz4.frame", "log").LZ4FrameDecompressor()
        data = lz4.decompress(chunk.data, max_length=_MAX_CHUNK_BYTES)
        if not lz4.eof:
            raise ValueError(f"a chunk: broken off, or more than {_MAX_CHUNK_BYTES} bytes")
    elif chunk.compression == "zstd":  # not by us: other tools compress files anew
        zstd = require("zstandard", "log")
        try:
            decompressor = zstd.ZstdDecompressor(max_window_size=_MAX_CHUNK_BYTES)
            data = decompressor.stream_reader(chunk.data).read(_MAX_CHUNK_BYTES)
        except zstd.ZstdError as error:
            raise ValueError(f"a chunk: {error}") from None
    else:
        return chunk
    return dataclasses.replace(chunk, compression="", data=data)
