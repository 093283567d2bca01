"""Fitting a controller to recorded sequences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import DivergedError, StabilityWarning, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.dataset import dataset, split
from neuroctl.train.gradients import Gradient, Loss
from neuroctl.train.lbfgs import LBFGS
from neuroctl.train.optim import OPTIMIZERS, Optimizer, Schedule
from neuroctl.train.progress import Epoch, Progress, Training
from neuroctl.train.settings import LBFGS as BY_SCIPY
from neuroctl.train.settings import Settings
from neuroctl.train.starting import start

Array = NDArray[Any]


@dataclass(frozen=True)
class Fit:
    """A trained controller.

    Args:
        controller: with the parameters of the lowest validation loss; without validation, of the lowest loss.
        loss: that loss; NaN before the first epoch.
        epoch: the epoch it is of, from 1 on; 0 before the first.
        history: an array an epoch by name: epoch, step, loss, validation, gradient_norm, learning_rate, see ``Epoch``.
        stopped: why training ended.
        quantized: with ``fixed_point`` the integer controller that was trained, whose loss it is; else None.

    Example:
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.01)
        >>> u = np.random.default_rng(0).standard_normal((30, 20, 1)).astype(np.float32)
        >>> result = fit(spec, u, np.roll(u, 1, axis=0), epochs=3)  # what came a step before
        >>> result.stopped, len(result.history["loss"]), result.controller.spec == spec
        ('all epochs done', 3, True)

    """

    controller: Controller
    loss: float
    epoch: int
    history: Mapping[str, Array]
    stopped: str
    quantized: QuantController | None = None

    @classmethod
    def of(cls, training: Training, progress: Progress, stopped: str) -> Fit:
        """Return what a training has come to."""
        quantized = None
        if training.gradient.steps_integers:
            training.refine(progress.best)
            quantized = training.gradient.quantized(progress.best)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
            controller = Controller(training.spec, progress.best)
        best = progress.best_row
        return cls(
            controller,
            float("nan") if best is None else best.judged,
            best.epoch if best else 0,
            progress.history(),
            stopped,
            quantized,
        )


def fit(
    spec: Spec | Controller,
    inputs: Any,
    targets: Any,
    *,
    loss: str | Loss = "mse",
    mask: Any = None,
    optimizer: str | Optimizer = "adam",
    learning_rate: float | None = None,
    schedule: str | Schedule = "constant",
    epochs: int = 100,
    batch: int = 32,
    clip: float | None = 1.0,
    validation: float | tuple[Any, ...] = 0.2,
    patience: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    truncate: int | None = None,
    fixed_point: FixedPointConfig | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fit:
    """Train a controller on sequences, by gradient.

    Every sequence begins at a reset. Parameters stay within their bounds, see ``projection.Projection``. The optimizer
    steps time constants in their logarithm, and weights of inputs and outputs in units of the spec's limits, see
    ``coordinates.Coordinates``. The same arguments give the same bits on one machine, whatever the number of threads.

    Args:
        spec: of the controller, whose parameters then start as ``starting.start`` says; or a controller to go on from,
            which stays as it is.
        inputs: numbers ``[T, B, inputs]``, or a list of B arrays ``[T_b, inputs]``.
        targets: numbers ``[T, B, outputs]``, or classes ``[T, B]`` for the cross-entropy; or a list of B arrays.
        loss: ``"mse"``, ``"huber"``, ``"cross_entropy"``, or a function, see ``Gradient``.
        mask: weights of steps ``[T, B]``, or a list of B arrays; None: all count.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``, or one of ``optim`` with other settings; or ``"lbfgs"``, which
            takes all sequences at once, and no learning rate, schedule, batch, clip or truncate.
        learning_rate: of the optimizer, greater than 0; None: 0.01.
        schedule: ``"constant"``; ``"cosine"`` down to 0; ``"step"``, a tenth after each third; or one of ``optim``.
        epochs: how often all sequences are gone through, at most.
        batch: sequences between two steps.
        clip: largest norm of the whole gradient, in the optimizer's coordinates, to which a longer one is shortened;
            None: any.
        validation: share of the sequences, chosen by the seed, that are not trained on; or ``(inputs, targets)`` or
            ``(inputs, targets, mask)``. They decide which parameters are the best.
        patience: epochs without a lower validation loss after which training stops; None: never.
        seed: of the start, the split and the order of sequences.
        threads: how many to use; None: one a core.
        truncate: steps between two steps of the optimizer: the state is carried on, and the gradient goes back no
            further. None: a whole sequence.
        fixed_point: storage of the integer controller that is trained, whose bits the losses are of: see ``Gradient``.
            Of ReLU's activations the format is chosen anew after each epoch, by up to 128 of the sequences. Start from
            a trained float controller, with a small learning rate. None: a float controller. Not with ``truncate``
            or ``"lbfgs"``, whose search along a line needs a loss without steps.
        on_epoch: called with the figures of each epoch.

    Raises:
        ExportError: a range is too wide for fixed point.
        TrainingError: data or a setting is not allowed; the message names it.
        DivergedError: outputs, the loss or a gradient is not finite; its ``fit`` is the best until then.
        SpecError: the cell has no gradient.
        BackendUnavailable: ``"lbfgs"`` without SciPy.

    Warns:
        UserWarning: a column of the data never changes.

    """
    settings = Settings.check(
        optimizer="adam" if optimizer == BY_SCIPY else optimizer, learning_rate=learning_rate, schedule=schedule,
        epochs=epochs, batch=batch, clip=clip, patience=patience, seed=seed, truncate=truncate,
    )  # fmt: skip
    own = spec.spec if isinstance(spec, Controller) else spec
    if fixed_point is not None and truncate is not None:
        raise TrainingError(f"truncate: {shown(truncate)}; allowed in fixed point: None")
    if fixed_point is not None and optimizer == BY_SCIPY:
        raise TrainingError(f"optimizer: {shown(optimizer)}; allowed in fixed point: {', '.join(OPTIMIZERS)}")
    data = dataset(own, inputs, targets, mask)
    recorded = data.inputs.reshape(-1, own.inputs) if fixed_point else None
    gradient = Gradient(own, loss, threads=threads, fixed_point=fixed_point, calibration=recorded)
    if callable(loss) and data.mask is not None:
        raise TrainingError("mask: given, or sequences of several lengths; allowed with a loss function: None")
    training = Training(own, gradient, *split(own, data, validation, settings.seed), settings)
    theta = spec.theta if isinstance(spec, Controller) else start(own, settings.seed)
    if optimizer == BY_SCIPY and truncate is not None:
        raise TrainingError(f"truncate: {shown(truncate)}; allowed with optimizer 'lbfgs': None")
    return _run(training, training.begin(theta), optimizer == BY_SCIPY, on_epoch)


def _run(training: Training, progress: Progress, by_scipy: bool, on_epoch: Callable[[Epoch], None] | None) -> Fit:
    def tell(now: Progress) -> None:
        nonlocal progress
        progress = now
        if on_epoch is not None:
            on_epoch(now.rows[-1])

    try:
        if by_scipy:
            return Fit.of(training, *LBFGS(training, tell).run(progress))
        while (reason := training.over(progress)) is None:
            tell(training.epoch(progress))
    except DivergedError as error:
        error.fit = Fit.of(training, progress, "diverged")
        raise
    return Fit.of(training, progress, reason)
