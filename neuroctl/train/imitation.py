"""Imitation: a student learns to do what a teacher does, by recorded demonstrations or on its own mistakes.

Behavior cloning trains on episodes that the teacher ran. Its student sees other situations than those as soon as it
errs; DAgger lets the student act and the teacher say what it would have done there, and trains on all of that.
S. Ross, G. Gordon, D. Bagnell, "A reduction of imitation learning and structured prediction to no-regret online
learning", AISTATS 2011, algorithm 3.1, with beta_i = 1 for i = 1 and 0 afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import TrainingError
from neuroctl.spec import Spec
from neuroctl.train.by_teacher import Round, TeacherTraining
from neuroctl.train.demonstrations import Demonstrations, Episode


@dataclass(frozen=True)
class Imitation:
    """A student, and how it came to be.

    Args:
        controller: with the highest mean return in the validation's episodes.
        score: that return.
        teacher_score: the teacher's, in the same episodes.
        rounds: figures of each round.
        demonstrations: all that was recorded.

    Example:
        >>> def episode(controller, seed):
        ...     controller.reset()
        ...     for value in np.random.default_rng(seed).uniform(-1, 1, 10):
        ...         controller.step(np.array([value]))
        ...     return 0.0
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.1)
        >>> dagger(spec, lambda u: -u, episode, rounds=1, episodes=3, epochs=1).demonstrations.steps
        30

    """

    controller: Controller
    score: float
    teacher_score: float
    rounds: tuple[Round, ...]
    demonstrations: Demonstrations


def dagger(
    spec: Spec | Controller,
    teacher: Any,
    episode: Episode,
    *,
    sensors: Sequence[int] | None = None,
    rounds: int = 10,
    episodes: int = 8,
    validation: int = 20,
    demonstrations: Demonstrations | None = None,
    seed: int = 0,
    on_round: Callable[[Round], None] | None = None,
    **settings: Any,
) -> Imitation:
    """Train a student by DAgger: it acts, the teacher says what it would have done, and the student learns from all.

    The teacher acts in the first round. The same arguments give the same bits on one machine.

    Args:
        spec: the student's, whose parameters then start as ``starting.start`` says; or a student to go on from, which
            stays as it is.
        teacher: see ``demonstrate``.
        episode: runs one episode, see ``Episode``.
        sensors: which entries of an observation the student sees; None: all.
        rounds: how often episodes are run and the student is trained on all demonstrations.
        episodes: of each round.
        validation: episodes, with other seeds, whose mean return decides which round's student is the best.
        demonstrations: what is there already, to be learned from in all rounds; None: nothing.
        seed: of episodes, of the start and of training.
        on_round: called with the figures of each round.
        **settings: of ``fit`` in each round: ``epochs`` (100), ``learning_rate``, ``batch`` and others.

    Raises:
        TrainingError: an argument is not allowed, or the teacher or its actions do not fit.
        DivergedError: training diverged.

    Example:
        >>> def episode(controller, seed):
        ...     x, total = np.random.default_rng(seed).uniform(-1, 1), 0.0
        ...     controller.reset()
        ...     for _ in range(20):
        ...         x += 0.1 * float(controller.step(np.array([x]))[0])
        ...         total -= x * x
        ...     return total
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.1)
        >>> result = dagger(spec, lambda u: -2.0 * u, episode, rounds=2, episodes=4, validation=4)
        >>> len(result.rounds), len(result.demonstrations)
        (2, 8)

    """
    own = spec.spec if isinstance(spec, Controller) else spec
    if not isinstance(own, Spec):
        raise TrainingError(f"spec: {shown(own)}; allowed: a Spec or a Controller")
    training = TeacherTraining(
        own, teacher, episode, sensors=sensors, rounds=rounds, episodes=episodes, validation=validation,
        demonstrations=demonstrations, seed=seed, settings=settings,
    )  # fmt: skip
    progress = training.begin(spec.theta if isinstance(spec, Controller) else training.first())
    while training.over(progress) is None:
        progress = training.epoch(progress)
        if on_round is not None:
            on_round(progress.rows[-1])
    known = training.known(progress)
    best: Round = progress.best_row
    return Imitation(
        training.controller(progress.best), best.validation, training.teacher_score(), progress.rows, known
    )
