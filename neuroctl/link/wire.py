"""Physical units to the integers on the wire and back, by a controller's formats and limits."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import input_map
from neuroctl.maths.fixed import dequantize_into, quantize_into
from neuroctl.quant import QuantController

Array = NDArray[Any]

WIRE: Final = np.dtype("<i2")


class Wire:
    """Converts inputs and outputs of one controller; the same rounding and saturation as the controller itself."""

    def __init__(self, q: QuantController):
        spec, out = q.spec, q.formats["out"]
        self.dtype = np.dtype(spec.dtype)
        self._offset, self._gain = input_map(spec)
        self._to_inputs, self._out_lsb = q.conversion, out.lsb
        limits = spec.output_limits or ((out.low * out.lsb, out.high * out.lsb),) * spec.outputs
        self._low, self._high = out.quantize(np.array(limits).T)
        self._none, self._one = np.zeros(spec.outputs), np.ones(spec.outputs)
        self._ui, self._yi = np.zeros(spec.inputs, np.int32), np.zeros(spec.outputs, np.int32)

    def inputs_to_bytes(self, u: Array) -> bytes:
        """Return inputs in physical units as int16; out of range saturates, NaN gives 0."""
        offset, gain, lsb, low, high, _ = self._to_inputs
        quantize_into(u, offset, gain, lsb, low, high, self._ui)
        return self._ui.astype(WIRE).tobytes()

    def inputs_from_bytes(self, data: bytes, u: Array) -> None:
        """Write inputs, in physical units, to ``u``."""
        u[:] = np.frombuffer(data, WIRE) * self._to_inputs[2] / self._gain + self._offset

    def outputs_to_bytes(self, y: Array) -> bytes:
        """Return outputs in physical units as int16; clipped into the output limits, NaN gives 0."""
        quantize_into(y, self._none, self._one, self._out_lsb, self._low, self._high, self._yi)
        return self._yi.astype(WIRE).tobytes()

    def outputs_from_bytes(self, data: bytes, y: Array) -> None:
        """Write outputs, in physical units, to ``y``."""
        self._yi[:] = np.frombuffer(data, WIRE)
        dequantize_into(self._yi, self._out_lsb, y)

    def safe_bytes(self) -> bytes:
        """Return the safe outputs, zero clipped into the output limits, as int16."""
        return self.outputs_to_bytes(np.zeros(len(self._yi), self.dtype))
