"""Fixed-point formats in files: reading, checking, writing."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import Formats
from neuroctl.checks import shown
from neuroctl.errors import LayoutError
from neuroctl.maths.fixed import QFormat

_STORAGE: Final = (2, 32)
_MAX_FRAC_BITS: Final = 255


def format_from_field(name: str, pair: Any) -> QFormat:
    """Return the format in a file's field. Formats far beyond those of ``quantize`` would overflow the range proof.

    Raises:
        LayoutError: the field is no format.

    """
    if isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair):
        bits, frac_bits = pair
        if _STORAGE[0] <= bits <= _STORAGE[1] and abs(frac_bits) <= _MAX_FRAC_BITS:
            return QFormat(bits, frac_bits)
    allowed = f"{_STORAGE[0]} to {_STORAGE[1]} bits and -{_MAX_FRAC_BITS} to {_MAX_FRAC_BITS} fractional ones"
    raise LayoutError(f"formats: {name} is {shown(pair)}; allowed: {allowed}")


def check_fits(name: str, values: NDArray[np.int32], stored_as: QFormat | None) -> None:
    """Check a block's integers against its format, if it has one.

    Raises:
        LayoutError: an integer is beyond the storage.

    """
    if stored_as is not None and not (stored_as.low <= values.min() and values.max() <= stored_as.high):
        raise LayoutError(f"{name}: {values.min()} to {values.max()}; allowed: what int{stored_as.bits} holds")


def formats_as_fields(formats: Formats) -> dict[str, list[int]]:
    """Return formats for JSON: bits and fractional bits by name."""
    return {name: [formats[name].bits, formats[name].frac_bits] for name in sorted(formats)}
