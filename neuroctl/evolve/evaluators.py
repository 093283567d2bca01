"""Evaluators: genomes and seeds in, objective values out, in this process or in a pool of processes.

An objective is any callable ``objective(controller, seed) -> float``, higher is better; or one that returns a tuple of
the fitness and its measures. For a pool it has to be picklable: a function or class of an importable module. If it has
a method ``batch(spec, theta, seeds, threads)``, which takes a population ``[P, n_params]`` and returns values
``[P, seeds]`` (or ``[P, seeds, 1 + measures]``), that is called instead, in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, real
from neuroctl.controller import Controller
from neuroctl.errors import NotFiniteError, ObjectiveError, StudyError
from neuroctl.evolve.blame import blamed, defined, number_of, shown_value
from neuroctl.evolve.genome import Genome

Objective = Callable[[Controller, int], Any]
Values = NDArray[np.float64]

_REBUILDS: Final = 5  # pools that may break one after the other without one finished task
_TASKS_A_WORKER: Final = 4  # enough for an even load: a good controller's episode lasts far longer than a bad one's
_STARTS: Final = 2  # pools that may break before one worker has come up
_MANAGER_ENDS_S: Final = 5.0  # far longer than the thread of a pool that was stopped takes
_PR_SET_PDEATHSIG: Final = 1
_SAFE_PATH: Final = "PYTHONSAFEPATH"
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Task = tuple[int, slice]  # a candidate and which of the seeds


class Evaluator(Protocol):
    """What a study asks of an evaluator; a context manager."""

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class SerialEvaluator:
    """Evaluate in this process.

    Args:
        genome: how genes become a controller.
        objective: callable ``(controller, seed) -> float``, or a tuple of the fitness and its measures.
        measures: how many numbers it returns besides the fitness.

    """

    def __init__(self, genome: Genome, objective: Objective, measures: int = 0):
        self._objective, self._genome, self._width = objective, genome, 1 + measures
        self._controller = Controller(genome.spec)

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised, or returned something that is no number.

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
        except NotFiniteError:  # a simulation that blew up: as NaN, below all that count
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
        """Free what the objective holds."""
        _close(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class PoolEvaluator:
    """Evaluate in worker processes. The values are the same bits as those of ``SerialEvaluator``.

    A worker that dies costs only its tasks, which are evaluated again; workers end with this process, however it ends.
    Started with "spawn": a script that uses it needs the guard ``if __name__ == "__main__":``, and an objective typed
    into a prompt or read from standard input cannot be found by workers. Workers use one BLAS and Numba thread each,
    unless the environment says otherwise.

    Args:
        genome: how genes become a controller.
        objective: picklable callable, as for ``SerialEvaluator``.
        workers: number of processes.
        measures: how many numbers it returns besides the fitness.
        task_timeout_s: a worker that needs longer for one genome, or for some of its seeds, hangs; it is replaced, and
            the task tried once more. None waits for ever.

    """

    def __init__(
        self, genome: Genome, objective: Objective, workers: int, measures: int = 0, task_timeout_s: float | None = None
    ):
        workers = integer("workers", workers, 1, error=StudyError)
        self._objective = objective
        if task_timeout_s is not None and not 0 < real(task_timeout_s) < np.inf:
            raise StudyError(f"task_timeout_s: {task_timeout_s!r}; allowed: seconds, greater than 0, or None")
        self._start = (genome, objective, measures, os.getpid())
        self._workers, self._width, self._timeout_s = workers, 1 + measures, task_timeout_s
        self._pool: ProcessPoolExecutor | None = None
        self._was_up = False  # whether a worker ever came up
        self._hung: set[tuple[int, int]] = set()  # tasks of this call that hung once
        self._greetings: list[Future[int]] = []  # one is answered as soon as a worker is up

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised or cannot be pickled; workers cannot start, hang, or die again and again.

        """
        values = np.empty((len(genomes), len(seeds), self._width))
        waiting = split(len(genomes), len(seeds), self._workers)
        broken = starts = 0
        self._hung.clear()
        while waiting:
            # After a crash without progress, one task at a time: what crashes then is named for certain.
            left = self._round(genomes, seeds, waiting[:1] if broken else waiting, values)
            done = len(left) < (1 if broken else len(waiting))
            waiting = left + (waiting[1:] if broken else [])
            self._was_up = self._was_up or self._came_up()
            if left and not self._was_up:
                starts += 1
                if starts >= _STARTS:
                    raise StudyError(
                        "workers: none could start; allowed: an objective of a module that can be imported, "
                        "and in a script the guard if __name__ == '__main__'"
                    )
            broken = 0 if done else broken + 1
            if broken > _REBUILDS:
                raise StudyError(
                    f"workers: died {broken} times in a row at {_named(left[0], seeds)}; see the objective for a crash"
                )
        return values

    def _round(
        self, genomes: NDArray[np.float64], seeds: Sequence[int], tasks: list[Task], values: Values
    ) -> list[Task]:
        """Run tasks until all are done, the pool breaks or a worker hangs; return those that were not done."""
        futures: list[Future[list[tuple[float, ...]]]] = []
        try:
            with _spawning():
                pool = self._running_pool()
                for candidate, cut in tasks:
                    futures.append(pool.submit(_work, genomes[candidate], seeds[cut], candidate))
            for greeting in self._greetings:
                greeting.result()  # to start, a worker may take as long as it likes
        except BrokenProcessPool:
            pass
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            if "pickle" not in str(error):
                raise
            raise StudyError(f"objective: {error}; allowed: a function or class of an importable module") from error
        left = tasks[len(futures) :]
        timeout_s = self._timeout_s
        for task, future in zip(tasks, futures, strict=False):
            try:
                # Tasks begin in their order, so this one is at work by now.
                values[task[0], task[1]] = future.result(timeout_s)
            except BrokenProcessPool:
                left.append(task)
            except TimeoutError:
                if timeout_s:
                    self._count_hang(task, seeds)
                timeout_s = 0.0  # what else has an answer by now is kept, and the rest waits for the next round
                left.append(task)
        if left:
            self._stop(wait=False)
        return left

    def _count_hang(self, task: Task, seeds: Sequence[int]) -> None:
        """Forgive a task that hangs once.

        Raises:
            StudyError: it has hung before.

        """
        key = (task[0], task[1].start)
        if key in self._hung:
            raise StudyError(f"workers: {_named(task, seeds)}: no answer within {self._timeout_s:g} s, twice")
        self._hung.add(key)

    def _running_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), _start_worker, self._start)
            self._greetings = [self._pool.submit(os.getpid) for _ in range(self._workers)]
        return self._pool

    def _came_up(self) -> bool:
        """Return whether a worker of the last pool got as far as its first task."""
        return any(f.done() and not f.cancelled() and f.exception() is None for f in self._greetings)

    def _stop(self, *, wait: bool) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        workers = list((getattr(pool, "_processes", None) or {}).values())
        manager = getattr(pool, "_executor_manager_thread", None)
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()  # one that hangs may not listen to anything else
        if wait:
            for worker in workers:
                worker.join()
            if manager is not None:
                # An interpreter that exits meanwhile would wake this thread by a pipe that it is just closing.
                manager.join(_MANAGER_ENDS_S)

    def close(self) -> None:
        """End the workers, also in the middle of a task, and free what this process's objective holds."""
        self._stop(wait=True)
        _close(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class BatchEvaluator:
    """Evaluate whole populations by an objective's own ``batch``, such as lanes in a compiled plant.

    Args:
        genome: how genes become a controller.
        objective: has ``batch(spec, theta, seeds, threads)``, see above.
        threads: how many it may use.
        measures: how many numbers it returns besides the fitness.

    """

    def __init__(self, genome: Genome, objective: Any, threads: int, measures: int = 0):
        self._genome, self._objective, self._threads, self._width = genome, objective, threads, 1 + measures

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised, or returned an array of another shape.

        """
        theta = np.ascontiguousarray(self._genome.theta(genomes))
        try:
            values = np.asarray(self._objective.batch(self._genome.spec, theta, list(seeds), self._threads), np.float64)
        except Exception as error:
            raise blamed(".batch", error, f"with seeds {list(seeds)}") from error
        shape = (len(genomes), len(seeds), self._width)
        if values.shape not in (shape, shape[:2] if self._width == 1 else shape):
            raise ObjectiveError(
                f"objective.batch: shape {values.shape}; allowed: {shape}{defined(self._objective.batch)}"
            )
        return values.reshape(shape)

    def close(self) -> None:
        """Free what the objective holds."""
        _close(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def make_evaluator(
    genome: Genome,
    objective: Objective,
    workers: int,
    measures: int = 0,
    *,
    task_timeout_s: float | None = None,
    cluster: str | None = None,
) -> Evaluator:
    """Return an evaluator: of whole batches, on a Ray cluster, in this process (1 worker) or in a pool.

    Args:
        genome: how genes become a controller.
        objective: callable, see above.
        workers: processes, or threads of a batch; of a cluster that is started here.
        measures: how many numbers the objective returns besides the fitness.
        task_timeout_s: see ``PoolEvaluator``.
        cluster: ``"local"``, or the address of a running Ray cluster; None for this machine without Ray.

    """
    if hasattr(objective, "batch"):
        return BatchEvaluator(genome, objective, workers, measures)
    if cluster is not None:
        from neuroctl.evolve.cluster import RayEvaluator

        return RayEvaluator(genome, objective, cluster, workers, measures, task_timeout_s)
    if workers == 1 and task_timeout_s is None:
        return SerialEvaluator(genome, objective, measures)
    return PoolEvaluator(genome, objective, workers, measures, task_timeout_s)


def split(candidates: int, seeds: int, workers: int) -> list[Task]:
    """Split into (candidate, seeds) so that there is work for all even if there is one candidate."""
    parts = min(seeds, max(1, -(-_TASKS_A_WORKER * workers // max(1, candidates))))
    edges = np.linspace(0, seeds, parts + 1).astype(int)
    cuts = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return [(candidate, cut) for candidate in range(candidates) for cut in cuts]


def _named(task: Task, seeds: Sequence[int]) -> str:
    return f"candidate {task[0]}, seeds {list(seeds[task[1]])}"


def _close(objective: Objective) -> None:
    close = getattr(objective, "close", None)
    if close is not None:
        close()


@contextlib.contextmanager
def _spawning() -> Iterator[None]:
    """Give processes started in here what they have to inherit: one thread each, and Ctrl-C blocked.

    A file called signal.py in this folder is not what a process that comes up means by that name: they take their path
    from the parent, as it is, and do not put this folder first. Ctrl-C in a terminal is for the parent alone; blocked,
    and not ignored, it reaches the parent after the block.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    no_file = file is not None and not os.path.exists(file)  # standard input: there is nothing for workers to import
    wanted = dict.fromkeys((*THREADS, _SAFE_PATH), "1")
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    with _interrupts_blocked():
        try:
            os.environ.update(added)
            if no_file:
                del main.__file__  # type: ignore[union-attr]
            yield
        finally:
            if no_file:
                main.__file__ = file  # type: ignore[union-attr]
            for name in added:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C, where the system can: Windows cannot."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would unblock Ctrl-C if it were started in the block
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_worker: Any = None


def _start_worker(genome: Genome, objective: Objective, measures: int, parent: int) -> None:
    """Set a worker process up: it ignores Ctrl-C, dies with its parent, and prints where no results are read."""
    global _worker
    os.environ.pop(_SAFE_PATH, None)  # what an objective starts in turn is as usual
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(
        OSError, AttributeError, TypeError
    ):  # Linux only; elsewhere workers end when their queue closes
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the line above took hold
        os._exit(1)
    _worker = SerialEvaluator(genome, objective, measures)


def _work(genome: NDArray[np.float64], seeds: Sequence[int], candidate: int) -> list[tuple[float, ...]]:
    row: list[tuple[float, ...]] = _worker.row(genome, seeds, candidate)
    return row
