"""The Hopfield network: theory (energy, fixed points, capacity), its uses as memory and as controller."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import neuroctl as nc
from neuroctl import hopfield
from neuroctl.backends import get
from neuroctl.cells import decode, genome_size
from neuroctl.errors import LayoutError, SpecError
from tests.strategies import specs


def network(neurons, **options):
    options = {"inputs": neurons, "outputs": neurons, "readout": "identity", "clamp": False} | options
    return nc.Spec(**{"cell": "hopfield", "neurons": neurons, "dt_s": 1.0, "dtype": "float64"} | options)


def symmetric(n, seed):
    w = np.random.default_rng(seed).standard_normal((n, n))
    w = w + w.T
    np.fill_diagonal(w, 0)
    return w


def bits(shape, seed):
    return np.random.default_rng(seed).choice([-1.0, 1.0], shape)


def plain_sweep(w, b, s, order, update):
    """One sweep by the definition; returns the new state."""
    old, s = list(s), list(s)
    for i in order:
        field = sum(w[i][j] * (s if update == "asynchronous" else old)[j] for j in range(len(s))) - b[i]
        s[i] = s[i] if field == 0 else float(np.sign(field))
    return s


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from(["asynchronous", "synchronous"]))
def test_settling_equals_the_plain_form(n, seed, update):
    w, b, start = symmetric(n, seed), np.random.default_rng(seed).standard_normal(n), bits(n, seed + 1)
    order = np.random.default_rng(7).permutation(n)
    s, sweeps, converged = list(start), 0, False
    while sweeps < 20 and not converged:
        new = plain_sweep(w, b, s, order, update)
        converged, s, sweeps = new == s, new, sweeps + 1
    got = hopfield.settle(w, start, b, update=update, seed=7, limit=20)
    assert (got.s[0] == s).all()
    assert (bool(got.converged[0]), int(got.sweeps[0])) == (converged, sweeps)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(0, 10**6))
def test_asynchronous_updates_never_raise_the_energy(n, seed):
    w, b, s = symmetric(n, seed), np.random.default_rng(seed).standard_normal(n), bits(n, seed + 1)
    before = hopfield.energy(w, s, b)
    for _ in range(50):
        got = hopfield.settle(w, s, b, seed=seed % 11, limit=1)
        s, after = got.s[0], hopfield.energy(w, got.s[0], b)
        assert after <= before + 1e-9
        before = after
    assert got.converged.all()


def test_synchronous_updates_can_end_in_a_cycle_of_two():
    w = np.array([[0.0, 1.0], [1.0, 0.0]])
    got = hopfield.settle(w, [1, -1], update="synchronous", limit=51)
    assert not got.converged[0]
    assert got.s[0].tolist() == [-1, 1]
    assert got.sweeps[0] == 51
    assert hopfield.settle(w, [1, -1], limit=51).converged[0]


@pytest.mark.parametrize("rule", hopfield.RULES.values(), ids=hopfield.RULES)
def test_learning_rules_give_symmetric_weights_that_recall_from_noise(rule):
    xi = bits((8, 120), 0)
    w = rule(xi)
    np.testing.assert_allclose(w, w.T, atol=1e-12)
    assert not np.diag(w).any()
    noisy = xi.copy()
    noisy[:, np.random.default_rng(1).permutation(120)[:12]] *= -1  # a tenth of the bits
    got = hopfield.settle(w, noisy)
    assert got.converged.all()
    assert (got.s * xi).mean() > 0.99


def test_hebb_and_storkey_by_hand():
    xi = np.array([[1, 1, -1], [1, -1, 1]])
    assert (hopfield.hebb(xi) == (np.array([[0, 0, 0], [0, 0, -2], [0, -2, 0]]) / 3)).all()
    # First pattern: W = xi xi'/3. Second, pair (0, 1): h_01 = W_02 = -1/3, h_10 = W_12 = -1/3 (times xi_2 = 1), so
    # dW_01 = (1 * -1 - 1 * h_10 - h_01 * -1)/3 = (-1 + 1/3 - 1/3)/3 = -1/3, and W_01 = 1/3 - 1/3 = 0.
    np.testing.assert_allclose(hopfield.storkey(xi)[0, 1], 0.0, atol=1e-15)


def test_the_pseudo_inverse_keeps_every_pattern():
    xi = bits((100, 150), 3)
    got = hopfield.settle(hopfield.pseudo_inverse(xi), xi)
    assert (got.s == xi).all()
    assert (got.sweeps == 1).all()


@pytest.mark.parametrize("clamp", [True, False])
def test_as_a_controller_it_completes_what_it_sees(clamp):
    """Three associations of 20 observed bits with 4 actions: the observation recalls the actions."""
    xi = bits((3, 64), 5)
    spec = network(64, inputs=20, outputs=4, readout="last", clamp=clamp)
    ctl = nc.Controller(spec, np.concatenate([hopfield.pseudo_inverse(xi).ravel(), np.zeros(64)]))
    for pattern in xi:
        ctl.reset()
        assert ctl.step(0.3 * pattern[:20]).tolist() == pattern[-4:].tolist()
        state = ctl.state_layout.views(ctl.state)
        assert (state["converged"], state["s"].tolist()) == (1, pattern.tolist())


def test_clamped_bits_stay_and_presented_bits_may_change():
    xi = bits((1, 30), 6)[0]
    theta = np.concatenate([hopfield.hebb(xi).ravel(), np.zeros(30)])
    shown = xi[:10].copy()
    shown[0] *= -1
    clamped, presented = (nc.Controller(network(30, inputs=10, clamp=c), theta) for c in (True, False))
    assert clamped.step(shown)[:10].tolist() == shown.tolist()
    assert clamped.state_layout.views(clamped.state)["s"][10:].tolist() == xi[10:].tolist()
    assert presented.step(shown).tolist() == xi.tolist()


def test_zero_counts_as_plus_one_and_a_tie_keeps_the_neuron():
    ctl = nc.Controller(network(3, inputs=1, clamp=True), np.zeros(12))
    assert ctl.step(np.zeros(1)).tolist() == [1, 0, 0]


def test_the_continuous_form_reaches_the_fixed_point_of_its_equation():
    w, b = symmetric(6, 8), np.random.default_rng(8).standard_normal(6)
    spec = network(6, update="continuous", dt_s=0.05, settle_steps=4000)
    ctl = nc.Controller(spec, np.concatenate([w.ravel(), b]))
    start = np.random.default_rng(9).uniform(-1, 1, 6)
    s = ctl.step(start).copy()
    exact = solve_ivp(lambda _, v: -v + w @ np.tanh(v) - b, (0, 300), start, rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(s, np.tanh(exact), atol=1e-4)
    assert ctl.state_layout.views(ctl.state)["converged"] == 1
    short = nc.Controller(network(6, update="continuous", dt_s=0.05, settle_steps=3), ctl.theta)
    short.step(start)
    assert short.state_layout.views(short.state)["converged"] == 0


@settings(max_examples=25, deadline=None)
@given(specs(cells=("hopfield",)), st.integers(0, 2**32 - 1))
def test_lanes_equal_single_controllers(spec, seed):
    rng = np.random.default_rng(seed)
    theta = np.stack([decode(spec, 0.5 * rng.standard_normal(genome_size(spec))) for _ in range(5)], axis=1)
    inputs = rng.uniform(-1.5, 1.5, (6, spec.inputs, 5)).astype(spec.dtype)
    inputs[3, 0, 2] = np.nan
    lanes = get("cpu").rollout(spec, np.ascontiguousarray(theta), inputs, threads=1)
    for p in range(5):
        ctl = nc.Controller(spec, theta[:, p])
        expected = ctl.rollout(inputs[:, :, p])
        assert ctl.fault == (p == 2)
        tolerance = 1e-4 if spec.update == "continuous" else 0
        np.testing.assert_allclose(lanes.outputs[:, :, p], expected, rtol=0, atol=tolerance)


def test_decode_gives_a_symmetric_network():
    spec = network(5)
    p = nc.Controller(spec, decode(spec, np.random.default_rng(0).standard_normal(genome_size(spec)))).params
    assert (p["W"] == p["W"].T).all()
    assert not np.diag(p["W"]).any()


def test_save_and_load(tmp_path):
    ctl = nc.Controller(network(5, inputs=2, update="synchronous", order_seed=3), seed=1)
    ctl.save(tmp_path / "h.npz")
    assert nc.load(tmp_path / "h.npz").spec == ctl.spec


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hopfield.hebb([[1, 0]]), "patterns: shape (1, 2); allowed: rows of +1 and -1"),
        (lambda: hopfield.hebb([]), "patterns: shape (1, 0)"),
        (lambda: hopfield.storkey("x"), "patterns: str"),
        (lambda: hopfield.settle(np.zeros((3, 3)), [1, -1]), "w, bias: shapes (3, 3), (2,); allowed: (2, 2) and (2,)"),
        (lambda: hopfield.capacity(9, [0.1], "hebbs"), "rule: 'hebbs'; allowed: hebb, pseudo_inverse, storkey"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(LayoutError) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 4}, "inputs: 4; allowed for cell 'hopfield': 1 to 3"),
        ({"outputs": 4, "readout": "last"}, "outputs: 4; allowed for cell 'hopfield': 1 to 3"),
        ({"update": "random"}, "update: 'random'; allowed: asynchronous, synchronous, continuous"),
        ({"settle_steps": 0}, "settle_steps: 0"),
        ({"order_seed": -1}, "order_seed: -1; allowed: integers >= 0"),
        ({"readout": "affine"}, "readout: 'affine'; allowed: last, identity"),
    ],
)
def test_bad_specs_are_named(options, message):
    with pytest.raises(SpecError) as error:
        network(3, **options)
    assert message in str(error.value)
