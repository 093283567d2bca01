"""The table of targets: one file per core, one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from neuroctl.checks import one_of
from neuroctl.errors import ExportError

from . import (
    avr,
    cortex_m0,
    cortex_m0plus,
    cortex_m3,
    cortex_m4,
    cortex_m7,
    cortex_m33,
    cortex_m55,
    esp32,
    generic,
    host,
    rv32imc,
)
from .base import Target

TARGETS: Final = MappingProxyType(
    {
        target.name: target
        for target in (
            generic.TARGET,
            host.TARGET,
            cortex_m0.TARGET,
            cortex_m0plus.TARGET,
            cortex_m3.TARGET,
            cortex_m4.TARGET,
            cortex_m7.TARGET,
            cortex_m33.TARGET,
            cortex_m55.TARGET,
            rv32imc.TARGET,
            avr.TARGET,
            esp32.TARGET,
        )
    }
)


def target_of(name: str) -> Target:
    """Return a row of ``TARGETS``.

    Raises:
        ExportError: there is none of that name.

    """
    return TARGETS[one_of("target", name, TARGETS, error=ExportError)]


__all__ = ["TARGETS", "Target", "target_of"]
