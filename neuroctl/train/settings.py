"""What a training is told: its settings, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroctl.checks import ABOVE_0, FINITE, integer, number, shown
from neuroctl.errors import TrainingError
from neuroctl.train.optim import OPTIMIZERS, SCHEDULES, Optimizer, Schedule

LBFGS = "lbfgs"


@dataclass(frozen=True)
class Settings:
    """Settings of a training by steps, as ``fit`` describes them.

    Args:
        optimizer: makes the steps.
        learning_rate: largest rate.
        schedule: factor of the rate.
        epochs: how often all sequences are gone through, at most.
        batch: sequences between two steps.
        clip: largest norm of a gradient; None: any.
        patience: epochs without a better loss after which training stops; None: never.
        seed: of the order of sequences.
        truncate: steps that a gradient goes back; None: to the beginning.

    """

    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    epochs: int
    batch: int
    clip: float | None
    patience: int | None
    seed: int
    truncate: int | None

    @classmethod
    def check(
        cls, *, optimizer: Any, learning_rate: Any, schedule: Any, epochs: Any, batch: Any, clip: Any, patience: Any,
        seed: Any, truncate: Any,
    ) -> Settings:  # fmt: skip
        """Return settings for the arguments of ``fit``.

        Raises:
            TrainingError: one is not allowed.

        """
        if not isinstance(optimizer, Optimizer) or type(optimizer) is Optimizer:  # that has no step of its own
            optimizer = _named(
                "optimizer", optimizer, {name: make() for name, make in OPTIMIZERS.items()}, "an Optimizer"
            )
        if not callable(schedule):
            schedule = _named("schedule", schedule, SCHEDULES, "a function of (step, steps)")

        def positive(name: str, value: Any) -> float:
            return number(name, value, ABOVE_0, FINITE, "a number greater than 0", error=TrainingError)

        def count(name: str, value: Any, low: int = 1) -> int:
            return integer(name, value, low, error=TrainingError)

        return cls(
            optimizer=optimizer,
            learning_rate=optimizer.RATE if learning_rate is None else positive("learning_rate", learning_rate),
            schedule=schedule,
            epochs=count("epochs", epochs),
            batch=count("batch", batch),
            clip=None if clip is None else positive("clip", clip),
            patience=None if patience is None else count("patience", patience),
            seed=count("seed", seed, 0),
            truncate=None if truncate is None else count("truncate", truncate),
        )

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate after so many of all steps.

        Raises:
            TrainingError: the schedule gives no factor.

        """
        try:
            factor = self.schedule(step, steps)
        except TypeError as error:
            text = " ".join(str(error).split())
            raise TrainingError(f"schedule: {text}; allowed: a function of (step, steps)") from error
        name = f"schedule({step}, {steps})"
        return self.learning_rate * number(name, factor, 0.0, FINITE, "a number >= 0", error=TrainingError)


def _named(name: str, value: Any, table: Mapping[str, Any], other: str) -> Any:
    if isinstance(value, str) and value in table:
        return table[value]
    known = ", ".join([*table, *([LBFGS] if name == "optimizer" else [])])
    raise TrainingError(f"{name}: {shown(value)}; allowed: {known}, or {other}")
