"""The serial link to a board that runs exported firmware: host-driven, board-driven, and both in step.

``Link(port, q)`` opens a port and checks that the board runs the controller ``q``; ``HostDriven``, ``BoardDriven`` and
``Shadow`` run on it; ``BoardInLoop`` lets a board play the controller of a simulation. Needs the extra ``serial``.
"""

from neuroctl.link.client import Link
from neuroctl.link.finding import find_board
from neuroctl.link.hil import BoardInLoop
from neuroctl.link.modes import BoardDriven, Difference, HostDriven, Report, Shadow
from neuroctl.link.protocol import Hello, Mode, Pong, Reason
from neuroctl.link.stats import Stats
from neuroctl.link.uploading import upload

__all__ = [
    "BoardDriven",
    "BoardInLoop",
    "Difference",
    "Hello",
    "HostDriven",
    "Link",
    "Mode",
    "Pong",
    "Reason",
    "Report",
    "Shadow",
    "Stats",
    "find_board",
    "upload",
]
