"""What trainings by reward share: the controller as it is trained and as it is written, and how it is judged."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends import get
from neuroctl.backends.base import check_plant
from neuroctl.backends.plant import Plant
from neuroctl.checks import integer
from neuroctl.controller import Controller
from neuroctl.errors import ExportError, StabilityWarning, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.format_choice import check_coarse
from neuroctl.own_formats import own_formats
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train.output_scale import OutputScale

Array = NDArray[Any]

_VALIDATION: Final = 2  # the stream of episode seeds that evolution chooses its best by


def trained_spec(spec: Spec) -> Spec:
    """Return the spec that steps while a controller is trained: without limits, in units of half its outputs' ranges.

    Parameters have the same layout. Actions are clipped to the limits outside the controller.

    Raises:
        TrainingError: without limits of the outputs, with a readout that cannot take in their range, or of a Jordan
            network, whose context would be of clipped outputs in one and not in the other.

    """
    if spec.output_limits is None:
        raise TrainingError("output_limits: None; allowed by reward: (low, high) of each output")
    if spec.readout != "affine" or spec.output_activation != "identity":
        raise TrainingError(
            f"readout: {spec.readout}, output_activation {spec.output_activation}; allowed by reward: affine, identity"
        )
    if spec.cell == "jordan":
        raise TrainingError("cell: 'jordan'; allowed by reward: ctrnn, elman, indrnn, gru, cfc")
    return replace(spec, output_limits=None, input_limits=None, scale_inputs=False)


def output_scale(spec: Spec) -> OutputScale:
    """Return the map from outputs in units of half their range to physical ones."""
    return OutputScale.of_ranges(*np.array(spec.output_limits).T)


class Validation:
    """The mean fitness of a controller, as it is written, over whole episodes from fixed starts that none trains on.

    They are the starts that evolution with the same seed chooses its best by.

    Args:
        spec: of the controller that is written.
        plant: what it controls.
        max_steps: most control steps of an episode.
        seed: of the training.
        episodes: number of starts.
        fitness: name of the plant's fitness function.
        fixed_point: storage of the integer controller that is judged; None: the float controller.
        threads: how many to use; None: one a core.

    Raises:
        PlantError: the plant does not fit the spec.
        TrainingError: episodes are not an integer >= 1.
        ExportError: in fixed point, of a spec that has no such form, or limits that are too coarse for it.

    """

    def __init__(
        self, spec: Spec, plant: Plant, max_steps: int, *, seed: int = 0, episodes: int = 64,
        fitness: str = "fitness", fixed_point: FixedPointConfig | None = None, threads: int | None = None,
    ):  # fmt: skip
        check_plant(plant, spec, fitness)
        self.spec, self.fixed_point = spec, fixed_point
        if fixed_point is not None:
            own = own_formats(spec, shared=fixed_point.shared_formats)
            check_coarse(own, allow=fixed_point.allow_coarse)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", StabilityWarning)
                fixed_point.of(Controller(spec, seed=0))  # raises where no parameters would do
        self._plant, self._steps, self._fitness, self._threads = plant, max_steps, fitness, threads
        count = integer("validation_episodes", episodes, 1, error=TrainingError)
        seeds = np.random.SeedSequence(seed, spawn_key=(_VALIDATION, 0)).generate_state(count, np.uint32)
        starts = [plant.start_of(int(seed)) for seed in (seeds[:1] if plant.same_start else seeds)]
        self._starts = np.ascontiguousarray(np.array(starts).T)

    def quantized(self, theta: Array) -> QuantController | None:
        """Return the integer controller of parameters; None of a float controller, or where a range is too wide."""
        if self.fixed_point is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)
            try:
                return self.fixed_point.of(Controller(self.spec, theta))
            except ExportError:
                return None

    def __call__(self, theta: Array) -> float:
        """Return the mean fitness of parameters ``[n_params]``; NaN where there is no integer controller of them."""
        backend, more = get("cpu"), {"fitness": self._fitness, "threads": self._threads, "starts": self._starts}
        if self.fixed_point is None:
            episodes = backend.rollout(self.spec, theta, self._plant.module, self._steps, **more)
        else:
            controller = self.quantized(theta)
            if controller is None:
                return np.nan
            episodes = backend.rollout_quantized([controller], self._plant.module, self._steps, **more)
        return float(np.mean(episodes.fitness, dtype=np.float64))
