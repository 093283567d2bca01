"""The rover of ``sims/bullet/rover_wall.py`` as a point that steers: a room of eight corners, six distance sensors.

The car follows a bicycle's kinematics. What its tires and motors do was fitted to 3,000 steps of PyBullet: the speed
changes by 4.6 m/s^2 at most, the steering follows its set point by a third a step, and in fast bends the car turns as
if it were longer. State: number of the wall at which the episode began (0) and the share of it (1); from there the way
along that wall [m] (2), the distance from its middle line [m] (3) and the heading relative to it [rad] (4); speed [m/s]
(5), steering [rad] (6), the reward of the last step (7), and how many steps it takes until the wheels, which begin in
the air, have their grip (8). Actions: speed wanted, of 2 m/s, and steering to the left, of 0.5 rad.
"""

import math

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 2
DT_S = 1.0 / 15.0

START = (0.0, 0.5, 0.0, 0.65, 0.0, 0.0, 0.0, 0.0, 2.0)
STARTS = (range(8), (0.35, 0.65), (0.0, 0.0), (0.5, 0.8), (-0.2, 0.2), *((0.0, 0.0),) * 3, (2.0, 2.0))

# The walls, with the room at their left: where each begins, its direction and its length.
BEGIN_X = (-4.0, 4.0, 4.0, 1.6, 1.6, -2.0, -2.0, -4.0)
BEGIN_Y = (-3.0, -3.0, 0.0, 0.0, 3.0, 3.0, 1.2, 1.2)
ALONG_X = (1.0, 0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0)
ALONG_Y = (0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0)
LENGTH = (8.0, 3.0, 2.4, 3.0, 3.6, 1.8, 2.0, 4.2)
HALF_M = 0.05  # of a wall's thickness
# Directions of the sensors: cosines and sines of 75, 40, 15, -15, -40 and -75 degrees.
RAYS_X = tuple(math.cos(math.radians(angle)) for angle in (75, 40, 15, -15, -40, -75))
RAYS_Y = tuple(math.sin(math.radians(angle)) for angle in (75, 40, 15, -15, -40, -75))
REACH_M = 3.0

MAX_SPEED = 2.0
GAIN = 1.014  # of the speed, over that of the wheels
MAX_CHANGE = 4.6  # of the speed [m/s^2]
LANDING = 10.1  # the same, of wheels that turn already when they touch the ground
MAX_ANGLE = 0.5
FOLLOW = 0.3434  # of the steering, a step
WHEELBASE_M = 0.36
SLIP = 0.235  # what is added to it times the speed squared and the tangent of the steering [s^2/m]
MIDDLE_M = 0.17  # from the rear axle ahead
DISC_M, RADIUS_M = 0.06, 0.19  # two discs, ahead and behind, that cover the car
WANTED_M = 0.6
TINY = 1e-6


def clip(value, low, high):
    """Return the value, within its limits."""
    above = low if value < low else value
    return high if above > high else above


def of_side(table, side):
    """Return a side's entry of a table."""
    value = table[0]
    for k in range(1, 8):
        value = table[k] if side == k else value
    return value


def pose(x):
    """Return the place of the car's middle [m], and cosine and sine of its heading, in the room's frame."""
    ahead_x, ahead_y = of_side(ALONG_X, x[0]), of_side(ALONG_Y, x[0])
    along = x[1] * of_side(LENGTH, x[0]) + x[2]
    east = of_side(BEGIN_X, x[0]) + ahead_x * along - ahead_y * x[3]
    north = of_side(BEGIN_Y, x[0]) + ahead_y * along + ahead_x * x[3]
    c, s = cos(x[4]), sin(x[4])
    return east, north, c * ahead_x - s * ahead_y, c * ahead_y + s * ahead_x


def nearest(x, y):
    """Return the vector from the nearest point of the walls' middle lines, and its length."""
    best_x, best_y, best = 0.0, 0.0, 1e6
    for k in range(8):
        dx, dy = x - BEGIN_X[k], y - BEGIN_Y[k]
        along = clip(dx * ALONG_X[k] + dy * ALONG_Y[k], 0.0, LENGTH[k])
        dx, dy = dx - along * ALONG_X[k], dy - along * ALONG_Y[k]
        square = dx * dx + dy * dy
        better = square < best
        best_x, best_y, best = dx if better else best_x, dy if better else best_y, square if better else best
    return best_x, best_y, math.sqrt(best)


