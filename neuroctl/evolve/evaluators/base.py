"""The common part of all evaluators, and the one that evaluates in this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.controller import Controller
from neuroctl.errors import NotFiniteError, ObjectiveError
from neuroctl.evolve.blame import blamed, defined, number_of, shown_value
from neuroctl.evolve.genome import Genome

Objective = Callable[[Controller, int], Any]
Values = NDArray[np.float64]
Task = tuple[int, slice]  # a candidate, and a slice of the seeds

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
TASKS_PER_WORKER: Final = 4  # enough for an even load: a good controller's episode lasts far longer than a bad one's


class Evaluator(Protocol):
    """The interface of an evaluator to a study; a context manager.

    Example:
        >>> from neuroctl import Spec
        >>> def best_of(evaluator: Evaluator, genomes: NDArray[np.float64]) -> int:
        ...     with evaluator:
        ...         return int(evaluator.evaluate(genomes, seeds=[0, 1])[:, :, 0].mean(axis=1).argmax())
        >>> genome = Genome(Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02))
        >>> best_of(SerialEvaluator(genome, lambda ctl, seed: float(ctl.params["W_in"][1, 0])), np.eye(3, genome.size))
        1

    """

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class SerialEvaluator:
    """Evaluate in this process.

    Args:
        genome: mapping of genes to a controller.
        objective: callable ``(controller, seed) -> float``, or a tuple of the fitness and its measures.
        measures: number of values that it returns besides the fitness.

    Example:
        >>> from neuroctl import Spec
        >>> genome = Genome(Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02))
        >>> with SerialEvaluator(genome, lambda ctl, seed: float(ctl.step(np.ones(1, np.float32))[0])) as evaluator:
        ...     evaluator.evaluate(np.zeros((3, genome.size)), seeds=[0, 1]).shape
        (3, 2, 1)

    """

    def __init__(self, genome: Genome, objective: Objective, measures: int = 0):
        self._objective, self._genome, self._width = objective, genome, 1 + measures
        self._controller = Controller(genome.spec)

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised, or did not return a number.

        """
        rows = [self.row(genome, seeds, candidate) for candidate, genome in enumerate(genomes)]
        return np.array(rows, np.float64).reshape(len(genomes), len(seeds), self._width)

    def row(self, genome: NDArray[np.float64], seeds: Sequence[int], candidate: int) -> list[tuple[float, ...]]:
        """Return one genome's values for each seed; ``candidate`` is its index, for messages."""
        theta = self._genome.theta(genome)
        return [self._value(theta, seed, candidate) for seed in seeds]

    def _value(self, theta: NDArray[Any], seed: int, candidate: int) -> tuple[float, ...]:
        ctl = self._controller
        ctl.theta[:] = theta
        ctl.reset()
        where = f"with seed {seed}, candidate {candidate}"
        try:
            value: Any = self._objective(ctl, seed)
        except NotFiniteError:  # a simulation that blew up counts as NaN, below all others
            return (math.nan,) * self._width
        except (Exception, SystemExit) as error:
            raise blamed("", error, where) from error
        try:
            parts = value if self._width > 1 else (value,)
            if isinstance(value, (str, bytes)) or len(parts) != self._width:  # float("3") would pass
                raise ValueError
            return tuple(number_of(part) for part in parts)
        except (TypeError, ValueError):
            allowed = "a number" if self._width == 1 else f"{self._width} numbers: the fitness and its measures"
            text = f"objective: returned {shown_value(value)}; allowed: {allowed}; {where}{defined(self._objective)}"
            raise ObjectiveError(text) from None

    def close(self) -> None:
        """Free the resources of the objective."""
        close_objective(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def split(candidates: int, seeds: int, workers: int) -> list[Task]:
    """Split into (candidate, seeds) so that all workers have tasks even with one candidate."""
    parts = min(seeds, max(1, -(-TASKS_PER_WORKER * workers // max(1, candidates))))
    edges = np.linspace(0, seeds, parts + 1).astype(int)
    cuts = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return [(candidate, cut) for candidate in range(candidates) for cut in cuts]


def close_objective(objective: Objective) -> None:
    """Free the resources of an objective, if it has ``close``."""
    close = getattr(objective, "close", None)
    if close is not None:
        close()
