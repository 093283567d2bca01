"""The car of ``mountain_car``, its velocity unseen: MountainCarContinuousNoVel-v0, where it is multiplied by 0."""

from .mountain_car import *  # noqa: F403


def observe(x):
    """Return the position."""
    return (x[0],)
