"""Evolution: optimisers by ask and tell, evaluators, and studies that survive a crash."""

from neuroctl.evolve.config import StudyConfig
from neuroctl.evolve.evaluators import Evaluator, Objective, PoolEvaluator, SerialEvaluator
from neuroctl.evolve.optimizers import OPTIMIZERS, Optimizer
from neuroctl.evolve.quantized import FixedPoint
from neuroctl.evolve.study import Progress, StudyResult, run_study

__all__ = [
    "OPTIMIZERS",
    "Evaluator",
    "FixedPoint",
    "Objective",
    "Optimizer",
    "PoolEvaluator",
    "Progress",
    "SerialEvaluator",
    "StudyConfig",
    "StudyResult",
    "run_study",
]
