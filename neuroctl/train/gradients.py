"""Gradients through time: the loss of a controller on recorded sequences, and how it changes with each parameter.

Sequences are lanes, in blocks of two packs (see ``maths.packs``): a weight that is read serves both. Each block makes a
sum of its own, and these are added in order; so results are the same bits for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.backends import get
from neuroctl.backends.base import check_theta
from neuroctl.checks import array, cast, integer, shown
from neuroctl.controller_inputs import recorded as _recorded
from neuroctl.errors import TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.data import Sequences
from neuroctl.train.engine import DeviceEngine, Engine, Pass
from neuroctl.train.integers import FixedPoint, IntegerEngine
from neuroctl.train.losses import LOSSES, PROVIDED
from neuroctl.train.output_scale import OutputScale
from neuroctl.train.places import Places
from neuroctl.train.scanned import Scan

Array = NDArray[Any]
Loss = Callable[[Array, Array], tuple[float, ArrayLike]]


@dataclass(frozen=True)
class Gradients:
    """What a run through time and back gives.

    Args:
        loss: the loss; float64 ``[P]`` with parameters of one's own for each lane.
        theta: its change with the parameters, ``[n_params]`` or ``[n_params, P]``.
        inputs: its change with the inputs, ``[T, B, m]``; None unless asked for.
        state: its change with the state before the first step, ``[states, B]``: 0 where a step only works.
        outputs: the controller's outputs, ``[T, B, q]``.
        final: the state after the last step, ``[states, B]``; in fixed point the integer state, int32.

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
    fixed_point: FixedPointConfig | None = None,
    calibration: ArrayLike | None = None,
) -> Gradient:
    """Return a function that gives a loss and its gradient: see ``Gradient``."""
    return Gradient(
        spec, loss, threads=threads, segment=segment, backend=backend, scan=scan, fixed_point=fixed_point,
        calibration=calibration,
    )  # fmt: skip


