"""Emitters of the cells' C: one file per cell, one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from neuroctl.quant import QuantController

from ..parts import CellC, ParameterStorage
from . import cfc, ctrnn, elman, gru, hopfield, indrnn, jordan, layered

EMITTERS: Final = MappingProxyType(
    {
        "ctrnn": ctrnn.emit,
        "indrnn": indrnn.emit,
        "elman": elman.emit,
        "jordan": jordan.emit,
        "hopfield": hopfield.emit,
        "gru": gru.emit,
        "cfc": cfc.emit,
    }
)
"""One line per cell; its template is ``templates/<cell>.j2``."""


def emit(q: QuantController, parameters: ParameterStorage) -> CellC:
    """Return the C of a controller's cell, with the dense layers around it.

    Raises:
        ExportError: a number does not fit its C type.

    """
    cell = EMITTERS[q.spec.cell]
    return layered.emit(q, parameters, cell) if q.spec.dense else cell(q, parameters)
