"""Commands for a board on a serial port: compare it, supervise it, drive it, simulate it, upload parameters."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from typer.core import TyperGroup

import neuroctl as nc
from neuroctl.cli.messages import Command
from neuroctl.cli.options import File, Json, Seed, StateBits, WeightBits
from neuroctl.cli.running import open_controller
from neuroctl.console import emit, out, plain_table
from neuroctl.errors import LinkError, require

Port = Annotated[
    str, typer.Argument(help="Serial port, such as /dev/ttyACM0 or COM3.", metavar="PORT", show_default=False)
]
Serial = Annotated[str, typer.Option(help="USB serial number of the board; then PORT is left out.", show_default=False)]
Model = Annotated[
    str, typer.Option(help="CRC-32 of the model that the board runs; then PORT is left out.", show_default=False)
]
Baud = Annotated[int, typer.Option(help="Baud rate of the board's firmware.", min=1)]
Timeout = Annotated[float, typer.Option(help="Longest time to an answer, in seconds.", min=0.001, max=60.0)]
_PATIENCE_S: Final = 1.0
"""Timeout of a board in a comparison: other programs may hold this one up."""
_HELD: Final = 0.8
"""Share of steps that keep the inputs of the step before: otherwise a network would never settle."""
_PIECE: Final = 4096
"""Number of steps whose inputs are drawn at once, in far less time than a board's timeout."""


class _PortFirst(TyperGroup):
    """``link PORT ...`` is ``link run PORT ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


class LinkMode(StrEnum):
    """The side that runs the controller."""

    INFO = "info"
    SHADOW = "shadow"
    BOARD = "board"
    HOST = "host"


app = typer.Typer(
    cls=_PortFirst,
    no_args_is_help=True,
    help="Talk to a board that runs an exported controller: `neuroctl link PORT FILE`, or simulate one.",
    epilog="Example: [bold]neuroctl link /dev/ttyACM0 best.npz --mode shadow --steps 10000[/bold]",
    rich_markup_mode="rich",
)


def quantized(file: Path, weight_bits: int, state_bits: int) -> nc.QuantController:
    """Return a file's controller, quantized as for an export."""
    ctl, _ = open_controller(file, (weight_bits, state_bits))
    if not isinstance(ctl, nc.QuantController):  # open_controller quantizes if it gets bits
        raise LinkError(f"{file}: {type(ctl).__name__}; allowed: a controller that can be quantized")
    return ctl


def _places(words: tuple[str, ...], serial: str, model: str, baud: int) -> tuple[str, Path | None]:
    """Return the port's name, found by serial number or model if it is missing, and the file."""
    from neuroctl.link import find_board

    names = [word for word in words if word]
    if serial and model:
        raise typer.BadParameter("beside --model; allowed: one of them", param_hint="--serial")
    if serial or model:
        names.insert(0, f"serial:{serial}" if serial else find_board(model, baud))
    if not names:
        raise typer.BadParameter("missing; allowed: a port, --serial or --model", param_hint="PORT")
    if len(names) > 2:
        raise typer.BadParameter("beside a port; allowed: one of them", param_hint="--serial, --model")
    return names[0], Path(names[1]) if len(names) > 1 else None


@app.command(
    "run", cls=Command, epilog="Example: [bold]neuroctl link /dev/ttyACM0 best.npz --mode shadow --steps 10000[/bold]"
)
def run(
    port: Port = "",
    file: Annotated[
        str,
        typer.Argument(help="Controller file (.npz); --mode info does without.", metavar="FILE", show_default=False),
    ] = "",
    serial: Serial = "",
    model: Model = "",
    mode: Annotated[LinkMode, typer.Option(help="Who runs the controller; shadow: both, compared.")] = LinkMode.INFO,
    steps: Annotated[int, typer.Option(help="Steps, or with --mode board ticks, to run.", min=1)] = 1000,
    seed: Seed = 0,
    baud: Baud = 115200,
    timeout: Timeout = 0.05,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    as_json: Json = False,
) -> None:
    """Identify a board, compare it, supervise it or drive it; `link PORT` is short for `link run PORT`."""
    from neuroctl.link import Link
    from neuroctl.studies.interrupts import Interrupts

    name, path = _places((port, file), serial, model, baud)
    if path is None and mode != LinkMode.INFO:
        raise typer.BadParameter("a controller file is needed", param_hint="FILE")
    q = None if path is None else quantized(path, weight_bits, state_bits)
    begin = time.monotonic()
    with Interrupts(), Link(name, q, baud=baud, timeout_s=timeout) as link:
        result = _MODES[mode](link, steps, seed)
        result |= {
            "mode": str(mode),
            "port": link.port,
            "seconds": time.monotonic() - begin,
            "link": link.stats.to_dict(),
        }
    if as_json:
        emit(result)
    else:
        _show(result)
    if result.get("differing_bits"):
        raise typer.Exit(1)


def _info(link: Any, _steps: int, _seed: int) -> dict[str, Any]:
    hello, pong = link.hello, link.ping()
    about = dict(hello.__dict__) | {"mode_now": hello.mode.name, "reason": hello.reason.name}
    about |= {"model_crc32": f"{hello.model_crc32:08x}", "shape_crc32": f"{hello.shape_crc32:08x}"}
    return about | {"tick": pong.tick, "bad_frames": pong.bad_frames, "overruns": pong.overruns}


