"""Legged: the common part of robots on legs. A robot adds its file, its joints and its stance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.errors import TaskError

from ..scripted import Scripted
from .base import BulletTask, Observation

SHARED: Final = ("roll [rad]", "pitch [rad]", "yaw rate [rad/s]", "commanded speed [m/s]", "commanded turn [rad/s]")
SHARED_LIMITS: Final = ((-0.6, 0.6), (-0.6, 0.6), (-2.0, 2.0), (0.0, 1.5), (-1.0, 1.0))
ANGLE_LIMITS: Final = (-1.2, 1.2)
"""Limits of a joint's angle from its stance, as a share of its reach."""

ANGLE_NOISE: Final = 0.1  # share of the reach, at the start: equal legs would otherwise move alike for ever
_SWERVE_COST: Final = 0.3  # m for each rad turned beside the command
_TILTED_RAD: Final = 0.8


@dataclass(frozen=True)
class Leg:
    """A leg's joints, from the body outwards.

    Args:
        name: name of the leg.
        joints: names of the joints in the robot's file.
        stance_rad: angles of the joints when the robot stands.
        reach_rad: movement of each joint from there for an action of 1; negative for mirrored joints, so that the same
            action moves left and right legs alike.

    """

    name: str
    joints: tuple[str, ...]
    stance_rad: tuple[float, ...]
    reach_rad: tuple[float, ...]


class LeggedTask(BulletTask):
    """A robot that has to walk and turn at commanded speeds.

    A robot sets ``task``, ``camera``, ``file``, ``legs``, ``height_m``, ``torque_nm`` and the motors' gains.
    Observations are each joint's angle from its stance as a share of its reach, leg by leg, and then ``SHARED``.
    Actions are targets of the joints, in the same order and unit, which motors hold by a PD law of limited torque.

    Args:
        render_mode: see ``BulletTask``.
        steer: draw the commands for each episode; else the robot has to walk straight ahead at ``speed_m_s``.
        options: see ``BulletTask``.

    """

    options: ClassVar[tuple[str, ...]] = (*BulletTask.options, "steer")
    acts_by_force: ClassVar[bool] = False
    file: ClassVar[str]
    legs: ClassVar[tuple[Leg, ...]]
    height_m: ClassVar[float]
    torque_nm: ClassVar[float]
    own_inertia: ClassVar[bool] = True
    """Whether the file's inertia is the robot's, not a placeholder."""
    speed_m_s: ClassVar[float] = 0.8
    position_gain: ClassVar[float] = 0.3
    velocity_gain: ClassVar[float] = 1.0
    energy_cost: ClassVar[float] = 0.05
    """Cost in meters for work equal to that of lifting the robot by one meter."""

    def __init__(self, render_mode: str | None = None, *, steer: bool = False, **options: Any):
        if not isinstance(steer, bool):
            raise TaskError(f"steer: {steer!r}; allowed: True or False")
        self._steer = steer
        joints = sum(len(leg.joints) for leg in self.legs)
        bounds = np.array([4.0] * joints + [math.pi, math.pi, 100.0, 10.0, 10.0], np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)
        self._observation = np.zeros(joints + len(SHARED), np.float32)
        self._stance = [angle for leg in self.legs for angle in leg.stance_rad]
        self._reach = [reach for leg in self.legs for reach in leg.reach_rad]
        self._command = (self.speed_m_s, 0.0)
        super().__init__(render_mode, **options)

    @property
    def distance_m(self) -> float:
        """Distance of the robot along x since the start, in meters."""
        return float(self._p.getBasePositionAndOrientation(self._body, physicsClientId=self._client)[0][0])

    def feet_down(self) -> list[bool]:
        """Return for each leg whether any part of it touches the ground."""
        touching = {
            contact[3] for contact in self._p.getContactPoints(self._body, self._ground, physicsClientId=self._client)
        }
        return [not touching.isdisjoint(links) for links in self._leg_links]

    def _looked_at(self) -> tuple[float, float, float]:
        x, y, _ = self._p.getBasePositionAndOrientation(self._body, physicsClientId=self._client)[0]
        return x, y, self.camera.target_m[2]

    def _load(self) -> None:
        p, client = self._p, self._client
        self._ground = self._load_model("plane_implicit.urdf")
        self._bodies.clear()  # the ground is not randomized
        p.changeDynamics(self._ground, -1, lateralFriction=1.0, physicsClientId=client)
        self._body = self._load_model(self.file, (0.0, 0.0, self.height_m), own_inertia=self.own_inertia)
        named = self._joints(self._body)
        self._leg_links = [self._outwards(named[leg.joints[0]]) for leg in self.legs]
        self._motors = [named[name] for leg in self.legs for name in leg.joints]
        count = len(self._motors)
        self._forces = [self.torque_nm * self._strength] * count
        self._gains = ([self.position_gain] * count, [self.velocity_gain] * count)
        self._weight_n = 9.81 * sum(
            p.getDynamicsInfo(self._body, link, physicsClientId=client)[0] for link in self._links(self._body)
        )

    def _outwards(self, joint: int) -> set[int]:
        """Return a joint's link and all links beyond it."""
        p, links = self._p, {joint}
        for link in range(joint + 1, p.getNumJoints(self._body, physicsClientId=self._client)):
            if p.getJointInfo(self._body, link, physicsClientId=self._client)[16] in links:
                links.add(link)
        return links

    def _start(self, options: dict[str, Any]) -> None:
        if unknown := sorted(set(options) - {"command"}):
            raise TaskError(f"options: {unknown[0]!r}; allowed: 'command'")
        shares = self.np_random.uniform(-ANGLE_NOISE, ANGLE_NOISE, len(self._motors)).tolist()
        drawn = self.np_random.uniform(0.0, 1.0, 2).tolist()
        self._command = (0.2 + drawn[0], drawn[1] - 0.5) if self._steer else (self.speed_m_s, 0.0)
        if "command" in options:
            self._command = _command_of(options["command"])
        self._ahead_m = self._command[0] * self.task.control_dt_s  # the first reading, at rest, is of no step
        for joint, stance, reach, share in zip(self._motors, self._stance, self._reach, shares, strict=True):
            self._p.resetJointState(self._body, joint, stance + share * reach, 0.0, physicsClientId=self._client)

    def _act(self, values: list[float]) -> None:
        p = self._p
        targets = [a + v * r for a, v, r in zip(self._stance, values, self._reach, strict=True)]
        p.setJointMotorControlArray(
            self._body, self._motors, p.POSITION_CONTROL, targetPositions=targets, forces=self._forces,
            positionGains=self._gains[0], velocityGains=self._gains[1], physicsClientId=self._client,
        )  # fmt: skip

    def _sense(self) -> tuple[Observation, float, bool]:
        p, body, client = self._p, self._body, self._client
        states = p.getJointStates(body, self._motors, physicsClientId=client)
        position, quaternion = p.getBasePositionAndOrientation(body, physicsClientId=client)
        (vx, vy, _), (_, _, turning) = p.getBaseVelocity(body, physicsClientId=client)
        roll, pitch, yaw = p.getEulerFromQuaternion(quaternion)
        speed, turn = self._command
        readings = [(s[0] - a) / r for s, a, r in zip(states, self._stance, self._reach, strict=True)]
        readings += (roll, pitch, turning, speed, turn)
        self._observation[:] = readings
        forward = vx * math.cos(yaw) + vy * math.sin(yaw)
        power_w = sum([abs(s[1] * s[3]) for s in states])
        dt = self.task.control_dt_s
        # Too fast is getting ahead of the commanded way: the speed itself varies within each stride.
        before, self._ahead_m = self._ahead_m, self._ahead_m + (forward - speed) * dt
        way = min(forward, speed) * dt - max(0.0, self._ahead_m) + max(0.0, before)
        costs = _SWERVE_COST * abs(turning - turn) + self.energy_cost * power_w / self._weight_n
        failed = position[2] < 0.5 * self.height_m or abs(roll) > _TILTED_RAD or abs(pitch) > _TILTED_RAD
        return self._observation.copy(), way - costs * dt, failed


