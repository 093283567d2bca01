"""Layout: the named blocks of a flat vector, with shapes, units and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import array, cast, finite
from neuroctl.errors import LayoutError


@dataclass(frozen=True)
class Block:
    """One named part of a flat vector.

    Args:
        name: the block's name, such as ``"W"``; matrices are ``[to, from]``.
        offset: index of its first element in the flat vector.
        shape: its shape, row-major.
        unit: physical unit of its elements; ``"1"`` for plain numbers.
        low: smallest allowed value, exclusive unless infinite.
        high: largest allowed value, exclusive unless infinite.
        mask: rows of 0 and 1 for a matrix; where 0 the value has to be 0. None allows all.

    """

    name: str
    offset: int
    shape: tuple[int, ...]
    unit: str = "1"
    low: float = -math.inf
    high: float = math.inf
    mask: tuple[tuple[int, ...], ...] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def part(self) -> slice:
        """The block's slice of the flat vector."""
        return slice(self.offset, self.offset + self.size)


def cache_layout(function: Callable[[Any], Layout]) -> Callable[[Any], Layout]:
    """Cache the layouts of a function of a spec: they never change, and evolution needs them all the time."""
    return lru_cache(maxsize=256)(function)


class Layout:
    """An ordered set of blocks that tile a flat vector without gaps.

    Example:
        >>> layout = Layout(("W", (2, 2), "1"), ("tau_s", (2,), "s", 0.0))
        >>> layout
        <Layout W[2, 2], tau_s[2]: 6 numbers>
        >>> layout.views(np.arange(6.0))["tau_s"]
        array([4., 5.])

    """

    def __init__(self, *blocks: tuple[Any, ...]):
        """Place blocks, given as ``(name, shape, unit[, low, high[, mask]])``, one after the other."""
        placed: dict[str, Block] = {}
        offset = 0
        for name, shape, unit, *bounds in blocks:
            placed[name] = Block(name, offset, shape, unit, *bounds)
            offset += placed[name].size
        self.blocks: Mapping[str, Block] = MappingProxyType(placed)
        self.size = offset

    def __getstate__(self) -> dict[str, Any]:
        return {"blocks": dict(self.blocks), "size": self.size}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.blocks, self.size = MappingProxyType(saved["blocks"]), saved["size"]

    def __repr__(self) -> str:
        blocks = ", ".join(f"{block.name}{list(block.shape)}" for block in self.blocks.values())
        return f"<Layout {blocks}: {self.size} numbers>"

    def __getitem__(self, name: str) -> Block:
        return self.blocks[name]

    def __contains__(self, name: object) -> bool:
        return name in self.blocks

    def views(self, flat: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Return writable, reshaped views of ``flat`` by block name.

        Args:
            flat: any dtype ``[size]``, C-contiguous; trailing axes (lanes) are kept.

        """
        return MappingProxyType(
            {name: flat[block.part].reshape(block.shape + flat.shape[1:]) for name, block in self.blocks.items()}
        )

    def rows(self, flat: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Return writable, reshaped views by block name of ``flat`` ``[..., size]``; leading axes are kept."""
        return MappingProxyType(
            {name: flat[..., block.part].reshape(flat.shape[:-1] + block.shape) for name, block in self.blocks.items()}
        )

    def coerce(self, values: object, dtype: str, name: str = "theta") -> NDArray[Any]:
        """Return a checked, C-contiguous copy of ``values`` in ``dtype``.

        Raises:
            LayoutError: wrong length or shape, not numbers, NaN or Inf, or out of a block's bounds.

        """
        numbers = array(name, values, f"{self.size} numbers")
        if numbers.shape != (self.size,):
            raise LayoutError(f"{name}: shape {numbers.shape}; allowed: ({self.size},)")
        flat = cast(numbers.astype(np.float64), dtype)  # by way of float64: integers are rounded once
        self.check(flat, name)
        return flat

    def _allows(self, flat: NDArray[Any]) -> bool:
        """Whether all values are within their bounds, and 0 where a mask is 0: a quick check of the usual case."""
        bounded, low, high, masked = _bounded(self, flat.dtype)
        if not finite(flat) or (masked.size and flat[masked].any()):
            return False
        if not bounded.size:
            return True
        column, numbers = (-1,) + (1,) * (flat.ndim - 1), flat[bounded]
        return bool(((numbers > low.reshape(column)) & (numbers < high.reshape(column))).all())

    def check(self, flat: NDArray[Any], name: str = "theta") -> None:
        """Check a flat vector's values, or those of lanes ``[size, P]``, against each block's bounds.

        Raises:
            LayoutError: a value is NaN, infinite or out of bounds; the message names block and index.

        """
        if self._allows(flat):
            return
        for block in self.blocks.values():
            values = flat[block.part]
            bad = ~(np.isfinite(values) & (values > block.low) & (values < block.high))
            if bad.any():
                first = int(np.argmax(bad))
                index = [int(i) for i in np.unravel_index(first, block.shape + flat.shape[1:])]
                bounds = f"greater than {block.low:g}" if math.isfinite(block.low) else "finite"
                if math.isfinite(block.high):
                    bounds += f" and less than {block.high:g}"
                raise LayoutError(
                    f"{name}: {block.name}{index} is {values.flat[first]}; allowed: {bounds} [{block.unit}]"
                )
            if block.mask is not None and (stray := values[np.ravel(block.mask) == 0]).any():
                raise LayoutError(
                    f"{name}: {block.name} has {np.count_nonzero(stray)} weights where mask is 0; allowed: 0"
                )


@lru_cache(maxsize=256)
def bounds_of(layout: Layout, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.intp]]:
    """Return lower and upper bounds of each element, in a dtype, and the indices where a mask is 0."""
    blocks = layout.blocks.values()
    masked = [b.offset + np.flatnonzero(np.ravel(b.mask) == 0) for b in blocks if b.mask is not None]
    low = np.concatenate([np.full(b.size, b.low, dtype) for b in blocks] or [np.empty(0, dtype)])
    high = np.concatenate([np.full(b.size, b.high, dtype) for b in blocks] or [np.empty(0, dtype)])
    return low, high, np.concatenate([*masked, np.empty(0, np.intp)]).astype(np.intp)


@lru_cache(maxsize=256)
def _bounded(layout: Layout, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """Return the indices of elements that have a bound, their lower and upper ones, and where a mask is 0."""
    low, high, masked = bounds_of(layout, dtype)
    bounded = np.flatnonzero(np.isfinite(low) | np.isfinite(high))
    return bounded, low[bounded], high[bounded], masked
