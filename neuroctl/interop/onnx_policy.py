"""A policy in an ONNX file, run a step at a time in ONNX Runtime: for a teacher, or to compare with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import array, listed
from neuroctl.errors import InteropError, require
from neuroctl.io import file_name

Array = NDArray[Any]

_MAX_BYTES: Final = 1 << 30


class OnnxPolicy:
    """Steps a policy: observation to action, and of a recurrent one the state after each step to the next.

    Args:
        path: file of a model whose first input is the observation ``[1, inputs]`` and whose first output the action;
            further inputs are states, 0 at a reset, and as many further outputs are the states after the step, as
            rsl_rl and IsaacLab write them.

    Raises:
        InteropError: ONNX Runtime refuses the file, or its inputs and outputs are others.
        BackendUnavailable: ONNX Runtime is not installed.

    """

    def __init__(self, path: str | os.PathLike[str]):
        runtime = require("onnxruntime", "interop")
        self._path = file_name(path)
        try:
            if os.path.getsize(self._path) > _MAX_BYTES:
                raise InteropError(f"{self._path}: larger than 1 GiB; allowed: a small policy")
            self._session = runtime.InferenceSession(self._path, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise InteropError(f"{self._path}: {error.strerror}; allowed: an ONNX file") from None
        except InteropError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise InteropError(f"{self._path}: {reason}; allowed: an ONNX file that ONNX Runtime runs") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != len(outputs) or not inputs or any(each.type != "tensor(float)" for each in inputs):
            got, gives = (listed((each.name for each in some), "none") for some in (inputs, outputs))
            what = f"inputs {got}, outputs {gives}"
            raise InteropError(f"{self._path}: {what}; allowed: float observation and states, action and states")
        self._observation, *states = inputs
        self._names = [each.name for each in states]
        self._first = [np.zeros([size if isinstance(size, int) else 1 for size in each.shape], np.float32)
                       for each in states]  # fmt: skip
        self._start(self._session.get_modelmeta().custom_metadata_map)
        self._states = self._first

    def _start(self, notes: Mapping[str, str]) -> None:
        """Take the reset of a controller of ours whose initial state is learned."""
        if "neuroctl.initial_state" in notes and len(self._first) == 1:
            try:
                self._first[0][:] = json.loads(notes["neuroctl.initial_state"])
            except (ValueError, TypeError):
                allowed = f"{self._first[0].size} numbers"
                raise InteropError(f"{self._path}: neuroctl.initial_state is damaged; allowed: {allowed}") from None

    def reset(self) -> None:
        """Go back to the states after a reset."""
        self._states = self._first

    def step(self, u: ArrayLike) -> Array:
        """Return the action ``[outputs]`` for an observation ``[inputs]``, float32.

        Raises:
            InteropError: the observation has another size than the policy's.

        """
        row = np.asarray(array("observation", u, "numbers"), np.float32).reshape(1, -1)
        axes = len(self._observation.shape)
        feed = {self._observation.name: row.reshape((1,) * (axes - 1) + (-1,))}
        feed |= dict(zip(self._names, self._states, strict=True))
        try:
            action, *states = self._session.run(None, feed)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise InteropError(f"{self._path}: {reason}; allowed: the observations that it was made for") from error
        self._states = [np.asarray(after).reshape(zero.shape) for after, zero in zip(states, self._first, strict=True)]
        return np.asarray(action, np.float32).reshape(-1)
