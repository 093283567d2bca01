"""The host's end of the link: requests, answers, retries and errors."""

from __future__ import annotations

import math
import time
import weakref
from typing import Any, Final, Self

from neuroctl.checks import integer
from neuroctl.errors import (
    BoardResetError,
    LatchedError,
    LinkError,
    NoiseError,
    PortError,
    RefusedError,
    SilenceError,
)
from neuroctl.link.arguments import (
    as_bytes,
    check_board,
    check_controller,
    check_request,
    check_seconds,
    check_size,
    check_start,
)
from neuroctl.link.exchange import Exchange
from neuroctl.link.frames import Frame
from neuroctl.link.port import open_port
from neuroctl.link.protocol import (
    ERROR,
    START,
    WINDOW,
    Code,
    Flag,
    Hello,
    Mode,
    Pong,
    Reason,
    Type,
    code_name,
    fold,
    reason_of,
)
from neuroctl.quant import QuantController

_RECONNECT_PAUSE_S: Final = 0.1


class Link(Exchange):
    """An open link to a board that runs exported firmware. One request at a time: other threads wait for it.

    Opening it sends HELLO and, with a controller ``q``, checks that the board runs the same model. The board does not
    start before ``start`` or one of the modes (``HostDriven``, ``BoardDriven``, ``Shadow``).

    Args:
        port: such as ``"/dev/ttyACM0"`` or ``"COM3"``, a pseudo-terminal, or ``"serial:"`` and a USB serial number.
        q: the controller that the board has to run; None: any.
        baud: bits per second.
        timeout_s: longest time to an answer, besides that of its bytes at this baud rate.
        retries: number of repetitions of a request, with the same bits, before it counts as lost; an integer >= 0.
        hello_s: longest time to the first answer; some boards reset when their port is opened.

    Raises:
        LinkError: an argument is out of range.
        PortError: the port cannot be used.
        SilenceError: no byte came.
        NoiseError: bytes came, but no frame: the wrong baud rate, or another device.
        ModelError: the board runs another model.
        BackendUnavailable: pyserial or cobs is not installed.

    Example:
        >>> with Link(port, q) as link:  # a board that runs q; port is such as "/dev/ttyACM0"
        ...     link.hello.inputs, link.hello.model_crc32 == q.model_crc32, link.mode.name
        (2, True, 'IDLE')

    """

    def __init__(
        self,
        port: str,
        q: QuantController | None = None,
        *,
        baud: int = 115200,
        timeout_s: float = 0.05,
        retries: int = 3,
        hello_s: float = 3.0,
    ):
        check_seconds("timeout_s", timeout_s)
        check_seconds("hello_s", hello_s)
        integer("retries", retries, 0, error=LinkError)
        if q is not None:
            check_controller(q)
        super().__init__(open_port(port, baud), baud, timeout_s)
        self.q, self.retries = q, retries
        self.mode = Mode.IDLE
        """The mode that this link started; IDLE after anything that stops the board."""
        self._user: weakref.ref[Any] | None = None
        self._hello_s = hello_s
        try:
            self.hello = self._greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def port(self) -> str:
        """Name of the port."""
        return self._port.name

    @property
    def user(self) -> Any:
        """The object that runs the board, such as a ``HostDriven``; None while nothing does, or raw requests do."""
        return None if self.mode == Mode.IDLE or self._user is None else self._user()

    def refuse_second(self, user: Any) -> None:
        """Make sure that no other object runs the board.

        Raises:
            LinkError: another one does.

        """
        if self.user not in (None, user):
            using = f"{type(self.user).__name__} is using {self.port}"
            raise LinkError(f"board: {using}; allowed: one mode at a time, another after link.stop()")

    def close(self) -> None:
        """Close the port. This does not stop the board: its own timeout does."""
        self._port.close()

    def reconnect(self, wait_s: float = 10.0) -> Hello:
        """Open the port again after the board was unplugged, and send HELLO; the board is not started.

        A USB device is found by its serial number, whatever its name is now; one without, by its USB socket.

        Args:
            wait_s: longest time to wait for the port and the board.

        Raises:
            LinkError: as when a link is opened.

        """
        check_seconds("wait_s", wait_s, math.inf)
        deadline = time.monotonic() + wait_s
        self.close()
        self.mode = Mode.IDLE
        while True:
            try:
                self._port = open_port(self.port, self.baud, self._port.usb)
                self._resync = True
                self._decoder.clear()
                self.hello = self._greet()
                return self.hello
            except (PortError, SilenceError, NoiseError):
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RECONNECT_PAUSE_S)

    def ping(self, echo: bytes = b"") -> Pong:
        """Return the board's tick, mode and counts.

        Raises:
            SilenceError: no answer.
            LatchedError: the board's outputs went safe while it was running.
            BoardResetError: the board has restarted.

        """
        pong = Pong.unpack(self.request(Type.PING, echo).payload)
        if self.mode != Mode.IDLE and pong.mode != self.mode:
            self._stopped_by_itself(pong.reason, reset=pong.mode == Mode.IDLE)
        return pong

    def start(
        self, mode: Mode, *, report_every: int = 0, with_state: bool = False, timeout_s: float = 0.0, user: Any = None
    ) -> None:
        """Clear the board's latch, reset its controller and tick, and let it run.

        Args:
            mode: STEP, DRIVE or BOARD.
            report_every: number of ticks from one REPORT to the next; 0: none. BOARD only.
            with_state: whether REPORTs carry the state.
            timeout_s: longest time without a frame from the host before the outputs go safe; 0: the board's default.
            user: the object that runs the board from now on; until it stops, neither another one nor a call without
                one may start it. None: the caller's own requests do, and the next object to start the board takes over.

        Raises:
            LinkError: an argument is out of range, or another object runs the board.
            ModelError: the board runs another model than the link's controller.
            SilenceError: no answer.
            RefusedError: the board does not know the mode, or a value.

        """
        self.refuse_second(user)
        self.mode = Mode.IDLE
        check_start(mode, report_every, timeout_s, self.hello.timeout_us)
        if self.q is not None:
            self.check(self.q)  # since the link was opened another board may have come, or other parameters
        payload = START.pack(mode, int(with_state), report_every, round(timeout_s * 1e6))
        with self._turn():  # a callback that stops the board comes after this start
            self._reports.clear()
            self.request(Type.START, payload)
            self.mode, self._user = mode, None if user is None else weakref.ref(user)

    def stop(self) -> None:
        """Make the board's outputs safe until the next start.

        Raises:
            SilenceError: no answer.

        """
        self.mode = Mode.IDLE
        self.request(Type.STOP)

    def step(self, inputs: bytes, *, reset: bool = False, with_state: bool = False, retry: bool = True) -> bytes:
        """Step the board's controller once, and return the bytes of its outputs, then those of its state if requested.

        Args:
            inputs: int16 each.
            reset: reset the controller first.
            with_state: whether to return the state too.
            retry: repeat the request if no answer comes; a board handles repetitions once.

        Raises:
            SilenceError: no answer.
            LatchedError: the board's outputs are safe, and it steps no more.
            BoardResetError: the board has restarted.
            RefusedError: the board is not in this mode.

        """
        flags = (Flag.RESET if reset else 0) | (Flag.STATE if with_state else 0)
        return self.request(Type.STEP, inputs, flags, retry=retry).payload

    def drive(self, outputs: bytes) -> bytes:
        """Write the board's motors, int16 each, and return its sensors, int16 each. Not repeated if lost.

        Raises:
            SilenceError: no answer.
            LatchedError: the board's outputs are safe.
            BoardResetError: the board has restarted.
            RefusedError: the board is not in this mode.

        """
        return self.request(Type.DRIVE, outputs, retry=False).payload

    def state(self) -> bytes:
        """Return the state of the board's controller; see ``QuantController.set_state_bytes``.

        Raises:
            SilenceError: no answer.

        """
        return self.request(Type.STATE).payload

    def put_state(self, data: bytes) -> None:
        """Set the state of the board's controller.

        Raises:
            RefusedError: ``data`` has another length than the board's state.
            SilenceError: no answer.

        """
        data = as_bytes("state", data)
        if len(data) != self.hello.state_bytes:
            raise RefusedError(f"state: {len(data)} bytes; allowed: {self.hello.state_bytes}")
        self.request(Type.STATE, data)

    def poll(self, wait_s: float = 0.0) -> None:
        """Handle received frames: REPORTs go to ``on_report``. Waits at most ``wait_s`` seconds for the first byte.

        Raises:
            PortError: the port has gone.
            LinkError: the wait is out of range.

        """
        check_seconds("wait_s", wait_s, math.inf)
        with self._turn():
            self._take(wait_s)

    def request(self, kind: Type, payload: bytes = b"", flags: int = 0, *, retry: bool = True) -> Frame:
        """Send a request and return its answer.

        Args:
            kind: its type.
            payload: its bytes.
            flags: see the protocol.
            retry: repeat the request, with the same bits and seq, if no answer comes.

        Raises:
            SilenceError: no answer.
            PortError: the port has gone.
            LatchedError, BoardResetError, RefusedError, ModelError: the board's answer.
            RefusedError: ``payload`` is of another length than the type's; nothing is sent.
            LinkError: there is no such request, or ``payload`` is not bytes; nothing is sent.

        """
        kind, payload = self._checked(kind, payload, flags)
        with self._turn():
            return self._request(kind, payload, flags, retry)

    def _request(self, kind: Type, payload: bytes, flags: int, retry: bool) -> Frame:
        if self._unanswered >= WINDOW:
            self._resynchronize(kind, retry)
        asked, wire = self._next(kind, payload, flags)
        begin, foreign, attempts = time.perf_counter_ns(), False, 1 + (self.retries if retry else 0)
        for attempt in range(attempts):
            self.stats.retried += attempt > 0
            answer = self._exchange(asked, wire)
            foreign |= self._foreign
            if answer is not None:
                self.stats.answered += 1
                self.stats.round_trips.record(time.perf_counter_ns() - begin)
                if answer.type == Type.ERROR:
                    self._refused(answer, kind)
                return answer
        self.stats.lost += 1
        if foreign and retry:
            self._greet()
        raise SilenceError(
            f"board: no answer to {kind.name}, asked {attempts} times for {self._wait_s(wire, kind):.2g} s each"
        )

    def post(self, kind: Type, payload: bytes) -> None:
        """Send a request without waiting for the answer, which is counted when it comes.

        Raises:
            PortError: the port has gone.
            RefusedError: ``payload`` is of another length than the type's.
            LinkError: there is no such request, or ``payload`` is not bytes; nothing is sent.

        """
        kind, payload = self._checked(kind, payload, 0)
        with self._lock:
            asked, wire = self._next(kind, payload, 0)
            self._posted.add(asked.seq)
            self._send(wire)

    def check(self, q: QuantController) -> None:
        """Make sure that the board runs the model of ``q``, by CRC-32, sizes, formats and time step, and keep ``q``.

        Raises:
            ModelError: it runs another one; names the values of both.
            LinkError: ``q`` is no QuantController.

        """
        check_controller(q)
        check_board(self.hello, q)
        self.q, self._is_checked = q, True

    def hello_again(self) -> Hello:
        """Send HELLO again; this changes nothing on the board.

        Raises:
            SilenceError, NoiseError: no answer.

        """
        with self._turn():
            before = self.stats.bytes_in
            if self._hello(self._hello_s):
                return self.hello
        if count := self.stats.bytes_in - before:
            text = f"baud: {self.baud}: {count} bytes came from {self.port}, but no frame"
            raise NoiseError(f"{text}; allowed: the baud rate of the board's firmware")
        raise SilenceError(f"board: {self.port} is silent: no answer to HELLO in {self._hello_s:g} s")

    def _checked(self, kind: Type, payload: bytes, flags: int) -> tuple[Type, bytes]:
        check_request(kind, flags)
        kind, payload = Type(kind), as_bytes("payload", payload)
        check_size(kind, payload, self.hello.sizes)
        return kind, payload

    def _greet(self) -> Hello:
        hello = self.hello_again()
        if self.q is not None:
            self.check(self.q)
        return hello

    def _resynchronize(self, kind: Type, retry: bool) -> None:
        """Send HELLO before a request whose seq the board may take for an old one, as many were lost."""
        if not self._hello(self.retries * self.timeout_s if retry else 0.0):
            raise SilenceError(f"board: no answer to HELLO before {kind.name}, as {self._unanswered} requests had none")
        if self.q is not None and kind != Type.STOP:  # any model may be stopped
            self.check(self.q)

    def _hello(self, patience_s: float) -> bool:
        """Send HELLO, repeatedly for ``patience_s`` seconds. Returns whether the board answered."""
        deadline = time.monotonic() + patience_s
        asked, wire = self._next(Type.HELLO, b"", 0)
        while (answer := self._exchange(asked, wire)) is None:
            if time.monotonic() > deadline:
                self.stats.lost += 1
                return False
            self.stats.retried += 1
        self.stats.answered += 1
        self.hello, self._is_checked = Hello.unpack(answer.payload), False
        self._seed = fold(self.hello.model_crc32)
        self._decoder.expect(self._seed, self.hello.sizes)
        return True

    def _refused(self, frame: Frame, asked: Type) -> None:
        number, _, reason = ERROR.unpack(frame.payload)
        if number == Code.LATCHED:
            self._stopped_by_itself(reason_of(reason), reset=False)
        if number == Code.NOT_STARTED and self.mode != Mode.IDLE:
            self._stopped_by_itself(Reason.RESET, reset=True)
        name = code_name(number)
        hint = "; start it first" if number == Code.NOT_STARTED else ""
        error = RefusedError(f"{asked.name}: refused by the board: {name}{hint}")
        error.code = name
        raise error

    def _stopped_by_itself(self, reason: Reason, *, reset: bool) -> None:
        self.mode = Mode.IDLE
        if reset:
            raise BoardResetError("board: it has started anew, its outputs are safe; start it again")
        error = LatchedError(f"board: its outputs are safe, reason {reason.name}; start it again")
        error.reason = reason.name
        raise error
