"""Classify gestures from an accelerometer, of several lengths: an Elman network beside nearest means of features."""

import sys

import numpy as np

import neuroctl as nc

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 120
NAMES, DT, LONGEST = ("circle", "shake", "tap", "swipe", "rest"), 0.02, 100
rng = np.random.default_rng(0)


def gesture(kind):
    """Return accelerations [T, 3] in g, 0.8 to 2 s long, in a random direction, with noise of 0.15 g."""
    steps = int(rng.integers(40, LONGEST + 1))
    t, size, phase = DT * np.arange(steps), rng.uniform(0.4, 1.2), rng.uniform(0, 2 * np.pi)
    a = np.zeros((steps, 3))
    if kind == "circle":
        w = 2 * np.pi * rng.uniform(1.0, 3.0) * rng.choice([-1, 1])
        a[:, 0], a[:, 1] = size * np.cos(w * t + phase), size * np.sin(w * t + phase)
    elif kind == "shake":
        a[:, 0] = 1.4 * size * np.sin(2 * np.pi * rng.uniform(1.0, 3.0) * t + phase)
    elif kind == "tap":
        a[:, 2] = 3 * size * np.exp(-(((t - rng.uniform(0.2, 0.6)) / 0.03) ** 2))
    elif kind == "swipe":
        at = (t - rng.uniform(0.2, 0.5)) / 0.12
        a[:, 0] = -2 * size * at * np.exp(-(at**2))
    turn = rng.uniform(-np.pi, np.pi)
    a[:, :2] = a[:, :2] @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (a + 0.15 * rng.standard_normal(a.shape)).astype(np.float32)


classes = rng.integers(0, len(NAMES), 1200)
sequences = [gesture(NAMES[k]) for k in classes]
train, unseen = range(800), range(800, 1200)
targets = [np.full(len(each), k) for each, k in zip(sequences, classes, strict=True)]
# Only the second half of a gesture counts: by then the network should know.
masks = [(np.arange(len(each)) >= 0.5 * len(each)).astype(np.float32) for each in sequences]
spec = nc.Spec(cell="elman", inputs=3, neurons=24, outputs=len(NAMES), dt_s=DT,
               input_limits=((-4, 4),) * 3)  # fmt: skip


def padded(parts):
    """Return parts [T, B, ...], with zeros beyond the end of each."""
    return np.stack([np.pad(p, [(0, LONGEST - len(p))] + [(0, 0)] * (p.ndim - 1)) for p in parts], axis=1)


u, y, mask = padded(sequences), padded(targets), padded(masks)
fit = nc.train.fit(spec, u[:, train], y[:, train], mask=mask[:, train], loss="cross_entropy", epochs=EPOCHS,
                   schedule="cosine")  # fmt: skip


def accuracy(controller):
    """Return the share of unseen gestures whose class has the largest output at the end."""
    hits = 0
    for k in unseen:
        controller.reset()
        hits += int(controller.rollout(sequences[k])[-1].argmax()) == classes[k]
    return hits / len(unseen)


# The baseline: mean, spread and extremes of each axis, standardized; the class with the nearest mean.
features = np.array([np.concatenate([f(a, axis=0) for f in (np.mean, np.std, np.min, np.max)]) for a in sequences])
features = (features - features[:800].mean(axis=0)) / features[:800].std(axis=0)
means = np.stack([features[:800][classes[:800] == k].mean(axis=0) for k in range(len(NAMES))])
nearest = np.linalg.norm(features[800:, None] - means, axis=2).argmin(axis=1)
fixed = fit.controller.quantize(calibration=np.concatenate(sequences[:100]))
print(f"accuracy on 400 unseen gestures: Elman {accuracy(fit.controller):.1%}, fixed point {accuracy(fixed):.1%}")
print(f"nearest mean of 12 features: {np.mean(nearest == classes[800:]):.1%}")
