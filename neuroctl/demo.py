"""``neuroctl demo``: from evolution in simulation to verified firmware, in one go."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import neuroctl as nc
from neuroctl import console, io, plots
from neuroctl.errors import FileFormatError, require
from neuroctl.evolve import Encoding, StudyConfig, run_study
from neuroctl.studies.history import read_history

TASK: Final = "cartpole"
STEPS: Final = 1000  # an episode's length; a balanced pole stands for all of it
QUIET: Final = 980.0  # a mean return that no pole earns that swings on: see the reward of sims/bullet/cartpole.py
UNSEEN: Final = 100  # starts used neither by the search nor for choosing the best
UNSEEN_SEED: Final = 1_000_000
GIF_STEPS: Final = 480  # 8 s of the episode
NAME: Final = "balance"
VERIFIED: Final = ("host", "cortex-m0plus", "cortex-m4")


@dataclass(frozen=True)
class Balanced:
    """How a controller balances from the unseen starts.

    Args:
        starts: number of starts from which it balanced to the end.
        mean: mean return.
        angle_deg: RMS of the pole's angle over the second half of the balanced episodes, in degrees.
        force_n: RMS of the force there, in newtons. Both are None if none was balanced.

    """

    starts: int
    mean: float
    angle_deg: float | None
    force_n: float | None


def run_demo(out_dir: Path, *, seed: int, workers: int, force: bool, as_json: bool) -> bool:
    """Evolve, plot, compare float with fixed point, export and verify.

    Args:
        out_dir: folder to make.
        seed: seed of the evolution.
        workers: number of evaluating processes.
        force: replace an earlier demo's folder.
        as_json: print one JSON object instead of the closing table.

    Returns:
        True if the firmware was verified bit for bit.

    Raises:
        NeuroctlError: the folder exists or cannot be made, or an extra is missing.

    """
    started = time.monotonic()
    sims, firmware = require("neuroctl.sims", "evolve"), require("neuroctl.firmware_export", "export")
    for module, extra in (("matplotlib", "viz"), ("PIL", "viz"), ("jinja2", "export"), ("pybullet", "sim")):
        require(module, extra)
    _make_folder(out_dir, force)

    ctl, study = _evolve(sims, out_dir / "study", seed, workers)
    history = read_history(out_dir / "study")
    plots.learning_curve(history, out_dir / "learning_curve.png", title="cart-pole, CTRNN", goal=STEPS)

    first = sims.record(TASK, ctl, UNSEEN_SEED)
    quant = ctl.quantize(calibration=first.observations)
    second = sims.record(TASK, quant, UNSEEN_SEED)
    ctl.save(out_dir / "controller.npz", meta={"task": TASK, "seed": seed}, calibration=first.observations)
    _plot_episode(first, second, ctl.spec.dt_s, out_dir / "episode.png")
    every = plots.frame_every(ctl.spec.dt_s)
    shown = sims.record(TASK, ctl, UNSEEN_SEED, GIF_STEPS, frames=True, frame_every=every)
    plots.gif(shown.frames, out_dir / "episode.gif", frame_s=every * ctl.spec.dt_s)

    with console.log.status("balancing from 100 unseen starts, in float and in fixed point"):
        scores = {"float32": _balanced(sims, ctl), "fixed point": _balanced(sims, quant)}
    with console.log.status("exporting C, building it for three targets and comparing every bit"):
        header = firmware.export(quant, out_dir / "firmware", name=NAME)
        report = firmware.verify(out_dir / "firmware", targets=VERIFIED)
    seconds = time.monotonic() - started
    if as_json:
        console.emit(_summary(scores, study, report, header, seconds))
    else:
        _show(out_dir, scores, study, report, header, seconds)
    return bool(report.ok)


def _make_folder(out_dir: Path, force: bool) -> None:
    """Make the demo's folder; with ``force`` an earlier demo there, known by its study, is removed first.

    A symbolic link is refused: what would be removed is a folder of another name.
    """
    if out_dir.is_symlink():
        raise FileFormatError(f"out: {out_dir} is a symbolic link; allowed: a new folder")
    if out_dir.exists():
        is_demo = (out_dir / "study" / "study.json").is_file()
        if not force or not is_demo:
            hint = "a new folder, or --force to replace an earlier demo" if is_demo else "a new folder"
            raise FileFormatError(f"out: {out_dir} exists; allowed: {hint}")
        shutil.rmtree(out_dir)
    try:
        out_dir.mkdir(parents=True)
    except OSError as error:
        raise FileFormatError(f"out: {out_dir} cannot be made: {error.strerror}") from None


def _evolve(sims: Any, folder: Path, seed: int, workers: int) -> tuple[nc.Controller, Any]:
    search = sims.get(TASK).search
    config = StudyConfig(
        spec=sims.controller_spec(TASK, neurons=search["neurons"]),
        task=TASK,
        seed=seed,
        population=search["population"],
        episodes=search["episodes"],
        validation_episodes=search["validation"],
        sigma0=search["sigma0"],
        racing=True,
        encoding=Encoding(fixed=dict.fromkeys((text.removesuffix("=0") for text in search["fix"]), 0.0)),
        target_score=QUIET,
    )
    with console.study_progress(console.log, TASK) as shown:
        study = run_study(
            config,
            sims.EpisodeReturn(TASK),
            folder,
            workers=workers,
            on_generation=shown,
            on_stage=shown.stage,
        )
    if study.interrupted:
        console.log.print(f"interrupted; best so far: {study.best_path}", highlight=False, soft_wrap=True)
        raise KeyboardInterrupt
    model = io.load_model(study.best_path)
    return nc.Controller(model.spec, model.theta, meta=model.meta), study


def _balanced(sims: Any, ctl: nc.Controller | nc.QuantController) -> Balanced:
    episodes = list(sims.records(TASK, ctl, range(UNSEEN_SEED, UNSEEN_SEED + UNSEEN)))
    balanced = [episode for episode in episodes if episode.steps == STEPS and not episode.terminated]
    halves = [
        np.column_stack([episode.observations[STEPS // 2 :, 1], episode.actions[STEPS // 2 :, 0]])
        for episode in balanced
    ]
    mean = float(np.mean([episode.total_return for episode in episodes]))
    if not halves:
        return Balanced(0, mean, None, None)
    angle_rad, force_n = np.sqrt(np.mean(np.square(halves), axis=(0, 1)))
    return Balanced(len(balanced), mean, math.degrees(angle_rad), float(force_n))


def _plot_episode(first: Any, second: Any, dt_s: float, path: Path) -> None:
    signals = [
        ("cart [m]", first.observations[:, 0], second.observations[:, 0]),
        ("pole [deg]", np.rad2deg(first.observations[:, 1]), np.rad2deg(second.observations[:, 1])),
        ("force [N]", first.actions[:, 0], second.actions[:, 0]),
    ]
    plots.episode(signals, dt_s, path, title="one episode from the same start")


def _summary(scores: dict[str, Balanced], study: Any, report: Any, header: Path, seconds: float) -> dict[str, Any]:
    return {
        "balanced": {form: score.starts for form, score in scores.items()},
        "mean_return": {form: score.mean for form, score in scores.items()},
        "angle_deg": {form: score.angle_deg for form, score in scores.items()},
        "force_n": {form: score.force_n for form, score in scores.items()},
        "unseen_starts": UNSEEN,
        "study": study.to_dict(),
        "verify": report.to_dict(),
        "header": str(header),
        "seconds": seconds,
    }


def _show(out_dir: Path, scores: dict[str, Balanced], study: Any, report: Any, header: Path, seconds: float) -> None:
    columns = ("controller", "balanced", "mean return", "pole", "force")
    table = console.plain_table(f"cart-pole without velocities, {UNSEEN} unseen starts", *columns, numbers=columns[1:])
    for form, score in scores.items():
        quiet = ("-", "-") if score.force_n is None else (f"{score.angle_deg:.2g} deg", f"{score.force_n:.2g} N")
        table.add_row(form, f"{score.starts} of {UNSEEN}", f"{score.mean:.1f} of {STEPS}", *quiet)
    console.out.print(table)
    console.out.print("pole, force: RMS over the second half of an episode of 16.7 s", highlight=False)
    console.show_report(report)
    for path, what in (
        (out_dir / "learning_curve.png", f"{study.generations} generations, {study.evaluations} evaluations"),
        (out_dir / "episode.png", "one episode, float against fixed point"),
        (out_dir / "episode.gif", "the robot"),
        (out_dir / "controller.npz", "the controller: neuroctl info, run, export"),
        (out_dir / "study", "the study: its history, checkpoint and best controller"),
        (header, "the firmware: one C99 header"),
    ):
        console.out.print(f"{path}  {what}", highlight=False, soft_wrap=True)
    console.out.print(f"done in {seconds:.0f} s", highlight=False)
