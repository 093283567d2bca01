"""The command that trains a student by what a teacher would have done."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroctl import io
from neuroctl.cli.evolving import budget_of
from neuroctl.cli.options import (
    NETWORK_DEFAULTS,
    Backbone,
    DenseActivation,
    Encoder,
    Head,
    InitialState,
    Json,
    Layers,
    Mode,
    Seed,
    network_fields,
)
from neuroctl.cli.resuming import fitted, read_study
from neuroctl.console import emit, log, out, studies_progress
from neuroctl.errors import StudyError, TrainingError, require
from neuroctl.spec import Spec

_EPOCHS = "epochs_a_round"  # in study.json, whose epochs are rounds
_NETWORK, _RUNNING, _TEACHER = "Network", "Running", "Teacher"


def imitate(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help="Task (see `neuroctl tasks`), Gymnasium id, or your own module:Class.")],
    teacher: Annotated[
        str,
        typer.Option(
            help="baseline (the task's hand-made one), a file .npz or .onnx, or your own module:name.",
            rich_help_panel=_TEACHER,
        ),
    ] = "baseline",
    privileged: Annotated[
        bool,
        typer.Option(
            "--privileged",
            help="Show the teacher what the environment's privileged() returns.",
            rich_help_panel=_TEACHER,
        ),
    ] = False,
    sensors: Annotated[
        str | None,
        typer.Option(
            help="Entries of an observation that the student sees, from 0. Default: all.",
            metavar="0,1,5",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    demonstrations: Annotated[
        Path | None,
        typer.Option(help="File of demonstrations to learn from as well.", metavar="FILE", rich_help_panel=_TEACHER),
    ] = None,
    cell: Annotated[
        str, typer.Option(help="Kind of network: ctrnn, elman, indrnn, jordan, gru or cfc.", rich_help_panel=_NETWORK)
    ] = "elman",
    neurons: Annotated[int, typer.Option(help="Number of neurons.", rich_help_panel=_NETWORK)] = 16,
    layers: Layers = 1,
    backbone: Backbone = None,
    mode: Mode = "default",
    encoder: Encoder = None,
    head: Head = None,
    dense_activation: DenseActivation = "relu",
    initial_state: InitialState = "zeros",
    rounds: Annotated[int, typer.Option(help="Rounds of episodes and training.", min=1)] = 10,
    episodes: Annotated[int, typer.Option(help="Episodes of a round.", min=1)] = 8,
    validation: Annotated[int, typer.Option(help="Fixed unseen episodes for choosing the best.", min=1)] = 20,
    max_steps: Annotated[
        int | None, typer.Option(help="Control steps of an episode. Default: the task's own limit.", min=1)
    ] = None,
    epochs: Annotated[int, typer.Option(help="How often a round goes through all demonstrations.", min=1)] = 60,
    batch: Annotated[int, typer.Option(help="Episodes between two steps of the optimizer.", min=1)] = 8,
    learning_rate: Annotated[float, typer.Option(help="Learning rate.")] = 0.005,
    begin_with: Annotated[
        Path | None, typer.Option("--from", help="Student to go on from (.npz), with its network.", metavar="FILE")
    ] = None,
    seed: Seed = 0,
    budget: Annotated[
        str | None, typer.Option(help="No round begins after this time: 10m, 90s or 2h.", rich_help_panel=_RUNNING)
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Study folder. Default: studies/TASK-imitation-SEED.", rich_help_panel=_RUNNING),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the study in --out, with its original options.", rich_help_panel=_RUNNING
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a student by a teacher (DAgger); survives a crash: run again with --resume."""
    folder = out_dir or Path("studies") / f"{re.sub(r'[:/,=]', '-', task)}-imitation-{seed}"
    io.check_folder("out", folder)
    options: dict[str, Any] = {
        "task": task, "teacher": teacher, "privileged": privileged, "sensors": _numbers(sensors), "cell": cell,
        "neurons": neurons, "rounds": rounds, "episodes": episodes, "validation": validation, "max_steps": max_steps,
        "epochs": epochs, "batch": batch, "learning_rate": learning_rate, "seed": seed,
        **network_fields(
            layers=layers, encoder=encoder, head=head, dense_activation=dense_activation, backbone=backbone, mode=mode,
            initial_state=initial_state,
        ),
    }  # fmt: skip
    files = {"demonstrations": demonstrations, "from": begin_with}
    if resume:
        stored = read_study(folder)
        if stored and stored.get("method") != "dagger":
            raise StudyError(f"out: {folder} holds another kind of study; allowed: one of `neuroctl imitate`")
        given = {name for name in ctx.params if ctx.get_parameter_source(name).name == "COMMANDLINE"}  # type: ignore[union-attr]
        old = stored | {"epochs": stored.get(_EPOCHS), "rounds": stored.get("epochs")}
        options |= {name: old[name] for name in options if old.get(name) is not None and name not in given}
        files = {name: path or (Path(stored[name]) if stored.get(name) else None) for name, path in files.items()}
    row = _trained(options, files, folder, resume=resume, limits=budget_of(budget))
    if as_json:
        emit(row)
    else:
        score, least = row["score"], row["teacher_score"]
        share = f", {score / least:.1%} of it" if least > 0 else ""
        out.print(f"{row['stop_reason']}: {row['epochs']} rounds, {row['steps']:,} steps", highlight=False)
        out.print(
            f"best mean return on unseen episodes: {score:.4g}; the teacher's: {least:.4g}{share}", highlight=False
        )
        out.print(f"study: {folder}   best controller: {row['best_path']}", highlight=False, soft_wrap=True)
    if row["interrupted"]:
        raise typer.Exit(130)


