"""Rover: a small racing car with distance sensors, and scenes of boxes. Courses add walls, a reward and an end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces

from neuroctl.errors import TaskError

from .base import BulletTask, Observation

RAY_REACH_M: Final = 3.0
RAYS_DEG: Final = (75.0, 40.0, 15.0, -15.0, -40.0, -75.0)
"""Directions of the distance sensors, from the left to the right."""
RAY_NAMES: Final = tuple(f"nearness at {angle:+.0f} deg [1 at hand, 0 from 3 m on]" for angle in RAYS_DEG)
SPEED_NAME: Final = "speed [m/s]"
LIMITS: Final = ((0.0, 1.0),) * len(RAYS_DEG) + ((-1.0, 3.0),)
OUTPUT_NAMES: Final = ("speed wanted [of 2 m/s]", "steering to the left [of 0.5 rad]")
OUTPUT_LIMITS: Final = ((-0.25, 1.0), (-1.0, 1.0))

_FASTEST_M_S: Final = 2.0
_STEERING_RAD: Final = 0.5
_WHEEL_M: Final = 0.05
_DRIVE_NM: Final = 1.0
_MASK: Final = 2  # collision mask of the rays: walls, but not the car itself
_EYES_M: Final = 0.12  # height of the sensors
_MIDDLE_M: Final = 0.17  # middle of the car, ahead of its rear axle, the origin of the model
_BODY: Final = ((0.06, 0.19), (-0.06, 0.19))  # discs that cover the car: places ahead of its middle, and radii [m]
_WALL_M: Final = 0.4
_WALL_RGBA: Final = (0.38, 0.47, 0.60, 1.0)

Box = tuple[float, float, float, float]
"""A wall: x and y of its middle, and its lengths along x and y [m]."""


class Rover(BulletTask):
    """A car of 6 kg with six distance sensors and a speedometer, among walls.

    A course sets ``task`` and ``camera``, and overrides ``_walls``, ``_place`` and ``_judge``.
    """

    acts_by_force: ClassVar[bool] = False
    physics_hz: ClassVar[int] = 60

    def __init__(self, render_mode: str | None = None, **options: Any):
        extra = len(self.task.input_limits) - len(LIMITS)
        low = np.array([0.0] * len(RAYS_DEG) + [-50.0] + [-10.0] * extra, np.float32)
        high = np.array([1.0] * len(RAYS_DEG) + [50.0] + [10.0] * extra, np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self._observation = np.zeros(len(low), np.float32)
        super().__init__(render_mode, **options)

    # What a course provides.

    def _walls(self) -> Sequence[Box]:
        raise NotImplementedError

    def _place(self) -> tuple[float, float, float]:
        """Return the middle's x [m] and y [m], and the heading [rad], at the start, drawn from ``self.np_random``."""
        raise NotImplementedError

    def _judge(self, x: float, y: float, heading: float, speed: float) -> tuple[float, bool]:
        """Return the reward of the step just made, with the middle of the car at x and y, and whether it is over."""
        raise NotImplementedError

    def _extra(self) -> Sequence[float]:
        """Return a course's observations besides walls and speed."""
        return ()

    def _move_walls(self, first: int, places: Sequence[tuple[float, float]]) -> None:
        """Put walls, from the numbered one of ``_walls`` on, to other places [m]."""
        for body, (x, y) in zip(self._boxes[first:], places, strict=True):
            self._p.resetBasePositionAndOrientation(
                body, (x, y, 0.5 * _WALL_M), (0, 0, 0, 1), physicsClientId=self._client
            )

    # What a physics task provides.

    def _load(self) -> None:
        p, client = self._p, self._client
        ground = self._load_model("plane_implicit.urdf")
        self._bodies.clear()  # the ground is not drawn anew
        p.changeDynamics(ground, -1, lateralFriction=1.0, physicsClientId=client)
        self._body = self._load_model("racecar/racecar.urdf", (0.0, 0.0, 0.05))
        joints = self._joints(self._body)
        self._wheels = [
            joints[f"{place}_wheel_joint"] for place in ("left_rear", "right_rear", "left_front", "right_front")
        ]
        self._steering = [joints[f"{side}_steering_hinge_joint"] for side in ("left", "right")]
        self._drive = [_DRIVE_NM * self._strength] * len(self._wheels)
        self._boxes = [self._wall(*box) for box in self._walls()]
        self._rays = [(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in RAYS_DEG]

    def _wall(self, x: float, y: float, along_x: float, along_y: float) -> int:
        p, client = self._p, self._client
        half = (0.5 * along_x, 0.5 * along_y, 0.5 * _WALL_M)
        body = p.createMultiBody(
            0,
            p.createCollisionShape(p.GEOM_BOX, halfExtents=half, physicsClientId=client),
            p.createVisualShape(p.GEOM_BOX, halfExtents=half, rgbaColor=_WALL_RGBA, physicsClientId=client),
            (x, y, 0.5 * _WALL_M),
            physicsClientId=client,
        )
        p.setCollisionFilterGroupMask(body, -1, _MASK, 1, physicsClientId=client)
        return int(body)

    def _start(self, options: dict[str, Any]) -> None:
        if options:
            raise TaskError(f"options: {sorted(options)[0]!r}; allowed: none")
        x, y, heading = self._place()
        turned = self._p.getQuaternionFromEuler((0.0, 0.0, heading))
        x, y = x - _MIDDLE_M * math.cos(heading), y - _MIDDLE_M * math.sin(heading)
        self._p.resetBasePositionAndOrientation(self._body, (x, y, 0.05), turned, physicsClientId=self._client)

    def _act(self, values: list[float]) -> None:
        p, client = self._p, self._client
        spin = values[0] * _FASTEST_M_S / _WHEEL_M
        p.setJointMotorControlArray(
            self._body, self._wheels, p.VELOCITY_CONTROL, targetVelocities=[spin] * 4, forces=self._drive,
            physicsClientId=client,
        )  # fmt: skip
        angle = values[1] * _STEERING_RAD
        p.setJointMotorControlArray(
            self._body, self._steering, p.POSITION_CONTROL, targetPositions=[angle] * 2, forces=[10.0] * 2,
            physicsClientId=client,
        )  # fmt: skip

    def _sense(self) -> tuple[Observation, float, bool]:
        p, client = self._p, self._client
        (x, y, _), quaternion = p.getBasePositionAndOrientation(self._body, physicsClientId=client)
        heading = p.getEulerFromQuaternion(quaternion)[2]
        vx, vy, _ = p.getBaseVelocity(self._body, physicsClientId=client)[0]
        cos, sin = math.cos(heading), math.sin(heading)
        speed = vx * cos + vy * sin
        x, y = x + _MIDDLE_M * cos, y + _MIDDLE_M * sin
        reach = RAY_REACH_M
        ends = [(x + reach * (cos * a - sin * b), y + reach * (sin * a + cos * b), _EYES_M) for a, b in self._rays]
        hits = p.rayTestBatch([(x, y, _EYES_M)] * len(ends), ends, collisionFilterMask=_MASK, physicsClientId=client)
        self._observation[:] = [*(1.0 - hit[2] for hit in hits), speed, *self._extra()]
        reward, over = self._judge(x, y, heading, speed)
        return self._observation.copy(), reward, over


def room_for(x: float, y: float, heading: float, nearest_m: Callable[[float, float], float]) -> float:
    """Return the distance [m] of a car from the nearest wall, given that of any place; negative in contact."""
    cos, sin = math.cos(heading), math.sin(heading)
    return min(nearest_m(x + ahead * cos, y + ahead * sin) - radius for ahead, radius in _BODY)
