"""The 30 g quadrotor of ``sims/bullet/quadrotor.py``, step for step as PyBullet moves it, with its full state seen.

State: place from the target [m] (0 to 2), attitude as a quaternion w, x, y, z (3 to 6), velocity [m/s] (7 to 9) and
angular velocity [rad/s] (10 to 12), both in the world's frame, thrusts of the rotors in quarters of the weight (13 to
16), the actions of the step before (17 to 20) and how unquiet they were (21), wind [m/s] (22 to 24), seeds of the gusts
(25 to 27), and what may differ from craft to craft, as a share of the nominal: mass (28), inertias (29 to 31) and the
rotors' thrust (32). Actions: climb, roll, pitch and yaw, each -1 to 1; 0 is the weight's thrust and no torque.

PyBullet holds a control step's forces in the world's frame over two steps of 1/240 s. In each it changes the velocities
first, with the gyroscopic torque at the old ones, and then moves the body by the new ones.
"""

import math

from neuroctl.maths.logarithm import log1p
from neuroctl.maths.noise import SEEDS, draw, normal
from neuroctl.maths.trigonometry import atan

ACTIONS = 4
DT_S = 1.0 / 120.0

START = (
    *(0.0,) * 3, 1.0, *(0.0,) * 9, *(1.0,) * 4, *(0.0,) * 8, 1.0, 1.0, 1.0, *(1.0,) * 5
)  # fmt: skip
STARTS = (
    *((-0.3, 0.3),) * 3, (1.0, 1.0), *((0.0, 0.0),) * 9, *((1.0, 1.0),) * 4, *((0.0, 0.0),) * 5,
    (-1.7320508, 1.7320508), (-1.7320508, 1.7320508), (-0.51961524, 0.51961524), *SEEDS, *((1.0, 1.0),) * 5,
)  # fmt: skip

MASS_KG = 0.030
INERTIA = (0.000016, 0.000016, 0.000029)  # [kg m^2]
GRAVITY = 9.81
QUARTER_N = 0.073575  # a quarter of the weight
REACH_M = 0.0325  # of a rotor along x and along y
YAW_M = 0.006  # torque about z for each newton of a rotor
ACROSS = 0.09230769230769231  # YAW_M / (2 REACH_M): that torque is a force across the rotor's arm
MIX = (0.6, 0.15, 0.15, 0.4)  # quarters of the weight for an action of 1
STRONGEST = 2.2
FOLLOW = 0.24253487160303355  # 1 - exp(-DT_S / 0.03 s), the motors' lag
DRAG_N_S_M = 0.015
GUST_M_S = (1.0, 1.0, 0.3)
KEEP = 0.9881658194110152  # exp(-DT_S / 0.7 s), how long gusts last
PUSH = 0.15338941732647937  # sqrt(1 - KEEP^2)
UNQUIET = 0.1  # the cost of the actions, see sims/bullet/effort.py
LOST_M = 2.5
HEIGHT_M = 1.5 - 0.03  # of the target over the ground
SIN_TILT, TAN_TILT = 0.9320390859672263, 2.5721516221263188  # of 1.2 rad
TINY = 1e-9


def clip(value, low, high):
    """Return the value, within its limits."""
    above = low if value < low else value
    return high if above > high else above


def limited(a):
    """Return the actions, each within -1 and 1."""
    return clip(a[0], -1.0, 1.0), clip(a[1], -1.0, 1.0), clip(a[2], -1.0, 1.0), clip(a[3], -1.0, 1.0)


def rotation(x):
    """Return the rotation matrix, row by row, from the body's to the world's frame."""
    w, i, j, k = x[3], x[4], x[5], x[6]
    return (
        1.0 - 2.0 * (j * j + k * k), 2.0 * (i * j - w * k), 2.0 * (i * k + w * j),
        2.0 * (i * j + w * k), 1.0 - 2.0 * (i * i + k * k), 2.0 * (j * k - w * i),
        2.0 * (i * k - w * j), 2.0 * (j * k + w * i), 1.0 - 2.0 * (i * i + j * j),
    )  # fmt: skip


def to_world(m, x, y, z):
    """Return a vector of the body's frame in the world's."""
    return m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z


