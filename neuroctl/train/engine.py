"""What works on sequences, a kernel and its blocks of lanes on the CPU or a GPU, and one pass through time and back."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.blocks import spread, thread_count
from neuroctl.cells import start_state
from neuroctl.checks import finite
from neuroctl.errors import DivergedError, TrainingError
from neuroctl.maths.packs import lanes_of
from neuroctl.maths.subnormals import Flushed
from neuroctl.spec import Spec
from neuroctl.train.blocks import MAX_STEPS_A_SUM, Block, Key, from_lanes, to_lanes
from neuroctl.train.data import Sequences
from neuroctl.train.kernel import episodes_kernel, gradient_kernel
from neuroctl.train.losses import FORWARD_ONLY, LOSSES, add_loss
from neuroctl.train.places import Places
from neuroctl.train.scanned import Run, Scan

Array = NDArray[Any]

_WHOLE_BYTES: Final = 128 << 20  # of a tape that is kept whole: it is read back faster than steps are taken again
_TAPE_BYTES: Final = 4 << 20  # of a segment's tape, of longer runs: more would be no faster
_WARP: Final = 32  # of a GPU's sequences, what a block is on the CPU


class Pass:
    """One run of sequences through time and back, block by block."""

    def __init__(
        self, engine: Engine, theta: Array, data: Sequences, states: Array | None, code: int, details: bool,
        with_inputs: bool,
    ):  # fmt: skip
        self.engine, self.spec, self.places = engine, engine.spec, engine.places
        self.parameters, self.data, self.code, self.details = theta, data, code, details
        size = self.places.state.size
        self.states = np.ascontiguousarray(
            start_state(self.spec, theta).reshape(size, -1).T if states is None else states
        )
        self.sums, self.counts = self.places.sums, self.places.wired if states is None else self.places.going_on
        if data.resets is not None:  # a start within a sequence follows from theta, whatever it began with
            self.start = np.ascontiguousarray(start_state(self.spec, theta).reshape(size, -1).T)
            self.sums = self.places.sums if states is None else self.places.unlearned_sums
            self.counts = self.places.wired
        self.steps, self.lanes = data.inputs.shape[:2]
        self.own = theta.ndim == 2
        self.key = Key(self.steps, self.own, data.mask is not None, with_inputs, data.resets is not None)
        self.firsts = range(0, self.lanes, engine.width)
        self.loss: Any = None
        self.theta = np.zeros(0)  # the gradient, once there is one
        self.value: float | None = None
        self.changes: Array | None = None
        dtype = self.spec.dtype
        self.losses = np.empty(self.lanes)
        self.faults = np.empty(self.lanes, dtype)
        self.grads = np.empty((len(self.firsts), self.places.params.size, engine.width if self.own else 1), dtype)
        if details:
            self.outputs = np.empty((self.steps, self.lanes, self.spec.outputs), dtype)
            self.final = np.empty((size, self.lanes), dtype)
            self.first = np.zeros((size, self.lanes), dtype)
        self.inputs = np.empty_like(data.inputs) if with_inputs else None
        self.scale = self._scale()

    def _scale(self) -> Array:
        """Return the weight of one step of each sequence in its loss, ``[1, B, 1]`` or ``[T, B, 1]``."""
        each = 1 if self.code == LOSSES["cross_entropy"] else self.spec.outputs
        mask = self.data.mask
        if mask is None:
            count = self.steps * (1 if self.own else self.lanes)
            return np.full((1, 1, 1), 1.0 / (count * each), self.spec.dtype)
        total = mask.sum(axis=0, dtype=np.float64)
        if not self.own:
            total = total.sum(keepdims=True)
        if not total.all():
            raise TrainingError(f"mask: all 0 for sequence {int(np.argmin(total))}; allowed: a step that counts")
        return np.ascontiguousarray((mask / (total * each)).astype(self.spec.dtype)[:, :, None])

    def provide(self, value: float, changes: Array) -> None:
        """Take the loss, and its change with the outputs, from elsewhere."""
        self.value, self.changes = value, changes

    def forward(self) -> None:
        """Step all sequences, for their outputs and ``loss`` alone."""
        self._spread(FORWARD_ONLY)
        self.loss = self.losses if self.own else float(self.losses.sum())

    def backward(self) -> None:
        """Step all sequences and go back, for ``loss``, ``theta``, and the details."""
        self._spread(self.code)
        if self.own:
            theta = self.grads.swapaxes(0, 1).reshape(self.places.params.size, -1)[:, : self.lanes]
            self.theta = theta * self.counts[:, None]
            self.loss = self.losses if self.value is None else self.value
        else:
            self.theta = self.grads[0, :, 0] * self.counts
            for block in self.grads[1:, :, 0]:
                self.theta += block * self.counts
            self.loss = float(self.losses.sum()) if self.value is None else self.value
        if self.inputs is not None:
            self.inputs *= self.places.gains
        self.check()

    def check(self) -> None:
        """Refuse what is not finite, and say what it is."""
        if finite(np.asarray(self.loss)) and finite(self.theta) and not self.faults.any():
            return
        self.data.check_finite()
        if self.faults.any():
            sequence, allowed = int(np.argmax(self.faults)), "allowed: finite numbers"
            raise DivergedError(f"loss: outputs of sequence {sequence} grew beyond {self.spec.dtype}; {allowed}")
        if not np.isfinite(self.loss).all():
            raise DivergedError(f"loss: {self.loss}; allowed: a finite number")
        names = self.places.params.blocks
        name = next(name for name, block in names.items() if not np.isfinite(self.theta[block.part]).all())
        raise DivergedError(f"gradient: NaN or Inf in {name}; allowed: finite numbers")

    def _spread(self, code: int) -> None:
        if self._scanned(code):
            return
        spread(lambda first: self._work(first, code), self.firsts, self.engine.threads)

    def _scanned(self, code: int) -> bool:
        """Run by a scan in time, if that is faster; return whether it did."""
        scan = self.engine.scan
        if (
            scan is None
            or self.own
            or self.data.resets is not None
            or (plan := scan.plan(self.parameters, self.steps, self.lanes)) is None
        ):
            return False
        if self.states[:, self.places.state["fault"].offset].any():
            return False
        outputs, final, first = (self.outputs, self.final, self.first) if self.details else (None, None, None)
        self.faults.fill(0)
        self.grads.fill(0)
        run = Run(
            self.code, code != FORWARD_ONLY, self.parameters, self.data.inputs, self.data.targets, self.scale,
            self.states, self.changes, self.losses, self.grads[0, :, 0], outputs, final, first, self.inputs,
        )  # fmt: skip
        with Flushed():
            return scan(plan, run)

    def _work(self, first: int, code: int) -> None:
        block, places = self.engine.take(self.key), self.places
        count, lanes = min(self.engine.width, self.lanes - first), block.lanes
        if self.own:
            to_lanes(np.ascontiguousarray(self.parameters.T)[None], first, lanes["theta"])
        to_lanes(self.states[None], first, lanes["state"])
        to_lanes(self.data.inputs, first, lanes["u"])
        to_lanes(self.data.targets, first, lanes["target"])
        to_lanes(self.scale, first, lanes["weight"])
        lanes["weight"][..., count:] = 0
        if self.data.resets is not None and block.episodes is not None:
            to_lanes(self.data.resets[:, :, None], first, lanes["resets"])
            to_lanes(self.start[None], first, lanes["start"])
            block.episodes.aside.fill(0)
        if self.changes is not None:
            to_lanes(self.changes, first, lanes["d_out"])
            lanes["d_out"][..., count:] = 0
        for zeros in (block.losses, block.grad, block.carry):
            zeros.fill(0)
        with Flushed():
            self._step(block, code)
            if code == FORWARD_ONLY:
                weight = lanes["weight"][:, 0]
                add_loss(self.code, lanes["out"], lanes["target"], weight, lanes["d_out"], block.losses)
        part = slice(first, first + count)
        self.losses[part] = block.losses[:count]
        self.faults[part] = lanes["state"][0, places.state["fault"].offset, :count]
        self.grads[first // self.engine.width] = block.grad.reshape(len(block.grad), -1)
        if self.details:
            from_lanes(lanes["out"], first, self.outputs)
            self.final[:, part] = self._final(block, count)
            for state, carry in places.states:
                self.first[state, part] = lanes["carry"][0, carry, :count]
        if self.inputs is not None:
            from_lanes(lanes["du"], first, self.inputs)
        self.engine.give_back(block)

    def _step(self, block: Block, code: int) -> None:
        """Run the kernel on a block."""
        theta = self.parameters if block.theta is None else block.theta
        arguments = block.arguments(self.places.pieces, self.places.floats, self.sums)
        if block.episodes is None:
            self.engine.kernel.run(code, theta, *arguments)
        else:
            episodes_kernel(self.spec).run(code, theta, *block.episodes.arguments(), *arguments)

    def _final(self, block: Block, count: int) -> Array:
        """Return the state after the last step, ``[states, count]``."""
        state: Array = block.lanes["state"][0, :, :count]
        return state


class DevicePass(Pass):
    """One pass on a GPU, of all sequences at once."""

    engine: DeviceEngine

    def _spread(self, code: int) -> None:
        done = self.engine.device.run(
            self.code, self.parameters, self.states, self.data.inputs, self.data.targets, self.scale, self.changes,
            self.engine.steps_kept(self.steps), code == FORWARD_ONLY, self.inputs is not None,
        )  # fmt: skip
        state = done.state.copy_to_host()
        self.losses, self.grads = done.losses.copy_to_host(), done.grads.copy_to_host()[None]
        self.faults = state[self.places.state["fault"].offset]
        if self.details:
            self.outputs = np.ascontiguousarray(done.outputs.copy_to_host().swapaxes(1, 2))
            self.final, carries = state, done.carry.copy_to_host()
            for name, carry in self.places.states:
                self.first[name] = carries[carry]
        if self.inputs is not None:
            self.inputs[:] = done.inputs.copy_to_host().swapaxes(1, 2)


class Engine:
    """Runs sequences on the CPU, in blocks that its threads share.

    Args:
        spec: of the controllers.
        places: of its adjoint.
        threads: how many to use; None: one a core.
        segment: steps between two states that are kept; None: all steps if they fit into 128 MB, else what fits into
            4 MB.
        scan: in time, where that is faster; None: never.

    """

    form: type[Pass] = Pass
    whole_bytes = _WHOLE_BYTES

    def __init__(self, spec: Spec, places: Places, threads: int | None, segment: int | None, scan: Scan | None):
        self.spec, self.places, self.segment, self.scan = spec, places, segment, scan
        self.threads, self.width = thread_count(threads), 2 * lanes_of(spec.dtype)
        self.kernel = self._kernel()
        self._free: list[Block] = []
        self._lock = threading.Lock()

    def _kernel(self) -> Any:
        return gradient_kernel(self.spec)

    def begin(
        self, theta: Array, data: Sequences, states: Array | None, code: int, details: bool, with_inputs: bool
    ) -> Pass:  # fmt: skip
        """Return a pass of sequences, to be taken forward or back: see ``Pass``; states None: from a reset."""
        return self.form(self, theta, data, states, code, details, with_inputs)

    def steps_kept(self, steps: int) -> int:
        """Return the steps of a segment."""
        row = self.places.tape_row * self.width * np.dtype(self.spec.dtype).itemsize
        if self.segment is None and steps * row <= self.whole_bytes:
            return steps
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
    whole_bytes = 0  # a GPU keeps a tape for each of many thousands of sequences

    def __init__(self, spec: Spec, places: Places, threads: int | None, segment: int | None):
        super().__init__(spec, places, None, segment, None)
        self.width = _WARP
        self.device = import_module("neuroctl.train.cuda").Device(spec, places, threads)

    def _kernel(self) -> Any:
        return None
