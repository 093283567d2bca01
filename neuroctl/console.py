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
    """Print a verification as a table, then the verdict in one line."""
    columns = report.columns()
    table = plain_table("every output and state word, C against the integer controller", *columns, numbers=columns[1:])
    for row in report.rows():
        table.add_row(*row)
    out.print(table)
    for line in report.notes():
        out.print(line, highlight=False, soft_wrap=True)


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