def _shadow(link: Any, steps: int, seed: int) -> dict[str, Any]:
    from neuroctl.link import Shadow

    with Shadow(link, timeout_s=_PATIENCE_S) as shadow:
        for u in _wandering(link.q.spec.inputs, steps, seed):
            shadow.step_int(u)
    result = {"steps": shadow.steps, "bits": shadow.bits, "differing_bits": shadow.differing_bits}
    return result | {"first": None if shadow.first is None else str(shadow.first)}


def _wandering(width: int, steps: int, seed: int) -> Iterator[Any]:
    """Yield random raw inputs int32[width], held for some steps; drawn in pieces, as a board waits for them."""
    rng = np.random.default_rng(seed)
    for first in range(0, steps, _PIECE):
        values = rng.integers(-(1 << 15), 1 << 15, (_PIECE, width)).astype(np.int32)
        held = np.maximum.accumulate(np.where(rng.random(_PIECE) < _HELD, 0, np.arange(_PIECE)))
        yield from values[held[: steps - first]]


def _board(link: Any, steps: int, _seed: int) -> dict[str, Any]:
    from neuroctl.link import BoardDriven

    last: list[Any] = [None]

    def keep(report: Any) -> None:
        last[0] = report

    with BoardDriven(link, on_report=keep) as board:
        while last[0] is None or last[0].tick < steps:
            board.poll(0.1)
        pong = link.ping()
    report = last[0]
    ended = {"inputs": report.inputs.tolist(), "outputs": report.outputs.tolist()}
    return {"steps": report.tick, "overruns": pong.overruns} | ended


def _host(link: Any, steps: int, _seed: int) -> dict[str, Any]:
    from neuroctl.link import HostDriven

    q, late = link.q, 0
    u = np.zeros(q.spec.inputs, q.spec.dtype)
    q.reset()
    with HostDriven(link) as plant:
        begin = time.monotonic()
        for step in range(steps):
            left = begin + step * q.spec.dt_s - time.monotonic()
            late += left < -q.spec.dt_s
            time.sleep(max(0.0, left))
            plant.read(u)
            plant.write(q.step(u))
    return {"steps": steps, "late": late, "inputs": u.tolist()}


_MODES: Final[dict[LinkMode, Callable[[Any, int, int], dict[str, Any]]]] = {
    LinkMode.INFO: _info,
    LinkMode.SHADOW: _shadow,
    LinkMode.BOARD: _board,
    LinkMode.HOST: _host,
}


def _show(result: dict[str, Any]) -> None:
    table = plain_table(f"{result.pop('port')}, {result.pop('mode')}", "what", "value")
    counts = result.pop("link")
    trip = counts.pop("round_trip") or {}
    for name, value in (result | counts | trip).items():
        table.add_row(name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
    out.print(table)


@app.command("sim", cls=Command, epilog="Example: [bold]neuroctl link sim best.npz --target host[/bold]")
def sim(
    file: File,
    target: Annotated[str, typer.Option(help="Board to simulate: host, qemu-m4 or simavr-uno.")] = "host",
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    as_json: Json = False,
) -> None:
    """Build a controller's firmware and run it on a pseudo-terminal, whose port is printed, until Ctrl-C."""
    from neuroctl.studies.interrupts import Interrupts

    boards = require("neuroctl.firmware_export.boards", "export")
    q = quantized(file, weight_bits, state_bits)
    with Interrupts(), boards.start(q, target) as board:
        if as_json:
            emit({"port": board.port, "target": target, "model_crc32": f"{q.model_crc32:08x}"})
        else:
            out.print(f"port: {board.port}", highlight=False, soft_wrap=True)
            out.print(
                f"try: neuroctl link {board.port} {shlex.quote(str(file))} --mode shadow",
                highlight=False,
                soft_wrap=True,
            )
        out.file.flush()
        try:
            while True:
                time.sleep(1.0)
        except KeyboardInterrupt:
            return


@app.command("upload", cls=Command, epilog="Example: [bold]neuroctl link upload /dev/ttyACM0 better.npz[/bold]")
def upload(
    port: Port = "",
    file: Annotated[str, typer.Argument(help="Controller file (.npz).", metavar="FILE", show_default=False)] = "",
    serial: Serial = "",
    model: Model = "",
    baud: Baud = 115200,
    timeout: Timeout = 0.05,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    as_json: Json = False,
) -> None:
    """Replace a board's controller by another of the same shape, without new firmware: all parameters or none."""
    from neuroctl import link as links

    firmware = require("neuroctl.firmware_export", "export")
    name, path = _places((port, file), serial, model, baud)
    if path is None:
        raise typer.BadParameter("a controller file is needed", param_hint="FILE")
    q = quantized(path, weight_bits, state_bits)
    image: bytes = firmware.param_image(q)
    with links.Link(name, baud=baud, timeout_s=timeout) as link:
        before = link.hello.model_crc32
        links.upload(link, image, q.model_crc32, firmware.shape_crc32(q))
        link.check(q)
        name = link.port
    result = {"port": name, "bytes": len(image), "before": f"{before:08x}", "after": f"{q.model_crc32:08x}"}
    if as_json:
        emit(result)
    else:
        out.print(f"{result['bytes']} bytes: model {before:08x} replaced by {q.model_crc32:08x}", highlight=False)
