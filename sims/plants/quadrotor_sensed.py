"""The quadrotor of ``quadrotor`` as its sensors see it, each craft another: no velocities, noise, a step of latency.

It mirrors ``sims/bullet/quadrotor_sensed.py``. To the state come nine numbers of noise (33 to 41), of variance 1, which
``NOISE`` scales: what is seen of the place, of the direction upward and of the angular velocity, all three in the
body's frame. Actions take effect a step later. Mass, inertias and the rotors' thrust are drawn within 20 % for each
episode.
"""

from neuroctl.maths.noise import SEEDS

from .quadrotor import *  # noqa: F403
from .quadrotor import fly, limited, noise, rotation, to_body

START = (
    *(0.0,) * 3, 1.0, *(0.0,) * 9, *(1.0,) * 4, *(0.0,) * 8, 1.0, 1.0, 1.0, *(1.0,) * 5, *(0.0,) * 9
)  # fmt: skip
STARTS = (
    *((-0.3, 0.3),) * 3, (1.0, 1.0), *((0.0, 0.0),) * 9, *((1.0, 1.0),) * 4, *((0.0, 0.0),) * 5,
    (-1.7320508, 1.7320508), (-1.7320508, 1.7320508), (-0.51961524, 0.51961524), *SEEDS, *((0.8, 1.2),) * 5,
    *((-1.7320508, 1.7320508),) * 9,
)  # fmt: skip

NOISE = (0.01, 0.01, 0.05)  # of the place [m], of the direction upward, and of the angular velocity [rad/s]


def step(x, a, dt_s):
    """Return the state after a control step, in which the actions of the step before take effect."""
    moved = fly(x, x[17:21], limited(a), dt_s)
    place = noise(moved[25], moved[26], moved[27])
    upward = noise(place[3], place[4], place[5])
    rates = noise(upward[3], upward[4], upward[5])
    return moved[:25] + rates[3:] + moved[28:] + place[:3] + upward[:3] + rates[:3]


def observe(x):
    """Return place, direction upward and angular velocity, in the body's frame, with noise."""
    m = rotation(x)
    east, north, up = to_body(m, x[0], x[1], x[2])
    p, q, r = to_body(m, x[10], x[11], x[12])
    return (
        east + NOISE[0] * x[33], north + NOISE[0] * x[34], up + NOISE[0] * x[35],
        m[6] + NOISE[1] * x[36], m[7] + NOISE[1] * x[37], m[8] + NOISE[1] * x[38],
        p + NOISE[2] * x[39], q + NOISE[2] * x[40], r + NOISE[2] * x[41],
    )  # fmt: skip
