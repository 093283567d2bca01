"""Where a cell's adjoint finds and leaves things: what kernels are told of a spec."""

from __future__ import annotations

import numpy as np

from neuroctl.cells import adjoint_of, cell_of, initial_blocks, step_floats, step_ints
from neuroctl.cells.base import first_weights, input_map
from neuroctl.layout import Layout
from neuroctl.spec import Spec


class Places:
    """Where a cell's adjoint finds and leaves things, as kernels are told: offsets and sizes."""

    def __init__(self, spec: Spec):
        cell, adjoint = cell_of(spec), adjoint_of(spec)
        theta = cell.layout(spec)
        self.state = cell.state_layout(spec)
        self.carry, self.deltas = adjoint.carry(spec), adjoint.deltas(spec)
        names = (*adjoint.tape(spec), "u", "held")
        self.tape = Layout(*((name, self.state[name].shape, "1") for name in names))
        # Odd numbers of rows from one step to the next: multiples of 4 KB would share a few places of the cache.
        self.tape_row, self.deltas_row = self.tape.size | 1, self.deltas.size | 1
        self.pieces = np.array(
            [(self.state[name].offset, self.tape[name].offset, self.tape[name].size) for name in names]
        )
        self.products = np.array(
            [
                (
                    self.deltas[product.delta].offset,
                    self.deltas[product.delta].size,
                    self.tape[product.factor].offset + (0 if product.before else self.tape_row),
                    self.tape[product.factor].size,
                    theta[product.block].offset,
                )
                for product in adjoint.products(spec)
            ]
        )
        # What theta's blocks get from the carry: those of the same name, and where the state starts from.
        learned = initial_blocks(spec)
        sources = {name: learned.get(name, name) for name in self.carry.blocks}
        self.sums = np.array(
            [
                (self.carry[name].offset, theta[source].offset, theta[source].size)
                for name, source in sources.items()
                if source in theta
            ]
        )
        self.unlearned_sums = np.array(
            [row for name, row in zip(
                (name for name, source in sources.items() if source in theta), self.sums.tolist(), strict=True
            ) if name not in learned]
        ).reshape(-1, 3)  # fmt: skip
        """Those of ``sums`` that do not tell of the state before the first step."""
        self.states = [(self.state[name].part, block.part) for name, block in self.carry.blocks.items()
                       if name in self.state and name in names]  # fmt: skip
        self.w_in = theta[first_weights(theta)].offset
        self.ints, self.floats = step_ints(spec), step_floats(spec)
        self.params = theta
        masks = [np.ones(block.size) if block.mask is None else np.ravel(block.mask) for block in theta.blocks.values()]
        self.gains = input_map(spec)[1].astype(spec.dtype)
        self.wired = np.concatenate(masks).astype(spec.dtype)
        """1 where a parameter counts, 0 where a mask is 0."""
        self.going_on = self.wired.copy()
        """The same where the state before the first step is no reset's: it does not follow from theta."""
        for source in learned.values():
            self.going_on[theta[source].part] = 0
