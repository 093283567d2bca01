"""``python -m sims TASK``: see ``commands``."""

import sys

from neuroctl.__main__ import run


def app(arguments: list[str]) -> None:
    """Import and run the command line."""
    from .commands import app as commands

    commands(arguments, prog_name="python -m sims")


if __name__ == "__main__":
    run(app, sys.argv[1:])
