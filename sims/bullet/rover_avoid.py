"""Rover among pillars: see much of a room, and touch nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from numpy.typing import NDArray

from ..scripted import Scripted
from ..task import Task
from .base import Camera
from .rover import LIMITS, OUTPUT_LIMITS, OUTPUT_NAMES, RAY_NAMES, SPEED_NAME, Box, Rover, room_for

HALF_M: Final = 4.0  # of the room's side
PILLARS: Final = 12
PILLAR_M: Final = 0.4

_THICK_M: Final = 0.1
_FREE_M: Final = 1.0  # around the start

TASK: Final = Task(
    name="rover-avoid",
    env_id="neuroctl/RoverAvoid-v0",
    entry_point="neuroctl.sims.bullet.rover_avoid:RoverAvoid",
    max_episode_steps=450,
    summary="drive a rover through a room of pillars and touch nothing",
    control_hz=15,
    input_names=(*RAY_NAMES, SPEED_NAME),
    input_limits=LIMITS,
    output_names=OUTPUT_NAMES,
    output_limits=OUTPUT_LIMITS,
    search={"neurons": 6, "population": 16, "episodes": 4, "validation": 16, "generations": 60},
)


class RoverAvoid(Rover):
    """A rover drives through a room of 8 m by 8 m with twelve pillars, which stand elsewhere in each episode.

    ## Action space
    ``Box((-0.25, -1), (1, 1), (2,), float32)``.

    | index | action               | unit         | low   | high |
    |-------|----------------------|--------------|-------|------|
    | 0     | speed wanted         | of 2 m/s     | -0.25 | 1    |
    | 1     | steering to the left | of 0.5 rad   | -1    | 1    |

    ## Observation space
    ``Box((7,), float32)``: six distance sensors, at 75, 40, 15, -15, -40 and -75 degrees to the left, 1 at hand and
    0 from 3 m on; the speed [m/s].

    ## Reward
    1 for every square metre that the car comes to for the first time; there are 64.

    ## Start
    In the middle, headed anywhere; pillars at least 1 m away.

    ## End
    Terminated: the car touches a wall or a pillar. Truncated: after 450 steps (30 s).

    ## Arguments
    Those of ``BulletTask``.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, -0.4, 0.0), distance_m=9.0, yaw_deg=0, pitch_deg=-60, field_of_view_deg=60
    )

    def _walls(self) -> Sequence[Box]:
        long, out = 2 * (HALF_M + _THICK_M), HALF_M + 0.5 * _THICK_M
        sides = [(s * out, 0.0, _THICK_M, long) for s in (1, -1)] + [(0.0, s * out, long, _THICK_M) for s in (1, -1)]
        # The pillars' places are drawn at each start.
        return [*sides, *((1.5 + 0.5 * k, 1.5, PILLAR_M, PILLAR_M) for k in range(PILLARS))]

    def _place(self) -> tuple[float, float, float]:
        self._pillars: list[tuple[float, float]] = []
        most = HALF_M - 0.5 * PILLAR_M
        while len(self._pillars) < PILLARS:
            x, y = self.np_random.uniform(-most, most, 2).tolist()
            if math.hypot(x, y) > _FREE_M + PILLAR_M:
                self._pillars.append((x, y))
        self._move_walls(-PILLARS, self._pillars)
        self._seen = {_square(0.0, 0.0)}
        return 0.0, 0.0, float(self.np_random.uniform(-math.pi, math.pi))

    def _judge(self, x: float, y: float, heading: float, speed: float) -> tuple[float, bool]:
        before = len(self._seen)
        self._seen.add(_square(x, y))
        return float(len(self._seen) - before), room_for(x, y, heading, self._room_m) < 0

    def _room_m(self, x: float, y: float) -> float:
        half = 0.5 * PILLAR_M
        pillars = [math.hypot(max(abs(x - a) - half, 0), max(abs(y - b) - half, 0)) for a, b in self._pillars]
        return min(*pillars, HALF_M - abs(x), HALF_M - abs(y))


def _square(x: float, y: float) -> tuple[int, int]:
    return math.floor(x), math.floor(y)


class Baseline(Scripted):
    """Turns to the freer side, the slower the nearer things are, and backs off before it touches."""

    spec: ClassVar[Task] = TASK

    def act(self, u: NDArray[Any]) -> tuple[float, float]:
        """Return speed and steering."""
        far_left, left, near_left, near_right, right, far_right = (float(v) for v in u[:6])
        ahead = max(near_left, near_right, left - 0.1, right - 0.1)
        turn = right + near_right + 0.5 * far_right - left - near_left - 0.5 * far_left
        if ahead > 0.75:
            return -0.25, -math.copysign(1.0, turn)
        return 0.6 - 0.5 * ahead, 2.0 * turn + 0.3
