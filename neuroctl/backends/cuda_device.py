"""The device, the size of a block, and the compiler of kernels: the only module that imports CUDA."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

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
