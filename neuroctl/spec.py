"""Spec: the frozen description of a controller's topology and time base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from neuroctl.errors import SpecError

CELL_NAMES: Final = ("ctrnn",)
INTEGRATORS: Final = ("euler",)
READOUTS: Final = ("affine", "identity")
DTYPES: Final = ("float32", "float64")
MAX_SIZE: Final = 4096

Limits = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One controller, without its parameters. Frozen and hashable; every field is checked on construction.

    Args:
        cell: kind of network; one of ``CELL_NAMES``.
        inputs: number of inputs, 1 to 4096.
        neurons: number of neurons, 1 to 4096.
        outputs: number of outputs, 1 to 4096; equal to ``neurons`` with ``readout="identity"``.
        dt_s: time between two steps, in seconds, greater than 0.
        integrator: how the cell's differential equation is stepped; one of ``INTEGRATORS``.
        readout: ``"affine"`` gives ``W_out s + b_out``, ``"identity"`` the neurons' own outputs.
        dtype: ``"float32"`` (what boards run) or ``"float64"`` (for science and conformance).
        input_limits: (low, high) of each input in physical units; what fixed point scales by. Optional.
        output_limits: (low, high) of each output in physical units; outputs are clipped to it. Optional.

    Raises:
        SpecError: a field is of the wrong type, unknown or out of range.

    """

    cell: str
    inputs: int
    neurons: int
    outputs: int
    dt_s: float
    integrator: str = "euler"
    readout: str = "affine"
    dtype: str = "float32"
    input_limits: Limits | None = None
    output_limits: Limits | None = None

    def __post_init__(self) -> None:
        """Check every field; limits given as lists become tuples of floats."""
        _check_choice("cell", self.cell, CELL_NAMES)
        for name in ("inputs", "neurons", "outputs"):
            _check_size(name, getattr(self, name))
        object.__setattr__(self, "dt_s", _check_dt(self.dt_s))
        _check_choice("integrator", self.integrator, INTEGRATORS)
        _check_choice("readout", self.readout, READOUTS)
        _check_choice("dtype", self.dtype, DTYPES)
        object.__setattr__(self, "input_limits", _check_limits("input_limits", self.input_limits, self.inputs))
        object.__setattr__(self, "output_limits", _check_limits("output_limits", self.output_limits, self.outputs))
        if self.readout == "identity" and self.outputs != self.neurons:
            raise SpecError(f"outputs: {self.outputs}; allowed with readout 'identity': {self.neurons}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; ``from_dict`` is the inverse."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spec:
        """Build a Spec from ``to_dict``'s result.

        Raises:
            SpecError: a field is missing, unknown or bad.

        """
        if not isinstance(data, Mapping):
            raise SpecError(f"spec: {type(data).__name__}; allowed: a mapping of field names to values")
        known = {field.name for field in fields(cls)}
        required = {"cell", "inputs", "neurons", "outputs", "dt_s"}
        if unknown := sorted(set(map(str, data)) - known):
            raise SpecError(f"{unknown[0]}: unknown field of a spec; allowed: {', '.join(sorted(known))}")
        if missing := sorted(required - set(data)):
            raise SpecError(f"{missing[0]}: missing; a spec needs {', '.join(sorted(required))}")
        return cls(**data)


def _plain(value: Any) -> Any:
    return [list(pair) for pair in value] if isinstance(value, tuple) else value


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed or not isinstance(value, str):
        raise SpecError(f"{name}: {value!r}; allowed: {', '.join(allowed)}")


def _check_size(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
        raise SpecError(f"{name}: {value!r}; allowed: whole numbers from 1 to {MAX_SIZE}")


def _check_dt(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < math.inf:
        raise SpecError(f"dt_s: {value!r}; allowed: seconds, finite and greater than 0")
    return float(value)


def _check_limits(name: str, value: Iterable[Iterable[float]] | None, count: int) -> Limits | None:
    if value is None:
        return None
    try:
        limits = tuple((float(low), float(high)) for low, high in value)
    except (TypeError, ValueError):
        raise SpecError(f"{name}: {value!r}; allowed: one (low, high) pair of numbers for each of {count}") from None
    if len(limits) != count:
        raise SpecError(f"{name}: {len(limits)} pairs; allowed: exactly {count}")
    for index, (low, high) in enumerate(limits):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SpecError(f"{name}[{index}]: ({low}, {high}); allowed: finite and low < high")
    return limits
