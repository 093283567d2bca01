"""Training by gradient: through time, from recorded inputs and targets, by example, and through a plant."""

from neuroctl.fixed_point import FixedPointConfig
from neuroctl.train.action_gradients import ActionGradient, ActionGradients
from neuroctl.train.by_data import Epoch
from neuroctl.train.by_plant import PlantEpoch, PlantFit, PlantTraining, fit_plant
from neuroctl.train.checking import check
from neuroctl.train.dataset import windows
from neuroctl.train.demonstrations import Demonstrations, demonstrate
from neuroctl.train.fitting import Fit, fit, fit_many
from neuroctl.train.gradients import Gradient, Gradients, value_and_grad
from neuroctl.train.imitation import Imitation, dagger
from neuroctl.train.optim import SGD, Adam, AdamW, Cosine, Optimizer, StepDecay
from neuroctl.train.plant_gradients import PlantGradient, PlantGradients, plant_gradient
from neuroctl.train.plant_settings import PlantSettings
from neuroctl.train.ppo import PPO
from neuroctl.train.ppo_settings import PPOSettings
from neuroctl.train.projection import Projection
from neuroctl.train.quantizing import quantize
from neuroctl.train.starting import start

__all__ = [
    "PPO",
    "SGD",
    "ActionGradient",
    "ActionGradients",
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
    "PPOSettings",
    "PlantEpoch",
    "PlantFit",
    "PlantGradient",
    "PlantGradients",
    "PlantSettings",
    "PlantTraining",
    "Projection",
    "StepDecay",
    "check",
    "dagger",
    "demonstrate",
    "fit",
    "fit_many",
    "fit_plant",
    "plant_gradient",
    "quantize",
    "start",
    "value_and_grad",
    "windows",
]
