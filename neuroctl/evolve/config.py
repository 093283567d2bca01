"""The configuration of a study, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from neuroctl.checks import ABOVE_0, FINITE, integer, number
from neuroctl.errors import StudyError
from neuroctl.evolve.genome import Encoding, Genome
from neuroctl.evolve.measure import Measure
from neuroctl.evolve.optimizers import MULTI_OBJECTIVE_OPTIMIZERS, check_name
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.spec import Spec


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """The configuration of a study; with the objective it determines every bit of the result.

    Args:
        spec: the controller's spec.
        task: name of the task, a note for readers of the files.
        seed: seed of everything random, an integer >= 0.
        optimizer: name in ``OPTIMIZERS`` or ``MULTI_OBJECTIVE_OPTIMIZERS``.
        generations: total number of generations, an integer >= 1; a resumed study may have more.
        evaluations: total number of evaluated genomes after which no generation begins; None for no limit.
        population: genomes per generation, an integer >= 4; restarts may change it.
        sigma0: first standard deviation of the search, in genes.
        episodes: number of episodes whose mean is a fitness, with the same starts for a whole generation.
        racing: drop half of a generation at a time, so that it runs about half of its episodes; see ``racing``.
        validation_episodes: number of fixed starts, unused in training, whose mean chooses the best.
        encoding: mapping of genes to parameters; the default is one gene per parameter.
        measures: the objective's results besides the fitness, for quality diversity or several goals.
        fixed_point: storage of the integer controllers to evaluate instead of the float ones; None for float.
        target_score: validation mean of the best at which to stop; None: run to the last generation.
        begin_with: parameters ``[n_params]`` of the controller that the search begins at, see ``Genome``; None: the
            cell's usual origin.
        notes: sources of the spec's numbers, by field, for readers of the files.

    Raises:
        StudyError: a field is out of range or unknown.

    Example:
        >>> from neuroctl.evolve import run_study
        >>> spec = Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
        >>> config = StudyConfig(spec=spec, task="rest", generations=3, population=4, episodes=1, validation_episodes=4)
        >>> run_study(config, lambda ctl, seed: -float(abs(ctl.theta).sum()), "rest").evaluations
        12

    """

    spec: Spec
    task: str
    seed: int = 0
    optimizer: str = "cmaes"
    generations: int = 150
    evaluations: int | None = None
    population: int = 32
    sigma0: float = 0.5
    episodes: int = 4
    racing: bool = False
    validation_episodes: int = 64
    target_score: float | None = None
    encoding: Encoding = field(default_factory=Encoding)
    measures: tuple[Measure, ...] = ()
    fixed_point: FixedPointConfig | None = None
    notes: Mapping[str, str] = field(default_factory=dict, hash=False)
    begin_with: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        check_name(self.optimizer)
        lows = {"seed": 0, "generations": 1, "population": 4, "episodes": 1, "validation_episodes": 1}
        if self.evaluations is not None:
            lows["evaluations"] = 1
        for name, low in lows.items():
            object.__setattr__(self, name, integer(name, getattr(self, name), low, error=StudyError))
        if not isinstance(self.spec, Spec):
            raise StudyError(f"spec: {type(self.spec).__name__}; allowed: a Spec")
        if self.fixed_point is not None and not isinstance(self.fixed_point, FixedPointConfig):
            raise StudyError(f"fixed_point: {self.fixed_point!r}; allowed: a FixedPointConfig, or None")
        if not isinstance(self.encoding, Encoding):
            raise StudyError(f"encoding: {self.encoding!r}; allowed: an Encoding")
        Genome(self.spec, self.encoding, self.begin_with)  # raises if they do not fit
        if self.begin_with is not None:
            object.__setattr__(self, "begin_with", tuple(float(number) for number in self.begin_with))
        if isinstance(self.measures, (list, tuple)):
            object.__setattr__(self, "measures", tuple(self.measures))
        if not isinstance(self.measures, tuple) or not all(isinstance(measure, Measure) for measure in self.measures):
            raise StudyError(f"measures: {self.measures!r}; allowed: Measures")
        if self.optimizer in MULTI_OBJECTIVE_OPTIMIZERS and not self.measures:
            raise StudyError(f"measures: none; allowed for {self.optimizer}: the objective's own, or --goals")
        if not isinstance(self.racing, bool) or (self.racing and self.measures):
            raise StudyError(f"racing: {self.racing!r}; allowed: True or False, and True without measures alone")
        if not isinstance(self.task, str):
            raise StudyError(f"task: {self.task!r}; allowed: a string")
        sigma0 = number("sigma0", self.sigma0, ABOVE_0, 1000.0, "greater than 0, at most 1000", error=StudyError)
        object.__setattr__(self, "sigma0", sigma0)
        if self.target_score is not None:
            score = number("target_score", self.target_score, -FINITE, FINITE, "finite, or None", error=StudyError)
            object.__setattr__(self, "target_score", score)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        fields: dict[str, Any] = {"spec": self.spec.to_dict(), "notes": dict(self.notes)}
        fields |= {"measures": [asdict(measure) for measure in self.measures]}
        fields |= {"fixed_point": self.fixed_point.to_dict(self.spec)} if self.fixed_point else {}
        config = asdict(self) | fields
        if self.begin_with is None:  # which studies of earlier versions do not have
            del config["begin_with"]
        return config
