"""Environments of the package ``pybullet-envs-gymnasium``: defaults for searches, and steps with fewer calls."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from neuroctl.errors import TaskError, require

from .task import Limits

_NAMES: Final = re.compile(r"(HalfCheetah|Ant|Walker2D|Hopper)BulletEnv-v0")
# At most 300 parameters, from a network that oscillates. From a first step of 0.3 on it often stands still for good.
_SEARCH: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "neurons": 6, "rhythm": 2.5, "fix": ("b_out=0",), "population": 48, "episodes": 1,
        "validation": 12, "sigma0": 0.12, "generations": 700,
    }
)  # fmt: skip
# It balances by reflex: from a rhythm, or from slow neurons at random, it fell within a second (returns of 80, 92).
_HOPPER: Final = {"cell": "elman", "sigma0": 0.5}
_AWAY_M: Final = 100.0
# The package cuts observations off at 5 and declares no limits. Genes are scaled by these: they stay as they are.
_INPUT_LIMIT: Final = 10.0
# What a step calls; the package's client looks each up, and binds its number, at every call.
_CALLS: Final = ("stepSimulation", "getContactPoints", "getBaseVelocity", "getLinkState")


def search_of(name: str) -> Mapping[str, Any]:
    """Return the defaults for a search on one of them; nothing for other names."""
    if not _NAMES.fullmatch(name):
        return {}
    return {**_SEARCH, **(_HOPPER if name.startswith("Hopper") else {})}


def input_limits_of(name: str, inputs: int) -> Limits | None:
    """Return the limits of one of their observations; None for other names."""
    return ((-_INPUT_LIMIT, _INPUT_LIMIT),) * inputs if _NAMES.fullmatch(name) else None


def speed_up(name: str, env: Any) -> None:
    """Make an environment that was reset once step with fewer calls of the engine, to the same bits.

    The package requests each link and each joint separately, and again for each coordinate. Here all are requested once
    for a state, which the package's own arithmetic computes. This saves about a third of a step.
    """
    if not _NAMES.fullmatch(name):
        return
    pybullet, client = require("pybullet", "sim"), env.unwrapped._p

    def bound(call: str) -> Callable[..., Any]:
        return functools.partial(getattr(pybullet, call), physicsClientId=client._client)

    for call in _CALLS:
        setattr(client, call, bound(call))
    env.unwrapped.reset = _forgetful(env.unwrapped, bound)
    robot = env.unwrapped.robot
    robot.calc_state = _Readings(robot, bound).state
    robot.apply_action = _torques(robot, bound("setJointMotorControlArray"), pybullet.TORQUE_CONTROL)


def _forgetful(env: Any, engine: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    """Return a ``reset`` of the environment that leaves no contact of the previous episode.

    The package's saved state holds no contacts, and restoring it keeps existing ones. A body on the ground at the
    start of the next episode was then pushed by the last episode's force in the first step. Without a ground,
    collision detection drops all contacts.
    """
    reset, place, detect = env.reset, engine("resetBasePositionAndOrientation"), engine("performCollisionDetection")
    grounds = [(body, *engine("getBasePositionAndOrientation")(body)) for body in env.stadium_scene.ground_plane_mjcf]

    def forgetful(**options: Any) -> Any:
        result = reset(**options)
        for body, (x, y, z), turn in grounds:
            place(body, (x, y, z - _AWAY_M), turn)
        detect()
        for body, position, turn in grounds:
            place(body, position, turn)
        return result

    return forgetful


def _torques(robot: Any, control: Callable[..., Any], mode: int) -> Callable[[Any], None]:
    """Return an ``apply_action`` of the robot that makes one call; all joints belong to one body."""
    joints = robot.ordered_joints
    body, indices = joints[0].bodies[joints[0].bodyIndex], [joint.jointIndex for joint in joints]
    strengths = [robot.power * joint.power_coef for joint in joints]

    def apply(action: Any) -> None:
        if not np.isfinite(action).all():
            raise TaskError(f"action: {np.asarray(action).tolist()}; allowed: finite numbers")
        shares = np.clip(action, -1, 1).tolist()
        control(body, indices, mode, forces=[a * b for a, b in zip(strengths, shares, strict=True)])

    return apply


class _Readings:
    """Readings of a robot's links and joints while it computes its state."""

    def __init__(self, robot: Any, engine: Callable[[str], Callable[..., Any]]):
        self._robot, self._compute = robot, robot.calc_state
        self._base_pose = engine("getBasePositionAndOrientation")
        self._link_states, self._joint_states = engine("getLinkStates"), engine("getJointStates")
        self._parts: list[Any] = []
        self._fresh = False

    def state(self) -> Any:
        """Return the observation, as the robot's own ``calc_state`` does."""
        parts = list(self._robot.parts.values())
        if parts != self._parts:
            self._attach(parts)
        for row, body in self._bases:
            position, orientation = self._base_pose(body)
            self._poses[row] = (*position, *orientation)
        for rows, body, links in self._links:
            self._poses[rows] = [(*state[0], *state[1]) for state in self._link_states(body, links)]
        for numbers, body, joints in self._joints:
            for number, state in zip(numbers, self._joint_states(body, joints), strict=True):
                self._angles[number] = state[:2]
        self._fresh = True
        try:
            return self._compute()
        finally:
            self._fresh = False

    def _attach(self, parts: list[Any]) -> None:
        """Make links and joints return these readings; outside ``state`` they call the engine as before."""
        self._parts = parts
        self._poses = np.zeros((len(parts), 7))
        places = [(part.bodies[part.bodyIndex], part.bodyPartIndex) for part in parts]
        self._bases = [(row, body) for row, (body, link) in enumerate(places) if link < 0]
        self._links = _by_body([(row, body, link) for row, (body, link) in enumerate(places) if link >= 0])
        joints = self._robot.ordered_joints
        self._angles: list[tuple[float, float]] = [(0.0, 0.0)] * len(joints)
        self._joints = _by_body([(k, j.bodies[j.bodyIndex], j.jointIndex) for k, j in enumerate(joints)])
        for row, part in enumerate(parts):
            part.get_pose = functools.partial(self._pose, row, type(part).get_pose.__get__(part))
        for number, joint in enumerate(joints):
            joint.get_state = functools.partial(self._angle, number, type(joint).get_state.__get__(joint))

    def _pose(self, row: int, asked: Callable[[], Any]) -> Any:
        return self._poses[row] if self._fresh else asked()

    def _angle(self, number: int, asked: Callable[[], Any]) -> Any:
        return self._angles[number] if self._fresh else asked()


def _by_body(places: list[tuple[int, int, int]]) -> list[tuple[list[int], int, list[int]]]:
    """Return (numbers, body, parts of it) for each body of (number, body, part)."""
    bodies = dict.fromkeys(body for _, body, _ in places)
    return [([n for n, b, _ in places if b == body], body, [p for _, b, p in places if b == body]) for body in bodies]
