"""Commands for one controller: run it, describe it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import neuroctl as nc
from neuroctl import io
from neuroctl.cli.messages import DECLARE, ranges_from
from neuroctl.cli.options import File, Json, Seed, StateBits, TaskName, WeightBits, bits_of, check_pictures
from neuroctl.console import (
    emit,
    out,
    plain_table,
)
from neuroctl.errors import TaskError, require
from neuroctl.input_limits import BeyondLimits, beyond_limits

_COUNTED_STEPS = 1000


def run(
    ctx: typer.Context,
    file: File,
    task: TaskName = "",
    episodes: Annotated[int, typer.Option(help="Number of episodes.", min=1)] = 10,
    seed: Seed = 1000,
    gif: Annotated[Path | None, typer.Option(help="Write the first episode as a GIF.")] = None,
    gait: Annotated[
        Path | None,
        typer.Option(help="Write a PNG of the first episode's gait."),
    ] = None,
    quantized: Annotated[bool, typer.Option("--quantized", help="Run the fixed-point controller.")] = False,
    hil: Annotated[
        str,
        typer.Option(
            help="Run it on the board at this serial port, or serial:NUMBER.", rich_help_panel="Hardware in the loop"
        ),
    ] = "",
    loss: Annotated[
        float,
        typer.Option(
            help="Share of frames to lose in each direction.", min=0.0, max=1.0, rich_help_panel="Hardware in the loop"
        ),
    ] = 0.0,
    baud: Annotated[
        int, typer.Option(help="Baud rate of the board.", min=1, rich_help_panel="Hardware in the loop")
    ] = 115200,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    as_json: Json = False,
) -> None:
    """Replay a controller in a task from seeded starts."""
    check_pictures(gif=gif, gait=gait)
    sims = require("neuroctl.sims", "evolve")
    ctl, meta = open_controller(file, bits_of(weight_bits, state_bits, quantized or bool(hil)))
    name = sims.task_of(meta, task)
    if gif and sims.known(name) and sims.get(name).plant:
        raise TaskError(f"gif: {name!r} is compiled and has no picture; allowed: tasks in PyBullet, or with a render()")
    if gait and not sims.known(name):
        raise TaskError(f"task: {name!r}; allowed with --gait: one of `neuroctl tasks`")
    if hil:
        ctl = _in_loop(hil, ctl, loss, seed, baud)
        ctx.call_on_close(ctl.close)
    counted = Counted(ctl) if ctl.spec.input_limits is not None and not _compiled(sims, name) else None
    returns = sims.score(name, ctl if counted is None else counted, range(seed, seed + episodes))
    beyond = _beyond(sims, name, ctl, seed) if counted is None else counted.beyond
    if gif is not None:
        from neuroctl import plots

        every = plots.frame_every(ctl.spec.dt_s)
        episode = sims.record(name, ctl, seed, frames=True, frame_every=every)
        plots.gif(episode.frames, gif, frame_s=every * ctl.spec.dt_s)
    if gait is not None:
        _gait(sims, name, ctl, seed, gait)
    summary = {
        "file": str(file),
        "task": name,
        "form": _form(ctl),
        "episodes": episodes,
        "mean": float(np.mean(returns)),
        "worst": float(np.min(returns)),
        "best": float(np.max(returns)),
    }
    loop = _loop_counts(ctl) if hil else {}
    summary |= {"hil": loop} if hil else {}
    summary |= {"inputs_beyond_limits": None if beyond is None else beyond.to_dict()}
    if as_json:
        summary |= {} if counted is None else {"steps": counted.steps}
        emit(summary | {"returns": [float(value) for value in returns]})
        return
    columns = ("seed", "return", *(() if counted is None else ("steps",)))
    table = plain_table(f"{name}, {summary['form']}", *columns, numbers=columns)
    for index, value in enumerate(returns):
        steps = () if counted is None else (str(counted.steps[index]),)
        table.add_row(str(seed + index), f"{value:.4g}", *steps)
    out.print(table)
    out.print(
        f"mean {summary['mean']:.4g}   worst {summary['worst']:.4g}   best {summary['best']:.4g}"
        + (f"   GIF: {gif}" if gif else ""),
        highlight=False,
        soft_wrap=True,
    )
    if beyond is not None and beyond.numbers:
        does = "float takes them as they are" if isinstance(ctl, nc.Controller) else "fixed point clips them"
        out.print(f"inputs: {beyond}; {does}", highlight=False, soft_wrap=True)
    if hil:
        counts = (
            f"board: {loop['steps']} steps, {loop['held']} of them held, outputs went safe {loop['went_safe']} times"
        )
        out.print(counts + (f": {loop['last_fault']}" if loop["last_fault"] else ""), highlight=False, soft_wrap=True)


class Counted:
    """A controller that counts its steps, by episode, and its inputs beyond the declared limits."""

    def __init__(self, controller: Any):
        self._controller = controller
        self.beyond = BeyondLimits(controller.spec.input_limits)
        self.steps: list[int] = []

    def reset(self) -> Any:
        """Begin an episode."""
        self.steps.append(0)
        return self._controller.reset()

    def step(self, u: Any) -> Any:
        """Count the step and its inputs, and step."""
        self.beyond.count(u)
        self.steps[-1] += 1
        return self._controller.step(u)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copies and pickles look it up before there is a controller
            raise AttributeError(name)
        return getattr(self._controller, name)


def _compiled(sims: Any, name: str) -> bool:
    """Whether episodes run without a step in Python, or in a user's function, which may need the controller itself."""
    return ":" in name or (sims.known(name) and bool(sims.get(name).plant))


