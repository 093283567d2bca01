"""``python -m sims TASK``: see ``commands``."""

import sys

from neuroctl.__main__ import run


def app(arguments: list[str]) -> None:
    """Run the command line, and import what it needs not before."""
    from .commands import app as commands

    commands(arguments, prog_name="python -m sims")


if __name__ == "__main__":
    run(app, sys.argv[1:])
