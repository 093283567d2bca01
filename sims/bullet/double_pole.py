"""Double pole: balance two poles of different length on one cart, seeing positions only."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..scripted import Scripted
from ..task import Task
from .base import BulletTask, Camera, Observation
from .cartpole import given_start
from .effort import WEIGHT, Effort

TRACK_M: Final = 2.4
FALLEN_RAD: Final = math.radians(36)
FORCE_N: Final = 10.0

# Half widths of the start: position [m], long pole's angle [rad], velocity [m/s], long pole's rate [rad/s]. The short
# pole begins upright and at rest, as in the published tests of generalization.
START: Final = (1.0, math.radians(4), 0.2, 0.1)

TASK: Final = Task(
    name="double-pole",
    env_id="neuroctl/DoublePole-v0",
    entry_point="neuroctl.sims.bullet.double_pole:DoublePole",
    max_episode_steps=1000,
    summary="balance two poles of different length on one cart, seeing no velocities",
    control_hz=60,
    input_names=("cart position [m]", "long pole's angle [rad]", "short pole's angle [rad]"),
    input_limits=((-TRACK_M, TRACK_M), (-FALLEN_RAD, FALLEN_RAD), (-FALLEN_RAD, FALLEN_RAD)),
    output_names=("force on the cart [N]",),
    output_limits=((-FORCE_N, FORCE_N),),
    search={
        "neurons": 4, "fix": ("bias=0", "b_out=0"), "population": 20, "episodes": 2, "validation": 16, "sigma0": 1.0,
        "generations": 300,
    },
)  # fmt: skip


class DoublePole(BulletTask):
    """A cart on a rail balances two poles, of 1 m and 0.1 m, that are hinged to its top side by side.

    ## Description
    The benchmark of Wieland (1991) in a physics engine: a cart of 1 kg, poles of 0.1 kg and 0.01 kg, no friction. The
    poles answer to the same force at different speeds, which is what makes it possible to balance both. The
    controller sees no velocities. Physics run at 240 Hz, control at 60 Hz.

    ## Action space
    ``Box(-10, 10, (1,), float32)``; larger forces are clipped.

    | index | action            | unit | low | high |
    |-------|-------------------|------|-----|------|
    | 0     | force on the cart | N    | -10 | 10   |

    ## Observation space
    ``Box((3,), float32)``. Its bounds are twice the limits at which an episode ends.

    | index | observation        | unit | low    | high  | episode ends beyond |
    |-------|--------------------|------|--------|-------|---------------------|
    | 0     | cart position      | m    | -4.8   | 4.8   | 2.4                 |
    | 1     | long pole's angle  | rad  | -1.257 | 1.257 | 0.628 (36 degrees)  |
    | 2     | short pole's angle | rad  | -1.257 | 1.257 | 0.628               |

    ## Reward
    For every step after which both poles stand and the cart is on the track, 1 less the cost of unquiet control::

        0.1 (|long pole's angle| / 36 degrees + |short pole's angle| / 36 degrees + |position| / 2.4 m
             + |force| / 10 N + |force - force'| / 20 N)

    with the force as applied, and the one of the step before, force' (0 in the first step); 0 for the step that ends
    in failure. ``info["balanced"]`` is the number of steps balanced in the episode so far.

    ## Start
    Uniform: position within 1 m of the middle, velocity within 0.2 m/s, the long pole's angle within 4 degrees and
    its rate within 0.1 rad/s; the short pole stands upright and at rest.

    ## End
    Terminated: the cart is more than 2.4 m from the middle, or a pole more than 36 degrees from upright. Truncated:
    after 1000 steps (16.7 s).

    ## Arguments
    Those of ``BulletTask``. ``reset(options={"start": (position_m, long_rad, velocity_m_s, long_rad_s)})`` begins from
    that state.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, 0.0, 0.45), distance_m=6.3, yaw_deg=0, pitch_deg=-6, field_of_view_deg=48
    )

    def __init__(self, render_mode: str | None = None, **options: Any):
        bounds = 2 * np.array((TRACK_M, FALLEN_RAD, FALLEN_RAD), np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)
        self._observation = np.zeros(3, np.float32)
        self._effort = Effort((FORCE_N,))
        super().__init__(render_mode, **options)

    def _load(self) -> None:
        self._body = self._load_robot("double_pole.urdf", fixed=True)
        joints = self._joints(self._body)
        self._sensed = tuple(joints[name] for name in ("slider", "long_hinge", "short_hinge"))

    def _start(self, options: dict[str, Any]) -> None:
        drawn = self.np_random.uniform(-1.0, 1.0, 4) * START
        position_m, angle_rad, velocity_m_s, rate_rad_s = given_start(options, (TRACK_M, FALLEN_RAD)) or drawn.tolist()
        states = ((position_m, velocity_m_s), (angle_rad, rate_rad_s), (0.0, 0.0))
        for joint, (value, rate) in zip(self._sensed, states, strict=True):
            self._p.resetJointState(self._body, joint, value, rate, physicsClientId=self._client)
        self._effort.reset()
        self._pushed, self._balanced = 0.0, -1  # the first observation is no step

    def _act(self, values: list[float]) -> None:
        p = self._p
        self._pushed = self._effort.of(values)
        p.setJointMotorControl2(
            self._body, self._sensed[0], p.TORQUE_CONTROL, force=values[0], physicsClientId=self._client
        )

    def _sense(self) -> tuple[Observation, float, bool]:
        slider, long, short = self._p.getJointStates(self._body, self._sensed, physicsClientId=self._client)
        position_m, long_rad, short_rad = slider[0], long[0], short[0]
        failed = abs(position_m) > TRACK_M or abs(long_rad) > FALLEN_RAD or abs(short_rad) > FALLEN_RAD
        observation = self._observation
        observation[0], observation[1], observation[2] = position_m, long_rad, short_rad
        if failed:
            return observation.copy(), 0.0, True
        self._balanced += 1
        cost = (abs(long_rad) + abs(short_rad)) / FALLEN_RAD + abs(position_m) / TRACK_M + self._pushed
        return observation.copy(), 1.0 - WEIGHT * cost, False

    def _info(self) -> dict[str, Any]:
        return {"balanced": self._balanced}


class Baseline(Scripted):
    """State feedback on finite differences.

    The gains u = -K x are those of a linear-quadratic regulator of both upright poles at 60 Hz, with
    Q = diag(1, 10, 10, 1, 1, 1) for positions, then velocities, and R = 0.1 for the force.
    """

    GAINS: ClassVar[tuple[float, ...]] = (1.865, 77.890, -54.281, 4.074, 20.518, -4.818)

    spec: ClassVar[Task] = TASK

    def reset(self) -> None:
        """Forget the last observation."""
        self._last: NDArray[np.float64] | None = None

    def act(self, u: NDArray[Any]) -> tuple[float]:
        """Return the force [N]."""
        sensed = np.array(u, np.float64)
        rates = np.zeros(3) if self._last is None else (sensed - self._last) * TASK.control_hz
        self._last = sensed
        return (-float(np.dot(self.GAINS, np.concatenate([sensed, rates]))),)
