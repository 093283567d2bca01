"""The command line. The one module, with ``demo``, that may import simulations and firmware export, and lazily."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import neuroctl as nc
from neuroctl import io
from neuroctl.console import (
    emit,
    log,
    out,
    plain_table,
    show_groups,
    show_quantisation,
    show_report,
    study_progress,
    worker_count,
)
from neuroctl.errors import StudyError, TaskError, require
from neuroctl.evolve.optimizers import OPTIMIZERS

app = typer.Typer(
    help="Small recurrent controllers: evolve in simulation, replay, export as bit-exact fixed-point C, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Seed = Annotated[int, typer.Option(help="Seed of everything random; same seed, same machine: same bits.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; progress goes to stderr.")]
Workers = Annotated[
    int, typer.Option(help="Worker processes; 0 = one a core. The result does not depend on it.", min=0)
]
File = Annotated[Path, typer.Argument(help="Controller file (.npz).")]
WeightBits = Annotated[int, typer.Option(help="Storage of the weights in fixed point: 8 or 16.")]
StateBits = Annotated[int, typer.Option(help="Storage of slow states in fixed point: 16 or 32.")]
TaskName = Annotated[str, typer.Option("--task", help="Task to run in; see `neuroctl tasks`. Default: the file's own.")]


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"neuroctl {nc.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback instead of a one-line error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Small recurrent controllers: evolve in simulation, replay, export as bit-exact fixed-point C, verify."""


@app.command(epilog="Example: [bold]neuroctl demo --out my-demo[/bold]")
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to make.")] = Path("neuroctl-demo"),
    seed: Seed = 1,
    workers: Workers = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier demo's folder.")] = False,
    as_json: Json = False,
) -> None:
    """Evolve, replay, export and verify a cart-pole controller in one go, with plots and a GIF."""
    from neuroctl.demo import run_demo

    if not run_demo(out_dir, seed=seed, workers=worker_count(workers), force=force, as_json=as_json):
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]neuroctl tasks[/bold]")
def tasks(as_json: Json = False) -> None:
    """List the simulation tasks."""
    sims = require("sims", "sim")
    rows = [sims.TASKS[name] for name in sims.names()]
    if as_json:
        emit({"tasks": [{"name": t.name, "id": t.env_id, "inputs": t.inputs, "outputs": t.outputs} for t in rows]})
        return
    table = plain_table("", "task", "Gymnasium id", "in", "out", "dt [ms]", "summary", numbers=("in", "out", "dt [ms]"))
    table.columns[-1].no_wrap = False
    for t in rows:
        table.add_row(t.name, t.env_id, str(t.inputs), str(t.outputs), f"{1e3 * t.control_dt_s:.2f}", t.summary)
    out.print(table)


