"""Arm: a KUKA iiwa follows a moving target with its hand."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.errors import TaskError

from ..scripted import Scripted
from ..task import Task
from .base import BulletTask, Camera, Observation

JOINTS: Final = 7
STANCE_RAD: Final = (0.0, 0.5, 0.0, -1.4, 0.0, 0.9, 0.0)
REACH_RAD: Final = 1.5  # distance from the stance at an observed angle of 1
SPEED_RAD_S: Final = 1.5
HAND: Final = 6  # the last link
# Jacobian of the hand's place with respect to the joints, at the stance: [m/rad], rows x, y, z.
JACOBIAN: Final = (
    (0.0, 0.144, 0.0, 0.224, 0.0, -0.095, 0.0),
    (0.614, 0.0, 0.469, 0.0, 0.079, 0.0, 0.0),
    (0.0, -0.614, 0.0, 0.412, 0.0, -0.034, 0.0),
)
MIDDLE_M: Final = (0.60, 0.0, 0.55)
HALF_M: Final = (0.15, 0.35, 0.20)  # half sizes of the box in which the target moves
TURN_S: Final = (4.0, 8.0)  # periods of the target's motion along an axis

TASK: Final = Task(
    name="arm",
    env_id="neuroctl/Arm-v0",
    entry_point="neuroctl.sims.bullet.arm:Arm",
    max_episode_steps=300,
    summary="follow a moving target with the hand of an arm of seven joints (iiwa)",
    control_hz=30,
    input_names=(
        *(f"joint {k + 1} [of 1.5 rad from its stance]" for k in range(JOINTS)),
        *(f"target from the hand, {axis} [m]" for axis in "xyz"),
    ),
    input_limits=((-1.0, 1.0),) * JOINTS + ((-0.5, 0.5),) * 3,
    output_names=tuple(f"speed of joint {k + 1} [of 1.5 rad/s]" for k in range(JOINTS)),
    output_limits=((-1.0, 1.0),) * JOINTS,
    search={"neurons": 7, "population": 24, "episodes": 3, "validation": 12, "generations": 200},
)


class Arm(BulletTask):
    """A KUKA LBR iiwa follows a target that moves on a smooth path in front of it.

    ## Description
    The target moves along each axis as a sine of its own period and phase, drawn for each episode. Physics run at
    240 Hz, control at 30 Hz. The file's joint limits and torques hold.

    ## Action space
    ``Box(-1, 1, (7,), float32)``: speeds of the joints, of 1.5 rad/s.

    ## Observation space
    ``Box((10,), float32)``: the joints' angles from their stance, of 1.5 rad; the target as seen from the hand [m].

    ## Reward
    For each second 1, less twice the distance from the hand to the target in meters (at most 1).

    ## Start
    The arm stands within 0.1 rad of its stance.

    ## End
    Truncated: after 300 steps (10 s). Nothing ends it before.

    ## Arguments
    Those of ``BulletTask``.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(0.3, 0.0, 0.5), distance_m=2.2, yaw_deg=50, pitch_deg=-20, field_of_view_deg=50
    )
    acts_by_force: ClassVar[bool] = False

    def __init__(self, render_mode: str | None = None, **options: Any):
        bounds = np.array([4.0] * JOINTS + [4.0] * 3, np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)
        self._observation = np.zeros(JOINTS + 3, np.float32)
        super().__init__(render_mode, **options)

    @property
    def miss_m(self) -> float:
        """Distance from the hand to the target, in meters."""
        return float(np.linalg.norm(self._observation[JOINTS:]))

    def _load(self) -> None:
        p, client = self._p, self._client
        self._body = self._load_model("kuka_iiwa/model.urdf", fixed=True)
        self._joints_of = list(range(JOINTS))
        infos = [p.getJointInfo(self._body, joint, physicsClientId=client) for joint in self._joints_of]
        self._forces = [float(info[10]) * self._strength for info in infos]
        self._load_ball(0.035)

    def _start(self, options: dict[str, Any]) -> None:
        if options:
            raise TaskError(f"options: {sorted(options)[0]!r}; allowed: none")
        drawn = self.np_random.uniform(0.0, 1.0, (2, 3))
        self._turn_s = (TURN_S[0] + (TURN_S[1] - TURN_S[0]) * drawn[0]).tolist()
        self._phase = (2 * math.pi * drawn[1]).tolist()
        self._time_s = 0.0
        for joint, angle in enumerate(self.np_random.uniform(-0.1, 0.1, JOINTS) + STANCE_RAD):
            self._p.resetJointState(self._body, joint, float(angle), 0.0, physicsClientId=self._client)
        self._move_target()

    def _move_target(self) -> None:
        self._target = [
            middle + half * math.sin(2 * math.pi * self._time_s / period + phase)
            for middle, half, period, phase in zip(MIDDLE_M, HALF_M, self._turn_s, self._phase, strict=True)
        ]
        self._move_ball(self._target)

    def _act(self, values: list[float]) -> None:
        p = self._p
        self._time_s += self.task.control_dt_s
        self._move_target()
        p.setJointMotorControlArray(
            self._body, self._joints_of, p.VELOCITY_CONTROL,
            targetVelocities=[SPEED_RAD_S * value for value in values], forces=self._forces,
            physicsClientId=self._client,
        )  # fmt: skip

    def _sense(self) -> tuple[Observation, float, bool]:
        p, client = self._p, self._client
        states = p.getJointStates(self._body, self._joints_of, physicsClientId=client)
        hand = p.getLinkState(self._body, HAND, computeForwardKinematics=1, physicsClientId=client)[0]
        miss = [a - b for a, b in zip(self._target, hand, strict=True)]
        angles = [(state[0] - stance) / REACH_RAD for state, stance in zip(states, STANCE_RAD, strict=True)]
        self._observation[:] = (*angles, *miss)
        reward = (1.0 - min(1.0, 2.0 * math.hypot(*miss))) * self.task.control_dt_s
        return self._observation.copy(), reward, False


class Baseline(Scripted):
    """The transposed Jacobian at the stance, times the way to the target."""

    spec: ClassVar[Task] = TASK
    GAIN: ClassVar[float] = 6.0

    def act(self, u: NDArray[Any]) -> Any:
        """Return the joints' speeds."""
        miss = np.asarray(u[JOINTS:], np.float64)
        return self.GAIN * np.array(JACOBIAN).T @ miss
