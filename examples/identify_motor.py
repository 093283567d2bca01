"""Identify a DC motor from traces: a CTRNN and a linear ARX model predict its speed, the CTRNN as fixed-point C too."""

import sys

import numpy as np

import neuroctl as nc
from firmware_export import export

DT, STEPS, EPOCHS = 0.01, 300, int(sys.argv[1]) if len(sys.argv) > 1 else 500
rng = np.random.default_rng(0)


def motor(volts):
    """Return measured speeds in rad/s: Coulomb and viscous friction, a voltage limit, and noise of 0.3 rad/s."""
    speed, measured = 0.0, []
    for volt in volts:
        measured.append(speed + 0.3 * rng.standard_normal())
        for _ in range(10):
            torque = 0.05 * (np.clip(volt, -12, 12) - 0.05 * speed) / 1.0
            friction = 0.12 * np.tanh(speed / 0.5) + 0.0008 * speed
            speed += DT / 10 * (torque - friction) / 0.0006
    return np.array(measured)


def voltages(k):
    """Return steps of voltage, or a chirp from 0.2 to 3 Hz."""
    t = DT * np.arange(STEPS)
    if k % 2:
        return rng.uniform(4, 12) * np.sin(2 * np.pi * (0.2 + 0.47 * t) * t + rng.uniform(0, 6))
    return rng.uniform(-12, 12, STEPS // 25).repeat(25)


def fit_percent(speed, predicted):
    """Return 100 % (1 - norm of errors / norm of deviations from the mean), over all traces."""
    return 100 * (1 - np.linalg.norm(speed - predicted) / np.linalg.norm(speed - speed.mean()))


u = np.array([voltages(k) for k in range(60)]).T
y = np.array([motor(volts) for volts in u.T]).T
scale = np.abs(y[:, :48]).max()
spec = nc.Spec(cell="ctrnn", inputs=1, neurons=6, outputs=1, dt_s=DT, input_limits=((-15, 15),), scale_inputs=True,
               output_limits=((-1.5, 1.5),))  # fmt: skip
fit = nc.train.fit(spec, u[:, :48, None], y[:, :48, None] / scale, epochs=EPOCHS, optimizer="lbfgs")  # fmt: skip
unseen, speeds = u[:, 48:, None].astype(np.float32), y[:, 48:]


def simulated(controller):
    """Return the speeds that a controller predicts from voltages alone."""
    return scale * np.stack([(controller.reset(), controller.rollout(volts).copy())[1][:, 0]
                             for volts in unseen.swapaxes(0, 1)], axis=1)  # fmt: skip


# ARX: y[t] = a1 y[t-1] + a2 y[t-2] + b1 u[t-1] + b2 u[t-2], by least squares; it simulates on its own outputs too.
rows = np.stack([y[1:-1, :48], y[:-2, :48], u[1:-1, :48], u[:-2, :48]], axis=-1).reshape(-1, 4)
a1, a2, b1, b2 = np.linalg.lstsq(rows, y[2:, :48].ravel(), rcond=None)[0]
arx = np.zeros_like(speeds)
for t in range(2, STEPS):
    arx[t] = a1 * arx[t - 1] + a2 * arx[t - 2] + b1 * u[t - 1, 48:] + b2 * u[t - 2, 48:]

fixed = fit.controller.quantize(calibration=np.ascontiguousarray(u[:, :48].T.reshape(-1, 1), np.float32))
exact, rounded = simulated(fit.controller), simulated(fixed)
print(f"fit on 12 unseen traces: CTRNN {fit_percent(speeds, exact):.1f} %, ARX {fit_percent(speeds, arx):.1f} %")
print(f"fixed point {fit_percent(speeds, rounded):.1f} %, at most {np.abs(exact - rounded).max():.3f} rad/s from float")
print("exported:", export(fixed, "firmware", name="motor"))
