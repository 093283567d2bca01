"""Cart-pole: balance a pole on a cart, seeing positions only."""

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
from .effort import WEIGHT, Effort

TRACK_M: Final = 2.4
FALLEN_RAD: Final = math.radians(24)
FORCE_N: Final = 10.0

# Half widths of the start: position [m], angle [rad], velocity [m/s], rate [rad/s].
START: Final = (1.0, math.radians(10), 0.2, 0.2)

TASK: Final = Task(
    name="cartpole",
    env_id="neuroctl/CartPole-v0",
    entry_point="neuroctl.sims.bullet.cartpole:CartPole",
    max_episode_steps=1000,
    summary="balance a pole on a cart, seeing position and angle but no velocities",
    control_hz=60,
    input_names=("cart position [m]", "pole angle [rad]"),
    input_limits=((-TRACK_M, TRACK_M), (-0.42, 0.42)),
    output_names=("force on the cart [N]",),
    output_limits=((-FORCE_N, FORCE_N),),
    # Without offsets a CTRNN rests exactly where the pole is upright and the cart in the middle.
    search={
        "neurons": 4, "fix": ("bias=0", "b_out=0"), "population": 20, "episodes": 2, "validation": 16, "sigma0": 0.4,
    },
)  # fmt: skip


class CartPole(BulletTask):
    """A cart on a rail balances a pole that is hinged to its top.

    ## Description
    A cart of 1 kg runs without friction on a straight track. A pole of 0.1 kg and 1 m, with its center of mass in
    the middle, is hinged to it without friction and turns in the plane of the track. The controller pushes the cart.
    It sees where things are but not how fast they move. Without friction, no force that depends on positions alone
    can damp the motion: to hold the pole from every start, a controller has to remember. Physics run at 240 Hz,
    control at 60 Hz: a force is held for four physics steps.

    ## Action space
    ``Box(-10, 10, (1,), float32)``. Larger forces are clipped, as a motor driver would; NaN and infinity are refused.

    | index | action            | unit | low | high |
    |-------|-------------------|------|-----|------|
    | 0     | force on the cart | N    | -10 | 10   |

    ## Observation space
    ``Box((2,), float32)``. Its bounds are twice the limits at which an episode ends.

    | index | observation   | unit | low    | high  | episode ends beyond |
    |-------|---------------|------|--------|-------|---------------------|
    | 0     | cart position | m    | -4.8   | 4.8   | 2.4                 |
    | 1     | pole angle    | rad  | -0.838 | 0.838 | 0.419 (24 degrees)  |

    The angle is 0 upright; a positive angle leans toward positive positions.

    ## Reward
    For every step after which the pole still stands and the cart is on the track, 1 less the cost of unquiet control::

        0.1 (|angle| / 24 degrees + |position| / 2.4 m + |force| / 10 N + |force - force'| / 20 N)

    with the force as applied, and the one of the step before, force' (0 in the first step); 0 for the step that ends
    in failure. A balanced step earns from 0.6 to 1. Balancing all 1000 steps quietly earns about 990, and pushing with
    10 N back and forth about 820. ``info["balanced"]`` is the number of steps balanced in the episode so far.

    ## Start
    Uniform, from the environment's own random generator: position within 1 m of the middle, angle within 10 degrees,
    velocity within 0.2 m/s and rate within 0.2 rad/s of zero.

    ## End
    Terminated: the cart is more than 2.4 m from the middle, or the pole more than 24 degrees from upright.
    Truncated: after 1000 steps (16.7 s), by the time limit that ``gymnasium.make`` adds.

    ## Arguments
    Those of ``BulletTask``.
    ``reset(options={"start": (position_m, angle_rad, velocity_m_s, rate_rad_s)})`` begins from that very state.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, 0.0, 0.45), distance_m=6.3, yaw_deg=0, pitch_deg=-6, field_of_view_deg=48
    )

    def __init__(self, render_mode: str | None = None, **options: Any):
        bounds = np.array((2 * TRACK_M, 2 * FALLEN_RAD), np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)
        self._observation = np.zeros(2, np.float32)
        self._effort = Effort((FORCE_N,))
        super().__init__(render_mode, **options)

    def _load(self) -> None:
        self._body = self._load_robot("cartpole.urdf", fixed=True)
        joints = self._joints(self._body)
        self._slider, self._hinge = joints["slider"], joints["hinge"]
        self._sensed = (self._slider, self._hinge)

    def _start(self, options: dict[str, Any]) -> None:
        drawn = self.np_random.uniform(-1.0, 1.0, 4) * START
        position_m, angle_rad, velocity_m_s, rate_rad_s = given_start(options, (TRACK_M, FALLEN_RAD)) or drawn.tolist()
        reset = self._p.resetJointState
        reset(self._body, self._slider, position_m, velocity_m_s, physicsClientId=self._client)
        reset(self._body, self._hinge, angle_rad, rate_rad_s, physicsClientId=self._client)
        self._effort.reset()
        self._pushed, self._balanced = 0.0, -1  # the first observation is no step

    def _act(self, values: list[float]) -> None:
        p = self._p
        self._pushed = self._effort.of(values)
        p.setJointMotorControl2(
            self._body, self._slider, p.TORQUE_CONTROL, force=values[0], physicsClientId=self._client
        )

    def _sense(self) -> tuple[Observation, float, bool]:
        slider, hinge = self._p.getJointStates(self._body, self._sensed, physicsClientId=self._client)
        position_m, angle_rad = slider[0], hinge[0]
        failed = abs(position_m) > TRACK_M or abs(angle_rad) > FALLEN_RAD
        # Filling a buffer and copying it is faster than making an array of two numbers.
        observation = self._observation
        observation[0] = position_m
        observation[1] = angle_rad
        if failed:
            return observation.copy(), 0.0, True
        self._balanced += 1
        cost = abs(angle_rad) / FALLEN_RAD + abs(position_m) / TRACK_M + self._pushed
        return observation.copy(), 1.0 - WEIGHT * cost, False

    def _info(self) -> dict[str, Any]:
        return {"balanced": self._balanced}

    def privileged(self) -> Observation:
        """Return position [m], angle [rad], velocity [m/s] and rate [rad/s]: what a teacher may see."""
        slider, hinge = self._p.getJointStates(self._body, self._sensed, physicsClientId=self._client)
        return np.array([slider[0], hinge[0], slider[1], hinge[1]], np.float32)


class Baseline(Scripted):
    """A hand-made controller that sees what a network sees: state feedback on finite differences.

    It shows that every start can be recovered.
    """

    # The four gains u = -K x are those of a linear-quadratic regulator of the upright pole at 60 Hz, with
    # Q = diag(1, 10, 1, 1) for (position, angle, velocity, rate) and R = 0.1 for the force.
    GAINS: ClassVar[tuple[float, float, float, float]] = (-2.837, -46.005, -5.331, -11.915)

    spec: ClassVar[Task] = TASK

    def reset(self) -> None:
        """Forget the last observation."""
        self._last: tuple[float, float] | None = None

    def act(self, u: NDArray[Any]) -> tuple[float]:
        """Return the force [N]."""
        position_m, angle_rad = float(u[0]), float(u[1])
        last_position_m, last_angle_rad = self._last or (position_m, angle_rad)
        self._last = position_m, angle_rad
        state = (
            position_m,
            angle_rad,
            (position_m - last_position_m) * TASK.control_hz,
            (angle_rad - last_angle_rad) * TASK.control_hz,
        )
        return (-sum(gain * value for gain, value in zip(self.GAINS, state, strict=True)),)


def given_start(options: dict[str, Any], most: tuple[float, float]) -> list[float] | None:
    """Return the start state asked for in a reset's options, if any: position, angle and their rates.

    Raises:
        TaskError: it is no such state, or beyond the largest position [m] and angle [rad].

    """
    if unknown := sorted(set(options) - {"start"}):
        raise TaskError(f"options: {unknown[0]!r}; allowed: 'start'")
    if "start" not in options:
        return None
    try:
        start = [float(value) for value in options["start"]]
    except (TypeError, ValueError):
        start = []
    if len(start) != 4 or not math.isfinite(sum(start)):
        raise TaskError(f"options['start']: {options['start']!r}; allowed: 4 finite numbers (m, rad, m/s, rad/s)")
    if abs(start[0]) > most[0] or abs(start[1]) > most[1]:
        raise TaskError(f"options['start']: {start}; allowed: within {most[0]} m and {most[1]:.4f} rad")
    return start
