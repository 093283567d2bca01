"""Dense layers around cells: what is refused, what a bad input leaves, and what the library makes of them.

Their equations are compared in tests/conformance, their gradients in tests/train, their C in tests/firmware.
"""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import train
from neuroctl.cells import genome_size, layout
from neuroctl.errors import SpecError, StudyError
from neuroctl.evolve import Encoding, Genome
from neuroctl.pruning import parameter_bytes, prune
from neuroctl.quant import quantize_many

SIZES = {"inputs": 3, "neurons": 4, "outputs": 2, "dt_s": 0.05, "input_limits": ((-2.0, 3.0),) * 3}
DENSE = {"encoder": (6, 5), "head": (4, 3)}
CELLS = {
    "ctrnn": {}, "elman": {"activation": "relu"}, "gru": {}, "cfc": {"backbone": (4,)},
    "jordan": {"context_decay": 0.5}, "indrnn": {"activation": "tanh", "layers": 2},
}  # fmt: skip


def spec(cell="gru", **fields):
    return nc.Spec(**({"cell": cell} | SIZES | DENSE | CELLS[cell] | fields))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"encoder": (0,)}, r"^encoder\[0\]: 0; allowed: integers from 1 to 4096$"),
        ({"head": (3, 2.5)}, r"^head\[1\]: 2.5; allowed: integers from 1 to 4096$"),
        ({"encoder": 16}, r"^encoder: 16; allowed: sizes of layers, such as \(16,\)$"),
        ({"encoder": {16, 8}}, r"^encoder: {.*}; allowed: sizes of layers, such as \(16,\)$"),
        ({"input_limits": {(-1, 1), (-2, 2)}}, "^input_limits: {.*}; allowed: one .* pair of numbers .*, in order$"),
        ({"encoder": "16"}, r"^encoder: '16'; allowed: sizes of layers, such as \(16,\)$"),
        ({"dense_activation": "elu"}, "^dense_activation: 'elu'; allowed: relu, tanh, logistic$"),
        ({"readout": "identity", "outputs": 4}, r"^head: \(4, 3\); allowed with readout 'identity': \(\)$"),
        (
            {"encoder": (), "head": (), "dense_activation": "tanh"},
            "^dense_activation: 'tanh'; allowed without encoder and head: 'relu'$",
        ),
    ],
)
def test_what_a_spec_does_not_accept(fields, text):
    with pytest.raises(SpecError, match=text):
        spec(**fields)


def test_a_hopfield_network_has_no_dense_layers():
    with pytest.raises(SpecError, match=r"^encoder: \(2,\); allowed for cell 'hopfield': \(\)$"):
        nc.Spec(cell="hopfield", inputs=2, neurons=4, outputs=2, dt_s=0.1, encoder=(2,))


def test_files_without_dense_layers_do_not_name_them():
    plain = nc.Spec(cell="gru", **SIZES)
    assert not {"encoder", "head", "dense_activation"} & set(plain.to_dict())
    assert spec().to_dict()["encoder"] == [6, 5] and nc.Spec.from_dict(spec().to_dict()) == spec()
    assert spec().summary() == "gru: 3 inputs, 4 neurons, 2 outputs, encoder 6-5, head 4-3, dt_s 0.05"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", CELLS)
def test_a_bad_input_leaves_the_network_as_it_was(cell, bad):
    """ReLU turns NaN into 0: the network inside must be told."""
    u = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    ctl, twin = (nc.Controller(spec(cell), seed=1) for _ in range(2))
    for row in u[:10]:
        last = ctl.step(row).copy()
        twin.step(row)
    assert ctl.step(np.array([0.1, bad, 0.2], np.float32)).tolist() == last.tolist() and ctl.fault
    for row in u[10:]:
        assert ctl.step(row).tolist() == twin.step(row).tolist()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_population_is_quantized_as_each_alone(cell, activation):
    """The formats of ReLU's activations differ from one controller to the next."""
    network = spec(cell, dense_activation=activation)
    theta = np.stack([scale * train.start(network, seed) for seed, scale in enumerate((1.0, 0.3, 1.5))])
    if cell == "ctrnn":
        layout(network).rows(theta)["tau_s"][:] = 0.2
    for row, q in zip(theta, quantize_many(network, theta), strict=True):
        alone = nc.Controller(network, row).quantize()
        assert q.formats == alone.formats and (q.theta_q == alone.theta_q).all() and q.bounds == alone.bounds


@pytest.mark.parametrize("cell", ["elman", "gru", "ctrnn"])
def test_what_a_neuron_without_a_readout_leaves(cell):
    ctl = nc.Controller(spec(cell), seed=3)
    for name in ("U", "W", "W_head.0"):
        if name in ctl.params:
            columns = ctl.params[name].reshape(-1, 4)
            columns[:, 2] = 0.0
    smaller, u = prune(ctl), np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    assert smaller.spec.neurons == 3 and parameter_bytes(ctl) == 2 * smaller.layout.size
    np.testing.assert_allclose(smaller.rollout(u), ctl.rollout(u), atol=1e-5)


def test_genomes():
    assert Genome(spec(), Encoding(optional_neurons=True)).size == genome_size(spec()) + 4
    with pytest.raises(StudyError, match="^limbs: 2; allowed with dense layers: 1$"):
        Genome(spec(outputs=2, inputs=4, input_limits=None), Encoding(limbs=2))


@pytest.mark.parametrize("cell", CELLS)
def test_what_training_starts_from_neither_dies_nor_explodes(cell):
    network = spec(cell, encoder=(32, 32), head=(32, 32), neurons=16, output_limits=((-1, 1), (0, 10)))
    ctl = nc.Controller(network, train.start(network, 0))
    y = ctl.rollout(np.random.default_rng(0).uniform(-2, 3, (200, 3)).astype(np.float32))
    assert not ctl.fault and (y.std(axis=0) > 0.001).all()
