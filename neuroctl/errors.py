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

    ``exit_code`` is what the command line returns for it: 1 the work failed, 2 the request itself was wrong.
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
    """An optional package, device or tool is missing; the message says what to install."""


class TaskError(NeuroctlError, ValueError):
    """An unknown task, a controller that does not fit the task, or an action outside its bounds."""

    exit_code = 2


class NotFiniteError(TaskError):
    """An environment's number that is NaN or infinite; in a study its episode counts as the worst."""


class PlantError(NeuroctlError, ValueError):
    """A plant that lacks a function or a constant, or does not fit the controller."""

    exit_code = 2


class StudyError(NeuroctlError, ValueError):
    """A study folder that cannot be created, resumed or continued as asked."""


class ObjectiveError(StudyError):
    """An objective, such as a fitness function of the user's, that raised or returned no number."""


class UnrepeatableError(StudyError):
    """An objective that gives one controller two values with one seed."""


class ExportError(NeuroctlError, ValueError):
    """A controller that cannot be quantised or exported as asked; nothing has been written.

    Args:
        message: what is wrong.
        refused: which controllers of a population it is said of, bool ``[P]``; None where it is said of all.

    """

    def __init__(self, message: str, refused: Any = None):
        super().__init__(message)
        self.refused = refused


class StabilityWarning(RuntimeWarning):
    """A time step so long that the integrator, not the network, may grow or oscillate."""


class SlowInputWarning(UserWarning):
    """Inputs that ``step`` converts at every call; an array of the controller's own dtype is read as it lies."""


class QuantizationWarning(RuntimeWarning):
    """Fixed point does what may surprise: coarse formats, or inputs beyond the declared limits, which it clips."""


class LoopError(NeuroctlError, ValueError):
    """A real-time loop, or its log, that cannot be set up as asked."""

    exit_code = 2


class LinkError(NeuroctlError, OSError):
    """The serial link to a board failed."""


class PortError(LinkError):
    """The port is missing, in use, no serial port, or has gone."""


class SilenceError(LinkError):
    """The board did not answer in time."""


class NoiseError(LinkError):
    """Bytes came, but nothing that can be read: a wrong baud rate, or another device."""


class ModelError(LinkError):
    """The board runs another model than the host's."""


class BoardResetError(LinkError):
    """The board started anew in the middle of a run."""


class LatchedError(LinkError):
    """The board's outputs are safe and stay so until START; ``reason`` is the name of why."""

    reason = ""


class RefusedError(LinkError):
    """The board refused a request; ``code`` is the name of why."""

    code = ""


def is_users(file: str) -> bool:
    """Whether code in a file is a user's own: not ours, Python's or an installed package's."""
    return not file.startswith(_NOT_USERS) and "site-packages" not in file


def line_of(error: BaseException) -> str | None:
    """Return the file and line of a user's own code that an error came through last; None if there is none."""
    users = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else None


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's own code that led here; at that of the outermost caller if none is a user's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(text, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def told(error: BaseException) -> str:
    """Return an error's kind and text in one line, with the file and line of the user's code that it came through."""
    line = line_of(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}" + (f" ({line})" if line else "")


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra to install.

    Args:
        module: dotted name of the module to import.
        extra: the extra of this package that brings it, such as ``"sim"``.

    Raises:
        BackendUnavailable: the module is not installed, or cannot be loaded.

    """
    try:
        return importlib.import_module(module)
    except BackendUnavailable:  # an ImportError, too: the module says itself what it lacks
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module
        text = f"{missing}: not installed; install the extra with: pip install 'neuroctl[{extra}]'"
        raise BackendUnavailable(text) from error
    except (ImportError, OSError) as error:  # a shared library is missing, or matplotlib finds no folder to write
        text = f"{module}: installed, but cannot be loaded: {' '.join(str(error).split())}"
        raise BackendUnavailable(text) from error
