"""Integer controllers on a GPU: a thread an individual, each with its own formats, as ``backends.fixed`` on the CPU.

The controllers' integers are the same bits as everywhere. A plant's floats are not: a GPU fuses multiplications and
additions, so an observation can round to another raw input than on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neuroctl.backends.base import Episodes, check_steps
from neuroctl.backends.cuda_device import block_size, cuda, episode_loop, require_device
from neuroctl.backends.fixed import lane_columns
from neuroctl.backends.kernels import build, head
from neuroctl.backends.plant import Plant
from neuroctl.backends.plant_errors import plant_errors
from neuroctl.cells import integer_of
from neuroctl.cells.base import input_map
from neuroctl.maths.fixed import quantized
from neuroctl.quant import QuantController
from neuroctl.spec import Spec


def rollout_quantized(
    controllers: QuantController | Iterable[QuantController],
    plant: ModuleType | str | os.PathLike[str],
    steps: int,
    *,
    starts: ArrayLike | None = None,
    fitness: str = "fitness",
    threads: int | None = None,
) -> Episodes:
    """Run integer controllers in a plant on a GPU: ``neuroctl.backends.fixed.rollout_quantized``.

    Args:
        controllers: see there, and so on for plant, steps, starts and fitness.
        plant: see there.
        steps: see there.
        starts: see there.
        fitness: see there.
        threads: threads of a block, a multiple of 32 up to 1024; None for 64.

    Raises:
        LayoutError: controllers, starts, steps or threads have the wrong shape or values.
        PlantError: the plant lacks something, or does not fit the spec.
        BackendUnavailable: there is no GPU.

    """
    block = block_size(threads)
    spec, known, begin, columns = lane_columns(controllers, plant, starts, fitness)
    lanes = max(columns["theta"].shape[1], begin.shape[1])
    steps = check_steps(steps)
    require_device()
    out = (
        cuda.device_array(lanes, spec.dtype),
        cuda.device_array(lanes, np.int64),
        cuda.device_array((len(known.start), lanes), spec.dtype),
    )
    arguments = [cuda.to_device(array) for array in (*columns.values(), begin)]
    kernel = integer_kernel_of(spec, known, fitness)
    with plant_errors(known, kernel):
        kernel.run[-(-lanes // block), block](*arguments, steps, *out)
    scores, ages, final = (array.copy_to_host() for array in out)
    return Episodes(scores, ages, final, np.zeros(lanes, np.bool_))  # integers know no NaN


@lru_cache(maxsize=256)
def integer_kernel_of(spec: Spec, plant: Plant, fitness: str) -> Any:
    """Return the module whose ``run`` steps an episode a thread: generated, or from the cache."""
    form = integer_of(spec)
    functions: dict[str, Any] = {
        "_prepare_q": form.prepare_q,
        "_step_prepared_q": form.step_prepared_q,
        "_quantized": quantized,
    }
    title = f"{plant.name} controlled by {spec.cell} in fixed point, {spec.dtype}, for CUDA"
    text = head(functions, spec.dtype, title, plant) + _episode(spec, plant, fitness)
    return build(text, f"cuda_fixed_{spec.cell}_{plant.name}_{spec.dtype}")


def _episode(spec: Spec, plant: Plant, fitness: str) -> str:
    states, (offset, gain) = integer_of(spec).state_layout_q(spec).size, (n.tolist() for n in input_map(spec))
    u = [
        f"_quantized(observation[{k}], {offset[k]!r}, {gain[k]!r}, lsb[{k}, c], low[{k}, c], high[{k}, c])"
        for k in range(plant.observations)
    ]
    a = [f"_F(np.float64(y[{k}]) * lsb[{plant.observations + k}, c])" for k in range(plant.actions)]
    step = "_step_prepared_q(mine, state, u, y, numbers)"
    return f"""
from numba import cuda as _cuda
from neuroctl.backends.cuda_device import jit_kernel as _kernel


@_kernel
def run(theta, ints, start, low, high, lsb, begin, last, fitness_out, steps_out, final_out):
    lanes = fitness_out.shape[0]
    p = _cuda.grid(1)
    if p >= lanes:
        return
    c = p % theta.shape[1]
    mine, numbers = theta[:, c], ints[:, c]
    state = _cuda.local.array({states}, np.int32)
    for k in range({states}):
        state[k] = start[k, c]
    _prepare_q(mine, state, numbers)
    u = _cuda.local.array({spec.inputs}, np.int32)
    y = _cuda.local.array({spec.outputs}, np.int32)
{episode_loop(plant, fitness, f"_F({spec.dt_s!r})", u, step, a)}
"""
