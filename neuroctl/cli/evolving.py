"""Commands that evolve controllers, and that compare and plot studies."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroctl import io
from neuroctl.checks import shown
from neuroctl.cli.options import (
    NETWORK_DEFAULTS,
    AllowCoarse,
    Backbone,
    DenseActivation,
    Encoder,
    Head,
    InitialState,
    Json,
    Layers,
    Mode,
    Seed,
    StateBits,
    WeightBits,
    Workers,
    bits_of,
    check_pictures,
    network_fields,
)
from neuroctl.cli.resuming import LATER_FIELDS, check_number, first_seed, fitted, read_first, stored_in, with_stored
from neuroctl.console import (
    emit,
    log,
    out,
    show_groups,
    study_progress,
    worker_count,
)
from neuroctl.errors import FileFormatError, NeuroctlError, StudyError, require
from neuroctl.evolve.optimizers import OPTIMIZERS
from neuroctl.spec import Spec

_NETWORK, _FIXED, _RUNNING = "Network", "Fixed point", "Running"
_DEFAULTS = {
    "cell": "ctrnn", "neurons": 8, "limbs": 1, "coupling": "all", "shared_inputs": 0, "rhythm": None, "fix": (),
    "optimizer": "cmaes",
    "population": 32, "episodes": 4, "validation": 64, "sigma0": 0.5, "generations": 150,
}  # fmt: skip
_UNLIMITED = 10**9  # generations, if a budget limits the study
_FROM_SIGMA0 = 0.1  # of a search that begins at a controller: wider ones forget it


def _option(text: str, name: str, **more: Any) -> Any:
    """Return an option whose default a task may override."""
    return typer.Option(help=f"{text} Default: {_DEFAULTS[name]}, or the task's.", **more)


def evolve(
    ctx: typer.Context,
    task: Annotated[
        str,
        typer.Argument(help="Task (see `neuroctl tasks`), Gymnasium id, or your own module:Class or module:function."),
    ],
    cell: Annotated[str | None, _option("Kind of network.", "cell", rich_help_panel=_NETWORK)] = None,
    neurons: Annotated[int | None, _option("Number of neurons.", "neurons", rich_help_panel=_NETWORK)] = None,
    layers: Layers = 1,
    encoder: Encoder = None,
    head: Head = None,
    dense_activation: DenseActivation = "relu",
    backbone: Backbone = None,
    mode: Mode = "default",
    initial_state: InitialState = "zeros",
    limbs: Annotated[
        int | None,
        _option("Number of equal parts that share their weights, one per leg.", "limbs", rich_help_panel=_NETWORK),
    ] = None,
    coupling: Annotated[
        str | None,
        _option("Connections between limbs: all, or wave (a ring).", "coupling", rich_help_panel=_NETWORK),
    ] = None,
    shared_inputs: Annotated[
        int | None,
        _option("Number of last inputs that all limbs share.", "shared_inputs", rich_help_panel=_NETWORK),
    ] = None,
    rhythm: Annotated[
        float | None,
        typer.Option(
            help="Frequency \\[Hz] of limbs that oscillate from the start, for a gait. Default: the task's, or none.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    sparse: Annotated[bool, typer.Option("--sparse", help="Search the wiring too.", rich_help_panel=_NETWORK)] = False,
    optional_neurons: Annotated[
        bool,
        typer.Option(
            "--optional-neurons", help="Search the set of neurons too; others are left out.", rich_help_panel=_NETWORK
        ),
    ] = False,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            help="Do not search a block of genes, such as b_out=0; may be repeated. Default: the task's, or none.",
            metavar="BLOCK=NUMBER",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        _option(
            f"{', '.join(OPTIMIZERS)} (a control); map-elites or cma-me for an archive of behaviors; "
            "nsga2 for several goals.",
            "optimizer",
        ),
    ] = None,
    goals: Annotated[
        str | None, typer.Option(help="Further goals for nsga2: energy, bytes, or both with a comma.")
    ] = None,
    begin_with: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Begin at this controller (.npz), with its network; --sigma0 is then 0.1 unless given.",
            metavar="FILE",
        ),
    ] = None,
    generations: Annotated[
        int | None,
        typer.Option(
            help="Generations in all, with those before a resume. Default: 150, the task's, or as --budget.", min=1
        ),
    ] = None,
    population: Annotated[int | None, _option("Controllers per generation.", "population", min=4)] = None,
    episodes: Annotated[int | None, _option("Number of episodes whose mean is a fitness.", "episodes", min=1)] = None,
    racing: Annotated[
        bool, typer.Option("--racing", help="Drop half of a generation at a time: half as many episodes.")
    ] = False,
    validation: Annotated[
        int | None, _option("Number of fixed unseen episodes for choosing the best.", "validation", min=1)
    ] = None,
    target_score: Annotated[
        float | None, typer.Option(help="Stop once the best's mean return on the unseen episodes reaches this.")
    ] = None,
    sigma0: Annotated[float | None, _option("First standard deviation of the search.", "sigma0")] = None,
    seed: Seed = 0,
    seeds: Annotated[
        int,
        typer.Option(
            help="Studies, one after the other, with seeds from --seed on; mean and spread at the end.", min=1
        ),
    ] = 1,
    budget: Annotated[
        str | None,
        typer.Option(help="No generation begins after this: 10m, 90s, 2h, 5000evals or 500gens; several with commas."),
    ] = None,
    quantized: Annotated[
        bool,
        typer.Option(
            "--quantized", help="Evaluate, and so select, the fixed-point controllers.", rich_help_panel=_FIXED
        ),
    ] = False,
    integer_genes: Annotated[
        bool,
        typer.Option(
            "--integer-genes",
            help="Search integers of --weight-bits, 8 or 16; implies --quantized.",
            rich_help_panel=_FIXED,
        ),
    ] = False,
    weight_bits: WeightBits = 16,
    state_bits: StateBits = 32,
    allow_coarse: AllowCoarse = False,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Study folder. Default: studies/TASK-SEED.", rich_help_panel=_RUNNING),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the study in --out, with its original options.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    workers: Workers = 0,
    cluster: Annotated[
        str | None,
        typer.Option(help="Evaluate on Ray: local, or the address of a running cluster.", rich_help_panel=_RUNNING),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Backend of a compiled task's population: cpu or cuda.", rich_help_panel=_RUNNING)
    ] = "cpu",
    task_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds after which a worker counts as hanging and is replaced.", rich_help_panel=_RUNNING),
    ] = None,
    allow_unrepeatable: Annotated[
        bool,
        typer.Option(
            "--allow-unrepeatable",
            help="Accept a fitness that differs from call to call with one seed; results then depend on the workers.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write scalars into the study's folder.", rich_help_panel=_RUNNING)
    ] = False,
    as_json: Json = False,
) -> None:
    """Evolve a controller for a task; survives a crash: run again with --resume."""
    from neuroctl.evolve import Encoding, FixedPointConfig, StudyConfig

    sims = require("neuroctl.sims", "evolve")
    name = re.sub(r"[:/,=]", "-", task)
    folder = out_dir or Path("studies") / (f"{name}-{seed}" if seeds == 1 else name)
    io.check_folder("out", folder)
    options: dict[str, Any] = {
        "cell": cell, "neurons": neurons, "limbs": limbs, "coupling": coupling, "shared_inputs": shared_inputs,
        "rhythm": rhythm, "fix": fix, "optimizer": optimizer, "population": population, "episodes": episodes,
        "validation": validation, "sigma0": sigma0, "generations": generations, "budget": budget, "goals": goals,
        "racing": racing, "target_score": target_score, "seed": seed, "sparse": sparse,
        "optional_neurons": optional_neurons, "quantized": quantized, "integer_genes": integer_genes,
        "weight_bits": weight_bits, "state_bits": state_bits, "layers": layers, "encoder": encoder, "head": head,
        "dense_activation": dense_activation, "backbone": backbone, "mode": mode, "initial_state": initial_state,
    }  # fmt: skip
    stored: dict[str, Any] = {}
    if resume:
        check_number(folder, seeds)
        stored = stored_in(folder if seeds == 1 else folder / f"seed-{seed or first_seed(folder)}", task)
        options = with_stored(ctx, options, stored)
    limits = budget_of(options["budget"])
    counts = [int(count) for count in (options["generations"], limits.get("generations")) if count is not None]
    options["generations"] = min(counts) if counts else _UNLIMITED if limits else None
    chosen = _chosen(options, {} if stored else sims.search_of(task))
    first = None if begin_with is None else read_first(ctx, begin_with, options)
    if first is not None:
        chosen |= {"cell": first.spec.cell, "neurons": first.spec.neurons}
        chosen |= {"sigma0": options["sigma0"] or _FROM_SIGMA0, "rhythm": options["rhythm"]}
    named = tuple(goal.strip() for goal in chosen["goals"].split(",")) if chosen["goals"] is not None else ()
    network = network_fields(**{name: options[name] for name in LATER_FIELDS})
    problem = sims.problem(
        task, cell=chosen["cell"], neurons=chosen["neurons"], goals=named, backend=backend,
        network={name: value for name, value in network.items() if value not in NETWORK_DEFAULTS},
        measured=chosen["optimizer"] in ("map-elites", "cma-me") and not named,
        input_limits=stored.get("spec", {}).get("input_limits"),
    )  # fmt: skip
    notes = problem.notes | {k: v for k, v in stored.get("notes", {}).items() if k == "input_limits"}
    for field, note in notes.items():
        log.print(f"{field}: {note}", highlight=False, markup=False, soft_wrap=True)
    if "seconds" in limits:  # for a resume without a budget
        notes |= {"budget": f"{limits['seconds']}s"}
    spec = problem.spec if first is None else fitted(first.spec, problem.spec)
    started = None if first is None else tuple(first.theta.tolist())
    if stored.get("begin_with"):
        spec, kept = Spec.from_dict(stored["spec"]), tuple(stored["begin_with"])
        if started not in (None, kept):
            raise StudyError(f"from: {begin_with}; allowed with --resume: what the study was begun with, or no --from")
        started = kept
    bits = bits_of(chosen["weight_bits"], chosen["state_bits"], chosen["quantized"] or chosen["integer_genes"])
    shared = bool(stored) and FixedPointConfig.shared_in(stored.get("fixed_point") or {})
    config = StudyConfig(
        spec=spec,
        task=task,
        seed=chosen["seed"],
        optimizer=chosen["optimizer"],
        generations=int(chosen["generations"]),
        evaluations=None if "evaluations" not in limits else int(limits["evaluations"]),
        measures=getattr(problem.objective, "measures", ()),
        population=chosen["population"],
        sigma0=chosen["sigma0"],
        episodes=chosen["episodes"],
        racing=chosen["racing"],
        validation_episodes=chosen["validation"],
        target_score=chosen["target_score"],
        encoding=Encoding(
            fixed=fixed_of(chosen["fix"]) if options["fix"] else _fixed_in(spec, chosen["fix"]),
            limbs=chosen["limbs"],
            coupling=chosen["coupling"],
            shared_inputs=chosen["shared_inputs"],
            rhythm_hz=chosen["rhythm"],
            sparse=chosen["sparse"],
            optional_neurons=chosen["optional_neurons"],
            integer_bits=chosen["weight_bits"] if chosen["integer_genes"] else None,
        ),
        fixed_point=None if bits is None else FixedPointConfig(*bits, allow_coarse, shared),
        notes=notes,
        begin_with=started,
    )
    execution = {
        "workers": worker_count(workers),
        "resume": resume,
        "time_limit_s": limits.get("seconds"),
        "task_timeout_s": task_timeout,
        "cluster": cluster,
        "allow_unrepeatable": allow_unrepeatable,
    }
    if seeds > 1:
        _several(config, problem.objective, folder, seeds, execution, tensorboard=tensorboard, as_json=as_json)
        return
    result = _study(config, problem.objective, folder, execution, tensorboard=tensorboard)
    if as_json:
        emit(result.to_dict())
    else:
        _show(result, folder, config.validation_episodes)
    if result.interrupted:
        raise typer.Exit(130)


def _chosen(options: dict[str, Any], search: Mapping[str, Any]) -> dict[str, Any]:
    """Return each option of the user's, else the task's, else the default."""
    chosen = {
        name: next((v for v in (value, search.get(name)) if v is not None), _DEFAULTS.get(name))
        for name, value in options.items()
    }
    if chosen["cell"] != "ctrnn" and options["rhythm"] is None:  # a task's rhythm is one of CTRNNs
        chosen["rhythm"] = None
    return chosen


def _study(config: Any, objective: Any, folder: Path, execution: dict[str, Any], *, tensorboard: bool) -> Any:
    """Run one study and show its progress."""
    from neuroctl.evolve import run_study
    from neuroctl.evolve.tensorboard import Scalars

    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # an objective's prints are not part of our output
        progress = stack.enter_context(study_progress(log, config.task))
        displays: list[Any] = [progress]
        if tensorboard:
            displays.append(stack.enter_context(Scalars(folder / "tensorboard")).write)

        def on_generation(figures: Any) -> None:
            for display in displays:
                display(figures)

        return run_study(config, objective, folder, on_generation=on_generation, on_stage=progress.stage, **execution)


def _several(
    config: Any,
    objective: Any,
    folder: Path,
    seeds: int,
    execution: dict[str, Any],
    *,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Run studies that differ in their seeds, in folders beside each other, and show mean and spread."""
    from neuroctl.studies.history import groups

    results = []
    for seed in range(config.seed, config.seed + seeds):
        inner = folder / f"seed-{seed}"
        # The later studies of an interrupted run have not begun.
        resumed = execution["resume"] and (inner / "study.json").is_file()
        results.append(
            _study(
                replace(config, seed=seed), objective, inner, execution | {"resume": resumed}, tensorboard=tensorboard
            )
        )
        if not as_json:
            _show(results[-1], inner, config.validation_episodes)
        if results[-1].interrupted:
            raise typer.Exit(130)
    show_groups(groups([folder]), as_json=as_json)


