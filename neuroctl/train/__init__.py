"""Training by gradient: through time, from recorded inputs and targets."""

from neuroctl.fixed_point import FixedPointConfig
from neuroctl.train.by_data import Epoch
from neuroctl.train.checking import check
from neuroctl.train.dataset import windows
from neuroctl.train.fitting import Fit, fit, fit_many
from neuroctl.train.gradients import Gradient, Gradients, value_and_grad
from neuroctl.train.imitation import Demonstrations, Imitation, dagger, demonstrate
from neuroctl.train.optim import SGD, Adam, AdamW, Cosine, Optimizer, StepDecay
from neuroctl.train.projection import Projection
from neuroctl.train.quantizing import quantize
from neuroctl.train.starting import start

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Cosine",
    "Demonstrations",
    "Epoch",
    "Fit",
    "FixedPointConfig",
    "Gradient",
    "Gradients",
    "Imitation",
    "Optimizer",
    "Projection",
    "StepDecay",
    "check",
    "dagger",
    "demonstrate",
    "fit",
    "fit_many",
    "quantize",
    "start",
    "value_and_grad",
    "windows",
]