def _command_of(value: Any) -> tuple[float, float]:
    """Return (speed [m/s], turn [rad/s]) of a reset's options."""
    try:
        speed, turn = (float(part) for part in value)
    except (TypeError, ValueError):
        speed = turn = math.nan
    if not (0.0 <= speed <= 5.0 and -3.0 <= turn <= 3.0):
        raise TaskError(f"options['command']: {value!r}; allowed: speed from 0 to 5 m/s, turn from -3 to 3 rad/s")
    return speed, turn


class Gait(Scripted):
    """Legs in a fixed rhythm, without feedback: a robot's ``Baseline`` sets ``phases`` and ``swings``."""

    hz: ClassVar[float]
    phases: ClassVar[tuple[float, ...]]
    """Phase of each leg, as a share of the period."""
    swings: ClassVar[tuple[tuple[float, float, float], ...]]
    """Of each joint of a leg: middle, swing, and lead on the leg's phase as a share of a period."""

    def reset(self) -> None:
        """Restart the rhythm."""
        self._steps = 0

    def act(self, u: NDArray[Any]) -> list[float]:
        """Return all joints' targets."""
        turns = self.hz * self._steps * self.spec.control_dt_s
        self._steps += 1
        return [
            middle + swing * math.cos(2 * math.pi * (turns + phase + lead))
            for phase in self.phases
            for middle, swing, lead in self.swings
        ]
