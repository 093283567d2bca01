"""The command that runs a controller in real time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroctl import io
from neuroctl.cli.options import File, Json, Seed, StateBits, TaskName, WeightBits, bits_of
from neuroctl.cli.running import open_controller
from neuroctl.console import emit, out
from neuroctl.errors import require

_LOOP, _SYSTEM = "Loop", "System"


def loop(
    file: File,
    task: TaskName = "",
    seconds: Annotated[float | None, typer.Option(help="Duration. Default: until Ctrl-C.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Ticks per second, which change the simulation's pace. Default: the controller's own."),
    ] = None,
    seed: Seed = 1000,
    log: Annotated[
        list[Path] | None, typer.Option(help="Write every tick to a .mcap or .npz file; may be given several times.")
    ] = None,
    quantized: Annotated[bool, typer.Option("--quantized", help="Run the fixed-point controller.")] = False,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    overrun: Annotated[
        str, typer.Option(help="After a late tick: skip, catch-up or stop.", rich_help_panel=_LOOP)
    ] = "skip",
    overrun_limit: Annotated[
        int | None, typer.Option(help="Tolerated number of consecutive missed deadlines.", rich_help_panel=_LOOP)
    ] = None,
    watchdog: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a tick until the outputs go safe. Default: 0.1 or 5 periods.", rich_help_panel=_LOOP
        ),
    ] = None,
    ramp: Annotated[
        float,
        typer.Option(help="Seconds of blending outputs in, and out at the end.", rich_help_panel=_LOOP),
    ] = 0.0,
    slew: Annotated[
        float | None, typer.Option(help="Largest change of an output per second.", rich_help_panel=_LOOP)
    ] = None,
    fifo: Annotated[
        int | None, typer.Option(help="Priority under SCHED_FIFO, 1 to 99.", rich_help_panel=_SYSTEM)
    ] = None,
    cpu: Annotated[int | None, typer.Option(help="Bind the loop to this core.", rich_help_panel=_SYSTEM)] = None,
    mlock: Annotated[bool, typer.Option("--mlock", help="Keep all memory in RAM.", rich_help_panel=_SYSTEM)] = False,
    as_json: Json = False,
) -> None:
    """Run a controller in real time in a simulated task, and report its deadlines."""
    from neuroctl.realtime import Log, Loop, System

    sims = require("neuroctl.sims", "evolve")
    for path in log or []:
        io.check_writable("log", path)
    ctl, meta = open_controller(file, bits_of(weight_bits, state_bits, quantized))
    name = sims.task_of(meta, task)
    plant = sims.SimPlant(name, seed, on_reset=ctl.reset)
    sims.episodes.check_fit(ctl, plant.task)
    report = Loop(
        ctl, plant, rate_hz=rate, any_rate=rate is not None, overrun=overrun, overrun_limit=overrun_limit,
        watchdog_s=watchdog, start_ramp_s=ramp, stop_ramp_s=ramp, slew_per_s=slew,
        system=System(fifo=fifo, cpu=cpu, mlock=mlock), log=Log(*log) if log else None,
        name=name.partition(",")[0],
    ).run(seconds)  # fmt: skip
    plant.close()
    if as_json:
        emit({"file": str(file), "task": name, "episodes": plant.episodes, **report.to_dict()})
    else:
        out.print(report.text(), highlight=False, soft_wrap=True, markup=False)
        begun = f"{plant.episodes} episode{'s' if plant.episodes != 1 else ''} begun"
        out.print(f"{name}: {begun}, sum of rewards {plant.total_reward:.1f}", highlight=False)
    if not report.ok:
        raise typer.Exit(1)
    if report.signal is not None:
        raise typer.Exit(128 + report.signal)
