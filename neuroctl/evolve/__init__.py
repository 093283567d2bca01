"""Evolution: optimisers by ask and tell, evaluators, and studies that survive a crash."""

from neuroctl.evolve.config import StudyConfig
from neuroctl.evolve.evaluators import Evaluator, Objective, PoolEvaluator, SerialEvaluator
from neuroctl.evolve.genome import Encoding, Genome
from neuroctl.evolve.optimizers import OPTIMIZERS, Optimizer
from neuroctl.evolve.quantized import FixedPoint
from neuroctl.evolve.study import Progress, StudyResult, run_study

__all__ = [
    "OPTIMIZERS",
    "Encoding",
    "Evaluator",
    "FixedPoint",
    "Genome",
    "Objective",
    "Optimizer",
    "PoolEvaluator",
    "Progress",
    "SerialEvaluator",
    "StudyConfig",
    "StudyResult",
    "run_study",
]
