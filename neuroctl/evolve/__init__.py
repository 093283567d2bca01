"""Evolution: optimizers by ask and tell, evaluators, and studies that survive a crash."""

from neuroctl.evolve.config import StudyConfig
from neuroctl.evolve.evaluators import Evaluator, Objective, PoolEvaluator, SerialEvaluator
from neuroctl.evolve.genome import Encoding, Genome
from neuroctl.evolve.goals import GOALS, Goals
from neuroctl.evolve.measure import Measure
from neuroctl.evolve.optimizers import MULTI_OBJECTIVE_OPTIMIZERS, OPTIMIZERS, Optimizer, make_optimizer
from neuroctl.evolve.results import Progress, StudyResult
from neuroctl.evolve.study import run_study
from neuroctl.fixed_point import FixedPointConfig

__all__ = [
    "GOALS",
    "OPTIMIZERS",
    "MULTI_OBJECTIVE_OPTIMIZERS",
    "Encoding",
    "Evaluator",
    "FixedPointConfig",
    "Genome",
    "Goals",
    "Measure",
    "Objective",
    "Optimizer",
    "PoolEvaluator",
    "Progress",
    "SerialEvaluator",
    "StudyConfig",
    "StudyResult",
    "make_optimizer",
    "run_study",
]
