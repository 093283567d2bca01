"""What all backends share: their results, and the checks of what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.plant import Plant
from neuroctl.cells import cell_of
from neuroctl.checks import array, cast, integer
from neuroctl.errors import LayoutError, PlantError
from neuroctl.spec import Spec

Array = NDArray[Any]

MAX_STEPS: Final = 1 << 24
"""Steps are counted in float32 beside the other lanes' numbers; up to here that is exact."""


@dataclass(frozen=True)
class Episodes:
    """What came of P episodes in a plant.

    Args:
        fitness: ``[P]`` in the spec's dtype.
        steps: int64 ``[P]``, control steps until the end.
        final: ``[S, P]``, the plant's states at the end.
        fault: bool ``[P]``, whether the controller met NaN or Inf (it then held its last safe output).

    Example:
        >>> from neuroctl.backends import get
        >>> from neuroctl.cells import initial
        >>> from sims.plants import walker
        >>> spec = Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity")
        >>> theta = np.stack([initial(spec, seed) for seed in range(4)], axis=1)
        >>> get("cpu").rollout(spec, theta, walker, 20).steps.tolist()
        [20, 20, 20, 20]

    """

    fitness: Array
    steps: NDArray[np.int64]
    final: Array
    fault: NDArray[np.bool_]


@dataclass(frozen=True)
class OpenLoop:
    """What P controllers put out on recorded inputs.

    Args:
        outputs: ``[T, q, P]``.
        state: ``[n_state, P]``, the controllers' states at the end; see the cell's ``state_layout``.

    Example:
        >>> from neuroctl.backends import get
        >>> from neuroctl.cells import initial
        >>> spec = Spec(cell="ctrnn", inputs=1, neurons=3, outputs=1, dt_s=0.1)
        >>> theta = np.stack([initial(spec, seed) for seed in range(4)], axis=1)
        >>> get("cpu").rollout(spec, theta, np.zeros((20, 1))).outputs.shape
        (20, 1, 4)

    """

    outputs: Array
    state: Array


def check_theta(theta: object, spec: Spec, lanes: int | None) -> int:
    """Return the number of lanes, given by theta ``[K, P]``, or by ``lanes`` if theta ``[K]`` is shared.

    Raises:
        LayoutError: wrong type, dtype, shape, memory order or values.

    """
    layout = cell_of(spec).layout(spec)
    shape = f"({layout.size}, {lanes or 'P'}) or ({layout.size},)"
    allowed = f"allowed: a C-contiguous {spec.dtype} array of shape {shape}"
    if isinstance(theta, np.ma.MaskedArray):
        theta = array("theta", theta, f"a {spec.dtype} array of shape {shape}")
    if not isinstance(theta, np.ndarray) or theta.dtype != spec.dtype or not theta.flags.c_contiguous:
        got = f"{theta.dtype}, strides {theta.strides}" if isinstance(theta, np.ndarray) else type(theta).__name__
        raise LayoutError(f"theta: {got}; {allowed}")
    if theta.ndim not in (1, 2) or theta.shape[0] != layout.size or 0 in theta.shape:
        raise LayoutError(f"theta: shape {theta.shape}; {allowed}")
    layout.check(theta)
    if theta.ndim == 1:
        return lanes or 1
    if lanes is not None and theta.shape[1] != lanes:
        raise LayoutError(f"theta: {theta.shape[1]} lanes; allowed: {lanes}, as many as the other arguments have")
    return int(theta.shape[1])


def check_inputs(inputs: ArrayLike, spec: Spec, steps: int | None) -> Array:
    """Return recorded inputs as ``[T, m]`` or ``[T, m, P]`` in the spec's dtype.

    Raises:
        LayoutError: wrong shape, no numbers, or ``steps`` is another number than T.

    """
    numbers = array("inputs", inputs, "numbers (T, m) or (T, m, P), or a plant")
    u = np.ascontiguousarray(cast(numbers, spec.dtype))
    if u.ndim not in (2, 3) or u.shape[1] != spec.inputs or 0 in u.shape:
        raise LayoutError(f"inputs: shape {u.shape}; allowed: (T, {spec.inputs}) or (T, {spec.inputs}, P), none 0")
    if steps is not None and steps != len(u):
        raise LayoutError(f"steps: {steps}; allowed with recorded inputs: {len(u)}, or None")
    return u


def check_steps(steps: int | None) -> int:
    """Return the most steps of an episode.

    Raises:
        LayoutError: missing or out of range.

    """
    return integer("steps", steps, 1, MAX_STEPS, error=LayoutError)


def starts_of(plant: Plant, starts: ArrayLike | None, dtype: str) -> Array:
    """Return the plant's states at the start as ``[S, 1]`` or ``[S, P]``.

    Raises:
        LayoutError: wrong shape, or a number that is not finite; names it.

    """
    size = len(plant.start)
    begin = cast(array("starts", plant.start if starts is None else starts, f"numbers ({size},) or ({size}, P)"), dtype)
    if begin.ndim not in (1, 2) or begin.shape[0] != size or 0 in begin.shape:
        raise LayoutError(f"starts: shape {begin.shape}; allowed: finite numbers ({size},) or ({size}, P)")
    if not (finite := np.isfinite(begin)).all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        where = ", ".join(map(str, place))
        raise LayoutError(f"starts[{where}]: {begin[place]}; allowed: finite numbers in {begin.dtype}")
    return np.ascontiguousarray(begin.reshape(size, -1))


def check_plant(plant: Plant, spec: Spec, fitness: str) -> None:
    """Check that a plant and a spec fit each other.

    Raises:
        PlantError: sizes or time steps differ, or there is no such fitness function.

    """
    if (plant.observations, plant.actions) != (spec.inputs, spec.outputs):
        sizes = f"{spec.inputs} inputs, {spec.outputs} outputs"
        raise PlantError(
            f"spec: {sizes}; allowed for {plant.name}: {plant.observations} inputs, {plant.actions} outputs"
        )
    if plant.dt_s is not None and abs(spec.dt_s - plant.dt_s) > 1e-9 * plant.dt_s:
        raise PlantError(f"dt_s: {spec.dt_s:g}; allowed for {plant.name}: {plant.dt_s:g}")
    if not fitness.isidentifier() or not plant.has(fitness):
        raise PlantError(f"fitness: {fitness!r}; allowed: a function of {plant.name}")
