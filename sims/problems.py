"""Problems to evolve on: tasks, Gymnasium environments by id or class, and classes or functions of the user's.

``problem`` takes a name from the user: a task's name, ``Pendulum-v1``, ``my_module:MyEnv`` or ``my_module:fitness``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.errors import TaskError
from neuroctl.evolve import Goals
from neuroctl.evolve.blame import blamed, number_of
from neuroctl.spec import Spec

from . import environments, episodes, pybullet_envs, registry
from .environments import Interface, registered
from .episodes import GymReturn as GymReturn
from .episodes import check_fit, objective
from .modules import check_no_file, imported
from .task import Limits


@dataclass(frozen=True)
class Problem:
    """A problem to evolve on: its name, a controller's Spec, and the objective.

    Example:
        >>> import sims
        >>> problem = sims.problem("cartpole", cell="elman", neurons=2)
        >>> problem.name, problem.spec.inputs, problem.spec.outputs
        ('cartpole', 2, 1)

    """

    name: str
    spec: Spec
    objective: Any
    notes: Mapping[str, str] = field(default_factory=dict)
    """Sources of the spec's numbers, by field."""


class FunctionReturn:
    """A fitness of the user's: a function ``f(controller, seed)``, or an object of a class with such a ``__call__``.

    The controller is reset before each call. An object is made on first use and stays behind when this is pickled.
    Its further attributes (``batch``, ``measures``, ``observations``, ``close``) are those of this object too.

    Args:
        name: ``"module:name"``.
        target: the function, or the class.

    Raises:
        TaskError: the target declares no spec.

    """

    def __init__(self, name: str, target: Any):
        self._name, self._target, self._object = name, target, None
        self.__wrapped__ = target
        owner = target if isinstance(getattr(target, "spec", None), dict) else self._called()
        self.declared = environments.declared_spec(owner, name)

    def _called(self) -> Any:
        if not isinstance(self._target, type):
            return self._target
        if self._object is None:
            self._object = self._target()
        return self._object

    def __call__(self, controller: Any, seed: int) -> Any:
        """Reset the controller and return its fitness."""
        controller.reset()
        return self._called()(controller, seed)

    def __getattr__(self, name: str) -> Any:
        """Look up further attributes of the function or object."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._called(), name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_object": None}

    def __repr__(self) -> str:
        return f"FunctionReturn({self._name!r})"


def problem(
    name: str,
    *,
    cell: str = "ctrnn",
    neurons: int = 8,
    measured: bool = False,
    backend: str = "cpu",
    goals: Sequence[str] = (),
    input_limits: Limits | None = None,
    network: Mapping[str, Any] | None = None,
) -> Problem:
    """Return the problem of a name: a task, an environment, or a function ``f(controller, seed) -> fitness``.

    An environment is one of Gymnasium's, or any class with ``reset`` and ``step``; see
    ``environments.AnyEnvironment``. If its observations have no limits, those of the spec are measured over episodes
    under random actions. A class whose objects are called as ``f(controller, seed)`` counts as a function.

    A function needs an attribute ``spec``, a dict with the fields of a Spec besides cell and neurons: at least
    ``{"inputs": 2, "outputs": 1, "dt_s": 0.02}``; with ``input_limits`` the controller can be exported without
    recorded inputs.

    Args:
        name: a task's name, a Gymnasium id, or ``"module:name"`` of a class or a function.
        cell: kind of network.
        neurons: number of neurons.
        measured: whether to return a compiled task's measures too, for quality diversity.
        backend: backend of a compiled task's population, ``"cpu"`` or ``"cuda"``.
        goals: goals besides the fitness, names in ``neuroctl.evolve.GOALS``.
        input_limits: limits instead of measured ones, as when a study is resumed.
        network: further fields of the spec, such as ``{"encoder": (16,)}``.

    Raises:
        SpecError: a field of the spec is not allowed.
        StudyError: there is no such goal.
        BackendUnavailable: there is no such backend here.
        TaskError: there is nothing of that name, or it cannot be evolved on; names the nearest.

    """
    resolved = _resolve(name, cell, neurons, measured, backend, input_limits)
    resolved = replace(resolved, spec=replace(resolved.spec, **(network or {})))
    if not goals:
        return resolved
    if "energy" in goals and registry.known(name) and registry.get(name).plant:
        raise TaskError(f"goals: energy for {name!r}; allowed for a compiled task: bytes")
    return replace(resolved, objective=Goals(resolved.objective, goals, resolved.spec))


def search_of(name: str) -> Mapping[str, Any]:
    """Return a task's defaults for a search: options of ``neuroctl evolve`` by their names."""
    if registry.known(name):
        return registry.get(name).search
    return pybullet_envs.search_of(name)


def score(task: str, controller: Any, seeds: Iterable[int], max_steps: int | None = None) -> NDArray[np.float64]:
    """Return the returns of several seeded episodes, ``float64[len(seeds)]``, in the order of the seeds.

    Args:
        task: a task's name, or anything else that ``problem`` takes.
        controller: an object with ``spec``, ``reset`` and ``step``; its sizes must be the task's.
        seeds: seeds of the episodes.
        max_steps: control steps of an episode; None: the task's own limit. It does not apply to functions.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.
        ObjectiveError: code of the user's raised, or returned no number.

    """
    if registry.known(task):
        return episodes.score(task, controller, seeds, max_steps)
    returns, _ = returns_of(task, controller, max_steps)
    try:
        return np.array([value_of(returns, controller, seed) for seed in seeds], np.float64)
    finally:
        getattr(returns, "close", lambda: None)()


def value_of(returns: Callable[[Any, int], Any], controller: Any, seed: int) -> float:
    """Return one episode's return.

    Raises:
        ObjectiveError: the user's code raised, or returned no number; one line names the place.

    """
    try:
        return number_of(returns(controller, seed))
    except Exception as error:
        raise blamed("", error, f"with seed {seed}") from error