def _show(result: Any, folder: Path, validation: int) -> None:
    best = "none yet" if result.best_score is None else f"{result.best_score:.4g}"
    out.print(
        f"{result.stop_reason}: {result.generations} generations, {result.evaluations} evaluations; "
        f"best mean return on {validation} unseen episodes: {best}",
        highlight=False,
    )
    best = f"   best controller: {result.best_path}" if result.best_score is not None else ""
    out.print(f"study: {folder}{best}", highlight=False, soft_wrap=True)
    if result.best_score is None and result.generations:
        out.print("no controller's mean return on the unseen episodes was a number", highlight=False)


def _fixed_in(spec: Any, texts: Sequence[str]) -> dict[str, float]:
    """Return a task's own blocks and numbers, without those blocks that another kind of network lacks."""
    from neuroctl.cells import genes

    return {name: value for name, value in fixed_of(texts).items() if name in genes(spec).blocks}


def fixed_of(texts: Sequence[str]) -> dict[str, float]:
    """Return the blocks and numbers of texts such as ``b_out=0``.

    Raises:
        StudyError: a text has another form.

    """
    fixed: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            fixed[name.strip()] = float(number)
        except ValueError:
            raise StudyError(f"fix: {text!r}; allowed: a block and a number, such as b_out=0") from None
    return fixed


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Studies, or folders that hold some.", metavar="DIR...")],
    picture: Annotated[Path | None, typer.Option("--out", help="Write a PNG: medians with bands over seeds.")] = None,
    as_json: Json = False,
) -> None:
    """Compare studies. Those that differ only in their seeds form a group, with mean and spread."""
    from neuroctl.studies.history import groups

    check_pictures(out=picture)
    compared = groups(folders)
    if picture is not None:
        from neuroctl import plots

        plots.compare(compared, picture, title="studies" if len(compared) > 1 else compared[0].label)
    show_groups(compared, as_json=as_json)


