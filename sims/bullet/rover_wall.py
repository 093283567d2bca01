"""Rover along a wall: drive round a room whose wall stays at the right hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from numpy.typing import NDArray

from ..scripted import Scripted
from ..task import Task
from .base import Camera
from .rover import LIMITS, OUTPUT_LIMITS, OUTPUT_NAMES, RAY_NAMES, SPEED_NAME, Box, Rover, room_for

WANTED_M: Final = 0.6  # wanted distance from the car's middle to the wall

_THICK_M: Final = 0.1
Place = tuple[float, float]
# The corners of the room: corners to the left and to the right, straight parts of different length.
_CORNERS: Final = (
    (-4.0, -3.0), (4.0, -3.0), (4.0, 0.0), (1.6, 0.0), (1.6, 3.0), (-2.0, 3.0), (-2.0, 1.2), (-4.0, 1.2)
)  # fmt: skip

TASK: Final = Task(
    name="rover-wall",
    env_id="neuroctl/RoverWall-v0",
    entry_point="neuroctl.sims.bullet.rover_wall:RoverWall",
    max_episode_steps=300,
    summary="drive a rover along a wall, round all its corners",
    control_hz=15,
    input_names=(*RAY_NAMES, SPEED_NAME),
    input_limits=LIMITS,
    output_names=OUTPUT_NAMES,
    output_limits=OUTPUT_LIMITS,
    search={"neurons": 6, "population": 16, "episodes": 2, "validation": 8, "generations": 60},
)


class RoverWall(Rover):
    """A rover drives round a room of eight corners, two of which bend away, with the wall at its right.

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
    Metres along the wall, with the wall at the right hand, weighted by how well the distance is kept: 1 at 0.6 m,
    0 at 0 m and from 1.2 m on.

    ## Start
    At one of the eight straight parts, 0.45 to 0.75 m from the wall and within 0.2 rad of its direction.

    ## End
    Terminated: the car touches a wall. Truncated: after 300 steps (20 s).

    ## Arguments
    Those of ``BulletTask``.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(0.0, -0.2, 0.0), distance_m=8.0, yaw_deg=0, pitch_deg=-60, field_of_view_deg=60
    )

    def _walls(self) -> Sequence[Box]:
        return [_wall(start, end) for start, end in _sides()]

    def _place(self) -> tuple[float, float, float]:
        sides = list(_sides())
        (ax, ay), (bx, by) = sides[int(self.np_random.integers(len(sides)))]
        share, away, turned = self.np_random.uniform((0.35, 0.5, -0.2), (0.65, 0.8, 0.2)).tolist()
        # The corners are named with the room at the left: so the wall is at the right of one who goes along.
        heading = math.atan2(by - ay, bx - ax)
        x, y = ax + share * (bx - ax), ay + share * (by - ay)
        self._last = x - away * math.sin(heading), y + away * math.cos(heading)
        return *self._last, heading + turned

    def _judge(self, x: float, y: float, heading: float, speed: float) -> tuple[float, bool]:
        wall_x, wall_y = _nearest(x, y)
        line_m = math.dist((wall_x, wall_y), (x, y))
        last_x, last_y = self._last
        self._last = x, y
        along_m = ((x - last_x) * (y - wall_y) - (y - last_y) * (x - wall_x)) / line_m
        kept = max(0.0, 1.0 - abs(line_m - 0.5 * _THICK_M - WANTED_M) / WANTED_M)
        return along_m * kept, room_for(x, y, heading, _room_m) < 0


def _sides() -> Iterator[tuple[Place, Place]]:
    return zip(_CORNERS, (*_CORNERS[1:], _CORNERS[0]), strict=True)


def _wall(start: Place, end: Place) -> Box:
    """Return the box around a side, corners included."""
    (ax, ay), (bx, by) = start, end
    return 0.5 * (ax + bx), 0.5 * (ay + by), abs(bx - ax) + _THICK_M, abs(by - ay) + _THICK_M


def _nearest(x: float, y: float) -> Place:
    """Return the point of the walls' middle lines that is nearest to a place."""
    points = [
        (min(max(x, min(ax, bx)), max(ax, bx)), min(max(y, min(ay, by)), max(ay, by)))
        for (ax, ay), (bx, by) in _sides()
    ]
    return min(points, key=lambda at: math.dist(at, (x, y)))


def _room_m(x: float, y: float) -> float:
    return math.dist(_nearest(x, y), (x, y)) - 0.5 * _THICK_M


class Baseline(Scripted):
    """Steers by the distance at the right, and away from obstacles ahead."""

    spec: ClassVar[Task] = TASK

    def act(self, u: NDArray[Any]) -> tuple[float, float]:
        """Return speed and steering."""
        ahead = max(0.0, float(u[2]) - 0.5, float(u[3]) - 0.5)
        return 0.47 - 0.7 * ahead, max(1.17 * (float(u[5]) - 0.79), -0.52) + 4.35 * ahead
