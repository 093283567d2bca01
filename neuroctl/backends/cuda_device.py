"""What CUDA kernels share: device, size of a block, compiler, an episode's loop. The only module that imports CUDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Final

from neuroctl.backends.kernels import tuple_of
from neuroctl.backends.plant import Plant
from neuroctl.checks import integer
from neuroctl.errors import BackendUnavailable, LayoutError
from neuroctl.maths.codecache import tell

if find_spec("numba_cuda") is None:
    raise BackendUnavailable("cuda: numba-cuda is not installed; pip install 'neuroctl[cuda]'")
from numba import cuda as cuda  # noqa: E402 - without numba-cuda this is Numba's own, outdated one

_WARP: Final = 32
_MAX_THREADS: Final = 1024
_THREADS: Final = 64  # small blocks: a block lasts as long as its longest episode


def require_device() -> None:
    """Check that there is a GPU to run on.

    Raises:
        BackendUnavailable: there is none, or its driver is missing.

    """
    if not cuda.is_available():
        raise BackendUnavailable("cuda: no NVIDIA GPU with a driver for CUDA 13 was found; allowed: backend 'cpu'")


def block_size(threads: int | None) -> int:
    """Return how many threads a block has: 64 if None.

    Raises:
        LayoutError: not a multiple of 32 up to 1024.

    """
    if threads is None:
        return _THREADS
    count = integer("threads", threads, 1, _MAX_THREADS, error=LayoutError)
    if count % _WARP:
        raise LayoutError(f"threads: {count}; allowed on a GPU: multiples of {_WARP} up to {_MAX_THREADS}")
    return count


def jit_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel on its first launch, and cache it on disk if there is a place."""
    try:
        return cuda.jit(cache=True)(function)
    except RuntimeError as error:
        tell(error)
        return cuda.jit(function)


def episode_loop(plant: Plant, fitness: str, h: str, u: Sequence[str], step: str, a: Sequence[str]) -> str:
    """Return the text of a thread's episode, from the plant's start to its scores.

    Args:
        plant: what is controlled.
        fitness: name of its fitness function.
        h: expression of the control step's duration.
        u: expression of each input, from ``observation``.
        step: call that takes u to y.
        a: expression of each action, from y.

    """
    x = tuple_of([f"begin[{k}, p % begin.shape[1]]" for k in range(len(plant.start))])
    inputs = "; ".join(f"u[{k}] = {value}" for k, value in enumerate(u))
    final = "; ".join(f"final_out[{k}, p] = x[{k}]" for k in range(len(plant.start)))
    substeps = plant.substeps if plant.has("derivative") else 1
    return f"""
    recent = _cuda.local.array({plant.window}, _F)
    x = {x}
    h = {h} / _F({substeps})
    total = _F(0)
    age = 0
    going = True
    while going:
        observation = observe(x)
        {inputs}
        {step}
        a = ({"".join(f"{value}, " for value in a)})
        for _ in range({substeps}):
            x = _next(x, a, h)
        value = reward(x, a)
        total += value
        recent[age % {plant.window}] = value
        age += 1
        going = age < last and not done(x)
    lately = _F(0)
    for k in range(min(age, {plant.window})):  # from the newest on
        lately += recent[(age - 1 - k) % {plant.window}]
    fitness_out[p] = {fitness}(x, _F(age), total, lately)
    steps_out[p] = age
    {final}"""
