"""What the cells' C has in common: the state's members, matrices, checks of ranges, and the readout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware_export.emit.text import Column, array, shifted
from neuroctl.cells.integer import READOUT_INTS
from neuroctl.errors import ExportError
from neuroctl.maths.activations import IDENTITY, LOGISTIC
from neuroctl.quant import QuantController

Blocks = Mapping[str, NDArray[Any]]

MOST_SHIFT: Final = 30
_MOST_LEFT: Final = 16  # of an activation's argument
_MOST_FOLDED: Final = 24  # a sum below 2^30 plus a rounding of 2^24 does not overflow
_TYPES: Final = (
    ("int8_t", -(1 << 7), (1 << 7) - 1),
    ("uint8_t", 0, (1 << 8) - 1),
    ("int16_t", -(1 << 15), (1 << 15) - 1),
    ("uint16_t", 0, (1 << 16) - 1),
    ("int32_t", -(1 << 31), (1 << 31) - 1),
)
STORAGE_BYTES: Final = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}


class Field(NamedTuple):
    """One member of the state's struct: which part of the integer controller's state it equals."""

    name: str
    storage: str
    size: str
    start: int
    words: int
    text: str


class CellC(NamedTuple):
    """One cell's C: its state, its constant tables, and what its template fills in."""

    fields: list[Field]
    tables: list[str]
    values: dict[str, Any]


class Readout(NamedTuple):
    """Tables, and the expression of output ``i`` from ``sum``."""

    columns: list[Column]
    expression: str


def field(q: QuantController, block: str, storage: str, size: str, text: str) -> Field:
    """Return the member that holds one block of the state."""
    part = q.state_layout[block].part
    return Field(block, storage, size, part.start, part.stop - part.start, text)


def storage_of(low: int, high: int) -> str:
    """Return the smallest C type that holds a range."""
    return next(name for name, least, most in _TYPES if least <= low and high <= most)


def signed_storage(low: int, high: int) -> str:
    """Return int16_t if it holds a range, else int32_t."""
    return "int16_t" if low >= -(1 << 15) and high < 1 << 15 else "int32_t"


def ints(values: NDArray[Any]) -> tuple[int, ...]:
    """Return an array's numbers as plain ones."""
    return tuple(int(value) for value in values.ravel())


def column(name: str, suffix: str, size: str, values: tuple[int, ...]) -> Column:
    """Return a column in the smallest type that holds its values."""
    return Column(f"{name}_{suffix}", storage_of(min(values), max(values)), size, values)


def c_name(name: str, block: str) -> str:
    """Return the table's name of a block of theta, such as ``ctl_w_in_0`` of ``W_in.0``."""
    return f"{name}_{block.lower().replace('.', '_')}"


def matrix(q: QuantController, p: Blocks, name: str, block: str, size: str) -> str:
    """Return a matrix's table.

    Raises:
        ExportError: it does not fit the storage that its format names; a damaged file can hold such.

    """
    form = q.formats[block]
    if form.bits not in (8, 16):
        raise ExportError(f"{block}: {form.bits} bits; allowed in C: 8 or 16")
    check_range(block, p[block], form.low, form.high)
    return array(f"int{form.bits}_t", c_name(name, block), size, ints(p[block]))


def check_range(block: str, values: NDArray[Any], low: int, high: int) -> None:
    """Refuse constants that do not fit.

    Raises:
        ExportError: names the block, its range and what is allowed.

    """
    least, most = int(values.min()), int(values.max())
    if least < low or most > high:
        raise ExportError(f"{block}: {least} to {most}; allowed in C: {low} to {high}")


def check_shift(where: str, shift: int, *, argument: bool = False) -> int:
    """Return a shift to the right (negative: to the left) that C can do.

    Raises:
        ExportError: it is too far; a damaged file can hold such.

    """
    least = -_MOST_LEFT if argument else -MOST_SHIFT
    if not least <= shift <= MOST_SHIFT:
        raise ExportError(f"formats: {where} is shifted by {shift} bits; allowed in C: {least} to {MOST_SHIFT}")
    return shift


def squash(function: str, argument: str, shift: int) -> str:
    """Return the call of nc_logistic or nc_tanh on an argument that needs a shift to the right, or left if negative."""
    check_shift("an activation's argument", shift, argument=True)
    return f"nc_{function}({shifted(argument, max(0, shift))}, {max(0, -shift)}u)"


def folded(shift: int) -> int:
    """Return the rounding of a shift to the right that a bias may hold instead, or 0."""
    return 1 << (shift - 1) if 0 < shift <= _MOST_FOLDED else 0


def readout(q: QuantController, p: Blocks, name: str, at: int) -> Readout:
    """Return the readout; ``at`` is where ``readout_ints`` start in the controller's ints."""
    count, size = q.spec.outputs, f"{name.upper()}_OUTPUTS"
    shift, code, argument_shift, _ = ints(q.ints[at : at + READOUT_INTS])
    limits = at + READOUT_INTS
    low = column(name, "out_low", size, ints(q.ints[limits : limits + count]))
    high = column(name, "out_high", size, ints(q.ints[limits + count : limits + 2 * count]))
    total, columns = "sum", [low, high]
    if "b_out" in p:
        b_out = Column(f"{name}_b_out", "int32_t", size, ints(p["b_out"]))
        total, columns = f"sum + {b_out.at('i')}", [b_out, low, high]
    if code != IDENTITY:
        total = squash("logistic" if code == LOGISTIC else "tanh", total, argument_shift)
    total = shifted(total, check_shift("out", shift))
    return Readout(columns, f"nc_clip({total}, {low.at('i')}, {high.at('i')})")


def tables(columns: list[Column]) -> list[str]:
    """Return the definitions of the columns that need a table."""
    return [entry.definition for entry in columns if not entry.uniform]


def common(q: QuantController, result: Readout) -> dict[str, Any]:
    """Return what the shared parts of the templates need."""
    return {
        "bits": {block: form.bits for block, form in q.formats.items()},
        "readout": result.expression,
        "readout_is_uniform": all(entry.uniform for entry in result.columns),
    }


def zeros(count: int) -> NDArray[np.int32]:
    """Return int32 zeros."""
    return np.zeros(count, np.int32)
