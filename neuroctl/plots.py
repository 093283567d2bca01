"""Pictures: learning curve, one episode in float and fixed point, and GIFs. Needs the extra ``viz``."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import real
from neuroctl.errors import FileFormatError, require
from neuroctl.io import atomic_write, check_writable
from neuroctl.report import Quantisation, bits_of
from neuroctl.sweep import Point

Array = NDArray[Any]

BLUE: Final = "#2563a8"
ORANGE: Final = "#d9661f"
GREY: Final = "#8a8f98"


def new_figure(rows: int, height: float) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, one above the other. No pyplot: nothing global, no display needed."""
    figure_class = require("matplotlib.figure", "viz").Figure
    figure = figure_class(figsize=(8.0, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#e6e8eb", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, list(axes)


def _legend_above(axis: Any) -> None:
    """Put the legend at the right end of the headline, where no curve runs."""
    axis.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, ncols=2)


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG, whole or not at all.

    Raises:
        FileFormatError: the name does not end in .png, or the file cannot be written.

    """
    check_writable("picture", path, ".png")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    atomic_write(path, buffer.getvalue())


def learning_curve(
    history: Mapping[str, Array], path: str | os.PathLike[str], *, title: str, goal: float | None = None
) -> None:
    """Plot fitness over evaluations as a PNG.

    Args:
        history: columns of ``history.csv``, see ``studies.history``: evaluations, best, median, worst, best_validation.
        path: where to.
        title: headline.
        goal: the best possible return, drawn as a dashed line.

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


def episode(
    signals: Sequence[tuple[str, Array, Array]], dt_s: float, path: str | os.PathLike[str], *, title: str
) -> None:
    """Plot one episode, float against fixed point, as a PNG.

    Args:
        signals: (label with unit, float trajectory ``[T]``, fixed-point trajectory ``[T']``), one panel each.
        dt_s: time between two samples.
        path: where to.
        title: headline.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure, axes = new_figure(len(signals), 1.2 + 1.9 * len(signals))
    for axis, (label, float_y, fixed_y) in zip(axes, signals, strict=True):
        axis.plot(np.arange(len(float_y)) * dt_s, float_y, color=BLUE, linewidth=1.8, label="float32")
        axis.plot(np.arange(len(fixed_y)) * dt_s, fixed_y, color=ORANGE, linewidth=1.0, label="fixed point")
        axis.set_ylabel(label)
    axes[0].set_title(title, loc="left", fontweight="bold")
    _legend_above(axes[0])
    axes[-1].set_xlabel("time [s]")
    axes[-1].set_xlim(0, max(len(s[1]) for s in signals) * dt_s)
    save(figure, path)


def quantisation(found: Quantisation, path: str | os.PathLike[str]) -> None:
    """Plot what quantising did as a PNG: up to three outputs in float and fixed point, and the bits that sums take.

    Args:
        found: the report.
        path: where to.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    shown = min(3, found.fixed.shape[1])
    figure = require("matplotlib.figure", "viz").Figure(
        figsize=(9.0, 1.8 + 1.5 * shown + 0.22 * len(found.bounds)), layout="constrained"
    )
    axes = figure.subplots(shown + 1, 1, height_ratios=[1.5] * shown + [0.22 * len(found.bounds) + 0.4])
    for index, axis in enumerate(axes[:-1]):
        if found.exact is not None:
            axis.plot(found.time_s, found.exact[:, index], color=BLUE, linewidth=2.0, label="float32")
        axis.plot(found.time_s, found.fixed[:, index], color=ORANGE, linewidth=1.0, label="fixed point")
        axis.set_ylabel(f"out[{index}]")
        axis.set_xlim(0, max(float(found.time_s[-1]), 1e-9))
    inputs = "recorded inputs" if found.recorded else "inputs that wander through their limits"
    axes[0].set_title(f"outputs to {inputs}", loc="left", fontweight="bold")
    _legend_above(axes[0])
    axes[-2].set_xlabel("time [s]")
    names = list(found.bounds)[::-1]
    bits = [bits_of(found.bounds[name]) for name in names]
    axes[-1].barh(names, bits, color=BLUE, height=0.6)
    axes[-1].axvline(bits_of((0, found.limit)), color=ORANGE, linestyle="--")
    axes[-1].set_xlim(0, 32)
    axes[-1].set_xlabel("bits that the largest magnitude takes")
    axes[-1].set_title("overflow certificate; dashed: the limit, 2^30", loc="left", fontweight="bold")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#e6e8eb", linewidth=0.8)
        axis.set_axisbelow(True)
    save(figure, path)


def sweep(points: Sequence[Point], path: str | os.PathLike[str], *, title: str) -> None:
    """Plot return against bytes of flash as a PNG; the float form is a dashed line.

    Args:
        points: the float form first.
        path: where to.
        title: headline.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure, (axis,) = new_figure(1, 4.2)
    axis.axhline(points[0].mean_return, color=GREY, linestyle="--", linewidth=1.2, label=points[0].form)
    fixed = [point for point in points[1:] if not point.problem]
    axis.plot([p.flash_bytes for p in fixed], [p.mean_return for p in fixed], "o", color=BLUE, label="mean")
    axis.plot([p.flash_bytes for p in fixed], [p.worst_return for p in fixed], "v", color=ORANGE, label="worst episode")
    for point in fixed:
        place = (point.flash_bytes, point.mean_return)
        axis.annotate(point.form, place, xytext=(6, 6), textcoords="offset points", fontsize=9)
    axis.set_xlabel("flash [B]: code, tables and weights")
    axis.set_ylabel("return")
    axis.set_title(title, loc="left", fontweight="bold")
    axis.margins(x=0.15, y=0.15)
    if min(point.worst_return for point in [points[0], *fixed]) >= 0:
        axis.set_ylim(bottom=0)
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    save(figure, path)


def robustness(
    returns: Array,
    noises: Sequence[float],
    latencies: Sequence[int],
    path: str | os.PathLike[str],
    *,
    title: str,
    dt_s: float,
) -> None:
    """Plot the mean return under noise and latency as a PNG.

    Args:
        returns: ``[noises, latencies]``.
        noises: standard deviations, as shares of half an observation's range.
        latencies: in control steps.
        path: where to.
        title: headline.
        dt_s: length of a control step.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure = require("matplotlib.figure", "viz").Figure(
        figsize=(2.2 + 0.95 * max(4, len(latencies)), 1.8 + 0.6 * max(3, len(noises))), layout="constrained"
    )
    axis = figure.subplots()
    image = axis.imshow(returns, origin="lower", aspect="auto", cmap="viridis")
    middle = 0.5 * (float(np.min(returns)) + float(np.max(returns)))
    for (i, k), value in np.ndenumerate(returns):
        axis.text(k, i, f"{value:.4g}", ha="center", va="center", color="white" if value <= middle else "black")
    axis.set_xticks(range(len(latencies)), [f"{steps}\n{1e3 * steps * dt_s:.3g} ms" for steps in latencies])
    axis.set_yticks(range(len(noises)), [f"{noise:g}" for noise in noises])
    axis.set_xlabel("latency [control steps]")
    axis.set_ylabel("noise (standard deviation / half the range)")
    axis.set_title(title, loc="left", fontweight="bold")
    figure.colorbar(image, ax=axis, label="mean return")
    save(figure, path)


def gait(feet_down: Array, legs: Sequence[str], dt_s: float, path: str | os.PathLike[str], *, title: str) -> None:
    """Plot which legs stand on the ground, as a PNG: one bar a leg, dark while it stands.

    Args:
        feet_down: bool[T, legs].
        legs: their names.
        dt_s: time between two rows, in seconds.
        path: where to.
        title: headline; each leg's share of standing (its duty factor) stands beside its bar.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    down = np.asarray(feet_down, bool)
    figure, (axis,) = new_figure(1, 1.2 + 0.42 * len(legs))
    for row, standing in enumerate(down.T):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], standing.astype(int), [0]])))
        spans = [(dt_s * begin, dt_s * (end - begin)) for begin, end in edges.reshape(-1, 2)]
        axis.broken_barh(spans, (row - 0.36, 0.72), color=BLUE)
        axis.text(1.01, row, f"{100 * standing.mean():.0f} %", transform=axis.get_yaxis_transform(), va="center")
    axis.set_yticks(range(len(legs)), legs)
    axis.set_ylim(len(legs) - 0.5, -0.5)
    axis.set_xlim(0, dt_s * len(down))
    axis.set_xlabel("time [s]; bars: the leg stands on the ground; at the right: for which share of the time")
    axis.set_title(title, loc="left", fontweight="bold")
    save(figure, path)


def frame_every(dt_s: float) -> int:
    """Return how many control steps lie between two frames at about 20 frames a second."""
    return max(1, round(0.05 / dt_s))


def gif(frames: Sequence[Array], path: str | os.PathLike[str], *, frame_s: float) -> None:
    """Write frames, uint8 ``[H, W, 3]``, as an endless GIF with ``frame_s`` seconds a frame on average.

    Raises:
        BackendUnavailable: Pillow is missing.
        FileFormatError: there is no frame, the time is not above 0, or the file is no .gif or cannot be written.

    """
    check_writable("gif", path, ".gif")
    if not len(frames) or not 0 < real(frame_s) < np.inf:
        raise FileFormatError(f"gif: {len(frames)} frames of {frame_s!r} s; allowed: one or more, seconds above 0")
    image = require("PIL.Image", "viz")
    pictures = [image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    # One palette for all frames: one palette each would flicker.
    palette = pictures[0].quantize(colors=128)
    pictures = [picture.quantize(palette=palette, dither=image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    durations = _durations_ms(len(pictures), frame_s)
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True
    )
    atomic_write(path, buffer.getvalue())


def _durations_ms(frames: int, frame_s: float) -> list[int]:
    """Return how long each frame is shown, so that frame k begins at k ``frame_s``: GIFs count hundredths of seconds.

    Viewers show a frame of less than 20 ms for 100 ms.
    """
    begins = [round(100 * frame_s * k) for k in range(frames + 1)]
    return [10 * max(2, end - begin) for begin, end in zip(begins[:-1], begins[1:], strict=True)]
