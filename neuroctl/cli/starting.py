"""Commands for getting started: the demo, the tasks, the figures of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroctl.cli.options import Json, Seed, Workers
from neuroctl.console import (
    emit,
    out,
    plain_table,
    worker_count,
)
from neuroctl.errors import require


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


def tasks(as_json: Json = False) -> None:
    """List the simulation tasks."""
    sims = require("neuroctl.sims", "evolve")
    rows = [sims.TASKS[name] for name in sims.names()]
    if as_json:
        emit({"tasks": [{"name": t.name, "id": t.env_id, "inputs": t.inputs, "outputs": t.outputs} for t in rows]})
        return
    table = plain_table("", "task", "Gymnasium id", "in", "out", "dt [ms]", "summary", numbers=("in", "out", "dt [ms]"))
    for t in rows:
        table.add_row(t.name, t.env_id, str(t.inputs), str(t.outputs), f"{1e3 * t.control_dt_s:.2f}", t.summary)
    out.print(table)


def bench(
    neurons: Annotated[list[int], typer.Option(help="Sizes; may be given several times.")] = [8, 32],  # noqa: B006
    warm: Annotated[
        bool,
        typer.Option("--warm", help="Measure nothing: compile controllers' code once, for images and robots."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure on this machine: a step of each cell from Python, a population's steps per second, and the cold start."""
    if warm:
        _warm(as_json)
        return
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


def _warm(as_json: bool) -> None:
    from neuroctl.cli import warming

    done = warming.warm()
    if as_json:
        emit(done)
        return
    out.print(f"compiled for {', '.join(done['cells'])} in {done['seconds']:.0f} s", highlight=False)
