"""Output on the terminal: tables, JSON, and the live progress of a study."""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from neuroctl.checks import printable
from neuroctl.machine import cores
from neuroctl.maths.codecache import compiling


class _Plain(Console):
    """A console that shows control characters as codes: a file's notes and a board's name may come from anybody.

    What is piped is not wrapped.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print; where nobody looks at a terminal, a text is one line, however long, and only tables fold."""
        if soft_wrap is None:
            soft_wrap = not self.is_terminal and all(isinstance(part, str) for part in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)


# No markup and no emoji: what is printed holds paths, names and notes, in which [brackets] and `env:Robot:` are text.
out: Final = _Plain(markup=False, emoji=False)
log: Final = _Plain(stderr=True, markup=False, emoji=False)

_LINE_S: Final = 10.0


def one_line_warnings() -> None:
    """Show each warning text once, on stderr, without its source location."""
    shown = set[str]()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in shown:
            print(f"warning: {printable(str(message))}", file=sys.stderr)
        shown.add(str(message))

    warnings.showwarning = show


def say_compiling() -> None:
    """Report on stderr, once, if compilation takes longer than a second."""
    compiling.tell = lambda: log.print("compiling, once", highlight=False)


def emit(data: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(data, indent=1, default=float) + "\n")


def plain_table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table without borders.

    Columns listed in ``numbers`` are right-justified. In a narrow terminal only one column wraps: the last if it holds
    text, otherwise the first if all others hold numbers.

    Args:
        title: title of the table.
        columns: headings of the columns.
        numbers: headings of the columns of numbers.

    """
    # At least as wide as its title, which would be broken into lines otherwise.
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False,
        min_width=len(title),
    )  # fmt: skip
    for column in columns:
        number = column in numbers
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    folds = table.columns[-1] if columns[-1] not in numbers else table.columns[0]
    if columns[-1] not in numbers or set(columns[1:]) <= set(numbers):
        folds.no_wrap, folds.overflow = False, "fold"
    return table


def worker_count(workers: int) -> int:
    """Return ``workers``, or the number of cores if it is 0."""
    return workers or cores()


def show_report(report: Any) -> None:
    """Print a verification report: a row for each target and toolchain, then failures, skipped targets and notes."""
    columns = ("target", "by", "steps", "result", "cost", "flash", "RAM", "stack")
    table = plain_table("C against the integer controller: every output and state word", *columns, numbers=columns[2:])
    for target in report.targets:
        table.add_row(target.target, target.tools, *_figures(target))
    out.print(table)
    legend = "cost: instructions a step (AVR: cycles); flash: code and tables at -O2/-Os, in bytes"
    out.print(legend, style="dim", highlight=False)
    skipped: dict[str, list[str]] = {}
    for target in report.targets:
        if not target.ran:
            skipped.setdefault(target.problem, []).append(f"{target.target} ({target.tools})")
        elif not target.ok:
            line = f"{target.target} ({target.tools}): {target.result}"
            out.print(line, highlight=False, soft_wrap=True, style="bold red")
    for problem, names in skipped.items():
        out.print(f"skipped: {', '.join(names)}: {problem}", highlight=False, soft_wrap=True)
    for note in report.notes:
        out.print(f"note: {note}", highlight=False, soft_wrap=True)


def _figures(target: Any) -> list[str]:
    if not target.ran:
        return ["-", "skipped", *["-"] * 4]
    figures = [str(target.steps), "ok" if target.ok else "failed" if target.problem else "WRONG"]
    cost = target.footprint
    if cost is None:
        return figures + ["-"] * 4
    flash = f"{cost.code + cost.const}/{cost.code_small + cost.const}"
    return [*figures, f"{cost.cost_mean:.0f}", flash, str(cost.ram), str(cost.stack)]


def show_ends(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print why each training ended, and where its best controller is."""
    for row in rows:
        path = row["fixed_path"] or row["best_path"]
        best = f"; best controller: {path}" if path else ""
        out.print(f"{row['folder']}: {row['stop_reason']}{best}", highlight=False, soft_wrap=True)


