"""Training by the gradient through a plant: episodes from random starts, whose cost becomes smaller step by step."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.plant import Plant, load
from neuroctl.cells import layout
from neuroctl.checks import finite
from neuroctl.controller import Controller
from neuroctl.errors import DivergedError, StabilityWarning
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.by_reward import Validation
from neuroctl.train.coordinates import Coordinates
from neuroctl.train.optim import SCHEDULES, Adam, State, clip, global_norm
from neuroctl.train.plant_gradients import PlantGradient, PlantLike
from neuroctl.train.plant_settings import PlantSettings
from neuroctl.train.progress import Progress, Training
from neuroctl.train.projection import Projection
from neuroctl.train.starting import start

Array = NDArray[Any]

_STARTS: Final = 13  # stream of random numbers, apart from those of other methods
_FIRST_OUTPUTS: Final = 0.1  # of what is usual: at first the actions are near the middle of their range


class PlantEpoch(NamedTuple):
    """Figures of an epoch of training through a plant.

    Args:
        epoch: its number, from 1 on.
        steps: of the plant so far, forward.
        episodes: of the training so far.
        elapsed_s: time so far, without compilation, in seconds.
        horizon: control steps of an episode.
        cost: mean of a step over the epoch's episodes.
        validation: mean fitness of whole episodes from unseen starts after the epoch; NaN where none was asked for.
        gradient_norm: median norm of the epoch's gradients, in the optimizer's coordinates, before clipping.
        skipped: steps of the optimizer that were left out, as cost or gradient was not finite.
        learning_rate: of the last step.

    Example:
        >>> PlantEpoch(1, 128000, 1280, 0.1, 100, 0.5, 31.0, 0.2, 0, 1e-3).judged
        -31.0

    """

    epoch: int
    steps: int
    episodes: int
    elapsed_s: float
    horizon: int
    cost: float
    validation: float
    gradient_norm: float
    skipped: int
    learning_rate: float

    @property
    def judged(self) -> float:
        """Minus the fitness in validation; infinite without."""
        return math.inf if math.isnan(self.validation) else -self.validation

    @property
    def shown(self) -> str:
        """What a progress bar says of the epoch."""
        return f"cost {self.cost:.4g} over {self.horizon} steps, gradient {self.gradient_norm:.2g}"

    @property
    def notes(self) -> Mapping[str, float]:
        """What the file of the best controller says of the epoch."""
        return {"epoch": self.epoch, "steps": self.steps, "return": self.validation}


class PlantTraining(Training):
    """Trains a controller in a plant by the gradient of its cost.

    In each step of the optimizer, episodes begin at random starts of the plant's ``STARTS`` with the controller reset,
    and go on for some control steps, few at first: a gradient over few steps is tame, and what it teaches makes one
    over more steps so. The same seed gives the same bits on one machine, for any number of threads.

    Args:
        spec: of the controller.
        plant: what it controls: a module or the path of its file; see ``neuroctl.backends.plant``.
        max_steps: control steps of an episode in validation.
        settings: of the training.
        seed: of everything random.
        fixed_point: storage of the integer controller that the best is chosen by; None: the float controller.
        fitness: name of the plant's function that validation takes.
        threads: how many to use; None: one a core.

    Raises:
        PlantError: the plant does not fit the spec, or cannot be taken back through.
        SpecError: the cell has no gradient.

    Example:
        >>> from neuroctl.sims.plants import pendulum
        >>> spec = nc.Spec(cell="elman", inputs=3, neurons=4, outputs=1, dt_s=0.05, output_limits=((-2, 2),))
        >>> training = PlantTraining(spec, pendulum, 50, PlantSettings(epochs=2, updates=2, horizon=10))
        >>> progress = training.epoch(training.begin(training.first()))
        >>> progress.rows[0].episodes, training.over(progress)
        (128, None)

    """

    ROW, INTEGERS = PlantEpoch, ("epoch", "steps", "episodes", "horizon", "skipped")

    def __init__(
        self, spec: Spec, plant: PlantLike, max_steps: int, settings: PlantSettings | None = None, *, seed: int = 0,
        fixed_point: FixedPointConfig | None = None, fitness: str = "fitness", threads: int | None = None,
    ):  # fmt: skip
        super().__init__(spec)
        self.settings = settings = settings or PlantSettings()
        self.plant = plant if isinstance(plant, Plant) else load(plant)
        self.seed, self.max_steps = seed, max_steps
        self.gradient = PlantGradient(spec, self.plant, decay=settings.decay, threads=threads)
        self.validation = Validation(
            spec, self.plant, max_steps, seed=seed, episodes=settings.validation_episodes, fitness=fitness,
            fixed_point=fixed_point, threads=threads,
        )  # fmt: skip
        self._coordinates, self._bounds = Coordinates(spec), Projection(spec)
        self._adam, self._schedule = Adam(beta2=settings.beta2), SCHEDULES[settings.schedule]

    @property
    def steps_integers(self) -> bool:
        """Whether the best is chosen as an integer controller."""
        return self.validation.fixed_point is not None

    def quantized(self, theta: Array) -> QuantController | None:
        """Return the integer controller of parameters; None of a training in floats."""
        return self.validation.quantized(theta)

    def first(self) -> Array:
        """Return parameters to start from, see ``start``: with small weights of the outputs."""
        theta = start(self.spec, self.seed)
        if self.spec.readout == "affine":
            p = layout(self.spec).views(theta)
            p["W_out"][:] *= _FIRST_OUTPUTS
        return theta

    def begin(self, theta: Array) -> Progress:
        """Return the progress before the first epoch."""
        theta = self._bounds(theta)
        return Progress(theta, self._adam.begin(self._coordinates.of(theta)), theta)

    def over(self, progress: Progress) -> str | None:
        """Return why the training is over, or None."""
        settings, rows = self.settings, progress.rows
        if settings.goal is not None and rows and rows[-1].validation >= settings.goal:
            return f"fitness {rows[-1].validation:.4g} reached"
        if len(rows) >= settings.epochs:
            return "all epochs done"
        lately = rows[-settings.patience :]
        if len(lately) == settings.patience and progress.best_row.epoch <= len(rows) - settings.patience:
            norm = float(np.median([row.gradient_norm for row in lately]))
            if not norm <= settings.explodes:
                return exploded(norm, rows[-1].horizon)
        return None

    def warm_up(self) -> None:
        """Compile all that an epoch calls, or load it from the cache."""
        theta = self._bounds(self.first())
        self.gradient(theta, self._starts(0), 1)
        self.validation(theta)

    def epoch(self, progress: Progress) -> Progress:
        """Return the progress after one more epoch.

        Raises:
            DivergedError: no gradient of the epoch was finite.

        """
        began, settings, rows = time.perf_counter(), self.settings, progress.rows
        last = rows[-1] if rows else None
        number, done = len(rows) + 1, len(rows) * settings.updates
        horizon = settings.horizon_at(len(rows))
        theta, state = progress.theta, progress.state
        starts = self._starts(number)
        costs, norms, rate = [], [], 0.0
        skipped = 0
        for k in range(settings.updates):
            rate = settings.learning_rate * self._schedule(done + k, settings.epochs * settings.updates)
            batch = starts[:, k * settings.batch : (k + 1) * settings.batch]
            try:
                cost, gradient = self.gradient(theta, batch, horizon)
                gradient = self._coordinates.gradient(theta, gradient)
                norm = global_norm(gradient)
            except DivergedError:
                cost, norm = math.nan, math.inf
            if not math.isfinite(norm):
                skipped += 1
                norms.append(math.inf)
                continue
            theta, state = self._step(theta, clip(gradient, norm, settings.clip), state, done + k + 1, rate)
            costs.append(cost)
            norms.append(norm)
        if not costs:
            raise DivergedError(f"epoch {number}: {exploded(math.inf, horizon)}")
        count = settings.updates * settings.batch
        due = number == 1 or number % settings.validate_every == 0 or number == settings.epochs
        row = PlantEpoch(
            number, (last.steps if last else 0) + count * horizon, (last.episodes if last else 0) + count,
            0.0, horizon, float(np.mean(costs)), self.validation(theta) if due else math.nan,
            float(np.median(norms)), skipped, rate,
        )  # fmt: skip
        elapsed = (last.elapsed_s if last else 0.0) + time.perf_counter() - began
        return progress.after(theta, state, row._replace(elapsed_s=elapsed))

    def _starts(self, epoch: int) -> Array:
        """Return an epoch's starts ``[S, updates * batch]``."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_STARTS, epoch)))
        return self.plant.draw_starts(rng, self.settings.updates * self.settings.batch).astype(self.spec.dtype)

    def _step(self, theta: Array, gradient: Array, state: State, step: int, rate: float) -> tuple[Array, State]:
        x, state = self._adam.step(self._coordinates.of(theta), gradient, state, step, rate)
        theta = self._coordinates.theta(x)
        if not finite(theta):
            raise DivergedError(f"step {step}: parameters are not finite; allowed: finite parameters")
        return self._bounds(theta), state


