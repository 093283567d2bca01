"""Arrays and threads of lanes: blocks that are aligned and padded, and a population run through a plant.

A thread works on a block of up to 256 lanes. When a lane's episode ends, the next individual takes its place, and when
none are left and half the block is idle, the block shrinks; so lanes that end early cost little. What a lane computes
does not depend on its place, so results are the same bits for any number of threads and of individuals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.base import Episodes
from neuroctl.backends.lanes import MIN_LANES
from neuroctl.backends.plant import Plant
from neuroctl.backends.plant_errors import plant_errors
from neuroctl.checks import integer
from neuroctl.errors import LayoutError
from neuroctl.machine import cores
from neuroctl.maths.packs import BYTES
from neuroctl.spec import Spec

Array = NDArray[Any]

_FEW_LANES, _MAX_LANES = 64, 256
_CACHE_BYTES: Final = 192 << 10  # of a core's second-level cache, for parameters


def thread_count(threads: int | None) -> int:
    """Return how many threads to use: all cores if None.

    Raises:
        LayoutError: not a whole number from 1 to the number of cores.

    """
    most = cores()
    if threads is None:
        return most
    return integer("threads", threads, 1, most, error=LayoutError)


def spread(
    work: Callable[[Any], None], parts: Sequence[Any], workers: int, give_up: Callable[[], None] | None = None
) -> None:
    """Do all parts of the work, in this thread and others if there are several; compiled code holds no lock.

    Args:
        work: does a part.
        parts: of the work.
        workers: threads.
        give_up: called where a part fails or this thread is interrupted, when no further part begins: ends those at
            work, which are waited for.

    """
    waiting = iter(parts)

    def drain() -> None:
        for part in waiting:
            work(part)

    def or_end(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException:
            for _ in waiting:
                pass
            if give_up is not None:
                give_up()
            raise

    others = min(len(parts), workers) - 1
    if others < 1:
        drain()
        return
    with ThreadPoolExecutor(others) as pool:
        helping = [pool.submit(or_end, drain) for _ in range(others)]

        def drain_and_wait() -> None:
            drain()
            for helper in helping:
                helper.result()

        or_end(drain_and_wait)


def aligned(shape: Sequence[int], dtype: Any) -> Array:
    """Return zeros that start at a cache line: vectors that straddle two lines cost twice."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + BYTES, np.uint8)
    skip = -raw.ctypes.data % BYTES
    aligned: Array = raw[skip : skip + size].view(dtype).reshape(tuple(shape))
    return aligned


def of_blocks(blocks: Array, lanes: int) -> Array:
    """Return ``[..., B, W]`` as ``[..., P]``, C-contiguous."""
    return np.ascontiguousarray(blocks.reshape(*blocks.shape[:-2], -1)[..., :lanes])


def padded(values: Array, lanes: int) -> Array:
    """Return an aligned array whose last axis has so many lanes; the last one of ``values`` fills the rest."""
    result = aligned((*values.shape[:-1], lanes), values.dtype)
    result[..., : values.shape[-1]] = values
    result[..., values.shape[-1] :] = values[..., -1:]
    return result


