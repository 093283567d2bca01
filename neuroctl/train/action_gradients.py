"""Gradients through a plant alone: how its cost, or what it shows, changes with given actions and with its start.

With the cost it is what trajectory optimization steps along. With recorded observations, and the plant's own parameters
as entries of its state, it is what system identification steps along.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import starts_of
from neuroctl.backends.blocks import aligned, spread, thread_count
from neuroctl.backends.plant import Plant, load
from neuroctl.backends.plant_errors import plant_errors
from neuroctl.checks import ABOVE_0, FINITE, array, cast, finite, number, one_of
from neuroctl.errors import DivergedError, TrainingError
from neuroctl.maths.packs import lanes_of
from neuroctl.maths.subnormals import Flushed
from neuroctl.train.plant_gradients import Lanes, PlantLike
from neuroctl.train.plant_kernel import check_cost, open_loop_kernel, substeps_of

Array = NDArray[Any]


@dataclass(frozen=True)
class ActionGradients:
    """What episodes under given actions give, and the way back through them.

    Args:
        cost: mean cost of a step over all episodes; or the mean square of what is observed less what was recorded.
        actions: its change with the actions, ``[T, q, B]``.
        starts: its change with the state at the start, ``[S, B]``.
        states: the plant's states at the start and after each step, ``[T + 1, S, B]``.
        observations: what is observed after each step, ``[T, m, B]``.

    Example:
        >>> from neuroctl.sims.plants import pendulum
        >>> all_of = ActionGradient(pendulum, 0.05).all_of(np.zeros((10, 1, 3)))
        >>> all_of.actions.shape, all_of.starts.shape, all_of.observations.shape
        ((10, 1, 3), (3, 3), (10, 3, 3))

    """

    cost: float
    actions: Array
    starts: Array
    states: Array
    observations: Array


class ActionGradient:
    """The cost of a plant's episodes under given actions, and its gradient by going back through them.

    Called with actions and starts it returns the mean cost of a step, and its change with each action. The cost, and
    what becomes of an episode that the plant ends, are as of ``PlantGradient``. Actions are taken as they are.

    With ``observed``, recorded observations, the cost is the mean square of what the plant shows after each step less
    what was recorded; NaN stands for what was not.

    Args:
        plant: a module or the path of its file; see ``neuroctl.backends.plant``.
        dt_s: control step, in seconds; None: the plant's own ``DT_S``.
        dtype: ``"float32"`` or ``"float64"``.
        threads: how many to use; None: one a core. Results are the same bits for any number.

    Raises:
        PlantError: the plant holds what cannot be taken back through; names the line and what to write instead.
        TrainingError: there is no time step, or not the plant's own.
        LayoutError: threads are not allowed.

    Example:
        >>> from neuroctl.sims.plants import pendulum
        >>> f = ActionGradient(pendulum, 0.05)
        >>> cost, change = f(np.zeros((10, 1)))
        >>> change.shape
        (10, 1)

    """

    def __init__(
        self, plant: PlantLike, dt_s: float | None = None, *, dtype: str = "float64", threads: int | None = None
    ):  # fmt: skip
        self.plant = plant if isinstance(plant, Plant) else load(plant)
        one_of("dtype", dtype, ("float32", "float64"), error=TrainingError)
        own = self.plant.dt_s
        step = own if dt_s is None else number("dt_s", dt_s, ABOVE_0, FINITE, "seconds above 0", error=TrainingError)
        if step is None or (own is not None and abs(step - own) > 1e-9 * own):
            allowed = "seconds above 0" if own is None else f"{own:g}"
            raise TrainingError(f"dt_s: {dt_s}; allowed for {self.plant.name}: {allowed}")
        self.dt_s, self.dtype, self._threads = step, dtype, thread_count(threads)
        typed = np.dtype(dtype).type
        self._h, self._gains = typed(step) / typed(substeps_of(self.plant)), np.ones(self.plant.observations, dtype)
        self._kernel = open_loop_kernel(self.plant, dtype)
        self._width = 2 * lanes_of(dtype)
        self._lock = threading.Lock()

    def __call__(
        self, actions: ArrayLike, starts: ArrayLike | None = None, *, observed: ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the cost, and its change with the actions, in their shape.

        Args:
            actions: ``[T, q]`` or ``[T, q, B]``.
            starts: the plant's states at the start, ``[S]`` or ``[S, B]``; None: its ``START``.
            observed: ``[T, m]`` or ``[T, m, B]``; None: the plant's own cost counts.

        Raises:
            TrainingError: shapes do not fit, or actions are not finite.
            PlantError: without ``observed``, the plant has neither cost nor reward.
            LayoutError: starts have the wrong shape or are not finite.
            DivergedError: the cost or a change is not finite.

        """
        found = self.all_of(actions, starts, observed=observed)
        return found.cost, found.actions if np.ndim(actions) == 3 else found.actions.sum(axis=2)

    def all_of(
        self, actions: ArrayLike, starts: ArrayLike | None = None, *, observed: ArrayLike | None = None
    ) -> ActionGradients:
        """Return the cost, its changes with actions and starts, and the episodes. Arguments are as of a call."""
        q, m = self.plant.actions, self.plant.observations
        given, begin = self._sequences("actions", actions, q), starts_of(self.plant, starts, self.dtype)
        if not np.isfinite(given).all():
            raise TrainingError("actions: NaN or Inf; allowed: finite numbers")
        target = None if observed is None else self._sequences("observed", observed, m)
        if target is None:
            check_cost(self.plant)
        counts = {n for n in (given.shape[2], begin.shape[1], 1 if target is None else target.shape[2]) if n > 1}
        if len(counts) > 1 or (target is not None and len(target) != len(given)):
            shapes = [given.shape, begin.shape, None if target is None else target.shape]
            raise TrainingError(
                "actions: shape {}, starts {}, observed {}; allowed: as many episodes and steps in each".format(*shapes)
            )
        lanes = counts.pop() if counts else 1
        run = _Run(
            self, _widened(given, lanes), _widened(begin, lanes), None if target is None else _widened(target, lanes)
        )
        with plant_errors(self.plant, self._kernel):
            spread(run.work, range(0, lanes, self._width), self._threads)
        return run.result()

    def _sequences(self, name: str, values: ArrayLike, size: int) -> Array:
        numbers = cast(array(name, values, f"numbers (T, {size}) or (T, {size}, B)", error=TrainingError), self.dtype)
        if numbers.ndim not in (2, 3) or numbers.shape[1] != size or 0 in numbers.shape:
            raise TrainingError(f"{name}: shape {numbers.shape}; allowed: (T, {size}) or (T, {size}, B)")
        return np.ascontiguousarray(numbers.reshape(len(numbers), size, -1))


