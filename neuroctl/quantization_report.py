"""Effects of quantization on a controller: ranges, bits and errors of each block, dead zones, and trajectories."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import listed
from neuroctl.controller import Controller
from neuroctl.errors import FileFormatError
from neuroctl.input_limits import BeyondLimits, beyond_limits
from neuroctl.io import LOAD_ERRORS
from neuroctl.quant import LIMIT, QuantController, integer_form
from neuroctl.signal_names import split_name

Array = NDArray[Any]

_STEPS: Final = 1000


@dataclass(frozen=True)
class BlockReport:
    """One block of parameters: its range, its format, and its rounding errors, all in the block's unit.

    ``saturated`` is the number of entries beyond the format's range. ``own`` tells that rows or columns have further
    fractional bits, as their outputs or inputs have formats of their own: ``frac_bits`` are those of the step.
    """

    name: str
    low: float
    high: float
    bits: int
    frac_bits: int
    max_error: float
    rms_error: float
    saturated: int
    own: bool = False


@dataclass(frozen=True)
class OutputReport:
    """One output over the trajectory: its range in float, and the errors of fixed point, in physical units."""

    low: float
    high: float
    max_error: float
    rms_error: float


@dataclass(frozen=True)
class QuantizationReport:
    """The effects of quantization.

    Args:
        blocks: one entry per block; empty if the float controller is unknown.
        bounds: proven range of each intermediate, of which the largest magnitude has to stay below ``limit``.
        limit: 2^30.
        dead_zone: widest band, in last bits of an input, in which a slow neuron stops short of its goal; CTRNN only.
        recorded: whether the trajectory's inputs are recorded ones; else they are generated from the declared limits.
        state_bytes: RAM of one state, without its CRC.
        state_note: the reason if a 16-bit state saves no RAM; else empty.
        beyond: recorded inputs beyond the declared limits; None without either.
        outputs: one entry per output; empty if the float controller is unknown.
        time_s: ``[T]``.
        exact: float outputs ``[T, outputs]``; None if the float controller is unknown.
        fixed: fixed-point outputs ``[T, outputs]``.

    """

    blocks: list[BlockReport]
    bounds: dict[str, tuple[int, int]]
    limit: int
    dead_zone: float | None
    recorded: bool
    state_bytes: int
    state_note: str
    beyond: BeyondLimits | None
    outputs: list[OutputReport]
    time_s: Array
    exact: Array | None
    fixed: Array

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the trajectories."""
        return {
            "blocks": [asdict(block) for block in self.blocks],
            "certificate": {name: list(bound) for name, bound in self.bounds.items()},
            "certificate_limit": self.limit,
            "dead_zone": self.dead_zone,
            "recorded": self.recorded,
            "state_bytes": self.state_bytes,
            "state_note": self.state_note,
            "inputs_beyond_limits": None if self.beyond is None else self.beyond.to_dict(),
            "outputs": [asdict(output) for output in self.outputs],
        }


def measure_quantization(q: QuantController, ctl: Controller | None) -> QuantizationReport:
    """Compare an integer controller with its float original, if that is known.

    Both run over the recorded inputs, 1,000 steps at most, or over inputs that wander through the declared limits.
    """
    inputs = _inputs(q)
    fixed_q = QuantController(q.spec, q.formats, q.theta_q, q.calibration)
    fixed = fixed_q.rollout(inputs)
    exact = None if ctl is None else Controller(ctl.spec, ctl.theta).rollout(inputs)
    return QuantizationReport(
        blocks=[] if ctl is None else _blocks(q, ctl),
        bounds={name: (int(low), int(high)) for name, (low, high) in q.bounds.items()},
        limit=LIMIT,
        dead_zone=_dead_zone(q) if q.spec.cell == "ctrnn" and not q.spec.encoder else None,
        recorded=q.calibration is not None,
        state_bytes=len(q.state_bytes()),
        state_note="" if ctl is None else _state_note(q, ctl),
        beyond=beyond_limits(q.spec.input_limits, q.calibration),
        outputs=[] if exact is None else _outputs(exact.astype(np.float64), fixed.astype(np.float64)),
        time_s=np.arange(len(inputs)) * q.spec.dt_s,
        exact=exact,
        fixed=fixed,
    )


def _state_note(q: QuantController, ctl: Controller) -> str:
    """Return a note if a 16-bit state saves no RAM, as slow neurons then keep a residual of 16 bits."""
    if "residual" not in q.formats:
        return ""
    bits = {name: q.formats[name].bits for name, block in q.layout.blocks.items() if len(block.shape) == 2}
    shared = not (q.own_formats.inputs or q.own_formats.outputs)
    wide = integer_form(ctl.spec, ctl.theta, bits, 32, q.calibration, shared_formats=shared)
    narrow_bytes, wide_bytes = len(q.state_bytes()), len(wide.state_bytes())
    if wide.formats["y"] == q.formats["y"] or narrow_bytes < wide_bytes:
        return ""
    return (
        f"state_bits 16 saves no RAM: {narrow_bytes} bytes, and {wide_bytes} with 32, which takes less flash: neurons "
        "whose tau is longer than about dt would stall in 16 bits, and so keep 16 more as a residual"
    )


