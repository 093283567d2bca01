"""The one-legged walker: a body pushed along by a leg that has to be lifted, swung and set down again.

R. D. Beer and J. C. Gallagher, "Evolving dynamical neural networks for adaptive behavior", Adaptive Behavior 1 (1992),
with the constants of Beer's published code. State: the body's position and velocity, whether the foot stands (1 or 0),
the leg's angle [rad] and angular velocity, and the foot relative to the joint, ahead and below. Actions, each 0 to 1,
the outputs of three neurons: foot down (above 0.5), forward and backward force. Distances and times have no unit.
With dt_s = 0.1 no schedule of full pushes and swings gets beyond 0.6328 over the 220 time units: it pushes until the
body falls, sets the foot down one step before its limit and ends with a short step; 0.6278 is its pace without that
end. Changed in single steps it gives 0.6334, the best known; no bound is proven. A stepper that always swings to the
limit gives 0.6264 (the literature: 0.627), which evolved walkers pass.
"""

from neuroctl.maths.trigonometry import atan, cos, sin

ACTIONS = 3
LEG_LENGTH = 15.0
MAX_FORCE = 0.05
MAX_ANGLE = 0.5235987755982988
MAX_VELOCITY = 6.0
MAX_TORQUE = 0.5
MAX_OMEGA = 1.0
REACH = 20.0
DURATION = 220.0

START = (0.0, 0.0, 0.0, MAX_ANGLE, 0.0, 7.5, 12.990381056766578)


def clip(x, limit):
    """Return x clipped into [-limit, limit]."""
    low = -limit if x < -limit else x
    return limit if low > limit else low


def step(x, a, dt_s):
    """Move body and leg; a standing foot stays and pushes, a lifted one swings."""
    cx, vx, _, angle, omega, ahead, below = x
    stands = a[0] > 0.5
    f = MAX_FORCE * (a[1] - a[2])
    # Beyond its mechanical limits a leg only pushes back toward them.
    pushes = (abs(angle) <= MAX_ANGLE) or (angle < 0 and f < 0) or (angle > 0 and f > 0)
    vx = clip(vx + (dt_s * f if stands and pushes else 0.0), MAX_VELOCITY)
    moved = dt_s * vx
    cx = cx + moved

    swing_omega = clip((0.0 if stands else omega) - dt_s * MAX_TORQUE * f, MAX_OMEGA)
    swing_angle = angle + dt_s * swing_omega
    stopped = abs(swing_angle) > MAX_ANGLE
    swing_angle = clip(swing_angle, MAX_ANGLE)
    swing_omega = 0.0 if stopped else swing_omega

    ahead = ahead - moved if stands else LEG_LENGTH * sin(swing_angle)
    below = below if stands else LEG_LENGTH * cos(swing_angle)
    stand_angle = atan(ahead / below)
    new_omega = (stand_angle - angle) / dt_s if stands else swing_omega
    angle = stand_angle if stands else swing_angle
    # A lifted foot lets the body fall at once; so does a foot left too far behind.
    vx = vx if stands and -ahead <= REACH else 0.0
    return cx, vx, 1.0 if stands else 0.0, angle, new_omega, ahead, below


def observe(x):
    """Return the leg's angle, 1 at its limit."""
    return (x[3] / MAX_ANGLE,)


def fitness(x, steps, total, recent):
    """Mean velocity over the published 220 time units."""
    return x[0] / DURATION
