"""Identify a DC motor from traces: a CTRNN and linear ARX models predict its speed, the CTRNN as fixed-point C too.

The number of neurons and the order of the ARX are chosen by traces of their own, and judged by others.

python examples/identify_motor.py 500 5                 # epochs, seeds: each of data, start and order
"""

import argparse

import numpy as np

import neuroctl as nc
from firmware_export import export

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("epochs", type=int, nargs="?", default=500)
parser.add_argument("seeds", type=int, nargs="?", default=1)
EPOCHS, SEEDS = vars(parser.parse_args()).values()
DT, STEPS, TRAIN, VALID, UNSEEN = 0.01, 300, slice(0, 36), slice(36, 48), slice(48, 60)


def motor(rng, volts):
    """Return measured speeds in rad/s: Coulomb and viscous friction, a voltage limit, and noise of 0.3 rad/s."""
    speed, measured = 0.0, []
    for volt in volts:
        measured.append(speed + 0.3 * rng.standard_normal())
        for _ in range(10):
            torque = 0.05 * (np.clip(volt, -12, 12) - 0.05 * speed) / 1.0
            friction = 0.12 * np.tanh(speed / 0.5) + 0.0008 * speed
            speed += DT / 10 * (torque - friction) / 0.0006
    return np.array(measured)


def voltages(rng, k):
    """Return steps of voltage, or a chirp from 0.2 to 3 Hz."""
    t = DT * np.arange(STEPS)
    if k % 2:
        return rng.uniform(4, 12) * np.sin(2 * np.pi * (0.2 + 0.47 * t) * t + rng.uniform(0, 6))
    return rng.uniform(-12, 12, STEPS // 25).repeat(25)


def percent(speed, predicted):
    """Return 100 % (1 - norm of errors / norm of deviations from the mean), over all traces."""
    return 100 * (1 - np.linalg.norm(speed - predicted) / np.linalg.norm(speed - speed.mean()))


def arx(u, y, order):
    """Return speeds by y[t] = sum a_k y[t-k] + sum b_k u[t-k], least squares on TRAIN, from its own outputs alone."""
    lags = [(z[order - k : STEPS - k, TRAIN]).ravel() for z in (y, u) for k in range(1, order + 1)]
    a = np.linalg.lstsq(np.stack(lags, axis=1), y[order:, TRAIN].ravel(), rcond=None)[0]
    out = np.zeros_like(y)
    for t in range(order, STEPS):
        out[t] = a[:order] @ out[t - order : t][::-1] + a[order:] @ u[t - order : t][::-1]
    return out


rows, spec = [], {"cell": "ctrnn", "inputs": 1, "outputs": 1, "dt_s": DT, "scale_inputs": True}
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    u = np.array([voltages(rng, k) for k in range(60)]).T
    y = np.array([motor(rng, volts) for volts in u.T]).T
    scale = np.abs(y[:, TRAIN]).max()
    train, valid = ((u[:, part, None], y[:, part, None] / scale) for part in (TRAIN, VALID))
    fits = [nc.train.fit(nc.Spec(neurons=n, input_limits=((-15, 15),), output_limits=((-1.5, 1.5),), **spec), *train,
                         validation=valid, epochs=EPOCHS, optimizer="lbfgs", seed=seed) for n in (4, 6, 8)]  # fmt: skip
    best = min(fits, key=lambda fit: fit.loss).controller
    fixed = best.quantize(calibration=np.ascontiguousarray(train[0].swapaxes(0, 1).reshape(-1, 1), np.float32))
    linear = {order: arx(u, y, order) for order in range(1, 16)}
    order = max(linear, key=lambda k: percent(y[:, VALID], linear[k][:, VALID]))
    unseen = np.float32(u[:, UNSEEN, None]).swapaxes(0, 1).copy()
    speeds = [scale * np.array([(c.reset(), c.rollout(one))[1][:, 0] for one in unseen]).T for c in (best, fixed)]
    speeds += [linear[k][:, UNSEEN] for k in (order, 2)]
    rows.append([percent(y[:, UNSEEN], predicted) for predicted in speeds])
    print(f"seed {seed}: CTRNN of {best.spec.neurons}, ARX of order {order}", *(f"{fit:.1f}" for fit in rows[-1]))
names = "CTRNN", "in fixed point", "ARX, order by validation", "ARX of order 2"
for name, fit in zip(names, np.transpose(rows), strict=True):
    print(f"{name}: fit on 12 unseen traces {fit.mean():.1f} % ({fit.min():.1f} to {fit.max():.1f})")
print("exported:", export(fixed, "firmware", name="motor"))
