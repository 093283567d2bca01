"""Hexapod: six legs of three joints walk at a commanded speed."""

from __future__ import annotations

from typing import ClassVar, Final

from ..task import Task
from .base import ASSETS, Camera
from .legged import ANGLE_LIMITS, SHARED, SHARED_LIMITS, Gait, Leg, LeggedTask

# In a ring around the body: in a tripod gait each second leg is in the air.
_NAMES: Final = ("LF", "LM", "LR", "RR", "RM", "RF")
_PARTS: Final = ("swing", "lift", "knee")

TASK: Final = Task(
    name="hexapod",
    env_id="neuroctl/Hexapod-v0",
    entry_point="neuroctl.sims.bullet.hexapod:Hexapod",
    max_episode_steps=300,
    summary="walk on six legs (18 joints), as fast as commanded",
    control_hz=30,
    input_names=(*(f"{leg} {part} [of its reach]" for leg in _NAMES for part in _PARTS), *SHARED),
    input_limits=((ANGLE_LIMITS,) * 18 + SHARED_LIMITS),
    output_names=tuple(f"{leg} {part} target [of its reach]" for leg in _NAMES for part in _PARTS),
    output_limits=((-1.0, 1.0),) * 18,
    search={
        "neurons": 18, "limbs": 6, "coupling": "wave", "shared_inputs": 5, "rhythm": 1.5, "fix": ("b_out=0",),
        "population": 16, "episodes": 1, "validation": 8, "generations": 100, "sigma0": 0.3,
    },
)  # fmt: skip


def _leg(name: str) -> Leg:
    forward = 1.0 if name.startswith("R") else -1.0
    return Leg(
        name=name,
        joints=tuple(f"{name}_{part}" for part in _PARTS),
        stance_rad=(0.0, -0.35, 1.55),
        reach_rad=(0.45 * forward, 0.4, 0.4),
    )


class Hexapod(LeggedTask):
    """A hexapod of 2 kg walks straight ahead, or as it is steered.

    ## Description
    Six legs with three joints each; an action of 1 on the first swings a leg forward, on either side. Motors hold
    targets by a PD law of at most 2.5 N m. Physics run at 240 Hz, control at 30 Hz.

    ## Action space
    ``Box(-1, 1, (18,), float32)``: leg by leg, targets of its swing, lift and knee, as shares of their reach
    around the stance.

    ## Observation space
    ``Box((23,), float32)``. A robot outside of its limits is about to fall.

    | index  | observation                        | unit         | low  | high |
    |--------|------------------------------------|--------------|------|------|
    | 0-17   | angles from the stance, as actions | of the reach | -1.2 | 1.2  |
    | 18     | roll                               | rad          | -0.6 | 0.6  |
    | 19     | pitch                              | rad          | -0.6 | 0.6  |
    | 20     | yaw rate                           | rad/s        | -2   | 2    |
    | 21     | commanded speed                    | m/s          | 0    | 1.5  |
    | 22     | commanded turn                     | rad/s        | -1   | 1    |

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
        target_m=(0.0, 0.0, 0.08), distance_m=0.95, yaw_deg=35, pitch_deg=-28, field_of_view_deg=50
    )
    file: ClassVar[str] = str(ASSETS / "hexapod.urdf")
    legs: ClassVar[tuple[Leg, ...]] = tuple(_leg(name) for name in _NAMES)
    height_m: ClassVar[float] = 0.10
    torque_nm: ClassVar[float] = 2.5
    speed_m_s: ClassVar[float] = 0.5


class Baseline(Gait):
    """A tripod gait: every second leg stands while the others swing."""

    spec: ClassVar[Task] = TASK
    hz: ClassVar[float] = 2.0
    phases: ClassVar[tuple[float, ...]] = (0.0, 0.5) * 3
    swings: ClassVar[tuple[tuple[float, float, float], ...]] = (
        (0.14, -0.805, 0.0),
        (0.321, -0.439, -0.24),
        (-0.489, -0.189, 0.441),
    )
