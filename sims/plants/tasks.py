"""The compiled plants as tasks: the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..bullet import cartpole, quadrotor, quadrotor_sensed, rover_wall
from ..task import Limits, Task

Row = tuple[str, float, float]
"""Name, low and high of an input or output."""


def _task(name: str, plant: str, inputs: Sequence[Row], outputs: Sequence[Row], **fields: Any) -> Task:
    """Return the task of a plant in this folder."""
    return Task(
        name=name,
        env_id=f"neuroctl/{''.join(part.capitalize() for part in name.split('-'))}-v0",
        entry_point="neuroctl.sims.compiled:PlantEnv",
        input_names=tuple(row[0] for row in inputs),
        input_limits=_limits(inputs),
        output_names=tuple(row[0] for row in outputs),
        output_limits=_limits(outputs),
        plant=f"neuroctl.sims.plants.{plant}",
        **fields,
    )


def _mirror(name: str, plant: str, of: Task, **fields: Any) -> Task:
    """Return the task of a plant that mirrors a task in PyBullet."""
    inputs = [(name, *limits) for name, limits in zip(of.input_names, of.input_limits, strict=True)]
    outputs = [(name, *limits) for name, limits in zip(of.output_names, of.output_limits, strict=True)]
    return _task(
        name, plant, inputs, outputs, summary=f"{of.summary} (compiled)", mirrors=of.name, search=of.search,
        max_episode_steps=of.max_episode_steps, control_hz=of.control_hz, **fields,
    )  # fmt: skip


def _limits(rows: Sequence[Row]) -> Limits:
    return tuple((low, high) for _, low, high in rows)


# With these an Elman network of 16 neurons learns to fly, as docs/training.md says.
_SENSED: Final = {"cell": "elman", "epochs": 150, "horizon": 400, "learning_rate": 3e-3, "decay": 0.99}

# Of Gymnasium's own tasks.
# The settings of PPO are those with which all of five seeds reach what docs/training.md says.
_PPO: Final = {"num_envs": 32, "num_steps": 128, "seq_len": 32, "learning_rate": 5e-3, "update_epochs": 20,
               "target_kl": 0.1, "cell": "gru"}  # fmt: skip
_CART: Final = {
    "max_episode_steps": 500, "control_hz": 50,
    "train": {**_PPO, "gamma": 0.99, "target_kl": 0.03, "total_timesteps": 100_000},
}  # fmt: skip
_CART_POSITIONS: Final = (("cart position [m]", -2.4, 2.4), ("pole angle [rad]", -0.21, 0.21))
_CART_VELOCITIES: Final = (("cart velocity [m/s]", -4.0, 4.0), ("pole velocity [rad/s]", -4.0, 4.0))
_FORCE: Final = (("force [N]", -10.0, 10.0),)
_PENDULUM: Final = {
    "max_episode_steps": 200, "control_hz": 20, "train": {**_PPO, "gamma": 0.95, "total_timesteps": 100_000},
}  # fmt: skip
_ANGLE: Final = (("cosine of the angle", -1.0, 1.0), ("sine of the angle", -1.0, 1.0))
_TORQUE: Final = (("torque [N m]", -2.0, 2.0),)
_HILL: Final = {
    "max_episode_steps": 999, "control_hz": 30,
    "train": {
        **_PPO, "gamma": 0.99, "seq_len": 64, "update_epochs": 10, "noise_memory": 0.9, "total_timesteps": 200_000,
    },
}  # fmt: skip
_PLACE: Final = ("position", -1.2, 0.6)
_PUSH: Final = (("force", -1.0, 1.0),)

_AXES: Final = ("x", "y", "z")
_CRAZYFLIE: Final = (
    *((f"{axis} [of 0.5 m]", -4.0, 4.0) for axis in _AXES),
    *((f"rotation {row}{column}", -1.0, 1.0) for row in _AXES for column in _AXES),
    *((f"velocity {axis} [of 2 m/s]", -5.0, 5.0) for axis in _AXES),
    *((f"angular velocity {axis} [of 10 rad/s]", -3.5, 3.5) for axis in _AXES),
)
_ROTORS: Final = tuple(
    (f"{place} rotor", -1.0, 1.0) for place in ("front right", "rear right", "rear left", "front left")
)

TASKS: Final = (
    Task(
        name="two-poles",
        env_id="neuroctl/TwoPoles-v0",
        entry_point="neuroctl.sims.compiled:PlantEnv",
        max_episode_steps=1000,
        summary="Balance two poles of different length on one cart without seeing velocities (compiled).",
        control_hz=50,
        input_names=("position / 2.4 m", "long pole / 36 deg", "short pole / 36 deg"),
        input_limits=((-1.0, 1.0),) * 3,
        output_names=("force [N]",),
        output_limits=((-10.0, 10.0),),
        plant="neuroctl.sims.plants.double_pole",
    ),
    Task(
        name="walker",
        env_id="neuroctl/Walker-v0",
        entry_point="neuroctl.sims.compiled:PlantEnv",
        max_episode_steps=2200,
        summary="Walk on one leg: lift, swing, set down and push (compiled).",
        control_hz=10,
        input_names=("leg angle / 30 deg",),
        input_limits=((-2.5, 2.5),),
        output_names=("foot down", "forward force", "backward force"),
        output_limits=((0.0, 1.0),) * 3,
        plant="neuroctl.sims.plants.walker",
    ),
    Task(
        name="phototaxis",
        env_id="neuroctl/Phototaxis-v0",
        entry_point="neuroctl.sims.compiled:PlantEnv",
        max_episode_steps=400,
        summary="Drive two wheels by what two eyes see, to a light and stay there (compiled).",
        control_hz=10,
        input_names=("left eye", "right eye"),
        input_limits=((0.0, 1.0),) * 2,
        output_names=("left wheel", "right wheel"),
        output_limits=((-1.0, 1.0),) * 2,
        plant="neuroctl.sims.plants.phototaxis",
    ),
    Task(
        name="circle-catcher",
        env_id="neuroctl/CircleCatcher-v0",
        entry_point="neuroctl.sims.compiled:PlantEnv",
        max_episode_steps=1000,
        summary="Be under a falling circle when it lands, seen by seven rays (compiled).",
        control_hz=10,
        input_names=tuple(f"ray {k}" for k in range(7)),
        input_limits=((0.0, 1.0),) * 7,
        output_names=("right motor", "left motor"),
        output_limits=((0.0, 1.0),) * 2,
        plant="neuroctl.sims.plants.circle_catcher",
    ),
    _task(
        "gym-cartpole", "cart_pole", (_CART_POSITIONS[0], _CART_VELOCITIES[0], _CART_POSITIONS[1], _CART_VELOCITIES[1]),
        _FORCE, summary="Balance Gymnasium's CartPole-v1 with a force of any size (compiled).", **_CART,
    ),
    _task(
        "gym-cartpole-positions", "cart_pole_positions", _CART_POSITIONS, _FORCE,
        summary="Balance Gymnasium's CartPole-v1 without seeing velocities (compiled).", **_CART,
    ),
    _task(
        "gym-cartpole-velocities", "cart_pole_velocities", _CART_VELOCITIES, _FORCE,
        summary="Balance Gymnasium's CartPole-v1 seeing velocities alone (compiled).", **_CART,
    ),
    _task(
        "gym-pendulum", "pendulum", (*_ANGLE, ("angular velocity [rad/s]", -8.0, 8.0)), _TORQUE,
        summary="Swing up Gymnasium's Pendulum-v1 (compiled).", mirrors="Pendulum-v1", **_PENDULUM,
    ),
    _task(
        "gym-pendulum-positions", "pendulum_positions", _ANGLE, _TORQUE,
        summary="Swing up Gymnasium's Pendulum-v1 without seeing its velocity (compiled).", **_PENDULUM,
    ),
    _task(
        "gym-mountain-car", "mountain_car", (_PLACE, ("velocity", -0.07, 0.07)), _PUSH,
        summary="Drive Gymnasium's MountainCarContinuous-v0 up its hill (compiled).",
        mirrors="MountainCarContinuous-v0", **_HILL,
    ),
    _task(
        "gym-mountain-car-positions", "mountain_car_positions", (_PLACE,), _PUSH,
        summary="Drive Gymnasium's MountainCarContinuous-v0 up its hill without seeing its velocity (compiled).",
        **_HILL,
    ),
    _task(
        "crazyflie", "crazyflie", _CRAZYFLIE, _ROTORS, max_episode_steps=500, control_hz=100,
        summary="Fly a 27 g quadrotor to its place by its four rotors, seeing all of its state (compiled).",
        gradient={"cell": "elman"},
    ),
    _mirror("cartpole-compiled", "cartpole", cartpole.TASK),
    _mirror("quadrotor-compiled", "quadrotor", quadrotor.HOVER),
    _mirror("quadrotor-sensed-compiled", "quadrotor_sensed", quadrotor_sensed.TASK, gradient=_SENSED),
    _mirror("rover-wall-compiled", "rover_wall", rover_wall.TASK),
)  # fmt: skip
