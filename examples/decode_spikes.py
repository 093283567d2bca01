"""Decode a rate from spike trains: synaptic traces, then an Elman network trained by gradient."""

import argparse

import numpy as np

import neuroctl as nc
from neuroctl.spikes import SynapticTraces

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("epochs", type=int, nargs="?", default=150)
DT, STEPS, CELLS, EPOCHS = 0.005, 400, 12, parser.parse_args().epochs
rng = np.random.default_rng(0)
kernel = np.exp(-0.5 * (np.arange(-60, 61) / 20) ** 2)  # a signal that is smooth over 0.1 s
signal = np.stack([np.convolve(rng.standard_normal(STEPS + 120), kernel, "valid") for _ in range(60)], axis=1)
signal /= signal.std()
gains, offsets = rng.choice([-1, 1], CELLS) * rng.uniform(0.5, 1.5, CELLS), rng.uniform(0.5, 2.5, CELLS)
rates = np.exp(np.minimum(gains * signal[..., None] + offsets, 5))  # Hz, [T, B, CELLS]: half of them fall as it rises
spikes = rng.random(rates.shape) < rates * DT

traces = SynapticTraces(CELLS, dt_s=DT, tau_s=0.05)
u = np.zeros(rates.shape, np.float32)
for b in range(u.shape[1]):
    traces.reset()
    for t in range(STEPS):
        u[t, b] = traces.step(spikes[t, b])
train, unseen = slice(0, 45), slice(45, 60)
spec = nc.Spec(cell="elman", inputs=CELLS, neurons=16, outputs=1, dt_s=DT, input_limits=((0, 4),) * CELLS)
fit = nc.train.fit(spec, u[:, train], signal[:, train, None], epochs=EPOCHS, learning_rate=0.005, schedule="cosine")


def correlation(estimates):
    """Return the correlation with the true signal after the first 0.5 s, on the trains that were not trained on."""
    return np.corrcoef(estimates[100:].ravel(), signal[100:, unseen].ravel())[0, 1]


decoded = np.zeros((STEPS, 15))
for k, b in enumerate(range(45, 60)):
    fit.controller.reset()
    decoded[:, k] = fit.controller.rollout(np.ascontiguousarray(u[:, b]))[:, 0]
print(f"correlation of the Elman network with the true signal: {correlation(decoded):.3f}")

# The baselines see the same cells, with the signs of their gains known: counts in the last w steps, the best w.
signed = np.cumsum(spikes @ np.sign(gains), axis=0)
averages = {w: correlation((signed - np.roll(signed, w, axis=0))[:, unseen]) for w in (5, 10, 20, 30, 40, 60, 80)}
best = max(averages, key=averages.get)
print(f"moving average of signed spikes over the best of 7 windows, {1000 * DT * best:.0f} ms: {averages[best]:.3f}")
