"""Modes of a link: the controller runs on the host, on the board, or on both."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import flag, integer
from neuroctl.controller_inputs import raw
from neuroctl.errors import BoardResetError, LinkError, SilenceError
from neuroctl.link.arguments import check_callback, check_seconds, check_timeout, fill
from neuroctl.link.client import Link
from neuroctl.link.frames import Frame
from neuroctl.link.protocol import MAX_REPORT_EVERY, TICK, Flag, Mode, Pong, Type
from neuroctl.link.wire import WIRE, Wire
from neuroctl.quant import QuantController

Array = NDArray[Any]

MAX_LOST: Final = 5
"""Default number of consecutive lost frames at which a real-time user of the link goes safe."""
_INT16: Final = (-(1 << 15), (1 << 15) - 1)


def controller_of(link: Link) -> QuantController:
    """Return the fixed-point controller of a link, the model that the board runs.

    Raises:
        LinkError: the link was opened without a controller.

    """
    if link.q is None:
        raise LinkError("q: missing; allowed: Link(port, q) with the controller that the board runs")
    return link.q


class _Running:
    """Common base of the modes: a ``with`` block starts the board and stops it.

    ``inputs``, ``outputs``, ``dt_s``, ``spec`` and ``model_crc32`` are those of the controller on the board, so that a
    loop can refuse another one before anything moves. ``model_crc32`` is None if any parameters are allowed.
    """

    def __init__(self, link: Link, timeout_s: float):
        check_timeout(timeout_s)
        self.link, self.q, self.timeout_s = link, controller_of(link), timeout_s
        self.spec = spec = self.q.spec
        self.inputs, self.outputs, self.dt_s = spec.inputs, spec.outputs, spec.dt_s
        self.model_crc32: int | None = self.q.model_crc32
        self._wire = Wire(self.q)

    def __enter__(self) -> Self:
        self.link.refuse_second(self)  # before anything that would stop the other one's board
        try:
            self.start()
        except BaseException:
            self.safe()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.safe()

    def start(self) -> None:
        """Start the board, or restart it after its outputs went safe or the link was lost.

        Raises:
            LinkError: the board does not answer or refuses, or another object runs it.

        """
        raise NotImplementedError

    def _start(self, mode: Mode, **options: Any) -> None:
        self.link.check(self.q)  # the link may have got another controller since then
        self.link.start(mode, timeout_s=self.timeout_s, user=self, **options)

    def safe(self) -> bool:
        """Make the board's outputs safe. Raises no LinkError, as a board without a link goes safe by its timeout.

        Returns:
            Whether the board has confirmed.

        """
        self.link.on_report = lambda _: None  # an exception of a callback must not prevent STOP
        answered = False
        with contextlib.suppress(LinkError):
            self.link.stop()
            answered = True
        self.link.mode = Mode.IDLE
        return answered


class HostDriven(_Running):
    """The host runs the controller; the board provides sensors and motors. A plant for a real-time loop.

    A tick is ``read``, the controller's step, ``write``. ``read`` requests the current sensor values and sends the last
    outputs again; ``write`` does not wait for an answer. Lost frames are not sent again: the last sensor values hold.

    Args:
        link: an open link with a controller; its formats and limits define the units.
        timeout_s: longest time in seconds without a frame before the board's outputs go safe; 0: the board's default.
        most_lost: number of consecutive lost answers at which ``read`` raises, an integer >= 1.
        any_model: whether a ``Loop`` may drive the board with parameters other than those of the link's controller,
            such as candidates of a search. If False, it refuses them: no robot gets another robot's controller.

    Raises:
        LinkError: the link has no controller, or an argument is not allowed.

    Example:
        >>> from neuroctl.realtime import Loop
        >>> with Link(port, q) as link, HostDriven(link) as board:  # a board that runs q
        ...     Loop(q, board).run(ticks=5).reason
        'finished'

    """

    def __init__(self, link: Link, *, timeout_s: float = 0.0, most_lost: int = MAX_LOST, any_model: bool = False):
        super().__init__(link, timeout_s)
        integer("most_lost", most_lost, 1, error=LinkError)
        self.any_model = flag("any_model", any_model, error=LinkError)
        if self.any_model:
            self.model_crc32 = None
        self.most_lost = most_lost
        self.lost_in_a_row = 0
        self._outputs = self._wire.safe_bytes()
        self._sensors = bytes(2 * self.q.spec.inputs)

    def start(self) -> None:
        """Start or restart the board with safe outputs, also after a fault, and read its sensors once.

        Raises:
            LinkError: the board does not answer or refuses.

        """
        self.lost_in_a_row = 0
        self._outputs = self._wire.safe_bytes()
        self._start(Mode.DRIVE)
        self._sensors = self.link.request(Type.DRIVE, self._outputs).payload

    def arm(self) -> None:
        """Start or restart the board. A loop calls this once it is set up, as the board's timeout may have expired.

        Raises:
            LinkError: as ``start``.

        """
        self.start()

    def read(self, u: Array) -> bool:
        """Fill ``u``, float ``[inputs]``, with sensor values in physical units, the last ones after a lost answer.

        Returns:
            Whether the values are new; False if the answer was lost.

        Raises:
            LayoutError: ``u`` is not a float array with one element for each input of the controller.
            SilenceError: ``most_lost`` consecutive answers were lost.
            LatchedError: the board's outputs are safe.
            BoardResetError: the board has restarted.
            PortError: the port has gone.

        """
        try:
            self._sensors = self.link.drive(self._outputs)
            self.lost_in_a_row = 0
        except SilenceError:
            self.lost_in_a_row += 1
            if self.lost_in_a_row >= self.most_lost:
                raise SilenceError(f"board: {self.lost_in_a_row} answers in a row were lost; it is silent") from None
        self._wire.inputs_from_bytes(self._sensors, u)
        return self.lost_in_a_row == 0

    def write(self, y: Array) -> None:
        """Send outputs in physical units, float ``[outputs]``, clipped into the output limits.

        Raises:
            LayoutError: ``y`` is not one finite number for each output of the controller; nothing is sent.
            PortError: the port has gone.

        """
        self._outputs = self._wire.outputs_to_bytes(y)
        self.link.post(Type.DRIVE, self._outputs)


class Report(NamedTuple):
    """A board's report of one tick, counted from 1; inputs and outputs in physical units.

    Example:
        >>> reports: list[Report] = []
        >>> with Link(port, q) as link, BoardDriven(link, on_report=reports.append) as board:  # a board that runs q
        ...     pong = board.run(0.2)
        >>> reports[0].tick, reports[0].inputs.shape, reports[0].outputs.shape
        (1, (2,), (1,))

    """

    tick: int
    inputs: Array
    outputs: Array
    state: bytes


class BoardDriven(_Running):
    """The board runs the controller; the host supervises and logs.

    Args:
        link: an open link with a controller; its formats define the units.
        report_every: number of ticks from one REPORT to the next; 0: no REPORTs.
        with_state: whether REPORTs include the controller's state.
        timeout_s: longest time in seconds without a frame from the host before the board's outputs go safe; 0: the
            board's default. The host pings every third of that time.
        on_report: callback for each ``Report``.

    Raises:
        LinkError: the link has no controller, or an argument is out of range.

    Example:
        >>> ticks: list[int] = []
        >>> with Link(port, q) as link:  # a board that runs q
        ...     with BoardDriven(link, on_report=lambda report: ticks.append(report.tick)) as board:
        ...         board.run(0.2).reason.name
        'NONE'
        >>> ticks[:3]
        [1, 2, 3]

    """

    def __init__(
        self,
        link: Link,
        *,
        report_every: int = 1,
        with_state: bool = False,
        timeout_s: float = 0.0,
        on_report: Callable[[Report], None] = lambda _: None,
    ):
        super().__init__(link, timeout_s)
        integer("report_every", report_every, 0, MAX_REPORT_EVERY, error=LinkError)
        check_callback("on_report", on_report)
        self.report_every, self.with_state, self.on_report = report_every, with_state, on_report
        self._ping_s = self._due_s = 0.0
        self._tick = 0

    def start(self) -> None:
        """Reset and start the board's controller, also after a fault.

        Raises:
            LinkError: the board does not answer or refuses, or another object runs it.

        """
        self.link.refuse_second(self)
        self._tick = 0
        self.link.on_report = self._take
        self._start(Mode.BOARD, report_every=self.report_every, with_state=self.with_state)
        self._ping_s = (self.timeout_s or 1e-6 * self.link.hello.timeout_us) / 3
        self._due_s = time.monotonic() + self._ping_s

    def poll(self, wait_s: float = 0.0) -> Pong | None:
        """Wait for REPORTs, at most ``wait_s`` seconds, deliver them, and ping the board if a ping is due.

        Call this at least every third of the timeout.

        Returns:
            The answer to the ping (tick, counts of bad frames and overruns), or None if no ping was due.

        Raises:
            SilenceError: the board does not answer.
            LatchedError: the board's outputs went safe; the message names the cause.
            BoardResetError: the board has restarted.
            PortError: the port has gone.
            LinkError: ``wait_s`` is out of range.

        """
        check_seconds("wait_s", wait_s, math.inf)
        self.link.poll(min(wait_s, max(0.0, self._due_s - time.monotonic())))
        if time.monotonic() < self._due_s:
            return None
        pong = self.link.ping()
        self._due_s = time.monotonic() + self._ping_s
        if (pong.tick - self._tick) & 0xFFFFFFFF >= 1 << 31:  # it may wrap around, but not get so far in a timeout
            self.link.mode = Mode.IDLE
            raise BoardResetError("board: its tick went back, it has started anew; start it again")
        self._tick = pong.tick
        return pong

    def run(self, duration_s: float) -> Pong:
        """Supervise the board for ``duration_s`` seconds; return the answer to the last ping.

        Raises:
            LinkError: see ``poll``, or ``duration_s`` is out of range.

        """
        check_seconds("duration_s", duration_s, math.inf)
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0:
            self.poll(left)
        return self.link.ping()

    def _take(self, frame: Frame) -> None:
        spec, data = self.q.spec, frame.payload
        inputs, outputs = np.empty(spec.inputs, spec.dtype), np.empty(spec.outputs, spec.dtype)
        first = TICK.size + 2 * spec.inputs
        last = first + 2 * spec.outputs
        self._wire.inputs_from_bytes(data[TICK.size : first], inputs)
        self._wire.outputs_from_bytes(data[first:last], outputs)
        self.on_report(
            Report(TICK.unpack_from(data)[0], inputs, outputs, data[last:] if frame.flags & Flag.STATE else b"")
        )


class Difference(NamedTuple):
    """The first difference between board and host: step from 0, name of the word, and both values.

    Example:
        >>> str(Difference(step=7, word="y[3]", host=12, board=13))
        'step 7: y[3] is 12 on the host, 13 on the board'

    """

    step: int
    word: str
    host: int
    board: int

    def __str__(self) -> str:
        return f"step {self.step}: {self.word} is {self.host} on the host, {self.board} on the board"


class Shadow(_Running):
    """Host and board run the controller on the host's inputs; each step compares every bit of outputs and state.

    Lost frames are sent again; the board steps once for repeated frames. ``bits`` counts the compared bits,
    ``differing_bits`` the different ones; ``first`` is the first ``Difference``, or None.

    Args:
        link: an open link with a controller; the controller's state is reset at the start.
        timeout_s: longest time in seconds without a frame before the board goes safe; 0: the board's default.

    Raises:
        LinkError: the link has no controller, or the timeout is out of range.

    Example:
        >>> with Link(port, q) as link, Shadow(link) as both:  # a board that runs q
        ...     for _ in range(5):
        ...         y = both.step(np.array([0.5, -0.5]))
        >>> both.steps, both.differing_bits, both.first
        (5, 0, None)

    """

    def __init__(self, link: Link, *, timeout_s: float = 0.0):
        super().__init__(link, timeout_s)
        self._u = np.zeros(self.inputs, self.q.spec.dtype)
        self.steps = self.bits = self.differing_bits = 0
        self.first: Difference | None = None

    def start(self) -> None:
        """Start the board and reset both controllers.

        Raises:
            LinkError: the board does not answer or refuses.

        """
        self.q.reset()
        self._start(Mode.STEP)

    def step(self, u: Array) -> Array:
        """Step both on inputs in physical units, float ``[inputs]``; return the host's outputs, float ``[outputs]``.

        Raises:
            LinkError: see ``Link.step``.
            LayoutError: ``u`` is not one number for each input of the controller; neither has stepped.

        """
        fill("u", u, self._u)
        return self.q.dequantize_output(self.step_int(self.q.quantize_input(self._u)))

    def step_int(self, u: ArrayLike) -> Array:
        """Step both on raw inputs, int32 ``[inputs]``, saturated to int16; return the host's raw outputs.

        The next step overwrites the returned array.

        Raises:
            LinkError: see ``Link.step``.
            LayoutError: u has another shape or is not of integers; neither has stepped.

        """
        u = raw(u, *self._u.shape)
        theirs = self.link.step(np.clip(u, *_INT16).astype(WIRE).tobytes(), with_state=True)
        y = self.q.step_int(u)
        ours = y.astype(WIRE).tobytes() + self.q.state_bytes()
        if ours != theirs:
            self._compare(ours, theirs)
        self.steps += 1
        self.bits += 8 * len(ours)
        return y

    def _compare(self, ours: bytes, theirs: bytes) -> None:
        differ = int.from_bytes(ours, "little") ^ int.from_bytes(theirs, "little")
        self.differing_bits += differ.bit_count()
        if self.first is None:
            pairs = zip(word_names(self.q), words(self.q, ours), words(self.q, theirs), strict=True)
            name, host, board = next(pair for pair in pairs if pair[1] != pair[2])
            self.first = Difference(self.steps, name, host, board)


def word_names(q: QuantController) -> list[str]:
    """Return the names of outputs and state words, such as ``out[0]`` and ``y[3]``."""
    parts = [("out", q.spec.outputs), *((part.name, part.words) for part in q.state_words)]
    return [f"{name}[{index}]" for name, count in parts for index in range(count)]


def words(q: QuantController, data: bytes) -> list[int]:
    """Return the integers of outputs and state in the bytes from ``Link.step(..., with_state=True)``."""
    numbers, at = [], 0
    for storage, count in [("int16", q.spec.outputs), *((part.storage, part.words) for part in q.state_words)]:
        values = np.frombuffer(data, np.dtype(storage).newbyteorder("<"), count, at)
        numbers += values.tolist()
        at += values.nbytes
    return numbers
