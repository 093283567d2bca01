"""Evaluation on a Ray cluster: one actor per core of the cluster; lost tasks are evaluated again."""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
import socket
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import BackendUnavailable, StudyError, require
from neuroctl.evolve.evaluators.base import TASKS_PER_WORKER, THREADS, Objective, SerialEvaluator, Values, split
from neuroctl.evolve.evaluators.batch import BatchEvaluator
from neuroctl.evolve.genome import Genome

Task = tuple[slice, slice]  # slices of the candidates and of the seeds

_LOSSES: Final = 6  # number of actors that one task may take down
_HANGS: Final = 2
_REACH_S: Final = 5.0
_START_S: Final = 60.0  # an actor's imports, which do not count as time of a task


class RayEvaluator:
    """Evaluate on a Ray cluster. The values are the same bits as those of ``SerialEvaluator``.

    Actors are replaced when they or their node die, which costs only the tasks they had; before each generation
    there are as many actors as the cluster then has cores. An objective's own ``batch`` gets as many candidates at once
    as give each actor four tasks.

    Args:
        genome: mapping of genes to a controller.
        objective: picklable callable, as for ``SerialEvaluator``; its module has to be importable on every node.
        address: ``"local"`` starts a cluster on this machine; else the address of one that runs, or ``"auto"``.
        workers: cores of a local cluster.
        measures: number of values that it returns besides the fitness.
        task_timeout_s: longest time of a task; an actor that takes longer is replaced. None: no limit.

    Raises:
        BackendUnavailable: Ray is not installed, or there is no cluster at the address.

    """

    def __init__(
        self,
        genome: Genome,
        objective: Objective,
        address: str,
        workers: int,
        measures: int = 0,
        task_timeout_s: float | None = None,
    ):
        self._ray: Any = require("ray", "cluster")
        self._local, self._workers, self._timeout_s = address == "local", workers, task_timeout_s
        self._width, self._batch = 1 + measures, hasattr(objective, "batch")
        self._connect(address)
        self._shared = self._ray.put((genome, objective, measures))
        self._actors: list[Any] = []

    def _connect(self, address: str) -> None:
        where: dict[str, Any] = {"address": address}
        self._reach(address)
        if self._local:
            # The same priority as a pool's workers: Ray's default yields to everything else on the machine.
            nice = {"worker_niceness": 0}
            where = {
                "address": "local", "num_cpus": self._workers, "include_dashboard": False, "_system_config": nice,
            }  # fmt: skip
        one_thread = {"env_vars": dict.fromkeys(THREADS, "1")}
        try:
            with warnings.catch_warnings(), _same_signals():
                warnings.simplefilter("ignore")
                self._ray.init(
                    **where, log_to_driver=False, logging_level=logging.ERROR, runtime_env=one_thread,
                    ignore_reinit_error=False,
                )  # fmt: skip
        except (Exception, SystemExit) as error:
            raise _unavailable(address, error) from None

    def _reach(self, address: str) -> None:
        """Try the address first: Ray itself gives up only after minutes."""
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if port.isdecimal():
            try:
                socket.create_connection((host, int(port)), _REACH_S).close()
            except (OSError, OverflowError) as error:
                raise _unavailable(address, error) from None

    def _new_actor(self) -> Any:
        remote = self._ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        return remote.remote(self._shared)

    def _enough_actors(self) -> None:
        cores = self._workers if self._local else int(self._ray.cluster_resources().get("CPU", 1))
        while len(self._actors) < max(1, cores):
            self._actors.append(self._new_actor())
        for actor in self._actors[max(1, cores) :]:
            self._ray.kill(actor)
        del self._actors[max(1, cores) :]
        if self._timeout_s is not None:
            self._started(self._actors)

    def _started(self, actors: list[Any]) -> None:
        """Wait for the imports of actors; those that die or take too long show up with their tasks."""
        self._ray.wait([actor.ready.remote() for actor in actors], num_returns=len(actors), timeout=_START_S)

    def evaluate(self, genomes: NDArray[np.float64], seeds: Sequence[int]) -> Values:
        """Return objective values float64 ``[len(genomes), len(seeds), 1 + measures]``; NaN is passed on.

        Raises:
            StudyError: the objective raised, hangs, or takes its actors down repeatedly.

        """
        self._enough_actors()
        values = np.empty((len(genomes), len(seeds), self._width))
        waiting = deque(self._tasks(len(genomes), len(seeds)))
        losses: dict[tuple[int, int], int] = {}
        idle = list(self._actors)
        running: dict[Any, tuple[Task, Any]] = {}
        failed: dict[tuple[int, int], StudyError] = {}
        while waiting or running:
            while waiting and idle:
                task, actor = waiting.popleft(), idle.pop()
                answer = actor.rows.remote(genomes[task[0]], list(seeds[task[1]]), task[0].start)
                running[answer] = (task, actor)
            done, _ = self._ray.wait(list(running), num_returns=1, timeout=self._timeout_s)
            for answer in done or list(running):  # without an answer in time, all busy actors hang
                task, actor = running.pop(answer)
                try:
                    if done and self._took(answer, task, values):
                        idle.append(actor)
                        continue
                except StudyError as error:  # earlier tasks are still done: the first error is raised whoever is first
                    failed[_key(task)] = error
                    waiting = deque(other for other in waiting if _key(other) < min(failed))
                    idle.append(actor)
                    continue
                self._count(losses, task, seeds, hung=not done)
                waiting.append(task)
                idle.append(self._replaced(actor))
        if failed:
            raise failed[min(failed)]
        return values

    def _tasks(self, candidates: int, seeds: int) -> list[Task]:
        """Split the work so that all actors have tasks."""
        if not self._batch:
            tasks = split(candidates, seeds, len(self._actors))
            return [(slice(candidate, candidate + 1), cut) for candidate, cut in tasks]
        parts = min(candidates, TASKS_PER_WORKER * len(self._actors))
        edges = np.linspace(0, candidates, parts + 1).astype(int).tolist()
        return [(slice(a, b), slice(0, seeds)) for a, b in itertools.pairwise(edges)]

    def _took(self, answer: Any, task: Task, values: Values) -> bool:
        """Store a task's values; return False if its actor is gone."""
        try:
            rows = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, StudyError) else StudyError(f"objective: {cause}") from None
        except self._ray.exceptions.RayError:
            return False
        values[task[0], task[1]] = rows
        return True

    def _count(self, losses: dict[tuple[int, int], int], task: Task, seeds: Sequence[int], *, hung: bool) -> None:
        key = _key(task)
        losses[key] = losses.get(key, 0) + 1
        if losses[key] >= (_HANGS if hung else _LOSSES):
            what = f"no answer within {self._timeout_s:g} s" if hung else "its actor died"
            first, last = task[0].start, task[0].stop - 1
            candidates = f"candidate {first}" if first == last else f"candidates {first} to {last}"
            where = f"{candidates}, seeds {list(seeds[task[1]])}"
            raise StudyError(f"cluster: {where}: {what}, {losses[key]} times; see the objective")

    def _replaced(self, actor: Any) -> Any:
        self._ray.kill(actor)
        fresh = self._new_actor()
        self._actors[self._actors.index(actor)] = fresh
        if self._timeout_s is not None:
            self._started([fresh])
        return fresh

    def close(self) -> None:
        """End the actors, and the cluster if it was started here.

        A second Ctrl-C is ignored here: Ray would end the whole process without a message.
        """
        with _undisturbed():
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    """Leave the handler of SIGTERM as it is: Ray's own exits in the middle of a generation, and stays for good."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM for a while; only in the main thread, where Python handles signals."""
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM) if in_main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _key(task: Task) -> tuple[int, int]:
    """Return the key by which tasks are identified and ordered."""
    return (task[0].start, task[1].start)


def _unavailable(address: str, error: BaseException) -> BackendUnavailable:
    reason = " ".join(str(error).split())
    return BackendUnavailable(
        f"cluster: {address!r}: {reason}; allowed: local, or the address of a running Ray cluster"
    )


class _Actor:
    """An evaluator on a core of the cluster."""

    def __init__(self, shared: tuple[Genome, Objective, int]):
        genome, objective, measures = shared
        batch = hasattr(objective, "batch")
        self._batch = BatchEvaluator(genome, objective, 1, measures) if batch else None
        self._alone = SerialEvaluator(*shared)

    def ready(self) -> None:
        """Answer as soon as the actor has started."""

    def rows(self, genomes: NDArray[np.float64], seeds: list[int], first: int) -> Any:
        """Return values ``[len(genomes), len(seeds), 1 + measures]``; ``first``: the first index, for messages."""
        if self._batch is not None:
            return self._batch.evaluate(genomes, seeds)
        return [self._alone.row(genome, seeds, first + place) for place, genome in enumerate(genomes)]
