"""Anything else to evolve on: a Gymnasium environment by its id or class, a class of one's own, or a plain function.

``problem`` takes what a user types: a task's name, ``Pendulum-v1``, ``my_module:MyEnv`` or ``my_module:fitness``.
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

from . import environments, episodes, published, registry
from .environments import Interface, registered
from .episodes import GymReturn as GymReturn
from .episodes import check_fit, objective
from .modules import check_no_file, imported
from .task import Limits


@dataclass(frozen=True)
class Problem:
    """What is evolved on: its name, a controller's Spec, and the objective."""

    name: str
    spec: Spec
    objective: Any
    notes: Mapping[str, str] = field(default_factory=dict)
    """Where numbers of the spec come from, by their fields."""


class FunctionReturn:
    """A fitness of the user's own: a function ``f(controller, seed)``, or an object of a class that is called so.

    The controller is reset before each call. An object is made on first use and stays behind when this is pickled.
    What else it has (``batch``, ``measures``, ``observations``, ``close``) is seen here too.

    Args:
        name: ``"module:name"``.
        target: the function, or the class.

    Raises:
        TaskError: it declares no spec.

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
        """Look up what the function or object has besides."""
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
) -> Problem:
    """Return what a user names: a task, an environment, or a function ``f(controller, seed) -> fitness``.

    An environment is one of Gymnasium's, or any class with ``reset`` and ``step``; see
    ``environments.AnyEnvironment``. Where its observations have no limits, those of the spec are measured over episodes
    under random actions. A class whose objects are called as ``f(controller, seed)`` is taken as a function is.

    A function needs an attribute ``spec``, a dict with what a Spec needs besides cell and neurons: at least
    ``{"inputs": 2, "outputs": 1, "dt_s": 0.02}``; with ``input_limits`` it can be exported without recorded inputs.

    Args:
        name: a task's name, a Gymnasium id, or ``"module:name"`` of a class or a function.
        cell: kind of network.
        neurons: number of neurons.
        measured: with a compiled task's measures, for quality diversity.
        backend: what a compiled task's population runs on, ``"cpu"`` or ``"cuda"``.
        goals: besides the fitness, of ``neuroctl.evolve.GOALS``.
        input_limits: taken instead of measured ones, as when a study is resumed.

    Raises:
        StudyError: there is no such goal.
        BackendUnavailable: there is no such backend here.
        TaskError: there is nothing of that name, or it does not suit; names the nearest.

    """
    found = _posed(name, cell, neurons, measured, backend, input_limits)
    if not goals:
        return found
    if "energy" in goals and registry.known(name) and registry.get(name).plant:
        raise TaskError(f"goals: energy for {name!r}; allowed for a compiled task: bytes")
    return replace(found, objective=Goals(found.objective, goals, found.spec))


def search_of(name: str) -> Mapping[str, Any]:
    """Return how a task is searched where the user does not say: options of ``neuroctl evolve`` by their names."""
    if registry.known(name):
        return registry.get(name).search
    return published.search_of(name)


def score(task: str, controller: Any, seeds: Iterable[int], max_steps: int | None = None) -> NDArray[np.float64]:
    """Return the returns of several seeded episodes, ``float64[len(seeds)]``, in the order of the seeds.

    Args:
        task: a task's name, or anything else that ``problem`` takes.
        controller: resets and steps; its sizes must be the task's.
        seeds: of the episodes.
        max_steps: control steps of an episode; None takes the task's own limit. A function has no such limit.

    Raises:
        TaskError: an argument is not allowed, or the controller does not fit the task.
        ObjectiveError: code of the user's own raised, or returned no number.

    """
    if registry.known(task):
        return episodes.score(task, controller, seeds, max_steps)
    returns, _ = returns_of(task, controller, max_steps)
    try:
        return np.array([value_of(returns, controller, seed) for seed in seeds], np.float64)
    finally:
        getattr(returns, "close", lambda: None)()


def value_of(returns: Callable[[Any, int], Any], controller: Any, seed: int) -> float:
    """Return one episode's return, or say in one line where the user's own code failed.

    Raises:
        ObjectiveError: it raised, or returned no number.

    """
    try:
        return number_of(returns(controller, seed))
    except Exception as error:
        raise blamed("", error, f"with seed {seed}") from error


def returns_of(
    task: str, controller: Any, max_steps: int | None = None
) -> tuple[GymReturn | FunctionReturn, Interface]:
    """Return what evaluates a controller in what is no task of ours, and what the controller has to fit.

    Raises:
        TaskError: there is nothing of that name, or the controller does not fit.

    """
    returns = _returns(task, max_steps)
    about = returns.about if isinstance(returns, GymReturn) else _interface(task, returns)
    check_fit(controller, about)
    return returns, about


def _returns(name: str, max_steps: int | None = None) -> GymReturn | FunctionReturn:
    """Return what evaluates an environment or function that is no task of ours."""
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
    """Return what a controller of a function has to fit."""
    spec = Spec.from_dict({"cell": "elman", "neurons": 1} | function.declared)
    unknown = (-np.inf, np.inf)
    return Interface(
        name=name, input_limits=(unknown,) * spec.inputs, output_limits=(unknown,) * spec.outputs,
        control_dt_s=spec.dt_s, dt_from="its spec", max_episode_steps=1,
    )  # fmt: skip


def task_of(notes: Mapping[str, Any], asked: str = "") -> str:
    """Return the task to run a saved controller in: the one asked for, else the one that its file notes.

    A file may come from anybody. A note is followed only to a task of ours, by its name or its Gymnasium id, or to a
    published environment that we know; never to a module that the file names, as importing one runs its code.

    Args:
        notes: the file's own notes.
        asked: what the user asks for; anything that ``problem`` takes.

    Raises:
        TaskError: neither names a task, or the file names one that is not ours.

    """
    if asked:
        return asked
    noted = notes.get("task")
    if not noted:
        raise TaskError("task: missing; allowed: --task NAME, as the file names none")
    if isinstance(noted, str) and (registry.known(noted) or published.search_of(noted)):
        return noted
    raise TaskError(
        f"task: {shown(noted)}, named by the file, is no task of ours and may run code; "
        "allowed: --task NAME, if you trust it"
    )


def _posed(name: str, cell: str, neurons: int, measured: bool, backend: str, input_limits: Limits | None) -> Problem:
    if registry.known(name):
        returns = objective(name, measured=measured, backend=backend)
        spec = registry.controller_spec(name, neurons, cell)
        return Problem(name, spec, returns, {"dt_s": f"{spec.dt_s:.6g}, by the task's control rate"})
    if backend != "cpu":
        raise TaskError(f"backend: {backend!r} for {name!r}; allowed: cpu, as it is not compiled")
    if measured:
        raise TaskError(f"task: {name!r} has no measures; allowed for quality diversity: phototaxis")
    found = _returns(name)
    if isinstance(found, FunctionReturn):
        return Problem(name, Spec.from_dict({"cell": cell, "neurons": neurons} | found.declared), found)
    fields, notes = _fields(found, input_limits)
    return Problem(name, Spec.from_dict({"cell": cell, "neurons": neurons} | fields), found, notes)


def _fields(returns: GymReturn, input_limits: Limits | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a Spec's fields for an environment, and where their numbers come from."""
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
    """Say which name may have been meant, of our tasks and of Gymnasium's."""
    check_no_file(name)
    known = [*registry.names(), *gymnasium.registry]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise TaskError(
        f"task: {name!r} is unknown; {hint}allowed: {', '.join(registry.names())}, a Gymnasium id, or module:name"
    )
