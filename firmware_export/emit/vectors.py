"""Self-test vectors: raw inputs, and the integer controller's outputs for them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import ExportError
from neuroctl.quant import QuantController

STEPS: Final = 16
_LOW, _HIGH = -32768, 32767
_EXTREMES: Final = ((0,), (_HIGH,), (_LOW,), (_HIGH, _LOW), (1,), (-1,))


class Vectors(NamedTuple):
    """One sequence from reset, in raw integers: ``inputs [T, m]``, ``outputs [T, q]`` and the last state."""

    inputs: NDArray[Any]
    outputs: NDArray[Any]
    state: NDArray[Any]


def vectors(q: QuantController) -> Vectors:
    """Return ``STEPS`` steps: recorded inputs, if the controller holds any, then extremes, then pseudo-random ones.

    Args:
        q: a controller that may be reset and stepped.

    """
    inputs = _inputs(q)
    q.reset()
    outputs = q.rollout_int(inputs)
    return Vectors(inputs, outputs, q.state.copy())


def recorded(q: QuantController) -> NDArray[np.int32]:
    """Return the controller's recorded inputs as raw integers ``[T, inputs]``; T is 0 if there are none.

    Raises:
        ExportError: they do not fit the controller; a damaged file can hold such.

    """
    width = q.spec.inputs
    if q.calibration is None:
        return np.empty((0, width), np.int32)
    shape = np.shape(q.calibration)
    if len(shape) != 2 or shape[0] == 0 or shape[1] != width:
        raise ExportError(f"calibration: shape {shape}; allowed: (T, {width}) with T at least 1")
    return q.quantize_input(q.calibration)


def _inputs(q: QuantController) -> NDArray[np.int32]:
    width, known = q.spec.inputs, recorded(q)
    if len(known):
        known = known[np.linspace(0, len(known) - 1, STEPS // 2).astype(np.int64)]
    extremes = np.array([np.resize(pattern, width) for pattern in _EXTREMES], np.int32)
    rest = STEPS - len(known) - len(extremes)
    random = np.random.default_rng(q.model_crc32).integers(_LOW, _HIGH + 1, (rest, width))
    return np.concatenate([known, extremes, random]).astype(np.int32)
