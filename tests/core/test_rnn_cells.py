"""IndRNN, Elman, Jordan, GRU and CfC: against plain forms, torch, hand-computed cases, and themselves in lanes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import decode, genome_size, indrnn
from neuroctl.errors import LayoutError, SpecError
from tests.conformance import plain
from tests.strategies import specs

CELLS = ("indrnn", "elman", "jordan", "gru", "cfc")


def make(cell, inputs=1, neurons=2, outputs=1, **options):
    options = {"dt_s": 0.01, "dtype": "float64"} | options
    return nc.Spec(cell=cell, inputs=inputs, neurons=neurons, outputs=outputs, **options)


@settings(max_examples=60, deadline=None)
@given(specs(cells=CELLS, dense=True), st.integers(0, 2**32 - 1))
def test_rollout_equals_the_plain_form(spec, seed):
    rng = np.random.default_rng(seed)
    ctl = nc.Controller(spec, decode(spec, 0.5 * rng.standard_normal(genome_size(spec))))
    inputs = rng.uniform(-1, 1, (25, spec.inputs)).astype(spec.dtype)
    expected = plain.rollout(spec, ctl.theta, inputs)
    got = ctl.rollout(inputs)
    if not np.isfinite(got.astype("float32") - expected.astype("float32")).all() or np.abs(expected).max() > 1e6:
        return  # a relu that grows without bound: rounding grows with it
    tolerance = 1e-3 if spec.dtype == "float32" else 1e-9
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * (1 + np.abs(expected).max()))


@settings(max_examples=25, deadline=None)
@given(specs(cells=CELLS, dense=True), st.integers(0, 2**32 - 1))
def test_step_equals_rollout_and_lanes(spec, seed):
    rng = np.random.default_rng(seed)
    theta = np.stack([decode(spec, 0.3 * rng.standard_normal(genome_size(spec))) for _ in range(3)], axis=1)
    inputs = rng.uniform(-1, 1, (12, spec.inputs, 3)).astype(spec.dtype)
    lanes = get("cpu").rollout(spec, np.ascontiguousarray(theta), inputs, threads=1).outputs
    tolerance = 1e-4 if spec.dtype == "float32" else 1e-11
    for p in range(3):
        ctl = nc.Controller(spec, theta[:, p])
        whole = ctl.rollout(inputs[:, :, p])
        ctl.reset()
        stepped = np.array([ctl.step(np.ascontiguousarray(u)).copy() for u in inputs[:, :, p]])
        assert (stepped == whole).all()
        np.testing.assert_allclose(lanes[:, :, p], whole, rtol=tolerance, atol=tolerance * (1 + np.abs(whole).max()))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_input_leaves_the_network_as_it_was(cell, bad):
    ctl, twin = (nc.Controller(make(cell, inputs=2, neurons=3), seed=1) for _ in range(2))
    good = np.array([0.3, -0.2])
    before = [c.step(good).copy() for c in (ctl, twin)][0]
    assert (ctl.step(np.array([0.1, bad])) == before).all()
    assert ctl.fault
    assert (ctl.step(good) == twin.step(good)).all()
    assert ctl.fault, "the flag stays until reset"
    ctl.reset()
    assert not ctl.fault


@pytest.mark.parametrize("cell", CELLS)
def test_save_and_load(cell, tmp_path):
    ctl = nc.Controller(make(cell, inputs=2, neurons=3, outputs=2), seed=5)
    ctl.save(tmp_path / "c.npz")
    again = nc.load(tmp_path / "c.npz")
    inputs = np.random.default_rng(0).standard_normal((9, 2))
    assert again.spec == ctl.spec
    assert (again.rollout(inputs) == ctl.rollout(inputs)).all()


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_elman_equals_torch_with_the_same_weights(nonlinearity):
    torch = pytest.importorskip("torch", reason="torch is not installed: Elman is not compared with torch.nn.RNN")
    rnn = torch.nn.RNN(3, 7, nonlinearity=nonlinearity, batch_first=True, dtype=torch.float64)
    spec = make("elman", inputs=3, neurons=7, outputs=7, readout="identity", activation=nonlinearity)
    ctl = nc.Controller(spec)
    weights = {name: value.detach().numpy() for name, value in rnn.named_parameters()}
    ctl.params["W_in"][:], ctl.params["U"][:] = weights["weight_ih_l0"], weights["weight_hh_l0"]
    ctl.params["bias"][:] = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    inputs = np.random.default_rng(0).standard_normal((50, 3))
    with torch.no_grad():
        expected = rnn(torch.from_numpy(inputs)[None])[0][0].numpy()
    np.testing.assert_allclose(ctl.rollout(inputs), expected, rtol=0, atol=1e-12)
    single = nc.Controller(nc.Spec.from_dict(spec.to_dict() | {"dtype": "float32"}), ctl.theta)
    np.testing.assert_allclose(single.rollout(inputs), expected, rtol=0, atol=1e-6)


def gru_of(module, spec):
    """Our controller with the weights of a one-layer ``torch.nn.GRU``."""
    n = spec.neurons
    w_in, u, ours, recurrent = (value.detach().numpy() for value in module.parameters())
    ctl = nc.Controller(spec)
    ctl.params["W_in"][:], ctl.params["U"][:], ctl.params["bias"][:] = w_in, u, ours
    ctl.params["bias"][: 2 * n] += recurrent[: 2 * n]
    ctl.params["recurrent_bias"][:] = recurrent[2 * n :]
    return ctl


def test_gru_equals_torch_with_the_same_weights():
    torch = pytest.importorskip("torch", reason="torch is not installed: GRU is not compared with torch.nn.GRU")
    torch.manual_seed(0)
    module = torch.nn.GRU(3, 7, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for value in module.parameters():
            value *= 3.0  # gates that open and close
    spec = make("gru", inputs=3, neurons=7, outputs=7, readout="identity")
    ctl = gru_of(module, spec)
    inputs = np.random.default_rng(0).standard_normal((1000, 3))
    with torch.no_grad():
        expected = module(torch.from_numpy(inputs)[None])[0][0].numpy()
    assert np.ptp(expected) > 1.9
    np.testing.assert_allclose(ctl.rollout(inputs), expected, rtol=0, atol=1e-12)
    single = nc.Controller(nc.Spec.from_dict(spec.to_dict() | {"dtype": "float32"}), ctl.theta)
    np.testing.assert_allclose(single.rollout(inputs), expected, rtol=0, atol=1e-5)


def test_gru_by_hand():
    """With U 0 and d 1: r = s(0) = 1/2, z = s(ln 3) = 3/4, c = tanh(u + 1/2): h = c / 4, then 3/4 of it + c / 4."""
    spec = make("gru", neurons=1, readout="identity")
    ctl = nc.Controller(spec, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, math.log(3), 0.0, 1.0])
    c = math.tanh(0.75)
    first, second = c / 4, 0.75 * c / 4 + math.tanh(0.0) / 4
    np.testing.assert_allclose(ctl.rollout([[0.25], [-0.5]]).ravel(), [first, second], rtol=1e-14)


def test_jordan_by_hand():
    """f relu, alpha 1/2, W_in 1, U 2, bias 1/2, W_out 3, b_out -1, input 1, 0, 0.

    s = 0: h = 1 + 0 + 0.5 = 1.5, y = 3.5. s = 3.5: h = 7.5, y = 21.5. s = 1.75 + 21.5 = 23.25: h = 47, y = 140.
    """
    spec = make("jordan", neurons=1, activation="relu", context_decay=0.5)
    ctl = nc.Controller(spec, [1.0, 2.0, 0.5, 3.0, -1.0])
    assert ctl.rollout([[1.0], [0.0], [0.0]]).ravel().tolist() == [3.5, 21.5, 140.0]
    assert ctl.state_layout.views(ctl.state)["context"].tolist() == [0.5 * 23.25 + 140.0]


def test_jordan_remembers_what_left_the_controller():
    """With outputs clipped at 2 the context takes in 2, not 3.5: h = 0.5 + 2 * 2 = 4.5."""
    spec = make("jordan", neurons=1, activation="relu", context_decay=0.5, output_limits=((0.0, 2.0),))
    ctl = nc.Controller(spec, [1.0, 2.0, 0.5, 3.0, -1.0])
    ctl.rollout([[1.0], [0.0]])
    assert ctl.state_layout.views(ctl.state)["h"].tolist() == [4.5]


def test_indrnn_with_u_one_integrates_exactly():
    spec = make("indrnn", neurons=1, readout="identity")
    ctl = nc.Controller(spec, [1.0, 1.0, 0.0])
    assert ctl.rollout(np.full((1000, 1), 0.25))[-1, 0] == 250.0


def test_indrnn_residual_by_hand():
    """Two layers, relu, input 2: h0 = 2; h1 = 3 * 2 + 1 = 7, out = 7 + 2; then h1 = 7 + 0.5 * 7 = 10.5, out = 12.5."""
    spec = make("indrnn", neurons=1, layers=2, residual=True, readout="identity")
    ctl = nc.Controller(spec, [1.0, 0.0, 0.0, 3.0, 0.5, 1.0])
    assert ctl.rollout([[2.0], [2.0]]).ravel().tolist() == [9.0, 12.5]


@pytest.mark.parametrize("horizon", [1, 10, 1000])
def test_indrnn_u_is_limited_by_the_horizon(horizon):
    spec = make("indrnn", neurons=3, layers=2, horizon=horizon, dtype="float32")
    most = 2 ** (1 / horizon)
    for theta in (indrnn.paper_init(spec, 0), decode(spec, np.full(genome_size(spec), 1e6))):
        p = nc.Controller(spec, theta).params
        assert all(np.abs(p[f"u.{k}"]).max() <= most * (1 + 1e-6) for k in (0, 1))
    theta = indrnn.paper_init(spec, 0)
    theta[spec.neurons * spec.inputs] = most * 1.001
    with pytest.raises(LayoutError, match=r"theta: u.0\[0\] is .*; allowed: greater than -"):
        nc.Controller(spec, theta)


def test_indrnn_starts_as_the_paper_does():
    """The last layer keeps what happened long ago: u within [2^(-1/T), 2^(1/T)]; the others anything from 0 up."""
    spec = make("indrnn", inputs=2, neurons=500, layers=2, horizon=100)
    p = nc.Controller(spec, indrnn.paper_init(spec, 3)).params
    assert p["u.1"].min() >= 2 ** (-1 / 100)
    assert p["u.0"].min() < 0.01
    assert abs(np.var(p["W_in.1"]) - 2 / 500) < 1e-4
    assert abs(np.var(p["W_in.0"]) - 2 / 2) < 0.15
    assert not p["bias.0"].any()


@pytest.mark.parametrize("cell", CELLS)
def test_the_origin_of_the_genome_rests_in_the_middle_of_the_range(cell):
    spec = make(cell, inputs=2, neurons=4, outputs=2, output_limits=((0.0, 4.0), (-3.0, 1.0)))
    ctl = nc.Controller(spec, decode(spec, np.zeros(genome_size(spec))))
    np.testing.assert_allclose(ctl.step(np.zeros(2)), [2.0, -1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "indrnn", "activation": "logistic"}, "activation: 'logistic'; allowed: relu, tanh, hard_tanh"),
        ({"cell": "elman", "activation": "hard_tanh"}, "activation: 'hard_tanh'; allowed: tanh, logistic, relu"),
        ({"cell": "jordan", "layers": 2}, "layers: 2; allowed for cell 'jordan': 1"),
        ({"cell": "jordan", "readout": "identity"}, "readout: 'identity'; allowed: affine"),
        ({"cell": "jordan", "context_decay": 1.0}, "context_decay: 1.0; allowed: from 0 to less than 1"),
        ({"cell": "indrnn", "horizon": 0}, "horizon: 0; allowed: integers from 1 to 2147483647"),
        ({"cell": "elman", "integrator": "rk4"}, "integrator: 'rk4'; allowed: euler"),
        ({"cell": "lstm"}, "cell: 'lstm'; allowed: ctrnn, indrnn, elman, "),
    ],
)
def test_bad_specs_are_named(options, message):
    with pytest.raises(SpecError) as error:
        nc.Spec(**{"inputs": 1, "neurons": 2, "outputs": 2, "dt_s": 0.1} | options)
    assert message in str(error.value)


def test_no_step_grows_in_silence():
    """A relu network that blows up holds its last finite output and says so."""
    ctl = nc.Controller(make("elman", neurons=1, activation="relu", dtype="float32"), [1.0, 1e3, 0.0, 1.0, 0.0])
    outputs = ctl.rollout(np.ones((40, 1)))
    assert np.isfinite(outputs).all()
    assert ctl.fault
    assert not math.isfinite(ctl.state[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("cell", ["elman", "gru"])
def test_a_bad_input_leaves_the_states_of_all_layers(cell, bad):
    spec = nc.Spec(cell=cell, inputs=2, neurons=4, outputs=1, dt_s=0.05, layers=3, initial_state="learned")
    ctl, u = nc.Controller(spec, seed=1), np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    states = [name for name in ctl.state_layout.blocks if name.startswith("h.")]
    assert states == ["h.0", "h.1", "h.2"]
    last = ctl.rollout(u)[-1].tolist()
    before = [ctl.state[ctl.state_layout[name].part].tolist() for name in states]
    assert ctl.step(np.array([bad, 0.0], np.float32)).tolist() == last and ctl.fault
    assert [ctl.state[ctl.state_layout[name].part].tolist() for name in states] == before


@pytest.mark.parametrize("cell", ["elman", "gru"])
def test_layers_of_torch(cell):
    """The same weights in torch's own stack, over 1,000 steps."""
    torch = pytest.importorskip("torch", reason="an independent implementation")
    spec = nc.Spec(
        cell=cell, inputs=3, neurons=5, outputs=5, dt_s=0.05, layers=3, readout="identity", dtype="float64"
    )  # fmt: skip
    ctl = nc.Controller(spec, seed=2)
    stacked = (torch.nn.GRU if cell == "gru" else torch.nn.RNN)(3, 5, 3, dtype=torch.float64)
    with torch.no_grad():
        for k in range(3):
            own = {name: torch.from_numpy(np.array(ctl.params[f"{name}.{k}"])) for name in ("W_in", "U", "bias")}
            getattr(stacked, f"weight_ih_l{k}").copy_(own["W_in"])
            getattr(stacked, f"weight_hh_l{k}").copy_(own["U"])
            getattr(stacked, f"bias_ih_l{k}").copy_(own["bias"])
            getattr(stacked, f"bias_hh_l{k}").zero_()
            if cell == "gru":
                getattr(stacked, f"bias_hh_l{k}")[10:] = torch.from_numpy(np.array(ctl.params[f"recurrent_bias.{k}"]))
        u = np.random.default_rng(0).normal(size=(1000, 3))
        expected = stacked(torch.from_numpy(u))[0].numpy()
    np.testing.assert_allclose(ctl.rollout(u), expected, atol=1e-12)
