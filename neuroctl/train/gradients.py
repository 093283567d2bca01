"""Gradients through time: the loss of a controller on recorded sequences, and how it changes with each parameter.

Sequences are lanes, in blocks of two packs (see ``maths.packs``): a weight that is read serves both. Each block makes a
sum of its own, and these are added in order; so results are the same bits for any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends import get
from neuroctl.backends.base import check_theta
from neuroctl.backends.blocks import aligned, spread, thread_count
from neuroctl.checks import array, cast, integer, shown
from neuroctl.errors import DivergedError, TrainingError
from neuroctl.maths.jit import jit_exact_rows
from neuroctl.maths.packs import lanes_of
from neuroctl.spec import Spec
from neuroctl.train.data import Sequences
from neuroctl.train.kernel import gradient_kernel
from neuroctl.train.losses import FORWARD_ONLY, LOSSES, PROVIDED, add_loss
from neuroctl.train.places import Places
from neuroctl.train.scanned import Run, Scan

Array = NDArray[Any]
Loss = Callable[[Array, Array], tuple[float, ArrayLike]]

_DELTAS_BYTES: Final = 256 << 10  # between two sums of products: they stay in the cache
_MAX_STEPS_A_SUM: Final = 32
_TAPE_BYTES: Final = 4 << 20  # longer runs are cut into segments: to step again is faster than to leave the cache
_WARP: Final = 32  # of a GPU's sequences, what a block is on the CPU


@dataclass(frozen=True)
class Gradients:
    """What a run through time and back gives.

    Args:
        loss: the loss; float64 ``[P]`` with parameters of one's own for each lane.
        theta: its change with the parameters, ``[n_params]`` or ``[n_params, P]``.
        inputs: its change with the inputs, ``[T, B, m]``; None unless asked for.
        state: its change with the state before the first step, ``[states, B]``: 0 where a step only works.
        outputs: the controller's outputs, ``[T, B, q]``.
        final: the state after the last step, ``[states, B]``.

    Example:
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.01)
        >>> u = np.zeros((5, 3, 1), np.float32)
        >>> all_of = Gradient(spec).all_of(nc.Controller(spec).theta, u, u, with_inputs=True)
        >>> all_of.theta.shape, all_of.inputs.shape, all_of.outputs.shape
        ((11,), (5, 3, 1), (5, 3, 1))

    """

    loss: float | Array
    theta: Array
    inputs: Array | None
    state: Array
    outputs: Array
    final: Array


def value_and_grad(
    spec: Spec,
    loss: str | Loss = "mse",
    *,
    threads: int | None = None,
    segment: int | None = None,
    backend: str = "cpu",
    scan: bool | None = None,
) -> Gradient:
    """Return a function that gives a loss and its gradient: see ``Gradient``."""
    return Gradient(spec, loss, threads=threads, segment=segment, backend=backend, scan=scan)


class Gradient:
    """The loss of controllers on recorded sequences, and its gradient by going back through time.

    Called with parameters, inputs and targets it returns the loss and its change with each parameter. The forward pass
    is the step that a ``Controller`` takes: it starts from a reset unless a state is given, its outputs are clipped to
    their limits, and where one is at a limit nothing changes with it.

    Args:
        spec: of a CTRNN, IndRNN, Elman or Jordan network.
        loss: ``"mse"``, the mean square of errors; ``"huber"``, half the square of an error up to 1 and linear beyond;
            ``"cross_entropy"`` of logits, with classes or probabilities as targets; or a function that takes outputs
            and targets ``[T, B, q]`` and returns the loss and its change with the outputs. The network steps through
            the sequences twice for a function.
        threads: how many to use; None: one a core. On a GPU, those of a block: a multiple of 32 up to 1024; None: 64.
            Results are the same bits for any number.
        segment: steps between two states that are kept; the steps from one to the next are done again on the way back.
            None: as many as fit into 4 MB; on a GPU, into 4 MB for 32 sequences.
        backend: ``"cpu"``, or ``"cuda"``: a thread of a GPU for each sequence. Their results agree to rounding.
        scan: how an IndRNN of ReLU or hard tanh goes through few long sequences on the CPU. None: by a scan in time if
            that is faster, see docs/scan.md; results then equal the loop's to rounding. False: always by the loop, for
            the same bits whatever other sequences there are. True: by a scan wherever there is one.

    Raises:
        SpecError: a cell without a gradient.
        TrainingError: an unknown loss, a segment below 1, or ``scan=True`` with a cell that has none.
        LayoutError: threads are not allowed.
        BackendUnavailable: an unknown backend, or there is no GPU.

    Example:
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=8, outputs=1, dt_s=0.01)
        >>> f = Gradient(spec)
        >>> u = np.sin(np.arange(200) / 10).reshape(200, 1, 1)
        >>> value, gradient = f(nc.Controller(spec, seed=0).theta, u[:-1], u[1:])
        >>> gradient.shape
        (89,)

    """

    def __init__(
        self, spec: Spec, loss: str | Loss = "mse", *, threads: int | None = None, segment: int | None = None,
        backend: str = "cpu", scan: bool | None = None,
    ):  # fmt: skip
        self._places = Places(spec)
        self.spec = spec
        if not callable(loss) and loss not in LOSSES:
            raise TrainingError(f"loss: {shown(loss)}; allowed: {', '.join(LOSSES)}, or a function")
        self._loss = loss
        self._segment = None if segment is None else integer("segment", segment, 1, error=TrainingError)
        get(backend)
        self._device: Any = None
        if backend == "cpu":
            self._kernel = gradient_kernel(spec)
            self._threads, self._width = thread_count(threads), 2 * lanes_of(spec.dtype)
        else:
            self._device, self._width = import_module("neuroctl.train.cuda").Device(spec, self._places, threads), _WARP
        self._scan = Scan.of(spec, scan if backend == "cpu" else False)
        self._free: list[_Block] = []
        self._lock = threading.Lock()

    def __call__(
        self,
        theta: Array,
        inputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        state: ArrayLike | None = None,
    ) -> tuple[Any, Array]:
        """Return the loss, and its change with theta.

        Args:
            theta: parameters ``[n_params]`` in the spec's dtype; or ``[n_params, B]``, of as many controllers as there
                are sequences, each with a loss of its own.
            inputs: numbers ``[T, B, inputs]``.
            targets: numbers ``[T, B, outputs]``, or classes ``[T, B]``.
            mask: weights of steps ``[T, B]``, 0 for those beyond a sequence's end; None: all count. The loss is the
                weighted mean, for ``"mse"`` and ``"huber"`` over the outputs too. A loss function sees no mask.
            state: state before the first step, ``[states]`` or ``[states, B]``, as ``Controller.state``; None: reset.

        Raises:
            LayoutError: theta is of another shape or dtype, or out of bounds.
            TrainingError: inputs, targets, mask or state do not fit, or are not finite; or the loss is not finite.

        """
        run = self._run(theta, inputs, targets, mask, state, details=callable(self._loss))
        self._differentiate(run)
        return run.loss, run.theta

    def loss(
        self,
        theta: Array,
        inputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        state: ArrayLike | None = None,
    ) -> Any:
        """Return the loss alone, at about a third of the cost. Arguments and errors are as of a call."""
        run = self._run(theta, inputs, targets, mask, state, details=callable(self._loss))
        run.forward()
        if callable(self._loss):
            run.loss = _called(self._loss, run.outputs, run.data.targets)[0]
        run.check()
        return run.loss

    def all_of(
        self,
        theta: Array,
        inputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        state: ArrayLike | None = None,
        *,
        with_inputs: bool = False,
    ) -> Gradients:
        """Return loss, outputs, final state, and the changes with theta, the first state and (if asked) the inputs.

        Arguments and errors are as of a call.
        """
        run = self._run(theta, inputs, targets, mask, state, details=True, with_inputs=with_inputs)
        self._differentiate(run)
        return Gradients(run.loss, run.theta, run.inputs, run.first, run.outputs, run.final)

    def _differentiate(self, run: _Run) -> None:
        if callable(self._loss):
            run.forward()
            run.provide(*_called(self._loss, run.outputs, run.data.targets))
        run.backward()

    def _run(
        self, theta: Array, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None, state: ArrayLike | None,
        details: bool, with_inputs: bool = False,
    ) -> _Run:  # fmt: skip
        data = Sequences.check(self.spec, inputs, targets, mask)
        lanes = data.inputs.shape[1]
        check_theta(theta, self.spec, lanes if np.ndim(theta) == 2 else None)
        if callable(self._loss) and mask is not None:
            raise TrainingError("mask: given; allowed with a loss function: None")
        code = PROVIDED if callable(self._loss) else LOSSES[self._loss]
        form = _Run if self._device is None else _OnDevice
        return form(self, theta, data, self._states(state, lanes), code, details, with_inputs)

    def _states(self, state: ArrayLike | None, lanes: int) -> Array:
        rows = self._places.state
        if state is None:
            return self._places.start
        numbers = cast(array("state", state, f"numbers ({rows.size}, {lanes})", error=TrainingError), self.spec.dtype)
        if numbers.shape not in ((rows.size,), (rows.size, lanes)):
            raise TrainingError(f"state: shape {numbers.shape}; allowed: ({rows.size},) or ({rows.size}, {lanes})")
        if not np.isfinite(numbers).all():
            raise TrainingError("state: NaN or Inf; allowed: finite numbers")
        return np.ascontiguousarray(numbers.reshape(rows.size, -1).T)

    def tape_bytes(self, steps: int) -> int:
        """Return the memory that one block of sequences keeps of so many steps: states and a segment's tape."""
        kept = self._steps_kept(steps)
        rows = -(-steps // kept) * self._places.state.size + (kept + 1) * self._places.tape_row
        return rows * self._width * np.dtype(self.spec.dtype).itemsize

    def _steps_kept(self, steps: int) -> int:
        """Return the steps of a segment."""
        row = self._places.tape_row * self._width * np.dtype(self.spec.dtype).itemsize
        return min(self._segment or max(_MAX_STEPS_A_SUM, _TAPE_BYTES // row), steps)

    def _take(self, key: tuple[int, bool, bool, bool]) -> _Block:
        with self._lock:
            for index, block in enumerate(self._free):
                if block.key == key:
                    return self._free.pop(index)
        return _Block(self.spec, self._places, key, self._steps_kept(key[0]))

    def _give_back(self, block: _Block) -> None:
        with self._lock:
            self._free = [*self._free[-(2 * self._threads) :], block]


class _Block:
    """The arrays that one thread works on: lanes of sequences of one length."""

    def __init__(self, spec: Spec, places: Places, key: tuple[int, bool, bool, bool], segment: int):
        steps, own, masked, with_inputs = self.key = key
        width = lanes_of(spec.dtype)
        itemsize = np.dtype(spec.dtype).itemsize

        def rows(*shape: int) -> Array:
            return aligned((*shape, 2, width), spec.dtype)

        self.segment = segment
        self.steps_a_sum = min(max(_DELTAS_BYTES // (places.deltas_row * 2 * width * itemsize), 4), _MAX_STEPS_A_SUM)
        self.theta = rows(places.params.size) if own else None
        self.state, self.u = rows(places.state.size), rows(steps, spec.inputs)
        self.out, self.target, self.d_out = (rows(steps, spec.outputs) for _ in range(3))
        self.weight = rows(steps if masked else 1)
        self.losses = np.zeros(2 * width)
        self.checkpoints = rows(-(-steps // segment) + 1, places.state.size)
        self.tape = rows((segment + 1) * places.tape_row)
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
        self.arguments = (
            self.state, self.u, self.out, self.d_out.reshape(-1, 2, width), self.lanes["out"], self.lanes["target"],
            self.lanes["weight"][:, 0], self.lanes["d_out"], self.losses, self.checkpoints, segment, places.pieces,
            self.tape, places.tape_row, self.deltas, places.deltas_row, self.carry, places.products, places.sums,
            self.grad, self.du, places.w_in if with_inputs else -1, places.ints, places.floats, self.steps_a_sum,
        )  # fmt: skip


@jit_exact_rows
def _to_lanes(values: Array, first: Any, out: Array) -> None:
    """Copy ``[T, B, K]`` to ``[T, K, L]``, from sequence ``first`` on; the last one fills what is left over."""
    whole = max(0, min(out.shape[2], values.shape[1] - first))
    for t in range(values.shape[0]):
        for k in range(np.uint64(values.shape[2])):
            for p in range(np.uint64(whole)):
                out[t, k, p] = values[t, np.uint64(first) + p, k]
            for p in range(np.uint64(whole), np.uint64(out.shape[2])):
                out[t, k, p] = values[t, values.shape[1] - 1, k]


@jit_exact_rows
def _from_lanes(lanes: Array, first: Any, values: Array) -> None:
    """Copy ``[T, K, L]`` to ``[T, B, K]``, from sequence ``first`` on, as many as there are left."""
    count = min(lanes.shape[2], values.shape[1] - first)
    for t in range(values.shape[0]):
        for p in range(count):
            for k in range(np.uint64(values.shape[2])):
                values[t, first + p, k] = lanes[t, k, p]


class _Run:
    """One run of sequences through time and back, block by block."""

    def __init__(
        self, gradient: Gradient, theta: Array, data: Sequences, states: Array, code: int, details: bool,
        with_inputs: bool,
    ):  # fmt: skip
        self.gradient, self.spec, self.places = gradient, gradient.spec, gradient._places
        self.parameters, self.data, self.states, self.code, self.details = theta, data, states, code, details
        self.steps, self.lanes = data.inputs.shape[:2]
        self.own = theta.ndim == 2
        self.key = self.steps, self.own, data.mask is not None, with_inputs
        self.firsts = range(0, self.lanes, gradient._width)
        self.loss: Any = None
        self.theta = np.zeros(0)  # the gradient, once there is one
        self.value: float | None = None
        self.changes: Array | None = None
        dtype, size = self.spec.dtype, self.places.state.size
        self.losses = np.empty(self.lanes)
        self.faults = np.empty(self.lanes, dtype)
        self.grads = np.empty((len(self.firsts), self.places.params.size, gradient._width if self.own else 1), dtype)
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
            self.theta, self.loss = theta * self.places.wired[:, None], self.losses
        else:
            self.theta = self.grads[0, :, 0] * self.places.wired
            for block in self.grads[1:, :, 0]:
                self.theta += block * self.places.wired
            self.loss = float(self.losses.sum()) if self.value is None else self.value
        if self.inputs is not None:
            self.inputs *= self.places.gains
        self.check()

    def check(self) -> None:
        """Refuse what is not finite, and say what it is."""
        if np.isfinite(self.loss).all() and np.isfinite(self.theta).all() and not self.faults.any():
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
        spread(lambda first: self._work(first, code), self.firsts, self.gradient._threads)

    def _scanned(self, code: int) -> bool:
        """Run by a scan in time, if that is faster; return whether it did."""
        scan = self.gradient._scan
        if scan is None or self.own or self.states[:, self.places.state["fault"].offset].any():
            return False
        if (plan := scan.plan(self.parameters, self.steps, self.lanes)) is None:
            return False
        outputs, final, first = (self.outputs, self.final, self.first) if self.details else (None, None, None)
        self.faults.fill(0)
        self.grads.fill(0)
        run = Run(
            self.code, code != FORWARD_ONLY, self.parameters, self.data.inputs, self.data.targets, self.scale,
            self.states, self.changes, self.losses, self.grads[0, :, 0], outputs, final, first, self.inputs,
        )  # fmt: skip
        return scan(plan, run)

    def _work(self, first: int, code: int) -> None:
        block, places = self.gradient._take(self.key), self.places
        count, lanes = min(self.gradient._width, self.lanes - first), block.lanes
        if self.own:
            _to_lanes(np.ascontiguousarray(self.parameters.T)[None], first, lanes["theta"])
        _to_lanes(self.states[None], first, lanes["state"])
        _to_lanes(self.data.inputs, first, lanes["u"])
        _to_lanes(self.data.targets, first, lanes["target"])
        _to_lanes(self.scale, first, lanes["weight"])
        lanes["weight"][..., count:] = 0
        if self.changes is not None:
            _to_lanes(self.changes, first, lanes["d_out"])
            lanes["d_out"][..., count:] = 0
        for zeros in (block.losses, block.grad, block.carry):
            zeros.fill(0)
        self.gradient._kernel.run(code, self.parameters if block.theta is None else block.theta, *block.arguments)
        if code == FORWARD_ONLY:
            weight = lanes["weight"][:, 0]
            add_loss(self.code, lanes["out"], lanes["target"], weight, lanes["d_out"], block.losses)
        part = slice(first, first + count)
        self.losses[part] = block.losses[:count]
        self.faults[part] = lanes["state"][0, places.state["fault"].offset, :count]
        self.grads[first // self.gradient._width] = block.grad.reshape(len(block.grad), -1)
        if self.details:
            _from_lanes(lanes["out"], first, self.outputs)
            self.final[:, part] = lanes["state"][0, :, :count]
            for state, carry in places.states:
                self.first[state, part] = lanes["carry"][0, carry, :count]
        if self.inputs is not None:
            _from_lanes(lanes["du"], first, self.inputs)
        self.gradient._give_back(block)


class _OnDevice(_Run):
    """One run on a GPU, of all sequences at once."""

    def _spread(self, code: int) -> None:
        done = self.gradient._device.run(
            self.code, self.parameters, self.states, self.data.inputs, self.data.targets, self.scale, self.changes,
            self.gradient._steps_kept(self.steps), code == FORWARD_ONLY, self.inputs is not None,
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


def _called(loss: Loss, outputs: Array, targets: Array) -> tuple[float, Array]:
    """Call a loss function and check what it returns."""
    try:
        value, changes = loss(outputs.copy(), targets.copy())
        value = float(value)
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"loss: {' '.join(str(error).split())}; allowed: to return (loss, change with the outputs)"
        ) from error
    numbers = cast(array("loss", changes, f"changes {outputs.shape}", error=TrainingError), outputs.dtype)
    if numbers.shape != outputs.shape:
        raise TrainingError(f"loss: changes of shape {numbers.shape}; allowed: {outputs.shape}")
    return value, np.ascontiguousarray(numbers)
