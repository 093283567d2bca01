"""Recorded traces in tables of text (CSV): columns by name, one row a time step."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import ABOVE_0, FINITE, number, shown
from neuroctl.errors import TrainingError

Array = NDArray[Any]

_TIME_NAMES: Final = ("t", "time", "t_s", "time_s", "seconds")
_JITTER: Final = 0.01  # of dt_s
_MAX_ROWS: Final = 100_000_000
_DELIMITERS: Final = ",;\t"


@dataclass(frozen=True)
class Trace:
    """Columns of a table.

    Args:
        inputs: float64 ``[T, m]``.
        targets: float64 ``[T, q]``.
        dt_s: time between two rows in seconds.

    """

    inputs: Array
    targets: Array
    dt_s: float


def read_trace(
    path: str | Path, inputs: Sequence[str], outputs: Sequence[str], *, dt_s: float | None = None,
    time: str | None = None, resample: bool = False,
) -> Trace:  # fmt: skip
    """Return columns of a table whose first row names them.

    Args:
        path: the file; cells are separated by commas, semicolons or tabs.
        inputs: names of the columns that go in.
        outputs: names of the columns that should come out.
        dt_s: time between two steps of the controller in seconds; None: as the time column has it.
        time: name of the time column, in seconds; None: one that is called t, time, t_s, time_s or seconds, if any.
        resample: interpolate linearly where the rows are not dt_s apart.

    Raises:
        TrainingError: the file cannot be read, a column is missing, a cell is no finite number, or rows are not dt_s
            apart; names column and row, as an editor counts them.

    """
    if dt_s is not None:
        number("dt", dt_s, ABOVE_0, FINITE, "seconds greater than 0", error=TrainingError)
    header, rows = _cells(path)
    for name, names in (("inputs", inputs), ("outputs", outputs)):
        _check_names(name, names, header, path)
    if both := [name for name in outputs if name in inputs]:
        raise TrainingError(f"outputs: {both[0]!r} is among the inputs; allowed: other columns")
    clock = _clock(path, header, (*inputs, *outputs)) if time is None else time
    if clock is not None:
        _check_names("time", [clock], header, path)
    values = np.stack([_column(path, name, header.index(name), rows) for name in (*inputs, *outputs)], axis=1)
    if clock is None:
        if dt_s is None:
            raise TrainingError(f"dt: not given, and {path} has no time column; allowed: seconds, or --time COLUMN")
    else:
        times = _column(path, clock, header.index(clock), rows)
        values, dt_s = _even(path, clock, times, values, rows, dt_s, resample)
    return Trace(values[:, : len(inputs)], values[:, len(inputs) :], dt_s)


def _clock(path: str | Path, header: Sequence[str], used: Sequence[str]) -> str | None:
    """Return the column that is called like a time, and is not used otherwise; None if there is none."""
    names = [name for name in header if name.lower() in _TIME_NAMES and name not in used]
    if len(names) > 1:
        raise TrainingError(f"time: {path} has columns {' and '.join(names)}; allowed: --time with one of them")
    return names[0] if names else None


_Rows = list[tuple[int, list[str]]]
"""Rows of cells, with the lines that they end in."""


def _cells(path: str | Path) -> tuple[list[str], _Rows]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=first.count))
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (UnicodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(f"data: {str(path)!r}: {reason}; allowed: a table of text (CSV) in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TrainingError(f"data: {str(path)!r}: {reason}; allowed: a table of text (CSV)") from None
    if len(lines) < 2:
        rows = f"{len(lines)} row{'s' * (len(lines) != 1)}"
        raise TrainingError(f"data: {path}: {rows}; allowed: names of columns, then at least a row of numbers")
    header = lines[0][1]
    if any(_number(cell) is not None for cell in header):
        raise TrainingError(
            f"data: {path}: row 1 has the number {shown(_first_number(header))}; allowed: names of columns"
        )
    doubles = [name for name in header if name and header.count(name) > 1]
    if doubles:
        raise TrainingError(f"data: {path}: two columns {doubles[0]!r}; allowed: names that differ")
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise TrainingError(f"data: {path}: row {line} has {len(row)} cells; allowed: {len(header)}, as row 1")
    return header, lines[1:]


def _first_number(header: Sequence[str]) -> str:
    return next(cell for cell in header if _number(cell) is not None)


def _number(cell: str) -> float | None:
    try:
        return float(cell) if cell.isascii() and "_" not in cell else None  # which Python reads as numbers too
    except ValueError:
        return None


def _check_names(field: str, names: Sequence[str], header: Sequence[str], path: str | Path) -> None:
    if not names:
        raise TrainingError(f"{field}: none; allowed: columns of {path}: {', '.join(header)}")
    for name in names:
        if name not in header:
            raise TrainingError(f"{field}: {name!r}; allowed: columns of {path}: {', '.join(header)}")
    if len(set(names)) < len(names):
        raise TrainingError(f"{field}: {', '.join(names)}; allowed: each column once")


def _column(path: str | Path, name: str, place: int, rows: _Rows) -> Array:
    values = np.empty(len(rows))
    for k, (line, row) in enumerate(rows):
        value = _number(row[place])
        if value is None or not math.isfinite(value):
            got = shown(row[place]) if row[place] else "empty"
            comma = " with a decimal point" if "," in row[place] else ""
            raise TrainingError(f"data: {path}: row {line}, column {name!r}: {got}; allowed: a finite number{comma}")
        values[k] = value
    return values


def _even(
    path: str | Path, clock: str, times: Array, values: Array, rows: _Rows, dt_s: float | None, resample: bool
) -> tuple[Array, float]:
    """Return values that are dt_s apart, and dt_s."""
    gaps = np.diff(times)
    if not len(gaps):
        raise TrainingError(f"data: {path}: 1 row; allowed: at least 2")
    where = f"data: {path}: row {{}}, column {clock!r}"
    if (gaps <= 0).any():
        k = int(np.argmax(gaps <= 0)) + 1
        raise TrainingError(f"{where.format(rows[k][0])}: {times[k]:g} after {times[k - 1]:g}; allowed: rising times")
    step = float(f"{np.median(gaps):.9g}") if dt_s is None else dt_s  # rounding of a time like 0.30000000000000004
    wrong = np.abs(gaps - step) > _JITTER * step
    if not wrong.any():
        return values, step
    if not resample:
        k = int(np.argmax(wrong)) + 1
        allowed = f"{step:g} s, dt_s, within {_JITTER:.0%}; or --resample"
        raise TrainingError(f"{where.format(rows[k][0])}: {gaps[k - 1]:.6g} s after the row before; allowed: {allowed}")
    steps = (times[-1] - times[0]) / step + 1e-9
    if not steps < _MAX_ROWS:
        raise TrainingError(f"dt: {step:g}; allowed for {times[-1] - times[0]:g} s: at most {_MAX_ROWS:,} steps")
    even = times[0] + step * np.arange(int(steps) + 1)
    return np.stack([np.interp(even, times, column) for column in values.T], axis=1), step
