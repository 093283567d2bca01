"""Differences between operating systems: cores, file locks, durable file names."""

from __future__ import annotations

import os
import warnings
from pathlib import Path


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lock(handle: int, name: str) -> None:
    """Lock an open file against other processes, until it is closed; warn if the system cannot.

    Args:
        handle: descriptor of the open file.
        name: name of what it protects, for the warning.

    Raises:
        BlockingIOError: another process holds the lock.

    """
    try:
        import fcntl
    except ImportError:  # Windows
        warnings.warn(f"{name}: not locked, as this system has no fcntl; run one process on it", stacklevel=2)
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, if the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
