"""Every form of every cell against the plain equations."""

import numpy as np
import pytest

from tests.conformance import cases, forms, plain
from tests.conformance.cases import FIXED_TOLERANCE, OPTIONS, WORST_CASE


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", forms.FLOATS)
@pytest.mark.parametrize("name", OPTIONS)
def test_floats_follow_the_equations(name, form, dtype):
    spec, theta, u = cases.case(name, dtype)
    error = np.abs(forms.FLOATS[form](spec, theta, u) - plain.rollout(spec, theta, u)).max()
    assert error <= forms.FLOAT_TOLERANCE[dtype]


@pytest.mark.parametrize("form", forms.INTEGERS)
@pytest.mark.parametrize("name", [name for name in OPTIONS if cases.in_fixed_point(name)])
def test_fixed_point_follows_the_equations(name, form):
    spec, theta, u = cases.case(name, "float32")
    bits = 8 if "8 bits" in form else 16
    errors = np.abs(forms.INTEGERS[form](spec, theta, u) - plain.rollout(spec, theta, u))
    if spec.cell == "hopfield":  # signs: exact, unless rounded weights lead a network elsewhere
        assert (errors > 0).mean() <= (0.1 if bits == 8 else 0.0)
    else:
        assert errors.max() <= max(FIXED_TOLERANCE[bits], WORST_CASE.get(name, 0.0))


@pytest.mark.parametrize("form", forms.FLOATS)
def test_jordan_by_hand(form):
    """h = relu(u + s/2), y = 2 h + 1, s = s/2 + y: 1; 0; 0 give s = 0, 3, 5.5, h = 1, 1.5, 2.75, y = 3, 4, 6.5."""
    import neuroctl as nc

    spec = nc.Spec(
        cell="jordan", inputs=1, neurons=1, outputs=1, dt_s=0.1, activation="relu", context_decay=0.5, dtype="float64"
    )
    theta = [1.0, 0.5, 0.0, 2.0, 1.0]  # W_in, U, bias, W_out, b_out
    assert forms.FLOATS[form](spec, np.array(theta), np.array([[1.0], [0], [0]])).ravel().tolist() == [3, 4, 6.5]


@pytest.mark.parametrize("form", forms.FLOATS)
def test_gru_equals_torch(form):
    torch = pytest.importorskip("torch", reason="torch is not installed: GRU is not compared with torch.nn.GRU")
    import neuroctl as nc

    torch.manual_seed(0)
    gru = torch.nn.GRU(3, 7, dtype=torch.float64)
    spec = nc.Spec(cell="gru", inputs=3, neurons=7, outputs=7, dt_s=0.1, readout="identity", dtype="float64")
    w_in, u, b1, b2 = (p.detach().numpy() for p in gru.parameters())
    bias = b1 + np.where(np.arange(21) < 14, b2, 0.0)
    inputs = np.random.default_rng(0).standard_normal((60, 3))
    with torch.no_grad():
        expected = gru(torch.from_numpy(inputs)[:, None])[0][:, 0].numpy()
    got = forms.FLOATS[form](spec, np.concatenate([w_in.ravel(), u.ravel(), bias, b2[14:]]), inputs)
    assert np.abs(got - expected).max() < 1e-6


@pytest.mark.parametrize("form", forms.FLOATS)
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_elman_equals_torch(nonlinearity, form):
    torch = pytest.importorskip("torch", reason="torch is not installed: Elman is not compared with torch.nn.RNN")
    import neuroctl as nc

    torch.manual_seed(0)
    rnn = torch.nn.RNN(3, 7, nonlinearity=nonlinearity, dtype=torch.float64)
    spec = nc.Spec(
        cell="elman", inputs=3, neurons=7, outputs=7, dt_s=0.1, activation=nonlinearity, readout="identity",
        dtype="float64",
    )  # fmt: skip
    w_in, u, b1, b2 = (p.detach().numpy() for p in rnn.parameters())
    inputs = np.random.default_rng(0).standard_normal((60, 3))
    with torch.no_grad():
        expected = rnn(torch.from_numpy(inputs)[:, None])[0][:, 0].numpy()
    got = forms.FLOATS[form](spec, np.concatenate([w_in.ravel(), u.ravel(), b1 + b2]), inputs)
    assert np.abs(got - expected).max() < 1e-6
