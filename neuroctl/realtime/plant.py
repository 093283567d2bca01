"""The interfaces of plants and controllers that a loop uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Read = Callable[[Array], Any]
Write = Callable[[Array], Any]
Safe = Callable[[], Any]


class Callbacks(NamedTuple):
    """The functions of a plant that a loop calls."""

    read: Read
    write: Write
    safe: Safe | None
    arm: Safe | None


class Plant(Protocol):
    """A plant: its sensors and motors, and any of the optional parts below.

    ``safe()`` brings the motors into their safe state. The loop calls it at its end, whatever the reason, from its own
    thread, and when the watchdog trips, from another one, while ``read`` or ``write`` may hang. It returns False where
    the state is unknown, such as that of a board out of reach. A plant without it gets the safe output instead.

    ``arm()`` lets the motors be driven. The loop calls it once all else is set up, a period before the first deadline.

    ``inputs``, ``outputs``, ``dt_s``, ``model_crc32`` and ``spec`` describe the controller that the plant was made for.
    A controller of other sizes, another time step, CRC or ``Spec`` is refused before anything moves.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> from neuroctl.realtime import Loop
        >>> class Motor:  # whatever has read and write
        ...     def read(self, u): u[0] = 0.5
        ...     def write(self, y): self.volts = 12.0 * float(y[0])
        ...     def safe(self): self.volts = 0.0
        >>> motor: Plant = Motor()
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.001))
        >>> report = Loop(ctl, motor).run(ticks=5)
        >>> report.safe, motor.volts
        (True, 0.0)

    """

    def read(self, u: Array, /) -> bool | np.bool | Array | None:
        """Write the sensors' values into u, the controller's dtype ``[inputs]``; return False if they are stale.

        Or return the values, numbers ``[inputs]``: an array, or anything that ``Controller.step`` would convert to one,
        such as a list. The only other results allowed are None and True.
        """
        ...

    def write(self, y: Array, /) -> None:
        """Drive the motors by y, the controller's dtype ``[outputs]``.

        y is the loop's own buffer, which the next tick overwrites: keep ``y.copy()``, not y.
        """
        ...


class Steppable(Protocol):
    """A controller: ``Controller``, ``QuantController`` or one of your own.

    It may also have ``fault``: true after a step whose outputs must not be used; and ``warm_up(u)``, which does the
    work of ``step(u)`` without an effect, so that the step finds its code and parameters in the caches. The loop calls
    it before a deadline that is still far enough off, with the inputs of the tick before.
    """

    @property
    def spec(self) -> Any:
        """A ``Spec``, or an object with ``inputs``, ``outputs``, ``dt_s`` and ``dtype``."""
        ...

    def reset(self) -> Any:
        """Return to the initial state."""
        ...

    def step(self, u: Array, /) -> Array:
        """Return the outputs for one observation; the array may be overwritten by the next step."""
        ...