def to_body(m, x, y, z):
    """Return a vector of the world's frame in the body's."""
    return m[0] * x + m[3] * y + m[6] * z, m[1] * x + m[4] * y + m[7] * z, m[2] * x + m[5] * y + m[8] * z


def thrusts(x, a):
    """Return the rotors' thrusts a control step later: front left, front right, rear right, rear left."""
    climb, roll, pitch, yaw = 1.0 + MIX[0] * a[0], MIX[1] * a[1], MIX[2] * a[2], MIX[3] * a[3]
    return (
        x[13] + FOLLOW * (clip(climb + roll - pitch + yaw, 0.0, STRONGEST) - x[13]),
        x[14] + FOLLOW * (clip(climb - roll - pitch - yaw, 0.0, STRONGEST) - x[14]),
        x[15] + FOLLOW * (clip(climb - roll + pitch + yaw, 0.0, STRONGEST) - x[15]),
        x[16] + FOLLOW * (clip(climb + roll + pitch - yaw, 0.0, STRONGEST) - x[16]),
    )


def move(x, force, torque, h):
    """Return place, attitude and velocities after h seconds under a force and a torque in the world's frame."""
    m = rotation(x)
    p, q, r = to_body(m, x[10], x[11], x[12])
    tx, ty, tz = to_body(m, torque[0], torque[1], torque[2])
    jx, jy, jz = INERTIA[0] * x[29], INERTIA[1] * x[30], INERTIA[2] * x[31]
    dx, dy, dz = to_world(
        m, (tx - (jz - jy) * q * r) / jx, (ty - (jx - jz) * r * p) / jy, (tz - (jy - jx) * p * q) / jz
    )
    wx, wy, wz = x[10] + h * dx, x[11] + h * dy, x[12] + h * dz
    mass = MASS_KG * x[28]
    vx, vy, vz = x[7] + h * force[0] / mass, x[8] + h * force[1] / mass, x[9] + h * force[2] / mass - h * GRAVITY
    # Half the angle turned by, its cosine, and its sine over the speed: a few terms suffice up to 0.2 rad.
    half = 0.25 * h * h * (wx * wx + wy * wy + wz * wz)
    cosine = 1.0 - half * (0.5 - half * (1.0 / 24.0 - half / 720.0))
    sine = 0.5 * h * (1.0 - half * (1.0 / 6.0 - half * (1.0 / 120.0 - half / 5040.0)))
    sx, sy, sz = sine * wx, sine * wy, sine * wz
    w, i, j, k = x[3], x[4], x[5], x[6]
    tw, ti = cosine * w - sx * i - sy * j - sz * k, cosine * i + sx * w + sy * k - sz * j
    tj, tk = cosine * j + sy * w + sz * i - sx * k, cosine * k + sz * w + sx * j - sy * i
    n = 1.0 / math.sqrt(tw * tw + ti * ti + tj * tj + tk * tk)
    return (
        x[0] + h * vx, x[1] + h * vy, x[2] + h * vz, n * tw, n * ti, n * tj, n * tk, vx, vy, vz, wx, wy, wz
    )  # fmt: skip


def noise(a, b, c):
    """Return three normal numbers, and the seeds after them."""
    one = draw(a, b, c)
    two = draw(one[0], one[1], one[2])
    three = draw(two[0], two[1], two[2])
    return (
        normal(one[0], one[1], one[2]), normal(two[0], two[1], two[2]), normal(three[0], three[1], three[2]),
        three[0], three[1], three[2],
    )  # fmt: skip


def effort(a, before):
    """Return how unquiet four actions are: the mean of their sizes, and half that of their changes."""
    size = abs(a[0]) + abs(a[1]) + abs(a[2]) + abs(a[3])
    change = abs(a[0] - before[0]) + abs(a[1] - before[1]) + abs(a[2] - before[2]) + abs(a[3] - before[3])
    return 0.25 * size + 0.125 * change


