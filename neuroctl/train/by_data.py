"""A training by steps on recorded sequences, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.checks import finite
from neuroctl.errors import DivergedError, ExportError, TrainingError
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.coordinates import Coordinates
from neuroctl.train.data import Sequences
from neuroctl.train.dataset import batches, pieces, weight_of
from neuroctl.train.gradients import Gradient
from neuroctl.train.optim import State, clip, global_norm
from neuroctl.train.progress import Progress, Training
from neuroctl.train.projection import Projection
from neuroctl.train.settings import Settings

Array = NDArray[Any]

_REFINING: Final = 128  # sequences by which formats are chosen
_RECORDED: Final = 10_000  # steps that a controller's file keeps
_INTEGERS: Final = ("epoch", "step")


class Epoch(NamedTuple):
    """Figures of an epoch.

    Args:
        epoch: its number, from 1 on.
        step: steps of the optimizer so far.
        loss: mean over the epoch's sequences, each as it was when its step was taken.
        validation: loss of the validation sequences after the epoch; NaN without any.
        gradient_norm: largest norm of a gradient in the epoch, in the optimizer's coordinates, before clipping.
        learning_rate: rate of the last step.

    Example:
        >>> Epoch(1, 20, 0.5, 0.25, 1.5, 0.01).judged
        0.25

    """

    epoch: int
    step: int
    loss: float
    validation: float
    gradient_norm: float
    learning_rate: float

    @property
    def judged(self) -> float:
        """The loss that the best is chosen by: of the validation if there is one."""
        return self.loss if np.isnan(self.validation) else self.validation

    @property
    def notes(self) -> Mapping[str, float]:
        """What the file of the best controller says of the epoch."""
        return {"epoch": self.epoch, "loss": self.judged}


def history(rows: Sequence[Epoch]) -> dict[str, Array]:
    """Return the figures of epochs, as columns."""
    table = np.array(rows, np.float64).reshape(len(rows), len(Epoch._fields))
    return {
        name: column.astype(np.int64) if name in _INTEGERS else column
        for name, column in zip(Epoch._fields, table.T.copy(), strict=True)
    }


class DataTraining(Training):
    """Takes a training on sequences from one state of progress to the next.

    Args:
        spec: of the controller.
        gradient: of its loss.
        data: sequences to train on.
        validation: sequences that the best parameters are chosen by; None: those of ``data``.
        settings: of the training.

    Raises:
        TrainingError: truncated gradients in fixed point, which starts from reset alone.

    """

    ROW, INTEGERS = Epoch, _INTEGERS

    def __init__(
        self, spec: Spec, gradient: Gradient, data: Sequences, validation: Sequences | None, settings: Settings
    ):
        super().__init__(spec)
        self.gradient, self.data, self.validation, self.settings = gradient, data, validation, settings
        if gradient.steps_integers and settings.truncate is not None:
            raise TrainingError(f"truncate: {settings.truncate}; allowed in fixed point: None")
        self.bounds, self.coordinates = Projection(spec), Coordinates(spec)
        self._weights = np.concatenate(
            [np.full(block.size, float(len(block.shape) == 2), spec.dtype) for block in layout(spec).blocks.values()]
        )
        self._refined: Array | None = None
        a_batch = -(-data.inputs.shape[0] // (settings.truncate or data.inputs.shape[0]))
        self.steps = settings.epochs * -(-data.inputs.shape[1] // settings.batch) * a_batch

    def begin(self, theta: Array) -> Progress:
        """Return the progress before the first epoch."""
        theta = self.bounds(theta)
        return Progress(theta, self.settings.optimizer.begin(self.coordinates.of(theta)), theta)

    def over(self, progress: Progress) -> str | None:
        """Return why the training is over, or None."""
        best, patience = progress.best_row, self.settings.patience
        if best is not None and patience is not None and len(progress.rows) - best.epoch >= patience:
            return f"no lower loss in {patience} epochs"
        return "all epochs done" if len(progress.rows) >= self.settings.epochs else None

    def epoch(self, progress: Progress) -> Progress:
        """Return the progress after one more epoch.

        Raises:
            DivergedError: outputs, the loss or a gradient is not finite.

        """
        settings = self.settings
        theta, state = progress.theta, progress.state
        self.refine(theta)
        step = progress.rows[-1].step if progress.rows else 0
        number, largest, rate, total, weight = len(progress.rows) + 1, 0.0, 0.0, 0.0, 0.0
        for batch in batches(self.data, settings.batch, settings.seed, number):
            carried = None
            for piece in pieces(batch, settings.truncate):
                loss, gradient, carried = self._gradient(theta, piece, carried, number, step + 1)
                if gradient is None:
                    continue
                rate = settings.rate(step, self.steps)
                gradient = self.coordinates.gradient(theta, gradient)
                norm = global_norm(gradient)
                step += 1
                theta, state = self._step(theta, clip(gradient, norm, settings.clip), state, step, rate, number)
                share = weight_of(piece)
                total, weight, largest = total + share * loss, weight + share, max(largest, norm)
        self.refine(theta)
        row = Epoch(number, step, total / weight, self.validated(theta, number, step), largest, rate)
        return progress.after(theta, state, row)

    def refine(self, theta: Array) -> None:
        """Choose the formats of fixed point by theta and some of the data; nothing else goes into them."""
        if theta is not self._refined:
            few = slice(_REFINING)
            mask = None if self.data.mask is None else self.data.mask[:, few]
            self.gradient.refine(theta, np.ascontiguousarray(self.data.inputs[:, few]), mask)
            self._refined = theta

    @property
    def steps_integers(self) -> bool:
        """Whether the loss is that of an integer controller."""
        return self.gradient.steps_integers

    def quantized(self, theta: Array) -> QuantController | None:
        """Return the integer controller whose loss is that of theta; None of a training in floats."""
        if not self.steps_integers:
            return None
        self.refine(theta)
        return self.gradient.quantized(theta)

    def recorded(self) -> Array:
        """Return the first inputs ``[T, inputs]`` that are trained on, sequence after sequence."""
        inputs = self.data.inputs.swapaxes(0, 1)
        rows = inputs.reshape(-1, inputs.shape[2]) if self.data.mask is None else inputs[self.data.mask.T > 0]
        return rows[:_RECORDED]

    def validated(self, theta: Array, epoch: int, step: int) -> float:
        """Return the loss of the validation sequences; NaN without any."""
        if self.validation is None:
            return np.nan
        return float(self.checked(self.gradient.loss, theta, self.validation, epoch, step))

    def _gradient(
        self, theta: Array, piece: Sequences, carried: Array | None, epoch: int, step: int
    ) -> tuple[float, Array | None, Array | None]:
        """Return loss, gradient and, with ``truncate``, the last state; no gradient where no step counts."""
        if self.settings.truncate is None:
            return (*self.checked(self.gradient, theta, piece, epoch, step), None)
        counts = piece.mask is None or bool(piece.mask.any())
        piece = piece if counts else replace(piece, mask=None)
        found = self.checked(self.gradient.all_of, theta, piece, epoch, step, carried)
        return (found.loss, found.theta, found.final) if counts else (0.0, None, found.final)

    def _step(
        self, theta: Array, gradient: Array, state: State, step: int, rate: float, epoch: int
    ) -> tuple[Array, State]:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
            x, state = self.settings.optimizer.step(
                self.coordinates.of(theta), gradient, state, step, rate, self._weights
            )
            if not (isinstance(x, np.ndarray) and x.shape == theta.shape and x.dtype == theta.dtype):
                got = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
                allowed = f"{theta.dtype} of shape {theta.shape}"
                raise TrainingError(f"optimizer: step returned {got}; allowed: {allowed}, and its state")
            theta = self.coordinates.theta(x)
        if not finite(theta):
            raise DivergedError(f"epoch {epoch}, step {step}: {self._largest(theta)}; allowed: finite parameters")
        return self.bounds(theta), state

    def checked(
        self, function: Any, theta: Array, data: Sequences, epoch: int, step: int, state: Array | None = None
    ) -> Any:
        """Return what a gradient's function gives; if that is not finite, say when, and where theta is largest."""
        try:
            return function(theta, data.inputs, data.targets, data.mask, state)
        except DivergedError as error:
            text = f"epoch {epoch}, step {step}: {error}; {self._largest(theta)}"
            raise DivergedError(text) from error
        except ExportError as error:  # of the start it is no divergence
            if step <= 1:
                raise
            raise DivergedError(f"epoch {epoch}, step {step}: {error}") from error

    def _largest(self, theta: Array) -> str:
        """Name the largest parameter, or the first that is not finite."""
        sizes = np.where(np.isfinite(theta), np.abs(theta), np.inf)
        k = int(np.argmax(sizes))
        block = next(block for block in layout(self.spec).blocks.values() if k < block.offset + block.size)
        return f"the largest parameter, in {block.name}, is {theta[k]:.3g}"
