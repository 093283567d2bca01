"""Evolution in fixed point: the integer controllers of the firmware are evaluated, and so selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.controller import Controller
from neuroctl.errors import ExportError
from neuroctl.evolve.provenance import provenance
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.quant import QuantController, quantize_possible
from neuroctl.spec import Spec


class QuantizedObjective:
    """An objective on the integer form of the controller that it is given; NaN where that has none.

    Whole populations are evaluated by the objective's ``batch_quantized(controllers, seeds, threads)``, if it has one:
    it takes P ``QuantController`` and returns what ``batch`` would.

    Args:
        objective: callable ``(controller, seed) -> float``.
        storage: of the integer form.
        measures: number of values that the objective returns besides the fitness.

    """

    def __init__(self, objective: Any, storage: FixedPointConfig, measures: int = 0):
        self._objective, self._storage = objective, storage
        self.__wrapped__ = objective
        self._none = (float("nan"),) * (1 + measures) if measures else float("nan")
        self._theta: bytes = b""
        self._quantized: QuantController | None = None

    def __call__(self, controller: Controller, seed: int) -> Any:
        """Return the objective of the integer form."""
        fixed = self._of(controller)
        return self._none if fixed is None else self._objective(fixed, seed)

    def _of(self, controller: Controller) -> QuantController | None:
        """Return the integer form; the last one is kept, as one genome is run from several starts."""
        theta = controller.theta.tobytes()
        if theta != self._theta:
            try:
                self._quantized = self._storage.of(controller)
            except ExportError:
                self._quantized = None
            self._theta = theta
        if self._quantized is not None:
            self._quantized.reset()
        return self._quantized

    def __getattr__(self, name: str) -> Any:
        """Have ``batch`` if the objective has a form of it for integer controllers."""
        if name == "batch" and hasattr(self.__dict__.get("_objective"), "batch_quantized"):
            return self._batch
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def _batch(self, spec: Spec, theta: NDArray[Any], seeds: Sequence[int], threads: int) -> NDArray[np.float64]:
        """Return the objective of the integer forms of a population, NaN for those that have none."""
        storage = self._storage
        bits, shared = (storage.weight_bits, storage.state_bits), storage.shared_formats
        population, holds = quantize_possible(spec, theta, *bits, shared_formats=shared)
        if population is None:
            return np.full((len(theta), len(seeds), np.size(self._none)), np.nan)
        values = np.asarray(self._objective.batch_quantized(population, seeds, threads), np.float64)
        if holds.all() or len(values) != len(population):  # of another length: the evaluator tells
            return values
        all_values = np.full((len(theta), *values.shape[1:]), np.nan)
        all_values[holds] = values
        return all_values

    def observations(self, controller: Controller, seed: int) -> Any:
        """Return the integer form's inputs in one episode, if the objective provides them."""
        observations, fixed = getattr(self._objective, "observations", None), self._of(controller)
        return None if observations is None or fixed is None else observations(fixed, seed)

    def made_of(self) -> dict[str, str]:
        """Return the sources of the objective, see ``neuroctl.evolve.provenance``."""
        return provenance(self._objective)

    def close(self) -> None:
        """Free the resources of the objective."""
        close = getattr(self._objective, "close", None)
        if close is not None:
            close()

    def __getstate__(self) -> dict[str, Any]:
        """Drop the last controller: a worker makes its own."""
        return self.__dict__ | {"_theta": b"", "_quantized": None}

    def __repr__(self) -> str:
        return f"{self._objective!r} in fixed point {self._storage!r}"
