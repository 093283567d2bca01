"""Gradients of IndRNNs by a scan in time: blocks of a sequence side by side, see ``backends.scan``."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends import scan
from neuroctl.backends.blocks import aligned
from neuroctl.cells import cell_of, initial_blocks, step_floats, step_ints
from neuroctl.checks import shown
from neuroctl.errors import TrainingError
from neuroctl.maths.jit import jit_exact
from neuroctl.maths.packs import lanes_of
from neuroctl.maths.transposed import add_rows
from neuroctl.spec import Spec
from neuroctl.train.losses import PROVIDED, add_loss

Array = NDArray[Any]


@jit_exact
def _copy(source: Array, target: Array) -> None:
    for k in range(source.shape[0]):
        for b in range(source.shape[1]):
            target[k, b] = source[k, b]


@jit_exact
def _before_last(tape: Array, at: Any, layers: Any, n: Any, count: Any, blocks: Any, last: Any, before: Array) -> None:
    """Copy the states that step ``last`` of a window found; their rows begin at ``at``."""
    width = tape.shape[2]
    for k in range(layers * n):
        row = at + (k // n) * (count + 1) * n + (last % count) * n + k % n
        for b in range(before.shape[1]):
            lane = b * blocks + last // count
            before[k, b] = tape[row, lane // width, lane % width]


@jit_exact
def _run(
    code: Any, back_too: Any, theta: Array, inputs: Array, targets: Array, scale: Array, changes: Array, outputs: Array,
    d_inputs: Array, ends: Array, starts: Array, before: Array, carry: Array, losses: Array, grad: Array, sums: Array,
    tape: Array, back: Array, maps: Array, target: Array, weight: Array, lanes_out: Array, lanes_target: Array,
    lanes_weight: Array, lanes_back: Array, ints: Array, floats: Array, steps: Any, blocks: Any, chunk: Any,
) -> None:  # fmt: skip
    """Step through all windows, keeping each one's start, and go back over them from the last one to the first.

    All but the last are stepped through again on the way back. ``before`` gets the states that the last step found.
    """
    n, m, q, layers = ints[0], ints[1], ints[2], ends.shape[0] // ints[0]
    total, sequences = inputs.shape[0], inputs.shape[1]
    windows = -(-total // (steps * blocks))
    for turn in range(2 * windows if back_too else windows):
        returning = turn >= windows
        w = 2 * windows - 1 - turn if returning else turn
        first = w * steps * blocks
        count = min(steps, -(-(total - first) // blocks))
        whole = returning or not back_too
        if turn != windows:  # the last one's states are there
            _copy(starts[w] if returning else ends, ends if returning else starts[w])
            scan.to_lanes(inputs, total, first, count, blocks, tape, count * q)
            scan.forward(
                theta, tape, maps, ends, ints, floats, count, sequences, blocks, chunk, whole or w == windows - 1
            )
        if not whole:
            continue
        if w == windows - 1:
            _before_last(tape, count * (q + m), layers, n, count, blocks, total - 1 - first, before)
        if outputs.shape[0] > 0:
            scan.from_lanes(tape, 0, first, count, blocks, outputs)
        if changes.shape[0] > 0:
            scan.to_lanes(changes, total, first, count, blocks, back, 0)
        if code != PROVIDED:
            scan.to_lanes(targets, total, first, count, blocks, target, 0)
            alike = scale.shape[0] == 1 and first + count * blocks <= total  # all steps of a lane count alike
            weights = 1 if alike else count
            if alike:
                scan.to_lanes(scale, blocks, 0, 1, blocks, weight, 0)
            else:
                scan.to_lanes(scale, total, first, count, blocks, weight, 0)
            add_loss(code, lanes_out[:count], lanes_target, lanes_weight[:weights], lanes_back, losses)
        if returning:
            scan.backward(
                theta, tape, back, maps, carry, sums, grad, ints, floats, count, sequences, blocks, chunk,
                d_inputs.shape[0] > 0,
            )  # fmt: skip
            if d_inputs.shape[0] > 0:
                scan.from_lanes(back, count * (q + n), first, count, blocks, d_inputs)
    for k in range(layers):
        size = 0 if k == 0 else n * m + 2 * n + (k - 1) * (n * n + 2 * n)
        add_rows(sums, 2 * k * n, grad, size + n * (m if k == 0 else n), 2 * n)
    if back_too and ints[3] != 0:
        add_rows(sums, 2 * layers * n, grad, n * m + 2 * n + (layers - 1) * (n * n + 2 * n) + q * n, q)


class Run(NamedTuple):
    """What a run takes, and where it leaves what comes of it: see ``gradients._Run``."""

    code: int
    back_too: bool
    theta: Array
    inputs: Array
    targets: Array
    scale: Array
    states: Array
    changes: Array | None
    losses: Array
    grad: Array
    outputs: Array | None
    final: Array | None
    first: Array | None
    d_inputs: Array | None


class Scan:
    """Runs an IndRNN's sequences by a scan in time."""

    def __init__(self, spec: Spec, always: bool):
        self.spec, self._always = spec, always
        cell, blocks = cell_of(spec), cell_of(spec).layout(spec)
        self._params = blocks
        parts = [blocks[f"u.{layer}"].part for layer in range(spec.layers)]
        self._u = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        self._rollout, self._layout = cell.rollout, cell.state_layout(spec)
        self._ints, self._floats = step_ints(spec), step_floats(spec)
        self._recalled = spec.layers * spec.neurons
        self._free: list[tuple[Any, dict[str, Array]]] = []
        self._lock = threading.Lock()

    @classmethod
    def of(cls, spec: Spec, wanted: bool | None) -> Scan | None:
        """Return the scan of a spec; None: it has none, or none is wanted. None is wanted where it is faster.

        Raises:
            TrainingError: wanted is True, and there is none.

        """
        if wanted not in (None, True, False):
            raise TrainingError(f"scan: {shown(wanted)}; allowed: True, False, or None")
        if wanted and not scan.composes(spec):
            raise TrainingError("scan: True; allowed for an IndRNN of ReLU or hard tanh, else None or False")
        return cls(spec, bool(wanted)) if wanted is not False and scan.composes(spec) else None

    def plan(self, theta: Array, steps: int, sequences: int) -> scan.Plan | None:
        """Return how to cut time; None: the loop is faster, or a state might grow too much in a block."""
        if not (self._always or scan.pays(self.spec, steps, sequences)):
            return None
        plan = scan.cut(self.spec, steps, sequences)
        return plan if plan is not None and scan.tame(theta[self._u], plan.steps) else None

    def __call__(self, plan: scan.Plan, run: Run) -> bool:
        """Run; return False, with nothing done, where a number is not finite: the loop says which."""
        sequences = run.inputs.shape[1]
        none = np.empty((0, sequences, 1), self.spec.dtype)
        scale = np.ascontiguousarray(np.broadcast_to(run.scale, (len(run.scale), sequences, 1)))
        work = self._take(plan, sequences)
        for name in ("sums", "carry", "losses", "grad", "maps"):
            work[name].fill(0)
        work["ends"][:] = run.states[:, : self._recalled].T
        outputs, changes, d_inputs = (none if x is None else x for x in (run.outputs, run.changes, run.d_inputs))
        arguments: list[Any] = [
            run.code, run.back_too, run.theta, run.inputs, run.targets, scale, changes, outputs, d_inputs,
            *work.values(), self._ints, self._floats, plan.steps, plan.blocks, plan.chunk,
        ]  # fmt: skip
        _run(*arguments)
        good = bool(np.isfinite(work["maps"][-1]).all())
        if good:
            lanes = work["losses"][: sequences * plan.blocks]
            run.losses[:] = lanes.reshape(sequences, -1).sum(axis=1)
            run.grad[:] = work["grad"]
            for name, source in initial_blocks(self.spec).items():
                run.grad[self._params[source].part] += work["carry"][self._layout[name].part].sum(axis=1)
            if run.first is not None:
                run.first[: self._recalled] = work["carry"]
            if run.final is not None:
                self._finish(run, work["before"], run.final)
        self._give_back(plan, sequences, work)
        return good

    def _finish(self, run: Run, before: Array, final: Array) -> None:
        """Take the last step as a controller does, for its state with all that steps work with."""
        output = np.empty((1, self.spec.outputs), self.spec.dtype)
        for b in range(before.shape[1]):
            state = run.states[b % len(run.states)].copy()
            state[: self._recalled] = before[:, b]
            self._rollout(run.theta, state, run.inputs[-1, b][None].copy(), output, self._ints, self._floats)
            final[:, b] = state

    def _take(self, plan: scan.Plan, sequences: int) -> dict[str, Array]:
        """Return arrays to work on, in the order in which the kernel takes them."""
        with self._lock:
            for index, (key, _) in enumerate(self._free):
                if key == (plan, sequences):
                    return self._free.pop(index)[1]
        spec, steps, width = self.spec, plan.steps, lanes_of(self.spec.dtype)

        def rows(count: int) -> Array:
            return aligned((count, 2, width), spec.dtype)

        names = "ends", "starts", "before", "carry"
        work: dict[str, Array] = {name: np.empty((self._recalled, sequences), spec.dtype) for name in names}
        work["starts"] = np.empty((plan.windows, self._recalled, sequences), spec.dtype)
        flat: dict[str, Array] = {"losses": np.zeros(2 * width)}
        flat["grad"] = np.zeros(cell_of(spec).layout(spec).size, spec.dtype)
        work |= flat
        sizes = {
            "sums": 2 * self._recalled + spec.outputs, "tape": scan.tape_rows(spec, steps),
            "back": scan.back_rows(spec, steps, plan.chunk), "maps": 3 * spec.neurons + 1,
            "target": steps * spec.outputs, "weight": steps,
        }  # fmt: skip
        work |= {name: rows(count) for name, count in sizes.items()}
        for name in ("tape", "target", "weight", "back"):
            size = 1 if name == "weight" else spec.outputs
            lanes = work[name][: steps * size].reshape(steps, size, 2 * width)
            work[f"lanes_{name}"] = lanes[:, 0] if name == "weight" else lanes
        return work

    def _give_back(self, plan: scan.Plan, sequences: int, work: dict[str, Array]) -> None:
        with self._lock:
            self._free = [*self._free[-1:], ((plan, sequences), work)]
