"""Write docs/gallery.md: from the task table, and from what was measured last, in docs/gallery.json.

python docs/make_gallery.py                     # the page
python docs/make_gallery.py --measure           # scores, sizes and pictures anew (minutes), then the page
python docs/make_gallery.py --measure arm       # of some tasks alone
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import firmware_export as fe
import neuroctl as nc
import sims
from neuroctl import io
from sims.registry import CONTROLLERS
from sims.task import Task

DOCS = Path(__file__).parent
FIGURES = DOCS / "gallery.json"
PAGE = DOCS / "gallery.md"
UNSEEN = range(5000, 5100)
PICTURED = 1000
BULLET = [name for name in sims.TASKS if not sims.get(name).plant]
# Returns of TQC, PPO, A2C and augmented random search (ARS) in RL Baselines3 Zoo's benchmark, one run each.
PUBLISHED = {
    "HalfCheetahBulletEnv-v0": ("3675", "2925", "2107", "1091"),
    "AntBulletEnv-v0": ("3457", "2866", "2497", "979"),
    "Walker2DBulletEnv-v0": ("2509", "2110", "858", "1887"),
    "HopperBulletEnv-v0": ("2662", "2575", "815", "-"),
}

HEAD = """# Gallery

The tasks that run in PyBullet, each with a hand-made baseline and, where one is given, an evolved controller that
comes with the package (`sims.pretrained("quadruped")`, `python -m sims quadruped --play`). Returns are means over
100 starts that evolution did not see (seeds 5000 to 5099), with the worst in brackets. Fixed point has 16-bit weights;
flash is that of Cortex-M0+ at `-Os`, code and tables together. A worst far below the mean is a fall. Returns of
`cartpole`, `double-pole`, `quadrotor` and `waypoints` hold a small cost of unquiet control, see
[tasks](tasks.md#quiet-control). This page is written by `python docs/make_gallery.py`.
"""


def returns(task: str, controller: Any) -> str:
    """Return mean and worst of unseen episodes."""
    found = sims.score(task, controller, UNSEEN)
    return f"{found.mean():.4g} ({found.min():.4g})"


def flash(q: nc.QuantController) -> int:
    """Return the bytes of code and tables on a Cortex-M0+."""
    with tempfile.TemporaryDirectory() as folder:
        fe.export(q, Path(folder) / "c", name="ctl")
        report = fe.verify(Path(folder) / "c", steps=1000, targets=["cortex-m0plus"])
    cost = next(row.footprint for row in report.targets if row.footprint is not None)
    return int(cost.code_small + cost.const)


def measure(task: str) -> dict[str, Any]:
    """Return a task's figures, and draw its picture."""
    pilot: Any = sims.baseline(task)
    figures: dict[str, Any] = {"starts": len(UNSEEN), "baseline": returns(task, pilot)}
    file = CONTROLLERS / f"{task}.npz"
    if file.is_file():
        model = io.load_model(file)
        pilot = nc.Controller(model.spec, model.theta)
        fixed = pilot.quantize(weight_bits=16, calibration=model.calibration)
        spec = model.spec
        figures |= {
            "float": returns(task, pilot),
            "fixed": returns(task, fixed),
            "flash": flash(fixed),
            "network": f"{spec.cell}, {spec.neurons} neurons",
        }
    picture(task, pilot)
    return figures


def measure_published(environment: str) -> dict[str, Any]:
    """Return the figures of the controller that was evolved on a published environment, if there is one."""
    file = CONTROLLERS / f"{environment}.npz"
    if not file.is_file():
        return {}
    model = io.load_model(file)
    ctl = nc.Controller(model.spec, model.theta)
    fixed = ctl.quantize(weight_bits=16, calibration=model.calibration)
    return {
        "starts": len(UNSEEN),
        "float": returns(environment, ctl),
        "fixed": returns(environment, fixed),
        "flash": flash(fixed),
        "parameters": ctl.layout.size,
    }


def picture(task: str, pilot: Any) -> None:
    """Draw an episode's middle."""
    image = nc.errors.require("PIL.Image", "viz")
    limit = min(sims.get(task).max_episode_steps, 240)
    episode = sims.record(task, pilot, PICTURED, max_steps=limit, frames=True, frame_every=limit // 4, size=(480, 360))
    (DOCS / "images").mkdir(exist_ok=True)
    image.fromarray(episode.frames[len(episode.frames) // 2]).save(DOCS / "images" / f"{task}.png", optimize=True)


def number(value: float) -> str:
    """Return a bound as text."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def table(kind: str, names: tuple[str, ...], limits: Any) -> list[str]:
    """Return a table of observations or of actions."""
    lines = [f"| index | {kind} | low | high |", "|---|---|---:|---:|"]
    for index, (name, (low, high)) in enumerate(zip(names, limits, strict=True)):
        lines.append(f"| {index} | {name} | {number(low)} | {number(high)} |")
    return lines


def section(task: Task, figures: dict[str, Any]) -> str:
    """Return what the page says of a task."""
    lines = [f"## {task.name}", "", f"{task.summary[0].upper()}{task.summary[1:]}. `{task.env_id}`,"]
    seconds = task.max_episode_steps / task.control_hz
    lines[-1] += f" {task.control_hz} control steps a second, {seconds:.3g} s at most."
    options = ", ".join(f"`{name}`" for name in sims.registry.environment(task).options)
    lines += [f"Options: {options}.", "", f"![{task.name}](images/{task.name}.png)", ""]
    lines += [f"| | return, {figures['starts']} starts |", "|---|---|", f"| baseline | {figures['baseline']} |"]
    if "float" in figures:
        lines += [
            f"| {figures['network']}, float | {figures['float']} |",
            f"| the same in fixed point | {figures['fixed']} |",
        ]
        lines += ["", f"Firmware: {figures['flash']} bytes of flash. Made by `{figures['made_by']}`."]
    lines += ["", *table("observation", task.input_names, task.input_limits)]
    lines += ["", *table("action", task.output_names, task.output_limits), ""]
    return "\n".join(lines)


def published(figures: dict[str, Any]) -> str:
    """Return what the page says of environments that others have published scores on."""
    lines = [
        "## Published environments",
        "",
        "Those of package `pybullet-envs-gymnasium` (extra `bullet-envs`), beside returns in RL Baselines3 Zoo's",
        "benchmark, one run each: TQC, PPO, A2C and augmented random search (ARS). Ours have 6 neurons:",
        "CTRNNs, and an Elman network for Hopper.",
        "",
        "| environment | starts | ours, float | ours, fixed point | parameters | flash [B] | ARS | A2C | PPO | TQC |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    have = {name: figures[name] for name in PUBLISHED if figures.get(name)}
    for name, row in have.items():
        tqc, ppo, a2c, ars = PUBLISHED[name]
        ours = f"{row['starts']} | {row['float']} | {row['fixed']} | {row['parameters']} | {row['flash']}"
        lines.append(f"| {name} | {ours} | {ars} | {a2c} | {ppo} | {tqc} |")
    lines += ["", *(f"{name}: made by `{row['made_by']}`.  " for name, row in have.items()), ""]
    return "\n".join(lines) if have else ""


def page() -> str:
    """Return the page."""
    figures = json.loads(FIGURES.read_text())
    return "\n".join([HEAD, *(section(sims.get(name), figures[name]) for name in BULLET), published(figures)])


def main() -> None:
    """Measure if asked to, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs="*", choices=[*BULLET, *PUBLISHED], help="these tasks, or all")
    arguments = parser.parse_args()
    figures = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    if arguments.measure is not None:
        for name in arguments.measure or [*BULLET, *PUBLISHED]:
            made_by = figures.get(name, {}).get("made_by", "")
            found = measure_published(name) if name in PUBLISHED else measure(name)
            figures[name] = found | ({"made_by": made_by} if made_by else {})
            print(name, figures[name])
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
