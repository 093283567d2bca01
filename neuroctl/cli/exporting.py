"""Commands that export firmware and verify it."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroctl import io
from neuroctl.cli.messages import DECLARE, ranges_from
from neuroctl.cli.options import AllowCoarse, File, Json, Seed, StateBits, TaskName, WeightBits, check_pictures
from neuroctl.console import (
    emit,
    log,
    out,
    plain_table,
    show_quantization,
    show_report,
)
from neuroctl.errors import QuantizationWarning, require


def export(
    file: File,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    name: Annotated[str, typer.Option(help="C identifier that all names start with.")] = "ctl",
    target: Annotated[
        str, typer.Option(help="Microcontroller core, or generic; `--target list` names all.")
    ] = "generic",
    package: Annotated[str, typer.Option(help="header, cmake, arduino, platformio, zephyr or espidf.")] = "header",
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    allow_coarse: AllowCoarse = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Recorded inputs instead of those in the file, in physical units: .npy of shape (steps, inputs), or "
            ".csv, a line a step, a column an input."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a picture of formats, errors and trajectories.")] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Instead, compare return and bytes over bits of weights and state."),
    ] = False,
    task: TaskName = "",
    episodes: Annotated[int, typer.Option(help="Number of episodes for --sweep.", min=1)] = 20,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other files.")] = False,
    as_json: Json = False,
) -> None:
    """Export a controller, or an alarm, as fixed-point C99: weights, step and self-test, proven free of overflow."""
    from neuroctl import Alarm
    from neuroctl.quantization_report import measure_quantization, read_inputs

    firmware = require("neuroctl.firmware_export", "export")
    io.check_folder("out", out_dir)
    check_pictures(report=report)
    if sweep:
        _sweep(file, task, episodes, out_dir, as_json=as_json)
        return
    recorded = None if calibration is None else read_inputs(calibration, _input_names(file))
    with warnings.catch_warnings(), ranges_from(f"--calibration gives recorded inputs, {DECLARE} declares limits"):
        # The report shows how many inputs lie beyond their limits; what else is told of recordings it does not.
        warnings.filterwarnings("ignore", "calibration: .* beyond input_limits", QuantizationWarning)
        made, ctl = firmware.quantized_file(
            file, weight_bits=weight_bits, state_bits=state_bits, calibration=recorded, allow_coarse=allow_coarse
        )
    header = firmware.export(made, out_dir, name=name, target=target, package=package, force=force)
    q = made.controller if isinstance(made, Alarm) else made
    errors = measure_quantization(q, ctl)
    if report is not None:
        from neuroctl import plots

        plots.quantization_report(errors, report)
    if as_json:
        files = sorted(str(path) for path in out_dir.rglob("*") if path.is_file())
        emit({"header": str(header), "files": files, "report": errors.to_dict()})
        return
    show_quantization(errors)
    out.print(f"header: {header}", highlight=False, soft_wrap=True)
    if made is not q:
        out.print(f"alarm: {header.with_name(f'{name}_alarm{header.suffix}')}", highlight=False, soft_wrap=True)
    out.print(f"verify it: neuroctl verify {shlex.quote(str(out_dir))}", highlight=False, soft_wrap=True)


def _input_names(file: Path) -> list[str]:
    """Return the names of a file's inputs, if it has any; what is wrong with the file is told when it is loaded."""
    spec = io.read_archive(file).fields.get("spec")
    names = spec.get("input_names") if isinstance(spec, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _sweep(file: Path, task: str, episodes: int, out_dir: Path, *, as_json: bool) -> None:
    """Print return against bytes, and draw it into ``out_dir/sweep.png``."""
    from neuroctl import plots
    from neuroctl.sweep import sweep as run_sweep

    require("matplotlib.figure", "viz")
    name, points = run_sweep(file, task, episodes)
    out_dir.mkdir(parents=True, exist_ok=True)
    plots.sweep(points, out_dir / "sweep.png", title=f"{name}: return against flash on a Cortex-M0+")
    if as_json:
        emit({"task": name, "episodes": episodes, "points": [point.to_dict() for point in points]})
        return
    numbers = ("mean return", "worst", "flash [B]", "RAM [B]")
    table = plain_table(f"{name}, {episodes} episodes", "form", *numbers, numbers=numbers)
    for point in points:
        if point.problem:
            table.add_row(point.form, "-", "-", "-", "-")
            continue
        sizes = [str(point.flash_bytes), str(point.ram_bytes)] if point.flash_bytes else ["-", "-"]
        table.add_row(point.form, f"{point.mean_return:.2f}", f"{point.worst_return:.2f}", *sizes)
    out.print(table)
    out.print("w, s: bits of weights and state; flash and RAM on a Cortex-M0+, -Os", style="dim", highlight=False)
    for point in points:
        if point.problem:
            out.print(f"{point.form}: {point.problem}", highlight=False, soft_wrap=True)
    out.print(f"picture: {out_dir / 'sweep.png'}", highlight=False, soft_wrap=True)


def _say(target: Any) -> None:
    """Print a target's result on stderr: all of them take minutes."""
    if target.ran:
        log.print(f"{target.target} ({target.tools}): {target.result}", highlight=False, soft_wrap=True)


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder made by `neuroctl export`.", metavar="DIR")],
    steps: Annotated[int, typer.Option(help="Steps to compare on each target.", min=1)] = 10_000,
    target: Annotated[
        list[str] | None, typer.Option(help="Only this target; may be given several times. Default: all.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Build an export with all installed toolchains, run it, and compare every bit with the controller."""
    firmware = require("neuroctl.firmware_export", "export")
    report = firmware.verify(folder, steps=steps, seed=seed, targets=target, on_target=_say)
    if as_json:
        emit(report.to_dict())
    else:
        show_report(report)
    if not report.ok:
        raise typer.Exit(1)
