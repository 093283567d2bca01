"""Plots of studies: learning curves, comparisons over seeds, archives of behaviors, and Pareto fronts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.evolve.goals import MINUS
from neuroctl.plots.style import BLUE, COLORS, GREY, ORANGE, figure_of, new_figure, save
from neuroctl.studies.history import Group

Array = NDArray[Any]

_STYLES: Final = ("-", "--", ":", "-.")  # each with all colors in turn

_COUNTED: Final = {
    "evaluations": "evaluations (one = all episodes of one controller)", "steps": "steps of the plant",
    "episodes": "episodes",
}  # fmt: skip


def learning_curve(
    history: Mapping[str, Array], path: str | os.PathLike[str], *, title: str, goal: float | None = None
) -> None:
    """Plot fitness over evaluations as a PNG.

    Args:
        history: columns of ``history.csv``, see ``studies.history``: evaluations, best, median, worst, best_validation.
        path: the file.
        title: title of the plot.
        goal: best possible return, drawn as a dashed line; None for no line.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure, (axis,) = new_figure(1, 4.2)
    x = np.asarray(history["evaluations"], float)
    axis.fill_between(x, history["worst"], history["best"], color=BLUE, alpha=0.15, linewidth=0, label="population")
    axis.plot(x, history["median"], color=BLUE, linewidth=1.8, label="median")
    axis.plot(x, history["best_validation"], color=ORANGE, linewidth=2.0, label="best so far, on unseen starts")
    if goal is not None:
        axis.axhline(goal, color=GREY, linestyle="--", linewidth=1.2, label="best possible")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("evaluations (one = all episodes of one controller)")
    axis.set_ylabel("return")
    axis.set_title(title, loc="left", fontweight="bold")
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    save(figure, path)


