"""The scripts that ``verify`` runs: inputs that reach the extremes, and the integer controller's words for them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.quant import QuantController

from ..emit.vectors import recorded
from .harness import DeviceUnderTest

_LOW, _HIGH = -32768, 32767
_HOLDS: Final = (1, 8, 64, 512)
_LEVELS: Final = (_LOW, _HIGH, 0)
_EXTREMES: Final = (_LOW, _HIGH, 0, -1)
_RESETS_A_THOUSAND: Final = 2


class Stimulus(NamedTuple):
    """A script: raw ``inputs [T, m]``, and ``resets [T]``, True for a reset of the state before the step."""

    inputs: NDArray[np.int16]
    resets: NDArray[np.bool_]
    seed: int

    @property
    def script(self) -> NDArray[np.int16]:
        """The harness's form ``[T, 1 + m]``: the reset flag before the inputs."""
        return np.column_stack([self.resets.astype(np.int16), self.inputs])


def stimulus(q: QuantController, steps: int, seed: int) -> Stimulus:
    """Return ``steps`` steps: half recorded inputs, repeated, and half random; all random without recorded inputs.

    Each random input holds a level for 1, 8, 64 or 512 steps, so that slow neurons reach their extremes too; one
    level in two is the smallest or largest number or 0. Resets are at the start of each half and at random steps.
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
    return Stimulus(inputs, resets, seed)


def _held(rng: np.random.Generator, steps: int) -> NDArray[np.int16]:
    pieces, length = [], 0
    while length < steps:
        hold = int(rng.choice(_HOLDS))
        level = rng.choice(_LEVELS) if rng.random() < 0.5 else rng.integers(_LOW, _HIGH + 1)
        pieces.append(np.full(hold, level, np.int16))
        length += hold
    return np.concatenate(pieces)[:steps]


def expected(device: DeviceUnderTest, run: Stimulus) -> NDArray[np.int64]:
    """Return the integer controller's words for a script, ``[T, words]``: outputs, then the state's fields."""
    q, size = device.q, device.q.spec.outputs
    words = np.empty((len(run.inputs), device.words), np.int64)
    inputs = run.inputs.astype(np.int32)
    state = np.concatenate([np.arange(field.start, field.start + field.words) for field in device.fields])
    q.reset()
    for t in range(len(inputs)):
        if run.resets[t]:
            q.reset()
        words[t, :size] = q.step_int(inputs[t])
        words[t, size:] = q.state[state]
    return words


def board_stimulus(q: QuantController, steps: int, seed: int) -> Stimulus:
    """Return the steps that ``harness/avr.c`` generates: Marsaglia's xorshift32 from ``seed``."""
    random, inputs = seed & 0xFFFFFFFF, np.zeros((steps, q.spec.inputs), np.int16)
    resets, row = np.zeros(steps, np.bool_), [0] * q.spec.inputs

    def bits() -> int:
        nonlocal random
        random ^= random << 13 & 0xFFFFFFFF
        random ^= random >> 17
        random ^= random << 5 & 0xFFFFFFFF
        return random

    for t in range(steps):
        what = bits()
        resets[t] = what >> 8 & 511 == 0
        if what & 7 == 0:
            levels = [bits() for _ in row]
            row = [_EXTREMES[level >> 1 & 3] if level & 1 else (level >> 16 ^ 0x8000) - 0x8000 for level in levels]
        inputs[t] = row
    return Stimulus(inputs, resets, seed)


def block_hashes(words: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """Return the FNV-1a hash, 32 bits, of all words up to the end of each block ``[blocks, 1]``."""
    hashes, state = [], 2166136261
    for t, row in enumerate(words.astype("<i4")):
        for byte in row.tobytes():
            state = (state ^ byte) * 16777619 & 0xFFFFFFFF
        if (t + 1) % block == 0 or t + 1 == len(words):
            hashes.append([state])
    return np.array(hashes, np.int64)
