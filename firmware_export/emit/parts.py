"""Common parts of the cells' C: the state's members, matrices, checks of ranges, and the readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.fixed.base import READOUT_INTS
from neuroctl.cells.fixed.narrow import WEIGHT_BITS
from neuroctl.checks import choice_of
from neuroctl.errors import ExportError
from neuroctl.maths.activations import IDENTITY, LOGISTIC
from neuroctl.quant import QuantController

from .text import Column, Matrix, Table, shifted

Blocks = Mapping[str, NDArray[Any]]

_MAX_FOLDED_SHIFT: Final = 24  # a sum below 2^30 plus a rounding of 2^24 does not overflow
_TYPES: Final = (
    ("int8_t", -(1 << 7), (1 << 7) - 1),
    ("uint8_t", 0, (1 << 8) - 1),
    ("int16_t", -(1 << 15), (1 << 15) - 1),
    ("uint16_t", 0, (1 << 16) - 1),
    ("int32_t", -(1 << 31), (1 << 31) - 1),
    ("uint32_t", 0, (1 << 32) - 1),
)
PACKED_BITS: Final = tuple(bits for bits in WEIGHT_BITS if bits < 8)
STORAGE_BYTES: Final = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}


class Field(NamedTuple):
    """One member of the state's struct, and the part of the integer controller's state that it equals.

    ``ranges``: (low, high) of its words, one pair for each of its equal parts.
    """

    name: str
    storage: str
    size: str
    start: int
    words: int
    ranges: tuple[tuple[int, int], ...]
    text: str


@dataclass(frozen=True)
class CellC:
    """One cell's C: its state, its tables, the values for its template, and the bytes of its step's arrays."""

    fields: list[Field]
    columns: Sequence[Column | Table]
    values: dict[str, Any]
    scratch_bytes: int = 0

    @property
    def tables(self) -> list[str]:
        """The definitions of the constant tables."""
        return [entry.definition for entry in self.columns if not (entry.parameter or entry.uniform)]

    @property
    def params(self) -> list[Column]:
        """The tables that may change on the board, in the order in which they are sent."""
        return [entry for entry in self.columns if isinstance(entry, Column) and entry.parameter]


@dataclass(frozen=True)
class ParameterStorage:
    """Storage of theta in the C: as constants, or as parameters that can be replaced on the board.

    Constants have the smallest storage, and are literals in the code if all are equal. Parameters are members of a
    struct in RAM, in a storage that fits all values, so that all controllers of a shape have the same code.
    """

    name: str
    tunable: bool = False
    inside: str = ""
    """The controller that this is a part of, whose struct has its parameters; its name begins with that one's."""

    @property
    def at(self) -> str:
        """Prefix of the C name of a table of theta."""
        if self.tunable and self.inside:
            return f"{self.inside}_live->{self.name.removeprefix(self.inside).removeprefix('_')}_"
        return f"{self.name}_{'live->' if self.tunable else ''}"

    def column(
        self, suffix: str, size: str, values: tuple[int, ...], *, constant: str = "", parameter: str = "int32_t"
    ) -> Column:
        """Return a column of theta; ``constant`` and ``parameter`` are its storage, ``""`` the smallest that fits.

        Raises:
            ExportError: a parameter does not fit its storage.

        """
        if not self.tunable:
            return Column(f"{self.at}{suffix}", constant or storage_of(min(values), max(values)), size, values)
        low, high = next((low, high) for name, low, high in _TYPES if name == parameter)
        check_range(suffix, np.array(values), low, high)
        return Column(f"{self.at}{suffix}", parameter, size, values, parameter=True)


class Readout(NamedTuple):
    """Tables, and the expression of output ``i`` from ``sum``."""

    columns: list[Column]
    expression: str


