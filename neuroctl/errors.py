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

    def __str__(self) -> str:
        """Return the message as one line: what a file or a user named may hold line ends and escapes."""
        text = super().__str__()
        return text if text.isprintable() else "".join(c if c.isprintable() else _code(c) for c in text)


def _code(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class SpecError(NeuroctlError, ValueError):
    """A field of a Spec is out of range, unknown or of the wrong type."""

    exit_code = 2


class LayoutError(NeuroctlError, ValueError):
    """A parameter, state, genome or input array has the wrong length, dtype, memory order or values."""

    exit_code = 2


class FileFormatError(NeuroctlError, ValueError):
    """A file cannot be written, or is truncated, damaged, foreign, of a newer schema, or holds a pickle."""


class BackendUnavailable(NeuroctlError, ImportError):
    """An optional package, device or tool is missing; the message names what to install."""


class TaskError(NeuroctlError, ValueError):
    """An unknown task, a controller that does not fit the task, or an action outside its bounds."""

    exit_code = 2


class NotFiniteError(TaskError):
    """An environment returned NaN or Inf. In a study such an episode ranks last."""


class PlantError(NeuroctlError, ValueError):
    """A plant lacks a function or a constant, or does not fit the controller."""

    exit_code = 2


class StudyError(NeuroctlError, ValueError):
    """A study, its folder or one of its settings is not allowed, or a study cannot be resumed."""


class ObjectiveError(StudyError):
    """A study's objective, such as a user's fitness function, raised an error or did not return a number."""


class UnrepeatableError(StudyError):
    """An objective returned two different values for the same controller and seed."""


class TrainingError(NeuroctlError, ValueError):
    """Sequences, a loss or a setting of training is not allowed, or training diverged."""


class DivergedError(TrainingError):
    """Outputs, a loss or its gradient is no longer finite; ``fit`` holds the best controller until then, or None."""

    fit: Any = None


class ExportError(NeuroctlError, ValueError):
    """A controller cannot be quantized or exported as requested; nothing has been written.

    Args:
        message: the message.
        refused: mask of the refused controllers in a population, bool ``[P]``; None: all.

    """

    def __init__(self, message: str, refused: Any = None):
        super().__init__(message)
        self.refused = refused


class InteropError(NeuroctlError, ValueError):
    """A network of another library cannot be taken over, or does not do what its source does; nothing is written."""

    exit_code = 2


class StabilityWarning(RuntimeWarning):
    """The time step is so long that the integrator may diverge or oscillate where the network would not."""


class SlowInputWarning(UserWarning):
    """``step`` has to convert its input at every call; an array of the controller's own dtype is read in place."""


class QuantizationWarning(RuntimeWarning):
    """Fixed point is coarse, or clips recorded inputs beyond the declared limits."""


class LoopError(NeuroctlError, ValueError):
    """A real-time loop or its log cannot be set up as requested."""

    exit_code = 2


class LinkError(NeuroctlError, OSError):
    """The serial link to a board failed."""


class PortError(LinkError):
    """The port is missing, in use, not a serial port, or disconnected."""


class SilenceError(LinkError):
    """The board did not answer in time."""


class NoiseError(LinkError):
    """Bytes arrived but no valid frame: the baud rate or the device is wrong."""


class ModelError(LinkError):
    """The board runs a different model from the host's."""


class BoardResetError(LinkError):
    """The board restarted in the middle of a run."""


class LatchedError(LinkError):
    """The board went safe and holds its safe outputs until the next START; ``reason`` names the cause."""

    reason = ""


class RefusedError(LinkError):
    """The board refused a request; ``code`` names the cause."""

    code = ""


def is_users(file: str) -> bool:
    """Return whether a file is the user's own code, not neuroctl's, Python's or an installed package's."""
    return not file.startswith(_NOT_USERS) and "site-packages" not in file


def line_of(error: BaseException) -> str | None:
    """Return ``"file:line"`` of the innermost user code in an error's traceback, or None."""
    users = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else None


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning for the calling line in the user's code, or for the outermost caller without user code."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(text, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def told(error: BaseException) -> str:
    """Return an error as one line: its class, its text, and the file and line in the user's code, if any."""
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
