"""Small recurrent controllers: evolved in simulation, stepped in a microsecond, exported as bit-exact C."""

from neuroctl import siblings
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
)
from neuroctl.layout import Layout
from neuroctl.maths.fixed import QFormat
from neuroctl.prune import prune
from neuroctl.quant import QuantController
from neuroctl.spec import Spec

siblings.install()

__version__ = "0.1.0"

__all__ = [
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
    "load",
    "prune",
]
