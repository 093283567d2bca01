"""Training by gradient: through time, from recorded inputs and targets."""

from neuroctl.train.checking import check
from neuroctl.train.dataset import windows
from neuroctl.train.fitting import Fit, fit
from neuroctl.train.gradients import Gradient, Gradients, value_and_grad
from neuroctl.train.optim import SGD, Adam, AdamW, Cosine, Optimizer, StepDecay
from neuroctl.train.progress import Epoch
from neuroctl.train.starting import start

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Cosine",
    "Epoch",
    "Fit",
    "Gradient",
    "Gradients",
    "Optimizer",
    "StepDecay",
    "check",
    "fit",
    "start",
    "value_and_grad",
    "windows",
]
