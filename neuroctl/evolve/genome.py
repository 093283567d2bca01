"""Genomes: what is searched, and how it becomes a controller.

The cells' ``decode`` maps one gene a parameter. An ``Encoding`` lays over it: parameters that are not searched, legs
that share their weights, and wiring that is searched too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import decode, genes, layout
from neuroctl.controller import Controller
from neuroctl.errors import LayoutError, StudyError
from neuroctl.layout import Block
from neuroctl.spec import Spec

Array = NDArray[Any]

COUPLINGS: Final = ("all", "wave")
_RECURRENT: Final = ("W", "U")
_SENSING: Final = ("W_in", "W_in.0")
_NONE: Final = -1  # a parameter without a gene


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How genes become parameters; the default is one gene a parameter.

    Args:
        fixed: blocks of the cell's genes that hold one number throughout and are not searched: ``{"b_out": 0.0}``
            keeps the outputs' middle in the middle of their range, ``{"W_out": 1.0}`` lets each neuron span it.
        limbs: the network is so many equal parts that share their weights, one a leg: neurons, inputs and outputs are
            split into as many equal runs. Two limbs are a left and a right half. A part reads its own inputs and
            drives its own outputs.
        coupling: which parts hear each other. ``"all"``; or ``"wave"``, a ring in which each hears the next and the
            one before. A weight depends on how far apart two parts are in the ring, and on nothing else.
        shared_inputs: so many of the last inputs belong to no limb, and reach all alike: a commanded speed.
        sparse: each weight between neurons has a second gene, and is 0 unless that is above 0.

    Raises:
        StudyError: a field is not allowed.

    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    limbs: int = 1
    coupling: str = "all"
    shared_inputs: int = 0
    sparse: bool = False

    def __post_init__(self) -> None:
        """Check what does not depend on a spec."""
        for name, low in (("limbs", 1), ("shared_inputs", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise StudyError(f"{name}: {value!r}; allowed: whole numbers from {low}")
        if self.coupling not in COUPLINGS:
            raise StudyError(f"coupling: {self.coupling!r}; allowed: {' or '.join(COUPLINGS)}")
        if not isinstance(self.sparse, bool):
            raise StudyError(f"sparse: {self.sparse!r}; allowed: True or False")
        try:
            fixed = {str(name): float(value) for name, value in dict(self.fixed).items()}
        except (TypeError, ValueError):
            fixed = {"": math.nan}
        if not all(math.isfinite(value) for value in fixed.values()):
            raise StudyError(f"fixed: {self.fixed!r}; allowed: names of blocks with a finite number each")
        object.__setattr__(self, "fixed", fixed)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


class Genome:
    """The genome of a spec under an encoding.

    Args:
        spec: the controller.
        encoding: how genes become its parameters.

    Raises:
        StudyError: the encoding does not fit the spec.

    """

    def __init__(self, spec: Spec, encoding: Encoding | None = None):
        self.spec, self.encoding = spec, encoding or Encoding()
        self._check()
        self._source, self._searched = self._sources()
        self._gates = self._gated() if self.encoding.sparse else np.zeros(0, np.intp)
        self.size = self._searched + len(np.unique(self._source[self._gates]))
        """Number of genes."""

    def theta(self, x: Array) -> Array:
        """Map genes ``[size]`` or ``[P, size]`` to parameters ``[n_params]`` or ``[P, n_params]``. Pure.

        Raises:
            LayoutError: not finite, or outside of theta's bounds.

        """
        x = np.asarray(x, np.float64)
        if x.ndim not in (1, 2) or x.shape[-1] != self.size or not np.isfinite(x).all():
            raise LayoutError(f"genes: shape {x.shape}; allowed: ({self.size},) or (P, {self.size}) of finite numbers")
        found = x[..., self._source]
        found[..., self._source == _NONE] = 0.0
        for name, value in self.encoding.fixed.items():
            found[..., genes(self.spec)[name].part] = value
        if self._gates.size:
            _, gate = np.unique(self._source[self._gates], return_inverse=True)
            found[..., self._gates] *= x[..., self._searched + gate] > 0
        return decode(self.spec, found)

    def controller(self, x: Array) -> Controller:
        """Return the controller of a genome ``[size]``; a CTRNN whose wiring was searched has it as its mask."""
        spec, theta = self.spec, self.theta(x)
        if self.encoding.sparse and spec.cell == "ctrnn":
            wired = layout(spec).views(theta)["W"] != 0
            spec = replace(spec, mask=tuple(tuple(int(entry) for entry in row) for row in wired))
        return Controller(spec, theta)

    def _check(self) -> None:
        spec, encoding = self.spec, self.encoding
        names = list(genes(spec).blocks)
        for name in encoding.fixed:
            if name not in names:
                raise StudyError(f"fixed: {name!r}; allowed for {spec.cell}: {', '.join(names)}")
        if encoding.limbs == 1 and not encoding.sparse:
            return
        if spec.cell == "hopfield" or spec.mask is not None:
            which = "a hopfield network" if spec.cell == "hopfield" else "a spec with a mask"
            raise StudyError(f"encoding: {which}; allowed for limbs and sparse: other cells, without a mask")
        if encoding.sparse and not self._wires():
            raise StudyError(f"sparse: True; allowed: a cell with weights between neurons, not {spec.cell}")
        own = spec.inputs - encoding.shared_inputs
        for name, count in (("neurons", spec.neurons), ("inputs", own), ("outputs", spec.outputs)):
            if count % encoding.limbs or count < 0:
                extra = f" besides {encoding.shared_inputs} shared" if name == "inputs" else ""
                raise StudyError(f"limbs: {encoding.limbs}; allowed: divisors of {count} {name}{extra}")

    def _wires(self) -> list[str]:
        n = self.spec.neurons
        blocks = genes(self.spec).blocks
        return [name for name in _RECURRENT if name in blocks and blocks[name].shape == (n, n)]

    def _gated(self) -> Array:
        """Return the places of the cell's own genes that a gate can switch off."""
        blocks = genes(self.spec).blocks
        parts = [np.arange(blocks[name].size) + blocks[name].offset for name in self._wires()]
        places = np.concatenate(parts)
        gated: Array = places[self._source[places] != _NONE]
        return gated

    def _sources(self) -> tuple[Array, int]:
        """Return for each of the cell's own genes which of ours it is, and how many we have."""
        source = np.full(genes(self.spec).size, _NONE)
        count = 0
        for block in genes(self.spec).blocks.values():
            if block.name in self.encoding.fixed:
                continue
            tied = self._tied(block)
            known = {key: count + k for k, key in enumerate(dict.fromkeys(key for key in tied if key is not None))}
            source[block.part] = [_NONE if key is None else known[key] for key in tied]
            count += len(known)
        return source, count

    def _tied(self, block: Block) -> list[tuple[int, ...] | None]:
        """Return a key for each gene of a block; equal keys share a gene, None is 0."""
        if self.encoding.limbs == 1:
            return [(k,) for k in range(block.size)]
        if len(block.shape) == 1:
            own = block.size // self.encoding.limbs
            return [(k % own,) for k in range(block.size)]
        return [self._pair(block, to, source) for to in range(block.shape[0]) for source in range(block.shape[1])]

    def _pair(self, block: Block, to: int, source: int) -> tuple[int, ...] | None:
        """Return the key of a weight: how far apart the limbs are, and the places in them."""
        limbs, (rows, columns) = self.encoding.limbs, block.shape
        rows //= limbs
        senses = block.name in _SENSING
        if senses:
            columns -= self.encoding.shared_inputs
            if source >= columns:
                return (_NONE, to % rows, source)
        columns //= limbs
        apart = (source // columns - to // rows) % limbs
        reach = (0,) if senses or block.name == "W_out" else (0, 1, limbs - 1)
        everywhere = self.encoding.coupling == "all" and len(reach) > 1
        return (apart, to % rows, source % columns) if everywhere or apart in reach else None
