"""Emitters of the cells' C: one file per cell, one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from . import ctrnn, elman, gru, hopfield, indrnn, jordan

EMITTERS: Final = MappingProxyType(
    {
        "ctrnn": ctrnn.emit,
        "indrnn": indrnn.emit,
        "elman": elman.emit,
        "jordan": jordan.emit,
        "hopfield": hopfield.emit,
        "gru": gru.emit,
    }
)
"""One line per cell; its template is ``templates/<cell>.j2``."""
