"""Typed errors: each message is one line that names the field, its value and what is allowed."""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = Path(__file__).resolve().parent
_NOT_USERS: Final = (
    *(str(_PACKAGE.with_name(name)) for name in ("neuroctl", "sims", "firmware_export")),
    *(path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib")),
    "<frozen",
    "<__array_function__",
)


class NeuroctlError(Exception):
    """Base of every error that neuroctl raises on purpose.

    ``exit_code`` is the command line's exit code for it: 1 if the work failed, 2 if the request was wrong.
    """

    exit_code = 1


class SpecError(NeuroctlError, ValueError):
    """A field of a Spec is out of range, unknown or of the wrong type."""

    exit_code = 2


class LayoutError(NeuroctlError, ValueError):
    """A parameter, state, genome or input array has the wrong length, dtype, memory order or values."""

    exit_code = 2


class FileFormatError(NeuroctlError, ValueError):
    """A file is truncated, foreign, damaged, of a newer schema, or would need code to be run to load it."""


class BackendUnavailable(NeuroctlError, ImportError):
    """An optional package, device or tool is missing; the message names what to install."""


class TaskError(NeuroctlError, ValueError):
    """An unknown task, a controller that does not fit the task, or an action outside its bounds."""

    exit_code = 2


class NotFiniteError(TaskError):
    """An environment's number that is NaN or infinite; in a study its episode counts as the worst."""


class PlantError(NeuroctlError, ValueError):
    """A plant that lacks a function or a constant, or does not fit the controller."""

    exit_code = 2


class StudyError(NeuroctlError, ValueError):
    """A study folder that cannot be created or resumed as requested."""


class ObjectiveError(StudyError):
    """An objective, such as a fitness function of the user's, that raised or returned no number."""


class UnrepeatableError(StudyError):
    """An objective that gives one controller two values with one seed."""


class ExportError(NeuroctlError, ValueError):
    """A controller that cannot be quantized or exported as requested; nothing has been written.

    Args:
        message: the message.
        refused: the refused controllers of a population, bool ``[P]``; None for all.

    """

    def __init__(self, message: str, refused: Any = None):
        super().__init__(message)
        self.refused = refused


class StabilityWarning(RuntimeWarning):
    """A time step so long that the integrator, not the network, may grow or oscillate."""


class SlowInputWarning(UserWarning):
    """Inputs that ``step`` converts at every call; an array of the controller's own dtype is read in place."""


class QuantizationWarning(RuntimeWarning):
    """Surprises of fixed point: coarse formats, or inputs beyond the declared limits, which it clips."""


class LoopError(NeuroctlError, ValueError):
    """A real-time loop, or its log, that cannot be set up as requested."""

    exit_code = 2


class LinkError(NeuroctlError, OSError):
    """The serial link to a board failed."""


class PortError(LinkError):
    """The port is missing, in use, no serial port, or has gone."""


class SilenceError(LinkError):
    """The board did not answer in time."""


class NoiseError(LinkError):
    """Bytes came, but no frame: a wrong baud rate, or another device."""


class ModelError(LinkError):
    """The board runs another model than the host's."""


class BoardResetError(LinkError):
    """The board restarted in the middle of a run."""


class LatchedError(LinkError):
    """The board's outputs are safe and stay so until START; ``reason`` is the name of the reason."""

    reason = ""


class RefusedError(LinkError):
    """The board refused a request; ``code`` is the name of the reason."""

    code = ""


def is_users(file: str) -> bool:
    """Whether code in a file is a user's, not ours, Python's or an installed package's."""
    return not file.startswith(_NOT_USERS) and "site-packages" not in file


def line_of(error: BaseException) -> str | None:
    """Return the file and line of the user's code nearest to an error; None if there is none."""
    users = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else None


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that led here; without such code, at the outermost caller's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(text, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def told(error: BaseException) -> str:
    """Return an error's class and text in one line, with the file and line of the user's code behind it."""
    line = line_of(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}" + (f" ({line})" if line else "")


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module; if it is missing, name the extra to install.

    Args:
        module: dotted name of the module to import.
        extra: the extra of this package that includes it, such as ``"sim"``.

    Raises:
        BackendUnavailable: the module is not installed, or cannot be loaded.

    """
    try:
        return importlib.import_module(module)
    except BackendUnavailable:  # also an ImportError: the module itself names what it lacks
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module
        text = f"{missing}: not installed; install the extra with: pip install 'neuroctl[{extra}]'"
        raise BackendUnavailable(text) from error
    except (ImportError, OSError) as error:  # a shared library is missing, or matplotlib finds no folder to write
        text = f"{module}: installed, but cannot be loaded: {' '.join(str(error).split())}"
        raise BackendUnavailable(text) from error
