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
_WITH_ENTRIES: Final = ("u", "out")
"""Formats whose entries may have fractional bits of their own; those of weights follow from these."""


def format_from_field(name: str, field: Any) -> QFormat:
    """Return the format in a file's field. Formats far beyond those of ``quantize`` would overflow the range proof.

    Raises:
        LayoutError: the field is no format.

    """
    numbers, entries = field, []
    if name in _WITH_ENTRIES and isinstance(field, list) and len(field) == 3 and isinstance(field[2], list):
        numbers, entries = field[:2], field[2]
    if isinstance(numbers, list) and len(numbers) == 2 and all(type(n) is int for n in (*numbers, *entries)):
        bits, *frac_bits = *numbers, *entries
        if _STORAGE[0] <= bits <= _STORAGE[1] and max(map(abs, frac_bits)) <= _MAX_FRAC_BITS:
            return QFormat(bits, frac_bits[0], tuple(each - frac_bits[0] for each in entries))
    allowed = f"{_STORAGE[0]} to {_STORAGE[1]} bits and -{_MAX_FRAC_BITS} to {_MAX_FRAC_BITS} fractional ones"
    raise LayoutError(f"formats: {name} is {shown(field)}; allowed: {allowed}")


def check_fits(name: str, values: NDArray[np.int32], stored_as: QFormat | None) -> None:
    """Check a block's integers against its format, if it has one.

    Raises:
        LayoutError: an integer is beyond the storage.

    """
    if stored_as is not None and not (stored_as.low <= values.min() and values.max() <= stored_as.high):
        raise LayoutError(f"{name}: {values.min()} to {values.max()}; allowed: what int{stored_as.bits} holds")


def formats_as_fields(formats: Formats) -> dict[str, list[Any]]:
    """Return formats for JSON by name: bits and fractional bits, and those of each input or output that has its own."""
    return {name: _as_field(name, formats[name]) for name in sorted(formats)}


def frac_bits_text(form: QFormat) -> str:
    """Return a format's fractional bits for readers: one number, or the fewest and the most of its entries."""
    low, high = np.min(form.entry_frac_bits), np.max(form.entry_frac_bits)
    return f"{low}" if low == high else f"{low} to {high}"


def _as_field(name: str, form: QFormat) -> list[Any]:
    entries = [form.entry_frac_bits.tolist()] if form.extra and name in _WITH_ENTRIES else []
    return [form.bits, form.frac_bits, *entries]
