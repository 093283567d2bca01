"""Networks of the package CTRNN: the same outputs from the same states; others are refused by name."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import InteropError

ctrnn = pytest.importorskip("CTRNN", reason="the package CTRNN is compared with")
sparse = pytest.importorskip("scipy.sparse")


def network(size=4, seed=0, step_size=0.01):
    rng, net = np.random.default_rng(seed), ctrnn.CTRNN(size=size, step_size=step_size)
    net.taus, net.gains = rng.uniform(0.05, 1, size), rng.uniform(0.5, 2, size)
    net.biases = rng.normal(0, 1, size)
    net.weights = sparse.csr_matrix(rng.normal(0, 4, (size, size)) * (rng.random((size, size)) < 0.7))
    net.states = rng.normal(0, 1, size)
    return net


def steps(net, u):
    net.outputs = 1 / (1 + np.exp(-net.gains * (net.states + net.biases)))
    return np.array([(net.euler_step(row), net.outputs.copy())[1] for row in u])


@pytest.mark.parametrize("seed", range(5))
def test_outputs_are_the_same(seed):
    net = network(size=2 + seed, seed=seed)
    ctl = nc.interop.from_ctrnn(net, dtype="float64")
    assert ctl.spec.dt_s == 0.01 and np.array_equal(ctl.params["W"], net.weights.toarray())
    u = np.random.default_rng(9).normal(0, 1, (1000, ctl.spec.inputs))
    assert np.abs(ctl.rollout(u) - steps(net, u)).max() < 1e-9


def test_some_neurons_are_inputs_and_outputs():
    net = network()
    ctl = nc.interop.from_ctrnn(net, inputs=[2, 0], outputs=[3], input_limits=((-1, 1),) * 2)
    u = np.random.default_rng(9).normal(0, 0.3, (200, 2)).astype(np.float32)
    external = np.zeros((200, 4))
    external[:, [2, 0]] = u
    assert np.abs(ctl.rollout(u) - steps(net, external)[:, [3]]).max() < 1e-4
    assert ctl.quantize().spec.initial_state == "learned"


def test_what_is_none_is_refused():
    class Turned(ctrnn.CTRNN):
        def euler_step(self, u):
            weights = self.weights
            self.weights = weights.T
            super().euler_step(u)
            self.weights = weights

    turned = network()
    turned.__class__ = Turned
    with pytest.raises(
        InteropError, match=r"^source: its outputs and ours differ by .*; its weights are \[from, to\]$"
    ):
        nc.interop.from_ctrnn(turned)
    with pytest.raises(InteropError, match="^source: size: None; allowed: integers from 1 to 4096"):
        nc.interop.from_ctrnn(object())
    bad = network()
    bad.weights = np.full((4, 4), np.nan)
    with pytest.raises(InteropError, match=r"^source: weights: .*; allowed: finite numbers of shape \(4, 4\)$"):
        nc.interop.from_ctrnn(bad)
    for places, told in (([4], r"inputs\[0\]: 4"), ([], r"inputs: \[\]"), ([1, 1], r"inputs: \[1, 1\]")):
        with pytest.raises(InteropError, match=f"^{told}; allowed: "):
            nc.interop.from_ctrnn(network(), inputs=places)
    fast = network()
    fast.taus = np.full(4, 0.001)
    with pytest.raises(nc.LayoutError, match=r"^theta: tau_s\[0\] is 0.001"):
        nc.interop.from_ctrnn(fast)


class Failing(ctrnn.CTRNN):
    def euler_step(self, external_inputs):
        raise RuntimeError("no\nstep")


def test_what_raises_within_is_refused_in_one_line():
    failing, complex_, text = network(), network(), network()
    failing.__class__, complex_.gains, text.gains = Failing, np.ones(4) * 1j, np.array(["1"] * 4)
    for net, message in (
        (failing, "^source: its euler_step raised RuntimeError: no step; allowed: a network that steps$"),
        (complex_, "^source: gains: complex128 array; allowed: finite numbers"),
        (text, "^source: gains: <U1 array; allowed: finite numbers"),
    ):
        with pytest.raises(InteropError, match=message):
            nc.interop.from_ctrnn(net)
    for places in (3, {0: 1}, "01", {0, 1}):
        with pytest.raises(InteropError, match="^inputs: .*; allowed: one or more neurons, each once$"):
            nc.interop.from_ctrnn(network(), inputs=places)
