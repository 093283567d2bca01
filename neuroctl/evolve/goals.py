"""Goals besides the fitness, for any objective: low energy, few bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import layout
from neuroctl.errors import StudyError
from neuroctl.evolve.measure import Measure
from neuroctl.evolve.provenance import provenance
from neuroctl.pruning import parameter_bytes
from neuroctl.spec import Spec

GOALS: Final = ("energy", "bytes")
MINUS: Final = "minus "
"""Prefix of a measure's name if its value is a negated cost."""
_NAMES: Final = {
    "energy": f"{MINUS}energy [mean square of output / limit]",
    "bytes": f"{MINUS}parameters [bytes]",
}


def goals_in(measures: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the goals among a stored study's measures, in their order."""
    goals = {name: goal for goal, name in _NAMES.items()}
    return [goals[measure["name"]] for measure in measures if measure["name"] in goals]


class Goals:
    """An objective that returns the fitness and further goals. All are maximized, so costs are negated.

    - ``energy``: minus the mean of (output / limit)^2 over the outputs and the steps since the last reset. An output's
      limit is the larger magnitude of its two ``output_limits``.
    - ``bytes``: minus the size in bytes of the parameters on a board, without neurons that reach no output; see
      ``neuroctl.pruning``.

    Args:
        objective: callable ``(controller, seed) -> float``; it runs one episode of the controller.
        names: names of the goals, each at most once.
        spec: spec of the controllers; ``energy`` needs ``output_limits``.

    Raises:
        StudyError: a goal is unknown or given twice, or ``energy`` lacks ``output_limits``.

    Example:
        >>> from neuroctl import Controller
        >>> spec = Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
        >>> light = Goals(lambda ctl, seed: 1.0, ["bytes"], spec)
        >>> light(Controller(spec), seed=0)
        (1.0, -22.0)

    """

    def __init__(self, objective: Any, names: Sequence[str], spec: Spec):
        for name in names:
            if name not in GOALS or list(names).count(name) > 1:
                raise StudyError(f"goals: {name!r}; allowed: {', '.join(GOALS)}, each once")
        if "energy" in names and spec.output_limits is None:
            raise StudyError("output_limits: None; allowed for the goal energy: declared limits")
        self._objective, self._names, self._spec = objective, tuple(names), spec
        self.__wrapped__ = objective

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Measures of the goals, in the order of ``names``."""
        known = {
            "energy": Measure(_NAMES["energy"], -1.0, 0.0),
            "bytes": Measure(_NAMES["bytes"], -self._max_bytes(), 0.0),
        }
        return tuple(known[name] for name in self._names)

    def _max_bytes(self) -> float:
        return 2.0 * (layout(self._spec).size + self._spec.neurons)  # words of 16 bits, and 32 for dt/tau

    def __call__(self, controller: Any, seed: int) -> tuple[float, ...]:
        """Run the objective once and return the fitness, then the value of each goal."""
        values: dict[str, float] = {}
        if "energy" in self._names:
            metered = _Metered(controller)
            fitness = float(self._objective(metered, seed))
            values["energy"] = -metered.energy
        else:
            fitness = float(self._objective(controller, seed))
        if "bytes" in self._names:
            values["bytes"] = -float(parameter_bytes(controller))
        return (fitness, *(values[name] for name in self._names))

    def observations(self, controller: Any, seed: int) -> Any:
        """Return the controller's inputs in one episode, or None if the objective has no ``observations``."""
        observations = getattr(self._objective, "observations", None)
        return None if observations is None else observations(controller, seed)

    def measured_limits(self, observations: Any) -> Any:
        """Return input limits measured on observations, or None if the objective has no ``measured_limits``."""
        measured = getattr(self._objective, "measured_limits", None)
        return None if measured is None else measured(observations)

    def made_of(self) -> dict[str, str]:
        """Return digests and versions of the objective's sources; see ``neuroctl.evolve.provenance``."""
        return provenance(self._objective)

    def close(self) -> None:
        """Close the objective, if it has a ``close``."""
        close = getattr(self._objective, "close", None)
        if close is not None:
            close()


class _Metered:
    """A controller that sums up the energy of its outputs."""

    def __init__(self, controller: Any):
        self._controller, self.spec = controller, controller.spec
        self._limit = np.abs(np.array(controller.spec.output_limits, np.float64)).max(axis=1)
        self._sum, self._steps = 0.0, 0

    @property
    def energy(self) -> float:
        """Mean over the steps since the last reset; 0 if there were none."""
        return self._sum / max(1, self._steps)

    def reset(self) -> None:
        self._sum, self._steps = 0.0, 0
        self._controller.reset()

    def step(self, u: NDArray[Any]) -> Any:
        y = self._controller.step(u)
        self._count(y[None])
        return y

    def rollout(self, inputs: ArrayLike) -> Any:
        y = self._controller.rollout(inputs)
        self._count(y)
        return y

    def _count(self, y: NDArray[Any]) -> None:
        share = np.asarray(y, np.float64) / self._limit
        for row in share:  # one by one: the same bits for steps and rollouts
            self._sum += float(row @ row) / len(row)
        self._steps += len(share)

    def __getattr__(self, name: str) -> Any:
        """Look up further attributes of the controller, for the objective."""
        return getattr(self._controller, name)
