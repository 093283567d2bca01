"""Evaluators: genomes and seeds in, objective values out, in this process or in a pool of processes.

An objective is any callable ``objective(controller, seed) -> float``, higher is better; or one that returns a tuple of
the fitness and its measures. For a pool it has to be picklable: a function or class of an importable module. If it has
a method ``batch(spec, theta, seeds, threads)``, which takes a population ``[P, n_params]`` and returns values
``[P, seeds]`` (or ``[P, seeds, 1 + measures]``), that is called instead, in this process or a cluster's. A study in
fixed point calls ``batch_quantized(controllers, seeds, threads)`` instead, with P ``QuantController``.
"""

from __future__ import annotations

from neuroctl.evolve.evaluators.base import Evaluator, Objective, SerialEvaluator, Values
from neuroctl.evolve.evaluators.batch import BatchEvaluator
from neuroctl.evolve.evaluators.pool import PoolEvaluator
from neuroctl.evolve.genome import Genome

__all__ = ["BatchEvaluator", "Evaluator", "Objective", "PoolEvaluator", "SerialEvaluator", "Values", "make_evaluator"]


def make_evaluator(
    genome: Genome,
    objective: Objective,
    workers: int,
    measures: int = 0,
    *,
    task_timeout_s: float | None = None,
    cluster: str | None = None,
) -> Evaluator:
    """Return an evaluator: on a Ray cluster, of whole batches, in this process (1 worker) or in a pool.

    Args:
        genome: mapping of genes to a controller.
        objective: callable, see above.
        workers: number of processes, of threads of a batch, or of cores of a local cluster.
        measures: number of values that the objective returns besides the fitness.
        task_timeout_s: see ``PoolEvaluator``.
        cluster: ``"local"``, or the address of a running Ray cluster; None for this machine without Ray.

    """
    if cluster is not None:
        from neuroctl.evolve.evaluators.cluster import RayEvaluator

        return RayEvaluator(genome, objective, cluster, workers, measures, task_timeout_s)
    if hasattr(objective, "batch"):
        return BatchEvaluator(genome, objective, workers, measures)
    if workers == 1 and task_timeout_s is None:
        return SerialEvaluator(genome, objective, measures)
    return PoolEvaluator(genome, objective, workers, measures, task_timeout_s)
