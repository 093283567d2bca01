"""What a training is, whatever it learns from: from one state of progress to the next, with no state besides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.optim import State

Array = NDArray[Any]


class Row(Protocol):
    """Figures of an epoch: a named tuple of numbers, the columns of ``history.csv`` in order."""

    @property
    def epoch(self) -> int:
        """Its number, from 1 on."""

    @property
    def judged(self) -> float:
        """What the best epoch has least of: a loss, or minus a return."""

    @property
    def notes(self) -> Mapping[str, float]:
        """What the file of the best controller says of the epoch."""


@dataclass(frozen=True)
class Progress:
    """All that a training has come to: with the same settings, what follows is the same bits.

    Args:
        theta: parameters now.
        state: what else the training goes on from, arrays by name: of the optimizer, of episodes that go on.
        best: parameters of the best epoch so far, as a controller has them.
        rows: figures of the epochs so far.

    """

    theta: Array
    state: State
    best: Array
    rows: tuple[Any, ...] = ()

    @property
    def best_row(self) -> Any:
        """Figures of the best epoch; None before the first."""
        return min(self.rows, key=lambda row: row.judged) if self.rows else None

    def after(self, theta: Array, state: State, row: Row, controller: Array | None = None) -> Progress:
        """Return the progress after one more epoch, which led to theta; controller: as ``best``, where not the same."""
        best = self.best_row
        better = best is None or row.judged < best.judged
        candidate = theta if controller is None else controller
        return Progress(theta, state, candidate if better else self.best, (*self.rows, row))


class Training(ABC):
    """Takes a training from one state of progress to the next.

    Args:
        spec: of the controller whose parameters ``Progress.best`` are.

    """

    ROW: ClassVar[type[Any]]
    """Type of an epoch's figures, see ``Row``."""
    INTEGERS: ClassVar[tuple[str, ...]]
    """Names of those figures that are integers."""
    GROWING: ClassVar[tuple[str, ...]] = ()
    """Names of arrays of ``Progress.state`` that have more rows after each epoch."""

    def __init__(self, spec: Spec):
        self.spec = spec

    @abstractmethod
    def begin(self, theta: Array) -> Progress:
        """Return the progress before the first epoch, from parameters to start with."""

    @abstractmethod
    def over(self, progress: Progress) -> str | None:
        """Return why the training is over, or None."""

    @abstractmethod
    def epoch(self, progress: Progress) -> Progress:
        """Return the progress after one more epoch.

        Raises:
            DivergedError: a number that has to be finite is not.

        """

    def resumed(self, progress: Progress) -> None:  # noqa: B027 - most trainings keep nothing besides
        """Take note of the progress that a study goes on from."""

    @property
    def steps_integers(self) -> bool:
        """Whether the best is chosen as an integer controller."""
        return False

    def quantized(self, theta: Array) -> QuantController | None:
        """Return the integer controller of parameters as in ``Progress.best``; None unless ``steps_integers``."""
        return None

    def recorded(self) -> Array:
        """Return inputs ``[T, inputs]`` that the controller meets, for choosing formats; none are known here."""
        return np.empty((0, self.spec.inputs), self.spec.dtype)
