"""An alarm on a series: a network predicts each next sample, and the alarm sounds where it is wrong for some time.

Integers alone, on raw inputs and outputs of a fixed-point controller, so that the C of an export gives the same bits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import integer, number
from neuroctl.controller_inputs import raw, sequence
from neuroctl.errors import FileFormatError, SpecError
from neuroctl.io import Archive, expect_kind, file_name, json_object, notes_from, read_archive, write_archive
from neuroctl.maths.jit import jit_integer
from neuroctl.quant_controller import LIMIT, QuantController

Array = NDArray[Any]
IntArray = NDArray[np.int32]

_HALF_RANGE: Final = 1 << 15  # inputs and outputs are int16
_MAX_STEPS: Final = (1 << 16) - 2  # C counts in uint16
_SETTINGS: Final = ("threshold", "input", "output", "smooth", "hold", "warm_up")
LEVEL, PREDICTED, WAIT, LEFT = range(4)
"""Places in an alarm's state: smoothed error, last prediction, steps before the first judgment, steps left to sound."""


@jit_integer
def _run(inputs: IntArray, outputs: IntArray, state: IntArray, settings: IntArray, levels: IntArray, on: Array) -> None:
    """Step an alarm through raw samples and the predictions made from them, each ``[T]``.

    With e the error of the last prediction, level += e - floor(level / 2^smooth): 2^smooth times the mean of e.

    Args:
        inputs: what was measured, clipped to the input's range.
        outputs: what is predicted, at each step, for the next one.
        state: int32 ``[4]``, see ``LEVEL``; read and written.
        settings: factors of inputs and outputs to one unit, smooth, hold, threshold.
        levels: written, the level after each step.
        on: written, whether the alarm sounds.

    """
    in_factor, out_factor, smooth, hold, threshold = settings
    for t in range(inputs.shape[0]):
        if state[WAIT] > 0:
            state[WAIT] -= 1
        else:
            error = abs(inputs[t] * in_factor - state[PREDICTED] * out_factor)
            state[LEVEL] += error - (state[LEVEL] >> smooth)
            if state[LEVEL] > threshold:
                state[LEFT] = hold + 1
        state[PREDICTED] = outputs[t]
        levels[t] = state[LEVEL]
        on[t] = state[LEFT] > 0
        if state[LEFT] > 0:
            state[LEFT] -= 1


