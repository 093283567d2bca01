"""Pictures of episodes: float beside fixed point, gaits, returns under noise and latency, and GIFs."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import real
from neuroctl.errors import FileFormatError, require
from neuroctl.io import atomic_write, check_writable
from neuroctl.plots.style import BLUE, ORANGE, figure_of, legend_above, new_figure, save

Array = NDArray[Any]


def episode(
    signals: Sequence[tuple[str, Array, Array]], dt_s: float, path: str | os.PathLike[str], *, title: str
) -> None:
    """Plot one episode, float against fixed point, as a PNG.

    Args:
        signals: (label with unit, float trajectory ``[T]``, fixed-point trajectory ``[T']``), one panel each.
        dt_s: time between two samples, in seconds.
        path: the file.
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
    legend_above(axes[0])
    axes[-1].set_xlabel("time [s]")
    axes[-1].set_xlim(0, max(len(s[1]) for s in signals) * dt_s)
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
        latencies: delays in control steps.
        path: the file.
        title: headline.
        dt_s: length of a control step, in seconds.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    figure = figure_of(2.2 + 0.95 * max(4, len(latencies)), 1.8 + 0.6 * max(3, len(noises)))
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
    """Plot the legs on the ground over time as a PNG: one bar per leg, dark while it stands.

    Args:
        feet_down: bool[T, legs].
        legs: names of the legs.
        dt_s: time between two rows, in seconds.
        path: the file.
        title: headline. The duty factor of each leg, its share of time on the ground, is beside its bar.

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
    """Return the number of control steps between two frames at about 20 frames per second."""
    return max(1, round(0.05 / dt_s))


def gif(frames: Sequence[Array], path: str | os.PathLike[str], *, frame_s: float) -> None:
    """Write frames, uint8 ``[H, W, 3]``, as an endless GIF with ``frame_s`` seconds per frame on average.

    Raises:
        BackendUnavailable: Pillow is missing.
        FileFormatError: there is no frame, the time is not greater than 0, or the file is no .gif or cannot be written.

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
    """Return the durations of frames, so that frame k begins at k ``frame_s``: GIFs count hundredths of a second.

    Viewers show a frame of less than 20 ms for 100 ms.
    """
    begins = [round(100 * frame_s * k) for k in range(frames + 1)]
    return [10 * max(2, end - begin) for begin, end in zip(begins[:-1], begins[1:], strict=True)]
