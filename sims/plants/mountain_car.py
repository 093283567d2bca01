"""A car too weak to drive up a hill without swinging: Gymnasium's MountainCarContinuous-v0.

The equations go back to A. W. Moore, "Efficient memory-based learning for robot control" (1990). State: position and
velocity per step. Action: force, -1 to 1. There are no units of length; a step counts as 1/30 s, as it is drawn.
"""

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 1

START = (-0.5, 0.0)
STARTS = ((-0.6, -0.4), (0.0, 0.0))

POWER = 0.0015
SLOPE = 0.0025
MAX_SPEED = 0.07
LEFT, RIGHT = -1.2, 0.6
GOAL = 0.45


def step(x, a, dt_s):
    """Return the state after a step; at its left end the way is blocked."""
    force = 1.0 if a[0] > 1.0 else (-1.0 if a[0] < -1.0 else a[0])
    speed = x[1] + (force * POWER - SLOPE * cos(3.0 * x[0]))
    speed = MAX_SPEED if speed > MAX_SPEED else (-MAX_SPEED if speed < -MAX_SPEED else speed)
    place = x[0] + speed
    place = RIGHT if place > RIGHT else (LEFT if place < LEFT else place)
    return place, 0.0 if place <= LEFT and speed < 0.0 else speed


def observe(x):
    """Return position and velocity."""
    return x[0], x[1]


def critic(x):
    """Return the whole state."""
    return x[0], x[1] / MAX_SPEED


def done(x):
    """Return whether the car is at its goal and does not roll back."""
    return (x[0] >= GOAL) and (x[1] >= 0.0)


def reward(x, a):
    """Return 100 at the goal, less a tenth of the force squared."""
    return (100.0 if (x[0] >= GOAL) and (x[1] >= 0.0) else 0.0) - 0.1 * (a[0] * a[0])


def cost(x, a):
    """Return the energy that the car lacks to be at rest on the top, in units of half the hill, and a little for force.

    A hill of sin(3 x) with the slope 3 cos(3 x): the energy is sin(3 x) + 3 / (2 SLOPE) v^2.
    """
    return 1.0 - sin(3.0 * x[0]) - 600.0 * x[1] * x[1] + 0.01 * a[0] * a[0]


def fitness(x, steps, total, recent):
    """Return the sum of rewards."""
    return total
