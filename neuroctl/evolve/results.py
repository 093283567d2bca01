"""Results of a study: figures after each generation, and the outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Progress of a study after a generation.

    Args:
        generation: index of the generation, from 0.
        generations: largest number of generations.
        evaluations: number of evaluations so far.
        best: best training fitness in this generation.
        median: median training fitness in this generation.
        sigma: width of the search distribution, in units of a gene.
        best_validation: best mean return over the validation episodes so far; None if there is none yet.
        evals_per_s: evaluations per second in this run.
        elapsed_s: time spent on the study, in seconds.
        left_s: estimated time in seconds until the study reaches a limit, at the pace of this run.

    Example:
        >>> from neuroctl import Spec
        >>> from neuroctl.evolve import StudyConfig, run_study
        >>> spec = Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
        >>> config = StudyConfig(spec=spec, task="rest", generations=3, population=4, episodes=1, validation_episodes=4)
        >>> def told(progress: Progress) -> None:
        ...     print(progress.generation, progress.evaluations)
        >>> result = run_study(config, lambda ctl, seed: -float(abs(ctl.theta).sum()), "rest", on_generation=told)
        0 4
        1 8
        2 12

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
    """Outcome of a study: the path of the best controller, and its mean return over the validation episodes.

    ``best_score`` and ``best_generation`` are None if no validated controller has had a finite mean return so far.

    Example:
        >>> from neuroctl import Spec, load
        >>> from neuroctl.evolve import StudyConfig, run_study
        >>> spec = Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
        >>> config = StudyConfig(spec=spec, task="rest", generations=3, population=4, episodes=1, validation_episodes=4)
        >>> result = run_study(config, lambda ctl, seed: -float(abs(ctl.theta).sum()), "rest")
        >>> result.generations, result.interrupted, load(result.best_path).spec == spec
        (3, False, True)

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
