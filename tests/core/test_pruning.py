"""Pruning leaves out what no output can hear, and nothing else."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.cells import layout
from neuroctl.pruning import parameter_bytes, reaches_output

LIMITS = {"input_limits": ((-1.0, 1.0),) * 2, "output_limits": ((-1.0, 1.0),)}


def made(cell, **fields):
    spec = nc.Spec(cell=cell, inputs=2, neurons=5, outputs=1, dt_s=0.05, **LIMITS, **fields)
    return nc.Controller(spec, seed=3)


def cut(controller, *neurons):
    """Return a controller in which the neurons send nothing."""
    theta = controller.theta.copy()
    for name, block in layout(controller.spec).views(theta).items():
        if name in ("W", "U", "W_out") and block.shape[-1] == controller.spec.neurons:
            block[:, list(neurons)] = 0.0
    return nc.Controller(controller.spec, theta)


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "cfc"])
def test_what_is_left_does_the_same(cell):
    whole = cut(made(cell), 1, 4)
    small = nc.prune(whole)
    assert small.spec.neurons == 3
    u = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    assert np.allclose(small.rollout(u), whole.rollout(u), rtol=2e-4, atol=2e-5)
    assert np.abs(small.rollout(u)).max() > 1e-3


def test_a_neuron_that_is_heard_through_others_stays():
    ctl = cut(made("ctrnn"), 1, 4)
    blocks = ctl.layout.views(ctl.theta)
    blocks["W"][0, 4] = 1.0  # 4 sends to 0, which the output hears
    assert reaches_output(ctl.spec, blocks).tolist() == [True, False, True, True, True]
    blocks["W_out"][:, 0] = 0.0
    blocks["W"][1:, 0] = 0.0  # now 0 does not reach the output, and so 4 does not either
    assert reaches_output(ctl.spec, blocks).tolist() == [False, False, True, True, False]


def test_outputs_that_are_neurons_stay():
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=4, dt_s=0.05, readout="identity")
    ctl = nc.Controller(spec, seed=1)
    ctl.layout.views(ctl.theta)["W"][:] = 0.0
    assert nc.prune(ctl).spec.neurons == 4


def test_one_neuron_is_always_left_and_a_mask_is_cut_too():
    mask = np.triu(np.ones((5, 5), int)).tolist()
    ctl = cut(made("ctrnn", mask=mask), 0, 1, 2, 3, 4)
    small = nc.prune(ctl)
    assert (small.spec.neurons, small.spec.mask) == (1, ((1,),))
    assert nc.prune(made("ctrnn", mask=mask)).spec.mask == tuple(map(tuple, mask))


def test_bytes_are_those_of_what_is_left():
    ctl = made("elman")
    assert parameter_bytes(ctl) == 2 * ctl.layout.size
    assert parameter_bytes(cut(ctl, 2)) == 2 * nc.prune(cut(ctl, 2)).layout.size
    ctl = made("ctrnn")
    fixed = ctl.quantize(weight_bits=8)
    sizes = [fixed.layout[name].size * f.bits // 8 for name, f in fixed.formats.items() if name in fixed.layout]
    assert parameter_bytes(fixed) == sum(sizes) + 4 * ctl.spec.neurons


@pytest.mark.parametrize(
    "spec",
    [{"cell": "indrnn", "layers": 2}, {"cell": "gru", "layers": 2}, {"cell": "hopfield", "outputs": 2, "neurons": 2}],
)
def test_other_cells_are_refused(spec):
    fields = {"inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 0.05} | spec
    with pytest.raises(nc.SpecError, match="cell: .*; allowed: ctrnn, jordan, cfc, and elman"):
        nc.prune(nc.Controller(nc.Spec(**fields), seed=1))
