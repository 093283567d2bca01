"""Pictures: learning curves, episodes, fixed point and loops, as PNGs and GIFs. Needs the extra ``viz``."""

from neuroctl.plots.episodes import episode, frame_every, gait, gif, robustness
from neuroctl.plots.loops import log
from neuroctl.plots.quantization import quantization_report, sweep
from neuroctl.plots.studies import archive, compare, front, learning_curve, losses
from neuroctl.plots.style import BLUE, GREY, ORANGE, new_figure, save

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "archive",
    "compare",
    "episode",
    "frame_every",
    "front",
    "gait",
    "gif",
    "learning_curve",
    "log",
    "losses",
    "new_figure",
    "quantization_report",
    "robustness",
    "save",
    "sweep",
]
