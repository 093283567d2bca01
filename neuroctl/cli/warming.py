"""``neuroctl bench --warm``: compile the code of controllers while an image is built or a robot is set up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuroctl.backends import get
from neuroctl.cells import initial
from neuroctl.controller import Controller
from neuroctl.maths.codecache import must_store
from neuroctl.realtime import Loop
from neuroctl.spec import CELL_NAMES, Spec


def warm(cells: Sequence[str] = CELL_NAMES) -> dict[str, Any]:
    """Fill the cache of compiled code: steps, rollouts, loops and populations of each cell in float32 and fixed point.

    Compiled code depends on the kind of network and the dtype, not on sizes or parameters. Plants are the user's, and
    are compiled at their first run.

    Returns:
        ``cells``, their names, and ``seconds``, the duration.

    Raises:
        FileFormatError: compiled code cannot be stored: no folder may be written to, or the disk is full.

    """
    start = time.perf_counter()
    with must_store():
        for cell in cells:
            _warm(cell)
    return {"cells": list(cells), "seconds": time.perf_counter() - start}


def _warm(cell: str) -> None:
    spec = Spec(cell=cell, inputs=1, neurons=2, outputs=1, dt_s=0.01, input_limits=((-1.0, 1.0),))
    inputs = np.zeros((2, 1), np.float32)
    ctl = Controller(spec)
    for form in (ctl, ctl.quantize()):
        form.step(inputs[0])
        form.rollout(inputs)
        Loop(form, read=lambda u: u.fill(0), write=lambda y: None, safe=lambda: None).run(ticks=2)
    population = np.stack([initial(spec, seed) for seed in range(2)], axis=1)
    get("cpu").rollout(spec, np.ascontiguousarray(population), inputs, threads=1)
