"""A body that has to be under a falling circle when it lands: minimally cognitive behavior.

After R. D. Beer, "Toward the evolution of dynamical neural networks for minimally cognitive behavior", From Animals to
Animats 4 (1996): an agent moves along the ground; rays that fan out from it tell how near the circle is. State: the
agent's position, the circle's position and height, and its velocity, sideways and down. Actions: two motors, each 0
to 1, that pull to the right and to the left. Distances have no unit; velocities are per unit of time (dt_s = 0.1).
"""

import math

ACTIONS = 2

START = (0.0, 25.0, 275.0, 0.5, -3.5)
STARTS = ((0.0, 0.0), (-50.0, 50.0), (275.0, 275.0), (-2.0, 2.0), (-4.0, -3.0))

RADIUS = 15.0  # of the agent; it lands when the circle's center is at this height
CIRCLE = 13.0
MAX_SPEED = 5.0
RAY = 220.0
FAR = 200.0
ANGLES = tuple((k - 3) * math.pi / 36 for k in range(7))  # seven rays over 30 degrees
SINES = tuple(math.sin(angle) for angle in ANGLES)
COSINES = tuple(math.cos(angle) for angle in ANGLES)


def ray(x, sine, cosine):
    """Return 1 where the circle touches the agent, 0 where the ray misses it or ends before it."""
    dx = x[1] - x[0]
    along = dx * sine + x[2] * cosine
    inside = along * along - (dx * dx + x[2] * x[2] - CIRCLE * CIRCLE)
    distance = along - math.sqrt(inside if inside > 0 else 0.0) - RADIUS
    distance = distance if distance > 0 else 0.0
    sees = (inside >= 0) and (along > 0) and (distance < RAY)
    return 1 - distance / RAY if sees else 0.0


def observe(x):
    """Return the seven rays, from left to right."""
    return (
        ray(x, SINES[0], COSINES[0]),
        ray(x, SINES[1], COSINES[1]),
        ray(x, SINES[2], COSINES[2]),
        ray(x, SINES[3], COSINES[3]),
        ray(x, SINES[4], COSINES[4]),
        ray(x, SINES[5], COSINES[5]),
        ray(x, SINES[6], COSINES[6]),
    )


def step(x, a, dt_s):
    """Move the agent by its motors and the circle along its line."""
    push = MAX_SPEED * (a[0] - a[1])
    push = MAX_SPEED if push > MAX_SPEED else (-MAX_SPEED if push < -MAX_SPEED else push)
    return x[0] + dt_s * push, x[1] + dt_s * x[3], x[2] + dt_s * x[4], x[3], x[4]


def done(x):
    """Return whether the circle has landed."""
    return x[2] <= RADIUS


def fitness(x, steps, total, recent):
    """Return 1 for a catch in the middle, falling to 0 at a distance of 200."""
    away = abs(x[1] - x[0])
    return 1 - (away if away < FAR else FAR) / FAR
