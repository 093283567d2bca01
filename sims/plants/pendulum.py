"""A pendulum to be swung up by a weak motor: the equations, start and reward of Gymnasium's Pendulum-v1.

State: angle from upright [rad], angular velocity [rad/s], and the reward of the step before, which Gymnasium takes from
the state that a step begins in. Action: torque [N m], -2 to 2.
"""

from neuroctl.maths.rounding import nearest
from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 1
DT_S = 0.05

START = (3.141592653589793, 0.0, 0.0)
STARTS = ((-3.141592653589793, 3.141592653589793), (-1.0, 1.0), (0.0, 0.0))

MAX_SPEED = 8.0
MAX_TORQUE = 2.0
TURN = 6.283185307179586


def torque(a):
    """Return the torque, clipped [N m]."""
    return MAX_TORQUE if a[0] > MAX_TORQUE else (-MAX_TORQUE if a[0] < -MAX_TORQUE else a[0])


def step(x, a, dt_s):
    """Return the state after a step."""
    u = torque(a)
    away = x[0] - TURN * nearest(x[0] / TURN)
    earned = -(away * away + 0.1 * (x[1] * x[1]) + 0.001 * (u * u))
    speed = x[1] + (15.0 * sin(x[0]) + 3.0 * u) * dt_s
    speed = MAX_SPEED if speed > MAX_SPEED else (-MAX_SPEED if speed < -MAX_SPEED else speed)
    return x[0] + speed * dt_s, speed, earned


def observe(x):
    """Return cosine and sine of the angle, and the angular velocity."""
    return cos(x[0]), sin(x[0]), x[1]


def critic(x):
    """Return the whole state."""
    return cos(x[0]), sin(x[0]), x[1] / MAX_SPEED


def reward(x, a):
    """Return minus (angle from upright squared + 0.1 speed squared + 0.001 torque squared) where the step began."""
    return x[2]


def cost(x, a):
    """Return nearly minus the reward, but smooth where the pendulum hangs."""
    return 2.0 * (1.0 - cos(x[0])) + 0.1 * x[1] * x[1] + 0.001 * a[0] * a[0]


def fitness(x, steps, total, recent):
    """Return the sum of rewards."""
    return total
