"""A vehicle with two wheels and two eyes that has to reach a light and stay there.

V. Braitenberg, "Vehicles" (1984); the fitness is that of R. D. Beer's and E. J. Izquierdo's studies of taxis, mean
nearness over the episode. State: the vehicle's position and heading [rad], and the light's position. Actions: the speed
of the left and of the right wheel, each -1 to 1. Lengths are in vehicle's widths, so that a wheel at full speed
moves one width per second.
"""

import math

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 2

START = (0.0, 0.0, 0.0, -4.0, 5.0)  # the light stands behind, to the left
STARTS = ((0.0, 0.0), (0.0, 0.0), (-3.141592653589793, 3.141592653589793), (-4.0, -4.0), (5.0, 5.0))

AXLE = 1.0
MEASURES = (("end east [widths]", -10.0, 10.0), ("end north [widths]", -10.0, 10.0))  # of ``measures``

EYE_ANGLE = 0.7853981633974483  # 45 degrees to each side
EYE_REACH = 0.5
TINY = 1e-6
BRIGHT = 4.0  # a light two widths away looks half as bright as one at hand
FIRST_DISTANCE = 6.4031242374328485  # of START


def clip(speed):
    """Return a wheel's speed within -1 and 1."""
    return 1.0 if speed > 1 else (-1.0 if speed < -1 else speed)


def eye(x, side):
    """Return the light's intensity at an eye, 1 at the light; it falls with distance and with the angle looked away."""
    angle = x[2] + side * EYE_ANGLE
    ahead, aside = cos(angle), sin(angle)
    dx, dy = x[3] - (x[0] + EYE_REACH * ahead), x[4] - (x[1] + EYE_REACH * aside)
    square = dx * dx + dy * dy
    looks = 0.5 + 0.5 * (dx * ahead + dy * aside) / math.sqrt(square + TINY)
    return looks * BRIGHT / (BRIGHT + square)


def observe(x):
    """Return the intensities at the left and the right eye."""
    return eye(x, 1.0), eye(x, -1.0)


def derivative(x, a):
    """Return d/dt of the state: a vehicle with two driven wheels."""
    left, right = clip(a[0]), clip(a[1])
    speed = 0.5 * (left + right)
    return speed * cos(x[2]), speed * sin(x[2]), (right - left) / AXLE, 0.0, 0.0


def reward(x, a):
    """Return the nearness of the light: 1 at it, 0 at the distance of the start and beyond."""
    dx, dy = x[3] - x[0], x[4] - x[1]
    near = 1 - (dx * dx + dy * dy) / (FIRST_DISTANCE * FIRST_DISTANCE)
    return near if near > 0 else 0.0


def fitness(x, steps, total, recent):
    """Return the mean nearness over the episode."""
    return total / steps


def measures(x):
    """Return the final position of the vehicle."""
    return x[0], x[1]
