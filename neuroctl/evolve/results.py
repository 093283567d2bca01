"""Results of a study: figures after each generation, and the outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Figures after a generation; ``best`` and ``median`` are of its training fitness.

    ``left_s`` is the time until the first of the study's limits, at the pace of this run so far.
    """

    generation: int
    generations: int
    evaluations: int
    best: float
    median: float
    sigma: float
    best_validation: float | None
    evals_per_s: float
    elapsed_s: float
    left_s: float


@dataclass(frozen=True)
class StudyResult:
    """The outcome of a study: the path of the best controller, and its mean return over the validation episodes.

    There is no best before a generation is finished with a mean return that is a number: its score is None.
    """

    best_path: Path
    best_score: float | None
    best_generation: int | None
    generations: int
    evaluations: int
    stop_reason: str
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self) | {"best_path": None if self.best_score is None else str(self.best_path)}