def _show(row: dict[str, Any], folder: Path) -> None:
    out.print(f"{row['stop_reason']}: {row['epochs']} rounds, {row['steps']:,} steps", highlight=False)
    score, teachers = row["score"], row["teacher_score"]
    if score is not None:
        share = f"; the student has {score / teachers:.1%} of that" if teachers > 0 else ""
        out.print(f"best mean return on unseen episodes: {score:.4g}", highlight=False)
        out.print(f"the teacher's: {teachers:.4g}{share}", highlight=False)
    best = f"   best controller: {row['best_path']}" if row["best_path"] else ""
    out.print(f"study: {folder}{best}", highlight=False, soft_wrap=True)


def _numbers(text: str | None) -> list[int] | None:
    """Return numbers with commas between them.

    Raises:
        TrainingError: the text is something else.

    """
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise TrainingError(f"sensors: {text!r}; allowed: entries of an observation, such as 0,1,5") from None


def _trained(
    options: dict[str, Any], files: dict[str, Path | None], folder: Path, *, resume: bool, limits: dict[str, float]
) -> dict[str, Any]:  # fmt: skip
    from neuroctl.train.by_teacher import TeacherTraining
    from neuroctl.train.demonstrations import Demonstrations
    from neuroctl.train.study import Plan, run_training

    if set(limits) - {"seconds"}:
        raise StudyError("budget: evaluations or generations; allowed: a time, such as 10m, 90s or 2h")
    sims = require("neuroctl.sims", "evolve")
    first = None if files["from"] is None else io.load_model(files["from"])
    spec = _spec(sims, options, None if first is None else first.spec)
    known = None if files["demonstrations"] is None else Demonstrations.load(files["demonstrations"])
    training = TeacherTraining(
        spec, sims.teacher(options["teacher"], options["task"]),
        sims.TeachingEpisode(options["task"], privileged=options["privileged"], max_steps=options["max_steps"]),
        demonstrations=known, settings={name: options[name] for name in ("epochs", "batch", "learning_rate")},
        **{name: options[name] for name in ("sensors", "rounds", "episodes", "validation", "seed")},
    )  # fmt: skip
    own = {name: value for name, value in options.items() if name != "rounds"}
    config = {
        "method": "dagger",
        **own,
        "epochs": options["rounds"],
        _EPOCHS: options["epochs"],
        "spec": spec.to_dict(),
    }
    config |= {name: str(path) for name, path in files.items() if path is not None}
    named = (*(path for path in files.values() if path is not None), Path(options["teacher"]))
    config["sha256"] = [hashlib.sha256(path.read_bytes()).hexdigest() for path in named if path.is_file()]
    with studies_progress(log, [folder.name]) as (progress,):
        plan = Plan(
            training, training.first() if first is None else first.theta, config, folder, resume=resume,
            save_best=lambda theta, path, meta: training.controller(theta).save(
                path, meta=meta, calibration=training.recorded()
            ),
            on_epoch=lambda row: progress.round(row, options["rounds"]), time_limit_s=limits.get("seconds"),
        )  # fmt: skip
        result = run_training(plan)
    from neuroctl.studies.history import read_history

    steps = read_history(folder)["steps"]
    score = None if result.best_loss is None else -result.best_loss
    figures = {"score": score, "teacher_score": training.teacher_score(), "steps": int(steps[-1]) if len(steps) else 0}
    return result.to_dict() | figures


def _spec(sims: Any, options: dict[str, Any], first: Spec | None) -> Spec:
    """Return the student's spec: the task's, with the entries of its observation that the student sees."""
    names = ("layers", "encoder", "head", "dense_activation", "backbone", "mode", "initial_state")
    network = {name: options[name] for name in names if options[name] not in NETWORK_DEFAULTS}
    spec: Spec = sims.problem(options["task"], cell=options["cell"], neurons=options["neurons"], network=network).spec
    if (sensors := options["sensors"]) is not None:
        if not sensors or not 0 <= min(sensors) <= max(sensors) < spec.inputs:
            allowed = f"entries of an observation of {spec.inputs}, from 0"
            raise TrainingError(f"sensors: {sensors}; allowed: {allowed}")
        spec = replace(
            spec, inputs=len(sensors), input_names=tuple(spec.input_names[k] for k in sensors if spec.input_names),
            input_limits=None if spec.input_limits is None else tuple(spec.input_limits[k] for k in sensors),
        )  # fmt: skip
    if first is not None:
        return fitted(first, spec)
    return replace(spec, scale_inputs=spec.input_limits is not None)
