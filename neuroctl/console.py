"""What the terminal shows: tables, JSON, and the live progress of a study."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

out: Final = Console()
log: Final = Console(stderr=True)


def emit(data: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(data, indent=1, default=float) + "\n")


def plain_table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the house's style; columns in ``numbers`` are set flush right."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return table


def worker_count(asked: int) -> int:
    """Return the number of worker processes: 0 means one a core."""
    return asked or len(os.sched_getaffinity(0))


def show_report(report: Any) -> None:
    """Print a verification: a row a target, then what went wrong, if anything."""
    columns = ("target", "steps", "mismatches", "self-test", "instr", "code", "const", "RAM", "stack")
    table = plain_table("C against the integer controller: every output and state word", *columns, numbers=columns[1:])
    for target in report.targets:
        table.add_row(target.target, *_figures(target))
    out.print(table)
    legend = "instructions a step; sizes in bytes; built with -O2, without the self-test"
    out.print(legend, style="dim", highlight=False)
    for target in report.targets:
        if not target.ok:
            out.print(f"{target.target}: {target.result}", highlight=False, soft_wrap=True, style="bold red")
    for note in report.notes:
        out.print(f"note: {note}", highlight=False, soft_wrap=True)


def _figures(target: Any) -> list[str]:
    if not target.ran:
        return ["-"] * 8
    selftest = "-" if target.selftest is None else ("failed" if target.selftest else "passed")
    figures = [str(target.steps), str(target.mismatches), selftest]
    cost = target.footprint
    if cost is None:
        return figures + ["-"] * 5
    return figures + [f"{cost.instructions_mean:.0f}", *map(str, (cost.code, cost.const, cost.ram, cost.stack))]


@contextmanager
def study_progress(console: Console, title: str, generations: int) -> Iterator[Callable[[Any], None]]:
    """Show a bar and the figures of the last generation while a study runs.

    Yields:
        The function to pass to ``run_study`` as ``on_generation``.

    """
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(title, total=generations, figures="starting workers")

        def on_generation(progress: Any) -> None:
            unseen = "-" if progress.best_validation is None else f"{progress.best_validation:.0f}"
            figures = f"best {progress.best:.0f} med {progress.median:.0f} unseen {unseen} {progress.evals_per_s:.0f}/s"
            bar.update(row, completed=progress.generation + 1, figures=figures)

        yield on_generation
