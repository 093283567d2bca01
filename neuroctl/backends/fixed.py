"""Integer controllers in compiled plants: what is measured here is what the microcontroller will do.

Lanes as those of float controllers, in packs of int64; the same bits as ``QuantController.step`` in a loop. Each lane
has its own controller, formats included.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends.base import Episodes, check_plant, check_steps, starts_of
from neuroctl.backends.blocks import Population, run_episodes, thread_count
from neuroctl.backends.lanes import integer_kernel
from neuroctl.backends.plant import Plant, load
from neuroctl.cells.base import input_map
from neuroctl.checks import shown
from neuroctl.errors import LayoutError
from neuroctl.maths.packs import INT64
from neuroctl.quant import QuantController, QuantizedPopulation
from neuroctl.spec import Spec

Array = NDArray[Any]


def rollout_quantized(
    controllers: QuantController | Iterable[QuantController],
    plant: ModuleType | str | os.PathLike[str],
    steps: int,
    *,
    starts: ArrayLike | None = None,
    fitness: str = "fitness",
    threads: int | None = None,
) -> Episodes:
    """Run integer controllers in a plant, a lane each; their own states are neither read nor changed.

    Args:
        controllers: P of them, of one spec, such as ``quantize_many`` gives; formats may differ. A single one, in a
            list or not, runs from all starts.
        plant: a module, or the path of its file; see ``neuroctl.backends.plant``.
        steps: most control steps of an episode.
        starts: the plant's states at the start, ``[S]`` or ``[S, P]``; the plant's ``START`` if None.
        fitness: name of the plant's fitness function.
        threads: number of threads; None for one a core.

    Raises:
        LayoutError: controllers, starts, steps or threads have the wrong shape or values.
        PlantError: the plant lacks something, or does not fit the spec.

    """
    workers = thread_count(threads)
    spec, known, begin, columns = lane_columns(controllers, plant, starts, fitness)
    sources = tuple(columns.values())
    lanes = max(sources[0].shape[1], begin.shape[1])
    packs: dict[str, Any] = {name: (len(rows), rows.dtype) for name, rows in columns.items()}
    packs |= {"u": (spec.inputs, np.int32), "y": (spec.outputs, np.int32)}
    population = Population(sources, packs, input_map(spec), INT64.width)
    kernel = integer_kernel(spec, known, fitness)
    return run_episodes(kernel, spec, known, population, lanes, begin, check_steps(steps), workers)


def lane_columns(
    controllers: QuantController | Iterable[QuantController],
    plant: ModuleType | str | os.PathLike[str],
    starts: ArrayLike | None,
    fitness: str,
) -> tuple[Spec, Plant, Array, dict[str, Array]]:
    """Return spec, plant, starts ``[S, 1]`` or ``[S, P]``, and the controllers' numbers ``[rows, P]`` by name.

    The names are theta, ints, start, lowest and highest raw inputs, and the last bits of each input and output.

    Raises:
        LayoutError: controllers or starts have the wrong shape or values.
        PlantError: the plant lacks something, or does not fit the spec.

    """
    known, controllers = load(plant), _of_one_spec(controllers)
    spec = controllers.spec if isinstance(controllers, QuantizedPopulation) else controllers[0].spec
    check_plant(known, spec, fitness)
    begin = starts_of(known, starts, spec.dtype)
    lanes = max(len(controllers), begin.shape[1])
    if len(controllers) not in (1, lanes) or begin.shape[1] not in (1, lanes):
        raise LayoutError(f"starts: {begin.shape[1]}; allowed: 1, or one for each of {len(controllers)} controllers")
    columns = {name: np.ascontiguousarray(rows.T) for name, rows in _columns(controllers).items()}
    return spec, known, begin, columns


def _columns(controllers: Sequence[QuantController]) -> dict[str, Array]:
    """Return what lanes are made of, each ``[P, ...]``."""
    if isinstance(controllers, QuantizedPopulation):
        return controllers.columns
    rows = {
        "theta": [c.theta_q for c in controllers],
        "ints": [c.ints for c in controllers],
        "start": [c.start for c in controllers],
        "low": [c.input_range[0] for c in controllers],
        "high": [c.input_range[1] for c in controllers],
        "lsb": [c.last_bits for c in controllers],
    }
    return {name: np.array(each) for name, each in rows.items()}


def _of_one_spec(controllers: object) -> Sequence[QuantController]:
    """Return controllers, 1 or more, that all have one spec."""
    if isinstance(controllers, QuantizedPopulation):
        return controllers
    items = [controllers] if isinstance(controllers, QuantController) else controllers
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes)):
        raise LayoutError(f"controllers: {shown(items)}; allowed: a list of QuantController")
    quantized = list(items)
    if not quantized:
        raise LayoutError("controllers: none; allowed: 1 or more")
    for i, c in enumerate(quantized):
        if not isinstance(c, QuantController):
            raise LayoutError(f"controllers[{i}]: {type(c).__name__}; allowed: QuantController")
        if c.spec is not quantized[0].spec and c.spec != quantized[0].spec:
            raise LayoutError(f"controllers[{i}]: another spec than controllers[0]; allowed: the same")
    return quantized
