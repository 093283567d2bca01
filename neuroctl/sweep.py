"""Cost and value of bits: closed-loop return against bytes of firmware, over storage of weights and state."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import neuroctl as nc
from neuroctl import io
from neuroctl.errors import ExportError, require
from neuroctl.quant import STATE_BITS, WEIGHT_BITS

BITS: Final = tuple((weights, state) for weights in WEIGHT_BITS for state in STATE_BITS)
_FIRST_SEED: Final = 5000
_CORE: Final = "cortex-m0plus"


@dataclass(frozen=True)
class Point:
    """One form of the controller: its return in closed loop, and its memory on a Cortex-M0+ with -Os.

    ``flash_bytes`` is code, tables and weights, ``ram_bytes`` one state; 0 for the float form. ``problem`` is the
    reason if a form does not exist.
    """

    form: str
    mean_return: float
    worst_return: float
    flash_bytes: int = 0
    ram_bytes: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def sweep(file: Path, task: str, episodes: int) -> tuple[str, list[Point]]:
    """Run a saved float controller and its integer forms in its task from the same starts.

    Returns:
        The task's name, and the float form followed by one point for each of ``BITS``.

    Raises:
        FileFormatError: the file holds no float controller.
        TaskError: neither the argument nor the file names a task, or the file names one that is not ours.
        BackendUnavailable: an extra is missing.

    """
    sims, firmware = require("neuroctl.sims", "evolve"), require("neuroctl.firmware_export", "export")
    archive = io.read_archive(file)
    io.expect_kind(archive, "controller", file)
    model = io.model_of(archive, file)
    name = sims.task_of(model.meta, task)
    ctl = nc.Controller(model.spec, model.theta, meta=model.meta)
    seeds = range(_FIRST_SEED, _FIRST_SEED + episodes)
    points = [_point(f"{model.spec.dtype}", sims.score(name, ctl, seeds))]
    for weight_bits, state_bits in BITS:
        form = f"w{weight_bits} s{state_bits}"
        try:
            q = ctl.quantize(weight_bits, model.calibration, state_bits, allow_coarse=True)
        except ExportError as error:
            points.append(Point(form, float("nan"), float("nan"), problem=str(error)))
            continue
        points.append(_point(form, sims.score(name, q, seeds), *_bytes(firmware, q)))
    return name, points


def _point(form: str, returns: Any, flash: int = 0, ram: int = 0) -> Point:
    return Point(form, float(np.mean(returns)), float(np.min(returns)), flash, ram)


def _bytes(firmware: Any, q: nc.QuantController) -> tuple[int, int]:
    """Return flash and RAM on a small core."""
    with tempfile.TemporaryDirectory() as folder:
        firmware.export(q, folder)
        report = firmware.verify(folder, steps=64, targets=[_CORE])
    cost = next((target.footprint for target in report.targets if target.footprint is not None), None)
    return (cost.code_small + cost.const, cost.ram) if cost is not None else (0, 0)
