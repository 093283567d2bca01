"""Lanes: a whole population stepped side by side on the CPU, by SIMD within a thread and by threads over lanes.

Float controllers by ``rollout``, integer ones by ``rollout_quantized``. What a lane computes does not depend on its
place, so results are the same bits for any number of threads and of individuals.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import Episodes, OpenLoop, check_inputs, check_plant, check_steps, check_theta, starts_of
from neuroctl.backends.blocks import (
    Population,
    aligned,
    in_blocks,
    of_blocks,
    padded,
    run_episodes,
    spread,
    thread_count,
)
from neuroctl.backends.fixed import rollout_quantized as rollout_quantized
from neuroctl.backends.lanes import plant_kernel, recorded_kernel
from neuroctl.backends.plant import Plant, load
from neuroctl.cells import cell_of, start_state, step_floats, step_ints
from neuroctl.maths.packs import lanes_of
from neuroctl.spec import Spec

Array = NDArray[Any]

_PARTS: Final = 4  # a thread's work comes in so many parts, so that one that is held up gets fewer


def rollout(
    spec: Spec,
    theta: Array,
    plant: ModuleType | str | os.PathLike[str] | ArrayLike,
    steps: int | None = None,
    *,
    starts: ArrayLike | None = None,
    fitness: str = "fitness",
    threads: int | None = None,
) -> Episodes | OpenLoop:
    """Step a population through a plant, or through recorded inputs.

    Args:
        spec: the controllers' topology and time base.
        theta: parameters ``[K, P]`` of P controllers, or ``[K]``, shared by all lanes; C-contiguous, in the spec's
            dtype.
        plant: a plant (a module, or the path of its file; see ``neuroctl.backends.plant``), or inputs ``[T, m]``, the
            same for all, or ``[T, m, P]``.
        steps: most control steps of an episode; inputs bring their own number.
        starts: the plant's states at the start, ``[S]`` or ``[S, P]``; the plant's ``START`` if None.
        fitness: name of the plant's fitness function.
        threads: number of threads; None for one a core.

    Returns:
        ``Episodes`` with a plant, ``OpenLoop`` with inputs.

    Raises:
        LayoutError: theta, inputs, starts, steps or threads have the wrong shape, dtype, memory order or values.
        PlantError: the plant lacks something, or does not fit the spec.

    """
    workers = thread_count(threads)
    if isinstance(plant, (ModuleType, str, os.PathLike)):
        known = load(plant)
        check_plant(known, spec, fitness)
        return _episodes(spec, theta, known, check_steps(steps), starts, fitness, workers)
    return open_loop(spec, theta, plant, steps, threads=workers)


# --- Recorded inputs -------------------------------------------------------------------------------------------------


def open_loop(
    spec: Spec, theta: Array, inputs: ArrayLike, steps: int | None = None, *, threads: int | None = None
) -> OpenLoop:
    """Step a population through recorded inputs; see ``rollout``."""
    workers = thread_count(threads)
    u = check_inputs(inputs, spec, steps)
    lanes = check_theta(theta, spec, u.shape[2] if u.ndim == 3 else None)
    width = lanes_of(spec.dtype)
    start, constants = start_state(spec, theta), (step_ints(spec), step_floats(spec))
    count = -(-lanes // width)
    work = theta if theta.ndim == 1 else in_blocks(theta, width)
    state = aligned((count, len(start), width), spec.dtype)
    state[:] = start[:, None] if start.ndim == 1 else in_blocks(start, width)
    blocks = u if u.ndim == 2 else padded(u, count * width).reshape(*u.shape[:2], count, width)
    outputs = np.empty((len(u), spec.outputs, count, width), spec.dtype)
    kernel = recorded_kernel(spec)
    kernel.run(work, state, blocks, outputs, 0, 0, *constants)  # compiles, if need be, before threads start
    size = -(-count // (_PARTS * workers))

    def run(first: int) -> None:
        kernel.run(work, state, blocks, outputs, first, min(first + size, count), *constants)

    spread(run, range(0, count, size), workers)
    return OpenLoop(outputs=of_blocks(outputs, lanes), state=of_blocks(state.swapaxes(0, 1), lanes))


# --- Plants ----------------------------------------------------------------------------------------------------------


def _episodes(
    spec: Spec, theta: Array, plant: Plant, steps: int, starts: ArrayLike | None, fitness: str, workers: int
) -> Episodes:
    begin = starts_of(plant, starts, spec.dtype)
    lanes = check_theta(theta, spec, begin.shape[1] if begin.shape[1] > 1 else None)
    cell = cell_of(spec)
    start = start_state(spec, theta)
    population = Population(
        sources=(theta, start.reshape(len(start), -1)),
        packs={
            "theta": theta if theta.ndim == 1 else (len(theta), spec.dtype),
            "state": (len(start), spec.dtype),
        },
        constants=(step_ints(spec), step_floats(spec), cell.state_layout(spec)["fault"].offset),
        width=lanes_of(spec.dtype),
    )
    return run_episodes(plant_kernel(spec, plant, fitness), spec, plant, population, lanes, begin, steps, workers)
