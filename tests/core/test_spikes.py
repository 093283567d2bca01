"""Synaptic traces against sums of exponentials."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.spikes import SynapticTraces


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_times_equal_the_sum_of_exponentials(inputs, seed):
    rng = np.random.default_rng(seed)
    tau, weight, dt, steps = rng.uniform(1e-3, 0.1, inputs), rng.normal(size=inputs), 1e-3, 200
    trains = [np.sort(rng.uniform(0, steps * dt, rng.integers(0, 30))) for _ in range(inputs)]
    got = SynapticTraces(inputs, dt_s=dt, tau_s=tau, weight=weight, dtype="float64").times(trains, steps)
    for t in (0, 1, 57, steps - 1):
        end = (t + 1) * dt
        for k, train in enumerate(trains):
            exact = sum(weight[k] * np.exp(-(end - at) / tau[k]) for at in train if at < end - 1e-12)
            assert abs(got[t, k] - exact) < 1e-9


def test_trains_of_zero_and_one():
    traces = SynapticTraces(2, dt_s=0.01, tau_s=0.02, weight=[1.0, 3.0])
    spikes = np.zeros((5, 2))
    spikes[0, 0], spikes[2, 1] = 1, 1
    got = traces.train(spikes)
    kept = np.exp(-0.5)
    np.testing.assert_allclose(got[:, 0], kept ** np.arange(5), rtol=1e-6)
    np.testing.assert_allclose(got[:, 1], [0, 0, 3, 3 * kept, 3 * kept**2], rtol=1e-6)
    traces.reset()
    assert (traces.step([0, 0]) == 0).all()


def test_it_drives_a_controller_without_a_copy():
    ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.01), seed=0)
    traces = SynapticTraces(2, dt_s=0.01, tau_s=0.05)
    assert traces.step([1, 0]) is traces.current
    quiet = ctl.step(np.zeros(2, np.float32)).copy()
    ctl.reset()
    assert ctl.step(traces.current) != quiet


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SynapticTraces(0, dt_s=0.1, tau_s=1.0), "inputs: 0; allowed"),
        (lambda: SynapticTraces(1, dt_s=0.0, tau_s=1.0), "dt_s, tau_s: 0.0"),
        (lambda: SynapticTraces(1, dt_s=0.1, tau_s=-1.0), "dt_s, tau_s: 0.1"),
        (lambda: SynapticTraces(2, dt_s=0.1, tau_s=[1.0, 2.0, 3.0]), r"tau_s: shape \(3,\); allowed: one finite"),
        (lambda: SynapticTraces(2, dt_s=0.1, tau_s=1.0).step([1]), r"spikes: shape \(1,\); allowed: \(2,\)"),
        (lambda: SynapticTraces(2, dt_s=0.1, tau_s=1.0).train([1]), r"spikes: shape \(1,\); allowed: \(T, 2\)"),
        (lambda: SynapticTraces(1, dt_s=0.1, tau_s=1.0).times([], 3), "spike_times_s: 0 trains; allowed: 1"),
        (
            lambda: SynapticTraces(1, dt_s=0.1, tau_s=1.0).times([[0.4]], 3),
            r"spike_times_s\[0\]: \[0.4\]; allowed",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(nc.LayoutError, match=message):
        call()
