"""A learned initial state: what a reset, in any form, sets the state to; a block of theta like the others."""

import copy
import json
import warnings

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import decode, genome_size, initial_blocks, layout
from neuroctl.errors import ExportError, LayoutError, SpecError
from neuroctl.evolve.genome import Encoding, Genome
from neuroctl.maths.fixed import tanh_q
from neuroctl.pruning import prune
from neuroctl.quant import quantize_many
from sims.plants import double_pole
from tests.backends.plain import episode

CELLS = {
    "ctrnn": {},
    "indrnn": {"layers": 2},
    "indrnn tanh": {"activation": "tanh", "layers": 3, "residual": True},
    "elman": {},
    "elman relu": {"activation": "relu"},
    "jordan": {"context_decay": 0.5},
    "gru": {},
    "cfc": {},
    "cfc no_gate": {"mode": "no_gate", "backbone": (6,)},
}
LIMITS = {"input_limits": ((-1, 1),) * 3, "output_limits": ((-10, 10),)}


def learned(cell, **fields):
    usual = {"inputs": 3, "neurons": 5, "outputs": 1, "dt_s": 0.02, "initial_state": "learned"}
    return nc.Spec(cell=cell.split()[0], **(usual | LIMITS | CELLS[cell] | fields))


def population(spec, count=5):
    genes = 0.5 * np.random.default_rng(0).standard_normal((count, genome_size(spec)))
    return np.ascontiguousarray(decode(spec, genes).T)


def start_of(ctl):
    """The blocks of theta that a reset copies, and those of the state that it copies them to."""
    blocks = initial_blocks(ctl.spec)
    state = ctl.state_layout.views(ctl.state)
    return [ctl.params[name] for name in blocks.values()], [state[name] for name in blocks]


def inputs(steps=40):
    return np.random.default_rng(1).uniform(-1, 1, (steps, 3)).astype(np.float32)


def test_hopfields_state_is_set_by_its_user():
    with pytest.raises(SpecError, match="^initial_state: 'learned'; allowed for cell 'hopfield': 'zeros'$"):
        nc.Spec(cell="hopfield", inputs=1, neurons=2, outputs=1, dt_s=0.1, initial_state="learned")
    with pytest.raises(SpecError, match="^initial_state: 'ones'; allowed: zeros, learned$"):
        nc.Spec(cell="gru", inputs=1, neurons=2, outputs=1, dt_s=0.1, initial_state="ones")


@pytest.mark.parametrize("cell", CELLS)
def test_zeros_are_not_in_files_and_learned_is(cell, tmp_path):
    spec = learned(cell)
    zeros = learned(cell, initial_state="zeros")
    assert "initial_state" not in zeros.to_dict() and "initial_state" not in zeros.used_fields()
    assert nc.Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec != zeros
    assert list(layout(spec).blocks)[: -len(initial_blocks(spec))] == list(layout(zeros).blocks)
    ctl, u = nc.Controller(spec, seed=1), inputs()
    ctl.save(tmp_path / "a.npz")
    ctl.quantize().save(tmp_path / "q.npz")
    assert np.array_equal(nc.load(tmp_path / "a.npz").rollout(u), ctl.rollout(u))
    assert np.array_equal(nc.load(tmp_path / "q.npz").rollout(u), ctl.quantize().rollout(u))


@pytest.mark.parametrize("cell", CELLS)
def test_learned_zeros_are_zeros_to_the_bit(cell):
    spec, u = learned(cell), inputs()
    ctl = nc.Controller(spec, seed=2)
    for block in start_of(ctl)[0]:
        block[:] = 0
    size = layout(learned(cell, initial_state="zeros")).size
    plain = nc.Controller(learned(cell, initial_state="zeros"), ctl.theta[:size])
    ctl.reset()
    assert np.array_equal(ctl.rollout(u), plain.rollout(u))
    assert np.array_equal(ctl.quantize().rollout(u), plain.quantize().rollout(u))


