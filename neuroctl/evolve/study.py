"""Studies: an evolution in a folder, which can be killed at any moment and goes on bit for bit.

The folder holds

- ``study.json``: the configuration, written once at the start;
- ``checkpoint.npz``: the truth, written whole after each generation: every fitness told so far and the best;
- ``best.npz``: the best controller so far, and ``history.csv``: one row a generation. Both follow from the checkpoint.

An optimiser's state is not stored: a resumed study replays ask and tell from the seed with the recorded fitnesses.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import decode, genome_size
from neuroctl.controller import Controller
from neuroctl.errors import StudyError
from neuroctl.evolve.evaluators import Evaluator, Objective, make_evaluator
from neuroctl.evolve.folder import COLUMNS, Checkpoint, StudyFolder
from neuroctl.evolve.optimizers import OPTIMIZERS, Optimizer
from neuroctl.spec import Spec

_TRAINING, _VALIDATION = 1, 2  # streams of episode seeds; stream 0 is the optimiser's


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What a study does; with the objective it fixes every bit of the result.

    Args:
        spec: the controller.
        task: name of the task, a note for those who read the files.
        seed: of everything random, from 0.
        optimizer: name in ``OPTIMIZERS``.
        generations: generations in all; a resumed study may ask for more.
        population: genomes a generation, at least 4.
        sigma0: first standard deviation of the search, in genes.
        episodes: a fitness is the mean over this many episodes, the same starts for all of a generation.
        validation_episodes: the best is chosen by the mean over this many fixed starts that training never uses.
        target_score: stop once the best's validation mean reaches this; None goes on to the last generation.

    Raises:
        StudyError: a field is out of range or unknown.

    """

    spec: Spec
    task: str
    seed: int = 0
    optimizer: str = "cmaes"
    generations: int = 150
    population: int = 32
    sigma0: float = 0.5
    episodes: int = 4
    validation_episodes: int = 64
    target_score: float | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        if self.optimizer not in OPTIMIZERS:
            raise StudyError(f"optimizer: {self.optimizer!r}; allowed: {', '.join(OPTIMIZERS)}")
        least = {"seed": 0, "generations": 1, "population": 4, "episodes": 1, "validation_episodes": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise StudyError(f"{name}: {value!r}; allowed: whole numbers from {low}")
        if not 0.0 < self.sigma0 < np.inf:
            raise StudyError(f"sigma0: {self.sigma0!r}; allowed: finite and greater than 0")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self) | {"spec": self.spec.to_dict()}


@dataclass(frozen=True)
class Progress:
    """Figures after a generation; ``best`` and ``median`` are of its training fitness."""

    generation: int
    generations: int
    evaluations: int
    best: float
    median: float
    sigma: float
    best_validation: float | None
    evals_per_s: float
    elapsed_s: float


@dataclass(frozen=True)
class StudyResult:
    """How a study ended: where the best controller lies and its mean return over the validation episodes."""

    best_path: Path
    best_score: float | None
    best_generation: int | None
    generations: int
    evaluations: int
    stop_reason: str
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self) | {"best_path": str(self.best_path)}


