"""A picture of a loop's log: its inputs and outputs, and the durations of its parts."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import FileFormatError
from neuroctl.plots.style import COLORS, GREY, figure_of, plain, save
from neuroctl.realtime import LogData

Array = NDArray[Any]

_RED: Final = "#c2243f"
_MAX_LINES: Final = 8  # in a panel
_POINTS: Final = 4000  # a line has at most twice as many


def log(data: LogData, path: str | os.PathLike[str]) -> None:
    """Plot inputs and outputs over time, and the distribution of durations; overruns and faults are marked.

    Raises:
        BackendUnavailable: matplotlib is missing.
        FileFormatError: the log holds no records.

    """
    if not len(data):
        raise FileFormatError("log: no records; allowed: one or more to plot")
    figure = figure_of(8.0, 9.0)
    inputs, outputs, durations = figure.subplots(3, 1, height_ratios=(1.0, 1.0, 1.2))
    outputs.sharex(inputs)
    for axis in (inputs, outputs, durations):
        plain(axis)
    time_s = 1e-9 * (data["time_ns"] - data["time_ns"][0])
    _lines(inputs, time_s, data["inputs"], "inputs", "in")
    _lines(outputs, time_s, data["outputs"], "outputs", "out")
    _marks(outputs, time_s, data)
    inputs.tick_params(labelbottom=False)
    outputs.set_xlabel("time [s]")
    outputs.set_xlim(0, 1.002 * max(float(time_s[-1]), 1e-3))
    for axis in (inputs, outputs):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    _durations(durations, data)
    inputs.set_title(_headline(data), loc="left", fontweight="bold", parse_math=False)  # a name may contain a dollar
    save(figure, path)


def _headline(data: LogData) -> str:
    late = int((data.flag("overrun") | data.flag("late")).sum())
    why = "not ended" if data.report is None else f"ended: {data.report['reason']}"
    rate = 1.0 / data.about["period_s"]
    return f"{data.about['name']} at {rate:g} Hz: {len(data)} ticks, {late} overruns, {why}"


def _lines(axis: Any, time_s: Array, values: Array, label: str, short: str) -> None:
    for k, column in enumerate(values.T[:_MAX_LINES]):
        axis.plot(*_thinned(time_s, column), color=COLORS[k % len(COLORS)], linewidth=1.2, label=f"{short} {k}")
    more = values.shape[1] - _MAX_LINES
    axis.set_ylabel(label if more <= 0 else f"{label} (first {_MAX_LINES} of {values.shape[1]})")


def _thinned(time_s: Array, values: Array) -> tuple[Array, Array]:
    """Return fewer points with the same look: the lowest and the highest of each stretch."""
    size = -(-len(values) // _POINTS)
    if size < 3:
        return time_s, values
    whole = len(values) // size * size
    rows = np.where(np.isfinite(values[:whole]), values[:whole], 0.0).reshape(-1, size)
    places = np.sort(np.stack([rows.argmin(axis=1), rows.argmax(axis=1)], axis=1), axis=1)
    chosen = (places + size * np.arange(len(rows))[:, None]).ravel()
    return time_s[chosen], values[chosen]


def _marks(axis: Any, time_s: Array, data: LogData) -> None:
    """Mark overruns along the upper edge, and the fault that ended the loop as a line."""
    edge = axis.get_xaxis_transform()
    late = time_s[data.flag("overrun") | data.flag("late")]
    if len(late):
        style = {"color": _RED, "markersize": 9, "linestyle": "", "transform": edge, "clip_on": False}
        axis.plot(late, np.full(len(late), 1.0), marker="|", label="overrun", **style)
    for moment in time_s[data.flag("fault")]:
        axis.axvline(moment, color=_RED, linewidth=1.6, label="fault", clip_on=False)


def _durations(axis: Any, data: LogData) -> None:
    """Plot the distribution of durations of each part of a tick; the left edge shows percentiles."""
    whole = ~data.flag("fault")
    if not whole.any():
        return
    names = {"wake": "wake-up late", "library": "library", "controller": "controller", "read": "read", "write": "write"}
    for k, (name, label) in enumerate(names.items()):
        took_us = np.maximum(np.sort(data[f"{name}_ns"][whole]) * 1e-3, 0.1)
        longer = 1.0 - np.arange(len(took_us)) / len(took_us)
        p50, p9999 = (float(took_us[min(int(q * len(took_us)), len(took_us) - 1)]) for q in (0.5, 0.9999))
        text = f"{label}: p50 {_us(p50)}, p99.99 {_us(p9999)}"
        axis.step(*_few(took_us, longer), where="post", color=COLORS[k], linewidth=1.6, label=text)
    period_us = 1e6 * data.about["period_s"]
    axis.axvline(period_us, color=GREY, linestyle="--", linewidth=1.0, label=f"period: {_us(period_us)}")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(0.5 / whole.sum(), 1.5)
    ticks = {share: text for share, text in _SHARES.items() if share >= 0.5 / whole.sum()}
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()
    axis.set_xlabel("took longer than [us]")
    axis.set_ylabel("percentile of the ticks")
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=2, fontsize="small")


_SHARES: Final = {
    1.0: "0 %", 0.5: "50 %", 0.1: "90 %", 0.01: "99 %", 1e-3: "99.9 %", 1e-4: "99.99 %", 1e-5: "99.999 %"
}  # fmt: skip


def _us(value: float) -> str:
    return f"{value:.1f} us" if value < 100 else f"{value:.0f} us" if value < 1e4 else f"{value / 1e3:.0f} ms"


def _few(x: Array, y: Array) -> tuple[Array, Array]:
    """Return a part of the points of a sorted curve, with all points of its tail."""
    if len(x) <= _POINTS:
        return x, y
    chosen = np.unique(len(x) - np.geomspace(1, len(x), _POINTS).astype(int))
    return x[chosen], y[chosen]
