"""What studies and trainings are told of the integer controllers that they evaluate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neuroctl.checks import choice_of
from neuroctl.controller import Controller
from neuroctl.errors import StudyError
from neuroctl.quant import STATE_BITS, WEIGHT_BITS, QuantController, integer_form


@dataclass(frozen=True)
class FixedPointConfig:
    """Storage of the integer controllers that are evaluated: bits of weights (2, 3, 4, 8, 16) and state (16, 32).

    ``allow_coarse`` lets a study begin whose limits ``neuroctl.quant.quantize`` refuses; it changes no number.

    Example:
        >>> from neuroctl import Spec
        >>> from neuroctl.evolve import StudyConfig
        >>> spec = Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.02, input_limits=((-1, 1),))
        >>> StudyConfig(spec=spec, task="pole", fixed_point=FixedPointConfig(weight_bits=8)).fixed_point
        FixedPointConfig(weight_bits=8, state_bits=32, allow_coarse=False)

    """

    weight_bits: int = 16
    state_bits: int = 32
    allow_coarse: bool = False

    def __post_init__(self) -> None:
        """Check both."""
        for name, value, allowed in (
            ("weight_bits", self.weight_bits, WEIGHT_BITS),
            ("state_bits", self.state_bits, STATE_BITS),
        ):
            object.__setattr__(self, name, choice_of(name, value, allowed, error=StudyError))

    def to_dict(self) -> dict[str, int]:
        """Return the fields that determine the integer controllers."""
        return {"weight_bits": self.weight_bits, "state_bits": self.state_bits}

    def of(self, controller: Controller, recorded: ArrayLike | None = None) -> QuantController:
        """Return a controller's integer form, by its declared limits and interval analysis alone.

        Recorded inputs ``[T, inputs]`` become its test vectors; no format depends on them.

        Raises:
            ExportError: its ranges are too wide.

        """
        fixed = integer_form(controller.spec, controller.theta, self.weight_bits, self.state_bits)
        if recorded is None:
            return fixed
        return QuantController(fixed.spec, fixed.formats, fixed.theta_q, np.asarray(recorded, np.float64))