@pytest.mark.parametrize("cell", CELLS)
def test_a_reset_follows_theta(cell):
    ctl, u = nc.Controller(learned(cell, output_limits=None), seed=3), inputs()
    blocks, states = start_of(ctl)
    for block, state in zip(blocks, states, strict=True):
        assert block.any() and np.array_equal(state, block)
    before = ctl.rollout(u).copy()
    for block in blocks:
        block *= 0.5
    ctl.reset()
    assert all(np.array_equal(a, b) for a, b in zip(*start_of(ctl), strict=True))
    other, again = nc.Controller(ctl.spec, ctl.theta), copy.copy(ctl)
    after = ctl.rollout(u)
    for block in start_of(again)[0]:
        block[:] = 0
    again.reset(), ctl.reset()
    assert not any(state.any() for state in start_of(again)[1]) and all(state.any() for state in start_of(ctl)[1])
    assert np.array_equal(after, other.rollout(u)) and not np.array_equal(after, before)


@pytest.mark.parametrize("cell", CELLS)
def test_each_of_a_population_starts_from_its_own(cell):
    spec = learned(cell, dtype="float64")
    theta = population(spec, 37)
    lanes = get("cpu").rollout(spec, theta, inputs())
    shared = get("cpu").rollout(spec, theta[:, 3].copy(), inputs()[:, :, None].repeat(2, 2))
    for p in (0, 3, 36):
        expected = nc.Controller(spec, theta[:, p]).rollout(inputs())
        np.testing.assert_allclose(lanes.outputs[:, :, p], expected, rtol=1e-9, atol=1e-9)
    assert np.array_equal(shared.outputs[:, :, 1], lanes.outputs[:, :, 3])


