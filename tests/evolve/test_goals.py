"""Goals beside the fitness, and searched sizes: energy, bytes, neurons that may be missing, integer genes."""

import dataclasses
import math

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import genome_size
from neuroctl.evolve import Encoding, FixedPointConfig, Genome, Goals, run_study
from neuroctl.io import read_archive
from neuroctl.pruning import parameter_bytes, reaches_output
from tests.evolve import objectives, study_script
from tests.evolve.study_script import config

SPEC = dataclasses.replace(study_script.SPEC, output_limits=((-1, 1),))


class Stepped:
    """An objective that steps the controller itself, as an environment does."""

    def __call__(self, controller, seed):
        controller.reset()
        u = np.random.default_rng(seed).uniform(-1, 1, (20, SPEC.inputs)).astype(np.float32)
        return float(sum(controller.step(row)[0] for row in u))


def controller():
    return nc.Controller(SPEC, seed=2)


def test_energy_is_the_mean_square_of_the_outputs():
    goals = Goals(Stepped(), ("energy", "bytes"), SPEC)
    fitness, energy, size = goals(controller(), 1)
    assert fitness == Stepped()(controller(), 1)
    u = np.random.default_rng(1).uniform(-1, 1, (20, SPEC.inputs)).astype(np.float32)
    limit = np.abs(np.array(SPEC.output_limits)).max(axis=1)
    assert math.isclose(energy, -float(((controller().rollout(u) / limit) ** 2).mean()), rel_tol=1e-6)
    assert size == -parameter_bytes(controller())
    assert goals.measures[1].low < size < 0


def test_a_rollout_is_metered_as_steps_are():
    goals = Goals(objectives.follow, ("energy",), SPEC)
    fitness, energy = goals(controller(), 1)
    assert fitness == objectives.follow(controller(), 1)
    u = np.random.default_rng(1).uniform(-1, 1, (20, SPEC.inputs))
    assert math.isclose(energy, -float((controller().rollout(u) ** 2).mean()), rel_tol=1e-6)


@pytest.mark.parametrize("names", [("speed",), ("bytes", "bytes")])
def test_unknown_goals_are_named(names):
    with pytest.raises(nc.StudyError, match="goals: .*; allowed: energy, bytes, each once"):
        Goals(Stepped(), names, SPEC)


def test_a_front_of_three_goals_also_in_fixed_point(tmp_path):
    goals = Goals(Stepped(), ("energy", "bytes"), SPEC)
    fields = {"optimizer": "nsga2", "measures": goals.measures, "encoding": Encoding(optional_neurons=True)}
    for name, storage in (("float", None), ("fixed", FixedPointConfig(8, 16))):
        run_study(config(**fields, spec=SPEC, fixed_point=storage, population=12), goals, tmp_path / name)
        front = read_archive(tmp_path / name / "front.npz").arrays["values"]
        assert front.shape[1] == 3
        assert len({float(size) for size in front[:, 2]}) > 1


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "cfc"])
def test_neurons_that_are_off_are_left_out(cell):
    spec = nc.Spec(
        cell=cell, inputs=1, neurons=4, outputs=1, dt_s=0.05, input_limits=((-1, 1),), output_limits=((-1, 1),)
    )
    genome = Genome(spec, Encoding(optional_neurons=True))
    assert genome.size == genome_size(spec) + 4
    x = np.random.default_rng(0).standard_normal(genome.size)
    x[-4:] = [1.0, -1.0, -0.1, 2.0]
    whole = nc.Controller(spec, genome.theta(x))
    assert reaches_output(spec, whole.layout.views(whole.theta)).tolist() == [True, False, False, True]
    small = genome.controller(x)
    assert small.spec.neurons == 2
    u = np.random.default_rng(1).uniform(-1, 1, (50, 1)).astype(np.float32)
    assert np.allclose(small.rollout(u), whole.rollout(u), rtol=1e-4, atol=1e-5)


def test_limbs_have_or_lack_the_same_neurons():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=6, outputs=2, dt_s=0.05)
    plain = Genome(spec, Encoding(limbs=2)).size
    genome = Genome(spec, Encoding(limbs=2, optional_neurons=True))
    assert genome.size == plain + 3
    x = np.ones(genome.size)
    x[-2] = -1.0
    assert genome.controller(x).spec.neurons == 4


@pytest.mark.parametrize("bits", [8, 16])
def test_integer_genes_are_the_weights_on_the_board(bits):
    genome = Genome(SPEC, Encoding(integer_bits=bits))
    most = 2 ** (bits - 1) - 1
    x = np.random.default_rng(0).integers(-most, most + 1, genome.size).astype(float)
    assert np.array_equal(genome.snapped(x), x)
    fixed = genome.controller(x).quantize(weight_bits=bits)
    n = SPEC.neurons
    stored, wanted = fixed.layout.views(fixed.theta_q)["W"].ravel(), x[: n * n]
    shift = np.unique(stored[wanted != 0] / wanted[wanted != 0])
    assert len(shift) == 1
    assert math.log2(shift[0]).is_integer()


def test_genes_between_integers_are_snapped_and_far_ones_clipped():
    genome = Genome(SPEC, Encoding(integer_bits=8))
    assert genome.snapped(np.array([0.4, -0.2, 1.6, 1e9, -1e9])).tolist() == [0.0, 0.0, 2.0, 127.0, -127.0]
    assert genome.unit == 32.0
    near = np.full(genome.size, 3.3)
    assert np.array_equal(genome.theta(near), genome.theta(np.full(genome.size, 3.0)))


@pytest.mark.parametrize("optimizer", ["cmaes", "snes"])
def test_a_study_on_integers_searches_and_keeps_integers(tmp_path, optimizer):
    fields = {"encoding": Encoding(integer_bits=8), "fixed_point": FixedPointConfig(8, 32), "optimizer": optimizer}
    result = run_study(config(**fields, generations=20), objectives.follow, tmp_path / "s")
    genomes = read_archive(tmp_path / "s" / "population.npz").arrays["genomes"]
    assert np.array_equal(genomes, np.rint(genomes))
    assert np.abs(genomes).max() <= 127
    first = run_study(config(**fields, generations=1), objectives.follow, tmp_path / "one")
    assert result.best_score > first.best_score


@pytest.mark.parametrize(
    "fields", [{"integer_bits": 4}, {"integer_bits": True}, {"optional_neurons": 1}, {"sparse": "yes"}]
)
def test_bad_encodings_are_named(fields):
    with pytest.raises(nc.StudyError, match=f"{next(iter(fields))}: .*; allowed: "):
        Encoding(**fields)
