"""Lanes: a whole population stepped side by side on the CPU, by SIMD within a thread and by threads over lanes.

A thread works on a block of up to 256 lanes. When a lane's episode ends, the next individual takes its place, and when
none are left and half the block is idle, the block shrinks; so lanes that end early cost little. What a lane computes
does not depend on its place, so results are the same bits for any number of threads and of individuals.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import Episodes, OpenLoop, check_inputs, check_plant, check_steps, check_theta, starts_of
from neuroctl.backends.kernels import build, float_step, head
from neuroctl.backends.plant import Plant, load
from neuroctl.cells import cell_of, step_floats, step_ints
from neuroctl.cells.base import start_state
from neuroctl.checks import integer
from neuroctl.errors import LayoutError
from neuroctl.machine import cores
from neuroctl.spec import Spec

Array = NDArray[Any]

_LEAST_LANES, _MOST_LANES = 64, 256
_CACHE_BYTES: Final = 192 << 10  # of a core's second-level cache, for parameters
_RECORD_BYTES: Final = 128 << 10  # of inputs and outputs at a time, which then stay in the cache
_LANE_STEP: Final = 16  # the widest vector of float32: blocks are multiples of it
_ALIGNMENT: Final = 64


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


def thread_count(threads: int | None) -> int:
    """Return how many threads to use: all cores if None.

    Raises:
        LayoutError: not a whole number from 1 to the number of cores.

    """
    most = cores()
    if threads is None:
        return most
    return integer("threads", threads, 1, most, error=LayoutError)


def spread(work: Callable[[Any], None], parts: Sequence[Any], workers: int) -> None:
    """Do all parts of the work, in this thread and others if there are several; compiled code holds no lock."""
    waiting = iter(parts)

    def drain() -> None:
        for part in waiting:
            work(part)

    others = min(len(parts), workers) - 1
    if others < 1:
        drain()
        return
    with ThreadPoolExecutor(others) as pool:
        helping = [pool.submit(drain) for _ in range(others)]
        drain()
        for helper in helping:
            helper.result()


def _aligned(shape: Sequence[int], dtype: Any) -> Array:
    """Return zeros that start at a cache line: vectors that straddle two lines cost twice."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % _ALIGNMENT
    aligned: Array = raw[skip : skip + size].view(dtype).reshape(tuple(shape))
    return aligned


def _most_lanes(theta: Array) -> int:
    """Return how many lanes a block may have: few enough for their parameters to stay in the cache."""
    if theta.ndim == 1:
        return _MOST_LANES
    fitting = _CACHE_BYTES // int(theta.shape[0] * theta.itemsize) // _LANE_STEP * _LANE_STEP
    return min(_MOST_LANES, max(_LEAST_LANES, fitting))


