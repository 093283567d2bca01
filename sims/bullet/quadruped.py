"""Quadruped: Unitree's A1 walks at a commanded speed."""

from __future__ import annotations

from typing import ClassVar, Final

from ..task import Task
from .base import Camera
from .legged import ANGLE_LIMITS, SHARED, SHARED_LIMITS, Gait, Leg, LeggedTask

# In a ring around the body, so that legs that are coupled to their neighbors may trot: opposite legs together.
_NAMES: Final = ("FL", "FR", "RR", "RL")
_PARTS: Final = ("hip", "thigh", "knee")

TASK: Final = Task(
    name="quadruped",
    env_id="neuroctl/Quadruped-v0",
    entry_point="neuroctl.sims.bullet.quadruped:Quadruped",
    max_episode_steps=300,
    summary="walk on four legs (A1), as fast as commanded",
    control_hz=30,
    input_names=(*(f"{leg} {part} [of its reach]" for leg in _NAMES for part in _PARTS), *SHARED),
    input_limits=((ANGLE_LIMITS,) * 12 + SHARED_LIMITS),
    output_names=tuple(f"{leg} {part} target [of its reach]" for leg in _NAMES for part in _PARTS),
    output_limits=((-1.0, 1.0),) * 12,
    search={
        "neurons": 12, "limbs": 4, "shared_inputs": 5, "rhythm": 2.5, "fix": ("b_out=0",), "population": 16,
        "episodes": 1, "validation": 8, "generations": 150, "sigma0": 0.3,
    },
)  # fmt: skip


def _leg(name: str) -> Leg:
    outwards = 1.0 if name.endswith("L") else -1.0
    return Leg(
        name=name,
        joints=tuple(f"{name}_{part}_joint" for part in ("hip", "upper", "lower")),
        stance_rad=(0.0, 0.9, -1.8),
        reach_rad=(0.2 * outwards, 0.5, 0.5),
    )


class Quadruped(LeggedTask):
    """An A1 of 12.5 kg walks straight ahead, or as it is steered.

    ## Description
    Unitree's A1 with position targets for hips, thighs and knees, which motors hold by a PD law of at most 33.5 N m.
    Physics run at 240 Hz, control at 30 Hz.

    ## Action space
    ``Box(-1, 1, (12,), float32)``: leg by leg, targets of its hip, thigh and knee, as shares of their reach
    around the stance.

    ## Observation space
    ``Box((17,), float32)``. A robot outside of its limits is about to fall.

    | index  | observation                        | unit         | low  | high |
    |--------|------------------------------------|--------------|------|------|
    | 0-11   | angles from the stance, as actions | of the reach | -1.2 | 1.2  |
    | 12     | roll                               | rad          | -0.6 | 0.6  |
    | 13     | pitch                              | rad          | -0.6 | 0.6  |
    | 14     | yaw rate                           | rad/s        | -2   | 2    |
    | 15     | commanded speed                    | m/s          | 0    | 1.5  |
    | 16     | commanded turn                     | rad/s        | -1   | 1    |

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
        target_m=(0.0, 0.0, 0.25), distance_m=1.9, yaw_deg=35, pitch_deg=-18, field_of_view_deg=50
    )
    file: ClassVar[str] = "a1/a1.urdf"
    legs: ClassVar[tuple[Leg, ...]] = tuple(_leg(name) for name in _NAMES)
    height_m: ClassVar[float] = 0.30
    torque_nm: ClassVar[float] = 33.5


class Baseline(Gait):
    """A trot: opposite legs go together."""

    spec: ClassVar[Task] = TASK
    hz: ClassVar[float] = 3.0
    phases: ClassVar[tuple[float, ...]] = (0.0, 0.5, 0.0, 0.5)
    swings: ClassVar[tuple[tuple[float, float, float], ...]] = (
        (0.0, 0.0, 0.0),
        (-0.486, -0.327, 0.0),
        (0.301, 0.126, 0.498),
    )
