"""Simulated boards: an export built into a program that answers on a pseudo-terminal, like a board on its port.

``start`` builds and starts one. Its sensors read ``pattern``; its motor values are dropped, or on the host recorded.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, one_of
from neuroctl.errors import BackendUnavailable, ExportError, LinkError
from neuroctl.quant import QuantController

from ..exporting import export
from .build import TARGETS, Build, build

try:
    import tty
except ImportError:
    raise BackendUnavailable("boards: simulated ones need pseudo-terminals, which this system does not have") from None

_START_S: Final = 20.0
# The board dies with this process, however it ends: then the keeper's input ends too.
_KEEPER: Final = '"$@" & exec >/dev/null; cat >/dev/null; kill -9 $!; wait'
_END_S: Final = 2.0
_MASK: Final = 0xFFFFFFFF


class Faults(NamedTuple):
    """Faults of a simulated board; 0: none.

    Args:
        sensor_fails_after: number of reads of the sensors after which all fail.
        resets_after: number of frames sent after which the board restarts, once, as after a power cut.
        silent_after: number of frames sent after which the board sends none.

    """

    sensor_fails_after: int = 0
    resets_after: int = 0
    silent_after: int = 0


class Board:
    """A running simulated board; use it as a context manager, or close it.

    ``port`` is the path of its pseudo-terminal, ``q`` the controller on it.
    """

    def __init__(self, port: str, q: QuantController, process: subprocess.Popen[bytes], folder: Path, motors: bool):
        self.port = port
        self.q = q
        self._process = process
        self._folder = folder
        self._motors = folder / "motors.bin" if motors else None
        # QEMU looks once a second whether anybody has opened the terminal; it is always open here.
        self._held = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._held)

    def motors(self) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Return the times of the motors' updates, in ns of ``time.monotonic_ns``, and the outputs ``[T, outputs]``.

        Raises:
            LinkError: the board does not record its motors.

        """
        if self._motors is None:
            raise LinkError("motors: go nowhere; allowed: target 'host'")
        record = np.dtype([("ns", "<i8"), ("out", "<i2", (self.q.spec.outputs,))])
        data = self._motors.read_bytes() if self._motors.exists() else b""
        rows = np.frombuffer(data[: len(data) // record.itemsize * record.itemsize], record)
        return rows["ns"].astype(np.int64), rows["out"].astype(np.int16)

    def close(self) -> None:
        """Kill the board and remove its files; closing it twice is harmless."""
        _end(self._process)
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pattern(steps: int, i: int) -> int:
    """Return the reading of a simulated board's sensor ``i``, an int16, ``steps`` steps after the start.

    In a REPORT of tick t these are the inputs ``pattern(t - 1, i)``; the first DRIVE reads ``pattern(0, i)``.
    """
    x = (steps * 0x9E3779B1 + i * 0x85EBCA77 + 1) & _MASK
    x ^= x >> 15
    x = x * 0x2C1B3C6D & _MASK
    x ^= x >> 12
    return (x & 0xFFFF) - ((x & 0x8000) << 1)


def start(
    source: str | os.PathLike[str] | QuantController,
    target: str = "host",
    *,
    tunable: bool = True,
    faults: Faults = Faults(),  # noqa: B008 - a constant
) -> Board:
    """Build an exported controller into a simulated board, and start it.

    Args:
        source: a folder that ``export`` wrote, or a controller to export into a temporary one.
        target: ``host``, a process of this machine; ``qemu-m4``, QEMU's Cortex-M4; ``simavr-uno``, simavr's ATmega328P.
        tunable: whether parameters are in RAM and may be uploaded; on ``simavr-uno`` they never are.
        faults: faults of the board.

    Returns:
        The running board. It ends when it is closed, or with this process, however that ends.

    Raises:
        ExportError: the target or the source is unknown, a fault is no integer >= 0, the folder holds no export, or it
            does not compile.
        BackendUnavailable: a compiler or an emulator is missing.
        LinkError: the board did not start.

    """
    one_of("target", target, TARGETS, error=ExportError)
    if not isinstance(source, str | os.PathLike | QuantController):
        raise ExportError(f"source: {type(source).__name__}; allowed: a folder, or a QuantController")
    for name, count in faults._asdict().items():
        integer(name, count, 0, (1 << 31) - 1, error=ExportError)
    folder = Path(tempfile.mkdtemp(prefix="neuroctl-board-"))
    try:
        if isinstance(source, QuantController):
            export(source, folder / "export")
            source = folder / "export"
        defines = {f"BOARD_{name.upper()}": count for name, count in faults._asdict().items()}
        built = build(Path(source), target, defines, tunable, folder)
        return _started(built, target, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _started(built: Build, target: str, folder: Path) -> Board:
    command: Sequence[Any] = ["sh", "-c", _KEEPER, "board", *built.command]
    if target == "host":
        command = [*command, folder / "motors.bin"]
    pipe = subprocess.PIPE
    with open(folder / "errors.txt", "wb") as errors:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)
    try:
        return Board(_port(process, folder), built.q, process, folder, target == "host")
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make the keeper kill the board; kill both if it does not."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for the board's line with the name of its terminal."""
    end, text = time.monotonic() + _START_S, b""
    handle = process.stdout.fileno() if process.stdout else -1
    while (left := end - time.monotonic()) > 0:
        if not select.select([handle], [], [], left)[0]:
            break
        part = os.read(handle, 4096)
        text += part
        words = [word for word in text.split() if word.startswith((b"/dev/pts/", b"/dev/tty"))]
        if words and (text.endswith(b"\n") or not part):
            return words[0].decode()
        if not part:
            break
    output = (text + (folder / "errors.txt").read_bytes()).decode(errors="replace").strip().splitlines()
    raise LinkError(f"board: did not start: {output[-1] if output else 'it said nothing'}")


__all__ = ["TARGETS", "Board", "Faults", "pattern", "start"]
