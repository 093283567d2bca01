"""Gradients through a plant: how the cost of whole episodes changes with a controller's parameters, and the start.

Controller and plant are stepped side by side, and the way back goes through both: the cell's adjoint, and that of the
plant's own functions, see ``neuroctl.tracing``. Episodes are lanes in blocks of two packs, as in ``gradients``; each
block makes a sum of its own, and these are added in order: the same bits for any number of threads.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import check_plant, check_steps, check_theta, starts_of
from neuroctl.backends.blocks import aligned, spread, thread_count
from neuroctl.backends.plant import Plant, load
from neuroctl.backends.plant_errors import plant_errors
from neuroctl.cells import start_state
from neuroctl.checks import ABOVE_0, finite, number
from neuroctl.errors import DivergedError, TrainingError
from neuroctl.maths.packs import lanes_of
from neuroctl.maths.subnormals import Flushed
from neuroctl.spec import Spec
from neuroctl.train.blocks import MAX_STEPS_A_SUM, Block, Key
from neuroctl.train.losses import FORWARD_ONLY, PROVIDED
from neuroctl.train.places import Places
from neuroctl.train.plant_kernel import check_cost, plant_gradient_kernel, substeps_of

Array = NDArray[Any]
PlantLike = Plant | ModuleType | str | os.PathLike[str]


@dataclass(frozen=True)
class PlantGradients:
    """What episodes and the way back through them give.

    Args:
        cost: mean over all episodes and steps.
        theta: its change with the parameters, ``[n_params]``.
        starts: its change with the state at the start, ``[S, B]``: with the plant's own parameters too, where these
            are entries of the state.
        actions: what the plant was given, ``[T, q, B]``, within the output limits.
        states: the plant's states at the start and after each step, ``[T + 1, S, B]``.
        steps: steps until each episode ended, int64 ``[B]``.

    Example:
        >>> from neuroctl.sims.plants import pendulum
        >>> spec = nc.Spec(cell="elman", inputs=3, neurons=4, outputs=1, dt_s=0.05, output_limits=((-2, 2),))
        >>> all_of = PlantGradient(spec, pendulum).all_of(nc.Controller(spec).theta, np.zeros((3, 5)), 10)
        >>> all_of.theta.shape, all_of.starts.shape, all_of.actions.shape, all_of.states.shape
        ((37,), (3, 5), (10, 1, 5), (11, 3, 5))

    """

    cost: float
    theta: Array
    starts: Array
    actions: Array
    states: Array
    steps: Array


def plant_gradient(
    spec: Spec, plant: PlantLike, *, decay: float = 1.0, threads: int | None = None
) -> PlantGradient:  # fmt: skip
    """Return a function that gives the cost of a controller's episodes and its gradient: see ``PlantGradient``."""
    return PlantGradient(spec, plant, decay=decay, threads=threads)


class Lanes:
    """A plant's arrays for a block of lanes: states, actions, who is still flying, and the changes with them."""

    def __init__(self, plant: Plant, steps: int, width: int, dtype: str):
        each, size, q = substeps_of(plant), len(plant.start), plant.actions
        self.x = aligned((steps * each + 1, size, width), dtype)
        self.a = aligned((steps, q, width), dtype)
        self.alive = aligned((steps + 1, width), dtype)
        self.alive[0] = 1
        self.bar, self.push = aligned((3, size, width), dtype), aligned((3, q, width), dtype)
        self.share, self.shares = aligned((width,), dtype), aligned((steps, width), dtype)
        self.each = each

    def begin(self, starts: Array, first: int, share: float) -> int:
        """Start at columns of ``starts [S, B]`` from ``first`` on; return how many there are. The last one fills up."""
        width = self.x.shape[2]
        columns = starts[:, first : first + width]
        count = int(columns.shape[1])
        self.x[0, :, :count] = columns
        self.x[0, :, count:] = columns[:, -1:]
        self.share[:count], self.share[count:] = share, 0
        self.bar[:2].fill(0)
        return count


