"""CfC: a case computed by hand, what a spec of one may say, and neurons that are left out."""

import math

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import SpecError, StudyError
from neuroctl.evolve.genome import Encoding, Genome
from neuroctl.train import start

SIZES = {"cell": "cfc", "inputs": 2, "neurons": 5, "outputs": 1, "dt_s": 0.02}


def test_one_step_by_hand():
    """A neuron with f = tanh(u), g = tanh(2 u + h) and t = logistic(1) = 0.731, twice; then without the gate on f."""
    u, t = 0.5, 1 / (1 + math.exp(-1))
    for mode, kept in (("default", 1 - t), ("no_gate", 1.0)):
        spec = nc.Spec(cell="cfc", inputs=1, neurons=1, outputs=1, dt_s=1.0, dtype="float64", readout="identity",
                       mode=mode)  # fmt: skip
        ctl = nc.Controller(spec, [1.0, 2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])  # W_in, U, bias
        first = kept * math.tanh(u) + t * math.tanh(2 * u)
        second = kept * math.tanh(u) + t * math.tanh(2 * u + first)
        assert np.allclose(ctl.rollout([[u], [u]])[:, 0], [first, second], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"mode": "pure"}, "^mode: 'pure'; allowed: default, no_gate$"),
        ({"backbone": (8, 0)}, r"^backbone\[1\]: 0; allowed: integers from 1 to 4096$"),
        ({"backbone": "8"}, r"^backbone: '8'; allowed: sizes of layers, such as \(16,\)$"),
        ({"activation": "relu"}, "^activation: 'relu'; allowed for cell 'cfc' without a backbone: 'tanh'$"),
        ({"activation": "gelu", "backbone": (8,)}, "^activation: 'gelu'; allowed: tanh, relu$"),
        ({"cell": "gru", "mode": "no_gate"}, "^mode: 'no_gate'; allowed for cell 'gru': 'default'$"),
        ({"cell": "elman", "backbone": (4,)}, r"^backbone: \(4,\); allowed for cell 'elman': \(\)$"),
    ],
)
def test_what_a_spec_may_not_say(fields, text):
    with pytest.raises(SpecError, match=text):
        nc.Spec(**(SIZES | fields))


def test_what_is_the_default_is_in_no_file():
    plain, spec = nc.Spec(**SIZES), nc.Spec(**SIZES, backbone=[8, 4], mode="no_gate")
    assert not {"backbone", "mode"} & set(plain.to_dict()) and "mode" in spec.used_fields()
    assert nc.Spec.from_dict(spec.to_dict()) == spec
    assert spec.summary() == "cfc: 2 inputs, 5 neurons, 1 output, backbone 8-4, dt_s 0.02"


@pytest.mark.parametrize(("mode", "most"), [("default", 1.0), ("no_gate", 2.0)])
def test_the_state_stays_within_its_bound(mode, most):
    ctl = nc.Controller(nc.Spec(**SIZES, mode=mode, backbone=(8,)), seed=2)
    ctl.params["W_ff"][:] *= 50
    ctl.rollout(np.random.default_rng(0).uniform(-3, 3, (500, 2)))
    assert 0.7 * most < np.abs(ctl.state[:5]).max() <= most


@pytest.mark.parametrize("backbone", [(8,), (8, 6)])
def test_a_neuron_is_pruned_that_no_weight_of_the_backbone_takes(backbone):
    ctl = nc.Controller(nc.Spec(**SIZES, backbone=backbone), seed=1)
    ctl.params["U"][:, 3] = 0
    assert nc.prune(ctl).spec.neurons == 5  # it is read out
    ctl.params["W_out"][:, 3] = 0
    smaller, u = nc.prune(ctl), np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    assert smaller.spec.neurons == 4 and smaller.spec.backbone == backbone
    assert np.allclose(smaller.rollout(u), ctl.rollout(u), atol=1e-5)
    ctl.params["U"][2, 3] = 0.5  # over the backbone it reaches the others again
    assert nc.prune(ctl).spec.neurons == 5


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ({"limbs": 5}, "^limbs: 5; allowed with a backbone: 1$"),
        ({"sparse": True}, "^sparse: True; allowed: weights between neurons, not a backbone$"),
    ],
)
def test_a_search_of_the_wiring_needs_weights_between_neurons(encoding, text):
    with pytest.raises(StudyError, match=text):
        Genome(nc.Spec(**SIZES, backbone=(5,)), Encoding(**encoding))


def test_training_starts_from_weights_that_neither_die_nor_explode():
    for fields in ({}, {"backbone": (64,)}, {"backbone": (64, 32), "activation": "relu"}):
        spec = nc.Spec(**(SIZES | {"neurons": 32} | fields))
        p = nc.Controller(spec, start(spec, 3)).params
        assert all(not p[name].any() for name in p if name.startswith("b") and name != "b_out")
        if not fields:
            assert all(np.allclose(u @ u.T, np.eye(32), atol=1e-5) for u in p["U"].reshape(3, 32, 32))
        else:
            gain = 2.0 if spec.activation == "relu" else 1.0
            assert np.isclose(p["U"].var() * 32, gain, rtol=0.1) and np.isclose(
                p["W_ff"].var() * spec.backbone[-1], 1, rtol=0.1
            )
    assert (start(spec, 3) == start(spec, 3)).all()
