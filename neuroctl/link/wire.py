"""Conversion of physical units to the integers on the wire and back, by a controller's formats and limits."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.errors import LayoutError, LinkError
from neuroctl.link.arguments import fill
from neuroctl.maths.fixed import dequantize_into, quantize_into
from neuroctl.quant import QuantController
from neuroctl.quant_controller import output_range

Array = NDArray[Any]

WIRE: Final = np.dtype("<i2")


class Wire:
    """Converts inputs and outputs of one controller; the same rounding and saturation as the controller itself.

    Compiled code gets only buffers of this object, whose sizes are the controller's. It is compiled at construction: a
    board that has been started does not wait for a compiler.
    """

    def __init__(self, q: QuantController):
        spec, out = q.spec, q.formats["out"]
        self.dtype = np.dtype(spec.dtype)
        *self._to_inputs, self._out_lsbs = q.conversion
        self._low, self._high = output_range(spec, out)
        self._none, self._to_outputs = np.zeros(spec.outputs), 1.0 / self._out_lsbs
        self._u, self._y = np.zeros(spec.inputs, self.dtype), np.zeros(spec.outputs)
        self._ui, self._yi = np.zeros(spec.inputs, np.int32), np.zeros(spec.outputs, np.int32)
        self.inputs_to_bytes(self._u.copy())
        self.outputs_from_bytes(self.safe_bytes(), np.zeros(spec.outputs, self.dtype))

    def inputs_to_bytes(self, u: Array) -> bytes:
        """Return inputs in physical units as int16; out of range saturates, NaN gives 0.

        Raises:
            LayoutError: ``u`` is not one number for each input of the controller.

        """
        fill("u", u, self._u)
        offset, gain, lsb, low, high = self._to_inputs
        quantize_into(self._u, offset, gain, lsb, low, high, self._ui)
        return self._ui.astype(WIRE).tobytes()

    def inputs_from_bytes(self, data: bytes, u: Array) -> None:
        """Write inputs, in physical units, to ``u``.

        Raises:
            LayoutError: ``u`` is no float array with one element for each input of the controller.
            LinkError: ``data`` has another length.

        """
        if not isinstance(u, np.ndarray) or u.shape != self._u.shape or u.dtype.kind != "f" or not u.flags.writeable:
            got = f"{u.dtype} of shape {u.shape}" if isinstance(u, np.ndarray) else type(u).__name__
            raise LayoutError(f"u: {got}; allowed: a writable {self.dtype} array of shape {self._u.shape}")
        offset, gain, lsb, *_ = self._to_inputs
        u[:] = _words("inputs", data, len(self._ui)) * lsb / gain + offset

    def outputs_to_bytes(self, y: Array) -> bytes:
        """Return outputs in physical units as int16, clipped into the output limits.

        Raises:
            LayoutError: ``y`` is not one finite number for each output of the controller.

        """
        fill("y", y, self._y)
        if not np.isfinite(self._y).all():
            raise LayoutError(f"y: {shown(self._y)}; allowed: finite numbers")
        quantize_into(self._y, self._none, self._to_outputs, 1.0, self._low, self._high, self._yi)
        return self._yi.astype(WIRE).tobytes()

    def outputs_from_bytes(self, data: bytes, y: Array) -> None:
        """Write outputs, in physical units, to ``y``, a contiguous buffer of the spec's dtype.

        Raises:
            LinkError: ``data`` has another length.

        """
        self._yi[:] = _words("outputs", data, len(self._yi))
        dequantize_into(self._yi, self._out_lsbs, y)

    def safe_bytes(self) -> bytes:
        """Return the safe outputs, zero clipped into the output limits, as int16."""
        return self.outputs_to_bytes(self._none)


def _words(name: str, data: bytes, count: int) -> NDArray[np.int16]:
    if len(data) != count * WIRE.itemsize:
        raise LinkError(f"{name}: {len(data)} bytes came; allowed: {count * WIRE.itemsize}")
    return np.frombuffer(data, WIRE)
