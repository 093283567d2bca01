"""Evaluators: genomes and seeds in, objective values out, in this process or in a pool of processes.

An objective is any callable ``objective(controller, seed) -> float``, higher is better. For a pool it has to be
picklable: a function or class of an importable module.
"""

from __future__ import annotations

import contextlib
import ctypes
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

from neuroctl.cells import decode
from neuroctl.controller import Controller
from neuroctl.errors import NeuroctlError, StudyError
from neuroctl.spec import Spec

Objective = Callable[[Controller, int], float]
Values = NDArray[np.float64]

_REBUILDS: Final = 5  # pools that may break one after the other without one finished task
_TASKS_A_WORKER: Final = 4  # enough for an even load: a good controller's episode lasts far longer than a bad one's
_STARTS: Final = 2  # pools that may break before one worker has come up
_PR_SET_PDEATHSIG: Final = 1
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Task = tuple[int, slice]  # a candidate and which of the seeds


class Evaluator(Protocol):
    """What a study asks of an evaluator; a context manager."""

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds)]``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class SerialEvaluator:
    """Evaluate in this process.

    Args:
        spec: the controller to evaluate.
        objective: callable ``(controller, seed) -> float``.

    """

    def __init__(self, spec: Spec, objective: Objective):
        self._objective = objective
        self._controller = Controller(spec)

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds)]``; NaN is passed on.

        Raises:
            StudyError: the objective raised, or returned something that is no number.

        """
        rows = [self.row(genome, seeds, candidate) for candidate, genome in enumerate(genomes)]
        return np.array(rows, np.float64).reshape(len(genomes), len(seeds))

    def row(self, genome: NDArray[np.float64], seeds: Sequence[int], candidate: int) -> list[float]:
        """Return one genome's value for each seed; ``candidate`` is its index, for messages."""
        return [self._value(genome, seed, candidate) for seed in seeds]

    def _value(self, genome: NDArray[np.float64], seed: int, candidate: int) -> float:
        ctl = self._controller
        ctl.theta[:] = decode(ctl.spec, genome)
        ctl.reset()
        try:
            value: object = self._objective(ctl, seed)
            if isinstance(value, (str, bytes)):  # float("3") would pass
                raise ValueError(f"returned {value!r}; allowed: a number")
            return float(value)  # type: ignore[arg-type]  # anything else says itself that it is no number
        except NeuroctlError:
            raise
        except (Exception, SystemExit) as error:
            message = " ".join(str(error).split())
            where = f"with seed {seed}, candidate {candidate}"
            raise StudyError(f"objective: {type(error).__name__}: {message}; {where}") from error

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
        spec: the controller to evaluate.
        objective: picklable callable ``(controller, seed) -> float``.
        workers: number of processes.

    """

    def __init__(self, spec: Spec, objective: Objective, workers: int):
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise StudyError(f"workers: {workers!r}; allowed: whole numbers from 1")
        self._objective = objective
        self._start = (spec, objective, os.getpid())
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._greetings: list[Future[int]] = []  # one is answered as soon as a worker is up

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds)]``; NaN is passed on.

        Raises:
            StudyError: the objective raised or cannot be pickled, or workers cannot start or die again and again.

        """
        values = np.empty((len(genomes), len(seeds)))
        waiting = self._tasks(len(genomes), len(seeds))
        broken = starts = 0
        while waiting:
            # After a crash without progress, one task at a time: what crashes then is named for certain.
            left = self._round(genomes, seeds, waiting[:1] if broken else waiting, values)
            done = len(left) < (1 if broken else len(waiting))
            waiting = left + (waiting[1:] if broken else [])
            if left and not self._came_up():
                starts += 1
                if starts >= _STARTS:
                    raise StudyError(
                        "workers: none could start; allowed: an objective of a module that can be imported, "
                        "and in a script the guard if __name__ == '__main__'"
                    )
            broken = 0 if done else broken + 1
            if broken > _REBUILDS:
                candidate, cut = left[0]
                raise StudyError(
                    f"workers: died {broken} times in a row at candidate {candidate}, seeds {list(seeds[cut])}; "
                    "see the objective for a crash"
                )
        return values

    def _tasks(self, candidates: int, seeds: int) -> list[Task]:
        """Split into (candidate, seeds) so that there is work for all even if there is one candidate."""
        parts = min(seeds, max(1, -(-_TASKS_A_WORKER * self._workers // max(1, candidates))))
        edges = np.linspace(0, seeds, parts + 1).astype(int)
        cuts = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        return [(candidate, cut) for candidate in range(candidates) for cut in cuts]

    def _round(
        self, genomes: NDArray[np.float64], seeds: Sequence[int], tasks: list[Task], values: Values
    ) -> list[Task]:
        """Run tasks until all are done or the pool breaks; return those that were not done."""
        futures: list[Future[list[float]]] = []
        try:
            with _spawning():
                pool = self._running_pool()
                for candidate, cut in tasks:
                    futures.append(pool.submit(_work, genomes[candidate], seeds[cut], candidate))
        except BrokenProcessPool:
            pass
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            if "pickle" not in str(error):
                raise
            raise StudyError(f"objective: {error}; allowed: a function or class of an importable module") from error
        left = tasks[len(futures) :]
        for task, future in zip(tasks, futures, strict=False):
            try:
                values[task[0], task[1]] = future.result()
            except BrokenProcessPool:
                left.append(task)
        if left:
            self._stop(wait=False)
        return left

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
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        if wait:
            for worker in workers:
                worker.join()

    def close(self) -> None:
        """End the workers, also in the middle of a task, and free what this process's objective holds."""
        self._stop(wait=True)
        _close(self._objective)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def make_evaluator(spec: Spec, objective: Objective, workers: int) -> Evaluator:
    """Return an evaluator for this process (1 worker) or a pool."""
    return SerialEvaluator(spec, objective) if workers == 1 else PoolEvaluator(spec, objective, workers)


def _close(objective: Objective) -> None:
    close = getattr(objective, "close", None)
    if close is not None:
        close()


@contextlib.contextmanager
def _spawning() -> Iterator[None]:
    """Give processes started in here what they have to inherit: one thread each, and Ctrl-C blocked.

    Ctrl-C in a terminal is for the parent alone; blocked, and not ignored, it reaches the parent after the block.
    """
    resource_tracker.ensure_running()  # it would unblock Ctrl-C if it were started in the block
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    no_file = file is not None and not os.path.exists(file)  # standard input: there is nothing for workers to import
    added = [name for name in _THREADS if name not in os.environ]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(dict.fromkeys(added, "1"))
        if no_file:
            del main.__file__  # type: ignore[union-attr]
        yield
    finally:
        if no_file:
            main.__file__ = file  # type: ignore[union-attr]
        for name in added:
            os.environ.pop(name, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_worker: Any = None


def _start_worker(spec: Spec, objective: Objective, parent: int) -> None:
    """Set a worker process up: it ignores Ctrl-C and dies with its parent."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere workers end when their queue closes
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the line above took hold
        os._exit(1)
    _worker = SerialEvaluator(spec, objective)


def _work(genome: NDArray[np.float64], seeds: Sequence[int], candidate: int) -> list[float]:
    row: list[float] = _worker.row(genome, seeds, candidate)
    return row
