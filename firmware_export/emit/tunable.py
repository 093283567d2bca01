"""Controllers whose parameters may be replaced on the board: their C, shape, and parameters' bytes."""

from __future__ import annotations

import zlib
from typing import Any, Final, NamedTuple

import numpy as np

from neuroctl.io import canonical_json
from neuroctl.quant import QuantController
from neuroctl.quant_controller import output_range

from .cells import emit
from .parts import STORAGE_BYTES, CellC, Field, ParameterStorage
from .text import Column

_DTYPES: Final = {name: f"<{name[0]}{size}" for name, size in STORAGE_BYTES.items()}


class Part(NamedTuple):
    """Words of the state that share a range: their member, first index, number, low and high."""

    field: Field
    first: int
    words: int
    low: int
    high: int

    @property
    def word_bytes(self) -> int:
        """Size of a word in bytes."""
        return STORAGE_BYTES[self.field.storage]


def parts_of(fields: list[Field]) -> list[Part]:
    """Return the parts of a state in the order of sending."""
    parts = []
    for field in fields:
        words = field.words // len(field.ranges)
        parts += [Part(field, k * words, words, low, high) for k, (low, high) in enumerate(field.ranges)]
    return parts


def tunable_c(q: QuantController, name: str) -> CellC:
    """Return the C of a controller whose parameters are in RAM.

    After the cell's columns comes ``reach``, the proven ranges of the state's words for these parameters.

    Raises:
        ExportError: a number does not fit its C type.

    """
    parameters = ParameterStorage(name, tunable=True)
    cell = emit(q, parameters)
    reach = [limit for part in parts_of(cell.fields) for limit in (part.low, part.high)]
    columns = [*cell.columns, parameters.column("reach", str(len(reach)), tuple(reach))]
    return CellC(cell.fields, columns, cell.values, cell.scratch_bytes)


def shape_crc32(q: QuantController) -> int:
    """Return the CRC-32 over everything that is code on a board, not a number in a table.

    Controllers of equal shape differ in their parameters alone: those of one can be uploaded to a board that runs
    another. ``QuantController.requantize`` keeps the shape, unless the state needs another storage.

    Raises:
        ExportError: a number does not fit its C type.

    """
    cell = tunable_c(q, "x")
    state = [[field.name, field.storage, field.words] for field in cell.fields]
    params = [[column.member, column.storage, len(column.values)] for column in cell.params]
    return zlib.crc32(canonical_json({**q.fields, "state": state, "params": params}))


def param_image(q: QuantController) -> bytes:
    """Return the parameters' bytes for a board of equal shape: each table in its storage, little-endian, unpadded.

    Raises:
        ExportError: a number does not fit its C type.

    """
    return b"".join(_bytes(column) for column in tunable_c(q, "x").params)


def _bytes(column: Column) -> bytes:
    return np.array(column.values, np.int64).astype(_DTYPES[column.storage]).tobytes()


def link_values(q: QuantController, fields: list[Field], params: list[Column]) -> dict[str, Any]:
    """Return the values for the templates of the link."""
    parts = parts_of(fields)
    return {
        "params": params,
        "param_bytes": len(param_image(q)),
        "shape_crc": f"0x{shape_crc32(q):08X}",
        "state_bytes": sum(part.words * part.word_bytes for part in parts),
        "parts": parts,
        "reach": [limit for part in parts for limit in (part.low, part.high)],
        "out_range": np.stack(output_range(q.spec, q.formats["out"]), axis=1).ravel().tolist(),
        "word_bytes": STORAGE_BYTES,
    }
