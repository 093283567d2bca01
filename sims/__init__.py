"""Simulated tasks for controllers: Gymnasium environments and one-number episodes.

Importing this package registers every task with Gymnasium as ``neuroctl/<Task>-v0``. The physics engine itself is
imported only when an environment is created.
"""

import sys

from neuroctl import siblings
from neuroctl.errors import BackendUnavailable, require

if __name__ == "sims":
    try:
        siblings.share(__name__)
    except BackendUnavailable as error:
        if sys.argv[:1] == ["-m"]:  # python -m sims: nothing of ours has begun that could tell it in one line
            sys.exit(f"error: {error}")
        raise
else:
    require("gymnasium", "evolve")
    from .disturb import robustness
    from .episodes import Episode, EpisodeReturn, objective, record, show
    from .foreign import GymReturn, Problem, problem, score, search_of, task_of
    from .registry import TASKS, baseline, controller_spec, get, known, make, names, register, shipped
    from .simplant import SimPlant
    from .task import Task

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