class Gradient:
    """The loss of controllers on recorded sequences, and its gradient by going back through time.

    Called with parameters, inputs and targets it returns the loss and its change with each parameter. The forward pass
    is the step that a ``Controller`` takes: it starts from a reset unless a state is given, its outputs are clipped to
    their limits, and where one is at a limit nothing changes with it.

    Args:
        spec: of a CTRNN, IndRNN, Elman or Jordan network, a GRU or a CfC.
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
        fixed_point: storage of the integer controller that steps forward, bit for bit as ``QuantController`` does; its
            parameters are theta, quantized for each call. The way back is the float controller's at the numbers that
            the integers stand for, as if nothing were rounded. None: float steps. For the CPU, and for shared
            parameters and a start from reset.
        calibration: recorded inputs ``[..., inputs]`` in physical units: the range of the integers' inputs, needed
            where the spec declares none.
        output_scale: with ``fixed_point``: the integer controller's outputs are in physical units, and parameters,
            outputs, targets and losses in units of the outputs' ranges. None: all are in the same.

    Raises:
        SpecError: a cell without a gradient.
        TrainingError: an unknown loss, a segment below 1, ``scan=True`` with a cell that has none; or ``fixed_point``
            on a GPU or with a scan.
        ExportError: ``fixed_point`` with a spec that has no integer form, or without a range of inputs.
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
        backend: str = "cpu", scan: bool | None = None, fixed_point: FixedPointConfig | None = None,
        calibration: ArrayLike | None = None, output_scale: OutputScale | None = None,
    ):  # fmt: skip
        self.spec, self._places = spec, Places(spec)
        if not callable(loss) and not (isinstance(loss, str) and loss in LOSSES):
            raise TrainingError(f"loss: {shown(loss)}; allowed: {', '.join(LOSSES)}, or a function")
        if loss == "cross_entropy" and spec.outputs == 1:  # the softmax of one logit is 1, whatever it is
            raise TrainingError("outputs: 1; allowed with loss 'cross_entropy': integers >= 2, a logit for each class")
        self._loss = loss
        kept = None if segment is None else integer("segment", segment, 1, error=TrainingError)
        get(backend)
        self._fixed = None
        if fixed_point is not None:
            if not isinstance(fixed_point, FixedPointConfig):
                raise TrainingError(f"fixed_point: {shown(fixed_point)}; allowed: a FixedPointConfig, or None")
            if backend != "cpu" or scan:
                raise TrainingError("fixed_point: given; allowed with backend 'cpu' and without scan")
            recorded = None if calibration is None else _recorded(_rows(calibration, spec.inputs), spec.inputs)
            self._fixed = FixedPoint(spec, fixed_point, recorded, self._places, output_scale)
            self._engine: Engine = IntegerEngine(spec, self._places, threads, kept, self._fixed)
        elif backend == "cpu":
            self._engine = Engine(spec, self._places, threads, kept, Scan.of(spec, scan))
        else:
            self._engine = DeviceEngine(spec, self._places, threads, kept)

    def __call__(
        self,
        theta: Array,
        inputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        state: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[Any, Array]:
        """Return the loss, and its change with theta.

        Args:
            theta: parameters ``[n_params]`` in the spec's dtype; or ``[n_params, B]``, of as many controllers as there
                are sequences, each with a loss of its own, but for a loss function: that gives one of all.
            inputs: numbers ``[T, B, inputs]``.
            targets: numbers ``[T, B, outputs]``, or classes ``[T, B]``, integers from 0 to outputs - 1.
            mask: weights of steps ``[T, B]``, 0 for those beyond a sequence's end; None: all count. The loss is the
                weighted mean, for ``"mse"`` and ``"huber"`` over the outputs too. A loss function sees no mask.
            state: state before the first step, ``[states]`` or ``[states, B]``, as ``Controller.state``; None: reset.
                A learned initial state gets its gradient from what begins at a reset alone.
            resets: where an episode begins within a sequence: 1, or true, at the step before which the state is that
                after a reset, ``[T, B]``; None: nowhere. Only on the CPU, with float steps.

        Raises:
            LayoutError: theta is of another shape or dtype, or out of bounds.
            TrainingError: inputs, targets, mask, state or resets do not fit, or are not finite; or the loss is not.

        """
        run = self._run(theta, inputs, targets, mask, state, details=callable(self._loss), resets=resets)
        self._differentiate(run)
        return run.loss, run.theta

    def loss(
        self,
        theta: Array,
        inputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        state: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> Any:
        """Return the loss alone, at about a third of the cost. Arguments and errors are as of a call."""
        run = self._run(theta, inputs, targets, mask, state, details=callable(self._loss), resets=resets)
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
        resets: ArrayLike | None = None,
        *,
        with_inputs: bool = False,
    ) -> Gradients:
        """Return loss, outputs, final state, and the changes with theta, the first state and (if asked) the inputs.

        Arguments and errors are as of a call.
        """
        run = self._run(
            theta, inputs, targets, mask, state, details=True, with_inputs=with_inputs, resets=resets
        )  # fmt: skip
        self._differentiate(run)
        return Gradients(run.loss, run.theta, run.inputs, run.first, run.outputs, run.final)

    def outputs(self, theta: Array, inputs: ArrayLike, state: ArrayLike | None = None) -> Array:
        """Return the controller's outputs ``[T, B, outputs]``; arguments and errors are as of a call."""
        run = self._begin(theta, Sequences.of_inputs(self.spec, inputs), state, PROVIDED, details=True)
        run.forward()
        run.check()
        return run.outputs

    def refine(self, theta: Array, inputs: ArrayLike, mask: ArrayLike | None = None) -> None:
        """Choose the format of ReLU's activations in fixed point by what these sequences lead to.

        It is the one with which the outputs' root mean square error, against a float controller with the same weights
        as the integers, is smallest; of those within 1 % of that the coarsest. Without it the format holds whatever
        inputs and weights could lead to: that is coarse, and of deep networks too much for 32 bits. The formats of
        other activations, and a float controller, stay as they are. Arguments are as of a call.

        Raises:
            LayoutError: as a call.
            TrainingError: as a call.

        """
        if self._fixed is None or self.spec.activation != "relu":
            return
        self._check_one(theta)
        inputs = Sequences.of_inputs(self.spec, inputs).inputs
        if mask is not None:
            mask = Sequences.check(self.spec, inputs, np.zeros((*inputs.shape[:2], self.spec.outputs)), mask).mask
        floats, fixed = Gradient(self.spec, threads=self._engine.threads), self._fixed

        def error() -> float:
            outputs = self.outputs(theta, inputs)
            truth = floats.outputs(fixed.integers(theta).theta, inputs)
            squares = np.square(outputs - truth, dtype=np.float64).sum(axis=2)
            return math.sqrt(float((squares if mask is None else squares * np.asarray(mask, np.float64)).sum()))

        fixed.refine(theta, error)

    @property
    def steps_integers(self) -> bool:
        """Whether the steps are an integer controller's."""
        return self._fixed is not None

    def quantized(self, theta: Array) -> QuantController:
        """Return the integer controller that a call with theta ``[n_params]`` steps.

        Raises:
            TrainingError: the steps are a float controller's.
            ExportError: a range is too wide for 32 bits.

        """
        if self._fixed is None:
            raise TrainingError("fixed_point: None; allowed: a FixedPointConfig")
        self._check_one(theta)
        return self._fixed.controller(theta)

    def _check_one(self, theta: Array) -> None:
        check_theta(theta, self.spec, None)
        if theta.ndim != 1:
            raise TrainingError(f"theta: shape {theta.shape}; allowed in fixed point: ({len(theta)},)")

    def _differentiate(self, run: Pass) -> None:
        if callable(self._loss):
            run.forward()
            run.provide(*_called(self._loss, run.outputs, run.data.targets))
        run.backward()

    def _run(
        self, theta: Array, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None, state: ArrayLike | None,
        details: bool, with_inputs: bool = False, resets: ArrayLike | None = None,
    ) -> Pass:  # fmt: skip
        data = Sequences.check(self.spec, inputs, targets, mask).with_resets(resets)
        if resets is not None and type(self._engine) is not Engine:
            raise TrainingError("resets: given; allowed with backend 'cpu' and without fixed point")
        if callable(self._loss) and mask is not None:
            raise TrainingError("mask: given; allowed with a loss function: None")
        code = PROVIDED if callable(self._loss) else LOSSES[self._loss]
        if code == LOSSES["cross_entropy"]:
            data.check_probabilities()
        return self._begin(theta, data, state, code, details, with_inputs)

    def _begin(
        self, theta: Array, data: Sequences, state: ArrayLike | None, code: int, details: bool,
        with_inputs: bool = False,
    ) -> Pass:  # fmt: skip
        lanes = data.inputs.shape[1]
        check_theta(theta, self.spec, lanes if np.ndim(theta) == 2 else None)
        if self._fixed is not None and state is not None:
            raise TrainingError("state: given; allowed in fixed point: None")
        return self._engine.begin(theta, data, self._states(state, lanes), code, details, with_inputs)

    def _states(self, state: ArrayLike | None, lanes: int) -> Array | None:
        rows = self._places.state
        if state is None:
            return None
        numbers = cast(array("state", state, f"numbers ({rows.size}, {lanes})", error=TrainingError), self.spec.dtype)
        if numbers.shape not in ((rows.size,), (rows.size, lanes)):
            raise TrainingError(f"state: shape {numbers.shape}; allowed: ({rows.size},) or ({rows.size}, {lanes})")
        if not np.isfinite(numbers).all():
            raise TrainingError("state: NaN or Inf; allowed: finite numbers")
        return np.ascontiguousarray(numbers.reshape(rows.size, -1).T)

    def tape_bytes(self, steps: int) -> int:
        """Return the memory that one block of sequences keeps of so many steps: states and a segment's tape."""
        return self._engine.tape_bytes(steps)


def _rows(calibration: ArrayLike, columns: int) -> Array:
    """Return recordings ``[..., columns]`` as rows; of another shape, as they are, to be refused."""
    numbers = array("calibration", calibration, f"numbers (..., {columns})")
    return numbers.reshape(-1, columns) if numbers.ndim > 2 and numbers.shape[-1] == columns else numbers


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