def _inputs(q: QuantController) -> Array:
    if q.calibration is not None:
        return q.calibration[:_STEPS].astype(q.spec.dtype)
    lows, highs = np.array(q.spec.input_limits or ((-1.0, 1.0),) * q.spec.inputs).T
    waves = [np.sin(np.arange(_STEPS) * 2 * np.pi * (k + 1.5) / 400 + k) for k in range(q.spec.inputs)]
    return np.asarray(0.5 * (lows + highs) + 0.5 * (highs - lows) * np.stack(waves, axis=1), q.spec.dtype)


def _blocks(q: QuantController, ctl: Controller) -> list[BlockReport]:
    rows = []
    for name, exact in ctl.layout.views(ctl.theta.astype(np.float64)).items():
        form = q.formats.get(name)
        if form is None:  # packed as mantissa and shift: 16 bits, however small
            continue
        stored = form.dequantize(q.layout.views(q.theta_q)[name])
        error = np.abs(stored - exact)
        beyond = int((np.abs(exact) > form.high * form.lsb + form.lsb).sum())
        largest, rms = float(error.max()), float(np.sqrt(np.mean(error**2)))
        ends, own = (float(exact.min()), float(exact.max())), bool(form.extra)
        rows.append(BlockReport(name, *ends, form.bits, form.frac_bits, largest, rms, beyond, own))
    return rows


def _dead_zone(q: QuantController) -> float:
    """Return the largest distance from its goal at which the slowest neuron may stop, in last bits of an input."""
    if "residual" in q.formats:
        return 0.0
    p = q.layout.views(q.theta_q)
    alpha = (p["tau_s"] & 0xFFFF) * 2.0 ** -(16.0 + (p["tau_s"] >> 16))
    stalled = 0.5 * q.formats["y"].lsb / alpha
    # In the numbers that the step counts with, which formats of each input's own do not change.
    finest = np.abs(p["W_in"]).max(axis=1) * 2.0 ** -(q.formats["W_in"].frac_bits + q.formats["u"].frac_bits)
    reached = finest > 0
    return float((stalled[reached] / finest[reached]).max()) if reached.any() else 0.0


def _outputs(exact: Array, fixed: Array) -> list[OutputReport]:
    error = np.abs(exact - fixed)
    return [
        OutputReport(float(a.min()), float(a.max()), float(e.max()), float(np.sqrt(np.mean(e**2))))
        for a, e in zip(exact.T, error.T, strict=True)
    ]


def bits_of(bound: tuple[int, int]) -> float:
    """Return the number of bits of a range, without the sign."""
    return math.log2(max(1, -bound[0], bound[1]))


def read_inputs(path: str | os.PathLike[str], names: Sequence[str] = ()) -> NDArray[np.float64]:
    """Read recorded inputs ``[T, inputs]`` in physical units: ``.npy``, or ``.csv`` with or without a header line.

    Args:
        path: the file.
        names: of the inputs. Where a table has a header, each input is the column of its name, with its unit or without
            any, and others are passed over; without names, or a header, columns are the inputs in their order.

    Raises:
        FileFormatError: the file cannot be read, holds something else, or lacks the column of an input.

    """
    place = Path(path)
    try:
        if place.suffix == ".npy":
            with place.open("rb") as file:
                data = np.load(file, allow_pickle=False)
        elif place.suffix == ".csv":
            with place.open(newline="", encoding="utf-8-sig") as text:  # a byte-order mark is no part of a number
                rows = [row for row in csv.reader(text) if row]
            first = _header(rows)
            places = _places(rows[0], names) if first and names else slice(None)
            data = np.array([[float(cell) for cell in _picked(row, places)] for row in rows[first:]])
        else:
            raise ValueError("allowed: .npy or .csv")
        return np.asarray(data, dtype=np.float64)
    except (*LOAD_ERRORS, csv.Error, IndexError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise FileFormatError(f"{place}: {reason}") from None


def _picked(row: list[str], places: slice | list[int]) -> list[str]:
    return row[places] if isinstance(places, slice) else [row[place] for place in places]


def _places(header: list[str], names: Sequence[str]) -> list[int]:
    """Return the place of each name's column.

    Raises:
        ValueError: a name has none, or two.

    """
    columns = [" ".join(cell.split()) for cell in header]
    places = []
    for name in names:
        found = [k for k, column in enumerate(columns) if column in (name, split_name(name)[0])]
        if len(found) != 1:
            number = "two columns" if found else "no column"
            raise ValueError(f"{number} for input {name!r} among {listed(columns, 'none')}; allowed: one, of its name")
        places += found
    return places


def _header(rows: list[list[str]]) -> int:
    try:
        [float(cell) for cell in rows[0]] if rows else None
    except ValueError:
        return 1
    return 0
