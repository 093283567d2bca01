"""The pendulum of ``pendulum``, its velocity unseen: PendulumNoVel-v1, where it is multiplied by 0."""

from neuroctl.maths.trigonometry import cos, sin

from .pendulum import *  # noqa: F403


def observe(x):
    """Return cosine and sine of the angle."""
    return cos(x[0]), sin(x[0])