def losses(histories: Mapping[str, Mapping[str, Array]], path: str | os.PathLike[str]) -> None:
    """Plot the losses of trainings over epochs as a PNG, on a log scale: dashed on what was trained on, else unseen.

    Args:
        histories: columns of each training's ``history.csv`` by its name.
        path: the file.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure, (axis,) = new_figure(1, 4.2)
    for k, (name, history) in enumerate(histories.items()):
        color = COLORS[k % len(COLORS)]
        axis.plot(history["epoch"], history["loss"], "--", color=color, linewidth=1.2, label=f"{name}, trained on")
        if not np.isnan(history["validation"]).all():
            axis.plot(history["epoch"], history["validation"], color=color, linewidth=2.0, label=f"{name}, unseen")
    axis.set_yscale("log")
    axis.set_xlabel("epoch")
    axis.set_ylabel("loss")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    save(figure, path)


def compare(groups: Sequence[Group], path: str | os.PathLike[str], *, title: str) -> None:
    """Plot the best score so far over evaluations, or the lowest loss over steps, for each group of studies.

    A line shows the median over the seeds, a band the range from the worst to the best seed. A finished study keeps its
    final score, so that the median never gets worse. A dotted line marks the end of the group's shortest study, if the
    studies differ in length.

    Args:
        groups: groups of studies, see ``studies.history``; one color each.
        path: the file.
        title: title of the plot.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure, (axis,) = new_figure(1, 4.6)
    training = groups[0].training
    best = np.fmin if training else np.fmax
    for k, group in enumerate(groups):
        color, style = COLORS[k % len(COLORS)], _STYLES[k // len(COLORS) % len(_STYLES)]
        shown = ~np.isnan(group.scores).all(axis=0)  # where any of the studies has a score
        x, scores = group.evaluations[shown], best.accumulate(group.scores[:, shown], axis=1)
        if not len(x):
            continue
        seeds = f"{len(group.seeds)} seed{'s' if len(group.seeds) > 1 else ''}"
        if group.common < group.evaluations[-1]:
            seeds += f"; dotted: the shortest ended after {group.common:.0f}"
        low, middle, high = np.nanmin(scores, axis=0), np.nanmedian(scores, axis=0), np.nanmax(scores, axis=0)
        axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        label = f"{group.label} ({seeds})"
        if len(x) == 1:  # a line of one point is invisible
            axis.errorbar(x, middle, [middle - low, high - middle], fmt="o", color=color, capsize=4.0, label=label)
        else:
            axis.plot(x, middle, style, color=color, linewidth=2.0, label=label)
        if group.common < group.evaluations[-1]:
            axis.axvline(group.common, color=color, linestyle=":", linewidth=1.2)
    axis.set_xlim(left=0)
    if training:
        axis.set_yscale("log")
    axis.set_xlabel("steps of the optimizer" if training else _COUNTED[groups[0].counted])
    axis.set_ylabel("lowest loss so far" if training else "best so far, on unseen starts")
    axis.set_title(f"{title}: median, worst to best seed", loc="left", fontweight="bold")
    if axis.get_legend_handles_labels()[0]:
        figure.legend(frameon=False, loc="outside lower center", ncols=2)
    else:
        axis.text(0.5, 0.5, "no score is a number", transform=axis.transAxes, ha="center", color=GREY)
    save(figure, path)


def archive(fields: Mapping[str, Any], arrays: Mapping[str, Array], path: str | os.PathLike[str]) -> None:
    """Plot an archive's cells: bars of fitness over one measure, or colors of fitness over the first two.

    With a third measure, each cell shows its best fitness over that measure.

    Args:
        fields: measures, cells per measure and task name, as in ``archive.npz``.
        arrays: fitness ``[E]`` and measures ``[E, measures]`` of E elites.
        path: the file.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    measures, cells = fields["measures"], int(fields["cells"])
    shown = measures[:2]
    grid = np.full((cells,) * len(shown), -np.inf)
    places = [
        np.clip(((column - m["low"]) / (m["high"] - m["low"]) * cells).astype(int), 0, cells - 1)
        for column, m in zip(arrays["measures"].T, shown, strict=False)
    ]
    np.maximum.at(grid, tuple(places), arrays["fitness"])
    grid[np.isinf(grid)] = np.nan
    figure = figure_of(6.4, 5.2)
    axis = figure.subplots()
    if len(shown) == 1:
        edges = np.linspace(shown[0]["low"], shown[0]["high"], cells + 1)
        axis.bar(edges[:-1], grid, width=np.diff(edges), align="edge", color=BLUE)
        axis.set_ylabel("fitness")
    else:
        extent = (shown[0]["low"], shown[0]["high"], shown[1]["low"], shown[1]["high"])
        image = axis.imshow(grid.T, origin="lower", extent=extent, aspect="auto", cmap="viridis")
        figure.colorbar(image, ax=axis, label="fitness", shrink=0.9)
        axis.set_ylabel(shown[1]["name"])
    axis.set_xlabel(shown[0]["name"])
    filled = len(arrays["fitness"])
    axis.set_title(
        f"{fields['task']}: {filled} of {cells ** len(measures)} cells filled", loc="left", fontweight="bold"
    )
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def front(fields: Mapping[str, Any], arrays: Mapping[str, Array], path: str | os.PathLike[str]) -> None:
    """Plot a Pareto front: one panel for each goal besides the fitness, over the fitness.

    A line connects the genomes on the front of the panel's two goals. The other genomes, in gray, owe their place to a
    goal of another panel.

    Args:
        fields: measures and task name, as in ``front.npz``.
        arrays: values ``[F, 1 + measures]`` of F genomes.
        path: the file.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    measures, values = fields["measures"], arrays["values"]
    figure, axes = new_figure(len(measures), 1.0 + 3.4 * len(measures))
    for k, (axis, measure) in enumerate(zip(axes, measures, strict=True), 1):
        cost = measure["name"].startswith(MINUS)  # minus the cost is maximized; people read the cost
        sign = -1.0 if cost else 1.0
        axis.plot(values[:, 0], sign * values[:, k], "o", color=GREY, markersize=4.5, alpha=0.7)
        x, y = _staircase(values[:, 0], values[:, k])
        axis.step(x, sign * y, "o-", where="pre", color=BLUE, markersize=5.0, linewidth=1.4)
        axis.set_ylabel(measure["name"].removeprefix(MINUS) + (" (less is better)" if cost else ""))
    axes[-1].set_xlabel("fitness")
    axes[0].set_title(f"{fields['task']}: {len(values)} genomes that none beats", loc="left", fontweight="bold")
    save(figure, path)


def _staircase(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the Pareto front of points, by rising x."""
    order = np.lexsort((-y, -x))
    best = np.maximum.accumulate(y[order])
    optimal = order[np.concatenate([[True], best[1:] > best[:-1]])][::-1]
    return x[optimal], y[optimal]
