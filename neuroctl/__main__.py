"""The console script ``neuroctl``: turns our errors into one line and an exit code."""

from __future__ import annotations

import os
import sys

from neuroctl.checks import printable
from neuroctl.errors import NeuroctlError, ObjectiveError, require


def main(arguments: list[str] | None = None, prog_name: str = "neuroctl") -> None:
    """Run the command line; exit code 0 for ok, 1 for failed, 2 for bad usage, 130 for Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        require("typer", "cli")
        require("rich", "cli")
        from neuroctl.cli import app
        from neuroctl.console import one_line_warnings

        one_line_warnings()
        app([argument for argument in given if argument != "--debug"], prog_name=prog_name)  # allowed anywhere
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
        sys.exit(130)


if __name__ == "__main__":
    main()
