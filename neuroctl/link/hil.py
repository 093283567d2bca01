"""Hardware in the loop: a board as the controller of a simulation."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, share
from neuroctl.errors import LinkError, SilenceError
from neuroctl.link.arguments import check_timeout
from neuroctl.link.client import Link
from neuroctl.link.modes import MAX_LOST, controller_of
from neuroctl.link.protocol import Mode
from neuroctl.link.wire import Wire

Array = NDArray[Any]


class BoardInLoop:
    """A controller that runs on the board: ``reset()`` and ``step(u)``, for a simulation.

    Requests are not repeated, as in a real-time loop: if a frame is lost, either way, the last outputs are held for
    that step. After ``most_lost`` losses in a row, or if the board latches or restarts, the outputs are safe (zero,
    clipped into the limits) until ``reset``, and ``fault`` tells the reason.

    Args:
        link: an open link with the controller that the board runs.
        loss: share of frames to lose on purpose in each direction, 0 to 1.
        seed: seed of those losses, an integer >= 0.
        most_lost: number of consecutive losses that makes the outputs safe, an integer >= 1.
        timeout_s: longest wall-clock time without a frame before the board latches.

    Raises:
        LinkError: the link has no controller, or an argument is out of range.

    Example:
        >>> with Link(port, q) as link:  # a board that runs q
        ...     board = BoardInLoop(link)
        ...     board.reset()
        ...     u = np.array([0.5, -0.5], np.float32)
        ...     board.step(u).tolist() == q.step(u).tolist()
        True

    """

    def __init__(
        self, link: Link, *, loss: float = 0.0, seed: int = 0, most_lost: int = MAX_LOST, timeout_s: float = 2.0
    ):
        share("loss", loss, error=LinkError)
        integer("seed", seed, 0, error=LinkError)
        integer("most_lost", most_lost, 1, error=LinkError)
        check_timeout(timeout_s)
        self.link, self.q = link, controller_of(link)
        self.spec = self.q.spec
        self.inputs, self.outputs, self.dt_s = self.spec.inputs, self.spec.outputs, self.spec.dt_s
        self.model_crc32 = self.q.model_crc32
        self.loss, self.most_lost, self.timeout_s = loss, most_lost, timeout_s
        self.steps = self.held = self.went_safe = 0
        """Number of steps, of those with held or safe outputs, and of times that the outputs went safe."""
        self.lost_in_a_row = 0
        self.fault = ""
        """Why the outputs are safe; empty as long as the board is in the loop."""
        self.last_fault = ""
        """The latest fault, of this episode or an earlier one."""
        self._random = np.random.default_rng(seed)
        self._wire = Wire(self.q)
        self._y = np.zeros(self.spec.outputs, self._wire.dtype)

    def reset(self) -> None:
        """Start the board with its controller reset; outputs are safe until its first answer.

        Raises:
            LinkError: it cannot be reached or refuses, or another object runs it.

        """
        self.link.check(self.q)
        self.link.start(Mode.STEP, timeout_s=self.timeout_s, user=self)
        self.fault, self.lost_in_a_row = "", 0
        self._wire.outputs_from_bytes(self._wire.safe_bytes(), self._y)

    def step(self, u: Array) -> Array:
        """Return the board's outputs for inputs in physical units; its own buffer, overwritten by the next step.

        Raises:
            LayoutError: ``u`` is not one number for each input of the controller; nothing is sent.

        """
        inputs = self._wire.inputs_to_bytes(u)
        self.steps += 1
        if not self.fault:
            try:
                self._wire.outputs_from_bytes(self._exchange(inputs), self._y)
                self.lost_in_a_row = 0
                return self._y
            except SilenceError:
                self.lost_in_a_row += 1
                if self.lost_in_a_row >= self.most_lost:
                    self._go_safe(f"{self.lost_in_a_row} frames in a row were lost")
            except LinkError as error:
                self._go_safe(str(error))
        self.held += 1
        return self._y

    def close(self) -> None:
        """Stop the board, if it is in reach, and close the link."""
        with contextlib.suppress(LinkError):
            self.link.stop()
        self.link.close()

    def _exchange(self, inputs: bytes) -> bytes:
        if self._lose():
            raise SilenceError("lost on the way to the board")
        outputs = self.link.step(inputs, retry=False)
        if self._lose():
            raise SilenceError("lost on the way back")
        return outputs

    def _lose(self) -> bool:
        return self.loss > 0.0 and bool(self._random.random() < self.loss)

    def _go_safe(self, why: str) -> None:
        self.fault = self.last_fault = why
        self.went_safe += 1
        self._wire.outputs_from_bytes(self._wire.safe_bytes(), self._y)
