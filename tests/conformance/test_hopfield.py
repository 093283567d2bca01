"""The Hopfield network's memory: how much of a stored pattern is recalled, by load and learning rule."""

import pytest

from neuroctl import hopfield

# Mean overlaps by an independent plain loop, random order in each sweep, 6 to 12 sets of patterns.
LOADS = {
    "hebb": {0.1: 0.996, 0.138: 0.965, 0.2: 0.68, 0.4: 0.35},
    "storkey": {0.1: 1.0, 0.138: 1.0, 0.2: 1.0, 0.4: 0.999},
    "pseudo_inverse": {0.1: 1.0, 0.138: 1.0, 0.2: 1.0, 0.4: 1.0},
}


@pytest.mark.parametrize("rule", LOADS)
def test_capacity_at_300_neurons(rule):
    measured = hopfield.capacity(300, LOADS[rule], rule, trials=16)
    for load, expected in LOADS[rule].items():
        assert abs(measured[load] - expected) < 0.02, (load, measured[load])