def in_blocks(values: Array, width: int) -> Array:
    """Copy ``[K, P]`` to blocks of lanes, aligned ``[B, K, W]``; the last lane fills the rest."""
    count = -(-values.shape[1] // width)
    result = aligned((count, len(values), width), values.dtype)
    whole = values if values.shape[1] == count * width else padded(values, count * width)
    result[:] = whole.reshape(len(values), count, width).swapaxes(0, 1)
    return result


@dataclass(frozen=True)
class Population:
    """Controllers as a kernel takes them: see ``lanes._Controllers``.

    Args:
        sources: what each brings, ``[K, P]``, or ``[K, 1]`` where it is the same for all.
        packs: rows and dtype of the blocks that take it over, or an array that all share.
        constants: arguments that are the same for all.
        width: lanes of a block.

    """

    sources: tuple[Array, ...]
    packs: Mapping[str, tuple[int, Any] | Array]
    constants: tuple[Any, ...]
    width: int


class _Block:
    """The arrays that one thread works on: blocks of lanes for the controllers, and a lane a column for the plant."""

    def __init__(self, lanes: int, spec: Spec, plant: Plant, population: Population):
        rows = {"x": len(plant.start), "u": spec.inputs, "y": spec.outputs, "recent": plant.window}
        self.rows = {name: aligned((count, lanes), spec.dtype) for name, count in rows.items()}
        self.rows |= {name: aligned((lanes,), spec.dtype) for name in ("total", "age", "ended")}
        self.width = population.width
        self.packs = {
            name: pack if isinstance(pack, np.ndarray) else aligned((lanes // self.width, pack[0], self.width), pack[1])
            for name, pack in population.packs.items()
        }
        self.shared = {name for name, pack in population.packs.items() if isinstance(pack, np.ndarray)}
        self.who = np.full(lanes, -1, np.int64)

    def arrays(self) -> list[Array]:
        """Return inputs and outputs as the controllers see them, ``[m, B, W]`` and ``[q, B, W]``; then all rows."""
        u, y = self.rows["u"], self.rows["y"]
        views = [rows.reshape(len(rows), -1, self.width) for rows in (u, y)]
        return [*views, *(self.rows[name] for name in ("x", "u", "y", "total", "recent", "age", "ended"))]

    def narrow(self) -> None:
        """Keep the live lanes only, in as many columns as they need."""
        live = np.flatnonzero(self.who >= 0)
        lanes = _whole(len(live), _MAX_LANES)
        self.rows = {name: padded(values[..., live], lanes) for name, values in self.rows.items()}
        for name, values in self.packs.items():
            if name not in self.shared:
                columns = values.swapaxes(0, 1).reshape(values.shape[1], -1)
                self.packs[name] = in_blocks(padded(columns[:, live], lanes), self.width)
        self.who = np.concatenate([self.who[live], np.full(lanes - len(live), -1, np.int64)])


def _whole(lanes: int, most: int) -> int:
    return min(most, -(-lanes // MIN_LANES) * MIN_LANES)


def _most_lanes(population: Population) -> int:
    """Return how many lanes a block may have: few enough for their parameters to stay in the cache."""
    sizes = [pack[0] * np.dtype(pack[1]).itemsize for pack in population.packs.values() if isinstance(pack, tuple)]
    fitting = _CACHE_BYTES // int(max(sizes)) // MIN_LANES * MIN_LANES
    return min(_MAX_LANES, max(_FEW_LANES, fitting))


def run_episodes(
    kernel: Any, spec: Spec, plant: Plant, population: Population, lanes: int, begin: Array, steps: int, workers: int
) -> Episodes:
    """Run a kernel of ``backends.lanes`` on a population of so many lanes; begin: ``[S, 1]`` or ``[S, P]``."""
    result = Episodes(
        fitness=np.empty(lanes, spec.dtype),
        steps=np.zeros(lanes, np.int64),
        final=np.empty((len(plant.start), lanes), spec.dtype),
        fault=np.zeros(lanes, np.bool_),
    )
    workers = min(workers, -(-lanes // MIN_LANES))
    everyone, most, dt = np.arange(lanes), _most_lanes(population), np.dtype(spec.dtype).type(spec.dt_s)

    def run(worker: int) -> None:
        mine = everyone[everyone // MIN_LANES % workers == worker]  # a cache line of neighbors to each in turn
        block = _Block(_whole(len(mine), most), spec, plant, population)
        following = np.zeros(2, np.int64)  # next of mine to start; the block's own clock
        while following[0] < len(mine) or (block.who >= 0).any():
            kernel.run(
                *population.sources, *block.packs.values(), *population.constants, begin, mine, following,
                float(steps), dt, *block.arrays(), block.who, np.empty_like(block.who),
                result.fitness, result.steps, result.final, result.fault,
            )  # fmt: skip
            if (block.who >= 0).any():
                block.narrow()

    with plant_errors(plant, kernel):
        spread(run, range(workers), workers)
    return result
