"""CUDA: a thread an individual, and one launch for a whole rollout, controller and plant inside.

A kernel is generated for each cell, its sizes and the plant: with sizes known, the compiler unrolls the loops of small
networks and keeps their state in registers, else in local memory. theta ``[K, P]`` has the population fastest, so that
neighboring threads read neighboring numbers. A thread calls the same step as a single controller on the CPU; on both
sides of the bus the results agree to rounding, since a GPU fuses each multiply and add.

With ``NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1`` it runs in Numba's simulator.
"""

from __future__ import annotations

import os
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import Episodes, OpenLoop, check_inputs, check_plant, check_steps, check_theta, starts_of
from neuroctl.backends.cuda_device import block_size, cuda, episode_loop, require_device
from neuroctl.backends.cuda_fixed import rollout_quantized as rollout_quantized
from neuroctl.backends.kernels import build, constants, float_step, head
from neuroctl.backends.plant import Plant, load
from neuroctl.backends.plant_errors import plant_errors
from neuroctl.cells import cell_of, start_state, step_floats, step_ints
from neuroctl.spec import Spec

Array = NDArray[Any]


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
    """Step a population through a plant, or through recorded inputs: ``neuroctl.backends.cpu.rollout`` on a GPU.

    Args:
        spec: as there, and so on for theta, plant, steps, starts and fitness.
        theta: see there.
        plant: see there.
        steps: see there.
        starts: see there.
        fitness: see there.
        threads: threads of a block, a multiple of 32 up to 1024; None for 64.

    Returns:
        ``Episodes`` with a plant, ``OpenLoop`` with inputs; arrays on the host.

    Raises:
        LayoutError: theta, inputs, starts, steps or threads have the wrong shape, dtype, memory order or values.
        PlantError: the plant lacks something, or does not fit the spec.
        BackendUnavailable: there is no GPU.

    """
    block = block_size(threads)
    if isinstance(plant, (ModuleType, str, os.PathLike)):
        known = load(plant)
        check_plant(known, spec, fitness)
        return _episodes(spec, theta, known, check_steps(steps), starts, fitness, block)
    return _open_loop(spec, theta, check_inputs(plant, spec, steps), block)


def _episodes(
    spec: Spec, theta: Array, plant: Plant, steps: int, starts: ArrayLike | None, fitness: str, block: int
) -> Episodes:
    begin = starts_of(plant, starts, spec.dtype)
    lanes = check_theta(theta, spec, begin.shape[1] if begin.shape[1] > 1 else None)
    require_device()
    start = start_state(spec, theta)
    out = (
        cuda.device_array(lanes, spec.dtype),
        cuda.device_array(lanes, np.int64),
        cuda.device_array((len(plant.start), lanes), spec.dtype),
        cuda.device_array(lanes, np.bool_),
    )
    arguments = [cuda.to_device(array) for array in (theta, begin, start.reshape(len(start), -1))]
    kernel = kernel_of(spec, plant, fitness, theta.ndim == 1)
    with plant_errors(plant, kernel):
        kernel.run[-(-lanes // block), block](*arguments, steps, *out)
    return Episodes(*(array.copy_to_host() for array in out))


def _open_loop(spec: Spec, theta: Array, u: Array, block: int) -> OpenLoop:
    lanes = check_theta(theta, spec, u.shape[2] if u.ndim == 3 else None)
    require_device()
    start = start_state(spec, theta)
    out = (
        cuda.device_array((len(u), spec.outputs, lanes), spec.dtype),
        cuda.device_array((len(start), lanes), spec.dtype),
    )
    arguments = [cuda.to_device(array) for array in (theta, np.atleast_3d(u), start.reshape(len(start), -1))]
    open_kernel_of(spec, theta.ndim == 1).run[-(-lanes // block), block](*arguments, *out)
    return OpenLoop(*(array.copy_to_host() for array in out))


# --- Kernels ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def kernel_of(spec: Spec, plant: Plant, fitness: str, shared: bool) -> Any:
    """Return the module whose ``run`` steps an episode a thread: generated, or from the cache."""
    cell, title = cell_of(spec), f"{plant.name} controlled by {spec.cell}, {spec.dtype}, for CUDA"
    text = head(float_step(cell), spec.dtype, title, plant) + sizes(spec) + _episode(spec, plant, fitness, shared)
    return build(text, f"cuda_{spec.cell}_{plant.name}_{spec.dtype}")


@lru_cache(maxsize=256)
def open_kernel_of(spec: Spec, shared: bool) -> Any:
    """Return the module whose ``run`` steps a thread through recorded inputs."""
    cell, title = cell_of(spec), f"{spec.cell} on recorded inputs, {spec.dtype}, for CUDA"
    return build(
        head(float_step(cell), spec.dtype, title) + sizes(spec) + _sequence(spec, shared), f"cuda_{spec.cell}_open"
    )


def sizes(spec: Spec) -> str:
    """Return the step's sizes and numbers as constants: what the compiler knows it can unroll."""
    return f"""
from numba import cuda as _cuda
from neuroctl.backends.cuda_device import jit_kernel as _kernel
_INTS = {constants(step_ints(spec))}
_FLOATS = {constants(step_floats(spec))}
"""


_PROLOGUE = """
    p = _cuda.grid(1)
    if p >= lanes:
        return
    ints = _cuda.const.array_like(_INTS)
    floats = _cuda.const.array_like(_FLOATS)
    state = _cuda.local.array({states}, _F)
    for k in range({states}):
        state[k] = start[k, p % start.shape[1]]
    mine = {theta}
    _prepare(mine, state, ints, floats)"""


def _prologue(spec: Spec, shared: bool) -> str:
    states = cell_of(spec).state_layout(spec).size
    return _PROLOGUE.format(states=states, theta="theta" if shared else "theta[:, p]")


def _episode(spec: Spec, plant: Plant, fitness: str, shared: bool) -> str:
    u, a = [f"observation[{k}]" for k in range(plant.observations)], [f"y[{k}]" for k in range(plant.actions)]
    step = "_step_prepared(mine, state, u, y, ints, floats)"
    return f"""
@_kernel
def run(theta, begin, start, last, fitness_out, steps_out, final_out, fault_out):
    lanes = fitness_out.shape[0]{_prologue(spec, shared)}
    u = _cuda.local.array({spec.inputs}, _F)
    y = _cuda.local.array({spec.outputs}, _F)
{episode_loop(plant, fitness, "floats[0]", u, step, a)}
    fault_out[p] = state[{cell_of(spec).state_layout(spec)["fault"].offset}] != _F(0)
"""


def _sequence(spec: Spec, shared: bool) -> str:
    return f"""
@_kernel
def run(theta, u, start, y, state_out):
    lanes = state_out.shape[1]{_prologue(spec, shared)}
    for t in range(u.shape[0]):
        _step_prepared(mine, state, u[t, :, p % u.shape[2]], y[t, :, p], ints, floats)
    for k in range(state.shape[0]):
        state_out[k, p] = state[k]
"""
