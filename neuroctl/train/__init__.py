"""Training by gradient: through time, from recorded inputs and targets."""

from neuroctl.train.checking import check
from neuroctl.train.gradients import Gradient, Gradients, value_and_grad

__all__ = ["Gradient", "Gradients", "check", "value_and_grad"]
