"""Quadrotor: 30 g in gusty wind, to stay in a place or to go from one to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.checks import number
from neuroctl.errors import TaskError

from ..scripted import Scripted
from ..task import Task
from .base import ASSETS, GRAVITY_M_S2, BulletTask, Camera, Observation
from .effort import WEIGHT, Effort

MASS_KG: Final = 0.030
REACH_M: Final = 0.0325  # of a rotor along x and along y
STRONGEST: Final = 2.2  # all rotors' largest thrust, in weights
LAG_S: Final = 0.03  # time constant of a motor
DRAG_N_S_M: Final = 0.015
YAW_M: Final = 0.006  # torque about z for each newton of a rotor
GUST_M_S: Final = (1.0, 1.0, 0.3)  # standard deviation of the wind
GUST_S: Final = 0.7  # duration of a gust
LOST_M: Final = 2.5
TILTED_RAD: Final = 1.2
START: Final = (0.3, 0.3, 0.3)  # half widths [m]
WAYPOINT_S: Final = 4.0
WAYPOINT_M: Final = (1.0, 1.0, 0.5)

# Rotors: front left, front right, rear right, rear left. Signs of x, y and of the turning.
_ROTORS: Final = ((1, 1, 1), (1, -1, -1), (-1, -1, 1), (-1, 1, -1))
# Change of a rotor's thrust at an action of 1, in quarters of the weight: all together, roll, pitch, yaw.
_MIX: Final = (0.6, 0.15, 0.15, 0.4)
_FLYING_M: Final = 1.5

_INPUTS: Final = (
    ("east of the target [m]", 1.0), ("north of the target [m]", 1.0), ("above the target [m]", 1.0),
    ("speed east [m/s]", 2.0), ("speed north [m/s]", 2.0), ("speed up [m/s]", 2.0),
    ("roll [rad]", 0.6), ("pitch [rad]", 0.6), ("yaw [rad]", 0.6),
    ("roll rate [rad/s]", 4.0), ("pitch rate [rad/s]", 4.0), ("yaw rate [rad/s]", 4.0),
)  # fmt: skip
OUTPUT_NAMES: Final = ("climb [of 0.6 weights]", "roll torque", "pitch torque", "yaw torque")


def _task(name: str, env_id: str, entry_point: str, summary: str) -> Task:
    return Task(
        name=name,
        env_id=env_id,
        entry_point=f"neuroctl.sims.bullet.quadrotor:{entry_point}",
        max_episode_steps=2400,
        summary=summary,
        control_hz=120,
        input_names=tuple(name for name, _ in _INPUTS),
        input_limits=tuple((-limit, limit) for _, limit in _INPUTS),
        output_names=OUTPUT_NAMES,
        output_limits=((-1.0, 1.0),) * 4,
        # Without offsets a network at rest asks for the weight's thrust and no torque. A search that begins with
        # weights of the usual size finds networks that keep the craft up by switching between the limits.
        search={
            "cell": "elman", "neurons": 6, "fix": ("bias=0", "b_out=0"), "population": 24, "episodes": 3,
            "validation": 12, "generations": 300, "sigma0": 0.1,
        },
    )  # fmt: skip


HOVER: Final = _task("quadrotor", "neuroctl/Quadrotor-v0", "Hover", "hold a 30 g quadrotor in its place in gusts")
WAYPOINTS: Final = _task(
    "waypoints", "neuroctl/Waypoints-v0", "Waypoints", "fly a 30 g quadrotor from place to place in gusts"
)


class Hover(BulletTask):
    """A quadrotor of 30 g holds its place in gusts.

    ## Description
    Four rotors with a lag of 30 ms push 2.2 times the weight at most. Wind comes in gusts (an Ornstein-Uhlenbeck
    process, 1 m/s across and 0.3 m/s up, lasting 0.7 s) and drags in proportion to the speed through the air.
    Physics run at 240 Hz, control at 120 Hz.

    ## Action space
    ``Box(-1, 1, (4,), float32)``: climb, roll, pitch and yaw, mixed onto the rotors; 0 is the weight's thrust and no
    torque.

    ## Observation space
    ``Box((12,), float32)``: what an IMU, a flow sensor and a beacon give: place relative to the target [m], speed
    [m/s], roll, pitch and yaw [rad], and their rates in the body's frame [rad/s].

    ## Reward
    For each second 1, less the distance to the target in meters (at most 1), and less the cost of unquiet control::

        0.1 (mean |a| + mean |a - a'| / 2)

    over the four actions a, as applied, and those of the step before, a' (0 in the first step): from 0 to 0.2.
    ``info["cost"]`` is that cost, summed up over the episode so far; the return and it add up to that without a cost.

    ## Start
    Within 0.3 m of the target along each axis, level and at rest.

    ## End
    Terminated: 2.5 m from the target, tilted by 1.2 rad, or on the ground. Truncated: after 2400 steps (20 s).

    ## Arguments
    Those of ``BulletTask``, and ``gusts``: how strong the wind is, as a share of the above.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = HOVER
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, 0.0, _FLYING_M), distance_m=0.9, yaw_deg=40, pitch_deg=-15, field_of_view_deg=50
    )
    options: ClassVar[tuple[str, ...]] = (*BulletTask.options, "gusts")
    acts_by_force: ClassVar[bool] = False
    _power: float = 1.0  # of the rotors' thrust

    def __init__(self, render_mode: str | None = None, *, gusts: float = 1.0, **options: Any):
        number("gusts", gusts, 0.0, 10.0, "numbers from 0 to 10", error=TaskError)
        self._gusts = gusts * np.array(GUST_M_S)
        bounds = np.array([10.0] * 3 + [50.0] * 3 + [math.pi + 0.01] * 3 + [200.0] * 3, np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)
        self._observation = np.zeros(12, np.float32)
        self._effort = Effort((1.0,) * 4)
        super().__init__(render_mode, **options)

    @property
    def miss_m(self) -> float:
        """Distance to the target, in meters."""
        return float(np.linalg.norm(self._observation[:3]))

    def _load(self) -> None:
        p, client = self._p, self._client
        self._load_model("plane_implicit.urdf")
        self._bodies.clear()  # the ground is not randomized
        self._body = self._load_model(str(ASSETS / "quadrotor.urdf"), (0.0, 0.0, _FLYING_M))
        p.changeDynamics(self._body, -1, linearDamping=0, angularDamping=0, physicsClientId=client)
        self._load_ball(0.02)
        self._places = [(x * REACH_M, y * REACH_M, 0.0) for x, y, _ in _ROTORS]
        # A rotor's torque about z is a force across its arm.
        arm = 2 * REACH_M * REACH_M
        self._across = [(-y * REACH_M * s * YAW_M / arm, x * REACH_M * s * YAW_M / arm) for x, y, s in _ROTORS]
        quarter = 0.25 * MASS_KG * GRAVITY_M_S2
        self._quarter_n, self._most_n = quarter, STRONGEST * quarter * self._strength
        dt = self.task.control_dt_s
        self._follow = 1.0 - math.exp(-dt / LAG_S)
        self._keep = math.exp(-dt / GUST_S)
        self._push = math.sqrt(1.0 - self._keep * self._keep)

    def _aim(self, target_m: list[float]) -> None:
        self._target = target_m
        self._move_ball(target_m)

    def _start(self, options: dict[str, Any]) -> None:
        if options:
            raise TaskError(f"options: {sorted(options)[0]!r}; allowed: none")
        offset = self.np_random.uniform(-1.0, 1.0, 3) * START
        self._steps = 0
        self._effort.reset()
        self._cost, self._costs = 0.0, 0.0
        self._aim([0.0, 0.0, _FLYING_M])
        self._wind = self._gusts * self.np_random.standard_normal(3)
        self._thrusts = [self._quarter_n] * 4
        self._air: tuple[float, ...] = (0.0, 0.0, 0.0)
        place = (np.array(self._target) + offset).tolist()
        self._p.resetBasePositionAndOrientation(self._body, place, (0, 0, 0, 1), physicsClientId=self._client)

    def _act(self, values: list[float]) -> None:
        p, body, client = self._p, self._body, self._client
        self._cost = WEIGHT * self._effort.of(values) * self.task.control_dt_s
        self._costs += self._cost
        self._next_target()
        climb, roll, pitch, yaw = (value * share for value, share in zip(values, _MIX, strict=True))
        for k, (x, y, s) in enumerate(_ROTORS):
            wanted = self._quarter_n * (1.0 + climb + y * roll - x * pitch + s * yaw)
            wanted = min(max(wanted, 0.0), self._most_n)
            self._thrusts[k] += self._follow * (wanted - self._thrusts[k])
            a, b = self._across[k]
            thrust = self._power * self._thrusts[k]
            force = (a * thrust, b * thrust, thrust)
            p.applyExternalForce(body, -1, force, self._places[k], p.LINK_FRAME, physicsClientId=client)
        self._wind = self._keep * self._wind + self._push * self._gusts * self.np_random.standard_normal(3)
        drag = [DRAG_N_S_M * (w - v) for w, v in zip(self._wind.tolist(), self._air, strict=True)]
        p.applyExternalForce(body, -1, drag, self._place, p.WORLD_FRAME, physicsClientId=client)

    def _next_target(self) -> None:
        """Hover: the target stays."""

    def _sense(self) -> tuple[Observation, float, bool]:
        p, body, client = self._p, self._body, self._client
        self._place, quaternion = p.getBasePositionAndOrientation(body, physicsClientId=client)
        self._air, turning = p.getBaseVelocity(body, physicsClientId=client)
        roll, pitch, yaw = p.getEulerFromQuaternion(quaternion)
        self._turned = p.getMatrixFromQuaternion(quaternion)
        rates = self._in_body(turning)
        miss = [a - b for a, b in zip(self._place, self._target, strict=True)]
        self._observation[:] = (*miss, *self._air, roll, pitch, yaw, *rates)
        far = math.hypot(*miss)
        failed = far > LOST_M or abs(roll) > TILTED_RAD or abs(pitch) > TILTED_RAD or self._place[2] < 0.03
        reward = (1.0 - min(far, 1.0)) * self.task.control_dt_s - self._cost
        return self._observation.copy(), reward, failed

    def _in_body(self, vector: Sequence[float]) -> tuple[float, float, float]:
        """Return a vector of the world's frame in the body's."""
        x, y, z = vector
        m = self._turned
        return m[0] * x + m[3] * y + m[6] * z, m[1] * x + m[4] * y + m[7] * z, m[2] * x + m[5] * y + m[8] * z

    def _info(self) -> dict[str, Any]:
        return {"cost": self._costs}

    def privileged(self) -> Observation:
        """Return the twelve observations of ``quadrotor``, without noise and latency: what a teacher may see."""
        return self._observation.copy()


