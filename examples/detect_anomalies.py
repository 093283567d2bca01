"""Find faults in a motor's current: a network predicts each next sample, and an alarm is on where it is wrong.

The current is generated: load changes, commutation ripple, noise; and for the test four kinds of faults, with labels.

python examples/detect_anomalies.py 0
"""

import sys
import tempfile

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import lfilter
from sklearn.ensemble import IsolationForest

import firmware_export as fe
import neuroctl as nc

DT_S, SMOOTH, HOLD, QUANTILE, WINDOW = 0.005, 4, 60, 0.9995, 16
FAULTS = ("bearing", "sparks", "stall", "drift")


def motor(rng, seconds, faulty=False):
    """Return the current in A, and the fault at each step, 0 for none."""
    n = int(seconds / DT_S)
    load, fault, extra = rng.uniform(1, 4, n)[np.cumsum(rng.random(n) < 0.002)], np.zeros(n, int), np.zeros(n)
    for k, at in enumerate(range(800, n - 800, 1000) if faulty else ()):
        size, kind = rng.integers(200, 400), k % 4
        t, span = np.arange(size) * DT_S, slice(at, at + size)
        hum = rng.uniform(0.1, 0.2) * np.sin(2 * np.pi * rng.uniform(25, 40) * t) * (1 + np.sin(20 * t))
        sparks = (rng.random(size) < 0.06) * rng.normal(0, 0.8, size)
        fault[span], extra[span] = kind + 1, (hum, sparks, 0 * t, np.linspace(0, rng.uniform(0.5, 1), size))[kind]
    stalled = fault == 3
    amperes = lfilter([DT_S / 0.15], [1, DT_S / 0.15 - 1], np.where(stalled, 6, load))
    phase = 2 * np.pi * DT_S * np.cumsum(np.where(stalled, 0, 14 - 1.5 * amperes))
    return amperes + ~stalled * 0.12 * (1 + 0.2 * amperes) * np.sin(phase) + extra + rng.normal(0, 0.02, n), fault


def alarm_on(error, healthy):
    """Smooth errors, compare them with a quantile of those without faults, and hold: as the alarm does."""
    level, fine = (lfilter([2**-SMOOTH], [1, 2**-SMOOTH - 1], e) for e in (error, healthy))
    return np.convolve(level > np.quantile(fine[100:], QUANTILE), np.ones(HOLD + 1))[: len(level)] > 0


def judge(name, on, fault):
    """Print precision and recall of steps, and of events: alarms that began in or just after a fault, faults found."""
    begins, ends = (np.flatnonzero(np.diff(fault > 0, prepend=0, append=0) == sign) for sign in (1, -1))
    found = np.array([on[a:b].any() for a, b in zip(begins, ends, strict=True)])
    kinds = [f"{FAULTS[k]} {found[fault[begins] == k + 1].mean():.0%}" for k in range(4)]
    true = [fault[max(0, k - HOLD) : k + 1].any() for k in np.flatnonzero(np.diff(on * 1, prepend=0) == 1)]
    shares = (on & (fault > 0)).sum() / (on.sum(), (fault > 0).sum())
    print(
        f"{name:15} steps {shares[0]:4.0%} {shares[1]:4.0%}  events {np.mean(true):4.0%} {found.mean():4.0%}:", *kinds
    )


rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
(train, _), (healthy, _), (test, fault) = motor(rng, 100), motor(rng, 200), motor(rng, 400, faulty=True)
limits = {"input_limits": ((-2, 8),), "output_limits": ((-2, 8),)}
spec = nc.Spec(cell="elman", inputs=1, neurons=16, outputs=1, dt_s=DT_S, **limits)
inputs, targets = (nc.train.windows(part[:, None], 400) for part in (train[:-1], train[1:]))
fit = nc.train.fit(spec, inputs, targets, epochs=200, learning_rate=0.005, schedule="cosine", batch=10)
q = fit.controller.quantize(calibration=train[:, None])
alarm = nc.Alarm.calibrated(q, healthy[:, None], quantile=QUANTILE, smooth=SMOOTH, hold=HOLD, warm_up=100)
alarm.reset()
on, _ = alarm.rollout(test[:, None])
print(f"rms error of predictions {fit.loss**0.5:.3f} A, threshold {alarm.threshold:.3f} A; precision and recall of")
judge("network", on, fault)
cut = [sliding_window_view(np.pad(x, (WINDOW - 1, 0), "edge"), WINDOW) for x in (train, test, healthy)]
judge("moving average", alarm_on(*(np.abs(x[:, -1] - x[:, :-1].mean(axis=1)) for x in cut[1:])), fault)
forest = IsolationForest(random_state=0).fit(cut[0])
judge("IsolationForest", alarm_on(*(-forest.score_samples(x) for x in cut[1:])), fault)
print("as C:", fe.export(alarm, f"{tempfile.mkdtemp()}/firmware", name="motor").with_name("motor_alarm.h"))
