"""The compiled plants as tasks: the table."""

from __future__ import annotations

from typing import Final

from ..task import Task

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
)