def fly(x, applied, commanded, dt_s):
    """Return the state after a control step in which the craft gets some actions and is given others for later."""
    t = thrusts(x, applied)
    unit = QUARTER_N * x[32]
    f1, f2, f3, f4 = unit * t[0], unit * t[1], unit * t[2], unit * t[3]
    gust = noise(x[25], x[26], x[27])
    east = KEEP * x[22] + PUSH * GUST_M_S[0] * gust[0]
    north = KEEP * x[23] + PUSH * GUST_M_S[1] * gust[1]
    up = KEEP * x[24] + PUSH * GUST_M_S[2] * gust[2]
    m = rotation(x)
    fx, fy, fz = to_world(m, ACROSS * (-f1 - f2 + f3 + f4), ACROSS * (f1 - f2 - f3 + f4), f1 + f2 + f3 + f4)
    force = fx + DRAG_N_S_M * (east - x[7]), fy + DRAG_N_S_M * (north - x[8]), fz + DRAG_N_S_M * (up - x[9])
    torque = to_world(m, REACH_M * (f1 - f2 - f3 + f4), REACH_M * (-f1 - f2 + f3 + f4), YAW_M * (f1 - f2 + f3 - f4))
    half = 0.5 * dt_s
    between = move(x, force, torque, half) + x[13:33]
    air = effort(commanded, x[17:21]), east, north, up
    return move(between, force, torque, half) + t + commanded + air + gust[3:] + x[28:33]


def step(x, a, dt_s):
    """Return the state after a control step; actions are clipped."""
    actions = limited(a)
    return fly(x, actions, actions, dt_s)


def direction(y, x):
    """Return the angle of the point (x, y) [rad], from -pi to pi."""
    ahead = x if abs(x) > TINY else TINY
    angle = atan(y / ahead)
    return angle if ahead > 0.0 else (angle + math.pi if y >= 0.0 else angle - math.pi)


def observe(x):
    """Return place, velocity, roll, pitch and yaw [rad], and the angular velocity in the body's frame."""
    m = rotation(x)
    sine = clip(-m[6], -1.0, 1.0)
    roll, yaw = direction(m[7], m[8]), direction(m[3], m[0])
    pitch = direction(sine, math.sqrt(1.0 - sine * sine))
    p, q, r = to_body(m, x[10], x[11], x[12])
    return x[0], x[1], x[2], x[7], x[8], x[9], roll, pitch, yaw, p, q, r


def critic(x):
    """Return all of the state, each as a share of what is large for it."""
    m = rotation(x)
    p, q, r = to_body(m, x[10], x[11], x[12])
    return (x[0], x[1], x[2]) + m + (
        0.5 * x[7], 0.5 * x[8], 0.5 * x[9], 0.25 * p, 0.25 * q, 0.25 * r,
        x[13] - 1.0, x[14] - 1.0, x[15] - 1.0, x[16] - 1.0, x[17], x[18], x[19], x[20], x[22], x[23], x[24],
        5.0 * x[28] - 5.0, 5.0 * x[29] - 5.0, 5.0 * x[30] - 5.0, 5.0 * x[31] - 5.0, 5.0 * x[32] - 5.0,
    )  # fmt: skip


def distance(x):
    """Return the distance from the target [m]."""
    return math.sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])


def done(x):
    """Return whether the craft is 2.5 m away, tilted by 1.2 rad, or on the ground."""
    m = rotation(x)
    level = (abs(m[6]) <= SIN_TILT) and (abs(m[7]) <= TAN_TILT * m[8])
    return not (level and (distance(x) <= LOST_M) and (x[2] >= -HEIGHT_M))


def reward(x, a):
    """Return what PyBullet's task does: 1 a second, less the distance and a little for unquiet actions."""
    far = distance(x)
    return DT_S * (1.0 - (1.0 if far > 1.0 else far) - UNQUIET * x[21])


def cost(x, a):
    """Return a smooth measure of unrest: its logarithm has a slope far away, and hardly more there than near."""
    far = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
    fast = x[7] * x[7] + x[8] * x[8] + x[9] * x[9]
    spin = x[10] * x[10] + x[11] * x[11] + x[12] * x[12]
    tilt = x[4] * x[4] + x[5] * x[5]
    busy = a[0] * a[0] + a[1] * a[1] + a[2] * a[2] + a[3] * a[3]
    return log1p(5.0 * far + 0.5 * fast + 0.02 * spin + 2.0 * tilt) + 0.01 * busy


def fitness(x, steps, total, recent):
    """Return the sum of rewards."""
    return total
