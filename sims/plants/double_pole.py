"""Two poles of different length on one cart, to be balanced without seeing any velocity.

Equations, constants and fitness functions: F. Gomez, J. Schmidhuber, R. Miikkulainen, "Accelerated neural evolution
through cooperatively coevolved synapses", JMLR 9 (2008), appendix A. The damping fitness: F. Gruau, D. Whitley,
L. Pyeatt (1996). State: cart position [m] and velocity [m/s]; angle [rad] and angular velocity [rad/s] of the long
pole, then of the short pole. Action: force on the cart [N].
"""

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 1
DT_S = 0.02
SUBSTEPS = 2
WINDOW = 100

START = (0.0, 0.0, 0.07, 0.0, 0.0, 0.0)

GRAVITY = -9.8
CART_KG = 1.0
POLE_KG = (0.1, 0.01)
HALF_LENGTH_M = (0.5, 0.05)
CART_FRICTION = 0.0005
POLE_FRICTION = 0.000002
TRACK_M = 2.4
MAX_ANGLE = 0.6283185307179586
MAX_FORCE_N = 10.0
MIN_FORCE_N = 0.0390625


def force(a):
    """Return the force [N], with its magnitude clipped to the range 10/256 to 10 N, as in the published code."""
    f = a[0]
    f = MAX_FORCE_N if f > MAX_FORCE_N else f
    f = -MAX_FORCE_N if f < -MAX_FORCE_N else f
    weak = abs(f) < MIN_FORCE_N
    return (MIN_FORCE_N if f >= 0 else -MIN_FORCE_N) if weak else f


def derivative(x, a):
    """Return the time derivatives of the six state variables, in the order of the state, under the action ``a``."""
    s1, c1 = sin(x[2]), cos(x[2])
    s2, c2 = sin(x[4]), cos(x[4])
    swing1 = POLE_FRICTION * x[3] / (POLE_KG[0] * HALF_LENGTH_M[0]) + GRAVITY * s1
    swing2 = POLE_FRICTION * x[5] / (POLE_KG[1] * HALF_LENGTH_M[1]) + GRAVITY * s2
    push1 = POLE_KG[0] * (HALF_LENGTH_M[0] * x[3] * x[3] * s1 + 0.75 * c1 * swing1)
    push2 = POLE_KG[1] * (HALF_LENGTH_M[1] * x[5] * x[5] * s2 + 0.75 * c2 * swing2)
    mass = CART_KG + POLE_KG[0] * (1 - 0.75 * c1 * c1) + POLE_KG[1] * (1 - 0.75 * c2 * c2)
    rubbing = CART_FRICTION if x[1] > 0 else (-CART_FRICTION if x[1] < 0 else 0.0)
    xdd = (force(a) - rubbing + push1 + push2) / mass
    turn1 = -0.75 / HALF_LENGTH_M[0] * (xdd * c1 + swing1)
    turn2 = -0.75 / HALF_LENGTH_M[1] * (xdd * c2 + swing2)
    return x[1], xdd, x[3], turn1, x[5], turn2


def observe(x):
    """Return the position and both angles, each divided by its largest allowed magnitude."""
    return x[0] / TRACK_M, x[2] / MAX_ANGLE, x[4] / MAX_ANGLE


def done(x):
    """Return whether the cart is off the track or a pole is tilted by more than 36 degrees."""
    return not (abs(x[0]) <= TRACK_M and abs(x[2]) <= MAX_ANGLE and abs(x[4]) <= MAX_ANGLE)


def reward(x, a):
    """Return |x| + |xd| + |angle| + |speed| of cart and long pole. The damping fitness divides by its sum."""
    return abs(x[0]) + abs(x[1]) + abs(x[2]) + abs(x[3])


def cost(x, a):
    """Return a smooth measure of unrest, for training by gradient to make small."""
    cart = 0.5 * x[0] * x[0] + 0.1 * x[1] * x[1]
    return cart + 10.0 * x[2] * x[2] + x[3] * x[3] + 10.0 * x[4] * x[4] + 0.1 * x[5] * x[5]


def fitness(x, steps, total, recent):
    """Return the number of balanced steps, the standard fitness."""
    return steps


def damping(x, steps, total, recent):
    """Return 0.1 t/1000 + 0.9 f2; f2 is 0.75 / (sum of ``reward`` over the last 100 steps), or 0 before step 100."""
    calm = 0.75 / recent if steps >= WINDOW else 0.0
    return 0.1 * steps / 1000 + 0.9 * calm
