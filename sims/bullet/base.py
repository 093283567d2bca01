"""BulletTask: the common part of all PyBullet tasks. A task adds four short methods."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from neuroctl.checks import integer, number
from neuroctl.errors import TaskError, require

from ..output import STDERR, suppress_output
from ..sensors import Sensors
from ..task import Task

Observation = NDArray[np.float32]
Frame = NDArray[np.uint8]

ASSETS: Final = Path(__file__).parent / "assets"
PHYSICS_HZ: Final = 240
GRAVITY_M_S2: Final = 9.81
MAX_FRAME_PIXELS: Final = 2048
_AWAY_M: Final = (0.0, 0.0, 100.0)

_CLOSED: Final = -1  # a client number that PyBullet never hands out
# The background, from a frame's top to its bottom: (height fraction, red, green, blue).
_BACKDROP: Final = ((0.0, 205, 222, 240), (0.57, 246, 249, 252), (0.57, 226, 229, 233), (1.0, 205, 209, 214))


@dataclass(frozen=True)
class Camera:
    """Position and field of view of the camera; the field of view spans a frame's width."""

    target_m: tuple[float, float, float]
    distance_m: float
    yaw_deg: float
    pitch_deg: float
    field_of_view_deg: float


class BulletTask(gymnasium.Env[Observation, NDArray[Any]]):
    """A task in a physics client of its own.

    A task sets ``task`` and ``camera``, an ``observation_space``, and these four methods:

    ``_load()``
        build the scene, once.
    ``_start(options)``
        set the start of an episode, drawing from ``self.np_random`` alone.
    ``_act(values)``
        hand one clipped action to the motors.
    ``_sense()``
        return the observation, the reward for the step just made, and whether the episode has failed.

    Every reset begins from one snapshot of the whole scene, and broad-phase pairs are sorted, so an episode depends
    on its seed alone and not on the episodes before it. Not safe for use by several threads at once.

    Args:
        render_mode: None, ``"rgb_array"`` (needs no display) or ``"human"`` (a window, in real time).
        noise: standard deviation of the sensors' noise, as a share of half an observation's declared range.
        latency: delay of observations in control steps, an integer from 0 to 1000.
        strength: largest force or torque of the actuators as a share of the nominal one, 0.01 to 1.
        randomize: largest deviation of masses and friction, drawn for each episode, as a share of the nominal ones.
        width: width of a frame, in pixels.
        height: height of a frame, in pixels.

    Raises:
        TaskError: an argument is not allowed, or there is no display for ``"human"``.
        BackendUnavailable: PyBullet is not installed.

    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 60}
    task: ClassVar[Task]
    camera: ClassVar[Camera]
    physics_hz: ClassVar[int] = PHYSICS_HZ
    options: ClassVar[tuple[str, ...]] = ("noise", "latency", "strength", "randomize")
    """Arguments that may follow a task's name, as in ``cartpole,noise=0.02``."""
    acts_by_force: ClassVar[bool] = True
    """Whether actions are forces or torques, which ``strength`` limits; else the task applies it to its motors."""

    _client: int = _CLOSED
    _begun: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Set the frame rate for recorders in a task's class: one frame per control step."""
        super().__init_subclass__(**options)
        if "task" in cls.__dict__:
            cls.metadata = cls.metadata | {"render_fps": cls.task.control_hz}

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        noise: float = 0.0,
        latency: int = 0,
        strength: float = 1.0,
        randomize: float = 0.0,
        width: int = 320,
        height: int = 240,
    ):
        self.render_mode = _checked_render_mode(render_mode)
        if not _has_display():
            self.metadata = self.metadata | {"render_modes": ["rgb_array"]}  # what Gymnasium's check_env tries
        self._strength = _checked_number("strength", strength, 0.01, 1.0)
        self._randomize = _checked_number("randomize", randomize, 0.0, 0.9)
        spread, steps = _checked_number("noise", noise, 0.0, 10.0), _checked_latency(latency)
        self._sensors = Sensors(self.task.input_limits, spread, steps) if spread > 0 or steps > 0 else None
        self._width = _checked_pixels("width", width)
        self._height = _checked_pixels("height", height)
        low, high = np.array(self.task.output_limits, np.float32).T
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        self._action_shape = low.shape
        weak = self._strength if self.acts_by_force else 1.0
        self._limits = [(weak * float(a), weak * float(b)) for a, b in self.task.output_limits]
        self._bodies: list[int] = []
        self._p = _physics_engine()
        self._frame_due_s = 0.0
        try:
            self._client = self._connect()
            self._configure()
            self._load()
            self._nominal = [self._dynamics(body, link) for body in self._bodies for link in self._links(body)]
            self._snapshot = self._p.saveState(physicsClientId=self._client)
        except self._p.error as error:
            self.close()
            raise TaskError(f"physics: {_one_line(error)}") from None

    # What a task provides.

    def _load(self) -> None:
        raise NotImplementedError

    def _start(self, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def _act(self, values: list[float]) -> None:
        raise NotImplementedError

    def _sense(self) -> tuple[Observation, float, bool]:
        raise NotImplementedError

    # What Gymnasium asks for.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; the same seed gives the same bits, whatever was simulated before.

        Raises:
            TaskError: the options are not the task's, or the environment is closed.

        """
        super().reset(seed=seed)
        try:
            self._forget()
            self._p.restoreState(stateId=self._snapshot, physicsClientId=self._client)
            if self._randomize:
                self._vary()
            self._start(options or {})
            observation = self._sense()[0]
        except self._p.error as error:
            raise self._failure(error) from None
        self._begun = True
        if self._sensors is not None:
            self._sensors.reset()
            observation = self._sensors.see(observation, self.np_random)
        return observation, {}

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold an action for one control step; values beyond the action space are clipped to it.

        Raises:
            TaskError: the action has the wrong shape or is not finite, or the environment is closed or was never reset.

        """
        values = self._clipped(action)
        if not self._begun:
            raise self._failure()
        try:
            self._act(values)
            self._p.stepSimulation(physicsClientId=self._client)
            observation, reward, failed = self._sense()
        except self._p.error as error:
            raise self._failure(error) from None
        if self._sensors is not None:
            observation = self._sensors.see(observation, self.np_random)
        if self.render_mode == "human":
            self._wait_for_frame()
        return observation, reward, failed, False, self._info()

    def render(self) -> Frame | None:
        """Return a frame ``uint8[height, width, 3]``, or None for a window, which draws itself.

        Raises:
            TaskError: the environment was created without a render mode, or is closed.

        """
        if self.render_mode is None:
            raise TaskError("render_mode: None; allowed for render(): 'rgb_array', 'human'")
        try:
            return self._draw() if self.render_mode == "rgb_array" else None
        except self._p.error as error:
            raise self._failure(error) from None

    def close(self) -> None:
        """Free the physics client; closing twice changes nothing."""
        client, self._client, self._begun = self._client, _CLOSED, False
        if client != _CLOSED:
            with contextlib.suppress(self._p.error):
                self._p.disconnect(physicsClientId=client)

    def __del__(self) -> None:
        # At interpreter exit the engine may be half gone; nothing is lost by then.
        with contextlib.suppress(Exception):
            self.close()

    # What tasks may use, or override.

    def _info(self) -> dict[str, Any]:
        """Return what a step tells besides."""
        return {}

    def _looked_at(self) -> tuple[float, float, float]:
        """Return the camera's target, in meters; it may follow a robot."""
        return self.camera.target_m

    def _load_robot(self, file: str, *, fixed: bool) -> int:
        """Load ``assets/<file>`` and return its body; joints have neither motors nor damping."""
        p, client = self._p, self._client
        body = p.loadURDF(
            str(ASSETS / file), useFixedBase=fixed, flags=p.URDF_USE_INERTIA_FROM_FILE, physicsClientId=client
        )
        joints = range(p.getNumJoints(body, physicsClientId=client))
        for link in (-1, *joints):
            p.changeDynamics(body, link, linearDamping=0, angularDamping=0, jointDamping=0, physicsClientId=client)
        for joint in joints:
            # PyBullet brakes every joint by default.
            p.setJointMotorControl2(body, joint, p.VELOCITY_CONTROL, force=0, physicsClientId=client)
        self._bodies.append(int(body))
        return int(body)

    def _load_model(
        self,
        file: str,
        position_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
        *,
        fixed: bool = False,
        own_inertia: bool = True,
    ) -> int:
        """Load a robot or a scene of the package ``pybullet_data``, or by an absolute path; return its body.

        Inertia is the file's own; for files with placeholders the engine computes it from masses and shapes.
        """
        data = require("pybullet_data", "sim")
        path = file if os.path.isabs(file) else os.path.join(data.getDataPath(), file)
        p = self._p
        body = int(
            p.loadURDF(
                path,
                position_m,
                useFixedBase=fixed,
                flags=p.URDF_USE_INERTIA_FROM_FILE if own_inertia else 0,
                physicsClientId=self._client,
            )
        )
        self._bodies.append(body)
        return body

    def _load_ball(self, radius_m: float) -> None:
        """Create a ball that marks a target and collides with nothing, if anything is drawn."""
        if self.render_mode is None:
            return
        p, client, red = self._p, self._client, (0.85, 0.25, 0.2, 1)
        shape = p.createVisualShape(p.GEOM_SPHERE, radius=radius_m, rgbaColor=red, physicsClientId=client)
        self._ball = p.createMultiBody(0, -1, shape, physicsClientId=client)

    def _move_ball(self, place_m: Sequence[float]) -> None:
        if self.render_mode is not None:
            self._p.resetBasePositionAndOrientation(self._ball, place_m, (0, 0, 0, 1), physicsClientId=self._client)

    def _joints(self, body: int) -> dict[str, int]:
        """Return the joint numbers of a body by name."""
        p, client = self._p, self._client
        count = p.getNumJoints(body, physicsClientId=client)
        return {p.getJointInfo(body, joint, physicsClientId=client)[1].decode(): joint for joint in range(count)}

    # Inner parts.

    def _forget(self) -> None:
        """Drop the forces of an interrupted step and all contacts, which restoring a state keeps.

        A contact ends when its bodies part. Otherwise a body on the ground at the start of an episode would be pushed
        by the previous episode's force in the first step.
        """
        for body in self._bodies:
            self._p.resetBasePositionAndOrientation(body, _AWAY_M, (0, 0, 0, 1), physicsClientId=self._client)
        self._p.stepSimulation(physicsClientId=self._client)

    def _links(self, body: int) -> range:
        return range(-1, self._p.getNumJoints(body, physicsClientId=self._client))

    def _dynamics(self, body: int, link: int) -> tuple[int, int, float, float, tuple[float, ...]]:
        """Return body, link, and its nominal mass [kg], friction and inertia."""
        mass, friction, inertia = self._p.getDynamicsInfo(body, link, physicsClientId=self._client)[:3]
        return body, link, mass, friction, inertia

    def _vary(self) -> None:
        """Draw masses and friction for an episode: a snapshot does not hold them."""
        factors = 1.0 + self._randomize * self.np_random.uniform(-1.0, 1.0, (len(self._nominal), 2))
        for (body, link, mass, friction, inertia), (m, f) in zip(self._nominal, factors.tolist(), strict=True):
            self._p.changeDynamics(
                body, link, mass=mass * m, lateralFriction=friction * f,
                localInertiaDiagonal=[m * i for i in inertia], physicsClientId=self._client,
            )  # fmt: skip

    def _connect(self) -> int:
        p = self._p
        client = int(p.connect(p.GUI if self.render_mode == "human" else p.DIRECT))
        if client < 0:
            raise TaskError("physics: no client could be created; close environments that are no longer used")
        return client

    def _configure(self) -> None:
        p, client = self._p, self._client
        p.setGravity(0, 0, -GRAVITY_M_S2, physicsClientId=client)
        p.setPhysicsEngineParameter(
            fixedTimeStep=self.task.control_dt_s,
            numSubSteps=_substeps(self.physics_hz, self.task.control_hz),
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        if self.render_mode == "human":
            view = self.camera
            p.configureDebugVisualizer(p.COV_ENABLE_GUI, 0, physicsClientId=client)
            p.resetDebugVisualizerCamera(
                view.distance_m, view.yaw_deg, view.pitch_deg, view.target_m, physicsClientId=client
            )

    def _clipped(self, action: NDArray[Any]) -> list[float]:
        # Python floats throughout: for a handful of joints they beat NumPy's calls, and PyBullet wants them.
        try:
            array = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError):
            raise TaskError(f"action: {type(action).__name__}; allowed: numbers {self._action_shape}") from None
        if array.shape != self._action_shape:
            raise TaskError(f"action: shape {array.shape}; allowed: {self._action_shape}")
        values: list[float] = array.tolist()
        if not math.isfinite(sum(values)):
            raise TaskError(f"action: {values}; allowed: finite numbers")
        return [min(max(value, low), high) for value, (low, high) in zip(values, self._limits, strict=True)]

    def _draw(self) -> Frame:
        # Drawn at twice the size and averaged: smooth edges, for less than a shadow would cost.
        p, view, width, height = self._p, self.camera, 2 * self._width, 2 * self._height
        half_width = math.tan(math.radians(view.field_of_view_deg / 2))
        upright_deg = math.degrees(2 * math.atan(half_width * height / width))
        _, _, pixels, _, bodies = p.getCameraImage(
            width,
            height,
            viewMatrix=p.computeViewMatrixFromYawPitchRoll(
                self._looked_at(), view.distance_m, view.yaw_deg, view.pitch_deg, 0, 2
            ),
            projectionMatrix=p.computeProjectionMatrixFOV(upright_deg, width / height, 0.1, 100),
            lightDirection=(-1, -6, 8),
            lightAmbientCoeff=0.65,
            lightDiffuseCoeff=0.4,
            shadow=0,
            renderer=p.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        empty = np.asarray(bodies).reshape(height, width, 1) < 0
        scene = np.asarray(pixels, np.uint8).reshape(height, width, 4)[:, :, :3]
        scene = np.where(empty, _backdrop(height)[:, None, :], scene)
        pairs = scene[::2].astype(np.uint16) + scene[1::2]
        return ((pairs[:, ::2] + pairs[:, 1::2] + 2) // 4).astype(np.uint8)

    def _wait_for_frame(self) -> None:
        now_s = time.monotonic()
        self._frame_due_s = max(self._frame_due_s + self.task.control_dt_s, now_s)
        time.sleep(self._frame_due_s - now_s)

    def _failure(self, error: Exception | None = None) -> TaskError:
        if self._client == _CLOSED:
            return TaskError(f"environment: {self.task.name} is closed; make a new one")
        if error is None:
            return TaskError(f"environment: {self.task.name} was not reset; call reset() first")
        return TaskError(f"physics: {_one_line(error)}; make a new environment")


def _substeps(physics_hz: int, control_hz: int) -> int:
    """Return the number of engine steps per control step.

    Only powers of two are allowed: with them the engine's division of the control step is exact in floating point, and
    no remainder is carried from one step, or one episode, to the next.
    """
    count = physics_hz // control_hz
    if count * control_hz != physics_hz or count & (count - 1):
        raise TaskError(f"control_hz: {control_hz}; allowed: {physics_hz} divided by a power of two")
    return count


def _checked_render_mode(mode: str | None) -> str | None:
    if mode is not None and mode not in BulletTask.metadata["render_modes"]:
        raise TaskError(f"render_mode: {mode!r}; allowed: None, 'human', 'rgb_array'")
    # Without an X server (which Wayland desktops offer too) PyBullet ends the whole process.
    if mode == "human" and not _has_display():
        raise TaskError("render_mode: 'human' needs a display and DISPLAY is not set; allowed here: 'rgb_array'")
    return mode


def _has_display() -> bool:
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY"))


def _checked_number(name: str, value: float, low: float, high: float) -> float:
    return number(name, value, low, high, f"numbers from {low:g} to {high:g}", error=TaskError)


def _checked_latency(steps: int) -> int:
    return integer("latency", steps, 0, 1000, error=TaskError)


def _checked_pixels(name: str, value: int) -> int:
    return integer(name, value, 1, MAX_FRAME_PIXELS, error=TaskError)


def _backdrop(height: int) -> Frame:
    """Return one color per row, ``[height, 3]``: a sky that pales toward the horizon, and the ground."""
    stops, *channels = np.array(_BACKDROP).T
    rows = np.linspace(0.0, 1.0, height)
    return np.stack([np.interp(rows, stops, channel) for channel in channels], axis=1).astype(np.uint8)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _physics_engine() -> Any:
    """Import PyBullet without the line on stderr with its build time."""
    if "pybullet" in sys.modules:
        return require("pybullet", "sim")
    with suppress_output(STDERR):
        return require("pybullet", "sim")
