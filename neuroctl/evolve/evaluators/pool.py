"""Evaluation in worker processes, which are replaced if they die or hang."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import ABOVE_0, FINITE, integer, number
from neuroctl.errors import StudyError
from neuroctl.evolve.evaluators.base import THREADS, Objective, SerialEvaluator, Task, Values, close_objective, split
from neuroctl.evolve.genome import Genome

_REBUILDS: Final = 5  # number of consecutive pools that may break without a finished task
_STARTS: Final = 2  # number of pools that may break before a worker has started
_MANAGER_ENDS_S: Final = 5.0  # far longer than the thread of a stopped pool takes
_PR_SET_PDEATHSIG: Final = 1
_SAFE_PATH: Final = "PYTHONSAFEPATH"


class PoolEvaluator:
    """Evaluate in worker processes. The values are the same bits as those of ``SerialEvaluator``.

    A worker that dies costs only its tasks, which are evaluated again; workers end with this process, however it ends.
    Started with "spawn": a script that uses it needs the guard ``if __name__ == "__main__":``, and an objective typed
    at a prompt or read from standard input cannot be found by workers. Workers use one BLAS and Numba thread each,
    unless the environment says otherwise.

    Args:
        genome: mapping of genes to a controller.
        objective: picklable callable, as for ``SerialEvaluator``.
        workers: number of processes.
        measures: number of values that it returns besides the fitness.
        task_timeout_s: longest time for one genome, or for some of its seeds. A worker that takes longer is replaced,
            and the task tried once more. None: no limit.

    Example:
        >>> import sims
        >>> genome = Genome(sims.controller_spec("cartpole", 2, cell="elman"))
        >>> with PoolEvaluator(genome, sims.EpisodeReturn("cartpole", max_steps=5), workers=2) as evaluator:
        ...     evaluator.evaluate(np.zeros((3, genome.size)), seeds=[0, 1]).shape
        (3, 2, 1)

    """

    def __init__(
        self, genome: Genome, objective: Objective, workers: int, measures: int = 0, task_timeout_s: float | None = None
    ):
        workers = integer("workers", workers, 1, error=StudyError)
        self._objective = objective
        if task_timeout_s is not None:
            allowed = "seconds, greater than 0, or None"
            number("task_timeout_s", task_timeout_s, ABOVE_0, FINITE, allowed, error=StudyError)
        self._start = (genome, objective, measures, os.getpid())
        self._workers, self._width, self._timeout_s = workers, 1 + measures, task_timeout_s
        self._pool: ProcessPoolExecutor | None = None
        self._was_up = False  # whether a worker has ever started
        self._hung: set[tuple[int, int]] = set()  # tasks of this call that hung once
        self._greetings: list[Future[int]] = []  # one is answered as soon as a worker has started

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised or cannot be pickled; workers cannot start, hang, or die repeatedly.

        """
        values = np.empty((len(genomes), len(seeds), self._width))
        waiting = split(len(genomes), len(seeds), self._workers)
        broken = starts = 0
        self._hung.clear()
        while waiting:
            # After a crash without progress, one task at a time: the one that crashes then is known for certain.
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
        """Run tasks until all are done, the pool breaks or a worker hangs; return the unfinished ones."""
        futures: list[Future[list[tuple[float, ...]]]] = []
        try:
            with _spawning():
                pool = self._running_pool()
                for candidate, cut in tasks:
                    futures.append(pool.submit(_work, genomes[candidate], seeds[cut], candidate))
            for greeting in self._greetings:
                greeting.result()  # the start of a worker has no time limit
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
                timeout_s = 0.0  # tasks with an answer by now are kept; the rest waits for the next round
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
        """Return whether a worker of the last pool has reached its first task."""
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
        """End the workers, even in the middle of a task, and free the resources of this process's objective."""
        self._stop(wait=True)
        close_objective(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _named(task: Task, seeds: Sequence[int]) -> str:
    return f"candidate {task[0]}, seeds {list(seeds[task[1]])}"


@contextlib.contextmanager
def _spawning() -> Iterator[None]:
    """Let processes started in this block inherit their settings: one thread each, and Ctrl-C blocked.

    They take their path from the parent and do not put the current folder first: a file signal.py there would hide the
    standard module. Ctrl-C in a terminal is for the parent alone; blocked, and not ignored, it reaches the parent after
    the block.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    no_file = file is not None and not os.path.exists(file)  # standard input: workers have nothing to import
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
    """Block Ctrl-C, if the system can: Windows cannot."""
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
    """Set up a worker process: it ignores Ctrl-C, dies with its parent, and prints to stderr only."""
    global _worker
    os.environ.pop(_SAFE_PATH, None)  # processes that an objective starts are as usual
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