def show_quantization(errors: Any) -> None:
    """Print the errors of quantization by block and output, the dead zone, and the overflow certificate."""
    numbers = ("from", "to", "bits", "frac", "largest error", "rms error")
    if errors.blocks:
        table = plain_table("Formats", "block", *numbers, numbers=numbers)
        for row in errors.blocks:
            figures = [f"{row.low:.4g}", f"{row.high:.4g}", str(row.bits), str(row.frac_bits)]
            note = f" ({row.saturated} saturated)" if row.saturated else ""
            table.add_row(row.name + note, *figures, f"{row.max_error:.2g}", f"{row.rms_error:.2g}")
        out.print(table)
    inputs = "recorded inputs" if errors.recorded else "inputs that wander through their limits"
    for index, row in enumerate(errors.outputs):
        text = f"out[{index}]: {row.low:.4g} to {row.high:.4g}, fixed point within {row.max_error:.2g}"
        out.print(f"{text}, rms {row.rms_error:.2g}, on {inputs}", highlight=False)
    if errors.beyond is not None:
        clips = "; fixed point clips them" if errors.beyond.numbers else ""
        out.print(f"recorded inputs: {errors.beyond}{clips}", highlight=False, soft_wrap=True)
    if errors.state_note:
        out.print(errors.state_note, highlight=False, soft_wrap=True)
    if errors.dead_zone is not None:
        out.print(f"dead zone of the slowest neuron: {errors.dead_zone:.2g} of an input's last bit", highlight=False)
    table = plain_table(
        "Overflow certificate", "intermediate", "from", "to", "of 2^30", numbers=("from", "to", "of 2^30")
    )
    for name, (low, high) in errors.bounds.items():
        table.add_row(name, str(low), str(high), f"{100 * max(-low, high) / errors.limit:.1f} %")
    out.print(table)
    shares = [row.max_error / (row.high - row.low) for row in errors.outputs if row.high > row.low]
    if shares:
        text = f"fixed point is within {100 * max(shares):.2g} % of an output's range over these inputs"
        out.print(text, highlight=False, soft_wrap=True)


def show_groups(groups: Sequence[Any], *, as_json: bool = False) -> None:
    """Print each group's scores, mean and spread: at the end of its shortest study, and at the end of each study."""
    training, counted = groups[0].training, groups[0].counted
    scores = "losses" if training else "scores"
    rows = [
        {
            "studies": group.label,
            "seeds": list(group.seeds),
            counted: int(group.common),
            scores: [float(score) for score in group.final],
            "longest": int(group.evaluations[-1]),
            f"{scores}_at_end": [float(score) for score in group.at_end],
        }
        for group in groups
    ]
    if as_json:
        emit({"groups": rows})
        return
    numbers = ("seeds", counted, "mean", "std", *(("best", "worst") if training else ("worst", "best")))
    title = "Lowest loss, of validation where there is one" if training else "Best score on unseen episodes"
    table = plain_table(title, "studies", *numbers, numbers=numbers)
    for row in rows:
        count, common, longest = (str(number) for number in (len(row["seeds"]), row[counted], row["longest"]))
        table.add_row(row["studies"], count, common, *_spread(row[scores]))
        if common != longest:
            table.add_row(
                f"{row['studies']}, each at its end", count, f"to {longest}", *_spread(row[f"{scores}_at_end"])
            )
    out.print(table)


def _spread(scores: Sequence[float]) -> list[str]:
    """Return mean, standard deviation, least and greatest as texts."""
    values = np.array(scores)
    figures = [values.mean(), values.std(ddof=1) if len(values) > 1 else np.nan, values.min(), values.max()]
    return ["-" if np.isnan(figure) else f"{figure:.4g}" for figure in figures]