def _beyond(sims: Any, name: str, ctl: Any, seed: int) -> BeyondLimits | None:
    """Count the inputs beyond the declared limits in the first episode of a compiled task."""
    if not sims.known(name) or ctl.spec.input_limits is None:
        return None
    return beyond_limits(ctl.spec.input_limits, sims.record(name, ctl, seed, _COUNTED_STEPS).observations)


def _form(ctl: Any) -> str:
    if isinstance(ctl, nc.QuantController):
        return "fixed point"
    return str(ctl.spec.dtype) if isinstance(ctl, nc.Controller) else "board"


def _in_loop(port: str, q: Any, loss: float, seed: int, baud: int) -> Any:
    from neuroctl.link import BoardInLoop, Link

    return BoardInLoop(Link(port, q, baud=baud), loss=loss, seed=seed)


def _loop_counts(board: Any) -> dict[str, Any]:
    """Return the counts of the board in the loop."""
    counts = {name: getattr(board, name) for name in ("steps", "held", "went_safe", "last_fault")}
    return counts | {"round_trip_us": (board.link.stats.to_dict()["round_trip"] or {}).get("p50_us")}


def _gait(sims: Any, name: str, ctl: Any, seed: int, path: Path) -> None:
    from neuroctl import plots

    episode = sims.record(name, ctl, seed)
    if episode.feet_down is None:
        raise TaskError(f"gait: {name!r} has no legs; allowed: tasks of robots on legs")
    legs = [leg.name for leg in sims.registry.environment(sims.get(name)).legs]
    plots.gait(episode.feet_down, legs, episode.control_dt_s, path, title=f"{name}: gait")


def robustness(
    file: File,
    task: TaskName = "",
    noise: Annotated[
        str, typer.Option(help="Standard deviations of sensor noise, as shares of half an observation's range.")
    ] = "0,0.01,0.02,0.05,0.1,0.2",
    latency: Annotated[str, typer.Option(help="Delays of observations, in control steps.")] = "0,1,2,3,4,6",
    episodes: Annotated[int, typer.Option(help="Episodes for each pair.", min=1)] = 8,
    seed: Seed = 1000,
    picture: Annotated[Path | None, typer.Option("--out", help="Write a PNG.")] = None,
    quantized: Annotated[bool, typer.Option("--quantized", help="Run the fixed-point controller.")] = False,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    as_json: Json = False,
) -> None:
    """Map a controller's tolerance of sensor noise and latency: its mean return under each pair."""
    check_pictures(out=picture)
    sims = require("neuroctl.sims", "evolve")
    ctl, meta = open_controller(file, bits_of(weight_bits, state_bits, quantized))
    name = sims.task_of(meta, task)
    noises, latencies = _numbers("noise", noise, float), _numbers("latency", latency, int)
    returns = sims.robustness(name, ctl, noises, latencies, range(seed, seed + episodes)).mean(axis=2)
    if picture is not None:
        from neuroctl import plots

        form = "fixed point" if isinstance(ctl, nc.QuantController) else ctl.spec.dtype
        title = f"{name}, {form}: {episodes} episodes each"
        plots.robustness(returns, noises, latencies, picture, title=title, dt_s=ctl.spec.dt_s)
    if as_json:
        emit({"task": name, "noise": noises, "latency": latencies, "episodes": episodes, "mean": returns.tolist()})
        return
    columns = tuple(str(steps) for steps in latencies)
    table = plain_table(
        f"{name}: mean return; latency in control steps", "noise", *columns, numbers=("noise", *columns)
    )
    for level, row in zip(noises, returns, strict=True):
        table.add_row(f"{level:g}", *(f"{value:.4g}" for value in row))
    out.print(table)
    if picture is not None:
        out.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def _numbers(name: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    """Return the numbers of a text such as ``0,1,2``.

    Raises:
        TaskError: the text has another form.

    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        example = "0,1,2" if kind is int else "0,0.05,0.1"
        raise TaskError(f"{name}: {text!r}; allowed: numbers with commas, such as {example}") from None


def open_controller(
    file: Path, bits: tuple[int, int] | None
) -> tuple[nc.Controller | nc.QuantController, dict[str, Any]]:
    """Load a float or fixed-point controller, quantized if ``bits`` of weights and state are given, and its notes."""
    archive = io.read_archive(file)
    if archive.kind == "quant":
        return nc.QuantController.from_archive(archive, file), io.notes_of(archive, file)
    io.expect_kind(archive, "controller", file)
    model = io.model_of(archive, file)
    ctl = nc.Controller(model.spec, model.theta, meta=model.meta)
    if bits is None:
        return ctl, model.meta
    # A controller that only runs may be coarse: quantize warns, and export refuses.
    with ranges_from(f"{DECLARE} declares limits; or take the .npz in a folder of `neuroctl export --calibration`"):
        return ctl.quantize(bits[0], model.calibration, bits[1], allow_coarse=True), model.meta
