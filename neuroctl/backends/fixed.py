"""Integer controllers in compiled plants: what is measured here is what the microcontroller will do.

One controller and many starts at a time, a start after the other; the same bits as ``QuantController.step`` in a loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import Episodes, check_plant, check_steps, starts_of
from neuroctl.backends.cpu import spread, thread_count
from neuroctl.backends.kernels import build, head
from neuroctl.backends.plant import Plant, load
from neuroctl.cells import CELLS
from neuroctl.maths.fixed import dequantize_into, quantize_into
from neuroctl.quant import QuantController

Array = NDArray[Any]


def rollout(
    q: QuantController,
    plant: ModuleType | str | os.PathLike[str],
    steps: int,
    *,
    starts: ArrayLike | None = None,
    fitness: str = "fitness",
    threads: int | None = None,
) -> Episodes:
    """Run an integer controller in a plant from one start or many; its own state is neither read nor changed.

    Args:
        q: the controller.
        plant: a module, or the path of its file; see ``neuroctl.backends.plant``.
        steps: most control steps of an episode.
        starts: the plant's states at the start, ``[S]`` or ``[S, P]``; the plant's ``START`` if None.
        fitness: name of the plant's fitness function.
        threads: number of threads; None for one a core.

    Raises:
        LayoutError: starts, steps or threads have the wrong shape or values.
        PlantError: the plant lacks something, or does not fit the spec.

    """
    known, workers = load(plant), thread_count(threads)
    check_plant(known, q.spec, fitness)
    begin = starts_of(known, starts, q.spec.dtype)
    lanes, last = begin.shape[1], check_steps(steps)
    kernel = _kernel(q.spec.cell, q.spec.dtype, known, fitness)
    dtype, spec = q.spec.dtype, q.spec
    result = Episodes(
        fitness=np.empty(lanes, dtype),
        steps=np.zeros(lanes, np.int64),
        final=np.empty_like(begin),
        fault=np.zeros(lanes, np.bool_),
    )

    def run(members: range) -> None:
        kernel.run(
            q.theta_q, q.start, q.start.copy(), q.ints, *q.conversion, np.zeros(spec.inputs, dtype),
            np.zeros(spec.inputs, np.int32), np.zeros(spec.outputs, np.int32), np.zeros(spec.outputs, dtype),
            begin, members.start, members.stop, last, np.dtype(dtype).type(spec.dt_s), np.zeros(known.window, dtype),
            result.fitness, result.steps, result.final,
        )  # fmt: skip

    edges = np.linspace(0, lanes, min(lanes, workers) + 1).astype(int)
    parts = [range(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    spread(run, parts, workers)
    return result


@lru_cache(maxsize=256)
def _kernel(cell: str, dtype: str, plant: Plant, fitness: str) -> Any:
    """Return the module whose ``run`` runs episodes: generated, or from the cache."""
    step = CELLS[cell].integer.step_q
    functions: dict[str, Callable[..., Any]] = {
        "_step_q": step,
        "_quantize": quantize_into,
        "_dequantize": dequantize_into,
    }
    title = f"{plant.name} controlled by {cell} in fixed point, {dtype}"
    return build(head(functions, dtype, title, plant) + _episodes(plant, fitness), f"fixed_{cell}_{plant.name}_{dtype}")


def _episodes(plant: Plant, fitness: str) -> str:
    """Return the text of the kernel: a loop over starts, and in it over steps."""
    substeps = plant.substeps if plant.has("derivative") else 1
    column = "(" + "".join(f"begin[{i}, p], " for i in range(len(plant.start))) + ")"
    actions = "(" + "".join(f"y[{i}], " for i in range(plant.actions)) + ")"
    seen = "".join(f"            u[{i}] = seen[{i}]\n" for i in range(plant.observations))
    kept = "".join(f"        final_out[{i}, p] = x[{i}]\n" for i in range(len(plant.start)))
    return f"""

@_jit_step
def run(theta, start, state, ints, offset, gain, u_lsb, low, high, y_lsb, u, u_q, y_q, y, begin, first, end, last, dt,
        recent, fitness_out, steps_out, final_out):
    h = dt / _F({substeps})
    window = recent.shape[0]
    for p in range(first, end):
        x = _typed_state({column})
        for k in range(state.shape[0]):
            state[k] = start[k]
        total, age = _F(0), 0
        over = False
        while not over and age < last:
            seen = observe(x)
{seen}            _quantize(u, offset, gain, u_lsb, low, high, u_q)
            _step_q(theta, state, u_q, y_q, ints)
            _dequantize(y_q, y_lsb, y)
            a = {actions}
            for _ in range({substeps}):
                x = _typed_state(_next(x, a, h))
            value = _F(reward(x, a))
            total += value
            recent[age % window] = value
            age += 1
            over = done(x)
        lately = _F(0)
        for k in range(min(window, age)):  # from the newest on
            lately += recent[(age - 1 - k) % window]
        fitness_out[p] = {fitness}(x, _F(age), total, lately)
        steps_out[p] = age
{kept}

@_jit
def _typed_state(x):
    return ({"".join(f"_F(x[{i}]), " for i in range(len(plant.start)))})
"""