class _PlantBlock(Block):
    """The arrays that one thread works on: the controllers' and the plant's."""

    def __init__(self, spec: Spec, plant: Plant, places: Places, key: Key, segment: int):
        super().__init__(spec, places, key, segment)
        self.plant = Lanes(plant, key.steps, self.lanes["u"].shape[2], spec.dtype)

    def run(self, kernel: Any, code: int, theta: Array, limits: tuple[Array, Array], h: Any, decay: Any) -> None:
        """Go through the episodes, and back unless ``code`` says no."""
        own, lanes, places = self.plant, self.lanes, self.places
        kernel.run(
            code, theta, lanes["u"], lanes["out"], lanes["d_out"], lanes["du"], *limits, places.gains, own.x, own.a,
            own.alive, h, own.bar, own.push, own.share, own.shares, decay,
            *self.arguments(places.pieces, places.floats, places.sums),
        )  # fmt: skip


class PlantGradient:
    """The cost of a controller's episodes in a plant, and its gradient by going back through both.

    Called with parameters, starts and a number of steps it returns the mean cost of a step, and its change with each
    parameter. A step's cost is the plant's ``cost(x, a)``, of the state that it led to and the action that led there;
    without one minus its ``reward(x, a)``. Episodes begin with the controller reset.

    - Actions are the controller's outputs, clipped to the spec's output limits. Beyond a limit a change passes back
      where it would lead back inside, so that what saturates is not lost; a Jordan network, which remembers what it put
      out, clips within its step, and there nothing passes.
    - An episode that the plant's ``done`` ends stays where it is, and pays its last step's cost for each of the steps
      that are left: to end early does not pay.
    - At a kink of the plant the slope is one of those beside it: see ``neuroctl.tracing.operations``.

    Args:
        spec: of a CTRNN, IndRNN, Elman or Jordan network, a GRU or a CfC, with the plant's sizes and time step.
        plant: a module or the path of its file; see ``neuroctl.backends.plant``.
        decay: factor by which the change with the plant's state shrinks from each step to the one before. 1 gives the
            gradient. With less, what happens far ahead counts less for an action, which tames a plant that takes small
            changes apart; what comes is then no gradient of anything, but often the better direction.
        threads: how many to use; None: one a core. Results are the same bits for any number.

    Raises:
        SpecError: the cell has no gradient.
        TrainingError: a decay that is not allowed.
        PlantError: the plant does not fit the spec, has neither cost nor reward, or holds what cannot be taken back
            through; names the line and what to write instead.
        LayoutError: threads are not allowed.

    Example:
        >>> from neuroctl.sims.plants import pendulum
        >>> spec = nc.Spec(cell="elman", inputs=3, neurons=4, outputs=1, dt_s=0.05, output_limits=((-2, 2),))
        >>> f = PlantGradient(spec, pendulum)
        >>> cost, gradient = f(nc.Controller(spec).theta, None, 20)
        >>> gradient.shape
        (37,)

    """

    def __init__(self, spec: Spec, plant: PlantLike, *, decay: float = 1.0, threads: int | None = None):
        share = number("decay", decay, ABOVE_0, 1.0, "above 0, up to 1", error=TrainingError)
        self._decay = np.dtype(spec.dtype).type(share)
        self.spec, self.plant = spec, plant if isinstance(plant, Plant) else load(plant)
        check_plant(self.plant, spec, "fitness")
        check_cost(self.plant)
        self._stepped = spec if spec.cell == "jordan" and not spec.head else replace(spec, output_limits=None)
        self._places, self._threads = Places(self._stepped), thread_count(threads)
        self._kernel = plant_gradient_kernel(self._stepped, self.plant)
        limits = np.array(spec.output_limits or ((-np.inf, np.inf),) * spec.outputs, spec.dtype).T
        self._limits = np.ascontiguousarray(limits[0]), np.ascontiguousarray(limits[1])
        self._h = np.dtype(spec.dtype).type(spec.dt_s) / np.dtype(spec.dtype).type(substeps_of(self.plant))
        self._width = 2 * lanes_of(spec.dtype)
        self._free: list[_PlantBlock] = []
        self._lock = threading.Lock()

    def __call__(self, theta: Array, starts: ArrayLike | None, steps: int) -> tuple[float, Array]:
        """Return the mean cost of a step, and its change with theta ``[n_params]``.

        Args:
            theta: parameters ``[n_params]`` in the spec's dtype, outputs in the plant's units.
            starts: the plant's states at the start, ``[S]`` or ``[S, B]``; None: its ``START``.
            steps: control steps of an episode, at least 1.

        Raises:
            LayoutError: theta, starts or steps have the wrong shape, dtype or values.
            DivergedError: a cost or the gradient is not finite.

        """
        run = _Run(self, theta, starts, steps)
        run(PROVIDED)
        return run.cost, run.theta

    def cost(self, theta: Array, starts: ArrayLike | None, steps: int) -> float:
        """Return the mean cost of a step alone, at a third of the time. Arguments and errors are as of a call."""
        run = _Run(self, theta, starts, steps)
        run(FORWARD_ONLY)
        return run.cost

    def all_of(self, theta: Array, starts: ArrayLike | None, steps: int) -> PlantGradients:
        """Return the cost, its changes with theta and the starts, and the episodes. Arguments are as of a call."""
        run = _Run(self, theta, starts, steps, details=True)
        run(PROVIDED)
        return PlantGradients(run.cost, run.theta, run.starts, run.actions, run.states, run.steps_done)

    def _take(self, steps: int) -> _PlantBlock:
        with self._lock:
            for index, block in enumerate(self._free):
                if block.key.steps == steps:
                    return self._free.pop(index)
        segment = min(steps, max(MAX_STEPS_A_SUM, _KEPT_STEPS))
        return _PlantBlock(self._stepped, self.plant, self._places, Key(steps, False, False, True), segment)

    def _give_back(self, block: _PlantBlock) -> None:
        with self._lock:
            self._free = [*self._free[-(2 * self._threads) :], block]


