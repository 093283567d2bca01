"""What every cell offers to the rest of the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.layout import Layout
from neuroctl.maths.fixed import QFormat
from neuroctl.spec import Spec

Array = NDArray[Any]
Formats = Mapping[str, QFormat]
Bounds = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Cell:
    """One kind of network: its layouts, its genome and its compiled steps.

    ``step(theta, state, u, y, ints, floats)`` advances one time step; ``rollout`` takes a time axis in front of
    u and y. Both are polymorphic in rank (see ``maths.vectors``), allocate nothing and raise nothing.
    ``ints`` and ``floats`` hold what a step needs besides theta: sizes, and the time base and output limits.
    A step is ``prime(theta, state, ints, floats)``, which fits what the state holds ready to theta, and ``advance``,
    with the arguments of ``step``, which leaves it fitting: a rollout primes once.

    The integer form has the same shape: ``step_q(theta_q, state_q, u, y, ints_q)`` on int32 arrays, where theta_q
    has theta's layout and ``ints_q`` holds sizes, shifts and limits. ``bounds_q`` proves by interval analysis over
    all int16 inputs and all reachable states which range each intermediate of the step stays in.
    """

    name: str
    layout: Callable[[Spec], Layout]
    state_layout: Callable[[Spec], Layout]
    genome_size: Callable[[Spec], int]
    decode: Callable[[Spec, NDArray[np.float64]], NDArray[np.float64]]
    step: Callable[[Array, Array, Array, Array, Array, Array], None]
    rollout: Callable[[Array, Array, Array, Array, Array, Array], None]
    prime: Callable[[Array, Array, Array, Array], None]
    advance: Callable[[Array, Array, Array, Array, Array, Array], None]
    own_ints: Callable[[Spec], Sequence[int]]
    own_floats: Callable[[Spec], Sequence[float]]
    quantize: Callable[[Spec, Array, QFormat, int], tuple[Formats, NDArray[np.int32]]]
    state_layout_q: Callable[[Spec], Layout]
    ints_q: Callable[[Spec, Formats], NDArray[np.int64]]
    bounds_q: Callable[[Spec, Formats, NDArray[np.int32]], Bounds]
    start_q: Callable[[Spec, Formats, NDArray[np.int32]], NDArray[np.int32]]
    step_q: Callable[[Array, Array, Array, Array, Array], None]
    rollout_q: Callable[[Array, Array, Array, Array, Array], None]


NEURONS, INPUTS, OUTPUTS, AFFINE, OUTPUT_ACTIVATION, ACTIVATION, OPTION = range(7)
"""Places in ``ints``: sizes, 1 for an affine readout, codes of ``ACTIVATIONS``; a cell's own options from OPTION on."""

DT, LIMITS = 0, 1
"""Places in ``floats``: dt_s; from LIMITS on the outputs' lows, their highs, and a cell's own constants."""


def start_state(spec: Spec, layout: Layout) -> Array:
    """Return the state after reset: zeros, the held outputs clipped into the output limits."""
    state = np.zeros(layout.size, dtype=spec.dtype)
    if spec.output_limits is not None:
        state[layout["held"].part] = [min(max(0.0, low), high) for low, high in spec.output_limits]
    return state