def _widened(values: Array, lanes: int) -> Array:
    return np.broadcast_to(values, (*values.shape[:-1], lanes))


class _Run:
    """One call: its arrays, which threads fill block by block."""

    def __init__(self, of: ActionGradient, actions: Array, starts: Array, observed: Array | None):
        self._of, self._actions, self._starts, self._observed = of, actions, starts, observed
        steps, q, lanes = actions.shape
        size, m, dtype = starts.shape[0], of.plant.observations, of.dtype
        self._weight = 1.0 / (steps * lanes)
        if observed is not None:
            known = int(np.isfinite(observed).sum())
            if not known:
                raise TrainingError("observed: no finite number; allowed: at least one")
            self._weight = 1.0 / known
        self._losses = np.empty(lanes)
        self._change, self._states = np.empty((steps, q, lanes), dtype), np.empty((steps + 1, size, lanes), dtype)
        self._of_start, self._seen = np.empty((size, lanes), dtype), np.empty((steps, m, lanes), dtype)

    def work(self, first: int) -> None:
        """Go through a block of lanes from ``first`` on, and back."""
        of, width = self._of, self._of._width
        steps, q, _ = self._actions.shape
        own = Lanes(of.plant, steps, width, of.dtype)
        count = own.begin(self._starts, first, self._weight if self._observed is None else 0.0)
        part = slice(first, first + count)
        own.a[:, :, :count] = self._actions[:, :, part]
        own.a[:, :, count:] = own.a[:, :, count - 1 : count]
        seen, du = (aligned((steps, of.plant.observations, width), of.dtype) for _ in range(2))
        d_a, losses = aligned((steps, q, width), of.dtype), np.zeros(width)
        with Flushed():
            of._kernel.forward(own.x, own.a, own.alive, of._h, own.share, own.shares, losses, seen)
            if self._observed is not None:
                error = seen[:, :, :count] - self._observed[:, :, part]
                error = np.where(np.isfinite(self._observed[:, :, part]), error, 0)
                du[:, :, :count] = 2 * self._weight * error
                losses[:count] = self._weight * np.square(error, dtype=np.float64).sum(axis=(0, 1))
            row = of._kernel.back(
                own.x, own.a, own.alive, of._h, own.shares, own.bar, own.push, du, of._gains, d_a
            )  # fmt: skip
        self._losses[part] = losses[:count]
        self._change[:, :, part], self._seen[:, :, part] = d_a[:, :, :count], seen[:, :, :count]
        self._states[:, :, part] = own.x[:: own.each, :, :count]
        self._of_start[:, part] = own.bar[row, :, :count]

    def result(self) -> ActionGradients:
        """Return what came of it, if it is finite."""
        cost = float(self._losses.sum())
        if not (np.isfinite(cost) and finite(self._change) and finite(self._of_start)):
            which = int(np.argmin(np.isfinite(self._losses)))
            raise DivergedError(f"cost: {self._losses[which]} from start {which}; allowed: finite costs and changes")
        return ActionGradients(cost, self._change, self._of_start, self._states, self._seen)
