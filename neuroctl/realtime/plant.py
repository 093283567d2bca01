"""What a loop reads from and writes to, and what it steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Read = Callable[[Array], bool | np.bool | None]
Write = Callable[[Array], None]
Safe = Callable[[], None]


class Plant(Protocol):
    """Sensors and motors. It may also have ``safe()``, which brings the motors into their safe state.

    The loop calls ``safe`` when it ends, whatever for, from its own thread, and when the watchdog trips, from another
    one, while ``read`` or ``write`` may hang. A plant without it is written the safe output instead.
    """

    def read(self, u: Array, /) -> bool | np.bool | None:
        """Put the sensors' values into u, the controller's dtype ``[inputs]``; return False if they are stale."""
        ...

    def write(self, y: Array, /) -> None:
        """Drive the motors by y, the controller's dtype ``[outputs]``: the loop's own buffer, copy what is kept."""
        ...


class Steppable(Protocol):
    """A controller: ``Controller``, ``QuantController`` or one of your own.

    It may also have ``fault``: true after a step whose outputs must not be used; and ``rehearse(u)``, which does what
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
