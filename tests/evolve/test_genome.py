"""Encodings: fixed blocks, limbs that share their weights, wiring that is searched."""

import dataclasses

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import decode, genome_size, layout
from neuroctl.errors import LayoutError, StudyError
from neuroctl.evolve import Encoding, Genome
from neuroctl.spec import CELL_NAMES

LEGS = nc.Spec(cell="ctrnn", inputs=7, neurons=12, outputs=6, dt_s=0.01, input_limits=((-2, 2),) * 7)


def spec_of(cell):
    return nc.Spec(cell=cell, inputs=4, neurons=6, outputs=2, dt_s=0.02, input_limits=((-1, 3),) * 4)


def genes_of(size, *shape, seed=0):
    return 0.5 * np.random.default_rng(seed).standard_normal((*shape, size))


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_without_an_encoding_it_is_decode(cell):
    genome = Genome(spec_of(cell))
    assert genome.size == genome_size(spec_of(cell))
    x = genes_of(genome.size)
    assert np.array_equal(genome.theta(x), decode(spec_of(cell), x))
    assert np.array_equal(genome.controller(x).theta, genome.theta(x))


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_population_is_decoded_to_the_same_bits(cell):
    genome = Genome(spec_of(cell), Encoding(sparse=cell in ("ctrnn", "elman")))
    x = genes_of(genome.size, 9)
    assert np.array_equal(genome.theta(x), np.stack([genome.theta(row) for row in x]))


def test_a_masked_population_is_decoded_to_the_same_bits():
    mask = np.random.default_rng(0).integers(0, 2, (6, 6)).tolist()
    spec = dataclasses.replace(spec_of("ctrnn"), mask=mask)
    x = genes_of(genome_size(spec), 5)
    assert np.array_equal(decode(spec, x), np.stack([decode(spec, row) for row in x]))


