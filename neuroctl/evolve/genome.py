"""Genomes: the search variables, and their mapping to a controller.

A cell's ``decode`` maps one gene to each parameter. An ``Encoding`` adds fixed parameters, shared weights of legs, a
search of the wiring, and integer genes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import decode, genes, layout
from neuroctl.checks import ABOVE_0, FINITE, array, choice_of, integer, number, real
from neuroctl.controller import Controller
from neuroctl.errors import LayoutError, StudyError
from neuroctl.evolve.beginning import Beginning
from neuroctl.evolve.rhythm import half_center_genes
from neuroctl.layout import Block
from neuroctl.pruning import neuron_axes, prune
from neuroctl.spec import Spec

Array = NDArray[Any]

COUPLINGS: Final = ("all", "wave")
_RECURRENT: Final = ("W", "U")
_READOUT: Final = ("W_out", "b_out", "context0")  # a Jordan network's context is of its outputs
_SENSING: Final = ("W_in", "W_in.0")
_SPAN: Final = 4.0  # largest integer gene, in units
_NONE: Final = -1  # a parameter without a gene


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Mapping of genes to parameters; the default is one gene per parameter.

    Args:
        fixed: constant gene value of each named block; these blocks are not searched. ``{"b_out": 0.0}`` centers the
            outputs in their range, ``{"W_out": 1.0}`` lets each neuron span it.
        limbs: number of equal parts of the network with the same weights, one per leg. Neurons, inputs and outputs
            are split into equal consecutive groups. Two limbs are a left and a right half. Each limb reads its own
            inputs and drives its own outputs.
        coupling: connections between limbs: ``"all"``; or ``"wave"``, a ring with connections to the next and the
            previous limb. A weight depends only on the distance of its two limbs in the ring.
        shared_inputs: number of inputs, at the end of the inputs, shared by all limbs, such as a commanded speed.
        rhythm_hz: oscillation frequency [Hz] of the first two neurons of each limb at the start of the search, for
            CTRNNs; see ``half_center_genes``. Genes are added to the oscillator's. None: the search starts from
            weights of 0.
        sparse: whether each weight between neurons has a second gene. The weight is 0 unless that gene is above 0.
        optional_neurons: whether each neuron has a gene of its own. The neuron has no effect unless that gene is
            above 0. The best controller omits neurons without a path to an output; see ``neuroctl.pruning``.
        integer_bits: 8 or 16: genes are integers of this many bits for the range from -4 to 4 units; None: genes are
            real numbers. With integers, a CTRNN's weights between neurons on the board are the genes, shifted.

    Raises:
        StudyError: a field is not allowed.

    Example:
        >>> from neuroctl import Spec
        >>> spec = Spec(cell="ctrnn", inputs=2, neurons=4, outputs=2, dt_s=0.02)
        >>> Genome(spec).size, Genome(spec, Encoding(limbs=2, fixed={"b_out": 0.0})).size
        (42, 16)

    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    limbs: int = 1
    coupling: str = "all"
    shared_inputs: int = 0
    rhythm_hz: float | None = None
    sparse: bool = False
    optional_neurons: bool = False
    integer_bits: int | None = None

    def __post_init__(self) -> None:
        """Check the fields that do not depend on a spec."""
        for name, low in (("limbs", 1), ("shared_inputs", 0)):
            object.__setattr__(self, name, integer(name, getattr(self, name), low, error=StudyError))
        if self.coupling not in COUPLINGS:
            raise StudyError(f"coupling: {self.coupling!r}; allowed: {' or '.join(COUPLINGS)}")
        if self.rhythm_hz is not None:
            allowed = "a frequency above 0, or None"
            rhythm_hz = number("rhythm_hz", self.rhythm_hz, ABOVE_0, FINITE, allowed, error=StudyError)
            object.__setattr__(self, "rhythm_hz", rhythm_hz)
        for name in ("sparse", "optional_neurons"):
            if not isinstance(getattr(self, name), bool):
                raise StudyError(f"{name}: {getattr(self, name)!r}; allowed: True or False")
        if self.integer_bits is not None:
            bits = choice_of("integer_bits", self.integer_bits, (8, 16), error=StudyError)
            object.__setattr__(self, "integer_bits", bits)
        try:
            fixed = {str(name): real(value) for name, value in dict(self.fixed).items()}
        except (TypeError, ValueError):
            fixed = {"": math.nan}
        if not all(math.isfinite(value) for value in fixed.values()):
            raise StudyError(f"fixed: {self.fixed!r}; allowed: names of blocks with a finite number each")
        object.__setattr__(self, "fixed", fixed)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


class Genome:
    """Genome of a spec under an encoding: the number of genes, and their mapping to a controller.

    Args:
        spec: the controller's spec.
        encoding: mapping of genes to its parameters.
        begin_with: parameters ``[n_params]`` that genes of 0 give; other genes change them as far as from the cell's
            usual origin, and fixed blocks keep them. None: the origin is the cell's, see ``decode``.

    Raises:
        StudyError: the encoding does not fit the spec, or ``begin_with`` does not.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> genome = Genome(Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02))
        >>> Controller(genome.spec, genome.theta(np.zeros(genome.size)))
        <Controller elman: 1 input, 2 neurons, 1 output, dt_s 0.02, 11 parameters, float32>

    """

    def __init__(self, spec: Spec, encoding: Encoding | None = None, begin_with: ArrayLike | None = None):
        self.spec, self.encoding = spec, encoding or Encoding()
        self._check()
        self._beginning = None if begin_with is None else self._begin(begin_with)
        self._source, self._searched = self._sources()
        self._start = self._oscillators()
        # Indices of the cell's genes, and of the genes that have to be above 0 for them.
        self._switches: list[tuple[Array, Array]] = []
        self.size = self._searched
        """Number of genes."""
        if self.encoding.sparse:
            self._switch_weights()
        if self.encoding.optional_neurons:
            self._switch_neurons()
        bits = self.encoding.integer_bits
        self.unit = 1.0 if bits is None else 2.0 ** (bits - 1) / _SPAN
        """Gene difference that equals one unit of the cell's ``decode``: 1 for real genes."""

    def snapped(self, x: Array) -> Array:
        """Return genes ``[..., size]`` rounded and clipped to the integer range; real genes unchanged."""
        bits = self.encoding.integer_bits
        if bits is None:
            return x
        limit = 2.0 ** (bits - 1) - 1
        return np.asarray(np.clip(np.rint(x), -limit, limit) + 0.0)  # + 0.0: no minus zero

    def theta(self, x: Array) -> Array:
        """Map genes ``[size]`` or ``[P, size]`` to parameters ``[n_params]`` or ``[P, n_params]``.

        Raises:
            LayoutError: the genes have another shape or are not finite, or a parameter is out of bounds.

        """
        x = np.asarray(array("genes", x, f"({self.size},) or (P, {self.size}) of finite numbers"), np.float64)
        if x.ndim not in (1, 2) or x.shape[-1] != self.size or not np.isfinite(x).all():
            raise LayoutError(f"genes: shape {x.shape}; allowed: ({self.size},) or (P, {self.size}) of finite numbers")
        x = self.snapped(x) / self.unit
        cell_genes = x[..., self._source]
        cell_genes[..., self._source == _NONE] = 0.0
        cell_genes += self._start
        for name, value in self.encoding.fixed.items():
            cell_genes[..., genes(self.spec)[name].part] = value if self._beginning is None else 0.0
        if self._beginning is not None:
            return self._beginning(cell_genes)
        for places, needed in self._switches:
            cell_genes[..., places] *= x[..., needed] > 0
        return decode(self.spec, cell_genes)

    def controller(self, x: Array) -> Controller:
        """Return the controller of one genome, float ``[size]``.

        A CTRNN with ``sparse`` genes gets a mask of its nonzero weights. With ``optional_neurons``, neurons without a
        path to an output are removed, so the controller may have fewer neurons than the spec.

        Raises:
            LayoutError: see ``theta``.

        """
        spec, theta = self.spec, self.theta(x)
        if self.encoding.sparse and spec.cell == "ctrnn":
            wired = layout(spec).views(theta)["W"] != 0
            spec = replace(spec, mask=tuple(tuple(int(entry) for entry in row) for row in wired))
        controller = Controller(spec, theta)
        return prune(controller) if self.encoding.optional_neurons else controller

    def _begin(self, begin_with: ArrayLike) -> Beginning:
        encoding = self.encoding
        for name in ("rhythm_hz", "sparse", "optional_neurons", "integer_bits"):
            if getattr(encoding, name):
                raise StudyError(
                    f"{name}: {getattr(encoding, name)}; allowed with begin_with: {getattr(Encoding, name)}"
                )
        try:
            return Beginning(self.spec, layout(self.spec).coerce(begin_with, self.spec.dtype, "begin_with"))
        except LayoutError as error:
            raise StudyError(str(error)) from None

    def _check(self) -> None:
        spec, encoding = self.spec, self.encoding
        names = list(genes(spec).blocks)
        for name in encoding.fixed:
            if name not in names:
                raise StudyError(f"fixed: {name!r}; allowed for {spec.cell}: {', '.join(names)}")
        if encoding.optional_neurons:
            neuron_axes(spec)  # raises for cells whose neurons cannot be left out
        if encoding.limbs == 1 and not encoding.sparse:
            return
        if encoding.limbs > 1 and spec.dense:
            raise StudyError(f"limbs: {encoding.limbs}; allowed with dense layers: 1")
        if encoding.limbs > 1 and spec.backbone:
            raise StudyError(f"limbs: {encoding.limbs}; allowed with a backbone: 1")
        if spec.cell == "hopfield" or spec.mask is not None:
            which = "a hopfield network" if spec.cell == "hopfield" else "a spec with a mask"
            raise StudyError(f"encoding: {which}; allowed for limbs and sparse: other cells, without a mask")
        if encoding.sparse and spec.backbone:
            raise StudyError("sparse: True; allowed: weights between neurons, not a backbone")
        if encoding.sparse and not self._wires():
            raise StudyError(f"sparse: True; allowed: a cell with weights between neurons, not {spec.cell}")
        limb_inputs = spec.inputs - encoding.shared_inputs
        for name, count in (("neurons", spec.neurons), ("inputs", limb_inputs), ("outputs", spec.outputs)):
            if count % encoding.limbs or count < 0:
                extra = f" besides {encoding.shared_inputs} shared" if name == "inputs" else ""
                raise StudyError(f"limbs: {encoding.limbs}; allowed: divisors of {count} {name}{extra}")

    def _oscillators(self) -> Array:
        if self.encoding.rhythm_hz is None:
            return np.zeros(genes(self.spec).size)
        per_limb = self.spec.neurons // self.encoding.limbs
        if per_limb < 2:
            raise StudyError(f"rhythm_hz: {per_limb} neuron a limb; allowed: from 2")
        pairs = [(limb * per_limb, limb * per_limb + 1) for limb in range(self.encoding.limbs)]
        return half_center_genes(self.spec, pairs, self.encoding.rhythm_hz)

    def _wires(self) -> list[str]:
        n = self.spec.neurons
        blocks = genes(self.spec).blocks
        return [
            name for name, block in blocks.items()
            if name.partition(".")[0] in _RECURRENT and block.shape in ((n, n), (3 * n, n))
        ]  # fmt: skip

    def _switch_weights(self) -> None:
        """Add a gene for each searched weight between neurons; tied weights share it."""
        blocks = genes(self.spec).blocks
        places = np.concatenate([np.arange(blocks[n].size) + blocks[n].offset for n in self._wires()])
        places = places[self._source[places] != _NONE]
        distinct, needed = np.unique(self._source[places], return_inverse=True)
        self._switches.append((places, self.size + needed))
        self.size += len(distinct)

    def _switch_neurons(self) -> None:
        """Add a gene for each neuron that switches all its weights to others; limbs share them."""
        blocks, axes = genes(self.spec).blocks, neuron_axes(self.spec, genes)
        keys = self._tied(Block("neurons", 0, (self.spec.neurons,)))
        index_of = {key: self.size + k for k, key in enumerate(dict.fromkeys(keys))}
        gene_of = np.array([index_of[key] for key in keys])
        sent = [block for name, block in blocks.items() if len(block.shape) == 2 and 1 in axes[name]]
        places = [np.arange(block.size) + block.offset for block in sent]
        needed = [np.broadcast_to(gene_of, block.shape).ravel() for block in sent]
        self._switches.append((np.concatenate(places), np.concatenate(needed)))
        self.size += len(index_of)

    def _sources(self) -> tuple[Array, int]:
        """Return for each of the cell's genes the index of the gene that gives it, and the number of genes."""
        source = np.full(genes(self.spec).size, _NONE)
        count = 0
        for block in genes(self.spec).blocks.values():
            if block.name in self.encoding.fixed:
                continue
            tied = self._tied(block)
            index_of = {key: count + k for k, key in enumerate(dict.fromkeys(key for key in tied if key is not None))}
            source[block.part] = [_NONE if key is None else index_of[key] for key in tied]
            count += len(index_of)
        return source, count

    def _tied(self, block: Block) -> list[tuple[int, ...] | None]:
        """Return a key for each gene of a block; equal keys share a gene, None is 0."""
        if self.encoding.limbs == 1:
            return [(k,) for k in range(block.size)]
        if len(block.shape) == 1:
            part = self._rows_of_a_gate(block)
            per_limb = part // self.encoding.limbs
            return [(k // part, k % part % per_limb) for k in range(block.size)]
        return [self._pair(block, to, source) for to in range(block.shape[0]) for source in range(block.shape[1])]

    def _rows_of_a_gate(self, block: Block) -> int:
        """Return the number of rows that belong to different neurons or outputs; GRU and CfC have three such parts."""
        rows = block.shape[0]
        return rows if block.name in _READOUT else min(rows, self.spec.neurons)

    def _pair(self, block: Block, to: int, source: int) -> tuple[int, ...] | None:
        """Return the key of a weight: gate, the distance of the limbs, and the places in them."""
        limbs, rows, columns = self.encoding.limbs, self._rows_of_a_gate(block), block.shape[1]
        gate, to = divmod(to, rows)
        rows //= limbs
        senses = block.name in _SENSING
        if senses:
            columns -= self.encoding.shared_inputs
            if source >= columns:
                return (gate, _NONE, to % rows, source)
        columns //= limbs
        apart = (source // columns - to // rows) % limbs
        reach = (0,) if senses or block.name in _READOUT else (0, 1, limbs - 1)
        everywhere = self.encoding.coupling == "all" and len(reach) > 1
        return (gate, apart, to % rows, source % columns) if everywhere or apart in reach else None
