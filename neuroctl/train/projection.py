"""The one place that keeps parameters within their bounds: what a step brings outside is set to the nearest allowed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.layout import bounds_of
from neuroctl.spec import Spec

Array = NDArray[Any]

_TIME_MARGIN: Final = 0.01  # of dt_s: a time constant nearer to its bound decays within a step all the same
_MAX_TIME: Final = 2.0**30  # of dt_s, in fixed point; a longer one changes nothing in any run


class Projection:
    """Keeps theta within the bounds and masks of a spec's layout.

    Bounds are exclusive, so a limit on both sides leads to the next number inside. A time constant stays a hundredth of
    dt_s above its bound, as slopes grow without end where one goes to 0; with Euler's steps it stays at dt_s or above,
    as fixed point has to, and shorter ones ring; and below 2^30 dt_s. Where a mask is 0, the weight is 0.

    Args:
        spec: of the controller.

    Example:
        >>> spec = nc.Spec(cell="indrnn", inputs=1, neurons=1, outputs=1, dt_s=0.01, horizon=1)
        >>> nc.train.Projection(spec)(np.full(5, 9.0, np.float32)).round(3)
        array([9., 2., 9., 9., 9.], dtype=float32)

    """

    def __init__(self, spec: Spec):
        blocks = layout(spec)
        low, high, self._masked = bounds_of(blocks, np.dtype(spec.dtype))
        for block in blocks.blocks.values():
            if block.unit == "s":
                bound = low[block.part] + _TIME_MARGIN * spec.dt_s
                low[block.part] = np.maximum(bound, spec.dt_s) if spec.integrator == "euler" else bound
                high[block.part] = _MAX_TIME * spec.dt_s
        self.low = np.nextafter(low, high)
        self.high = np.nextafter(high, low)

    def __call__(self, theta: Array) -> Array:
        """Return the nearest allowed parameters ``[n_params]``, a new array; NaN stays."""
        nearest: Array = np.clip(theta, self.low, self.high)
        nearest[self._masked] = 0
        return nearest
