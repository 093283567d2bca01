"""A check that gradients are right: beside differences of the loss, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from neuroctl.cells import layout
from neuroctl.checks import integer
from neuroctl.controller import Controller
from neuroctl.errors import TrainingError
from neuroctl.spec import Spec
from neuroctl.train.gradients import Gradient

_TOLERANCE: Final = 1e-6
_STEP: Final = 3e-6  # near the cube root of float64's precision, where rounding and curvature err alike
_MAX_ENTRIES: Final = 40  # of a block


def check(spec: Spec, *, steps: int = 12, sequences: int = 3, seed: int = 0) -> Mapping[str, float]:
    """Compare the gradient of a random controller with central differences of its loss, in float64.

    Args:
        spec: of the controllers; compared in float64 whatever its dtype.
        steps: length of the random sequences, from 1 on.
        sequences: how many, from 1 on.
        seed: of parameters, inputs and targets.

    Returns:
        The largest error of each block of theta, as a share of the largest entry of the whole gradient. Of a block of
        more than 40 parameters 40 are looked at.

    Raises:
        TrainingError: an error is above 1e-6; names the parameter.
        SpecError: the cell has no gradient.

    Example:
        >>> errors = check(nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=1, dt_s=0.1))
        >>> max(errors.values()) < 1e-6
        True

    """
    rng = np.random.default_rng(integer("seed", seed, 0, error=TrainingError))
    length = integer("steps", steps, 1, error=TrainingError), integer("sequences", sequences, 1, error=TrainingError)
    spec = replace(spec, dtype="float64")
    theta = Controller(spec, seed=seed).theta
    u, y = rng.standard_normal((*length, spec.inputs)), rng.standard_normal((*length, spec.outputs))
    gradient = Gradient(spec, threads=1)
    found = gradient(theta, u, y)[1]
    largest, worst = float(np.abs(found).max()), {}
    for name, block in layout(spec).blocks.items():
        entries = np.arange(block.offset, block.offset + block.size)
        if block.mask is not None:
            entries = entries[np.ravel(block.mask) != 0]
        worst[name] = 0.0
        for k in entries[:: max(1, len(entries) // _MAX_ENTRIES)]:
            step = np.zeros_like(theta)
            step[k] = _STEP * max(abs(theta[k]), 0.1)
            high, low = theta + step, theta - step
            difference = (gradient(high, u, y)[0] - gradient(low, u, y)[0]) / (high[k] - low[k])
            error = abs(difference - found[k]) / largest
            worst[name] = max(worst[name], float(error))
            if not error <= _TOLERANCE:
                index = [int(i) for i in np.unravel_index(k - block.offset, block.shape)]
                raise TrainingError(
                    f"gradient: {name}{index} is {found[k]:.9g}; allowed: {difference:.9g}, by differences"
                )
    return worst
