"""What studies and trainings are told of the integer controllers that they evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from neuroctl.checks import choice_of
from neuroctl.controller import Controller
from neuroctl.errors import StudyError
from neuroctl.io import notes_from
from neuroctl.own_formats import own_formats
from neuroctl.quant import STATE_BITS, WEIGHT_BITS, QuantController, integer_form
from neuroctl.spec import Spec

OWN_FIELD: Final = "own_formats"


@dataclass(frozen=True)
class FixedPointConfig:
    """Storage of the integer controllers that are evaluated: bits of weights (2, 3, 4, 8, 16) and state (16, 32).

    ``allow_coarse`` lets a study begin whose limits ``neuroctl.quant.quantize`` refuses; it changes no number.
    ``shared_formats`` is as of ``neuroctl.quant.quantize``: studies begun by earlier versions need it to go on.

    Example:
        >>> from neuroctl import Spec
        >>> from neuroctl.evolve import StudyConfig
        >>> spec = Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.02, input_limits=((-1, 1),))
        >>> StudyConfig(spec=spec, task="pole", fixed_point=FixedPointConfig(weight_bits=8)).fixed_point
        FixedPointConfig(weight_bits=8, state_bits=32, allow_coarse=False, shared_formats=False)

    """

    weight_bits: int = 16
    state_bits: int = 32
    allow_coarse: bool = False
    shared_formats: bool = False

    def __post_init__(self) -> None:
        """Check both."""
        for name, value, allowed in (
            ("weight_bits", self.weight_bits, WEIGHT_BITS),
            ("state_bits", self.state_bits, STATE_BITS),
        ):
            object.__setattr__(self, name, choice_of(name, value, allowed, error=StudyError))

    def to_dict(self, spec: Spec) -> dict[str, Any]:
        """Return the fields that determine the integer controllers of a spec."""
        fields: dict[str, Any] = {"weight_bits": self.weight_bits, "state_bits": self.state_bits}
        own = own_formats(spec, shared=self.shared_formats)
        return fields | ({OWN_FIELD: True} if own.inputs or own.outputs else {})

    @staticmethod
    def shared_in(stored: Mapping[str, Any]) -> bool:
        """Whether a study whose fields of ``to_dict`` are stored has no formats of inputs and outputs of their own."""
        return not stored.get(OWN_FIELD, False)

    def of(self, controller: Controller, recorded: ArrayLike | None = None) -> QuantController:
        """Return a controller's integer form, by its declared limits and interval analysis alone.

        Recorded inputs ``[T, inputs]`` become its test vectors; no format depends on them.

        Raises:
            ExportError: its ranges are too wide.

        """
        bits, shared = (self.weight_bits, self.state_bits), self.shared_formats
        fixed = integer_form(controller.spec, controller.theta, *bits, shared_formats=shared)
        fixed.meta.update(notes_from(controller.meta))
        if recorded is None:
            return fixed
        numbers = np.asarray(recorded, np.float64)
        return QuantController(fixed.spec, fixed.formats, fixed.theta_q, numbers, meta=fixed.meta)
