"""Settings of training by the gradient through a plant, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from neuroctl.checks import ABOVE_0, FINITE, integer, number, one_of
from neuroctl.errors import TrainingError
from neuroctl.train.optim import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class PlantSettings:
    """Settings of ``PlantTraining``.

    Args:
        epochs: after which training ends.
        updates: steps of the optimizer in an epoch, after which the controller is judged.
        batch: episodes whose mean gradient a step takes.
        horizon: control steps that an episode has, and the gradient goes back, at the end of training.
        first_horizon: as many at its start; None: a quarter of ``horizon``. In between they double.
        growing: share of the epochs after which the horizon is whole.
        learning_rate: of Adam.
        schedule: of the learning rate: ``"constant"``, ``"cosine"`` or ``"step"``.
        clip: largest norm of a gradient, in the optimizer's coordinates, to which a longer one is shortened.
        beta2: memory of the gradient's square in Adam: what changes fast needs a short one.
        validation_episodes: number of unseen starts that the best is chosen by.
        validate_every: epochs between two validations.
        goal: mean fitness in validation at which training ends; None: at no such.
        patience: epochs without a better validation, with gradients beyond ``explodes``, after which training ends.
        decay: how much of a change with the plant's state goes back over a step, see ``PlantGradient``.
        explodes: norm of an epoch's median gradient beyond which its direction says little.

    Raises:
        TrainingError: a setting is not allowed.

    Example:
        >>> PlantSettings(epochs=10, horizon=100).horizon_at(0), PlantSettings(epochs=10, horizon=100).horizon_at(9)
        (25, 100)

    """

    epochs: int = 40
    updates: int = 20
    batch: int = 64
    horizon: int = 100
    first_horizon: int | None = None
    growing: float = 0.3
    learning_rate: float = 6e-3
    schedule: str = "cosine"
    clip: float = 1.0
    beta2: float = 0.99
    validation_episodes: int = 64
    validate_every: int = 1
    goal: float | None = None
    patience: int = 20
    decay: float = 1.0
    explodes: float = 1e3

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("epochs", "updates", "batch", "horizon", "validation_episodes", "validate_every", "patience"):
            self._set(name, integer(name, getattr(self, name), 1, error=TrainingError))
        if self.first_horizon is not None:
            self._set(
                "first_horizon", integer("first_horizon", self.first_horizon, 1, self.horizon, error=TrainingError)
            )
        for name in ("learning_rate", "clip", "explodes"):
            self._set(name, number(name, getattr(self, name), ABOVE_0, FINITE, "above 0", error=TrainingError))
        self._set("growing", number("growing", self.growing, 0.0, 1.0, "0 to 1", error=TrainingError))
        self._set("decay", number("decay", self.decay, ABOVE_0, 1.0, "above 0, up to 1", error=TrainingError))
        if self.goal is not None:
            self._set("goal", number("goal", self.goal, -FINITE, FINITE, "a number, or None", error=TrainingError))
        one_of("schedule", self.schedule, SCHEDULES, error=TrainingError)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def horizon_at(self, epoch: int) -> int:
        """Return the control steps of an episode after so many epochs."""
        first = self.first_horizon or max(self.horizon // 4, 1)
        doublings = _doublings(first, self.horizon)
        growing = self.growing * self.epochs
        done = doublings if epoch >= growing else int(doublings * epoch / growing)
        return self.horizon if done == doublings else min(first * 2**done, self.horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @property
    def total_timesteps(self) -> int:
        """Steps of the plant in all epochs."""
        return self.updates * self.batch * sum(map(self.horizon_at, range(self.epochs)))

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> PlantSettings:
        """Return settings of those given by name; with ``total_timesteps`` as many epochs as these are enough for.

        Raises:
            TrainingError: a name is unknown, or a setting not allowed.

        """
        names = [*(field.name for field in fields(cls)), "total_timesteps"]
        for name in given:
            one_of("setting", name, names, error=TrainingError)
        settings = cls(**{name: value for name, value in given.items() if name != "total_timesteps"})
        if given.get("total_timesteps") is None:
            return settings
        steps = integer("total_timesteps", given["total_timesteps"], 1, error=TrainingError)
        epochs = max(steps // (settings.updates * settings.batch * settings.horizon), 1)
        while replace(settings, epochs=epochs + 1).total_timesteps <= steps:
            epochs += 1
        return replace(settings, epochs=epochs)


def _doublings(first: int, last: int) -> int:
    """Return how often a number has to be doubled to reach another."""
    count = 0
    while first * 2**count < last:
        count += 1
    return count
