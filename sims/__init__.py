"""Simulated tasks for controllers: Gymnasium environments and one-number episodes.

Importing this package registers every task with Gymnasium as ``neuroctl/<Task>-v0``. The physics engine itself is
imported only when an environment is created.
"""

from neuroctl.errors import require

require("gymnasium", "sim")

from sims.disturb import robustness  # noqa: E402
from sims.episodes import Episode, EpisodeReturn, objective, record, show  # noqa: E402
from sims.foreign import GymReturn, Problem, problem, score, search_of, task_of  # noqa: E402
from sims.registry import TASKS, baseline, controller_spec, get, known, make, names, register, shipped  # noqa: E402
from sims.simplant import SimPlant  # noqa: E402
from sims.task import Task  # noqa: E402

register()

__all__ = [
    "TASKS",
    "Episode",
    "EpisodeReturn",
    "GymReturn",
    "Problem",
    "SimPlant",
    "Task",
    "baseline",
    "controller_spec",
    "get",
    "known",
    "make",
    "names",
    "objective",
    "problem",
    "record",
    "robustness",
    "score",
    "search_of",
    "shipped",
    "show",
    "task_of",
]
