"""The command line. Only it and ``demo`` may import simulations and firmware export, and do so lazily."""

from __future__ import annotations

from typing import Annotated

import typer

import neuroctl as nc
from neuroctl.cli import (
    describing,
    evolving,
    exporting,
    imitating,
    importing,
    linking,
    looping,
    running,
    starting,
    training,
)
from neuroctl.cli.messages import Command
from neuroctl.console import out

app = typer.Typer(
    help="Small recurrent controllers: evolve in simulation, replay, export as bit-exact fixed-point C, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
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


for command, example in (
    (starting.demo, "neuroctl demo --out my-demo"),
    (starting.tasks, "neuroctl tasks"),
    (evolving.evolve, "neuroctl evolve cartpole --seed 1 --target-score 980 --out studies/cartpole"),
    (training.train, "neuroctl train --data traces.csv --inputs volt --outputs speed --cell ctrnn --out studies/motor"),
    (imitating.imitate, "neuroctl imitate quadrotor --sensors 0,1,2,6,7,8,9,10,11 --cell gru --neurons 24"),
    (evolving.compare, "neuroctl compare studies --out compare.png"),
    (evolving.plot, "neuroctl plot studies/phototaxis-0/archive.npz --out archive.png"),
    (running.run, "neuroctl run studies/cartpole/best.npz --episodes 20 --gif best.gif"),
    (running.robustness, "neuroctl robustness studies/cartpole/best.npz --out robustness.png"),
    (looping.loop, "neuroctl loop studies/cartpole/best.npz --seconds 10 --log run.mcap"),
    (describing.info, "neuroctl info studies/cartpole/best.npz"),
    (exporting.export, "neuroctl export studies/cartpole/best.npz --out firmware --name balance"),
    (exporting.verify, "neuroctl verify firmware --steps 100000"),
    (starting.bench, "neuroctl bench --json > bench.json"),
):
    app.command(cls=Command, epilog=f"Example: [bold]{example}[/bold]")(command)
app.command("import", cls=Command, epilog="Example: [bold]neuroctl import policy.pt --dt 0.02 --out policy.npz[/bold]")(
    importing.import_network
)
app.add_typer(linking.app, name="link")
