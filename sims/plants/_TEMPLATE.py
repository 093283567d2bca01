"""NAME OF THE PLANT: its parts, and the controller's task. Copy this file; it runs as it is.

Source of the equations. State: each entry with its unit. Action: each entry with its unit and range.

1. Plain scalar functions on tuples of numbers, as below; ``neuroctl/backends/plant.py`` describes them all.
2. Sine, cosine and arc tangent from ``neuroctl.maths.trigonometry``: those vectorize, ``math``'s do not.
3. Prefer ``a if condition else b`` to an ``if`` statement: both sides are computed, and the loop vectorizes.
4. Try it: ``neuroctl.backends.get("cpu").rollout(spec, theta, "my_plant.py", steps=500).fitness``.
"""

from neuroctl.maths.trigonometry import cos, sin

ACTIONS = 1
SUBSTEPS = 2  # Runge-Kutta steps within a control step

START = (0.5, 0.0)  # angle from upright [rad], angular velocity [rad/s]

GRAVITY = 9.81
LENGTH_M = 1.0
MAX_TORQUE = 15.0  # [rad/s^2]


def derivative(x, a):
    """Return d/dt of the state. Alternatively ``step(x, a, dt_s)`` returns the state after dt_s."""
    push = MAX_TORQUE if a[0] > MAX_TORQUE else (-MAX_TORQUE if a[0] < -MAX_TORQUE else a[0])
    return x[1], GRAVITY / LENGTH_M * sin(x[0]) + push


def observe(x):
    """Return the controller's inputs: here the angle alone, as sine and cosine."""
    return sin(x[0]), cos(x[0])


def reward(x, a):
    """Return the reward of a step from the state after it. Optional."""
    return cos(x[0])


def cost(x, a):
    """Return what training by gradient minimizes: smooth, and large far from the goal. Optional: minus ``reward``."""
    return 1 - cos(x[0]) + 0.01 * x[1] * x[1] + 0.001 * a[0] * a[0]


def critic(x):
    """Return what the critic of training by reward sees: all of the state. Optional: what ``observe`` returns."""
    return sin(x[0]), cos(x[0]), x[1]


def done(x):
    """Return whether the episode ends in this state. Optional."""
    return abs(x[0]) > 3.2


def fitness(x, steps, total, recent):
    """Return an episode's fitness from its last state, steps, total reward and reward of the last ``WINDOW`` steps."""
    return total
