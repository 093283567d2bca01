"""The style of all pictures, and writing them. Needs the extra ``viz``."""

from __future__ import annotations

import io
import os
from typing import Any, Final

from neuroctl.errors import require
from neuroctl.io import atomic_write, check_writable

BLUE: Final = "#2563a8"
ORANGE: Final = "#d9661f"
GREY: Final = "#8a8f98"
COLORS: Final = (BLUE, ORANGE, "#3a8f5b", "#9251a6", "#b0892b", "#c2446b", "#4aa3b5", GREY)


def figure_of(width: float, height: float) -> Any:
    """Return an empty figure, in inches. No pyplot: nothing global, no display needed.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    return require("matplotlib.figure", "viz").Figure(figsize=(width, height), layout="constrained")


def new_figure(rows: int, height: float) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, one above the other.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure = figure_of(8.0, height)
    axes = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        plain(axis)
    return figure, axes


def plain(axis: Any) -> None:
    """Reduce an axis to two sides of its frame and a pale grid behind the curves."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(True, color="#e6e8eb", linewidth=0.8)
    axis.set_axisbelow(True)


def legend_above(axis: Any) -> None:
    """Put the legend at the right end of the headline, away from the curves."""
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
