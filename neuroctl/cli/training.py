"""The command that trains a controller: on recorded traces here, or by reward."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroctl import io
from neuroctl.checks import one_of
from neuroctl.cli.by_reward import METHODS, Asked, settings_of, train_by_reward
from neuroctl.cli.evolving import budget_of
from neuroctl.cli.options import (
    NETWORK_DEFAULTS,
    AllowCoarse,
    Backbone,
    DenseActivation,
    Encoder,
    Head,
    InitialState,
    Json,
    Layers,
    Mode,
    Seed,
    StateBits,
    WeightBits,
    check_pictures,
    network_fields,
)
from neuroctl.cli.resuming import check_number, first_seed, read_study, training_in
from neuroctl.console import emit, log, out, plain_table, show_ends, studies_progress
from neuroctl.errors import TrainingError
from neuroctl.fixed_point import FixedPointConfig

_NETWORK, _RUNNING, _DATA, _FIXED, _REWARD = "Network", "Running", "Data", "Fixed point", "By reward"
_OF_TASKS = ("method", "budget", "settings")
_OF_NETWORKS = ("cell", "neurons", "layers", "encoder", "head", "dense_activation", "initial_state", "backbone", "mode")
_SHARED = {*_OF_NETWORKS, *_OF_TASKS, "task", "learning_rate", "quantized", "weight_bits", "state_bits", "allow_coarse",
           "seed", "seeds", "threads", "out_dir", "resume", "plot", "as_json"}  # fmt: skip


def train(
    ctx: typer.Context,
    task: Annotated[
        str | None, typer.Argument(help="Task with a compiled plant (see `neuroctl tasks`), to train by reward.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help=f"Of training for a task: {', '.join(METHODS)}.", rich_help_panel=_REWARD)
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Of training for a task: no epoch begins after this: 2m, 90s, 300000steps; several with commas. "
            "The learning rate falls to 0 over a number of steps, never over a time.",
            rich_help_panel=_REWARD,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Setting of the method, such as gamma=0.98, num_envs=256 or update_epochs=4; may be repeated. "
            "Default: the task's.",
            metavar="NAME=VALUE",
            rich_help_panel=_REWARD,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Table of text (CSV) with names of columns; may be repeated.", rich_help_panel=_DATA),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="Columns that go in, with commas.", metavar="A,B", rich_help_panel=_DATA)
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="Columns that should come out.", metavar="C,D", rich_help_panel=_DATA)
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(help="Seconds between two steps. Default: of the time column.", rich_help_panel=_DATA),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Time column, in seconds. Default: t, time, t_s, time_s or seconds.", rich_help_panel=_DATA),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Interpolate where rows are not --dt apart.", rich_help_panel=_DATA)
    ] = False,
    window: Annotated[
        int,
        typer.Option(help="Steps of a sequence, into which tables are cut; 0: whole tables.", rich_help_panel=_DATA),
    ] = 200,
    validation: Annotated[
        float, typer.Option(help="Share of the sequences that is not trained on.", rich_help_panel=_DATA)
    ] = 0.2,
    cell: Annotated[
        str, typer.Option(help="Kind of network: ctrnn, elman, indrnn, jordan, gru or cfc.", rich_help_panel=_NETWORK)
    ] = "ctrnn",
    neurons: Annotated[int, typer.Option(help="Number of neurons.", rich_help_panel=_NETWORK)] = 8,
    layers: Layers = 1,
    backbone: Backbone = None,
    mode: Mode = "default",
    encoder: Encoder = None,
    head: Head = None,
    dense_activation: DenseActivation = "relu",
    initial_state: InitialState = "zeros",
    loss: Annotated[str, typer.Option(help="mse or huber.")] = "mse",
    optimizer: Annotated[str, typer.Option(help="adam, adamw or sgd.")] = "adam",
    learning_rate: Annotated[float, typer.Option(help="Largest learning rate.")] = 0.01,
    schedule: Annotated[str, typer.Option(help="Of the learning rate: constant, cosine or step.")] = "cosine",
    warm_up: Annotated[int, typer.Option(help="Steps in which the rate rises, with cosine.")] = 0,
    epochs: Annotated[int, typer.Option(help="How often all sequences are gone through, at most.")] = 200,
    batch: Annotated[int, typer.Option(help="Sequences between two steps.")] = 32,
    clip: Annotated[float, typer.Option(help="Largest norm of a gradient.")] = 1.0,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a lower validation loss.")
    ] = None,
    truncate: Annotated[int | None, typer.Option(help="Steps that a gradient goes back.")] = None,
    begin_with: Annotated[
        Path | None,
        typer.Option(
            "--from",
            "--begin-with",
            metavar="FILE",
            help="Controller of the same network to go on from: best.npz of another training, or of an evolution.",
        ),
    ] = None,
    quantized: Annotated[
        bool,
        typer.Option(
            "--quantized",
            help="Train the integer controller; so do --weight-bits and --state-bits.",
            rich_help_panel=_FIXED,
        ),
    ] = False,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    allow_coarse: AllowCoarse = False,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(help="Trainings side by side, with seeds from --seed on.", min=1)] = 1,
    threads: Annotated[
        int,
        typer.Option(help="Threads; 0 = one per core. Results do not depend on it.", min=0, rich_help_panel=_RUNNING),
    ] = 0,
    out_dir: Annotated[Path, typer.Option("--out", help="Study folder.", rich_help_panel=_RUNNING)] = Path(
        "studies/train"
    ),
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the study in --out, with its original options.", rich_help_panel=_RUNNING
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG: losses over epochs.", rich_help_panel=_RUNNING)
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a controller on recorded traces by gradient, or for a task by reward; survives a crash: --resume."""
    check_pictures(plot=plot)
    io.check_folder("out", out_dir)
    given = {name for name in ctx.params if ctx.get_parameter_source(name).name == "COMMANDLINE"}  # type: ignore[union-attr]
    if task is not None:
        if others := sorted(given - _SHARED):
            raise TrainingError(f"{others[0]}: given; allowed with --data, not with a task")
        bits_given = not given.isdisjoint({"weight_bits", "state_bits"})
        network = network_fields(**{name: ctx.params[name] for name in _OF_NETWORKS if name in given})
        rate = {"learning_rate": learning_rate} if "learning_rate" in given else {}
        train_by_reward(
            Asked(
                task=task, method=one_of("method", method or METHODS[0], METHODS, error=TrainingError), network=network,
                settings=settings_of(settings or ()) | rate, limits=budget_of(budget, {"steps": "steps"}), seed=seed,
                seeds=seeds, allow_coarse=allow_coarse or resume, threads=threads, folder=out_dir, resume=resume,
                fixed_point={"weight_bits": weight_bits, "state_bits": state_bits} if quantized or bits_given else None,
                plot=plot, as_json=as_json,
            )
        )  # fmt: skip
        return
    if alone := sorted(given & set(_OF_TASKS)):
        raise TrainingError(f"{alone[0]}: given; allowed with a task, such as `neuroctl train gym-cartpole`")
    options: dict[str, Any] = {
        "data": [os.path.abspath(path) for path in data or ()], "inputs": _names(inputs),
        "outputs": _names(outputs), "dt": dt, "time": time,
        "resample": resample, "window": window, "validation": validation, "cell": cell,
        "neurons": neurons, "layers": layers, "loss": loss, "optimizer": optimizer, "learning_rate": learning_rate,
        "schedule": schedule, "warm_up": warm_up, "epochs": epochs, "batch": batch, "clip": clip,
        "patience": patience, "truncate": truncate, "seed": seed,
    }  # fmt: skip
    # What earlier versions did not have is named where it is not the default: their studies go on.
    later = network_fields(
        encoder=encoder, head=head, dense_activation=dense_activation, initial_state=initial_state, backbone=backbone,
        mode=mode,
    )  # fmt: skip
    options |= {name: value for name, value in later.items() if value not in NETWORK_DEFAULTS}
    bits = {"weight_bits": weight_bits, "state_bits": state_bits}
    fixed = bits if quantized or not given.isdisjoint(bits) else None
    first = None if begin_with is None else os.path.abspath(begin_with)
    shared = False
    if resume:
        check_number(out_dir, seeds)
        folder = out_dir if seeds == 1 else out_dir / f"seed-{seed or first_seed(out_dir)}"
        stored = training_in(folder)
        options |= {name: stored[name] for name in (*options, *later) if name in stored and name not in given}
        first = first or stored.get("begin_with")
        if isinstance(old := stored.get("fixed_point"), dict):
            fixed = {name: value if name in given else old.get(name, value) for name, value in bits.items()}
            shared = FixedPointConfig.shared_in(old)
    if not options["data"]:
        raise TrainingError("data: none; allowed: --data FILE, a table of text (CSV)")
    every = [options | {"seed": options["seed"] + k} for k in range(seeds)]
    folders = [out_dir if seeds == 1 else out_dir / f"seed-{own['seed']}" for own in every]
    allowed = allow_coarse or resume
    config = None if fixed is None else FixedPointConfig(**fixed, allow_coarse=allowed, shared_formats=shared)
    rows = _trained(every, folders, config, first, resume=resume, threads=threads)
    if plot is not None:
        _plot([row["folder"] for row in rows], plot)
    if as_json:
        emit(rows[0] if seeds == 1 else {"studies": rows})
    else:
        _show(rows, "not trained on" if options["validation"] else "trained on")
    if rows[-1]["interrupted"]:
        raise typer.Exit(130)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _trained(
    every: Sequence[dict[str, Any]], folders: Sequence[Path], fixed_point: FixedPointConfig | None,
    begin_with: str | None, *, resume: bool, threads: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train by each set of options, show the progress, and return the outcomes as plain JSON types."""
    from neuroctl import load
    from neuroctl.backends.blocks import thread_count
    from neuroctl.train.from_table import prepare
    from neuroctl.train.study import Plan, run_trainings

    workers = thread_count(threads or None)
    each_has = 1 if len(every) > 1 else workers
    ready = [prepare(own, fixed_point=fixed_point, begin_with=begin_with, threads=each_has) for own in every]
    # Of several that were killed at once the last may not have begun.
    begun = [resume and (len(every) == 1 or (folder / "study.json").is_file()) for folder in folders]
    for own, folder, each, old in zip(every, folders, ready, begun, strict=True):
        if old:
            _check_data(own, each.config, folder)
    for line in dict.fromkeys(each.read() for each in ready):
        log.print(line, highlight=False, soft_wrap=True)
    with studies_progress(log, [folder.name for folder in folders]) as shown:
        plans = [
            Plan(
                each.training, each.theta, each.config, folder, save_best=each.save, resume=old,
                on_epoch=partial(progress.epoch, epochs=own["epochs"]),
            )
            for own, folder, each, old, progress in zip(every, folders, ready, begun, shown, strict=True)
        ]  # fmt: skip
        results = run_trainings(plans, workers=workers)
    rows = []
    for own, folder, each, result in zip(every, folders, ready, results, strict=True):
        errors = {}
        if result.best_loss is not None:
            errors = each.errors(load(result.fixed_path or result.best_path))
        outputs = {name: {"rms_error": error, "std": std} for name, (error, std) in errors.items()}
        rows.append(result.to_dict() | {"folder": str(folder), "seed": own["seed"], "outputs": outputs})
    return rows


def _check_data(options: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """Refuse tables that are not those that a study was begun with, unless options that say so differ too.

    Raises:
        TrainingError: they have changed.

    """
    stored, same = read_study(folder), ("data", "inputs", "outputs", "dt", "time", "resample", "window", "cell")
    if stored.get("data_sha256") == config["data_sha256"] or any(options[name] != stored.get(name) for name in same):
        return
    tables, allowed = ", ".join(options["data"]), "the rows that it was begun with, or another --out"
    raise TrainingError(f"data: {tables}: changed since the study in {folder} was begun; allowed: {allowed}")


def _show(rows: list[dict[str, Any]], which: str) -> None:
    numbers = ("epochs", "best at", "loss", "rms error", "std of target")
    table = plain_table(f"Best controllers, on sequences {which}", "study", "output", *numbers, numbers=numbers)
    for row in rows:
        for name, figures in row["outputs"].items():
            cells = [str(row["epochs"]), str(row["best_epoch"]), f"{row['best_loss']:.4g}"]
            table.add_row(row["folder"], name, *cells, f"{figures['rms_error']:.4g}", f"{figures['std']:.4g}")
    out.print(table)
    show_ends(rows)


def _plot(folders: list[str], picture: Path) -> None:
    from neuroctl import plots
    from neuroctl.studies.history import read_history

    plots.losses({folder: read_history(Path(folder)) for folder in folders}, picture)
    log.print(f"picture: {picture}", highlight=False, soft_wrap=True)