class StudyProgress:
    """Shows a study's progress. Pass it to ``run_study`` as ``on_generation``, and its ``stage`` as ``on_stage``."""

    def __init__(self, show: Callable[[str, float], None]):
        self._show = show
        self._begin, self._best = time.monotonic(), -math.inf

    def stage(self, text: str) -> None:
        """Show a stage before the first generation, and stop the separate report of compilation."""
        compiling.tell = None
        self._show(text, 0.0)

    def __call__(self, progress: Any) -> None:
        """Show the figures of a generation."""
        spent = time.monotonic() - self._begin
        self._show(_line(progress), spent / max(spent + progress.left_s, 1e-9))

    def epoch(self, row: Any, epochs: int) -> None:
        """Show the figures of an epoch of a training."""
        unseen = "" if np.isnan(row.validation) else f" unseen {row.validation:.4g}"
        figures = f"epoch {row.epoch} of {epochs} loss {row.loss:.4g}{unseen}"
        self._show(f"{figures} rate {row.learning_rate:.2g}", row.epoch / epochs)

    def round(self, row: Any, rounds: int) -> None:
        """Show the figures of a round of a training by a teacher."""
        figures = f"round {row.epoch} of {rounds} error {row.error:.4g} unseen return {row.validation:.4g}"
        self._show(figures, row.epoch / rounds)

    def reward_epoch(self, row: Any, total: int | None, seconds: float | None) -> None:
        """Show the figures of an epoch of a training by reward, of so many steps or seconds in all."""
        if not np.isnan(row.validation):
            self._best = max(self._best, row.validation)
        shares = [row.steps / total] if total else []
        shares += [(time.monotonic() - self._begin) / seconds] if seconds else []
        text = f"epoch {row.epoch} steps {row.steps:,} unseen {self._best:.4g} {row.shown}"
        self._show(text, min(max(shares, default=0.0), 1.0))


@contextmanager
def study_progress(console: Console, title: str) -> Iterator[StudyProgress]:
    """Show a progress bar, the figures of the last generation and the time left while a study runs.

    If the output is not a terminal, print lines instead: the first at once, then at most one every 10 s.
    """
    with studies_progress(console, [title]) as (progress,):
        yield progress


@contextmanager
def studies_progress(console: Console, titles: Sequence[str]) -> Iterator[list[StudyProgress]]:
    """Show the progress of studies that run side by side, as ``study_progress`` does for one."""
    if not console.is_terminal:
        printers = [_Lines(console, title) for title in titles]
        try:
            yield [StudyProgress(lines.show) for lines in printers]
        finally:
            for lines in printers:
                lines.flush()
        return
    # The bar, the longest figures and two spaces; a long name is cut, and not the figures.
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width - 72))
    columns = (
        TextColumn("{task.description}", style="bold", markup=False, table_column=name),
        BarColumn(bar_width=5),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console) as bar:

        def row(title: str) -> StudyProgress:
            task = bar.add_task(title, total=1.0, figures="")
            return StudyProgress(lambda text, done: bar.update(task, completed=done, figures=text))

        yield [row(title) for title in titles]


class _Lines:
    """Prints the first line of each kind at once, then one in 10 s, and the last."""

    def __init__(self, console: Console, title: str):
        self._console, self._title = console, title
        self._printed_at, self._waiting = -math.inf, ""

    def show(self, text: str, done: float) -> None:
        self._waiting = text
        if not done or time.monotonic() - self._printed_at >= _LINE_S:
            self.flush()
            self._printed_at = time.monotonic() if done else -math.inf

    def flush(self) -> None:
        if self._waiting:
            self._console.print(f"{self._title}: {self._waiting}", highlight=False, soft_wrap=True)
        self._waiting = ""


def _line(progress: Any) -> str:
    """Return a generation's figures."""
    unseen = "-" if progress.best_validation is None else f"{progress.best_validation:.4g}"
    figures = f"gen {progress.generation + 1} best {progress.best:.4g} med {progress.median:.3g} unseen {unseen}"
    rate = f"{progress.evals_per_s:.0f}" if progress.evals_per_s >= 10 else f"{progress.evals_per_s:.1f}"
    minutes, seconds = divmod(round(progress.left_s), 60)
    left = f"{minutes}:{seconds:02d}" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}"
    return f"{figures} sigma {progress.sigma:.2g} {rate}/s {left} left"