def nearness(x, y, dx, dy):
    """Return what a sensor that looks along (dx, dy) from (x, y) shows: 1 at hand, 0 from 3 m on."""
    step_x = dx if abs(dx) > TINY else TINY
    step_y = dy if abs(dy) > TINY else TINY
    over_x, over_y = 1.0 / (REACH_M * step_x), 1.0 / (REACH_M * step_y)
    first = 1.0
    for k in range(8):
        # The wall is a box around its middle line; a ray is in it between the later entry and the earlier exit.
        end_x, end_y = BEGIN_X[k] + LENGTH[k] * ALONG_X[k], BEGIN_Y[k] + LENGTH[k] * ALONG_Y[k]
        low_x, high_x = min(BEGIN_X[k], end_x) - HALF_M, max(BEGIN_X[k], end_x) + HALF_M
        low_y, high_y = min(BEGIN_Y[k], end_y) - HALF_M, max(BEGIN_Y[k], end_y) + HALF_M
        a, b = (low_x - x) * over_x, (high_x - x) * over_x
        c, d = (low_y - y) * over_y, (high_y - y) * over_y
        enter_x, leave_x = (a if a < b else b), (b if a < b else a)
        enter_y, leave_y = (c if c < d else d), (d if c < d else c)
        enter, leave = (enter_x if enter_x > enter_y else enter_y), (leave_x if leave_x < leave_y else leave_y)
        hit = (enter <= leave) and (enter >= 0.0) and (enter < first)
        first = enter if hit else first
    return 1.0 - first


def step(x, a, dt_s):
    """Return the state after a control step."""
    wanted = GAIN * MAX_SPEED * clip(a[0], -0.25, 1.0)
    change = dt_s * (MAX_CHANGE if x[8] < 1.0 else (LANDING if x[8] < 2.0 else 0.0))
    speed = x[5] + clip(wanted - x[5], -change, change)
    steering = x[6] + FOLLOW * (MAX_ANGLE * clip(a[1], -1.0, 1.0) - x[6])
    middle = 0.5 * (x[6] + steering)
    tangent = sin(middle) / cos(middle)
    mean = 0.35 * x[5] + 0.65 * speed
    turn = dt_s * mean * tangent / (WHEELBASE_M + SLIP * mean * mean * abs(tangent))
    heading = x[4] + 0.5 * turn
    c, s = cos(heading), sin(heading)
    along = x[2] + dt_s * mean * c - MIDDLE_M * turn * s
    away = x[3] + dt_s * mean * s + MIDDLE_M * turn * c
    moved = x[0], x[1], along, away, x[4] + turn, speed, steering
    before, after = pose(x), pose(moved)
    dx, dy, far = nearest(after[0], after[1])
    progress = ((after[0] - before[0]) * dy - (after[1] - before[1]) * dx) / far
    kept = 1.0 - abs(far - HALF_M - WANTED_M) / WANTED_M
    earned = progress * kept if kept > 0.0 else 0.0
    grip = x[8] - 1.0 if x[8] > 0.0 else 0.0
    return moved + (earned, grip)


def observe(x):
    """Return the six distance sensors, from the left to the right, and the speed."""
    e, n, c, s = pose(x)
    return (
        nearness(e, n, c * RAYS_X[0] - s * RAYS_Y[0], s * RAYS_X[0] + c * RAYS_Y[0]),
        nearness(e, n, c * RAYS_X[1] - s * RAYS_Y[1], s * RAYS_X[1] + c * RAYS_Y[1]),
        nearness(e, n, c * RAYS_X[2] - s * RAYS_Y[2], s * RAYS_X[2] + c * RAYS_Y[2]),
        nearness(e, n, c * RAYS_X[3] - s * RAYS_Y[3], s * RAYS_X[3] + c * RAYS_Y[3]),
        nearness(e, n, c * RAYS_X[4] - s * RAYS_Y[4], s * RAYS_X[4] + c * RAYS_Y[4]),
        nearness(e, n, c * RAYS_X[5] - s * RAYS_Y[5], s * RAYS_X[5] + c * RAYS_Y[5]),
        x[5],
    )


def critic(x):
    """Return the same, steering, place and heading, and the distance from the nearest wall."""
    e, n, c, s = pose(x)
    return observe(x) + (x[6], 0.25 * e, 0.25 * n, c, s, nearest(e, n)[2])


def done(x):
    """Return whether the car touches a wall."""
    e, n, c, s = pose(x)
    ahead = nearest(e + DISC_M * c, n + DISC_M * s)[2]
    behind = nearest(e - DISC_M * c, n - DISC_M * s)[2]
    return not ((ahead >= RADIUS_M + HALF_M) and (behind >= RADIUS_M + HALF_M))


def reward(x, a):
    """Return meters along the wall, with the wall at the right, weighted by how well the distance is kept."""
    return x[7]


def fitness(x, steps, total, recent):
    """Return the sum of rewards."""
    return total
