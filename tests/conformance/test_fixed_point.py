"""What fixed point must not lose: slow neurons' last bits, an oscillator's period, patterns; and what a search wins."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import hopfield
from neuroctl.errors import ExportError


@pytest.mark.parametrize("state_bits", [16, 32])
@pytest.mark.parametrize("alpha", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_no_dead_zone(alpha, state_bits):
    """A leaky integrator of constant inputs ends where it should, to one last bit of the input, however slow it is."""
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=1e-3, readout="identity", input_limits=((-1, 1),))
    q = nc.Controller(spec, [0.0, 0.0, 1.0, 1e-3 / alpha, 1.0]).quantize(state_bits=state_bits)
    u_frac, y_frac = q.formats["u"].frac_bits, q.formats["y"].frac_bits
    for raw in (10000, -10000, 1, -1, 12345, 16384, -16384):
        q.reset()
        q.rollout_int(np.full((round(25 / alpha), 1), raw, np.int32))
        stuck = abs(q.state[0] * 2.0 ** (u_frac - y_frac) - raw)  # in last bits of the input
        assert stuck <= 1.0


@pytest.mark.parametrize(("state_bits", "most"), [(32, 1.5), (16, 700.0)])
@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_a_gru_that_hardly_moves_arrives(steps, state_bits, most):
    """Its neuron goes 1 / ``steps`` of the way at a time: 32 bits arrive within 1.5 of 2^-15, 16 stall on the way."""
    spec = nc.Spec(cell="gru", inputs=1, neurons=1, outputs=1, dt_s=1e-3, readout="identity", input_limits=((-1, 1),))
    bias = float(np.log(steps - 1))
    ctl = nc.Controller(spec, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, bias, 0.0, 0.0])
    q = ctl.quantize(state_bits=state_bits)
    for u in (0.7, -0.7, 0.001, 1.0):
        q.reset()
        last = q.rollout(np.full((25 * steps, 1), u, np.float32))[-1, 0]
        error = abs(last - np.tanh(u)) * 2**15
        assert error <= most
    if state_bits == 16:
        assert error >= 0.3 * steps, "a bound that says nothing"


def rises(y, level):
    """Times in steps at which y rises through the level, by a straight line."""
    k = np.flatnonzero((y[:-1] < level) & (y[1:] >= level))
    return k + (level - y[k]) / (y[k + 1] - y[k])


@pytest.mark.parametrize("state_bits", [16, 32])
@pytest.mark.parametrize(("weight_bits", "most"), [(8, 2e-2), (16, 1e-3)])
def test_the_two_neuron_cycle_keeps_its_period(weight_bits, most, state_bits):
    """Against the float controller with the same step; 8-bit weights are other weights, and so another cycle."""
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=2, dt_s=0.01, readout="identity", input_limits=((-1, 1),))
    ctl = nc.Controller(spec, np.array([4.5, 1.0, -1.0, 4.5, -2.75, -1.75, 1, 1, 1, 1, 0, 0]))
    u = np.zeros((40_000, 1), np.float32)
    periods = []
    for form in (ctl, ctl.quantize(weight_bits=weight_bits, state_bits=state_bits)):
        times = rises(form.rollout(u)[:, 0].astype(np.float64), 0.5)
        periods.append((times[-1] - times[3]) / (len(times) - 4))
    assert abs(periods[1] / periods[0] - 1) <= most


@pytest.mark.parametrize("update", ["asynchronous", "synchronous"])
@pytest.mark.parametrize("weight_bits", [8, 16])
def test_hopfield_recalls_the_same_patterns(update, weight_bits):
    n = 60
    rng = np.random.default_rng(0)
    patterns = rng.choice([-1.0, 1.0], (5, n))
    spec = nc.Spec(
        cell="hopfield", inputs=n, neurons=n, outputs=n, dt_s=1.0, readout="identity", update=update, clamp=False,
        input_limits=((-1, 1),) * n,
    )  # fmt: skip
    ctl = nc.Controller(spec, np.concatenate([hopfield.hebb(patterns).ravel(), np.zeros(n)]))
    q = ctl.quantize(weight_bits=weight_bits)
    for pattern in patterns:
        shown = pattern * np.where(rng.random(n) < 0.15, -1, 1)
        ctl.reset(), q.reset()
        exact, fixed = ctl.step(shown.astype(np.float32)).copy(), q.step(shown.astype(np.float32))
        assert (np.sign(fixed) == np.sign(exact)).all()
        assert np.mean(np.sign(fixed) == pattern) > 0.9


SEARCHED = {
    "ctrnn": {},
    "elman relu": {"activation": "relu"},
    "indrnn": {"layers": 2, "residual": True},
    "jordan relu": {"activation": "relu", "output_limits": ((-1, 1),) * 2},
}


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("weight_bits", [8, 16])
def test_recorded_inputs_make_a_smaller_error(name, weight_bits):
    """Never a larger one on the recording; ReLU's formats, made for the worst case, gain most."""
    spec = nc.Spec(
        cell=name.split()[0], inputs=3, neurons=8, outputs=2, dt_s=0.02, input_limits=((-1, 1),) * 3, **SEARCHED[name]
    )
    gains = []
    for seed in range(4):
        ctl = nc.Controller(spec, seed=seed)
        u = np.cumsum(np.random.default_rng(seed).normal(0, 0.1, (400, 3)), axis=0).clip(-1, 1).astype(np.float32)
        truth, errors = ctl.rollout(u), []
        for calibration in (None, u):
            q = ctl.quantize(weight_bits=weight_bits, calibration=calibration)
            errors.append(float(np.sqrt(np.mean((q.rollout(u) - truth) ** 2))))
        assert errors[1] <= errors[0]
        gains.append(errors[0] / max(errors[1], 1e-12))
    if "relu" in name and weight_bits == 16:
        assert np.median(gains) > 4


def test_storage_by_block():
    spec = nc.Spec(cell="elman", inputs=2, neurons=3, outputs=1, dt_s=0.02, input_limits=((-1, 1),) * 2)
    q = nc.Controller(spec, seed=1).quantize(weight_bits={"W_in": 8, "U": 16})
    assert {name: q.formats[name].bits for name in ("W_in", "U", "W_out")} == {"W_in": 8, "U": 16, "W_out": 16}
    with pytest.raises(ExportError, match="weight_bits: 'bias'; allowed: W_in, U, W_out"):
        nc.Controller(spec).quantize(weight_bits={"bias": 8})
    with pytest.raises(ExportError, match="state_bits: 8; allowed: 16 or 32"):
        nc.Controller(spec).quantize(state_bits=8)
