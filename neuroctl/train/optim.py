"""Optimizers, schedules and clipping: how a gradient becomes a step.

An optimizer has settings only; its state is arrays of theta's shape by name, which a checkpoint can hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import ABOVE_0, FINITE, flag, integer, number
from neuroctl.errors import TrainingError

Array = NDArray[Any]
State = dict[str, Array]

_BELOW_1: Final = math.nextafter(1.0, 0.0)


def _share(name: str, value: object) -> None:
    number(name, value, 0.0, _BELOW_1, "from 0 to less than 1", error=TrainingError)


@dataclass(frozen=True)
class Optimizer:
    """A rule for steps downhill.

    ``begin(theta)`` gives its first state; ``step(theta, gradient, state, k, rate)`` gives the parameters after step k,
    from 1 on, and the next state. All are new arrays in theta's dtype and shape. In a training, theta and gradient are
    in the units of ``coordinates.Coordinates``.

    Example:
        >>> class Plain(Optimizer):
        ...     def step(self, theta, gradient, state, k, rate, weights=1.0):
        ...         return theta - rate * gradient, state
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.01)
        >>> u = np.random.default_rng(0).standard_normal((10, 4, 1))
        >>> nc.train.fit(spec, u, u, optimizer=Plain(), epochs=2).stopped
        'all epochs done'

    """

    NAMES: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays of the state."""
    RATE: ClassVar[float] = 1e-2
    """Learning rate unless another is asked for."""

    def begin(self, theta: Array) -> State:
        """Return the state before the first step: zeros."""
        return {name: np.zeros_like(theta) for name in self.NAMES}

    def step(
        self, theta: Array, gradient: Array, state: State, k: int, rate: float, weights: Array | float = 1.0
    ) -> tuple[Array, State]:
        """Return the parameters after step k and the next state; ``weights`` is 1 where decay applies, else 0."""
        raise NotImplementedError


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: steps of about the learning rate in each parameter, whatever the gradient's scale.

    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.

    Args:
        beta1: memory of the gradient, from 0 to less than 1.
        beta2: memory of its square, from 0 to less than 1.
        epsilon: added to the root of the square, greater than 0.

    Example:
        >>> theta = np.array([1.0, -1.0])
        >>> adam = Adam()
        >>> adam.step(theta, 2 * theta, adam.begin(theta), 1, 0.1)[0].round(6)
        array([ 0.9, -0.9])

    """

    NAMES: ClassVar[tuple[str, ...]] = ("mean", "square")

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the settings."""
        _share("beta1", self.beta1)
        _share("beta2", self.beta2)
        number("epsilon", self.epsilon, ABOVE_0, FINITE, "a number greater than 0", error=TrainingError)

    def step(
        self, theta: Array, gradient: Array, state: State, k: int, rate: float, weights: Array | float = 1.0
    ) -> tuple[Array, State]:
        """Return the parameters after step k and the next state."""
        mean = self.beta1 * state["mean"] + (1.0 - self.beta1) * gradient
        square = self.beta2 * state["square"] + (1.0 - self.beta2) * (gradient * gradient)
        scale = np.sqrt(square) / math.sqrt(1.0 - self.beta2**k) + self.epsilon
        return theta - (rate / (1.0 - self.beta1**k)) * mean / scale, {"mean": mean, "square": square}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decay of the weights that the gradient's scale does not touch.

    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Args:
        beta1: as of ``Adam``.
        beta2: as of ``Adam``.
        epsilon: as of ``Adam``.
        decay: share of a weight that is taken off in a step, divided by the learning rate; at least 0.

    Example:
        >>> theta = np.array([1.0])
        >>> adamw = AdamW(decay=0.5)
        >>> adamw.step(theta, np.zeros(1), adamw.begin(theta), 1, 0.1)[0]
        array([0.95])

    """

    decay: float = 0.01

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        number("decay", self.decay, 0.0, FINITE, "a number >= 0", error=TrainingError)

    def step(
        self, theta: Array, gradient: Array, state: State, k: int, rate: float, weights: Array | float = 1.0
    ) -> tuple[Array, State]:
        """Return the parameters after step k and the next state."""
        return super().step(theta - rate * self.decay * weights * theta, gradient, state, k, rate)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent with momentum: velocity = momentum velocity + gradient.

    Args:
        momentum: from 0 to less than 1.
        nesterov: look ahead along the velocity.

    Example:
        >>> theta = np.array([1.0])
        >>> sgd = SGD()
        >>> sgd.step(theta, 2 * theta, sgd.begin(theta), 1, 0.1)[0]
        array([0.8])

    """

    NAMES: ClassVar[tuple[str, ...]] = ("velocity",)

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        _share("momentum", self.momentum)
        flag("nesterov", self.nesterov, error=TrainingError)

    def step(
        self, theta: Array, gradient: Array, state: State, k: int, rate: float, weights: Array | float = 1.0
    ) -> tuple[Array, State]:
        """Return the parameters after step k and the next state."""
        velocity = self.momentum * state["velocity"] + gradient
        ahead = gradient + self.momentum * velocity if self.nesterov else velocity
        return theta - rate * ahead, {"velocity": velocity}


OPTIMIZERS: Final[Mapping[str, type[Optimizer]]] = MappingProxyType({"adam": Adam, "adamw": AdamW, "sgd": SGD})
"""Optimizers by the names that ``fit`` takes."""


Schedule = Callable[[int, int], float]
"""A factor of the learning rate, from the number of steps done and the number of all steps."""


def constant(step: int, steps: int) -> float:
    """Return 1."""
    return 1.0


@dataclass(frozen=True)
class Cosine:
    """A linear rise, then half a period of a cosine down to 0.

    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, eq. 5; once.

    Args:
        warm_up: steps of the rise, an integer >= 0.

    Example:
        >>> [round(Cosine(warm_up=2)(step, 6), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]

    """

    warm_up: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        integer("warm_up", self.warm_up, 0, error=TrainingError)

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor for the step after so many."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (step - self.warm_up) / max(steps - self.warm_up, 1))


@dataclass(frozen=True)
class StepDecay:
    """A factor after each so many steps.

    Args:
        every: steps between two changes, an integer >= 1; None: a third of all steps.
        factor: from above 0 to 1.

    Example:
        >>> [StepDecay(every=2)(step, 6) for step in range(4)]
        [1.0, 1.0, 0.1, 0.1]

    """

    every: int | None = None
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.every is not None:
            integer("every", self.every, 1, error=TrainingError)
        number("factor", self.factor, ABOVE_0, 1.0, "from above 0 to 1", error=TrainingError)

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor for the step after so many."""
        return float(self.factor ** (step // (self.every or max(-(-steps // 3), 1))))


SCHEDULES: Final[Mapping[str, Schedule]] = MappingProxyType(
    {"constant": constant, "cosine": Cosine(), "step": StepDecay()}
)
"""Schedules by the names that ``fit`` takes."""


def global_norm(gradient: Array) -> float:
    """Return the Euclidean norm of a whole gradient, summed in float64 and in an order that no library changes."""
    return math.sqrt(float(np.square(gradient, dtype=np.float64).sum()))


def clip(gradient: Array, norm: float, limit: float | None) -> Array:
    """Return a gradient of a norm, shortened to a limit where it is longer; None: no limit."""
    return gradient if limit is None or norm <= limit else gradient * (limit / norm)
