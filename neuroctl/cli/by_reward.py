"""``neuroctl train TASK``: training by reward, on tasks with compiled plants."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import typer

from neuroctl.cli.options import NETWORK_DEFAULTS
from neuroctl.cli.resuming import check_number, first_seed, read_study
from neuroctl.console import emit, log, out, plain_table, show_ends, studies_progress
from neuroctl.errors import StudyError, TaskError, TrainingError, require
from neuroctl.fixed_point import FixedPointConfig

METHODS: Final = ("ppo", "gradient")
_NETWORK: Final = {"cell": "ctrnn", "neurons": 16}


@dataclass(frozen=True)
class Asked:
    """What the command line says of a training by reward.

    Args:
        task: name of the task.
        method: name of the method.
        network: fields of the controller's spec that are given.
        settings: settings of the method that are given.
        limits: ``seconds`` and ``steps`` of the budget.
        seed: of the first training.
        seeds: number of trainings.
        fixed_point: fields of the integer controllers' storage; None: floats.
        allow_coarse: as of ``FixedPointConfig``.
        threads: how many to use; 0: one a core.
        folder: of the study, or studies.
        resume: go on with what is there.
        plot: file of a picture; None: no picture.
        as_json: print JSON.

    """

    task: str
    method: str
    network: Mapping[str, Any]
    settings: Mapping[str, Any]
    limits: Mapping[str, float]
    seed: int
    seeds: int
    fixed_point: Mapping[str, Any] | None
    allow_coarse: bool
    threads: int
    folder: Path
    resume: bool
    plot: Path | None
    as_json: bool


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings that texts such as ``gamma=0.98`` name.

    Raises:
        TrainingError: a text has another form.

    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            settings[name.strip()] = json.loads(value.strip().lower())
        except json.JSONDecodeError:
            equals = ""
        if not equals:
            raise TrainingError(f"set: {text!r}; allowed: a name and a number, true, false or null, such as gamma=0.98")
    return settings


def train_by_reward(asked: Asked) -> None:
    """Train controllers for a task, show the progress and the outcomes.

    Raises:
        TaskError: there is no such task, or it has no compiled plant.
        TrainingError: a setting or the network is not allowed.
        StudyError: a folder cannot be used, or a study there is of other options.

    """
    from neuroctl.backends.blocks import thread_count
    from neuroctl.train.study import Plan, run_trainings

    every = [asked.seed + k for k in range(asked.seeds)]
    stored: dict[str, Any] = {}
    if asked.resume:
        check_number(asked.folder, asked.seeds)
        if asked.seeds > 1:
            every = [(asked.seed or first_seed(asked.folder)) + k for k in range(asked.seeds)]
        stored = _stored(asked.folder if asked.seeds == 1 else asked.folder / f"seed-{every[0]}", asked)
        if asked.seeds == 1:
            every = [int(stored.get("seed", asked.seed))] if asked.seed == 0 else every
    folders = [asked.folder if asked.seeds == 1 else asked.folder / f"seed-{seed}" for seed in every]
    begun = [asked.resume and (len(every) == 1 or (folder / "study.json").is_file()) for folder in folders]
    workers = thread_count(asked.threads or None)
    own_threads = 1 if len(every) > 1 else workers
    ready = [_prepared(asked, stored, seed, own_threads) for seed in every]
    seconds = asked.limits.get("seconds", stored.get("notes", {}).get("budget_s"))
    with studies_progress(log, [folder.name for folder in folders]) as shown:
        for progress in shown:
            progress.stage("compiling, once")
        ready[0][0].warm_up()
        plans = [
            Plan(
                training, training.first(), config | {"notes": {"budget_s": seconds} if seconds else {}}, folder,
                resume=old, time_limit_s=seconds,
                on_epoch=partial(progress.reward_epoch, total=training.settings.total_timesteps, seconds=seconds),
            )
            for (training, config), folder, old, progress in zip(ready, folders, begun, shown, strict=True)
        ]  # fmt: skip
        results = run_trainings(plans, workers=workers)
    rows = [_row(result.to_dict(), folder, seed) for result, folder, seed in zip(results, folders, every, strict=True)]
    if asked.plot is not None:
        _plot(folders, asked.plot)
    if asked.as_json:
        emit(rows[0] if asked.seeds == 1 else {"studies": rows})
    else:
        _show(rows)
    if rows[-1]["interrupted"]:
        raise typer.Exit(130)


def _stored(folder: Path, asked: Asked) -> dict[str, Any]:
    stored = read_study(folder)
    for name, value in (("task", asked.task), ("method", asked.method)):
        if stored and stored.get(name) != value:
            there = stored.get(name)
            raise StudyError(f"{name}: {value!r}, but the study in {folder} has {there!r}; allowed: that")
    return stored


def _of_method(name: str) -> tuple[Any, Any]:
    """Return the types of a method's training and of its settings."""
    if name == "gradient":
        from neuroctl.train import PlantSettings, PlantTraining

        return PlantTraining, PlantSettings
    from neuroctl.train import PPO, PPOSettings

    return PPO, PPOSettings


