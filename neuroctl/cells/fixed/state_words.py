"""Which words of an integer state persist from step to step: what C stores, and what is sent or compared of a state.

The rest of the state is scratch, which a step writes before it reads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import integer_of
from neuroctl.cells.base import Bounds, Formats
from neuroctl.spec import Spec


class StateWords(NamedTuple):
    """Words of one block of the state, side by side.

    Args:
        name: the block, see ``state_layout_q``.
        storage: a NumPy dtype's name: int16, uint16 or int32.
        start: index of the first word in the state.
        words: how many there are.
        low: smallest value that steps lead to.
        high: largest value that steps lead to.

    """

    name: str
    storage: str
    start: int
    words: int
    low: int
    high: int


def state_words(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> tuple[StateWords, ...]:
    """Return the persistent words of a controller's integer state, in C's order."""
    form = integer_of(spec)
    layout = form.state_layout_q(spec)
    return tuple(
        StateWords(name, storage, layout[name].offset, layout[name].size, low, high)
        for name, (storage, low, high) in form.persistent_q(spec, formats, theta_q, bounds).items()
    )
