"""Which words of an integer state outlive a step: what C keeps, and what is sent or compared of a state.

The rest of the state is scratch, which a step writes before it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, NamedTuple

from neuroctl.cells import integer_of
from neuroctl.cells.base import Bounds, Formats
from neuroctl.spec import Spec


class Kept(NamedTuple):
    """Words of one name that lie side by side; ``storage`` is a NumPy dtype's name: int16, uint16 or int32."""

    name: str
    storage: str
    start: int
    words: int


_Storages = list[tuple[str, str]]


def _ctrnn(spec: Spec, formats: Formats, bounds: Bounds) -> _Storages:
    parts = [("y", _signed(*bounds["y"])), ("s", "int16")]
    return [*parts, ("residual", "uint16")] if "residual" in formats else parts


def _indrnn(spec: Spec, formats: Formats, bounds: Bounds) -> _Storages:
    """One storage for the layers, as C keeps them in one array."""
    reach = [bounds[f"h, layer {layer}"] for layer in range(spec.layers)]
    storage = _signed(min(low for low, _ in reach), max(high for _, high in reach))
    return [(f"h.{layer}", storage) for layer in range(spec.layers)]


def _elman(spec: Spec, formats: Formats, bounds: Bounds) -> _Storages:
    return [("s", "int16")]


def _jordan(spec: Spec, formats: Formats, bounds: Bounds) -> _Storages:
    return [("context", _signed(*bounds["context"]))]


def _hopfield(spec: Spec, formats: Formats, bounds: Bounds) -> _Storages:
    return [("s", "int16"), ("converged", "int16"), ("sweeps", "int16")]


KEPT: Final = MappingProxyType(
    {"ctrnn": _ctrnn, "indrnn": _indrnn, "elman": _elman, "jordan": _jordan, "hopfield": _hopfield}
)
"""One line a cell: the blocks of ``state_layout_q`` that outlive a step, in C's order, each with its storage."""


def kept(spec: Spec, formats: Formats, bounds: Bounds) -> tuple[Kept, ...]:
    """Return the parts of a controller's integer state that outlive a step, in C's order."""
    state = integer_of(spec).state_layout_q(spec)
    storages: Callable[[Spec, Formats, Bounds], _Storages] = KEPT[spec.cell]
    return tuple(
        Kept(name, storage, state[name].offset, state[name].size) for name, storage in storages(spec, formats, bounds)
    )


def _signed(low: int, high: int) -> str:
    return "int16" if low >= -(1 << 15) and high < 1 << 15 else "int32"
