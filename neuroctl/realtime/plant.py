"""What a loop reads from and writes to, and what it steps."""

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
    """What a loop calls of a plant."""

    read: Read
    write: Write
    safe: Safe | None
    arm: Safe | None


class Plant(Protocol):
    """Sensors and motors, and what else of these there is.

    ``safe()`` brings the motors into their safe state. The loop calls it when it ends, whatever for, from its own
    thread, and when the watchdog trips, from another one, while ``read`` or ``write`` may hang. It returns False where
    it cannot know, such as of a board out of reach. A plant without it is written the safe output instead.

    ``arm()`` lets the motors be driven. The loop calls it once all else is set up, a period before the first deadline.

    ``inputs``, ``outputs`` and ``dt_s``, ``model_crc32`` and ``spec`` say what the plant was made for. A controller of
    other sizes, another time step, CRC or ``Spec`` is refused before anything moves.
    """

    def read(self, u: Array, /) -> bool | np.bool | Array | None:
        """Put the sensors' values into u in place, the controller's dtype ``[inputs]``; return False if they are stale.

        Or return the values, numbers ``[inputs]``: an array, or what ``Controller.step`` would convert to one, such as
        a list. Nothing else may be returned but None and True.
        """
        ...

    def write(self, y: Array, /) -> None:
        """Drive the motors by y, the controller's dtype ``[outputs]``.

        y is the loop's own buffer, which the next tick overwrites: keep ``y.copy()``, never y.
        """
        ...


class Steppable(Protocol):
    """A controller: ``Controller``, ``QuantController`` or one of your own.

    It may also have ``fault``: true after a step whose outputs must not be used; and ``warm_up(u)``, which does what
    ``step(u)`` would and changes nothing, so that the step finds its code and parameters in the caches. The loop calls
    it before a deadline that is still far enough off, with the inputs of the tick before.
    """

    @property
    def spec(self) -> Any:
        """Sizes, ``dt_s`` and ``dtype``; a ``Spec``, or what has these."""
        ...

    def reset(self) -> Any:
        """Go back to the start state."""
        ...

    def step(self, u: Array, /) -> Array:
        """Return the outputs for one observation; the array may be overwritten by the next step."""
        ...