@app.command(
    epilog="Example: [bold]neuroctl evolve cartpole --seed 1 --target-score 1000 --out studies/cartpole[/bold]"
)
def evolve(
    task: Annotated[
        str,
        typer.Argument(help="Task (see `neuroctl tasks`), Gymnasium id, or your own module:Class or module:function."),
    ],
    cell: Annotated[str, typer.Option(help="Kind of network.")] = "ctrnn",
    neurons: Annotated[int, typer.Option(help="Number of neurons.")] = 8,
    optimizer: Annotated[
        str,
        typer.Option(help=f"{', '.join(OPTIMIZERS)} (a control), or map-elites, cma-me for an archive of behaviours."),
    ] = "cmaes",
    generations: Annotated[int, typer.Option(help="Generations in all, those before a resume included.", min=1)] = 150,
    population: Annotated[int, typer.Option(help="Controllers a generation.", min=4)] = 32,
    episodes: Annotated[int, typer.Option(help="Episodes that a fitness is the mean of.", min=1)] = 4,
    validation: Annotated[int, typer.Option(help="Fixed unseen episodes that the best is chosen by.", min=1)] = 64,
    target_score: Annotated[
        float | None, typer.Option(help="Stop once the best's mean return on the unseen episodes reaches this.")
    ] = None,
    sigma0: Annotated[float, typer.Option(help="First standard deviation of the search.")] = 0.5,
    seed: Seed = 0,
    workers: Workers = 0,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Study folder. Default: studies/TASK-SEED.")] = None,
    quantized: Annotated[
        bool, typer.Option("--quantized", help="Evaluate, and so select, the fixed-point controllers.")
    ] = False,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    budget: Annotated[
        str | None, typer.Option(help="How long at most: 10m, 90s or 2h, 5000evals, or 500gens; several with commas.")
    ] = None,
    task_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a worker counts as hanging and is replaced.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Evaluate on Ray: local, or the address of a running cluster.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Evolve a controller for a task; survives a crash: run again with --resume."""
    from neuroctl.evolve import FixedPoint, StudyConfig, run_study

    sims = require("sims", "sim")
    limits = budget_of(budget)
    posed = sims.problem(task, cell=cell, neurons=neurons, measured=optimizer in ("map-elites", "cma-me"))
    config = StudyConfig(
        spec=posed.spec,
        task=task,
        seed=seed,
        optimizer=optimizer,
        generations=int(limits.get("generations", generations)),
        evaluations=None if "evaluations" not in limits else int(limits["evaluations"]),
        measures=getattr(posed.objective, "measures", ()),
        population=population,
        sigma0=sigma0,
        episodes=episodes,
        validation_episodes=validation,
        target_score=target_score,
        fixed_point=FixedPoint(weight_bits, state_bits) if quantized else None,
    )
    folder = out_dir or Path("studies") / f"{task.replace(':', '-').replace('/', '-')}-{seed}"
    with study_progress(log, task, config.generations) as on_generation:
        result = run_study(
            config,
            posed.objective,
            folder,
            workers=worker_count(workers),
            resume=resume,
            on_generation=on_generation,
            time_limit_s=limits.get("seconds"),
            task_timeout_s=task_timeout,
            cluster=cluster,
        )
    if as_json:
        emit(result.to_dict())
    else:
        best = "none yet" if result.best_score is None else f"{result.best_score:.4g}"
        out.print(
            f"{result.stop_reason}: {result.generations} generations, {result.evaluations} evaluations; "
            f"best mean return on {validation} unseen episodes: [bold]{best}[/bold]",
            highlight=False,
        )
        out.print(f"study: {folder}   best controller: {result.best_path}", highlight=False, soft_wrap=True)
    if result.interrupted:
        raise typer.Exit(130)


@app.command(epilog="Example: [bold]neuroctl compare studies --out compare.png[/bold]")
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Studies, or folders that hold some.", metavar="DIR...")],
    picture: Annotated[Path | None, typer.Option("--out", help="Write a PNG: medians with bands over seeds.")] = None,
    as_json: Json = False,
) -> None:
    """Compare studies: those that differ in their seeds alone count as one, with mean and spread."""
    from neuroctl.evolve.history import groups

    found = groups(folders)
    if picture is not None:
        from neuroctl import studyplots

        studyplots.compare(found, picture, title="studies" if len(found) > 1 else found[0].label)
    show_groups(found, as_json=as_json)


@app.command(epilog="Example: [bold]neuroctl plot studies/phototaxis-0/archive.npz --out archive.png[/bold]")
def plot(
    file: Annotated[Path, typer.Argument(help="A study's archive.npz or front.npz.")],
    picture: Annotated[Path, typer.Option("--out", help="PNG to write.")],
) -> None:
    """Draw an archive of behaviours as a heat map, or a front of several goals."""
    from neuroctl import studyplots

    kept = io.read_archive(file)
    drawers = {"archive": studyplots.archive, "front": studyplots.front}
    if kept.kind not in drawers:
        raise StudyError(f"{file}: holds a {kept.kind}; allowed: {' or '.join(drawers)}")
    drawers[kept.kind](kept.fields, kept.arrays, picture)
    out.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def budget_of(text: str | None) -> dict[str, float]:
    """Return ``seconds``, ``evaluations`` and ``generations`` of a budget such as ``10m,5000evals``.

    Raises:
        StudyError: it cannot be read.

    """
    units = {"s": ("seconds", 1), "m": ("seconds", 60), "h": ("seconds", 3600)}
    units |= {"evals": ("evaluations", 1), "gens": ("generations", 1)}
    limits: dict[str, float] = {}
    for part in (text or "").split(",") if text is not None else []:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)(s|m|h|evals|gens)\s*", part)
        if found is None or float(found[1]) <= 0 or (found[2] in ("evals", "gens") and "." in found[1]):
            raise StudyError(f"budget: {part!r}; allowed: such as 10m, 90s, 2h, 5000evals or 500gens")
        name, factor = units[found[2]]
        limits[name] = float(found[1]) * factor
    return limits


def task_of(model_meta: dict[str, Any], asked: str) -> str:
    """Return the task asked for, or the one that the file names.

    Raises:
        TaskError: neither names one.

    """
    name = asked or str(model_meta.get("task", ""))
    if not name:
        raise TaskError("task: missing; allowed: --task NAME, as the file names none")
    return name


@app.command(epilog="Example: [bold]neuroctl run studies/cartpole/best.npz --episodes 20 --gif best.gif[/bold]")
def run(
    file: File,
    task: TaskName = "",
    episodes: Annotated[int, typer.Option(help="Number of episodes.", min=1)] = 10,
    seed: Seed = 1000,
    gif: Annotated[Path | None, typer.Option(help="Write the first episode as a GIF.")] = None,
    quantized: Annotated[bool, typer.Option("--quantized", help="Run the fixed-point controller.")] = False,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    as_json: Json = False,
) -> None:
    """Replay a controller in a task from seeded starts."""
    sims = require("sims", "sim")
    ctl, meta = open_controller(file, (weight_bits, state_bits) if quantized else None)
    name = task_of(meta, task)
    returns = sims.score(name, ctl, range(seed, seed + episodes))
    if gif is not None:
        from neuroctl import plots

        every = plots.frame_every(ctl.spec.dt_s)
        episode = sims.record(name, ctl, seed, frames=True, frame_every=every)
        plots.gif(episode.frames, gif, frame_s=every * ctl.spec.dt_s)
    summary = {
        "file": str(file),
        "task": name,
        "form": "fixed point" if isinstance(ctl, nc.QuantController) else ctl.spec.dtype,
        "episodes": episodes,
        "mean": float(np.mean(returns)),
        "worst": float(np.min(returns)),
        "best": float(np.max(returns)),
    }
    if as_json:
        emit(summary | {"returns": [float(value) for value in returns]})
        return
    table = plain_table(f"{name}, {summary['form']}", "seed", "return", numbers=("seed", "return"))
    for index, value in enumerate(returns):
        table.add_row(str(seed + index), f"{value:.1f}")
    out.print(table)
    out.print(
        f"mean {summary['mean']:.1f}   worst {summary['worst']:.1f}   best {summary['best']:.1f}"
        + (f"   GIF: {gif}" if gif else ""),
        highlight=False,
        soft_wrap=True,
    )


def open_controller(
    file: Path, bits: tuple[int, int] | None
) -> tuple[nc.Controller | nc.QuantController, dict[str, Any]]:
    """Load a float or fixed-point controller and return it with its notes; bits of weights and state quantise it."""
    archive = io.read_archive(file)
    if archive.kind == "quant":
        return nc.QuantController.from_archive(archive, file), {}
    io.expect_kind(archive, "controller", file)
    model = io.model_of(archive, file)
    ctl = nc.Controller(model.spec, model.theta)
    if bits is None:
        return ctl, model.meta
    return ctl.quantize(weight_bits=bits[0], state_bits=bits[1], calibration=model.calibration), model.meta


@app.command(epilog="Example: [bold]neuroctl info studies/cartpole/best.npz[/bold]")
def info(file: File, as_json: Json = False) -> None:
    """Show what a controller file holds."""
    archive = io.read_archive(file)
    ctl = nc.load(file)
    quant = isinstance(ctl, nc.QuantController)
    data: dict[str, Any] = {
        "file": str(file),
        "kind": archive.kind,
        "sha256": archive.sha256,
        "spec": ctl.spec.to_dict(),
        "parameters": ctl.layout.size,
        "state": ctl.state_layout.size,
        "meta": archive.fields.get("meta") or {},
        "blocks": _block_rows(ctl),
    }
    if isinstance(ctl, nc.QuantController):
        data["model_crc32"] = f"{ctl.model_crc32:08x}"
        data["formats"] = {name: [f.bits, f.frac_bits] for name, f in ctl.formats.items()}
    if as_json:
        emit(data)
        return
    facts = {"kind": archive.kind, "parameters": data["parameters"], "state": data["state"]}
    facts |= {key: value for key, value in data["spec"].items() if value is not None} | data["meta"]
    facts |= {"model CRC-32": data["model_crc32"]} if quant else {}
    table = plain_table(str(file), "field", "value")
    for key, value in facts.items():
        table.add_row(key, str(value))
    table.add_row("sha256", archive.sha256[:16] + "...")
    out.print(table)
    columns = ("block", "shape", "unit", "smallest", "largest", *(("format",) if quant else ()))
    blocks = plain_table("", *columns, numbers=("smallest", "largest"))
    for row in data["blocks"]:
        cells = [row["name"], "x".join(map(str, row["shape"])), row["unit"], f"{row['min']:.4g}", f"{row['max']:.4g}"]
        blocks.add_row(*cells, *((row["format"],) if quant else ()))
    out.print(blocks)


def _block_rows(ctl: nc.Controller | nc.QuantController) -> list[dict[str, Any]]:
    flat = ctl.theta_q if isinstance(ctl, nc.QuantController) else ctl.theta
    rows = []
    for name, values in ctl.layout.views(flat).items():
        row: dict[str, Any] = {"name": name, "shape": list(values.shape), "unit": ctl.layout[name].unit}
        row |= {"min": float(values.min()), "max": float(values.max())}
        if isinstance(ctl, nc.QuantController):
            f = ctl.formats.get(name)
            row |= {
                "unit": "raw",
                "format": f"int{f.bits}, {f.frac_bits} frac bits" if f else "dt/tau: mantissa, shift",
            }
        rows.append(row)
    return rows


@app.command(epilog="Example: [bold]neuroctl export studies/cartpole/best.npz --out firmware --name balance[/bold]")
def export(
    file: File,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    name: Annotated[str, typer.Option(help="C identifier that all names start with.")] = "ctl",
    target: Annotated[str, typer.Option(help="Microcontroller core, or generic.")] = "generic",
    package: Annotated[str, typer.Option(help="header, cmake, arduino, platformio, zephyr or espidf.")] = "header",
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    calibration: Annotated[
        Path | None, typer.Option(help="Recorded inputs, .npy or .csv, instead of those in the file.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a picture of formats, errors and trajectories.")] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Instead: closed-loop return against bytes, over bits of weights and state.")
    ] = False,
    task: TaskName = "",
    episodes: Annotated[int, typer.Option(help="Episodes that --sweep runs.", min=1)] = 20,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other files.")] = False,
    as_json: Json = False,
) -> None:
    """Export a controller as fixed-point C99: weights, step and self-test, with proof that nothing overflows."""
    from neuroctl import report as reports

    firmware = require("firmware_export", "export")
    if sweep:
        _sweep(file, task, episodes, out_dir, as_json=as_json)
        return
    recorded = None if calibration is None else reports.read_inputs(calibration)
    q, ctl = firmware.quantized_file(file, weight_bits=weight_bits, state_bits=state_bits, calibration=recorded)
    header = firmware.export(q, out_dir, name=name, target=target, package=package, force=force)
    found = reports.quantisation(q, ctl)
    if report is not None:
        from neuroctl import plots

        plots.quantisation(found, report)
    if as_json:
        files = sorted(str(path) for path in out_dir.rglob("*") if path.is_file())
        emit({"header": str(header), "files": files, "report": found.to_dict()})
        return
    show_quantisation(found)
    out.print(f"header: {header}", highlight=False, soft_wrap=True)
    out.print(f"prove it: neuroctl verify {out_dir}", highlight=False, soft_wrap=True)


def _sweep(file: Path, task: str, episodes: int, out_dir: Path, *, as_json: bool) -> None:
    """Print return against bytes, and draw it into ``out_dir/sweep.png``."""
    from neuroctl import plots
    from neuroctl.sweep import sweep as run_sweep

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


@app.command(epilog="Example: [bold]neuroctl verify firmware --steps 100000[/bold]")
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder made by `neuroctl export`.", metavar="DIR")],
    steps: Annotated[int, typer.Option(help="Steps to compare on each target.", min=1)] = 10_000,
    target: Annotated[
        list[str] | None, typer.Option(help="Only this target; may be given several times. Default: all.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Build an export for every target that there are tools for, run it, and compare every bit with the controller."""
    firmware = require("firmware_export", "export")
    report = firmware.verify(folder, steps=steps, seed=seed, targets=target)
    if as_json:
        emit(report.to_dict())
    else:
        show_report(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]neuroctl bench --json > bench.json[/bold]")
def bench(
    neurons: Annotated[list[int], typer.Option(help="Sizes; may be given several times.")] = [8, 32],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Measure on this machine: a step of each cell from Python, a population's steps a second, and the cold start."""
    from neuroctl.bench import short

    figures = short(tuple(neurons))
    if as_json:
        emit(figures)
        return
    times = ("p50 [us]", "p99", "p99.9")
    table = plain_table("One step called from Python", "cell", "neurons", "form", *times, numbers=("neurons", *times))
    for row in figures["step"]:
        micros = [f"{row[key]:.2f}" for key in ("p50_us", "p99_us", "p999_us")]
        table.add_row(row["cell"], str(row["neurons"]), row["form"], *micros)
    out.print(table)
    for n, rate in figures["lanes_steps_per_s"].items():
        out.print(f"population of 1024 CTRNNs with {n} neurons: {rate / 1e6:.1f} million steps/s", highlight=False)
    cold = figures["cold_start"]
    out.print(
        f"cold start: import {cold['import_s']:.2f} s, first step {cold['first_step_s']:.2f} s after that",
        highlight=False,
    )
