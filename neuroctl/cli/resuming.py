"""What a study begins with: ``--resume``, the original options from its study.json; ``--from``, a controller's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from typer import Context

from neuroctl.checks import shown
from neuroctl.errors import StudyError
from neuroctl.evolve.goals import goals_in
from neuroctl.io import Model, load_model
from neuroctl.spec import Spec

LATER_FIELDS: Final = {
    "layers": 1, "encoder": [], "head": [], "dense_activation": "relu", "backbone": [], "mode": "default",
    "initial_state": "zeros",
}  # fmt: skip
"""Fields of a network, with their defaults, which the specs of earlier studies may not have."""


NETWORK: Final = ("cell", "neurons", *LATER_FIELDS)
"""Options of a network, which is a file's where a search begins at one."""


def read_first(context: Context, path: Path, options: Mapping[str, Any]) -> Model:
    """Return the controller of a file that a search is to begin at; its network is the search's.

    Raises:
        StudyError: an option on the command line names another network.
        FileFormatError: the file cannot be read, or holds no float controller.

    """
    model = load_model(path)
    for name in NETWORK:
        theirs, own = getattr(model.spec, name), options[name]
        theirs = list(theirs) if isinstance(theirs, tuple) else theirs
        if context.get_parameter_source(name).name == "COMMANDLINE" and own != theirs:  # type: ignore[union-attr]
            raise StudyError(
                f"{name}: {shown(own)}; allowed with --from {path}: {shown(theirs)}, or without the option"
            )
    return model


def fitted(own: Spec, spec: Spec) -> Spec:
    """Return a task's spec with another's network: limits and names are the task's.

    Raises:
        StudyError: the network has other sizes or another time step than the task.

    """
    for name in ("inputs", "outputs", "dt_s"):
        if getattr(own, name) != getattr(spec, name):
            raise StudyError(f"from: a controller with {name} {getattr(own, name)}; allowed: {getattr(spec, name)}")
    # Scaled inputs mean what they meant by the limits that they are scaled by.
    return replace(
        own, input_limits=own.input_limits if own.scale_inputs else spec.input_limits,
        output_limits=spec.output_limits, input_names=spec.input_names, output_names=spec.output_names,
    )  # fmt: skip


def with_stored(context: Context, options: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command, with those of the study for options not on the command line.

    A budget without a number of generations replaces both, as at the beginning of a study.
    """
    if not stored:
        return dict(options)
    from_study = {name for name in options if context.get_parameter_source(name).name != "COMMANDLINE"}  # type: ignore[union-attr]
    if "budget" not in from_study:
        from_study.discard("generations")
    original = options_of(stored)
    return {name: original[name] if name in from_study else value for name, value in options.items()}


def stored_in(folder: Path, task: str) -> dict[str, Any]:
    """Return the contents of a study.json; nothing if it cannot be read, which the study itself reports.

    Raises:
        StudyError: the study is of another task.

    """
    stored = read_study(folder)
    there = stored.get("task", task)
    if there != task:
        raise StudyError(f"task: {task!r}, but the study in {folder} has {there!r}; allowed: what it was begun with")
    try:
        options_of(stored)
    except (LookupError, TypeError, AttributeError):
        return {}
    return stored


def training_in(folder: Path) -> dict[str, Any]:
    """Return the contents of the study.json of a training, whose options are all that ``train`` knows of its tables.

    Raises:
        StudyError: there is none, it cannot be read, or the study is of an evolution.

    """
    study = folder / "study.json"
    if not study.is_file():
        raise StudyError(f"out: {folder} holds no study to resume; allowed: a folder with a study.json")
    stored = stored_in(folder, "train") or read_study(folder)
    if not stored.get("data"):
        raise StudyError(f"{study}: damaged; allowed: the JSON that a study wrote")
    return stored


def read_study(folder: Path) -> dict[str, Any]:
    """Return the contents of a study.json; nothing if it cannot be read, which the study itself reports."""
    try:
        stored = json.loads((folder / "study.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def check_number(folder: Path, seeds: int) -> None:
    """Make sure that a folder holds one study, or several where ``--seeds`` is given.

    Raises:
        StudyError: it does not.

    """
    one, several = (folder / "study.json").is_file(), any(folder.glob("seed-*/study.json"))
    if seeds == 1 and several and not one:
        allowed = f"--seeds too, as at the beginning, or one of them: --out {folder / f'seed-{first_seed(folder)}'}"
        raise StudyError(f"out: {folder} holds studies of several seeds; allowed: {allowed}")
    if seeds > 1 and one and not several:
        raise StudyError(f"seeds: {seeds}, but {folder} holds one study; allowed: --resume without --seeds")
    if seeds > 1 and not several:
        raise StudyError(f"out: {folder} holds no studies to resume; allowed: a folder of an earlier --seeds")


def first_seed(folder: Path) -> int:
    """Return the lowest seed of several studies in a folder; 0 if there are none."""
    seeds = [path.parent.name.removeprefix("seed-") for path in folder.glob("seed-*/study.json")]
    return min((int(seed) for seed in seeds if seed.isdecimal()), default=0)


def options_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``neuroctl evolve`` for a study's configuration, by their names."""
    spec, encoding, fixed_point = stored["spec"], stored["encoding"], stored.get("fixed_point") or {}
    evaluations, seconds = stored.get("evaluations"), stored.get("notes", {}).get("budget")
    budget = [seconds] if seconds else []
    budget += [f"{evaluations}evals"] if evaluations else []
    return {
        "cell": spec["cell"], "neurons": spec["neurons"], "limbs": encoding["limbs"], "coupling": encoding["coupling"],
        "shared_inputs": encoding["shared_inputs"], "rhythm": encoding["rhythm_hz"], "sparse": encoding["sparse"],
        "optional_neurons": encoding["optional_neurons"],
        "fix": [f"{block}={number!r}" for block, number in encoding["fixed"].items()],
        "optimizer": stored["optimizer"], "goals": ",".join(goals_in(stored["measures"])) or None,
        "generations": stored["generations"], "population": stored["population"], "episodes": stored["episodes"],
        "racing": stored["racing"], "validation": stored["validation_episodes"],
        "target_score": stored["target_score"], "sigma0": stored["sigma0"], "seed": stored["seed"],
        "budget": ",".join(budget) or None, "quantized": bool(fixed_point),
        "integer_genes": encoding["integer_bits"] is not None, "weight_bits": fixed_point.get("weight_bits", 16),
        "state_bits": fixed_point.get("state_bits", 32),
        **{name: spec.get(name, default) for name, default in LATER_FIELDS.items()},
    }  # fmt: skip
