"""Find faults in a motor's current: a network predicts each next sample, and an alarm is on where it is wrong.

All settings, and those of two simpler methods, are chosen by the faults of one series, and judged by those of another.

python examples/detect_anomalies.py 5 200               # seeds, epochs
"""

import argparse
import tempfile
from itertools import product

import numpy as np
from motor_faults import DT_S, figures, motor
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import lfilter
from scipy.stats import hmean
from sklearn.ensemble import IsolationForest

import firmware_export as fe
import neuroctl as nc

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("seeds", type=int, nargs="?", default=1)
parser.add_argument("epochs", type=int, nargs="?", default=200)
SEEDS, EPOCHS = vars(parser.parse_args()).values()
HOLD, PARTS = 60, ((100, False), (200, False), (400, True), (400, True))  # s: to train, for thresholds, choice, test


def judge(errors, fault, smooth, quantile):
    """Return the figures of errors: smoothed, above a quantile of those without faults, held, as by the alarm."""
    healthy, level = (lfilter([2**-smooth], [1, 2**-smooth - 1], e) for e in errors)
    above = level > np.quantile(healthy[100:], quantile)
    return figures(np.convolve(above, np.ones(HOLD + 1))[: len(level)] > 0, fault, HOLD)


def windows(parts, window, centered):
    """Return each sample's last samples, as they are or less their mean."""
    cut = [sliding_window_view(np.pad(x, (window - 1, 0), "edge"), window) for x in parts]
    return [w - w.mean(axis=1, keepdims=True) for w in cut] if centered else cut


def chosen(errors, fault):
    """Return setting, smooth and quantile by which steps are judged best in the second series: by their F1."""
    options = product(errors, (0, 2, 4, 6), (0.99, 0.999, 0.9995, 1))
    return max(options, key=lambda of: hmean(judge(errors[of[0]][:2], fault, *of[1:])[:2]))


rows, spec = {}, {"cell": "elman", "inputs": 1, "outputs": 1, "input_limits": ((-2, 8),), "output_limits": ((-2, 8),)}
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    (train, _), (healthy, _), (valid, known), (test, fault) = (motor(rng, s, f) for s, f in PARTS)
    alarms, errors = {}, {"network": {}, "moving average": {}, "IsolationForest": {}}
    for n in (8, 16, 24):
        inputs, targets = (nc.train.windows(part[:, None], 400) for part in (train[:-1], train[1:]))
        fit = nc.train.fit(nc.Spec(neurons=n, dt_s=DT_S, **spec), inputs, targets, epochs=EPOCHS, learning_rate=0.005,
                           schedule="cosine", batch=10, seed=seed)  # fmt: skip
        alarms[n] = nc.Alarm(fit.controller.quantize(calibration=train[:, None]), 0.0)
        parts = [x[:, None] for x in (healthy, valid, test)]
        errors["network"][n] = [(alarms[n].reset(), alarms[n].rollout(x)[1])[1] for x in parts]
    for w in (4, 8, 16, 32):
        errors["moving average"][w] = [np.abs(x[:, -1] * w / (w - 1)) for x in windows((healthy, valid, test), w, True)]
        for centered in (False, True):
            cut = windows((train, healthy, valid, test), w, centered)
            cut = [np.c_[x, np.diff(x)] for x in cut] if centered else cut
            model = IsolationForest(random_state=0).fit(cut[0])
            errors["IsolationForest"][w, centered] = [-model.score_samples(x) for x in cut[1:]]
    for name, of in errors.items():
        setting, smooth, quantile = chosen(of, known)
        rows.setdefault(name, []).append(judge(of[setting][::2], fault, smooth, quantile))
        print(f"seed {seed}, {name} {setting}, smooth {smooth}, quantile {quantile}:", rows[name][-1].round(2))
        if name == "network":
            q = alarms[setting].controller
            alarm = nc.Alarm.calibrated(q, healthy[:, None], quantile=quantile, smooth=smooth, hold=HOLD, warm_up=100)
for name, each in rows.items():
    print(f"{name}:", *(f"{x.mean():.0%} ({x.min():.0%} to {x.max():.0%})" for x in np.transpose(each)))
print("as C:", fe.export(alarm, f"{tempfile.mkdtemp()}/firmware", name="motor").with_name("motor_alarm.h"))