def exploded(norm: float, horizon: int) -> str:
    """Say that a gradient has grown beyond use, and what to do."""
    size = f"a norm of {norm:.1e}" if math.isfinite(norm) else "no finite number"
    return f"the gradient explodes: {size} over {horizon} steps; train with a shorter horizon, or by --method ppo"


@dataclass(frozen=True)
class PlantFit:
    """A controller that was trained in a plant.

    Args:
        controller: with the parameters that were best in validation.
        validation: its mean fitness there.
        epoch: the epoch it is of, from 1 on.
        history: figures of the epochs, see ``PlantEpoch``.
        stopped: why training ended.
        quantized: with ``fixed_point`` the integer controller that was judged; else None.

    Example:
        >>> from neuroctl.sims.plants import pendulum
        >>> spec = nc.Spec(cell="elman", inputs=3, neurons=4, outputs=1, dt_s=0.05, output_limits=((-2, 2),))
        >>> fitted = fit_plant(spec, pendulum, 50, settings=PlantSettings(epochs=2, updates=2, horizon=10))
        >>> fitted.stopped, len(fitted.history)
        ('all epochs done', 2)

    """

    controller: Controller
    validation: float
    epoch: int
    history: tuple[PlantEpoch, ...]
    stopped: str
    quantized: QuantController | None = None


