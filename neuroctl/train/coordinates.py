"""The coordinates that optimizers step: parameters in units of their own scale, times in their logarithm.

A learning rate is the size of a step, so one rate for all suits only numbers of one scale. A time constant of 10 ms
that steps by 0.01 s is at its bound at once; a weight on an input of thousands is far too large after one step.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, layout
from neuroctl.spec import Spec

Array = NDArray[Any]

STRETCH: Final = 10.0  # so much larger is a step of a time's logarithm: a rate of 0.01 changes it by 10 %


class Coordinates:
    """Maps theta to the coordinates x that an optimizer steps, and a gradient with it.

    - times (blocks in seconds): x = log(theta / dt_s) / 10, so that a step is a share of a time, whatever dt_s is
    - ``W_in``: x = theta times the largest magnitude of the input, where the network sees it unscaled
    - ``W_out``, ``b_out``: x = theta over half of the range of the output, and ``U`` of a Jordan network, which takes
      outputs, x = theta times their largest magnitude; ``context0``, their sum, x = theta over it
    - all others: x = theta

    So training takes the same course in other units of time, inputs or outputs. Without limits in the spec only times
    are changed.

    Args:
        spec: of the controller.
        stretch: the 10; 1 for an optimizer that chooses the size of its steps.

    Example:
        >>> spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=0.01, input_limits=((-8, 8),))
        >>> theta = np.array([1.0, 1.0, 1.0, 0.01, 0.5, 1.0, 1.0])  # W, bias, gain, tau_s, W_in, W_out, b_out
        >>> Coordinates(spec).of(theta)
        array([1., 1., 1., 0., 4., 1., 1.])

    """

    def __init__(self, spec: Spec, stretch: float = STRETCH):
        self._stretch, blocks = stretch, layout(spec)
        scale = np.ones(blocks.size)
        p = blocks.views(scale)
        p[base.first_weights(blocks)][:] /= base.input_scale(spec)
        if spec.cell == "jordan" and not spec.head:
            p["U"][:] /= base.output_scale(spec)
            if "context0" in p:
                p["context0"][:] *= base.output_scale(spec)
        if spec.readout == "affine":
            half = base.output_range(spec)[1]
            p["W_out"][:] *= half[:, None]
            p["b_out"][:] *= half
        times = [np.arange(b.offset, b.offset + b.size) for b in blocks.blocks.values() if b.unit == "s"]
        self._times = np.concatenate([*times, np.empty(0, np.intp)]).astype(np.intp)
        scale[self._times] = spec.dt_s
        self._scale = scale

    def of(self, theta: Array) -> Array:
        """Return the coordinates of parameters ``[n_params]``, in their dtype."""
        with np.errstate(over="ignore"):  # of a bound
            x = theta / self._scale
        x[self._times] = np.log(x[self._times]) / self._stretch
        return x.astype(theta.dtype)

    def theta(self, x: Array) -> Array:
        """Return the parameters of coordinates ``[n_params]``, in their dtype; what overflows is infinite."""
        theta = x.astype(np.float64)
        theta[self._times] = np.exp(self._stretch * theta[self._times])
        return (theta * self._scale).astype(x.dtype)

    def gradient(self, theta: Array, gradient: Array) -> Array:
        """Return how the loss changes with the coordinates, of its change with theta: by the chain rule."""
        slope = self._scale.copy()
        slope[self._times] = self._stretch * theta[self._times]
        return (gradient * slope).astype(gradient.dtype)
