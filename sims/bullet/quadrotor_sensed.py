"""Quadrotor with the sensors of a real one: no velocities, noise, a step of latency, and each craft another."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..scripted import Scripted
from ..task import Task
from .base import GRAVITY_M_S2, Observation
from .quadrotor import HOVER, OUTPUT_NAMES, Hover

INPUTS: Final = (
    ("ahead of the target [m]", 1.0), ("left of the target [m]", 1.0), ("above the target [m]", 1.0),
    ("upward, ahead", 1.0), ("upward, left", 1.0), ("upward, above", 1.0),
    ("roll rate [rad/s]", 5.0), ("pitch rate [rad/s]", 5.0), ("yaw rate [rad/s]", 5.0),
)  # fmt: skip

TASK: Final = Task(
    name="quadrotor-sensed",
    env_id="neuroctl/QuadrotorSensed-v0",
    entry_point="neuroctl.sims.bullet.quadrotor_sensed:Sensed",
    max_episode_steps=2400,
    summary="hold any of many 30 g quadrotors in its place in gusts by noisy sensors, without velocities",
    control_hz=120,
    input_names=tuple(name for name, _ in INPUTS),
    input_limits=tuple((-limit, limit) for _, limit in INPUTS),
    output_names=OUTPUT_NAMES,
    output_limits=HOVER.output_limits,
    search=HOVER.search,
)


class Sensed(Hover):
    """A quadrotor of about 30 g holds its place in gusts, by what its own sensors tell.

    ## Description
    The craft of ``Hover``, but for each episode its mass, its three inertias and the thrust of its rotors are drawn
    within 20 % of the nominal ones, and the controller sees no velocities. Everything it sees is in the body's frame,
    late by a control step, and noisy: the place by 1 cm, as a beacon or a camera may give it, the direction upward by
    0.01, as accelerometer and gyroscope together give it, and the rates by 0.05 rad/s. That is 20 times what the
    gyroscope of such a craft adds by itself (Bosch BMI088: 0.014 deg/s in a bandwidth of 1 Hz); the frame shakes.

    ## Action space
    ``Box(-1, 1, (4,), float32)``: climb, roll, pitch and yaw, mixed onto the rotors; 0 is the nominal weight's thrust
    and no torque.

    ## Observation space
    ``Box((9,), float32)``: the craft's place relative to the target, as seen in its own frame [m]; the direction upward
    in that frame, a vector of length 1; the rates about its axes [rad/s].

    ## Reward
    That of ``Hover``.

    ## Start
    That of ``Hover``.

    ## End
    That of ``Hover``.

    ## Arguments
    Those of ``Hover``, with ``noise=0.01`` (as a share of half the declared range, as everywhere), ``latency=1`` and
    ``randomize=0.2`` where nothing else is said. ``randomize`` draws the mass, each inertia and the rotors' thrust.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        noise: float = 0.01,
        latency: int = 1,
        randomize: float = 0.2,
        **options: Any,
    ):
        super().__init__(render_mode, noise=noise, latency=latency, randomize=randomize, **options)
        bounds = np.array([10.0] * 3 + [2.0] * 3 + [200.0] * 3, np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)

    def _vary(self) -> None:
        """Draw the craft of an episode."""
        self._drawn: list[float] = (1.0 + self._randomize * self.np_random.uniform(-1.0, 1.0, 5)).tolist()
        (_, _, mass, _, inertia), *_ = self._nominal
        share, *turning, self._power = self._drawn
        self._p.changeDynamics(
            self._body, -1, mass=mass * share, physicsClientId=self._client,
            localInertiaDiagonal=[j * k for j, k in zip(inertia, turning, strict=True)],
        )  # fmt: skip

    def _sense(self) -> tuple[Observation, float, bool]:
        observation, reward, failed = super()._sense()
        miss = [a - b for a, b in zip(self._place, self._target, strict=True)]
        seen = (*self._in_body(miss), *self._turned[6:9], *observation[9:12])
        return np.array(seen, np.float32), reward, failed


class Baseline(Scripted):
    """The cascade of PD laws of ``quadrotor``, with velocities from an observer and an integral for climb."""

    spec: ClassVar[Task] = TASK
    DT_S: ClassVar[float] = 1.0 / 120.0

    def reset(self) -> None:
        """Forget the flight."""
        self._place: NDArray[Any] | None = None
        self._velocity = np.zeros(3)
        self._lift = 0.0

    def act(self, u: NDArray[Any]) -> tuple[float, ...]:
        """Return climb, roll, pitch and yaw."""
        seen, (ahead, left, up), (p, q, r) = np.split(np.asarray(u, np.float64), 3)
        roll, pitch = math.atan2(left, up), -math.asin(min(max(ahead, -1.0), 1.0))
        x, y, z = self._observed(_level(seen, roll, pitch), roll, pitch)
        vx, vy, vz = self._velocity
        pitch_wanted = min(max(-0.6 * x - 0.45 * vx, -0.4), 0.4)
        roll_wanted = min(max(0.6 * y + 0.45 * vy, -0.4), 0.4)
        self._lift = min(max(self._lift - 3.0 * z * self.DT_S, -1.0), 1.0)
        return (
            self._lift - 3.0 * z - 2.0 * vz,
            3.0 * (roll_wanted - roll) - 0.5 * p,
            3.0 * (pitch_wanted - pitch) - 0.5 * q,
            -0.3 * r,
        )

    def _observed(self, seen: NDArray[Any], roll: float, pitch: float) -> NDArray[Any]:
        """Return the place in the level frame; the observer expects the acceleration of a tilted craft that hovers."""
        if self._place is None:
            self._place = seen
        push = GRAVITY_M_S2 * np.array([math.tan(pitch), -math.tan(roll), 0.0])
        self._place = self._place + self.DT_S * self._velocity
        off = seen - self._place
        self._place = self._place + 0.12 * off
        self._velocity = self._velocity + self.DT_S * push + 0.9 * off
        return self._place


def _level(v: NDArray[Any], roll: float, pitch: float) -> NDArray[Any]:
    """Return a vector of the body's frame in one that is turned with it, but level."""
    x, y, z = v
    y, z = y * math.cos(roll) - z * math.sin(roll), y * math.sin(roll) + z * math.cos(roll)
    return np.array([x * math.cos(pitch) + z * math.sin(pitch), y, z * math.cos(pitch) - x * math.sin(pitch)])