class Waypoints(Hover):
    """The quadrotor of ``Hover``, whose target moves every four seconds to another place.

    The next place is drawn within 1 m of the middle across, and 0.5 m up and down. Everything else is as there.
    """

    task: ClassVar[Task] = WAYPOINTS
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, 0.0, _FLYING_M), distance_m=2.0, yaw_deg=40, pitch_deg=-15, field_of_view_deg=55
    )

    def _next_target(self) -> None:
        self._steps += 1
        if self._steps % round(WAYPOINT_S * self.task.control_hz) == 0:
            offset = self.np_random.uniform(-1.0, 1.0, 3) * WAYPOINT_M
            self._aim([float(offset[0]), float(offset[1]), _FLYING_M + float(offset[2])])


class Baseline(Scripted):
    """A cascade of PD laws: place to tilt, tilt to torque."""

    spec: ClassVar[Task] = HOVER

    def act(self, u: NDArray[Any]) -> tuple[float, ...]:
        """Return climb, roll, pitch and yaw."""
        x, y, z, vx, vy, vz, roll, pitch, yaw, p, q, r = (float(value) for value in u)
        pitch_wanted = min(max(-0.8 * x - 0.45 * vx, -0.5), 0.5)
        roll_wanted = min(max(0.8 * y + 0.45 * vy, -0.5), 0.5)
        return (
            -4.0 * z - 2.5 * vz,
            4.0 * (roll_wanted - roll) - 0.6 * p,
            4.0 * (pitch_wanted - pitch) - 0.6 * q,
            -1.0 * yaw - 0.5 * r,
        )