def _width(lanes: int, most: int) -> int:
    return min(most, -(-lanes // _LANE_STEP) * _LANE_STEP)


# --- Recorded inputs -------------------------------------------------------------------------------------------------


def open_loop(
    spec: Spec, theta: Array, inputs: ArrayLike, steps: int | None = None, *, threads: int | None = None
) -> OpenLoop:
    """Step a population through recorded inputs; see ``rollout``."""
    workers = thread_count(threads)
    u = check_inputs(inputs, spec, steps)
    lanes = check_theta(theta, spec, u.shape[2] if u.ndim == 3 else None)
    cell = cell_of(spec)
    result = OpenLoop(
        outputs=np.empty((len(u), spec.outputs, lanes), spec.dtype),
        state=np.empty((cell.state_layout(spec).size, lanes), spec.dtype),
    )
    ints, floats, start = step_ints(spec), step_floats(spec), start_state(spec, cell.state_layout(spec))
    width = _width(-(-lanes // workers), _most_lanes(theta))
    row = width * np.dtype(spec.dtype).itemsize
    most = max(16, _RECORD_BYTES // (row * (spec.outputs + (spec.inputs if u.ndim == 3 else 0))))
    blocks = [slice(first, min(first + width, lanes)) for first in range(0, lanes, width)]

    def run(block: slice) -> None:
        count = block.stop - block.start
        work = theta if theta.ndim == 1 else _padded(theta[:, block], width)
        state = _padded(start[:, None], width)
        y = _aligned((most, spec.outputs, width), spec.dtype)
        for first in range(0, len(u), most):
            part = slice(first, min(first + most, len(u)))
            seen = _padded(u[part, :, block], width) if u.ndim == 3 else u[part]
            cell.rollout(work, state, seen, y[: len(seen)], ints, floats)
            result.outputs[part, :, block] = y[: len(seen), :, :count]
        result.state[:, block] = state[:, :count]

    run(blocks[0])  # compiles, if need be, before threads start
    spread(run, blocks[1:], workers)
    return result


def _padded(values: Array, width: int) -> Array:
    """Copy to an aligned array whose last axis has ``width`` lanes; the last one fills the rest."""
    result = _aligned((*values.shape[:-1], width), values.dtype)
    result[..., : values.shape[-1]] = values
    result[..., values.shape[-1] :] = values[..., -1:]
    return result


# --- Plants ----------------------------------------------------------------------------------------------------------


class _Block:
    """The arrays that one thread works on: a lane a column."""

    def __init__(self, width: int, spec: Spec, plant: Plant, states: int, params: int | None):
        rows = {"state": states, "x": len(plant.start), "u": spec.inputs, "y": spec.outputs, "recent": plant.window}
        if params is not None:
            rows["theta"] = params
        self.rows = {name: _aligned((count, width), spec.dtype) for name, count in rows.items()}
        for name in ("total", "age", "ended"):
            self.rows[name] = _aligned((width,), spec.dtype)
        self.who = np.full(width, -1, np.int64)

    def narrow(self) -> None:
        """Keep the live lanes only, in as many columns as they need."""
        live = np.flatnonzero(self.who >= 0)
        width = _width(len(live), _MOST_LANES)
        self.rows = {name: _padded(values[..., live], width) for name, values in self.rows.items()}
        self.who = np.concatenate([self.who[live], np.full(width - len(live), -1, np.int64)])


def _episodes(
    spec: Spec, theta: Array, plant: Plant, steps: int, starts: ArrayLike | None, fitness: str, workers: int
) -> Episodes:
    begin = starts_of(plant, starts, spec.dtype)
    lanes = check_theta(theta, spec, begin.shape[1] if begin.shape[1] > 1 else None)
    cell = cell_of(spec)
    start = start_state(spec, cell.state_layout(spec))
    kernel = kernel_of(spec, plant, fitness)
    result = Episodes(
        fitness=np.empty(lanes, spec.dtype),
        steps=np.zeros(lanes, np.int64),
        final=np.empty((len(plant.start), lanes), spec.dtype),
        fault=np.zeros(lanes, np.bool_),
    )
    fixed = (step_ints(spec), step_floats(spec), cell.state_layout(spec)["fault"].offset, float(steps))
    workers = min(workers, -(-lanes // _LANE_STEP))

    everyone = np.arange(lanes)

    def run(worker: int) -> None:
        mine = everyone[everyone // _LANE_STEP % workers == worker]  # a cache line of neighbours to each in turn
        block = _Block(
            _width(len(mine), _most_lanes(theta)), spec, plant, len(start), theta.shape[0] if theta.ndim == 2 else None
        )
        following = np.zeros(2, np.int64)  # next of mine to start; the block's own clock
        while following[0] < len(mine) or (block.who >= 0).any():
            r = block.rows
            kernel.run(
                theta, begin, mine, following, start, *fixed, r.get("theta", theta), r["state"], r["x"], r["u"], r["y"],
                r["total"], r["recent"], r["age"], r["ended"], block.who, np.empty_like(block.who),
                result.fitness, result.steps, result.final, result.fault,
            )  # fmt: skip
            if (block.who >= 0).any():
                block.narrow()

    spread(run, range(workers), workers)
    return result


@lru_cache(maxsize=256)
def kernel_of(spec: Spec, plant: Plant, fitness: str) -> Any:
    """Return the module whose ``run`` steps a block of lanes: generated, or from the cache."""
    title = f"{plant.name} controlled by {spec.cell}, {spec.dtype}, for lanes on the CPU"
    text = head(float_step(cell_of(spec)), spec.dtype, title, plant) + _lanes(plant, fitness)
    return build(text, f"cpu_{spec.cell}_{plant.name}_{spec.dtype}")


def _lanes(plant: Plant, fitness: str) -> str:
    """Return the text of the lanes' kernel. Each row of the plant's state is an array argument of its own."""
    counts = {"x": len(plant.start), "y": plant.actions, "u": plant.observations}
    rows = {k: ", ".join(f"{k}{i}" for i in range(count)) for k, count in counts.items()}
    given = {k: ", ".join(f"{k}[{i}]" for i in range(count)) for k, count in counts.items()}
    here = {k: "(" + "".join(f"{k}{i}[p], " for i in range(count)) + ")" for k, count in counts.items()}
    assign = {k: "".join(f"        {k}{i}[p] = new[{i}]\n" for i in range(count)) for k, count in counts.items()}
    column = "(" + "".join(f"x[{i}, b], " for i in range(counts["x"])) + ")"
    return f"""

@_jit_rows
def _observe_lanes({rows["x"]}, {rows["u"]}):
    for p in range(_U(x0.shape[0])):
        new = observe({here["x"]})
{assign["u"]}

@_jit_rows
def _step_lanes({rows["x"]}, {rows["y"]}, h):
    for p in range(_U(x0.shape[0])):
        new = _next({here["x"]}, {here["y"]}, h)
{assign["x"]}

@_jit_rows
def _account_lanes({rows["x"]}, {rows["y"]}, total, recent, age, last, ended):
    for p in range(_U(x0.shape[0])):
        x = {here["x"]}
        value = reward(x, {here["y"]})
        total[p] += value
        recent[p] = value
        age[p] += _F(1)
        over = done(x)
        ended[p] = _F(1) if over or age[p] >= last else _F(0)


@_jit_step
def _count(ended):
    count = 0
    for p in range(_U(ended.shape[0])):
        count += 1 if ended[p] != 0 else 0
    return count


@_jit_step
def _fill(theta, begin, mine, following, start, work, state, x, total, age, who, fresh):
    # The next individuals take the idle lanes' places, row by row: a lane's numbers lie far apart in memory.
    count = 0
    for b in range(who.shape[0]):
        if who[b] < 0 and following[0] < mine.shape[0]:
            who[b] = mine[following[0]]
            following[0] += 1
            fresh[count] = b
            count += 1
            total[b], age[b] = _F(0), _F(0)
    if theta.ndim == 2:
        for k in range(theta.shape[0]):
            for c in range(count):
                work[k, fresh[c]] = theta[k, who[fresh[c]]]
    for k in range(start.shape[0]):
        for c in range(count):
            state[k, fresh[c]] = start[k]
    for k in range(x.shape[0]):
        for c in range(count):
            x[k, fresh[c]] = begin[k, who[fresh[c]] % begin.shape[1]]
    return count


@_jit_step
def _finish(b, x, total, recent, age, clock, fault, state, who, fitness_out, steps_out, final_out, fault_out):
    window = recent.shape[0]
    kept = min(window, int(age[b]))
    lately = _F(0)
    for k in range(kept):  # from the newest on
        lately += recent[(clock - k) % window, b]
    p = who[b]
    fitness_out[p] = {fitness}({column}, age[b], total[b], lately)
    steps_out[p] = int(age[b])
    for k in range(x.shape[0]):
        final_out[k, p] = x[k, b]
    fault_out[p] = state[fault, b] != 0


@_jit_step
def run(theta, begin, mine, following, start, ints, floats, fault, last, work, state, x, u, y,
        total, recent, age, ended, who, fresh, fitness_out, steps_out, final_out, fault_out):
    lanes = who.shape[0]
    count = mine.shape[0]
    _fill(theta, begin, mine, following, start, work, state, x, total, age, who, fresh)
    live = 0
    for b in range(lanes):
        if who[b] >= 0:
            live += 1
        else:
            age[b] = _F(last)  # an idle lane counts as ended, whatever its plant does
    _prime(work, state, ints, floats)
    h = floats[0] / _F({plant.substeps if plant.has("derivative") else 1})
    # Half empty and nothing to fill up with: give back, to go on in a narrower block.
    while live > 0 and (following[0] < count or 2 * live > lanes or lanes == {_LANE_STEP}):
        _observe_lanes({given["x"]}, {given["u"]})
        _advance(work, state, u, y, ints, floats)
        for _ in range({plant.substeps if plant.has("derivative") else 1}):
            _step_lanes({given["x"]}, {given["y"]}, h)
        clock = following[1] % recent.shape[0]
        _account_lanes({given["x"]}, {given["y"]}, total, recent[clock], age, _F(last), ended)
        if _count(ended) > lanes - live:
            for b in range(lanes):
                if ended[b] != 0 and who[b] >= 0:
                    _finish(b, x, total, recent, age, clock, fault, state, who,
                            fitness_out, steps_out, final_out, fault_out)
                    who[b] = -1
                    age[b] = _F(last)
                    live -= 1
            loaded = _fill(theta, begin, mine, following, start, work, state, x, total, age, who, fresh)
            live += loaded
            if loaded > 0:
                _prime(work, state, ints, floats)
        following[1] += 1
"""
