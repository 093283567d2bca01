"""Real-time loops: deadlines, a watchdog, a safe end, and a log that no tick waits for."""

from neuroctl.histogram import Histogram
from neuroctl.realtime.log import Log
from neuroctl.realtime.loop import Loop
from neuroctl.realtime.plant import Plant
from neuroctl.realtime.reading import LogData, read_log
from neuroctl.realtime.report import LoopReport
from neuroctl.realtime.signals import clear_signal
from neuroctl.realtime.system import System

__all__ = ["Histogram", "Log", "LogData", "Loop", "LoopReport", "Plant", "System", "clear_signal", "read_log"]
