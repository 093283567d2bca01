"""Backends: whole populations at once, on the CPU's SIMD lanes and threads, or on a GPU."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from neuroctl.errors import BackendUnavailable

NAMES: Final = ("cpu", "cuda")


def get(name: str) -> ModuleType:
    """Return a backend; its ``rollout`` takes the same arguments in each, see ``neuroctl.backends.cpu.rollout``.

    Raises:
        BackendUnavailable: unknown, or not to be had here; the message says what to install.

    """
    if name not in NAMES:
        raise BackendUnavailable(f"backend: {name!r}; allowed: {', '.join(NAMES)}")
    backend = import_module(f"neuroctl.backends.{name}")
    if name == "cuda":
        backend.require_device()
    return backend
