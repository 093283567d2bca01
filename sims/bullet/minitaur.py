"""Minitaur: Ghost Robotics' quadruped with direct drive and legs of four bars."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

from ..task import Task
from .base import Camera
from .legged import ANGLE_LIMITS, ANGLE_NOISE, SHARED, SHARED_LIMITS, Gait, Leg, LeggedTask

# In a ring around the body, so that legs that are coupled to their neighbors may trot: opposite legs together.
_NAMES: Final = ("front_left", "front_right", "back_right", "back_left")
_SIDES: Final = {name: ("L", "R") if name.endswith("left") else ("R", "L") for name in _NAMES}
"""A leg's motors, in the order in which they do the same on the left and on the right of the robot."""
_KNEE_RAD: Final = -2.1834
_KNEE_PLACES_M: Final = ((0.0, 0.005, 0.2), (0.0, 0.01, 0.2))  # places of the joint between the two halves of a leg

TASK: Final = Task(
    name="minitaur",
    env_id="neuroctl/Minitaur-v0",
    entry_point="neuroctl.sims.bullet.minitaur:Minitaur",
    max_episode_steps=300,
    summary="walk on four legs of four bars (Minitaur), as fast as commanded",
    control_hz=30,
    input_names=(*(f"{leg} {side} motor [of its reach]" for leg in _NAMES for side in _SIDES[leg]), *SHARED),
    input_limits=((ANGLE_LIMITS,) * 8 + SHARED_LIMITS),
    output_names=tuple(f"{leg} {side} motor's target [of its reach]" for leg in _NAMES for side in _SIDES[leg]),
    output_limits=((-1.0, 1.0),) * 8,
    search={
        "neurons": 12, "limbs": 4, "shared_inputs": 5, "rhythm": 2.5, "fix": ("b_out=0",), "population": 16,
        "episodes": 1, "validation": 8, "generations": 100, "sigma0": 0.3,
    },
)  # fmt: skip


def _turns(leg: str) -> float:
    """Return the sense of both motors of a leg: those of the right side are mounted the other way round."""
    return -1.0 if leg.endswith("left") else 1.0


def _leg(name: str) -> Leg:
    joints = tuple(f"motor_{name}{side}_joint" for side in _SIDES[name])
    return Leg(
        name=name, joints=joints, stance_rad=(_turns(name) * math.pi / 2,) * 2, reach_rad=(_turns(name) * 0.5,) * 2
    )


class Minitaur(LeggedTask):
    """A Minitaur of 6 kg walks straight ahead, or as it is steered.

    ## Description
    Ghost Robotics' robot: two motors a leg, whose four bars meet in its foot. Together they move the foot up and
    down, against each other forward and back. Motors hold targets by a PD law of at most 3.5 N m. Physics run at
    240 Hz, control at 30 Hz.

    ## Action space
    ``Box(-1, 1, (8,), float32)``: leg by leg, targets of its two motors, as a share of their reach around the stance.

    ## Observation space
    ``Box((13,), float32)``. A robot outside of its limits is about to fall.

    | index  | observation                        | unit         | low  | high |
    |--------|------------------------------------|--------------|------|------|
    | 0-7    | angles from the stance, as actions | of the reach | -1.2 | 1.2  |
    | 8      | roll                               | rad          | -0.6 | 0.6  |
    | 9      | pitch                              | rad          | -0.6 | 0.6  |
    | 10     | yaw rate                           | rad/s        | -2   | 2    |
    | 11     | commanded speed                    | m/s          | 0    | 1.5  |
    | 12     | commanded turn                     | rad/s        | -1   | 1    |

    ## Reward
    Metres walked forward, at most as fast as commanded, less those by which the robot ends up ahead of the commanded
    way; less 0.3 m for each radian turned beside the command, and 0.05 m for as much work of the motors as lifts the
    robot by a metre.

    ## Start
    In its stance, each joint within a tenth of its reach.

    ## End
    Terminated: the body is below half its height, or tilted by 0.8 rad. Truncated: after 300 steps (10 s).

    ## Arguments
    Those of ``LeggedTask``. ``reset(options={"command": (speed_m_s, turn_rad_s)})`` commands that for the episode.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, 0.0, 0.15), distance_m=1.4, yaw_deg=35, pitch_deg=-18, field_of_view_deg=50
    )
    file: ClassVar[str] = "quadruped/minitaur_v1.urdf"
    legs: ClassVar[tuple[Leg, ...]] = tuple(_leg(name) for name in _NAMES)
    height_m: ClassVar[float] = 0.2
    torque_nm: ClassVar[float] = 3.5
    own_inertia: ClassVar[bool] = False
    speed_m_s: ClassVar[float] = 0.5

    def _load(self) -> None:
        super()._load()
        p, client = self._p, self._client
        named = self._joints(self._body)
        self._knees = [(named[f"knee_{leg}{side}_link"], _turns(leg)) for leg in _NAMES for side in _SIDES[leg]]
        self._fold([0.0] * len(_NAMES))
        for leg in _NAMES:
            halves = [named[f"knee_{leg}{side}_link"] for side in ("R", "L")]
            places = [self._from_mass(link, place) for link, place in zip(halves, _KNEE_PLACES_M, strict=True)]
            p.createConstraint(
                self._body, halves[0], self._body, halves[1], p.JOINT_POINT2POINT, (0, 0, 0), *places,
                physicsClientId=client,
            )  # fmt: skip
        for knee, _ in self._knees:
            p.setJointMotorControl2(self._body, knee, p.VELOCITY_CONTROL, force=0, physicsClientId=client)

    def _from_mass(self, link: int, place: tuple[float, float, float]) -> list[float]:
        """Return a place on a link relative to its center of mass, for constraints."""
        center = self._p.getLinkState(self._body, link, physicsClientId=self._client)[2]
        return [a - b for a, b in zip(place, center, strict=True)]

    def _start(self, options: dict[str, Any]) -> None:
        super()._start(options)
        self._fold(self.np_random.uniform(-ANGLE_NOISE, ANGLE_NOISE, len(_NAMES)).tolist())

    def _fold(self, shares: list[float]) -> None:
        """Set the legs so that their halves meet, each swung as a whole by a share of its reach."""
        p, client = self._p, self._client
        for index, (joint, stance, reach) in enumerate(zip(self._motors, self._stance, self._reach, strict=True)):
            angle = stance + (1 - 2 * (index % 2)) * shares[index // 2] * reach
            p.resetJointState(self._body, joint, angle, 0.0, physicsClientId=client)
        for knee, sense in self._knees:
            p.resetJointState(self._body, knee, sense * _KNEE_RAD, 0.0, physicsClientId=client)


class Baseline(Gait):
    """A trot: opposite legs go together."""

    spec: ClassVar[Task] = TASK
    hz: ClassVar[float] = 3.3
    phases: ClassVar[tuple[float, ...]] = (0.0, 0.5, 0.0, 0.5)
    swings: ClassVar[tuple[tuple[float, float, float], ...]] = ((-0.325, -0.024, 0.0), (-0.138, 0.75, 0.499))
