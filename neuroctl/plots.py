"""Pictures: learning curve, one episode in float and fixed point, and GIFs. Needs the extra ``viz``."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import require
from neuroctl.io import atomic_write

Array = NDArray[Any]

_BLUE: Final = "#2563a8"
_ORANGE: Final = "#d9661f"
_GREY: Final = "#8a8f98"


def _figure(rows: int, height: float) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, one above the other. No pyplot: nothing global, no display needed."""
    figure_class = require("matplotlib.figure", "viz").Figure
    figure = figure_class(figsize=(8.0, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#e6e8eb", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, list(axes)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    atomic_write(path, buffer.getvalue())


def learning_curve(
    history: Mapping[str, Sequence[float]], path: str | os.PathLike[str], *, title: str, goal: float | None = None
) -> None:
    """Plot fitness over evaluations as a PNG.

    Args:
        history: columns of ``history.csv``: evaluations, best, median, worst, best_validation.
        path: where to.
        title: headline.
        goal: the best possible return, drawn as a dashed line.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure, (axis,) = _figure(1, 4.2)
    x = np.asarray(history["evaluations"], float)
    axis.fill_between(x, history["worst"], history["best"], color=_BLUE, alpha=0.15, linewidth=0, label="population")
    axis.plot(x, history["median"], color=_BLUE, linewidth=1.8, label="median")
    axis.plot(x, history["best_validation"], color=_ORANGE, linewidth=2.0, label="best so far, on unseen starts")
    if goal is not None:
        axis.axhline(goal, color=_GREY, linestyle="--", linewidth=1.2, label="best possible")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("evaluations (one = all episodes of one controller)")
    axis.set_ylabel("return")
    axis.set_title(title, loc="left", fontweight="bold")
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    _save(figure, path)


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
    figure, axes = _figure(len(signals), 1.2 + 1.9 * len(signals))
    for axis, (label, float_y, fixed_y) in zip(axes, signals, strict=True):
        axis.plot(np.arange(len(float_y)) * dt_s, float_y, color=_BLUE, linewidth=1.8, label="float32")
        axis.plot(np.arange(len(fixed_y)) * dt_s, fixed_y, color=_ORANGE, linewidth=1.0, label="fixed point")
        axis.set_ylabel(label)
    axes[0].set_title(title, loc="left", fontweight="bold")
    axes[0].legend(frameon=False, loc="upper right", ncols=2)
    axes[-1].set_xlabel("time [s]")
    axes[-1].set_xlim(0, max(len(s[1]) for s in signals) * dt_s)
    _save(figure, path)


def frame_every(dt_s: float) -> int:
    """Return how many control steps lie between two frames at about 20 frames a second."""
    return max(1, round(0.05 / dt_s))


def gif(frames: Sequence[Array], path: str | os.PathLike[str], *, frame_s: float) -> None:
    """Write frames, uint8 ``[H, W, 3]``, as an endless GIF with ``frame_s`` seconds a frame.

    Raises:
        BackendUnavailable: Pillow is missing.

    """
    image = require("PIL.Image", "viz")
    pictures = [image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    # One palette for all frames: one palette each would flicker.
    palette = pictures[0].quantize(colors=128)
    pictures = [picture.quantize(palette=palette, dither=image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 * frame_s), loop=0, optimize=True
    )
    atomic_write(path, buffer.getvalue())
