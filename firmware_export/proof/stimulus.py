"""What a proof runs: inputs that reach the corners, and what the integer controller makes of them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware_export.emit.vectors import recorded
from neuroctl.quant import QuantController

_LOW, _HIGH = -32768, 32767
_HOLDS: Final = (1, 8, 64, 512)
_LEVELS: Final = (_LOW, _HIGH, 0)
_RESETS_A_THOUSAND: Final = 2


class Stimulus(NamedTuple):
    """A script: ``inputs [T, m]`` raw, and ``resets [T]``, True where the state is reset before the step."""

    inputs: NDArray[np.int16]
    resets: NDArray[np.bool_]

    @property
    def script(self) -> NDArray[np.int16]:
        """The harness's form ``[T, 1 + m]``: the reset flag before the inputs."""
        return np.column_stack([self.resets.astype(np.int16), self.inputs])


def stimulus(q: QuantController, steps: int, seed: int) -> Stimulus:
    """Return ``steps`` steps: half recorded inputs, over and over, and half random; all random if none are recorded.

    Each random input holds a level for 1, 8, 64 or 512 steps, so that slow neurons reach their extremes too; one
    level in two is the least or greatest number or 0. A reset stands at each change and at a few random places.

    """
    rng = np.random.default_rng(seed)
    inputs = np.empty((steps, q.spec.inputs), np.int16)
    first = steps // 2 if q.calibration is not None else 0
    if first:
        inputs[:first] = np.resize(recorded(q), (first, q.spec.inputs))
    for column in range(q.spec.inputs):
        inputs[first:, column] = _held(rng, steps - first)
    resets = rng.random(steps) < _RESETS_A_THOUSAND / 1000
    resets[[0, first]] = True
    return Stimulus(inputs, resets)


def _held(rng: np.random.Generator, steps: int) -> NDArray[np.int16]:
    pieces, length = [], 0
    while length < steps:
        hold = int(rng.choice(_HOLDS))
        level = rng.choice(_LEVELS) if rng.random() < 0.5 else rng.integers(_LOW, _HIGH + 1)
        pieces.append(np.full(hold, level, np.int16))
        length += hold
    return np.concatenate(pieces)[:steps]


def expected(q: QuantController, run: Stimulus) -> NDArray[np.int32]:
    """Return what the integer controller makes of a script: ``[T, q + 2 n]``, outputs, then y, then s.

    Args:
        q: a controller of the caller's own; it is reset and stepped.
        run: the script.

    """
    count, size = len(run.inputs), q.spec.outputs
    words = np.empty((count, size + len(q.state)), np.int32)
    inputs = run.inputs.astype(np.int32)
    q.reset()
    for t in range(count):
        if run.resets[t]:
            q.reset()
        words[t, :size] = q.step_int(inputs[t])
        words[t, size:] = q.state
    return words


def word_name(q: QuantController, index: int) -> str:
    """Return the name of a column of ``expected``, such as ``y[3]``."""
    outputs, neurons = q.spec.outputs, q.spec.neurons
    if index < outputs:
        return f"out[{index}]"
    return f"y[{index - outputs}]" if index < outputs + neurons else f"s[{index - outputs - neurons}]"


def unpack(q: QuantController, record: bytes) -> NDArray[np.int32]:
    """Return the harness's records in the form of ``expected``."""
    outputs, neurons = q.spec.outputs, q.spec.neurons
    halves = np.frombuffer(record, "<i2").reshape(-1, outputs + 3 * neurons)
    y = np.ascontiguousarray(halves[:, outputs : outputs + 2 * neurons]).view("<i4")
    return np.column_stack([halves[:, :outputs], y, halves[:, outputs + 2 * neurons :]]).astype(np.int32)
