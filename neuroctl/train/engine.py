"""What works on sequences: a kernel and its blocks of lanes on the CPU, or a GPU."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.blocks import thread_count
from neuroctl.maths.packs import lanes_of
from neuroctl.spec import Spec
from neuroctl.train.blocks import MAX_STEPS_A_SUM, Block, Key
from neuroctl.train.data import Sequences
from neuroctl.train.kernel import gradient_kernel
from neuroctl.train.passes import DevicePass, Pass
from neuroctl.train.places import Places
from neuroctl.train.scanned import Scan

Array = NDArray[Any]

_TAPE_BYTES: Final = 4 << 20  # longer runs are cut into segments: to step again is faster than to leave the cache
_WARP: Final = 32  # of a GPU's sequences, what a block is on the CPU


class Engine:
    """Runs sequences on the CPU, in blocks that its threads share.

    Args:
        spec: of the controllers.
        places: of its adjoint.
        threads: how many to use; None: one a core.
        segment: steps between two states that are kept; None: as many as fit into 4 MB.
        scan: in time, where that is faster; None: never.

    """

    form: type[Pass] = Pass

    def __init__(self, spec: Spec, places: Places, threads: int | None, segment: int | None, scan: Scan | None):
        self.spec, self.places, self.segment, self.scan = spec, places, segment, scan
        self.threads, self.width = thread_count(threads), 2 * lanes_of(spec.dtype)
        self.kernel = self._kernel()
        self._free: list[Block] = []
        self._lock = threading.Lock()

    def _kernel(self) -> Any:
        return gradient_kernel(self.spec)

    def begin(
        self, theta: Array, data: Sequences, states: Array, code: int, details: bool, with_inputs: bool
    ) -> Pass:  # fmt: skip
        """Return a pass of sequences, to be taken forward or back: see ``Pass``."""
        return self.form(self, theta, data, states, code, details, with_inputs)

    def steps_kept(self, steps: int) -> int:
        """Return the steps of a segment."""
        row = self.places.tape_row * self.width * np.dtype(self.spec.dtype).itemsize
        return min(self.segment or max(MAX_STEPS_A_SUM, _TAPE_BYTES // row), steps)

    def tape_bytes(self, steps: int) -> int:
        """Return the memory that one block of sequences keeps of so many steps: states and a segment's tape."""
        kept = self.steps_kept(steps)
        rows = -(-steps // kept) * self.places.state.size + (kept + 1) * self.places.tape_row
        return rows * self.width * np.dtype(self.spec.dtype).itemsize

    def take(self, key: Key) -> Block:
        """Return a block that no other thread works on."""
        with self._lock:
            for index, block in enumerate(self._free):
                if block.key == key:
                    return self._free.pop(index)
        return self._block(key)

    def _block(self, key: Key) -> Block:
        return Block(self.spec, self.places, key, self.steps_kept(key.steps))

    def give_back(self, block: Block) -> None:
        """Keep a block for the next one of its kind."""
        with self._lock:
            self._free = [*self._free[-(2 * self.threads) :], block]


class DeviceEngine(Engine):
    """Runs sequences on a GPU, all at once; arguments as of ``Engine``, threads those of a block."""

    form = DevicePass

    def __init__(self, spec: Spec, places: Places, threads: int | None, segment: int | None):
        super().__init__(spec, places, None, segment, None)
        self.width = _WARP
        self.device = import_module("neuroctl.train.cuda").Device(spec, places, threads)

    def _kernel(self) -> Any:
        return None
