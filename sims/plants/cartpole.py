"""The cart-pole of ``sims/bullet/cartpole.py``, step for step as PyBullet moves it: positions seen, quiet control paid.

A cart of 1 kg without friction and a uniform rod of 0.1 kg and 1 m on it, in four steps of 1/240 s a control step, each
of which changes the velocities first and then the positions by the new ones. State: cart position [m], pole angle
[rad], their velocities [m/s, rad/s], the force of the step before [N], and how unquiet the last two forces were.
Action: force on the cart [N].
"""

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 1
DT_S = 1.0 / 60.0
STEPS = 4  # of the engine, within a control step

START = (0.0, 0.05, 0.0, 0.0, 0.0, 0.0)
STARTS = (
    (-1.0, 1.0), (-0.17453292519943295, 0.17453292519943295), (-0.2, 0.2), (-0.2, 0.2), (0.0, 0.0), (0.0, 0.0)
)  # fmt: skip

GRAVITY = 9.81
CART_KG = 1.0
POLE_KG = 0.1
HALF_LENGTH_M = 0.5
TRACK_M = 2.4
FALLEN_RAD = 0.41887902047863906
MAX_FORCE_N = 10.0
UNQUIET = 0.1  # what unrest costs, see sims/bullet/effort.py


def clip(value, limit):
    """Return the value, within -limit and limit."""
    above = -limit if value < -limit else value
    return limit if above > limit else above


def move(x, force, h):
    """Return positions and velocities after h seconds under a force."""
    s, c = sin(x[1]), cos(x[1])
    total = CART_KG + POLE_KG
    push = (force + POLE_KG * HALF_LENGTH_M * x[3] * x[3] * s) / total
    turn = (GRAVITY * s - c * push) / (HALF_LENGTH_M * (4.0 / 3.0 - POLE_KG * c * c / total))
    speed = x[2] + h * (push - POLE_KG * HALF_LENGTH_M * turn * c / total)
    rate = x[3] + h * turn
    return x[0] + h * speed, x[1] + h * rate, speed, rate


def step(x, a, dt_s):
    """Return the state after a control step; forces beyond 10 N are clipped."""
    force = clip(a[0], MAX_FORCE_N)
    h = dt_s / STEPS
    moved = x[0], x[1], x[2], x[3]
    for _ in range(4):
        moved = move(moved, force, h)
    effort = (abs(force) + 0.5 * abs(force - x[4])) / MAX_FORCE_N
    return moved + (force, effort)


def observe(x):
    """Return cart position and pole angle."""
    return x[0], x[1]


def critic(x):
    """Return the whole state, each as a share of what is large for it."""
    return x[0] / TRACK_M, x[1] / FALLEN_RAD, 0.5 * x[2], 0.5 * x[3], x[4] / MAX_FORCE_N


def done(x):
    """Return whether the cart is off the track or the pole tilted by more than 24 degrees."""
    return not (abs(x[0]) <= TRACK_M and abs(x[1]) <= FALLEN_RAD)


def reward(x, a):
    """Return 1 less a tenth of angle, position and unrest, as shares of their limits; 0 for the step that fails."""
    cost = abs(x[1]) / FALLEN_RAD + abs(x[0]) / TRACK_M + x[5]
    return 0.0 if abs(x[0]) > TRACK_M or abs(x[1]) > FALLEN_RAD else 1.0 - UNQUIET * cost


def cost(x, a):
    """Return 1 where an episode ends by the angle or the position alone, and a little for speeds and force."""
    place, angle, force = x[0] / TRACK_M, x[1] / FALLEN_RAD, a[0] / MAX_FORCE_N
    return place * place + angle * angle + 0.05 * (x[2] * x[2] + x[3] * x[3]) + 0.01 * force * force


def fitness(x, steps, total, recent):
    """Return the sum of rewards."""
    return total
