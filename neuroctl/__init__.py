"""Small recurrent controllers: evolved in simulation, stepped in a microsecond, exported as bit-exact C.

A ``Spec`` says what a controller is, a ``Controller`` steps it, ``Controller.quantize`` gives the ``QuantController``
whose bits are those of the C, and an ``Alarm`` says where its predictions fail. Modules, imported when first named:

- ``backends``: whole populations at once, in lanes on the CPU or on a GPU
- ``dynamics``, ``hopfield``, ``spikes``: what can be said of a network
- ``evolve``: search for a controller, in studies that survive a crash
- ``realtime``, ``link``: a control loop with deadlines; a board on a serial line
- ``train``: gradients through time, to learn from recorded sequences
- ``interop``: networks that others trained
- ``plots``, ``quant``, ``io``: pictures, formats, files

Beside them stand the packages ``sims`` (tasks) and ``firmware_export`` (C).
"""

from importlib import import_module
from types import ModuleType
from typing import Final

from neuroctl import siblings
from neuroctl.alarm import Alarm
from neuroctl.controller import Controller, load
from neuroctl.errors import (
    BackendUnavailable,
    ExportError,
    FileFormatError,
    LayoutError,
    LinkError,
    NeuroctlError,
    QuantizationWarning,
    SlowInputWarning,
    SpecError,
    StabilityWarning,
    StudyError,
    TaskError,
    TrainingError,
)
from neuroctl.layout import Layout
from neuroctl.manifests import manifest
from neuroctl.maths.fixed import QFormat
from neuroctl.pruning import prune
from neuroctl.quant import QuantController
from neuroctl.spec import Spec

siblings.install()

_MODULES: Final = (
    "backends", "dynamics", "evolve", "hopfield", "interop", "io", "link", "plots", "quant", "realtime",
    "spikes", "train",
)  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    """Import a module of this package when it is first asked for: ``nc.evolve`` needs no import of its own."""
    if name in _MODULES:
        return import_module(f"neuroctl.{name}")
    raise AttributeError(f"module 'neuroctl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is for users: the names of this module and what ``__getattr__`` brings."""
    return sorted({*__all__, *_MODULES, "__version__"})


__version__ = "0.1.0"

__all__ = [
    "Alarm",
    "BackendUnavailable",
    "Controller",
    "ExportError",
    "FileFormatError",
    "Layout",
    "LayoutError",
    "LinkError",
    "NeuroctlError",
    "QFormat",
    "QuantController",
    "QuantizationWarning",
    "SlowInputWarning",
    "Spec",
    "SpecError",
    "StabilityWarning",
    "StudyError",
    "TaskError",
    "TrainingError",
    "load",
    "manifest",
    "prune",
]