def test_fixed_blocks_are_not_searched():
    spec = nc.Spec(cell="elman", inputs=3, neurons=1, outputs=1, dt_s=0.02, output_limits=((-10, 10),))
    genome = Genome(spec, Encoding(fixed={"W_out": 1.0, "b_out": 0, "bias": 0}))
    assert genome.size == 4
    p = layout(spec).views(genome.theta([1.0, -0.5, 0.25, 2.0]))
    assert (p["W_out"].item(), p["b_out"].item(), p["bias"].item()) == (10.0, 0.0, 0.0)
    assert p["W_in"].tolist() == [[2.0, -1.0, 0.5]]
    assert p["U"].item() == 4.0


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "gru 2", "cfc"])
@pytest.mark.parametrize("coupling", ["all", "wave"])
@pytest.mark.parametrize("limbs", [2, 6])
def test_limbs_are_interchangeable(cell, coupling, limbs):
    """Whoever swaps the limbs' inputs swaps their outputs: turned by one limb, the network does the same."""
    options = {"layers": 2, "activation": "tanh"} if cell in ("indrnn", "gru 2") else {"activation": None}
    spec = dataclasses.replace(LEGS, cell=cell.removesuffix(" 2"), **options)
    genome = Genome(spec, Encoding(limbs=limbs, coupling=coupling, shared_inputs=1))
    theta = genome.theta(genes_of(genome.size))
    u = np.random.default_rng(1).uniform(-2, 2, (40, 7)).astype(np.float32)
    turned = u.copy()
    turned[:, :6] = np.roll(u[:, :6], 6 // limbs, axis=1)
    outputs = nc.Controller(spec, theta).rollout(u)
    assert np.ptp(outputs) > 0.01
    np.testing.assert_allclose(
        nc.Controller(spec, theta).rollout(turned), np.roll(outputs, 6 // limbs, axis=1), atol=1e-4
    )


def test_a_wave_hears_neighbors_alone_and_everyone_hears_the_shared_input():
    genome = Genome(LEGS, Encoding(limbs=6, coupling="wave", shared_inputs=1))
    p = layout(LEGS).views(genome.theta(genes_of(genome.size)))
    for a in range(6):
        for b in range(6):
            block = p["W"][2 * a : 2 * a + 2, 2 * b : 2 * b + 2]
            assert (block != 0).all() if (b - a) % 6 in (0, 1, 5) else not block.any()
            assert p["W_in"][2 * a : 2 * a + 2, b].any() == (a == b) == p["W_out"][a, 2 * b : 2 * b + 2].any()
    assert len(np.unique(p["W_in"][:, 6])) == 2
    assert genome.size == 3 * 4 + 2 + 2 + 2 * 2 + 2 + 1  # W, bias, tau, W_in with the shared one, W_out, b_out


@pytest.mark.parametrize(("cell", "rows"), [("ctrnn", 6), ("elman", 6), ("gru", 18), ("cfc", 18)])
def test_sparse_wiring_is_searched(cell, rows):
    genome = Genome(spec_of(cell), Encoding(sparse=True))
    assert genome.size == genome_size(spec_of(cell)) + 6 * rows
    x = genes_of(genome.size)
    recurrent = layout(spec_of(cell)).views(genome.theta(x))["W" if cell == "ctrnn" else "U"]
    assert np.array_equal(recurrent != 0, x[-6 * rows :].reshape(rows, 6) > 0)
    ctl = genome.controller(x)
    assert (ctl.spec.mask is not None) == (cell == "ctrnn")
    assert np.array_equal(ctl.theta, genome.theta(x))


def test_limbs_share_their_gates():
    genome = Genome(LEGS, Encoding(limbs=6, shared_inputs=1, sparse=True))
    w = layout(LEGS).views(genome.theta(genes_of(genome.size, seed=3)))["W"]
    assert 0 < np.count_nonzero(w) < 144
    assert np.array_equal(w, np.roll(w, (2, 2), axis=(0, 1)))


@pytest.mark.parametrize(
    ("cell", "fields", "text"),
    [
        ("ctrnn", {"limbs": 5}, "limbs: 5; allowed: divisors of 6 neurons"),
        ("ctrnn", {"limbs": 3}, "limbs: 3; allowed: divisors of 4 inputs besides 0 shared"),
        ("ctrnn", {"fixed": {"gain": 1}}, "fixed: 'gain'; allowed for ctrnn: W, bias"),
        ("hopfield", {"limbs": 2}, "a hopfield network; allowed"),
        ("indrnn", {"sparse": True}, "weights between neurons, not indrnn"),
        ("jordan", {"sparse": True}, "weights between neurons, not jordan"),
    ],
)
def test_what_does_not_fit_is_named(cell, fields, text):
    with pytest.raises(StudyError, match=text):
        Genome(spec_of(cell), Encoding(**fields))


@pytest.mark.parametrize(
    "fields",
    [{"limbs": 0}, {"limbs": True}, {"shared_inputs": -1}, {"coupling": "some"}, {"sparse": 1}]
    + [{"fixed": {"bias": float("nan")}}, {"fixed": {"bias": "x"}}, {"fixed": 3}],
)
def test_bad_fields_are_named(fields):
    with pytest.raises(StudyError, match="allowed"):
        Encoding(**fields)


@pytest.mark.parametrize("x", [np.zeros(3), np.full(genome_size(spec_of("ctrnn")), np.nan)])
def test_bad_genes_are_named(x):
    with pytest.raises(LayoutError, match="genes: shape"):
        Genome(spec_of("ctrnn")).theta(x)


@pytest.mark.parametrize("hz", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("limbs", [1, 3])
def test_a_search_may_begin_with_limbs_that_oscillate(hz, limbs):
    genome = Genome(LEGS, Encoding(limbs=limbs, shared_inputs=1, rhythm_hz=hz))
    assert genome.size == Genome(LEGS, Encoding(limbs=limbs, shared_inputs=1)).size
    ctl = genome.controller(np.zeros(genome.size))
    ctl.state[: LEGS.neurons] += 0.1 * np.random.default_rng(0).standard_normal(LEGS.neurons)
    states = np.array([ctl.step(np.zeros(7, np.float32)) is None or ctl.state.copy() for _ in range(4000)])[1000:]
    for limb in range(limbs):
        oscillator = states[:, limb * LEGS.neurons // limbs]
        rises = np.flatnonzero((oscillator[1:] > oscillator.mean()) & (oscillator[:-1] <= oscillator.mean()))
        assert 1 / (np.diff(rises).mean() * LEGS.dt_s) == pytest.approx(hz, rel=0.15)
    still = states[:, 2]  # neither weights nor inputs
    assert np.ptp(still) < 1e-3


@pytest.mark.parametrize(
    ("spec", "fields", "said"),
    [
        (LEGS, {"rhythm_hz": -1.0}, "rhythm_hz: -1.0; allowed: a frequency above 0, or None"),
        (LEGS, {"rhythm_hz": True}, "rhythm_hz: True; allowed"),
        (LEGS, {"rhythm_hz": 500.0}, r"rhythm_hz: 500.0; allowed with dt_s 0.01: above 0.09\d+, below 9.48"),
        (LEGS, {"rhythm_hz": 1.0, "limbs": 12, "shared_inputs": 7}, "limbs: 12; allowed: divisors of 6 outputs"),
        (spec_of("elman"), {"rhythm_hz": 1.0}, "rhythm_hz: 1.0 for 'elman'; allowed: a 'ctrnn' without a mask"),
        (spec_of("ctrnn"), {"rhythm_hz": 1.0, "limbs": 6, "shared_inputs": 4}, "limbs: 6; allowed"),
    ],
)
def test_rhythms_that_cannot_be_are_refused(spec, fields, said):
    with pytest.raises(StudyError, match="^" + said):
        Genome(spec, Encoding(**fields))
