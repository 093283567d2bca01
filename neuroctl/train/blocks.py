"""Blocks of sequences, in lanes: the arrays that one thread works on, and how sequences come in and go out."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.blocks import aligned
from neuroctl.maths.jit import jit_exact_rows
from neuroctl.maths.packs import lanes_of
from neuroctl.spec import Spec
from neuroctl.train.places import Places

Array = NDArray[Any]

_DELTAS_BYTES: Final = 512 << 10  # between two sums of products: they stay in the cache
MAX_STEPS_A_SUM: Final = 32
"""Largest number of steps between two sums of products."""


class Key(NamedTuple):
    """What tells blocks apart.

    Args:
        steps: length of the sequences.
        own: whether each lane has parameters of its own.
        masked: whether each step has a weight of its own.
        with_inputs: whether the changes with the inputs are kept.
        resets: whether episodes begin within the sequences.

    """

    steps: int
    own: bool
    masked: bool
    with_inputs: bool
    resets: bool = False


class Episodes:
    """What a kernel takes besides a block's arrays where episodes begin within its sequences.

    Args:
        places: of the adjoint.
        steps: length of the sequences.
        dtype: of the controllers.

    """

    def __init__(self, places: Places, steps: int, dtype: str):
        def rows(*shape: int) -> Array:
            return aligned((*shape, 2, lanes_of(dtype)), dtype)

        self.resets = rows(steps)
        """Not 0 where an episode begins at a step."""
        self.start = rows(places.state.size)
        """The state that episodes begin with."""
        self.begun, self.aside, self.spare = (rows(places.carry.size) for _ in range(3))
        self._sums = places.sums
        self.lanes = {
            "resets": self.resets.reshape(steps, 1, -1), "start": self.start.reshape(1, len(self.start), -1)
        }  # fmt: skip

    def arguments(self) -> tuple[Array, ...]:
        """Return the kernel's arguments between theta and the state."""
        return self.resets, self.start, self.begun, self.aside, self.spare, self._sums


class Block:
    """The arrays that one thread works on: lanes of sequences of one length."""

    def __init__(self, spec: Spec, places: Places, key: Key, segment: int):
        self.key = key
        steps, own, masked, with_inputs, resets = key
        width = lanes_of(spec.dtype)
        itemsize = np.dtype(spec.dtype).itemsize

        def rows(*shape: int) -> Array:
            return aligned((*shape, 2, width), spec.dtype)

        self.segment = segment
        self.steps_a_sum = min(max(_DELTAS_BYTES // (places.deltas_row * 2 * width * itemsize), 4), MAX_STEPS_A_SUM)
        self.theta = rows(places.params.size) if own else None
        self.state, self.u = rows(places.state.size), rows(steps, spec.inputs)
        self.out, self.target, self.d_out = (rows(steps, spec.outputs) for _ in range(3))
        self.weight = rows(steps if masked else 1)
        self.losses = np.zeros(2 * width)
        self.checkpoints = rows(-(-steps // segment) + 1, places.state.size)
        self.tape = rows((2 * segment if resets else segment + 1) * places.tape_row)
        self.deltas = rows(self.steps_a_sum * places.deltas_row)
        self.carry = rows(places.carry.size)
        self.grad = rows(places.params.size) if own else aligned((places.params.size,), spec.dtype)
        self.du = rows(steps * spec.inputs if with_inputs else 0)
        # The same arrays with all lanes as one axis.
        self.lanes = {
            name: getattr(self, name).reshape(steps, -1, 2 * width)
            for name in ("u", "out", "target", "d_out", *(("du",) if with_inputs else ()))
        }
        for name in ("state", "carry", *(("theta",) if own else ())):
            self.lanes[name] = getattr(self, name).reshape(1, -1, 2 * width)
        self.lanes["weight"] = self.weight.reshape(-1, 1, 2 * width)
        self.places, self.stepped = places, self.state
        self.episodes = Episodes(places, steps, spec.dtype) if resets else None
        self.lanes |= {} if self.episodes is None else self.episodes.lanes

    def arguments(self, pieces: Array, floats: Array, sums: Array) -> tuple[Any, ...]:
        """Return the kernel's arguments from the state on; pieces, floats and sums as ``Places`` has them."""
        places, lanes = self.places, self.lanes
        return (
            self.stepped, self.u, self.out, self.d_out.reshape(-1, *self.d_out.shape[2:]), lanes["out"],
            lanes["target"], lanes["weight"][:, 0], lanes["d_out"], self.losses, self.checkpoints, self.segment, pieces,
            self.tape, places.tape_row, self.deltas, places.deltas_row, self.carry, places.products, sums,
            self.grad, self.du, places.w_in if self.key.with_inputs else -1, places.ints, floats, self.steps_a_sum,
        )  # fmt: skip


@jit_exact_rows
def to_lanes(values: Array, first: Any, out: Array) -> None:
    """Copy ``[T, B, K]`` to ``[T, K, L]``, from sequence ``first`` on; the last one fills what is left over."""
    whole = max(0, min(out.shape[2], values.shape[1] - first))
    for t in range(values.shape[0]):
        for k in range(np.uint64(values.shape[2])):
            for p in range(np.uint64(whole)):
                out[t, k, p] = values[t, np.uint64(first) + p, k]
            for p in range(np.uint64(whole), np.uint64(out.shape[2])):
                out[t, k, p] = values[t, values.shape[1] - 1, k]


@jit_exact_rows
def from_lanes(lanes: Array, first: Any, values: Array) -> None:
    """Copy ``[T, K, L]`` to ``[T, B, K]``, from sequence ``first`` on, as many as there are left."""
    count = min(lanes.shape[2], values.shape[1] - first)
    for t in range(values.shape[0]):
        for p in range(count):
            for k in range(np.uint64(values.shape[2])):
                values[t, first + p, k] = lanes[t, k, p]
