"""Runs an ONNX model in ONNX Runtime, a step or a sequence at a time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import listed
from neuroctl.errors import InteropError
from neuroctl.interop.proof import STEPS

Array = NDArray[Any]

_FREE: Final = 0  # a dynamic axis


class Session:
    """A model in ONNX Runtime, which steps from a reset.

    Args:
        runtime: the package.
        model: the model.
        observation: name of its input.
        output: name of the output to take.
        state: names of the state's input and output; None where it has none.
        time_axis: of the observation; None where it is of one step.
        start: the state after a reset, ``[S]``; None for zeros.

    Raises:
        InteropError: ONNX Runtime refuses the model, or its axes are not time, batch and inputs.

    """

    def __init__(
        self, runtime: Any, model: Any, observation: str, output: str, state: tuple[str, str] | None,
        time_axis: int | None, start: Array | None = None,
    ):  # fmt: skip
        self._names, self._state, self._start = (observation, output), state, start
        try:
            self._session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _refused(error) from error
        sizes = {
            each.name: [size if isinstance(size, int) else _FREE for size in each.shape]
            for each in self._session.get_inputs()
        }
        names = {"input": [observation, *(state or ())[:1]], "output": [output, *(state or ())[1:]]}
        have = {"input": list(sizes), "output": [each.name for each in self._session.get_outputs()]}
        for kind, wanted in names.items():
            if lacking := [name for name in wanted if name not in have[kind]]:
                raise InteropError(f"source: no {kind} {lacking[0]} among {listed(have[kind], 'none')}; allowed: one")
        shape = sizes[observation]
        if len(shape) not in (2, 3) or not shape[-1]:
            raise InteropError(f"{observation}: axes {shape}; allowed: time, batch and a number of inputs")
        self._inputs = shape[-1]
        # A file whose observation has two axes is of one step [batch, inputs], or of one sequence [time, inputs].
        self._axis = time_axis
        batch_axis = None if len(shape) == 2 and time_axis is not None else (0 if time_axis is None else 1 - time_axis)
        self._batch = 1 if batch_axis is None else shape[batch_axis] or 1
        self._batch_axis = batch_axis
        steps = 1 if time_axis is None else shape[time_axis]
        self._chunk = steps or (1 if state else STEPS)
        if state is None and time_axis is None:
            raise InteropError(f"{observation}: of one step, and no state; allowed: a state as input and output")
        self.steps = STEPS - STEPS % self._chunk if state else min(self._chunk, STEPS)
        """How many steps ``run`` can go from a reset."""
        self._state_shape = [] if state is None else [size or 1 for size in sizes[state[0]]]
        if start is not None and start.size != np.prod(self._state_shape):
            raise InteropError(f"initial state: {start.size} numbers; allowed: {np.prod(self._state_shape):.0f}")

    def run(self, u: Array) -> Array:
        """Return outputs ``[T, q]`` for inputs ``[T, m]``, from a reset; T as ``steps`` says, or a part of it."""
        state = np.zeros(self._state_shape, np.float32)
        if self._start is not None:
            state[:] = self._start.reshape(state.shape)
        rows = []
        for first in range(0, len(u), self._chunk):
            part = u[first : first + self._chunk].astype(np.float32)
            given = np.zeros((self._chunk, self._inputs), np.float32)
            given[: len(part)] = part
            feed = {self._names[0]: self._shaped(given)}
            names = [self._names[1]]
            if self._state is not None:
                feed[self._state[0]] = state
                names.append(self._state[1])
            try:
                y, *after = self._session.run(names, feed)
            except Exception as error:  # shapes that do not fit, above all
                raise _refused(error) from error
            state = after[0].reshape(self._state_shape) if after else state
            rows.append(self._unshaped(np.asarray(y, np.float64))[: len(part)])
        return np.concatenate(rows)

    def _shaped(self, rows: Array) -> Array:
        """Return rows ``[T, m]`` in the observation's axes; all sequences of a batch are alike."""
        if self._axis is None:
            return np.repeat(rows, self._batch, axis=0)
        if self._batch_axis is None:
            return rows
        return np.repeat(np.expand_dims(rows, self._batch_axis), self._batch, self._batch_axis)

    def _unshaped(self, y: Array) -> Array:
        """Return outputs ``[T, q]`` of the first sequence."""
        if y.size % (self._batch * self._chunk):
            raise InteropError(f"{self._names[1]}: shape {y.shape}; allowed: outputs of {self._chunk} steps")
        if self._axis == 1:
            first: Array = y.reshape(self._batch, self._chunk, -1)[0]
            return first
        return y.reshape(self._chunk, self._batch, -1)[:, 0]


def _refused(error: Exception) -> InteropError:
    reason = " ".join(str(error).split())[:160]
    return InteropError(f"source: ONNX Runtime: {reason}; allowed: a file that it runs")