def plot(
    file: Annotated[
        Path, typer.Argument(help="A study's archive.npz or front.npz, or a loop's log: .mcap, .npz or .npz.part.")
    ],
    picture: Annotated[Path, typer.Option("--out", help="PNG to write.")],
) -> None:
    """Draw an archive of behaviors as a heat map, a front of several goals, or a loop's log."""
    from neuroctl import plots
    from neuroctl.realtime import read_log

    check_pictures(out=picture)
    if file.is_dir():
        raise StudyError(f"{file}: is a folder; allowed: a file; `neuroctl compare` draws studies")
    archive = None if file.suffix in (".mcap", ".part") else io.read_archive(file)
    drawers = {"archive": plots.archive, "front": plots.front}
    try:
        if archive is None or archive.kind == "log":
            plots.log(read_log(file), picture)
        elif archive.kind in drawers:
            drawers[archive.kind](archive.fields, archive.arrays, picture)
        else:
            allowed = f"{', '.join(drawers)} or log; `neuroctl compare` draws studies"
            raise StudyError(f"{file}: holds {io.with_article(archive.kind)}; allowed: {allowed}")
    except NeuroctlError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as error:
        # The file is intact, by its hash, but not one of ours.
        named = " ".join(f"{type(error).__name__}: {error}".split())
        raise FileFormatError(f"{file}: damaged: {shown(named)}") from None
    out.print(f"picture: {picture}", highlight=False, soft_wrap=True)


_EVOLUTION = {"evals": "evaluations", "gens": "generations"}


def budget_of(text: str | None, counts: Mapping[str, str] = _EVOLUTION) -> dict[str, float]:
    """Return the limits of a budget such as ``10m,5000evals`` by name: ``seconds``, and those of ``counts``.

    Args:
        text: the budget; None: no limits.
        counts: names of what is counted besides seconds, by their units.

    Raises:
        StudyError: the text has another form.

    """
    units = {"s": ("seconds", 1), "m": ("seconds", 60), "h": ("seconds", 3600)}
    units |= {unit: (name, 1) for unit, name in counts.items()}
    limits: dict[str, float] = {}
    for part in (text or "").split(",") if text is not None else []:
        match = re.fullmatch(rf"\s*(\d+(?:\.\d+)?)({'|'.join(units)})\s*", part)
        if match is None or float(match[1]) <= 0 or (match[2] in counts and "." in match[1]):
            counted = " or ".join(f"{number}{unit}" for number, unit in zip((5000, 500), counts, strict=False))
            raise StudyError(f"budget: {part!r}; allowed: such as 10m, 90s, 2h, {counted}")
        name, factor = units[match[2]]
        limits[name] = float(match[1]) * factor
    return limits
