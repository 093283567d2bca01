"""``python -m sims TASK``: evolve on a task, watch its pretrained controller or its baseline, or measure its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuroctl.console import out, plain_table
from neuroctl.errors import TaskError, require

sims = require("neuroctl.sims", "evolve")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]python -m sims quadruped --play --gif quadruped.gif[/bold]",
)
def main(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="See `neuroctl tasks`; options may follow: cartpole,noise=0.02.")],
    evolve: Annotated[
        bool, typer.Option("--evolve", help="Evolve; further options are those of `neuroctl evolve`.")
    ] = False,
    play: Annotated[bool, typer.Option("--play", help="Watch the controller that ships with the task.")] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Score the task's hand-written controller, or record it with --gif.")
    ] = False,
    bench: Annotated[bool, typer.Option("--bench", help="Measure the task's own share of a control step.")] = False,
    gif: Annotated[Path | None, typer.Option(help="Write a GIF, without a display.")] = None,
    episodes: Annotated[
        int | None, typer.Option(help="Number of episodes to score (default 10), or per fitness with --evolve.", min=1)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first episode (default 1000), or of the evolution.", min=0)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback instead of a one-line error.")] = False,
) -> None:
    """Evolve a controller for a task, watch its pretrained controller, score its baseline, or measure its speed."""
    chosen = [name for name, on in (("evolve", evolve), ("play", play), ("baseline", baseline), ("bench", bench)) if on]
    if len(chosen) != 1:
        raise TaskError(f"mode: {' '.join(chosen) or 'none'}; allowed: one of --evolve, --play, --baseline, --bench")
    if context.args and not evolve:
        raise TaskError(f"option: {context.args[0]!r}; allowed: those of `python -m sims --help`")
    if gif is not None and not (play or baseline):
        raise TaskError(f"gif: {str(gif)!r}; allowed: with --play or --baseline")
    from neuroctl.cli import app as cli
    from neuroctl.cli.options import check_pictures

    check_pictures(gif=gif)
    if evolve:
        shared = {"--episodes": episodes, "--seed": seed}
        forwarded = [text for name, value in shared.items() if value is not None for text in (name, str(value))]
        code = cli(["evolve", task, *forwarded, *context.args], standalone_mode=False)
        raise typer.Exit(code or 0)
    elif bench:
        _bench(task)
    else:
        first = 1000 if seed is None else seed
        seeds = range(first, first + (episodes or 10))
        _watch(task, sims.baseline(task) if baseline else sims.pretrained(task), gif, seeds, play)


def _watch(task: str, controller: Any, gif: Path | None, seeds: range, play: bool) -> None:
    if gif is not None:
        from neuroctl import plots

        every = plots.frame_every(sims.get(task).control_dt_s)
        episode = sims.record(task, controller, seeds[0], frames=True, frame_every=every)
        plots.gif(episode.frames, gif, frame_s=every * episode.control_dt_s)
        out.print(f"return {episode.total_return:.4g}   GIF: {gif}", highlight=False, soft_wrap=True)
        return
    if play:
        sims.show(task, controller, seeds[0])
        return
    table = plain_table("", "seed", "return", numbers=("seed", "return"))
    returns = sims.score(task, controller, seeds)
    for number, value in zip(seeds, returns, strict=True):
        table.add_row(str(number), f"{value:.4g}")
    out.print(table)
    out.print(f"mean {returns.mean():.4g}   worst {returns.min():.4g}   best {returns.max():.4g}", highlight=False)


def _bench(task: str) -> None:
    from .bench import overhead

    cost = overhead(task)
    out.print(
        f"{task}: a control step takes {cost.physics_us:.1f} us in the physics engine, {cost.task_us:.1f} us in the "
        f"task and {cost.controller_us:.2f} us in a controller: {100 * cost.share:.0f} % over bare stepping",
        highlight=False,
        soft_wrap=True,
    )
