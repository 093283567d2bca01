"""Studies: an evolution in a folder, which can be killed at any moment and resumed bit for bit.

The folder holds

- ``study.json``: the configuration, written once at the start;
- ``generations.bin``: appended to after each generation: every fitness told so far, see ``generations``;
- ``checkpoint.npz``: written whole after each generation: the best, and the valid length of ``generations.bin``;
- ``best.npz``: the best controller so far, and ``history.csv``: one row per generation. Both follow from those two;
- ``population.npz``, when the study ends: the last generation's genes and what they were told; and ``archive.npz`` or
  ``front.npz`` of a search that keeps more than one genome.

An optimizer's state is not stored: a resumed study replays ask and tell from the seed with the recorded fitnesses.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, number, shown
from neuroctl.controller import Controller
from neuroctl.errors import (
    NotFiniteError,
    ObjectiveError,
    StabilityWarning,
    StudyError,
    UnrepeatableError,
    require,
    warn,
)
from neuroctl.evolve.archive import CELLS, MapElites
from neuroctl.evolve.blame import blamed, defined
from neuroctl.evolve.checkpoint import Checkpoint, EvolutionFolder
from neuroctl.evolve.config import StudyConfig
from neuroctl.evolve.evaluators import Evaluator, Objective, make_evaluator
from neuroctl.evolve.generations import COLUMNS, Generation
from neuroctl.evolve.genome import Genome
from neuroctl.evolve.optimizers import MULTI_OBJECTIVE_OPTIMIZERS, Optimizer, make_optimizer
from neuroctl.evolve.pareto import NSGA2
from neuroctl.evolve.provenance import changes, provenance
from neuroctl.evolve.quantized import QuantizedObjective
from neuroctl.evolve.racing import race
from neuroctl.evolve.repeatable import check_repeatable
from neuroctl.evolve.results import Progress, StudyResult
from neuroctl.format_choice import check_coarse
from neuroctl.io import file_name, write_archive
from neuroctl.own_formats import own_formats
from neuroctl.studies.interrupts import Aside, Interrupts

_TRAINING, _VALIDATION, _CHECK = 1, 2, 3  # streams of episode seeds; stream 0 is the optimizer's


def run_study(
    config: StudyConfig,
    objective: Objective,
    out_dir: str | Path,
    *,
    workers: int = 1,
    resume: bool = False,
    on_generation: Callable[[Progress], None] | None = None,
    time_limit_s: float | None = None,
    task_timeout_s: float | None = None,
    cluster: str | None = None,
    allow_unrepeatable: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> StudyResult:
    """Evolve a controller and keep everything in a folder.

    The fitness of a genome is the mean of ``objective(controller, seed)`` over the generation's seeds. As it is noisy,
    the best is chosen on fixed validation seeds. The fittest genome of each generation, in every second one the middle
    of the search, runs on a quarter of them; then on the rest, unless its mean is below both means of the best so far,
    on the same quarter and on all seeds. The genome with the higher mean over all is the best.

    Args:
        config: configuration of the study.
        objective: ``(controller, seed) -> float``, higher is better; picklable if workers > 1. If it has a method
            ``observations(controller, seed)``, one episode's inputs are stored in ``best.npz`` for fixed point.
        out_dir: the study's folder: new or empty, or with ``resume`` one that holds the same study.
        workers: number of processes, an integer >= 1; the result does not depend on it.
        resume: continue from the folder's checkpoint.
        on_generation: called after each generation.
        time_limit_s: time after which no generation begins, counted from the end of compilation; the study can be
            resumed.
        task_timeout_s: see ``PoolEvaluator``.
        cluster: evaluate on Ray: ``"local"``, or a running cluster's address; the result does not depend on it.
        allow_unrepeatable: accept an objective that gives one controller two values with one seed. By default three
            genomes are evaluated several times before the first generation of each call, to check this.
        on_stage: called with a text for each stage before the first generation.

    Returns:
        The outcome. Ctrl-C and SIGTERM end the study cleanly, with ``interrupted`` set. The unfinished generation is
        lost; if it was the first, there is no file at ``best_path`` yet.

    Raises:
        StudyError: the folder cannot be used, or holds another study.
        ObjectiveError: the objective raised or returned no number, or no candidate has had a finite one so far.
        ExportError: fixed point is too coarse for the declared limits; see ``neuroctl.quant.quantize``.
        FileFormatError: a file cannot be written; the last checkpoint is whole.

    """
    if not isinstance(config, StudyConfig):
        raise StudyError(f"config: {shown(config)}; allowed: a StudyConfig")
    workers = integer("workers", workers, 1, error=StudyError)
    if time_limit_s is not None:
        number("time_limit_s", time_limit_s, 0.0, math.inf, "seconds, at least 0, or None", error=StudyError)
    path = Path(file_name(out_dir))
    if config.fixed_point is not None and not resume:
        own = own_formats(config.spec, shared=config.fixed_point.shared_formats)
        check_coarse(own, allow=config.fixed_point.allow_coarse)
    # The number of threads determines the order of sums, and so the result.
    blas = require("threadpoolctl", "evolve")
    with blas.threadpool_limits(1, user_api="blas"), Interrupts() as interrupts:
        interrupts.hold()
        with EvolutionFolder(path, config.to_dict(), resume=resume) as folder:
            if config.fixed_point is not None:
                objective = QuantizedObjective(objective, config.fixed_point, len(config.measures))
            on_stage = on_stage or (lambda _: None)
            execution = _Execution(workers, time_limit_s, task_timeout_s, cluster, allow_unrepeatable, on_stage)
            return _Study(config, objective, folder, interrupts).run(execution, on_generation)


@dataclass(frozen=True)
class _Execution:
    """The arguments of a study on which its result does not depend."""

    workers: int
    time_limit_s: float | None
    task_timeout_s: float | None
    cluster: str | None
    allow_unrepeatable: bool
    on_stage: Callable[[str], None]


class _Study:
    def __init__(self, config: StudyConfig, objective: Objective, folder: EvolutionFolder, interrupts: Interrupts):
        self.config, self.objective, self.folder, self.interrupts = config, objective, folder, interrupts
        self.genome = Genome(config.spec, config.encoding, config.begin_with)
        self.measures = len(config.measures)
        self.state, self.past = folder.load(1 + self.measures, self.genome.size, config.validation_episodes)
        self.started = time.monotonic() - (self.state.last.row[-1] if self.state.last else 0.0)
        self.evaluated = 0
        best = COLUMNS.index("best")
        self.scored = any(np.isfinite(generation.row[best]) for generation in self.past)
        self.aside = Aside()
        self.last = np.zeros((0, self.genome.size))

    def run(self, execution: _Execution, on_generation: Callable[[Progress], None] | None) -> StudyResult:
        """Run to the end, or to Ctrl-C, which was held back while the folder was opened."""
        try:
            self.interrupts.release()
            reason = self._evolve(execution, on_generation)
        except KeyboardInterrupt:
            return self._result(self._over() or "interrupted", interrupted=True)
        finally:
            self.aside.close()
        return self._result(reason, interrupted=False)

    def _evolve(self, execution: _Execution, on_generation: Callable[[Progress], None] | None) -> str:
        optimizer = self._replayed()
        over = self._over() is not None
        if not over:
            alone = execution.cluster is None and (hasattr(self.objective, "batch") or execution.workers == 1)
            execution.on_stage("compiling, once" if alone else "starting workers; compiling, once")
        with make_evaluator(
            self.genome, self.objective, execution.workers, self.measures,
            task_timeout_s=execution.task_timeout_s, cluster=execution.cluster,
        ) as evaluator:  # fmt: skip
            if not over:
                self._warm_up(evaluator, execution)
            self._note_changes(evaluator)
            observations = self._observations(self.state.best_genome)
            with self.interrupts.shield():
                self._write_best(observations)
                self.folder.save_history(self.past)
            self.past = []
            began = time.monotonic()
            while (reason := self._over() or self._exhausted(optimizer)) is None:
                if execution.time_limit_s is not None and time.monotonic() - began >= execution.time_limit_s:
                    reason = "time is up"
                    break
                last = self._generation(optimizer, evaluator)
                if on_generation is not None:
                    on_generation(self._progress(last, time.monotonic() - began, execution.time_limit_s))
        with self.interrupts.shield():
            self._write_last(optimizer)
        return reason

    def _replayed(self) -> Optimizer:
        config, folder = self.config, self.folder
        optimizer = self.aside(
            make_optimizer, config.optimizer, self.genome.size, config.seed, config.population,
            config.sigma0 * self.genome.unit, config.measures,
        )  # fmt: skip
        for generation in self.past:
            self.last = self.genome.snapped(self.aside(optimizer.ask))
            self.aside(optimizer.tell, self._told(generation.told))
        if self.past and _digest(optimizer) != self.state.search:
            now = folder.current_versions()
            changed = [f"{name} {old}, now {now.get(name)}" for name, old in folder.versions.items()
                       if old != now.get(name)]  # fmt: skip
            raise StudyError(
                f"search: its replay differs from the study's, made with {'; '.join(changed) or 'another machine'}; "
                "allowed: the same versions and machine, or a new study"
            )
        return optimizer

    def _warm_up(self, evaluator: Evaluator, execution: _Execution) -> None:
        """Start workers, compile, and check that the objective is repeatable."""
        batch = hasattr(self.objective, "batch")
        rng = np.random.default_rng(np.random.SeedSequence(self.config.seed, spawn_key=(_CHECK, 1)))
        drawn = self.config.sigma0 * self.genome.unit * rng.standard_normal((3, self.genome.size))
        (seed,) = episode_seeds(self.config.seed, _CHECK, 0, 1)
        genomes = self.genome.snapped(drawn)
        self._observations(genomes[0])  # compiles what the first best will need
        try:
            check_repeatable(evaluator, genomes, seed, 1 if batch else execution.workers)
        except UnrepeatableError:
            if not execution.allow_unrepeatable:
                raise
        execution.on_stage("first generation")

    def _note_changes(self, evaluator: Evaluator) -> None:
        """Warn if the objective has changed, and score the best again in that case."""
        now, before, best = provenance(self.objective), self.state.objective, self.state.best_genome
        self.state = replace(self.state, objective=now)
        if before is None or before == now:
            return
        text = f"objective: changed since the last generation ({'; '.join(changes(before, now))})"
        if best is not None:
            seeds = episode_seeds(self.config.seed, _VALIDATION, 0, self.config.validation_episodes)
            old, values = self.state.best_score, evaluator.evaluate(best[None], seeds)[0, :, 0]
            if not np.isfinite(_mean(values)):
                raise StudyError(f"{text}, and the best scores {_mean(values)} now; allowed: a new study")
            self.state = replace(self.state, best_values=values)
            with self.interrupts.shield():
                self.folder.save_checkpoint(self.state)
            text += f": the best scores {_mean(values):.6g} now, {old:.6g} before"
        warn(text)

    def _over(self) -> str | None:
        """Return the reason why the study is over, or None; it follows from the checkpoint alone."""
        target, best = self.config.target_score, self.state.best_score
        if target is not None and best is not None and best >= target:
            return "target score reached"
        if self.config.evaluations is not None and self.state.evaluations >= self.config.evaluations:
            return "all evaluations done"
        return "all generations done" if self.state.generations >= self.config.generations else None

    def _told(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the optimizer's part of values ``[P, 1 + measures]``: the fitness alone if it takes no measures."""
        return values if self.config.optimizer in MULTI_OBJECTIVE_OPTIMIZERS else values[:, 0]

    def _exhausted(self, optimizer: Optimizer) -> str | None:
        reason = self.aside(optimizer.stop) if self.state.generations else None
        return f"search exhausted ({reason})" if reason else None

    def _generation(self, optimizer: Optimizer, evaluator: Evaluator) -> Generation:
        config, state = self.config, self.state
        generation = state.generations
        genomes = self.genome.snapped(self.aside(optimizer.ask))
        seeds = episode_seeds(config.seed, _TRAINING, generation, config.episodes)
        if config.racing:
            fitness, episodes = race(evaluator.evaluate, genomes, seeds)
            told = fitness[:, None]
        else:
            told, episodes = _means(evaluator.evaluate(genomes, seeds)), genomes.shape[0] * len(seeds)
            fitness = told[:, 0]
        self.evaluated += len(genomes)
        self._check_scored(fitness)
        candidate = self._candidate(optimizer, genomes, fitness)
        validation, improved = self._validated(evaluator, candidate)
        observations = None
        if improved is not None:
            state = state.with_best(candidate, improved, generation)
            observations = self._observations(candidate)
        self.aside(optimizer.tell, self._told(told))
        last = Generation(self._row(state, fitness, episodes, validation, optimizer), told)
        state = state.with_generation(last, _digest(optimizer))
        with self.interrupts.shield():
            self.folder.save_generation(last, state)
            self.state, self.last = state, genomes
            if improved is not None:
                self._write_best(observations)
            self.folder.append_history(last)
        return last

    def _check_scored(self, fitness: NDArray[np.float64]) -> None:
        """Refuse an objective without a finite number so far: a search learns nothing from it.

        Raises:
            ObjectiveError: no candidate so far has a finite fitness.

        """
        self.scored = self.scored or bool(np.isfinite(fitness).any())
        if not self.scored:
            what = f"none of {len(fitness)} candidates of {self.config.task!r} has a finite score, but {fitness[0]}"
            raise ObjectiveError(f"objective: {what}; allowed: at least one finite score{defined(self.objective)}")

    def _candidate(
        self, optimizer: Optimizer, genomes: NDArray[np.float64], fitness: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return a generation's candidate for the best: its fittest genome or, in every second one, the search's mean.

        With rugged returns, the mean may walk and most of its neighbors fall; the fittest of those was lucky. A search
        that begins at a controller has its parameters as the first mean: no best is worse than they are.
        """
        at_the_start = self.config.begin_with is not None and not self.state.generations
        if (at_the_start or self.state.generations % 2) and self.config.optimizer not in MULTI_OBJECTIVE_OPTIMIZERS:
            return self.genome.snapped(optimizer.mean)
        # NaN never wins; where all are NaN the first is as good as any.
        fittest: NDArray[np.float64] = genomes[int(np.argmax(np.where(np.isnan(fitness), -np.inf, fitness)))]
        return fittest

    def _validated(
        self, evaluator: Evaluator, genome: NDArray[np.float64]
    ) -> tuple[float | None, NDArray[np.float64] | None]:
        """Return the genome's validation mean (None if it did not run to the end), and its values if it is better."""
        seeds = episode_seeds(self.config.seed, _VALIDATION, 0, self.config.validation_episodes)
        best = self.state.best_values
        first = max(1, len(seeds) // 4)
        values = evaluator.evaluate(genome[None], seeds[:first])[0, :, 0]
        # Also on all seeds: a best that was lucky on the first quarter would keep all others out.
        if best is not None and not _mean(values) >= min(_mean(best[:first]), _mean(best)):
            return None, None
        if len(seeds) > first:
            values = np.concatenate([values, evaluator.evaluate(genome[None], seeds[first:])[0, :, 0]])
        mean = _mean(values)
        better = np.isfinite(mean) and (best is None or mean > _mean(best))
        return mean, values if better else None

    def _row(
        self,
        state: Checkpoint,
        fitness: NDArray[np.float64],
        episodes: int,
        validation: float | None,
        optimizer: Optimizer,
    ) -> list[float]:
        evaluations = state.evaluations + len(fitness)
        episodes += state.episodes
        finite = fitness[np.isfinite(fitness)]
        spread = [finite.max(), np.median(finite), finite.mean(), finite.min()] if finite.size else [np.nan] * 4
        validations = [np.nan if score is None else score for score in (validation, state.best_score)]
        row = [state.generations, evaluations, episodes, *spread, optimizer.sigma, *validations]
        return [float(value) for value in row] + [time.monotonic() - self.started]

    def _write_best(self, observations: NDArray[Any] | None) -> None:
        """Write the best controller, if there is one; after a crash before this, a resumed study writes it."""
        state = self.state
        if state.best_genome is not None:
            meta = {"task": self.config.task, "seed": self.config.seed, "generation": state.best_generation}
            meta |= {"score": state.best_score, "validation_episodes": self.config.validation_episodes}
            meta |= {"optimizer": self.config.optimizer, "versions": self.folder.versions}
            controller = self._controller(state.best_genome)
            if self.config.fixed_point is not None:
                fixed_point = self.config.fixed_point
                fields = fixed_point.to_dict(self.config.spec)
                meta |= {"fixed_point": fields | {"allow_coarse": fixed_point.allow_coarse}}
                self.config.fixed_point.of(controller, observations).save(self.folder.fixed_path, meta=meta)
            else:
                controller = self._within_limits(controller, observations)
            controller.save(self.folder.best_path, meta=meta, calibration=observations)

    def _within_limits(self, controller: Controller, observations: NDArray[Any] | None) -> Controller:
        """Return a controller whose input limits include the inputs it saw, if the objective has to measure limits.

        The study's limits were measured before there was a controller, which may go far beyond. Parameters stay.
        """
        measured = getattr(self.objective, "measured_limits", None)
        limits = None if measured is None or observations is None else measured(observations)
        spec = controller.spec
        if limits is None or spec.scale_inputs:
            return controller
        known = spec.input_limits or limits
        both = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(known, limits, strict=True)]
        return self._quietly(Controller, replace(spec, input_limits=tuple(both)), controller.theta)

    def _controller(self, genome: NDArray[np.float64]) -> Controller:
        return self._quietly(self.genome.controller, genome)

    @staticmethod
    def _quietly(make: Callable[..., Controller], *arguments: Any) -> Controller:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # a warning comes when the file is loaded
            return make(*arguments)

    def _write_last(self, optimizer: Optimizer) -> None:
        """Write the last generation, and a search's archive or front."""
        if self.state.last is not None:
            arrays = {"genomes": np.asarray(self.last, np.float64), "values": self.state.last.told}
            write_archive(self.folder.file("population.npz"), "population", self._about(), arrays)
        if isinstance(optimizer, MapElites):
            genomes, fitness, measures = optimizer.elites()
            arrays = {"genomes": self.genome.snapped(genomes), "fitness": fitness, "measures": measures}
            fields = self._about() | {"cells": CELLS[self.measures]}
            write_archive(self.folder.file("archive.npz"), "archive", fields, arrays)
        if isinstance(optimizer, NSGA2):
            genomes, values = optimizer.front()
            arrays = {"genomes": self.genome.snapped(genomes), "values": values}
            write_archive(self.folder.file("front.npz"), "front", self._about(), arrays)

    def _about(self) -> dict[str, Any]:
        """Return the fields that describe the genes in a file."""
        config = self.config.to_dict()
        return {name: config[name] for name in ("spec", "encoding", "measures", "task")}

    def _observations(self, genome: NDArray[np.float64] | None) -> NDArray[Any] | None:
        """Return a genome's inputs in one validation episode, if the objective provides them."""
        observations = getattr(self.objective, "observations", None)
        if observations is None or genome is None:
            return None
        seed = episode_seeds(self.config.seed, _VALIDATION, 0, 1)[0]
        try:
            inputs = observations(self._controller(genome), seed)
            recorded = None if inputs is None else np.asarray(inputs, self.config.spec.dtype)
        except NotFiniteError as error:
            warn(f"{error}; such an episode counts as the worst")
            return None
        except Exception as error:
            raise blamed(".observations", error, f"with seed {seed}") from error
        if recorded is not None and not np.isfinite(recorded).all():
            warn(f"objective.observations: NaN or Inf with seed {seed}; no inputs are recorded")
            return None
        return recorded

    def _progress(self, last: Generation, running_s: float, time_limit_s: float | None) -> Progress:
        row = dict(zip(COLUMNS, last.row, strict=True))
        rate = self.evaluated / max(running_s, 1e-9)
        left = [(self.config.generations - self.state.generations) * len(last.told) / rate]
        if self.config.evaluations is not None:
            left.append((self.config.evaluations - self.state.evaluations) / rate)
        if time_limit_s is not None:
            left.append(time_limit_s - running_s)
        return Progress(
            generation=self.state.generations - 1,
            generations=self.config.generations,
            evaluations=int(row["evaluations"]),
            best=row["best"],
            median=row["median"],
            sigma=row["sigma"],
            best_validation=self.state.best_score,
            evals_per_s=rate,
            elapsed_s=row["elapsed_s"],
            left_s=max(0.0, min(left)),
        )

    def _result(self, reason: str, *, interrupted: bool) -> StudyResult:
        return StudyResult(
            best_path=self.folder.best_path,
            best_score=self.state.best_score,
            best_generation=self.state.best_generation,
            generations=self.state.generations,
            evaluations=self.state.evaluations,
            stop_reason=reason,
            interrupted=interrupted,
        )


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean; of Inf and -Inf it is NaN, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(values.mean())


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means over the seeds, ``[P, 1 + measures]``; of Inf and -Inf it is NaN, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(values.mean(axis=1))


def _digest(optimizer: Optimizer) -> str:
    """Return a digest of the search's state: searches that differ in any bit soon differ in this."""
    return hashlib.sha256(optimizer.mean.tobytes() + np.float64(optimizer.sigma).tobytes()).hexdigest()


def episode_seeds(seed: int, stream: int, generation: int, count: int) -> list[int]:
    """Return the seeds of a generation's episodes; those of streams and generations coincide with odds of 2^-32.

    Args:
        seed: seed of the study.
        stream: training, validation or check.
        generation: number of the generation, from 0.
        count: number of seeds; a longer list begins with a shorter one.

    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, generation))
    return [int(value) for value in sequence.generate_state(count, np.uint32)]