def run_study(
    config: StudyConfig,
    objective: Objective,
    out_dir: str | Path,
    *,
    workers: int = 1,
    resume: bool = False,
    on_generation: Callable[[Progress], None] | None = None,
) -> StudyResult:
    """Evolve a controller and keep everything in a folder.

    The fitness of a genome is the mean of ``objective(controller, seed)`` over the generation's seeds. Noisy fitness
    is not trusted with the choice of the best: each generation's fittest genome runs on the fixed validation seeds,
    a quarter first and the rest only if it is no worse there than the best so far; a higher mean over all takes over.

    Args:
        config: what to do.
        objective: ``(controller, seed) -> float``, higher is better; picklable if workers > 1. If it has a method
            ``observations(controller, seed)``, one episode's inputs are stored in ``best.npz`` for fixed point.
        out_dir: the study's folder: new or empty, or with ``resume`` one that holds the same study.
        workers: processes; the result does not depend on it.
        resume: go on from the folder's checkpoint.
        on_generation: called after each generation.

    Returns:
        How it ended. Ctrl-C and SIGTERM end it cleanly, with ``interrupted`` set.

    Raises:
        StudyError: the folder cannot be used, holds another study, or the objective failed.
        FileFormatError: a file cannot be written; the last checkpoint is whole.

    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise StudyError(f"workers: {workers!r}; allowed: whole numbers from 1")
    with StudyFolder(Path(out_dir), config.to_dict(), resume=resume) as folder:
        study = _Study(config, objective, folder)
        return study.run(workers, on_generation)


class _Study:
    def __init__(self, config: StudyConfig, objective: Objective, folder: StudyFolder):
        self.config, self.objective, self.folder = config, objective, folder
        self.genes = genome_size(config.spec)
        self.state = folder.load(config.population, self.genes, config.validation_episodes)
        self.optimizer = self._replay()
        self.started = time.monotonic() - (self.state.rows[-1][-1] if self.state.rows else 0.0)
        self.evaluated = 0

    def _replay(self) -> Optimizer:
        optimizer = OPTIMIZERS[self.config.optimizer](
            self.genes, self.config.seed, self.config.population, self.config.sigma0
        )
        for fitness in self.state.fitness:
            optimizer.ask()
            optimizer.tell(fitness)
        return optimizer

    def run(self, workers: int, on_generation: Callable[[Progress], None] | None) -> StudyResult:
        self._write_derived()
        interrupted = False
        began = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            interrupted = True
            with (
                _sigterm_interrupts(),
                make_evaluator(self.config.spec, self.objective, workers) as evaluator,
            ):
                while self.stop_reason() is None:
                    self._generation(evaluator)
                    if on_generation is not None:
                        on_generation(self._progress(time.monotonic() - began))
            interrupted = False
        return self._result(interrupted)

    def stop_reason(self) -> str | None:
        """Return why the study is over, or None; follows from the checkpoint alone."""
        target, best = self.config.target_score, self.state.best_score
        if target is not None and best is not None and best >= target:
            return "target score reached"
        if len(self.state.fitness) >= self.config.generations:
            return "all generations done"
        reason = self.optimizer.stop() if self.state.fitness else None
        return f"search exhausted ({reason})" if reason else None

    def _generation(self, evaluator: Evaluator) -> None:
        config, state = self.config, self.state
        generation = len(state.fitness)
        genomes = self.optimizer.ask()
        seeds = episode_seeds(config.seed, _TRAINING, generation, config.episodes)
        fitness = evaluator.evaluate(genomes, seeds).mean(axis=1)
        self.evaluated += len(genomes)
        # NaN never wins; where all are NaN the first is as good as any.
        fittest = int(np.argmax(np.where(np.isnan(fitness), -np.inf, fitness)))
        validation, improved = self._validated(evaluator, genomes[fittest])
        if improved is not None:
            state = state.with_best(genomes[fittest], improved, generation)
        self.optimizer.tell(fitness)
        self.state = state.with_generation(fitness, self._row(state, fitness, validation))
        self.folder.save_checkpoint(self.state)
        self._write_derived(best_too=improved is not None)

    def _validated(
        self, evaluator: Evaluator, genome: NDArray[np.float64]
    ) -> tuple[float | None, NDArray[np.float64] | None]:
        """Return the genome's validation mean (None if it was not run to the end) and its values if it is better."""
        seeds = episode_seeds(self.config.seed, _VALIDATION, 0, self.config.validation_episodes)
        best = self.state.best_values
        first = max(1, len(seeds) // 4)
        values = evaluator.evaluate(genome[None], seeds[:first])[0]
        if best is not None and not values.mean() >= best[:first].mean():
            return None, None
        if len(seeds) > first:
            values = np.concatenate([values, evaluator.evaluate(genome[None], seeds[first:])[0]])
        mean = float(values.mean())
        better = np.isfinite(mean) and (best is None or mean > best.mean())
        return mean, values if better else None

    def _row(self, state: Checkpoint, fitness: NDArray[np.float64], validation: float | None) -> list[float]:
        evaluations = (len(state.fitness) + 1) * self.config.population
        finite = fitness[np.isfinite(fitness)]
        spread = [finite.max(), np.median(finite), finite.mean(), finite.min()] if finite.size else [np.nan] * 4
        validations = [np.nan if score is None else score for score in (validation, state.best_score)]
        row = [len(state.fitness), evaluations, *spread, self.optimizer.sigma, *validations]
        return [float(value) for value in row] + [time.monotonic() - self.started]

    def _write_derived(self, *, best_too: bool = True) -> None:
        """Write what follows from the checkpoint; a crash before this line is mended on resume."""
        state = self.state
        if best_too and state.best_genome is not None:
            ctl = Controller(self.config.spec, decode(self.config.spec, state.best_genome))
            meta = {"task": self.config.task, "seed": self.config.seed, "generation": state.best_generation}
            meta |= {"score": state.best_score, "validation_episodes": self.config.validation_episodes}
            ctl.save(self.folder.best_path, meta=meta, calibration=self._observations(ctl))
        self.folder.save_history(state.rows)

    def _observations(self, ctl: Controller) -> NDArray[Any] | None:
        observations = getattr(self.objective, "observations", None)
        seed = episode_seeds(self.config.seed, _VALIDATION, 0, 1)[0]
        return None if observations is None else np.asarray(observations(ctl, seed))

    def _progress(self, running_s: float) -> Progress:
        row = dict(zip(COLUMNS, self.state.rows[-1], strict=True))
        return Progress(
            generation=len(self.state.fitness) - 1,
            generations=self.config.generations,
            evaluations=int(row["evaluations"]),
            best=row["best"],
            median=row["median"],
            sigma=row["sigma"],
            best_validation=self.state.best_score,
            evals_per_s=self.evaluated / max(running_s, 1e-9),
            elapsed_s=row["elapsed_s"],
        )

    def _result(self, interrupted: bool) -> StudyResult:
        return StudyResult(
            best_path=self.folder.best_path,
            best_score=self.state.best_score,
            best_generation=self.state.best_generation,
            generations=len(self.state.fitness),
            evaluations=len(self.state.fitness) * self.config.population,
            stop_reason=self.stop_reason() or "interrupted",
            interrupted=interrupted,
        )


def episode_seeds(seed: int, stream: int, generation: int, count: int) -> list[int]:
    """Return the seeds of a generation's episodes: streams and generations share none, but by chance of 2^-32.

    Args:
        seed: of the study.
        stream: training or validation.
        generation: from 0.
        count: how many; a longer list begins with a shorter one.

    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, generation))
    return [int(value) for value in sequence.generate_state(count, np.uint32)]


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM end a study as Ctrl-C does. Signals can be handled in the main thread only."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
