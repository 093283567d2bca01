"""Pictures of fixed point: outputs after rounding, bits of sums, and return against bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from neuroctl.plots.style import BLUE, GREY, ORANGE, figure_of, legend_above, new_figure, plain, save
from neuroctl.quantization_report import QuantizationReport, bits_of
from neuroctl.sweep import Point


def quantization_report(report: QuantizationReport, path: str | os.PathLike[str]) -> None:
    """Plot the effects of quantization as a PNG: up to three outputs in float and fixed point, and the bits of sums.

    Args:
        report: the effects.
        path: the file.

    Raises:
        BackendUnavailable: matplotlib is missing.

    """
    shown = min(3, report.fixed.shape[1])
    figure = figure_of(9.0, 1.8 + 1.5 * shown + 0.22 * len(report.bounds))
    axes = figure.subplots(shown + 1, 1, height_ratios=[1.5] * shown + [0.22 * len(report.bounds) + 0.4])
    for index, axis in enumerate(axes[:-1]):
        if report.exact is not None:
            axis.plot(report.time_s, report.exact[:, index], color=BLUE, linewidth=2.0, label="float32")
        axis.plot(report.time_s, report.fixed[:, index], color=ORANGE, linewidth=1.0, label="fixed point")
        axis.set_ylabel(f"out[{index}]")
        axis.set_xlim(0, max(float(report.time_s[-1]), 1e-9))
    inputs = "recorded inputs" if report.recorded else "inputs that wander through their limits"
    axes[0].set_title(f"outputs to {inputs}", loc="left", fontweight="bold")
    legend_above(axes[0])
    axes[-2].set_xlabel("time [s]")
    names = list(report.bounds)[::-1]
    bits = [bits_of(report.bounds[name]) for name in names]
    axes[-1].barh(names, bits, color=BLUE, height=0.6)
    axes[-1].axvline(bits_of((0, report.limit)), color=ORANGE, linestyle="--")
    axes[-1].set_xlim(0, 32)
    axes[-1].set_xlabel("bits that the largest magnitude takes")
    axes[-1].set_title("overflow certificate; dashed: the limit, 2^30", loc="left", fontweight="bold")
    for axis in axes:
        plain(axis)
    save(figure, path)


def sweep(points: Sequence[Point], path: str | os.PathLike[str], *, title: str) -> None:
    """Plot return against bytes of flash as a PNG; the float form is a dashed line.

    Args:
        points: the float form first.
        path: the file.
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
