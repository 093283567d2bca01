"""Commands that evolve, and that look at what was evolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from neuroctl import io
from neuroctl.cli.options import Json, Seed, StateBits, WeightBits, Workers
from neuroctl.console import (
    emit,
    log,
    out,
    show_groups,
    study_progress,
    worker_count,
)
from neuroctl.errors import StudyError, require
from neuroctl.evolve.optimizers import OPTIMIZERS


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