def returns_of(
    task: str, controller: Any, max_steps: int | None = None
) -> tuple[GymReturn | FunctionReturn, Interface]:
    """Return the evaluation of controllers in an environment or function that is no task of ours, and its interface.

    Raises:
        TaskError: there is nothing of that name, or the controller does not fit.

    """
    returns = _returns(task, max_steps)
    about = returns.about if isinstance(returns, GymReturn) else _interface(task, returns)
    check_fit(controller, about)
    return returns, about


def _returns(name: str, max_steps: int | None = None) -> GymReturn | FunctionReturn:
    """Return the evaluation of controllers in an environment or function that is no task of ours."""
    if ":" in name:
        target = imported(name)
        if not isinstance(target, type):
            return FunctionReturn(name, target)
        if not (hasattr(target, "reset") and hasattr(target, "step")):
            if not any("__call__" in vars(parent) for parent in target.__mro__):
                raise TaskError(f"task: {name!r} has neither reset and step nor __call__; allowed: a class with them")
            return FunctionReturn(name, target)
    elif not registered(name):
        _name_nearest(name)
    return GymReturn(name, max_steps)


def _interface(name: str, function: FunctionReturn) -> Interface:
    """Return the sizes and limits for controllers of a function."""
    spec = Spec.from_dict({"cell": "elman", "neurons": 1} | function.declared)
    unknown = (-np.inf, np.inf)
    return Interface(
        name=name, input_limits=(unknown,) * spec.inputs, output_limits=(unknown,) * spec.outputs,
        control_dt_s=spec.dt_s, dt_from="its spec", max_episode_steps=1,
    )  # fmt: skip


def task_of(notes: Mapping[str, Any], asked: str = "") -> str:
    """Return the task to run a saved controller in: the user's choice, else the one in the file's notes.

    A file may come from anybody. A note is followed only to one of our tasks, by its name or Gymnasium id, or to an
    environment of ``pybullet_envs``; never to a module that the file names, as importing one runs its code.

    Args:
        notes: the file's notes.
        asked: the user's choice, anything that ``problem`` takes; empty for none.

    Raises:
        TaskError: neither names a task, or the file names one that is not ours.

    """
    if asked:
        return asked
    noted = notes.get("task")
    if not noted:
        raise TaskError("task: missing; allowed: --task NAME, as the file names none")
    if isinstance(noted, str) and (registry.known(noted) or pybullet_envs.search_of(noted)):
        return noted
    raise TaskError(
        f"task: {shown(noted)}, named by the file, is no task of ours and may run code; "
        "allowed: --task NAME, if you trust it"
    )


def _resolve(name: str, cell: str, neurons: int, measured: bool, backend: str, input_limits: Limits | None) -> Problem:
    if registry.known(name):
        fitness = objective(name, measured=measured, backend=backend)
        spec = registry.controller_spec(name, neurons, cell)
        return Problem(name, spec, fitness, {"dt_s": f"{spec.dt_s:.6g}, by the task's control rate"})
    if backend != "cpu":
        raise TaskError(f"backend: {backend!r} for {name!r}; allowed: cpu, as it is not compiled")
    if measured:
        raise TaskError(f"task: {name!r} has no measures; allowed for quality diversity: phototaxis")
    returns = _returns(name)
    if isinstance(returns, FunctionReturn):
        return Problem(name, Spec.from_dict({"cell": cell, "neurons": neurons} | returns.declared), returns)
    fields, notes = _fields(returns, input_limits)
    return Problem(name, Spec.from_dict({"cell": cell, "neurons": neurons} | fields), returns, notes)


def _fields(returns: GymReturn, input_limits: Limits | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a Spec's fields for an environment, and the sources of their numbers."""
    about = returns.about
    outputs = environments.action_limits(about.output_limits)
    told = f"by {about.dt_from}" if about.dt_from else "assumed, as nothing says it"
    notes = {"dt_s": f"{about.control_dt_s:.6g}, {told}"}
    if assumed := _without_limits(about.output_limits):
        notes["output_limits"] = f"assumed for {_indices('action', assumed)}: {_ranges(outputs, assumed)}"
    inputs = about.input_limits
    if unknown := _without_limits(inputs):
        inputs = input_limits or returns.measured_limits() or inputs
        how = "as in the study" if input_limits else "measured under random actions, for the best controller anew"
        notes["input_limits"] = f"{_indices('observation', unknown)}, {how}: {_ranges(inputs, unknown)}"
    fields: dict[str, Any] = dict(about.declared or {}) or {
        "inputs": about.inputs, "outputs": about.outputs, "dt_s": about.control_dt_s, "output_limits": outputs,
    }  # fmt: skip
    return fields | {"input_limits": inputs}, notes


def _without_limits(limits: Limits) -> list[int]:
    return [index for index, pair in enumerate(limits) if not np.isfinite(pair).all()]


def _indices(kind: str, indices: Sequence[int]) -> str:
    return f"{kind} {indices[0]}" if len(indices) == 1 else f"{kind}s {', '.join(map(str, indices))}"


def _ranges(limits: Limits, indices: Sequence[int]) -> str:
    return ", ".join(f"{limits[index][0]:g} to {limits[index][1]:g}" for index in indices)


def _name_nearest(name: str) -> None:
    """Refuse an unknown name; suggest the nearest of our tasks and Gymnasium's ids."""
    check_no_file(name)
    known = [*registry.names(), *gymnasium.registry]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise TaskError(
        f"task: {name!r} is unknown; {hint}allowed: {', '.join(registry.names())}, a Gymnasium id, or module:name"
    )
