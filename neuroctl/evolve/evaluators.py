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
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
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
_PR_SET_PDEATHSIG: Final = 1


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
        return np.array([[self._value(genome, seed) for seed in seeds] for genome in genomes], np.float64)

    def _value(self, genome: NDArray[np.float64], seed: int) -> float:
        ctl = self._controller
        ctl.theta[:] = decode(ctl.spec, genome)
        ctl.reset()
        try:
            value = self._objective(ctl, seed)
            return float(value)
        except NeuroctlError:
            raise
        except Exception as error:
            message = " ".join(str(error).split())
            raise StudyError(f"objective: {type(error).__name__}: {message}; with seed {seed}") from error

    def close(self) -> None:
        """Free what the objective holds."""
        close = getattr(self._objective, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class PoolEvaluator:
    """Evaluate in worker processes. The values are the same bits as those of ``SerialEvaluator``.

    A worker that dies costs only its tasks, which are evaluated again; workers end with this process, however it ends.
    Started with "spawn": a script that uses it needs the guard ``if __name__ == "__main__":``.

    Args:
        spec: the controller to evaluate.
        objective: picklable callable ``(controller, seed) -> float``.
        workers: number of processes.

    """

    def __init__(self, spec: Spec, objective: Objective, workers: int):
        self._start = (spec, objective, os.getpid())
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds)]``; NaN is passed on.

        Raises:
            StudyError: the objective raised or cannot be pickled, or workers die again and again.

        """
        values = np.empty((len(genomes), len(seeds)))
        waiting = self._tasks(len(genomes), len(seeds))
        broken = 0
        while waiting:
            done = self._round(genomes, seeds, waiting, values)
            broken = 0 if done else broken + 1
            if broken > _REBUILDS:
                raise StudyError(f"workers: died {broken} times in a row; see the objective for a crash")
            waiting = [task for task in waiting if task not in done]
        return values

    def _tasks(self, candidates: int, seeds: int) -> list[tuple[int, slice]]:
        """Split into (candidate, seeds) so that there is work for all even if there is one candidate."""
        parts = min(seeds, max(1, -(-_TASKS_A_WORKER * self._workers // candidates)))
        edges = np.linspace(0, seeds, parts + 1).astype(int)
        cuts = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        return [(candidate, cut) for candidate in range(candidates) for cut in cuts]

    def _round(
        self, genomes: NDArray[np.float64], seeds: Sequence[int], tasks: list[tuple[int, slice]], values: Values
    ) -> list[tuple[int, slice]]:
        """Run tasks until all are done or the pool breaks; return those that were done."""
        done = []
        try:
            pool = self._running_pool()
            futures: list[Future[Values]] = []
            for candidate, cut in tasks:
                futures.append(pool.submit(_work, genomes[candidate : candidate + 1], seeds[cut]))
            for task, future in zip(tasks, futures, strict=True):
                values[task[0], task[1]] = future.result()[0]
                done.append(task)
        except BrokenProcessPool:
            self._stop(wait=False)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            if "pickle" not in str(error):
                raise
            raise StudyError(f"objective: {error}; allowed: a function or class of an importable module") from error
        return done

    def _running_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), _start_worker, self._start)
            with _interrupts_ignored():  # inherited: Ctrl-C in a terminal is for the parent alone
                for _ in range(self._workers):
                    self._pool.submit(os.getpid)
        return self._pool

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
        """End the workers, also in the middle of a task."""
        self._stop(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def make_evaluator(spec: Spec, objective: Objective, workers: int) -> Evaluator:
    """Return an evaluator for this process (1 worker) or a pool."""
    return SerialEvaluator(spec, objective) if workers == 1 else PoolEvaluator(spec, objective, workers)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _work(genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
    values: Values = _worker.evaluate(genomes, seeds)
    return values
