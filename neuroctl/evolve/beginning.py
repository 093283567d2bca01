"""The beginning of a search at a controller that is there: genes are then changes of its parameters."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import cell_of, genes, layout
from neuroctl.layout import bounds_of
from neuroctl.spec import Spec

Array = NDArray[Any]

_FARTHEST: Final = 3.0  # genes of a tanh or logistic; farther out a parameter would hardly change with its gene
_HALVINGS: Final = 40


class Beginning:
    """Maps changes of a cell's genes to parameters, so that no change gives a controller's own, to the bit.

    Parameters change as they do by ``decode``: theta = theta_0 + (decode(x_0 + x) - decode(x_0)), within their bounds.
    What is linear in its gene does not depend on x_0; for the others ``decode(x_0)`` is theta_0 as far as genes within
    3 reach.

    Args:
        spec: the controller's spec.
        theta: its parameters, ``[n_params]``.

    """

    def __init__(self, spec: Spec, theta: Array):
        self._spec, self._theta = spec, np.asarray(theta, np.float64)
        low, high, _ = bounds_of(layout(spec), np.dtype(spec.dtype))
        self._low, self._high = np.nextafter(low, high), np.nextafter(high, low)
        self._genes = self._nearest()
        self._decoded = self._decode(self._genes)

    def __call__(self, changes: Array) -> Array:
        """Return parameters ``[..., n_params]`` in the spec's dtype, of changes of genes ``[..., genes]``."""
        with np.errstate(over="ignore"):
            theta = self._theta + (self._decode(self._genes + changes) - self._decoded)
            nearest: Array = np.clip(theta.astype(self._spec.dtype), self._low, self._high)
        return nearest

    def _decode(self, x: Array) -> Array:
        return cell_of(self._spec).decode(self._spec, x)

    def _nearest(self) -> Array:
        """Return genes within 3 whose parameters are nearest, by bisection: each parameter grows with its gene."""
        own, parameters = genes(self._spec), layout(self._spec)
        same = [
            (block.part, parameters[name].part)
            for name, block in own.blocks.items()
            if name in parameters and parameters[name].shape == block.shape
        ]
        low, high = np.full(own.size, -_FARTHEST), np.full(own.size, _FARTHEST)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            decoded, above = self._decode(middle), np.zeros(own.size, bool)
            for gene, parameter in same:
                above[gene] = decoded[parameter] < self._theta[parameter]
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        nearest: Array = 0.5 * (low + high)
        return nearest
