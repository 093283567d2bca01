"""Classify gestures from an accelerometer, of several lengths: an Elman network beside nearest neighbors of features.

The numbers of neurons and of neighbors are chosen by gestures of their own, and judged by others.

python examples/classify_sequences.py 120 5             # epochs, seeds: each of data, start and order
"""

import argparse

import numpy as np

import neuroctl as nc

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("epochs", type=int, nargs="?", default=120)
parser.add_argument("seeds", type=int, nargs="?", default=1)
EPOCHS, SEEDS = vars(parser.parse_args()).values()
NAMES, DT, LONGEST = ("circle", "shake", "tap", "swipe", "rest"), 0.02, 100
TRAIN, VALID, UNSEEN = slice(0, 600), slice(600, 800), slice(800, 1200)


def gesture(rng, kind):
    """Return accelerations [T, 3] in g, 0.8 to 2 s long, in a random direction, with noise of 0.15 g."""
    steps = int(rng.integers(40, LONGEST + 1))
    t, size, phase = DT * np.arange(steps), rng.uniform(0.4, 1.2), rng.uniform(0, 2 * np.pi)
    a = np.zeros((steps, 3))
    if kind == "circle":
        angle = 2 * np.pi * rng.uniform(1.0, 3.0) * rng.choice([-1, 1]) * t + phase
        a[:, :2] = size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    elif kind == "shake":
        a[:, 0] = 1.4 * size * np.sin(2 * np.pi * rng.uniform(1.0, 3.0) * t + phase)
    elif kind == "tap":
        a[:, 2] = 3 * size * np.exp(-(((t - rng.uniform(0.2, 0.6)) / 0.03) ** 2))
    elif kind == "swipe":
        at = (t - rng.uniform(0.2, 0.5)) / 0.12
        a[:, 0] = -2 * size * at * np.exp(-(at**2))
    cos, sin = np.cos(turn := rng.uniform(-np.pi, np.pi)), np.sin(turn)
    a[:, :2] = a[:, :2] @ np.array([[cos, -sin], [sin, cos]])
    return (a + 0.15 * rng.standard_normal(a.shape)).astype(np.float32)


def accuracy(controller, gestures):
    """Return the share of gestures whose class has the largest output at the end."""
    return np.mean([(controller.reset(), controller.rollout(a)[-1].argmax())[1] == k[0] for a, k, _ in gestures])


def features(a):
    """Return mean, spread and extremes of the axes, of their changes, and of the magnitude."""
    signals = np.c_[a, np.linalg.norm(a, axis=1), np.diff(a, axis=0, prepend=a[:1])]
    return np.concatenate([f(signals, axis=0) for f in (np.mean, np.std, np.min, np.max)])


rows = []
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, len(NAMES), 1200)
    # Only the second half of a gesture counts: by then the network should know.
    gestures = [(a := gesture(rng, NAMES[k]), np.full(len(a), k), np.float32(np.arange(len(a)) >= 0.5 * len(a)))
                for k in classes]  # fmt: skip
    train, valid = ([list(of) for of in zip(*gestures[part], strict=True)] for part in (TRAIN, VALID))
    controllers = []
    for n in (16, 24, 32):
        spec = nc.Spec(cell="elman", inputs=3, neurons=n, outputs=len(NAMES), dt_s=DT, input_limits=((-4, 4),) * 3)
        controllers.append(nc.train.fit(spec, *train[:2], mask=train[2], validation=tuple(valid), loss="cross_entropy",
                                        epochs=EPOCHS, schedule="cosine", seed=seed).controller)  # fmt: skip
    best = max(controllers, key=lambda c: accuracy(c, gestures[VALID]))
    fixed = best.quantize(calibration=np.concatenate(train[0][:100]))
    x = np.array([features(a) for a, _, _ in gestures])
    x /= x[TRAIN].std(axis=0)
    nearest = classes[np.linalg.norm(x[:, None] - x[None, TRAIN], axis=2).argsort(axis=1, kind="stable")]
    votes = {k: np.array([np.bincount(row[:k]).argmax() for row in nearest]) for k in (1, 3, 5, 9, 15, 25)}
    k = max(votes, key=lambda k: np.mean(votes[k][VALID] == classes[VALID]))
    rows.append([*(accuracy(c, gestures[UNSEEN]) for c in (best, fixed)), np.mean(votes[k][UNSEEN] == classes[UNSEEN])])
    print(f"seed {seed}: Elman of {best.spec.neurons}, {k} neighbors", *(f"{share:.1%}" for share in rows[-1]))
for name, shares in zip(("Elman", "in fixed point", "nearest neighbors"), np.transpose(rows), strict=True):
    print(f"{name}: {shares.mean():.1%} of 400 unseen gestures ({shares.min():.1%} to {shares.max():.1%})")