def _prepared(asked: Asked, stored: Mapping[str, Any], seed: int, threads: int) -> tuple[Any, dict[str, Any]]:
    """Return the training and what determines its bits."""
    from neuroctl.spec import Spec

    kind, of_settings = _of_method(asked.method)
    sims = require("neuroctl.sims", "evolve")
    task = sims.get(asked.task)
    if not task.plant:
        compiled = ", ".join(name for name in sims.names() if sims.get(name).plant)
        raise TaskError(f"task: {asked.task!r} has no compiled plant; allowed to train by reward: {compiled}")
    defaults = dict(task.gradient if asked.method == "gradient" else task.train)
    network = {name: defaults.pop(name, value) for name, value in _NETWORK.items()} | dict(asked.network)
    given = dict(asked.settings)
    if "steps" in asked.limits:
        given["total_timesteps"] = int(asked.limits["steps"])
    if stored:
        old = Spec.from_dict(stored["spec"])
        spec = replace(old, **asked.network)
        settings = of_settings.check(stored["settings"] | given)
    else:
        cell, neurons = network.pop("cell"), network.pop("neurons")
        spec = sims.controller_spec(asked.task, neurons, cell)
        spec = replace(spec, **{name: value for name, value in network.items() if value not in NETWORK_DEFAULTS})
        if "seconds" in asked.limits and "total_timesteps" not in given:
            defaults["total_timesteps"] = None
        settings = of_settings.check(defaults | given)
    if settings.total_timesteps is None and "seconds" not in asked.limits and not stored:
        raise TrainingError("budget: None; allowed: such as 2m, 90s or 300000steps")
    fixed = asked.fixed_point or stored.get("fixed_point")
    names = ("weight_bits", "state_bits")
    storage = (
        None if fixed is None else FixedPointConfig(**{n: fixed[n] for n in names}, allow_coarse=asked.allow_coarse)
    )
    plant = require("neuroctl.sims.compiled", "evolve").plant_of(task)
    training = kind(
        spec, plant, task.max_episode_steps, settings, seed=seed, fixed_point=storage, threads=threads
    )  # fmt: skip
    config = {
        "task": asked.task, "method": asked.method, "seed": seed, "spec": spec.to_dict(),
        "settings": settings.to_dict(), "max_steps": task.max_episode_steps,
        "plant_sha256": hashlib.sha256(plant.source.encode()).hexdigest(),
    }  # fmt: skip
    if storage is not None:
        config["fixed_point"] = storage.to_dict(spec)
    return training, config


def _row(result: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """Return an outcome as plain JSON types: with the best return instead of a loss, steps and seconds."""
    from neuroctl.studies.history import read_history

    loss = result.pop("best_loss")
    columns = read_history(folder)
    done = len(columns["epoch"])
    return result | {
        "folder": str(folder), "seed": seed, "best_return": None if loss is None else -loss,
        "steps": int(columns["steps"][-1]) if done else 0, "seconds": float(columns["elapsed_s"][-1]) if done else 0.0,
        "best_steps": int(columns["steps"][result["best_epoch"] - 1]) if result["best_epoch"] else None,
    }  # fmt: skip


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    numbers = ("best return", "at step", "steps", "seconds")
    table = plain_table("Best controllers, by their mean return from unseen starts", "study", *numbers, numbers=numbers)
    for row in rows:
        best = "-" if row["best_return"] is None else f"{row['best_return']:.4g}"
        table.add_row(row["folder"], best, str(row["best_steps"]), str(row["steps"]), f"{row['seconds']:.1f}")
    out.print(table)
    show_ends(rows)


def _plot(folders: Sequence[Path], picture: Path) -> None:
    from neuroctl import plots
    from neuroctl.studies.history import groups

    compared = groups(folders)
    plots.compare(compared, picture, title="studies" if len(compared) > 1 else compared[0].label)
    log.print(f"picture: {picture}", highlight=False, soft_wrap=True)