def state_struct_bytes(fields: Sequence[Field]) -> int:
    """Return the size in bytes of a state's struct with aligned words: a CRC-32 and these members."""
    size = 4
    for member in fields:
        word = STORAGE_BYTES[member.storage]
        size = -(-size // word) * word + word * member.words
    return -(-size // 4) * 4


def field(q: QuantController, block: str, size: str, text: str) -> Field:
    """Return the member for one block of the state."""
    part = next(part for part in q.state_words if part.name == block)
    return Field(block, f"{part.storage}_t", size, part.start, part.words, ((part.low, part.high),), text)


def field_of_layers(q: QuantController, block: str, text: str, big: str) -> Field:
    """Return the member for a block of the state of all layers, which C keeps in one array; ``big`` is its prefix."""
    n, layers = q.spec.neurons, q.spec.layers
    words = q.state_words[:layers]
    size = f"{big}_NEURONS" if layers == 1 else f"{layers} * {big}_NEURONS"
    reach = tuple((part.low, part.high) for part in words)
    return Field(block, f"{words[0].storage}_t", size, words[0].start, layers * n, reach, text)


class Start(NamedTuple):
    """What a member of the state starts from: its table, none where that is 0, and the expression of word ``i``."""

    columns: list[Column]
    expression: str


def start(q: QuantController, parameters: ParameterStorage, member: Field, blocks: Sequence[str]) -> Start:
    """Return what a reset sets a member to: the blocks of theta one behind the other, or 0 where theta has none.

    Raises:
        ExportError: a number does not fit the member; a damaged file can hold such.

    """
    p = q.layout.views(q.theta_q)
    if q.spec.initial_state != "learned":
        return Start([], "0")
    values = tuple(value for block in blocks for value in ints(p[block]))
    name = blocks[0].partition(".")[0]
    column = parameters.column(name, member.size, values, parameter=member.storage)
    return Start([column], column.at("i"))


def storage_of(low: int, high: int) -> str:
    """Return the smallest C type that holds a range."""
    return next(name for name, smallest, largest in _TYPES if smallest <= low and high <= largest)


def ints(values: NDArray[Any]) -> tuple[int, ...]:
    """Return an array's numbers as Python's integers."""
    return tuple(int(value) for value in values.ravel())


def column(name: str, suffix: str, size: str, values: tuple[int, ...]) -> Column:
    """Return a column in the smallest type that holds its values."""
    return Column(f"{name}_{suffix}", storage_of(min(values), max(values)), size, values)


def suffix_of(block: str) -> str:
    """Return the suffix of a table's name for a block of theta, such as ``w_in_0`` for ``W_in.0``."""
    return block.lower().replace(".", "_")


def row_bytes(columns: int, bits: int) -> int:
    """Return the bytes of a row of weights: rows begin at whole ones."""
    return -(-columns * bits // 8)


def packed(weights: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return the bytes ``[to, row_bytes]`` of weights ``[to, from]``, as ``nc_packed.h`` reads them."""
    places = (weights[..., None] >> np.arange(bits)) & 1
    return np.packbits(places.reshape(len(weights), -1).astype(np.uint8), axis=-1, bitorder="little")


def matrix(q: QuantController, p: Blocks, parameters: ParameterStorage, block: str, size: tuple[str, str]) -> Matrix:
    """Return a matrix's table; ``size`` is its rows and columns in C. Weights of fewer than 8 bits are packed.

    Raises:
        ExportError: the numbers do not fit the storage of their format; a damaged file can hold such.

    """
    stored = q.formats[block]
    choice_of(f"{block}: bits in C", stored.bits, WEIGHT_BITS, error=ExportError)
    check_range(block, p[block], stored.low, stored.high)
    name, (rows, columns) = f"{parameters.at}{suffix_of(block)}", size
    if stored.bits in PACKED_BITS:
        data = ints(packed(p[block], stored.bits))
        return Matrix(name, "uint8_t", f"{rows} * {row_of(columns, stored.bits)}", data, parameter=parameters.tunable)
    return Matrix(name, f"int{stored.bits}_t", f"{rows} * {columns}", ints(p[block]), parameter=parameters.tunable)


def row_of(columns: str | int, bits: int) -> str:
    """Return the C expression of how many numbers of a table a row of a matrix takes."""
    return f"(({columns} * {bits} + 7) / 8)" if bits in PACKED_BITS else str(columns)


def check_range(block: str, values: NDArray[Any], low: int, high: int) -> None:
    """Refuse constants that do not fit.

    Raises:
        ExportError: names the block, its range and what is allowed.

    """
    smallest, largest = int(values.min()), int(values.max())
    if smallest < low or largest > high:
        raise ExportError(f"{block}: {smallest} to {largest}; allowed in C: {low} to {high}")


def squash(function: str, argument: str, shift: int) -> str:
    """Return a call of nc_logistic or nc_tanh on an argument shifted to the right by ``shift``, left if negative."""
    return f"nc_{function}({shifted(argument, max(0, shift))}, {max(0, -shift)}u)"


def folded(shift: int) -> int:
    """Return the rounding of a shift to the right that can be added to a bias beforehand, or 0."""
    return 1 << (shift - 1) if 0 < shift <= _MAX_FOLDED_SHIFT else 0


def readout(q: QuantController, p: Blocks, parameters: ParameterStorage, at: int) -> Readout:
    """Return the readout; ``at`` is the index of the first of ``readout_ints`` in the controller's ints."""
    bias = ints(p["b_out"]) if "b_out" in p else None
    end = at + READOUT_INTS + 2 * q.spec.outputs
    return layer_readout(parameters, q.ints[at:end], bias, "out", f"{parameters.name.upper()}_OUTPUTS")


def layer_readout(
    parameters: ParameterStorage, numbers: NDArray[Any], bias: tuple[int, ...] | None, suffix: str, size: str | int
) -> Readout:
    """Return the readout of a layer.

    Args:
        parameters: storage of the biases.
        numbers: its ``readout_ints``.
        bias: of each row; None for none.
        suffix: of its tables' names.
        size: how many rows it has, in C.

    """
    name, (shift, code, argument_shift, _) = parameters.name, ints(numbers[:READOUT_INTS])
    lows, highs = np.split(numbers[READOUT_INTS:], 2)
    low, high = (column(name, f"{suffix}_{end}", str(size), ints(v)) for end, v in (("low", lows), ("high", highs)))
    total, columns = "sum", [low, high]
    if bias is not None:
        b_out = parameters.column(f"b_{suffix}", str(size), bias, constant="int32_t")
        total, columns = f"sum + {b_out.at('i')}", [b_out, low, high]
    if code != IDENTITY:
        total = squash("logistic" if code == LOGISTIC else "tanh", total, argument_shift)
    total = shifted(total, shift)
    return Readout(columns, f"nc_clip({total}, {low.at('i')}, {high.at('i')})")


def common(q: QuantController, result: Readout) -> dict[str, Any]:
    """Return the values for the shared parts of the templates."""
    return {
        "bits": {block: format_.bits for block, format_ in q.formats.items()},
        "readout": result.expression,
        "readout_is_uniform": all(entry.uniform for entry in result.columns),
    }


def zeros(count: int) -> NDArray[np.int32]:
    """Return int32 zeros."""
    return np.zeros(count, np.int32)
