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
        if sys.argv[:1] == ["-m"]:  # python -m sims: no code that shows one line runs yet
            sys.exit(f"error: {error}")
        raise
else:
    require("gymnasium", "evolve")
    from .disturb import robustness
    from .episodes import Episode, EpisodeReturn, objective, record, records, show
    from .problems import GymReturn, Problem, problem, score, search_of, task_of
    from .registry import TASKS, baseline, controller_spec, get, known, make, names, pretrained, register
    from .simplant import SimPlant
    from .task import Task
    from .teaching import TeachingEpisode, teacher

    register()

__all__ = [
    "TASKS",
    "Episode",
    "EpisodeReturn",
    "GymReturn",
    "Problem",
    "SimPlant",
    "Task",
    "TeachingEpisode",
    "baseline",
    "controller_spec",
    "get",
    "known",
    "make",
    "names",
    "objective",
    "pretrained",
    "problem",
    "record",
    "records",
    "robustness",
    "score",
    "search_of",
    "show",
    "task_of",
    "teacher",
]