def fit_plant(
    spec: Spec | Controller, plant: PlantLike, max_steps: int, *, settings: PlantSettings | None = None, seed: int = 0,
    fixed_point: FixedPointConfig | None = None, fitness: str = "fitness", threads: int | None = None,
    on_epoch: Callable[[PlantEpoch], None] | None = None,
) -> PlantFit:  # fmt: skip
    """Train a controller in a plant, by the gradient through it; see ``PlantTraining``.

    Args:
        spec: of the controller; or a controller to go on from, which stays as it is.
        plant: as of ``PlantTraining``.
        max_steps: as of ``PlantTraining``.
        settings: as of ``PlantTraining``.
        seed: as of ``PlantTraining``.
        fixed_point: as of ``PlantTraining``.
        fitness: as of ``PlantTraining``.
        threads: as of ``PlantTraining``.
        on_epoch: called with the figures of each epoch.

    Raises:
        PlantError: as of ``PlantTraining``.
        SpecError: as of ``PlantTraining``.
        DivergedError: no gradient of an epoch was finite: see ``PlantEpoch.gradient_norm`` of those before.

    """
    own = spec.spec if isinstance(spec, Controller) else spec
    training = PlantTraining(
        own, plant, max_steps, settings, seed=seed, fixed_point=fixed_point, fitness=fitness, threads=threads
    )
    training.warm_up()
    progress = training.begin(spec.theta if isinstance(spec, Controller) else training.first())
    while (reason := training.over(progress)) is None:
        progress = training.epoch(progress)
        if on_epoch is not None:
            on_epoch(progress.rows[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
        controller = Controller(own, progress.best)
    best = progress.best_row
    return PlantFit(
        controller, best.validation, best.epoch, progress.rows, reason, training.quantized(progress.best)
    )  # fmt: skip
