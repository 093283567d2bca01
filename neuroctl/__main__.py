"""The console script ``neuroctl``: turns errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Final

from neuroctl.checks import printable
from neuroctl.errors import NeuroctlError, ObjectiveError, require

_INTERRUPTED: Final = 130


def main(arguments: list[str] | None = None, prog_name: str = "neuroctl") -> None:
    """Run the command line; exit code 0 for ok, 1 for failed, 2 for bad usage, 130 for Ctrl-C."""

    def app(arguments: list[str]) -> None:
        from neuroctl.cli import app

        app(arguments, prog_name=prog_name)

    run(app, sys.argv[1:] if arguments is None else arguments)


def run(app: Callable[[list[str]], object], arguments: list[str]) -> None:
    """Run a command line whose ``--debug``, which may stand anywhere, shows tracebacks.

    Args:
        app: called with the arguments except ``--debug``. It imports its packages itself, so that a missing one is
            reported in one line.
        arguments: the arguments as typed.

    """
    debug = "--debug" in arguments
    try:
        require("typer", "cli")
        require("rich", "cli")
        from neuroctl.console import one_line_warnings, say_compiling

        one_line_warnings()
        say_compiling()
        app([argument for argument in arguments if argument != "--debug"])
    except NeuroctlError as error:
        if debug:
            raise
        hint = "; --debug shows where" if isinstance(error, ObjectiveError) else ""
        print(f"error: {printable(str(error))}{hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left (as `head` does); stdout is gone, so its final flush must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        _leave()
    except SystemExit as ending:
        if ending.code == _INTERRUPTED:
            _leave()
        raise


def _leave() -> None:
    """End without the libraries' exit handlers: OpenBLAS, interrupted in a call, would wait for ever."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
