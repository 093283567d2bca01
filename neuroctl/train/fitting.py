"""Fitting a controller to recorded sequences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any

from numpy.typing import NDArray

from neuroctl.backends.blocks import spread, thread_count
from neuroctl.checks import integer, shown
from neuroctl.controller import Controller
from neuroctl.errors import DivergedError, StabilityWarning, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.by_data import DataTraining, Epoch, history
from neuroctl.train.dataset import dataset, split
from neuroctl.train.gradients import Gradient, Loss
from neuroctl.train.lbfgs import LBFGS
from neuroctl.train.optim import OPTIMIZERS, Optimizer, Schedule
from neuroctl.train.progress import Progress
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
    def of(cls, training: DataTraining, progress: Progress, stopped: str) -> Fit:
        """Return what a training has come to."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
            controller = Controller(training.spec, progress.best)
        best = progress.best_row
        return cls(
            controller,
            float("nan") if best is None else best.judged,
            best.epoch if best else 0,
            history(progress.rows),
            stopped,
            training.quantized(progress.best),
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
    _check_called(on_epoch)
    training, progress = _begin(
        spec, inputs, targets, loss=loss, mask=mask, optimizer=optimizer, learning_rate=learning_rate,
        schedule=schedule, epochs=epochs, batch=batch, clip=clip, validation=validation, patience=patience, seed=seed,
        threads=threads, truncate=truncate, fixed_point=fixed_point,
    )  # fmt: skip
    run = _Run(training, progress, _by_scipy(optimizer), on_epoch)
    run()
    if run.error is not None:
        run.error.fit = run.fit()
        raise run.error
    return run.fit()


def fit_many(
    spec: Spec | Controller,
    inputs: Any,
    targets: Any,
    *,
    seeds: int | Iterable[int] = 5,
    threads: int | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
    **settings: Any,
) -> dict[int, Fit]:
    """Train from several seeds, side by side on the cores: the same bits as ``fit`` gives for each.

    Args:
        spec: as of ``fit``.
        inputs: as of ``fit``.
        targets: as of ``fit``.
        seeds: of start, split and order; a number of them, from 0 on, or the seeds themselves.
        threads: trainings that run at a time; None: one a core.
        on_epoch: called with the seed and the figures of each epoch, by one thread at a time.
        **settings: the others of ``fit``.

    Returns:
        The trained controllers by seed. What diverged has ``stopped`` "diverged", and does not end the others.

    Raises:
        TrainingError: as of ``fit``, or no seed is given.
        KeyboardInterrupt: Ctrl-C; all trainings end with their epoch.

    Example:
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.01)
        >>> u = np.random.default_rng(0).standard_normal((30, 20, 1))
        >>> fits = fit_many(spec, u, np.roll(u, 1, axis=0), seeds=3, epochs=2)
        >>> best = min(fits.values(), key=lambda each: each.loss)
        >>> list(fits), best.stopped
        ([0, 1, 2], 'all epochs done')

    """
    several = seeds if isinstance(seeds, Iterable) else range(integer("seeds", seeds, 1, error=TrainingError))
    numbers = list(dict.fromkeys(integer("seed", seed, 0, error=TrainingError) for seed in several))
    if not numbers:
        raise TrainingError("seeds: none; allowed: integers >= 0")
    if "seed" in settings:
        raise TrainingError(f"seed: {shown(settings['seed'])}; allowed for several trainings: seeds")
    _check_called(on_epoch)
    workers, lock, given_up = thread_count(threads), Lock(), Event()

    def told(seed: int) -> Callable[[Epoch], None]:
        def tell(row: Epoch) -> None:
            if given_up.is_set():
                raise _GivenUp
            if on_epoch is not None:
                with lock:
                    on_epoch(seed, row)

        return tell

    by_scipy = _by_scipy(settings.get("optimizer"))
    runs = {
        seed: _Run(*_begin(spec, inputs, targets, **(settings | {"seed": seed, "threads": 1})), by_scipy, told(seed))
        for seed in numbers
    }
    spread(lambda run: run(), list(runs.values()), workers, given_up.set)
    return {seed: run.fit() for seed, run in runs.items()}  # in this thread: it filters warnings


class _GivenUp(Exception):
    """Ends a training, as another one has failed or was interrupted."""


def _check_called(on_epoch: object) -> None:
    if on_epoch is not None and not callable(on_epoch):
        raise TrainingError(f"on_epoch: {shown(on_epoch)}; allowed: a function, or None")


def _begin(
    spec: Spec | Controller, inputs: Any, targets: Any, *, loss: str | Loss = "mse", mask: Any = None,
    optimizer: str | Optimizer = "adam", validation: float | tuple[Any, ...] = 0.2, threads: int | None = None,
    learning_rate: float | None = None, schedule: str | Schedule = "constant", epochs: int = 100, batch: int = 32,
    clip: float | None = 1.0, patience: int | None = None, seed: int = 0, truncate: int | None = None,
    fixed_point: FixedPointConfig | None = None,
) -> tuple[DataTraining, Progress]:  # fmt: skip
    by_scipy = _by_scipy(optimizer)
    settings = Settings.check(
        optimizer="adam" if by_scipy else optimizer, learning_rate=learning_rate, schedule=schedule,
        epochs=epochs, batch=batch, clip=clip, patience=patience, seed=seed, truncate=truncate,
    )  # fmt: skip
    own = spec.spec if isinstance(spec, Controller) else spec
    if not isinstance(own, Spec):
        raise TrainingError(f"spec: {shown(own)}; allowed: a Spec or a Controller")
    if fixed_point is not None and by_scipy:
        raise TrainingError(f"optimizer: {shown(optimizer)}; allowed in fixed point: {', '.join(OPTIMIZERS)}")
    data = dataset(own, inputs, targets, mask)
    recorded = data.inputs.reshape(-1, own.inputs) if fixed_point else None
    gradient = Gradient(own, loss, threads=threads, fixed_point=fixed_point, calibration=recorded)
    parts = split(own, data, validation, settings.seed)
    if callable(loss) and any(part is not None and part.mask is not None for part in (data, *parts)):
        raise TrainingError("mask: given, or sequences of several lengths; allowed with a loss function: None")
    training = DataTraining(own, gradient, *parts, settings)
    theta = spec.theta if isinstance(spec, Controller) else start(own, settings.seed)
    if by_scipy and truncate is not None:
        raise TrainingError(f"truncate: {shown(truncate)}; allowed with optimizer 'lbfgs': None")
    return training, training.begin(theta)


def _by_scipy(optimizer: object) -> bool:
    return isinstance(optimizer, str) and optimizer == BY_SCIPY


class _Run:
    """A training from its start to its end, in any thread."""

    def __init__(
        self, training: DataTraining, progress: Progress, by_scipy: bool, on_epoch: Callable[[Epoch], None] | None
    ):
        self._training, self._progress, self._by_scipy, self._on_epoch = training, progress, by_scipy, on_epoch
        self._stopped = "diverged"
        self.error: DivergedError | None = None

    def __call__(self) -> None:
        try:
            if self._by_scipy:
                self._progress, self._stopped = LBFGS(self._training, self._tell).run(self._progress)
                return
            while (reason := self._training.over(self._progress)) is None:
                self._tell(self._training.epoch(self._progress))
            self._stopped = reason
        except DivergedError as error:
            self.error = error
        except _GivenUp:  # what ends the others is raised there
            self._stopped = "given up"

    def fit(self) -> Fit:
        """Return what the training has come to."""
        return Fit.of(self._training, self._progress, self._stopped)

    def _tell(self, progress: Progress) -> None:
        self._progress = progress
        if self._on_epoch is not None:
            self._on_epoch(progress.rows[-1])