@pytest.mark.parametrize("cell", CELLS)
def test_each_episode_starts_from_its_controllers_own(cell):
    """More of them than lanes of a block, so that some take over the lanes of those that have ended."""
    spec = learned(cell, dtype="float64")
    theta = population(spec, 300)
    got = get("cpu").rollout(spec, theta, double_pole, 60, fitness="damping", threads=1)
    for p in (0, 7, 150, 299):
        value, steps, final = episode(spec, theta[:, p], double_pole, 60, fitness="damping")
        assert got.steps[p] == steps
        np.testing.assert_allclose(got.fitness[p], value, rtol=1e-8)
        np.testing.assert_allclose(got.final[:, p], final, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("state_bits", [16, 32])
@pytest.mark.parametrize("cell", CELLS)
def test_integers_start_from_the_rounded_state(cell, state_bits):
    spec = learned(cell)
    theta = population(spec)
    many = quantize_many(spec, theta.T, state_bits=state_bits)
    for p, q in enumerate(many):
        ctl = nc.Controller(spec, theta[:, p])
        for name in initial_blocks(spec).values():
            error = q.formats[name].dequantize(q.layout.views(q.theta_q)[name]) - ctl.params[name]
            assert np.abs(error).max() <= 0.5001 * q.formats[name].lsb or np.abs(ctl.params[name]).max() > 0.9999
        start = np.concatenate([q.start[w.start : w.start + w.words] for w in q.state_words[: spec.layers]])
        assert start.any() and np.array_equal(many.columns["start"][p], q.start)
        assert all((q.start[w.start : w.start + w.words] >= w.low).all() for w in q.state_words)
        assert all((q.start[w.start : w.start + w.words] <= w.high).all() for w in q.state_words)
        q.rollout(inputs())
        q.reset()
        assert np.array_equal(q.state, q.start)
        q.set_state_bytes(q.state_bytes())
    alone = many[2]
    got = get("cpu").rollout_quantized(many, double_pole, 40, fitness="damping")
    one = get("cpu").rollout_quantized(alone, double_pole, 40, fitness="damping")
    assert got.fitness[2] == one.fitness[0] and np.array_equal(got.final[:, 2], one.final[:, 0])


def test_a_state_beyond_what_steps_lead_to():
    """Activations bounded by 1 bound it; others do not, and formats and the proof then reach as far as it does."""
    for cell, name in (("elman", "h0"), ("gru", "h0"), ("cfc", "h0"), ("indrnn tanh", "h0.1")):
        ctl = nc.Controller(learned(cell), seed=0)
        ctl.params[name][:] = (1, -1, 0.5, 0, -0.5)
        q = nc.Controller(ctl.spec, ctl.theta).quantize()
        assert q.requantize(ctl.theta).model_crc32 == q.model_crc32
        ctl.params[name][2] = -1.5
        text = rf"^theta: {name}\[2\] is -1.5; allowed: greater than -1 and less than 1 \[1\]$"
        with pytest.raises(LayoutError, match=text):
            nc.Controller(ctl.spec, ctl.theta)
    for cell, name in (("elman relu", "h0"), ("indrnn", "h0.0"), ("jordan", "context0"), ("ctrnn", "y0")):
        ctl = nc.Controller(learned(cell), seed=0)
        ctl.params[name][:] = (300 * np.arange(1, 6) * (-1, 1, 1, -1, 1))[: ctl.params[name].size]
        q = nc.Controller(ctl.spec, ctl.theta).quantize()
        part = q.state_words[0]
        lowest, highest = q.start[: part.words].min(), q.start[: part.words].max()
        assert part.low <= lowest < 0 and highest <= part.high
        lsb = q.formats[name].lsb
        np.testing.assert_allclose(q.layout.views(q.theta_q)[name] * lsb, ctl.params[name], atol=lsb)
    ctl = nc.Controller(learned("jordan"), seed=0)
    ctl.params["context0"][:] = 1e7
    text = r"^context0: up to 1e\+07; allowed in fixed point with these outputs: smaller$"
    with pytest.raises(ExportError, match=text):
        ctl.quantize()


def test_a_damaged_state_is_refused():
    q = nc.Controller(learned("gru"), seed=0).quantize()
    theta_q = q.theta_q.copy()
    theta_q[q.layout["h0"].part] = 1 << 29
    with pytest.raises(ExportError, match=r"^h0\[0\]: 536870912; allowed in its format: -536854528 to 536854528$"):
        nc.QuantController(q.spec, q.formats, theta_q)


def test_one_step_by_hand():
    """An Elman neuron with U = 1 and no drive starts from 1/2: h = tanh(1/2), in integers tanh_q of it."""
    spec = nc.Spec(
        cell="elman", inputs=1, neurons=1, outputs=1, dt_s=0.1, readout="identity", input_limits=((-1, 1),),
        initial_state="learned", dtype="float64",
    )  # fmt: skip
    ctl = nc.Controller(spec, [0, 1, 0, 0.5])
    assert ctl.step(np.zeros(1))[0] == pytest.approx(np.tanh(0.5), abs=1e-6)
    assert ctl.quantize().step_int([0])[0] == tanh_q(1 << 16)


def test_genes_of_it():
    """At the origin it is zeros; genes reach all of it and no further; limbs share it; it can be fixed."""
    for cell in CELLS:
        spec = learned(cell)
        assert not any(
            block.any() for block in start_of(nc.Controller(spec, decode(spec, np.zeros(genome_size(spec)))))[0]
        )
        for gene in (-1e3, 1e3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nc.Controller(spec, decode(spec, np.full(genome_size(spec), gene)))
    spec = nc.Spec(cell="jordan", inputs=4, neurons=4, outputs=2, dt_s=0.02, initial_state="learned")
    genome = Genome(spec, Encoding(limbs=2))
    theta = genome.theta(np.random.default_rng(0).standard_normal(genome.size))
    left, right = layout(spec).views(theta)["context0"]
    assert left == right != 0
    fixed = Genome(spec, Encoding(fixed={"context0": 0.0}))
    assert not layout(spec).views(fixed.theta(np.ones(fixed.size)))["context0"].any()
    assert fixed.size == genome_size(spec) - 2


@pytest.mark.parametrize("cell", ["ctrnn", "indrnn", "elman", "jordan", "gru", "cfc"])
def test_pruning_takes_the_starts_of_neurons_along(cell):
    ctl = nc.Controller(learned(cell, layers=1), seed=4)
    ctl.params["W_out"][:, 2] = 0
    if "W" in ctl.params or "U" in ctl.params and cell != "jordan":
        weights = ctl.params["W" if "W" in ctl.params else "U"].reshape(-1, 5, 5)
        weights[:, :, 2] = 0
    smaller = prune(ctl)
    assert smaller.spec.neurons == 4 and smaller.spec.initial_state == "learned"
    ctl.reset()
    np.testing.assert_allclose(smaller.rollout(inputs()), ctl.rollout(inputs()), atol=1e-5)
