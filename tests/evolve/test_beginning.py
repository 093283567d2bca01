"""A search that begins at a controller: genes of 0 give it to the bit, others change it as far as they do elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.evolve import Encoding, Genome, StudyConfig, run_study
from tests.evolve import objectives

SPEC = nc.Spec(cell="elman", inputs=2, neurons=3, outputs=1, dt_s=0.02)
SPECS = {
    "ctrnn": {"cell": "ctrnn"},
    "masked": {"cell": "ctrnn", "mask": ((1, 0, 1, 0), (1, 1, 0, 0), (0, 1, 1, 1), (1, 0, 0, 1)), "dtype": "float64"},
    "learned": {"cell": "ctrnn", "initial_state": "learned"},
    "elman": {"cell": "elman", "layers": 2},
    "indrnn": {"cell": "indrnn", "horizon": 10, "initial_state": "learned", "activation": "tanh"},
    "jordan": {"cell": "jordan", "context_decay": 0.5},
    "gru": {"cell": "gru", "initial_state": "learned"},
    "cfc": {"cell": "cfc", "backbone": (3,)},
    "dense": {"cell": "elman", "encoder": (5,), "head": (3,)},
}


def spec_of(name: str) -> nc.Spec:
    limits = {"input_limits": ((-2.0, 2.0), (0.0, 5.0)), "output_limits": ((-10.0, 10.0),)}
    return nc.Spec(inputs=2, neurons=4, outputs=1, dt_s=0.02, **limits, **SPECS[name])


@pytest.mark.parametrize("name", SPECS)
def test_genes_of_0_give_the_controller_to_the_bit(name):
    spec = spec_of(name)
    theta = nc.Controller(spec, seed=3).theta
    genome = Genome(spec, begin_with=theta)
    assert genome.theta(np.zeros(genome.size)).tobytes() == theta.tobytes()
    assert genome.theta(np.zeros((3, genome.size))).tobytes() == theta.tobytes() * 3


@pytest.mark.parametrize("name", SPECS)
def test_a_change_of_genes_is_the_one_that_they_make_without_a_beginning(name):
    spec = replace(spec_of(name), dtype="float64")
    rng = np.random.default_rng(4)
    size = Genome(spec).size
    x, step = 0.5 * rng.standard_normal(size), 0.1 * rng.standard_normal(size)
    genome = Genome(spec, begin_with=Genome(spec).theta(x))
    np.testing.assert_allclose(genome.theta(step), Genome(spec).theta(x + step), rtol=1e-9, atol=1e-9)


def test_parameters_that_no_genes_reach_are_kept_and_changed_within_their_bounds():
    spec = spec_of("ctrnn")
    ctl = nc.Controller(spec, seed=1)
    ctl.params["gain"][:] = 3.0  # genes have it at 1
    ctl.params["tau_s"][:] = (0.02, 1e5, 0.1, 0.021)  # genes: 0.04 to 2 s
    genome = Genome(spec, begin_with=ctl.theta)
    assert genome.theta(np.zeros(genome.size)).tobytes() == ctl.theta.tobytes()
    for seed in range(20):
        theta = genome.theta(3.0 * np.random.default_rng(seed).standard_normal(genome.size))
        layout(spec).check(theta)
        views = layout(spec).views(theta)
        assert (views["gain"] == 3.0).all() and views["tau_s"][1] > 9e4


def test_a_fixed_block_stays_as_the_controller_has_it():
    spec = spec_of("elman")
    theta = nc.Controller(spec, seed=1).theta
    genome = Genome(spec, Encoding(fixed={"W_out": 0.0}), theta)
    changed = genome.theta(np.ones(genome.size))
    same = layout(spec)["W_out"].part
    assert changed[same].tobytes() == theta[same].tobytes() and (changed[:8] != theta[:8]).all()


def test_limbs_change_alike():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=2, dt_s=0.02)
    theta = nc.Controller(spec, seed=1).theta
    genome = Genome(spec, Encoding(limbs=2), theta)
    change = layout(spec).views(genome.theta(0.3 * np.random.default_rng(0).standard_normal(genome.size)) - theta)
    np.testing.assert_allclose(change["W"][:2, :2], change["W"][2:, 2:], atol=1e-6)


@pytest.mark.parametrize(
    ("encoding", "theta", "text"),
    [
        ({"rhythm_hz": 1.0}, None, "rhythm_hz: 1.0; allowed with begin_with: None"),
        ({"sparse": True}, None, "sparse: True; allowed with begin_with: False"),
        ({"optional_neurons": True}, None, "optional_neurons: True; allowed with begin_with: False"),
        ({"integer_bits": 8}, None, "integer_bits: 8; allowed with begin_with: None"),
        ({}, np.zeros(3), r"begin_with: shape \(3,\); allowed: \(41,\)"),
        ({}, np.full(41, np.nan), r"begin_with: W\[0, 0\] is nan"),
        ({}, "best.npz", "begin_with: "),
    ],
)
def test_what_does_not_go_together_is_refused(encoding, theta, text):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.02)
    theta = nc.Controller(spec, seed=0).theta if theta is None else theta
    with pytest.raises(nc.StudyError, match=text):
        StudyConfig(spec=spec, task="follow", encoding=Encoding(**encoding), begin_with=theta)


def test_no_best_of_a_study_is_worse_than_its_beginning_and_it_resumes(tmp_path):
    theta = nc.Controller(SPEC, seed=7).theta
    config = StudyConfig(
        spec=SPEC, task="follow", population=6, episodes=2, validation_episodes=4, generations=4, sigma0=0.1,
        begin_with=tuple(theta.tolist()),
    )  # fmt: skip
    result = run_study(replace(config, generations=1), objectives.follow, tmp_path / "a")
    first = nc.load(tmp_path / "a" / "best.npz")
    assert first.theta.tobytes() == theta.tobytes()
    run_study(config, objectives.follow, tmp_path / "a", resume=True)
    run_study(config, objectives.follow, tmp_path / "b")
    assert (tmp_path / "a" / "best.npz").read_bytes() == (tmp_path / "b" / "best.npz").read_bytes()
    assert run_study(config, objectives.follow, tmp_path / "b", resume=True).best_score >= result.best_score
    with pytest.raises(nc.StudyError, match="begin_with: "):
        run_study(replace(config, begin_with=tuple(2 * theta)), objectives.follow, tmp_path / "b", resume=True)