_KEPT_STEPS = 4096


class _Run:
    """One call."""

    def __init__(self, of: PlantGradient, theta: Array, starts: ArrayLike | None, steps: int, details: bool = False):
        self._of = of
        check_theta(theta, of.spec, None)
        if theta.ndim != 1:
            raise TrainingError(f"theta: shape {theta.shape}; allowed through a plant: ({len(theta)},)")
        self._parameters, self._steps, self._begin = (
            theta,
            check_steps(steps),
            starts_of(of.plant, starts, of.spec.dtype),
        )
        self._state = start_state(of._stepped, theta)
        self.lanes = self._begin.shape[1]
        self._firsts = range(0, self.lanes, of._width)
        self.losses, dtype = np.empty(self.lanes), of.spec.dtype
        self._grads = np.empty((len(self._firsts), of._places.params.size), dtype)
        self._details = details
        self.cost, self.theta = 0.0, np.zeros(0, dtype)
        if details:
            size, q = self._begin.shape[0], of.spec.outputs
            self.starts = np.empty((size, self.lanes), dtype)
            self.actions = np.empty((steps, q, self.lanes), dtype)
            self.states = np.empty((steps + 1, size, self.lanes), dtype)
            self.steps_done = np.empty(self.lanes, np.int64)

    def __call__(self, code: int) -> None:
        of = self._of
        with plant_errors(of.plant, of._kernel):
            spread(lambda first: self._work(first, code), self._firsts, of._threads)
        self.cost = float(self.losses.sum())
        if not np.isfinite(self.cost):
            which = int(np.argmin(np.isfinite(self.losses)))
            raise DivergedError(f"cost: {self.losses[which]} from start {which}; allowed: finite numbers")
        if code == FORWARD_ONLY:
            return
        self.theta = self._grads[0] * of._places.wired
        for block in self._grads[1:]:
            self.theta += block * of._places.wired
        if not finite(self.theta):
            names = of._places.params.blocks
            name = next(name for name, block in names.items() if not np.isfinite(self.theta[block.part]).all())
            raise DivergedError(f"gradient: NaN or Inf in {name}; allowed: finite numbers")

    def _work(self, first: int, code: int) -> None:
        of = self._of
        block = of._take(self._steps)
        own = block.plant
        count = own.begin(self._begin, first, 1.0 / (self._steps * self.lanes))
        block.lanes["state"][0] = self._state[:, None]
        for zeros in (block.losses, block.grad, block.carry):
            zeros.fill(0)
        with Flushed():
            block.run(of._kernel, code, self._parameters, of._limits, of._h, of._decay)
        part = slice(first, first + count)
        self.losses[part] = block.losses[:count]
        self._grads[first // of._width] = block.grad
        if self._details:
            self.starts[:, part] = own.bar[0, :, :count]
            self.actions[:, :, part] = own.a[:, :, :count]
            self.states[:, :, part] = own.x[:: own.each, :, :count]
            self.steps_done[part] = own.alive[:-1, :count].sum(axis=0)
        of._give_back(block)
