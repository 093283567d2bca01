"""Rhythm: oscillators at the start of a search, for robots that walk, crawl, swim or flap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import decode, genes, layout
from neuroctl.errors import StudyError
from neuroctl.spec import Spec

_OWN: Final = 5.0
_CROSS: Final = 6.0
_CYCLE: Final = 5.274  # its period, in time constants, as dt goes to 0; long steps make it a little longer
_FAR: Final = 40.0  # gene at which a logistic is nearly 0 or 1


def half_center_genes(spec: Spec, pairs: Sequence[tuple[int, int]], hz: float) -> NDArray[np.float64]:
    """Return a CTRNN's genes, all 0 except those of pairs of neurons that oscillate.

    Each pair is center-crossing, with W = [[5, 6], [-6, 5]]: a limit cycle around an unstable fixed point (R. D. Beer,
    "On the dynamics of small continuous-time recurrent neural networks", Adaptive Behavior 3, 1995).

    Args:
        spec: spec of a CTRNN without a mask.
        pairs: pairs of neurons, by number.
        hz: frequency of the oscillation.

    Raises:
        StudyError: another cell, a mask, or no time constant within the genes' range gives that frequency.

    """
    if spec.cell != "ctrnn" or spec.mask is not None:
        raise StudyError(f"rhythm_hz: {hz!r} for {spec.cell!r}; allowed: a 'ctrnn' without a mask")
    blocks = genes(spec)
    low_s, high_s = (float(_decoded(spec, gene)["tau_s"][0]) for gene in (-_FAR, _FAR))
    tau_s = 1.0 / (hz * _CYCLE)
    if not low_s < tau_s < high_s:
        slow, fast = (1.0 / (tau * _CYCLE) for tau in (high_s, low_s))
        raise StudyError(f"rhythm_hz: {hz!r}; allowed with dt_s {spec.dt_s:g}: above {slow:.3g}, below {fast:.3g}")
    share = math.log(tau_s / low_s) / math.log(high_s / low_s)
    unit = float(_decoded(spec, 1.0)["W"][0, 0])
    x = np.zeros(blocks.size)
    views = blocks.views(x)
    for a, b in pairs:
        views["W"][[a, b, a, b], [a, b, b, a]] = np.array([_OWN, _OWN, _CROSS, -_CROSS]) / unit
        views["tau_s"][[a, b]] = math.log(share / (1.0 - share))
    return x


def _decoded(spec: Spec, gene: float) -> Any:
    return layout(spec).views(decode(spec, np.full(genes(spec).size, gene)))
