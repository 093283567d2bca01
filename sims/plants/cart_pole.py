"""A pole on a cart: the equations, start, end and reward of Gymnasium's CartPole-v1, with a force of any size.

The equations are those that R. V. Florian, "Correct equations for the dynamics of the cart-pole system" (2007), gives
without friction, stepped as Gymnasium steps them (Euler, 0.02 s). State: cart position [m] and velocity [m/s]; pole
angle [rad] and angular velocity [rad/s]. Action: force on the cart [N], -10 to 10; Gymnasium has these two alone.
"""

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 1
DT_S = 0.02

START = (0.0, 0.0, 0.02, 0.0)
STARTS = ((-0.05, 0.05), (-0.05, 0.05), (-0.05, 0.05), (-0.05, 0.05))

GRAVITY = 9.8
POLE_KG = 0.1
TOTAL_KG = 1.1
HALF_LENGTH_M = 0.5
POLE_KG_M = 0.05  # of the pole's mass times its half length
MAX_FORCE_N = 10.0
TRACK_M = 2.4
MAX_ANGLE = 0.20943951023931953  # 12 degrees


def step(x, a, dt_s):
    """Return the state after a step; forces beyond the limit are clipped."""
    force = MAX_FORCE_N if a[0] > MAX_FORCE_N else (-MAX_FORCE_N if a[0] < -MAX_FORCE_N else a[0])
    c, s = cos(x[2]), sin(x[2])
    push = (force + POLE_KG_M * (x[3] * x[3]) * s) / TOTAL_KG
    turn = (GRAVITY * s - c * push) / (HALF_LENGTH_M * (4.0 / 3.0 - POLE_KG * (c * c) / TOTAL_KG))
    pull = push - POLE_KG_M * turn * c / TOTAL_KG
    return x[0] + dt_s * x[1], x[1] + dt_s * pull, x[2] + dt_s * x[3], x[3] + dt_s * turn


def observe(x):
    """Return all four."""
    return x[0], x[1], x[2], x[3]


def critic(x):
    """Return the whole state, each as a share of what is large for it."""
    return x[0] / TRACK_M, 0.5 * x[1], x[2] / MAX_ANGLE, 0.5 * x[3]


def done(x):
    """Return whether the cart is off the track or the pole tilted by more than 12 degrees."""
    return not (abs(x[0]) <= TRACK_M and abs(x[2]) <= MAX_ANGLE)


def reward(x, a):
    """Return 1 for every step, the last one too."""
    return 1.0


def cost(x, a):
    """Return 1 where an episode ends by the angle or the position alone, and a little for speed and force."""
    place, angle = x[0] / TRACK_M, x[2] / MAX_ANGLE
    return place * place + angle * angle + 0.05 * (x[1] * x[1] + x[3] * x[3]) + 0.0001 * a[0] * a[0]


def fitness(x, steps, total, recent):
    """Return the number of steps."""
    return total
