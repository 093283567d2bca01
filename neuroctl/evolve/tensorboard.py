"""A study's figures as TensorBoard scalars, by the package ``tensorboardX``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

from neuroctl.errors import require
from neuroctl.evolve.results import Progress

_SHOWN = ("best", "median", "sigma", "best_validation", "evals_per_s")


class Scalars:
    """Write scalars over evaluations while a study runs; a context manager.

    Args:
        folder: folder of the scalars, such as ``tensorboard`` inside the study's; made with the first generation.

    Raises:
        BackendUnavailable: the package ``tensorboardX`` is not installed.

    """

    def __init__(self, folder: Path):
        self._module: Any = require("tensorboardX", "tensorboard")
        self._folder = folder
        self._writer: Any = None

    def write(self, progress: Progress) -> None:
        """Write a generation's figures, except those that are not finite."""
        if self._writer is None:
            self._writer = self._module.SummaryWriter(str(self._folder))
        for name in _SHOWN:
            value = getattr(progress, name)
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(name, value, progress.evaluations)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
