"""T-maze: turn to the side that was shown at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from numpy.typing import NDArray

from ..scripted import Scripted
from ..task import Task
from .base import Camera
from .rover import LIMITS, OUTPUT_LIMITS, OUTPUT_NAMES, RAY_NAMES, SPEED_NAME, Box, Rover

CORRIDOR_M: Final = 4.0  # from the start to the middle of the junction
HALF_M: Final = 0.7  # of a corridor's width
ARM_M: Final = 2.6
GOAL_M: Final = 1.8  # distance to the goal on the side that was shown
SHOWN_STEPS: Final = 10
FOUND: Final = 1.0
"""Reward of the right end besides the way there: a return above it means the right side."""

_THICK_M: Final = 0.1
_WAY_M: Final = CORRIDOR_M + GOAL_M

TASK: Final = Task(
    name="t-maze",
    env_id="neuroctl/TMaze-v0",
    entry_point="neuroctl.sims.bullet.t_maze:TMaze",
    max_episode_steps=150,
    summary="drive a rover to the end of a T's arm, left or right as was shown at the start",
    control_hz=15,
    input_names=(*RAY_NAMES, SPEED_NAME, "cue [1 left, -1 right, 0 none]"),
    input_limits=(*LIMITS, (-1.0, 1.0)),
    output_names=OUTPUT_NAMES,
    output_limits=OUTPUT_LIMITS,
    search={"cell": "elman", "neurons": 6, "population": 24, "episodes": 6, "validation": 100, "generations": 200},
)


class TMaze(Rover):
    """A rover drives along a corridor and turns at its end, to the side that was shown.

    ## Description
    A classic of memory: for the first ten steps (0.67 s) the cue is 1 (left) or -1 (right), and 0 from then on. The
    junction is four meters away.

    ## Action space
    ``Box((-0.25, -1), (1, 1), (2,), float32)``.

    | index | action               | unit         | low   | high |
    |-------|----------------------|--------------|-------|------|
    | 0     | speed wanted         | of 2 m/s     | -0.25 | 1    |
    | 1     | steering to the left | of 0.5 rad   | -1    | 1    |

    ## Observation space
    ``Box((8,), float32)``: six distance sensors, at 75, 40, 15, -15, -40 and -75 degrees to the left, 1 at hand and
    0 from 3 m on; the speed [m/s]; the cue.

    ## Reward
    The way gained toward the right end, as a share of the whole way, and 1 for getting there.

    ## Start
    Within 0.15 m of the corridor's middle and 0.15 rad of its direction; left and right with equal chance.

    ## End
    Terminated: 1.8 m into an arm. Truncated: after 150 steps (10 s).

    ## Arguments
    Those of ``BulletTask``.

    ## Version history
    v0: first version.
    """

    task: ClassVar[Task] = TASK
    camera: ClassVar[Camera] = Camera(
        target_m=(2.2, 0.0, 0.0), distance_m=6.0, yaw_deg=-90, pitch_deg=-60, field_of_view_deg=60
    )

    def _walls(self) -> Sequence[Box]:
        near, far = CORRIDOR_M - HALF_M, CORRIDOR_M + HALF_M
        aside = 0.5 * (HALF_M + ARM_M)
        corridor = [(0.5 * (near - 1.0), side * HALF_M, near + 1.0, _THICK_M) for side in (1, -1)]
        shoulders = [(near, side * aside, _THICK_M, ARM_M - HALF_M) for side in (1, -1)]
        ends = [(CORRIDOR_M, side * ARM_M, 2 * HALF_M, _THICK_M) for side in (1, -1)]
        return [*corridor, *shoulders, *ends, (far, 0.0, _THICK_M, 2 * ARM_M), (-1.0, 0.0, _THICK_M, 2 * HALF_M)]

    def _place(self) -> tuple[float, float, float]:
        self._side = 1.0 if self.np_random.random() < 0.5 else -1.0
        y, heading = self.np_random.uniform(-0.15, 0.15, 2).tolist()
        self._steps, self._earned = 0, 0.0
        return 0.0, y, heading

    def _extra(self) -> Sequence[float]:
        return (self._side if self._steps < SHOWN_STEPS else 0.0,)

    def _judge(self, x: float, y: float, heading: float, speed: float) -> tuple[float, bool]:
        self._steps += 1
        in_arms = x > CORRIDOR_M - HALF_M
        over = in_arms and abs(y) > GOAL_M
        if over and self._side * y > 0:
            # The whole way to the last bit: those that always find it tie, and chance does not choose between them.
            return 1.0 + FOUND - self._earned, over
        gained = (min(x, CORRIDOR_M) + (self._side * y if in_arms else 0.0)) / _WAY_M - self._earned
        self._earned += gained
        return gained, over


class Baseline(Scripted):
    """Remembers the cue, keeps to the middle, and turns where the wall ahead is near."""

    spec: ClassVar[Task] = TASK

    def reset(self) -> None:
        """Forget the cue."""
        self._cue = 0.0

    def act(self, u: NDArray[Any]) -> tuple[float, float]:
        """Return speed and steering."""
        self._cue = self._cue or float(u[7])
        ahead = float(u[2]) + float(u[3])
        return 0.5, self._cue if ahead > 1.1 else 0.8 * (float(u[4]) - float(u[1]))
