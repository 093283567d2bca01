"""The Hopfield network's memory: how much of a stored pattern is recalled, by load and learning rule."""

import numpy as np
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


@pytest.mark.parametrize("seed", range(5))
def test_the_energy_never_rises_sweep_by_sweep(seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((60, 60))
    w = w + w.T
    np.fill_diagonal(w, 0)
    b, s = rng.standard_normal(60), rng.choice([-1.0, 1.0], 60)
    energies = [hopfield.energy(w, s, b)]
    for limit in range(1, 40):
        end = hopfield.settle(w, s, b, limit=limit, seed=seed)
        energies.append(hopfield.energy(w, end.s[0], b))
    assert (np.diff(energies) <= 1e-9).all()
    assert end.converged.all()


def test_synchronous_updates_may_end_in_a_cycle_of_two():
    w = np.array([[0.0, 1.0], [1.0, 0.0]])
    end = hopfield.settle(w, [1, -1], update="synchronous", limit=50)
    assert not end.converged[0]
    assert end.sweeps[0] == 50