class Alarm:
    """A fixed-point controller that predicts its next input, and an alarm where the input differs for some time.

    The magnitude of the error is smoothed, with a time constant of ``2^smooth`` steps. The alarm is on while that is
    above the threshold, and for ``hold`` steps after. ``calibrated`` finds a threshold from recorded inputs.

    Args:
        controller: an output of it is the prediction of an input, in the same unit. It is copied.
        threshold: smoothed error above which the alarm is on, in the unit of the input; at least 0.
        input: which input is watched.
        output: which output predicts it.
        smooth: logarithm to base 2 of the time constant in steps, 0 to 12.
        hold: steps that the alarm stays on.
        warm_up: steps after a reset that are not judged, at least 1.

    Raises:
        SpecError: an argument is not allowed, or the controller scales its inputs, so that units differ.

    Example:
        >>> limits = {"input_limits": ((-1, 1),), "output_limits": ((-1, 1),)}
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.01, **limits)
        >>> alarm = Alarm(nc.Controller(spec, np.zeros(11)).quantize(), threshold=0.5)  # predicts 0
        >>> [alarm.step([u]) for u in (0.1, 0.1, 0.9, 0.1)]
        [False, False, True, False]

    """

    def __init__(
        self, controller: QuantController, threshold: float, *, input: int = 0, output: int = 0, smooth: int = 0,
        hold: int = 0, warm_up: int = 1,
    ):  # fmt: skip
        if not isinstance(controller, QuantController):
            raise SpecError(f"controller: {type(controller).__name__}; allowed: a QuantController, from quantize")
        spec = controller.spec
        if spec.scale_inputs:
            raise SpecError("scale_inputs: True; allowed for an alarm: False, as an output is compared with an input")
        self.controller = deepcopy(controller)
        self.controller.reset()
        self.input = integer("input", input, 0, spec.inputs - 1, error=SpecError)
        self.output = integer("output", output, 0, spec.outputs - 1, error=SpecError)
        self.smooth = integer("smooth", smooth, 0, 12, error=SpecError)
        self.hold = integer("hold", hold, 0, _MAX_STEPS, error=SpecError)
        self.warm_up = integer("warm_up", warm_up, 1, _MAX_STEPS, error=SpecError)
        number("threshold", threshold, 0.0, float("inf"), "a number >= 0", error=SpecError)
        last_bits = controller.last_bits[[self.input, spec.inputs + self.output]]
        bits = [-math.frexp(lsb)[1] + 1 for lsb in last_bits.tolist()]
        self.factors = 1 << max(bits) - bits[0], 1 << max(bits) - bits[1]
        most = _HALF_RANGE * sum(self.factors) << self.smooth
        if most >= LIMIT:
            what = f"input and output have {bits[0]} and {bits[1]} fractional bits"
            raise SpecError(f"smooth: {smooth}: {what}, so the level can reach {most}; allowed: below 2^30")
        self.frac_bits = max(bits) + self.smooth
        self.lsb = 2.0**-self.frac_bits
        """What 1 in the level stands for, in the unit of the input."""
        self.threshold_q = int(min(threshold / self.lsb, most))
        self.state = np.zeros(4, np.int32)
        self._settings = np.array([*self.factors, self.smooth, self.hold, self.threshold_q], np.int32)
        self.reset()

    @classmethod
    def calibrated(
        cls, controller: QuantController, inputs: ArrayLike, *, quantile: float = 1.0, **settings: Any
    ) -> Alarm:
        """Return an alarm whose threshold is a quantile of the smoothed errors on recorded inputs.

        Args:
            controller: as of an alarm.
            inputs: of a machine without faults, ``[T, inputs]``, and better not those that it was trained on.
            quantile: share of steps at which the error is not above the threshold, 0 to 1; 1: all.
            settings: of the alarm, but the threshold.

        Raises:
            SpecError: an argument is not allowed, or there are no more inputs than steps of ``warm_up``.
            LayoutError: inputs have the wrong shape, or are no numbers.

        """
        number("quantile", quantile, 0.0, 1.0, "0 to 1", error=SpecError)
        alarm = cls(controller, 0.0, **settings)
        levels = alarm.rollout(inputs)[1]
        if len(levels) <= alarm.warm_up:
            raise SpecError(f"inputs: {len(levels)} steps; allowed: more than the warm_up of {alarm.warm_up}")
        return cls(controller, float(np.quantile(levels[alarm.warm_up :], quantile, method="higher")), **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make an alarm of the same bits, but the controller."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def save(self, path: str | os.PathLike[str], *, meta: Mapping[str, Any] | None = None) -> None:
        """Write controller, threshold and settings (not the state) to an ``.npz`` file.

        ``load`` reads it, ``neuroctl info`` shows it, ``neuroctl export`` makes C of it.

        Args:
            path: where to; an existing file is replaced atomically.
            meta: notes of plain JSON types, such as the machine, instead of the controller's own.

        Raises:
            FileFormatError: it cannot be written, or the notes are not allowed.

        """
        notes = self.controller.meta if meta is None else meta
        fields = self.controller.fields | {"alarm": self.settings, "meta": notes_from(notes, path)}
        write_archive(path, "alarm", fields, self.controller.arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Alarm:
        """Read a file written by ``save``: an alarm of the same bits, after a reset. Runs no code of the file's.

        Raises:
            FileFormatError: the file is incomplete, damaged or of another kind.

        """
        archive = read_archive(path)
        expect_kind(archive, "alarm", path)
        return cls.from_archive(archive, path)

    @classmethod
    def from_archive(cls, archive: Archive, path: str | os.PathLike[str]) -> Alarm:
        """Build the alarm that an archive holds; ``path`` is for error messages. The kind is not checked.

        Raises:
            FileFormatError: a field or an array is missing or bad.

        """
        controller, name = QuantController.from_archive(archive, path), file_name(path)
        settings = json_object(archive.fields, "alarm", name)
        try:
            return cls(controller, **{key: settings[key] for key in _SETTINGS})
        except KeyError as error:
            raise FileFormatError(f"{name}: alarm: {error.args[0]} is missing") from None
        except SpecError as error:
            raise FileFormatError(f"{name}: alarm: {error}") from None

    @property
    def threshold(self) -> float:
        """The threshold that is compared with, in the unit of the input."""
        return self.threshold_q * self.lsb

    @property
    def level(self) -> float:
        """The smoothed error, in the unit of the input."""
        return float(self.state[LEVEL] * self.lsb)

    def reset(self) -> None:
        """Reset the controller, and the alarm to its start: off."""
        self.controller.reset()
        self.state[:] = 0
        self.state[WAIT] = self.warm_up

    def step(self, u: ArrayLike) -> bool:
        """Step the controller on physical inputs ``[inputs]``; return whether the alarm is on.

        Raises:
            LayoutError: u has the wrong shape or holds no numbers. Nothing has changed.

        """
        return self.step_int(self.controller.quantize_input(u))

    def step_int(self, u: ArrayLike) -> bool:
        """As ``step``, on raw integers ``[inputs]``, which are clipped to their range: what the C does."""
        return bool(self.rollout_int(raw(u, self.controller.spec.inputs)[None])[0][0])

    def rollout(self, inputs: ArrayLike) -> tuple[Array, Array]:
        """Step through physical inputs ``[T, inputs]``, going on from the current state.

        Returns:
            Whether the alarm is on, bool ``[T]``, and the smoothed errors, float64 ``[T]``.

        Raises:
            LayoutError: inputs have the wrong shape, or are no numbers.

        """
        u = self.controller.quantize_input(sequence(inputs, np.float64, self.controller.spec.inputs))
        on, levels = self.rollout_int(u)
        return on, levels * self.lsb

    def rollout_int(self, u: ArrayLike) -> tuple[Array, IntArray]:
        """As ``rollout``, on raw integers ``[T, inputs]``; the errors are int32 levels, in units of ``lsb``."""
        whole = raw(u, "T", self.controller.spec.inputs)
        low, high = self.controller.input_range
        levels, on = np.zeros(len(whole), np.int32), np.zeros(len(whole), np.bool_)
        outputs = np.ascontiguousarray(self.controller.rollout_int(whole)[:, self.output])
        measured = np.ascontiguousarray(np.clip(whole, low, high)[:, self.input])
        _run(measured, outputs, self.state, self._settings, levels, on)
        return on, levels
