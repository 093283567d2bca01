"""A training on tables: from columns and options to a spec, scaled targets, and the controller in physical units."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, number, one_of, shown
from neuroctl.controller import Controller
from neuroctl.errors import StabilityWarning, TrainingError, warn
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.format_choice import check_coarse
from neuroctl.io import expect_kind, model_of, read_archive
from neuroctl.own_formats import own_formats
from neuroctl.quant_controller import QuantController
from neuroctl.signal_names import SIGNAL_NAMES, names_from
from neuroctl.spec import Spec
from neuroctl.train.by_data import DataTraining
from neuroctl.train.data import Sequences
from neuroctl.train.dataset import checked, split, windows
from neuroctl.train.gradients import Gradient
from neuroctl.train.optim import OPTIMIZERS, SCHEDULES, Cosine
from neuroctl.train.output_scale import OutputScale
from neuroctl.train.settings import Settings
from neuroctl.train.starting import start
from neuroctl.train.tables import Trace, read_trace

Array = NDArray[Any]

_LATER: Final = ("encoder", "head", "dense_activation", "initial_state", "backbone", "mode")
"""Fields of a spec that options name where they are not the default."""
_CELLS: Final = ("ctrnn", "elman", "indrnn", "jordan", "gru", "cfc")
_LOSSES: Final = ("mse", "huber")
_MAX: Final = 1e30  # of a column: beyond, float32 does not hold the weights of a readout


@dataclass(frozen=True)
class TableTraining:
    """A training on tables, ready to run.

    Inputs are scaled by their limits, which the spec holds. The targets are mapped to [-1, 1] for training, except for
    a Jordan network, which feeds its outputs back; the readout of the controller that is written undoes that.

    Args:
        training: data, loss and settings.
        theta: parameters to start from.
        validation: sequences that are not trained on, scaled; None without any.
        scale: of the outputs.
        outputs: names of the outputs.
        config: what determines the training's bits, as plain JSON types.

    """

    training: DataTraining
    theta: Array
    validation: Sequences | None
    scale: OutputScale
    outputs: tuple[str, ...]
    config: Mapping[str, Any]

    def read(self) -> str:
        """Return a line that says what was read: sequences, their length, and the time step."""
        parts = [self.training.data, *([self.validation] if self.validation else [])]
        steps, kept = len(parts[0].inputs), sum(part.inputs.shape[1] for part in parts[1:])
        length = str(steps) if all(part.mask is None for part in parts) else f"up to {steps}"
        count = parts[0].inputs.shape[1] + kept
        held = f"; {kept} of them not trained on" if kept else ""
        return f"{count} sequence{'s' * (count > 1)} of {length} steps of {self.training.spec.dt_s:g} s{held}"

    def controller(self, theta: Array) -> Controller:
        """Return the controller of trained parameters, with outputs in physical units."""
        spec = self.training.spec
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
            return Controller(spec, self.scale.physical(spec, theta))

    def save(self, theta: Array, path: Path, meta: dict[str, Any]) -> None:
        """Write the controller of trained parameters, with inputs for choosing fixed-point formats."""
        self.controller(theta).save(path, meta=meta, calibration=self.training.recorded())

    def errors(self, controller: Controller | QuantController) -> dict[str, tuple[float, float]]:
        """Return root mean square error and the standard deviation of each output's targets, in physical units.

        They are of the validation sequences; without any, of those trained on.
        """
        data = self.validation or self.training.data
        weights = np.ones(data.inputs.shape[:2]) if data.mask is None else data.mask
        outputs = np.zeros(data.targets.shape)
        for b in range(data.inputs.shape[1]):
            controller.reset()
            outputs[:, b] = controller.rollout(np.ascontiguousarray(data.inputs[:, b]))
        targets = data.targets * self.scale.half + self.scale.middle
        counted = weights > 0
        wrong, spread = (outputs - targets)[counted], targets[counted].std(axis=0)
        errors = np.sqrt((wrong**2).mean(axis=0))
        return {name: (float(e), float(s)) for name, e, s in zip(self.outputs, errors, spread, strict=True)}


def prepare(
    options: Mapping[str, Any], *, fixed_point: FixedPointConfig | None = None, begin_with: str | None = None,
    threads: int | None = None,
) -> TableTraining:  # fmt: skip
    """Return a training for the options of ``neuroctl train``.

    Args:
        options: by name: ``data`` (paths), ``inputs`` and ``outputs`` (names of columns), ``dt``, ``time``,
            ``resample``, ``window``, ``cell``, ``neurons``, ``layers``, ``warm_up``; those of ``fit``, with
            ``validation`` a share; and if they are not the default ``backbone``, ``mode``, ``encoder``, ``head``,
            ``dense_activation``, ``initial_state``, see ``Spec``. Inputs and outputs are named after their
            columns.
        fixed_point: storage of the integer controller that is trained; None: a float controller.
        begin_with: file of a controller of the same network to go on from; None: random parameters.
        threads: how many to use; None: one a core.

    Raises:
        TrainingError: a table or an option is not allowed.
        FileFormatError: ``begin_with`` cannot be read.
        SpecError: the network is not allowed.
        ExportError: in fixed point, an output's range is too narrow beside another's; see ``neuroctl.quant.quantize``.

    Warns:
        UserWarning: a column never changes.

    """
    one_of("cell", options["cell"], _CELLS, error=TrainingError)
    one_of("loss", options["loss"], _LOSSES, error=TrainingError)
    one_of("optimizer", options["optimizer"], OPTIMIZERS, error=TrainingError)
    traces = _traces(options)
    share = number("validation", options["validation"], 0.0, 1.0, "0 to 1", error=TrainingError)
    inputs, targets = _sequences(traces, integer("window", options["window"], 0, error=TrainingError))
    if len(inputs) == 1 and share > 0:
        rows, allowed = len(traces[0].inputs), "two sequences or more, or with --validation 0 one"
        raise TrainingError(f"window: {options['window']} makes one sequence of {rows} rows; allowed: {allowed}")
    for field, parts in (("inputs", inputs), ("outputs", targets)):
        _check_columns(field, options[field], parts)
    lows, highs = _range(inputs)
    spec = Spec(
        cell=options["cell"], inputs=len(options["inputs"]), neurons=options["neurons"],
        outputs=len(options["outputs"]), dt_s=traces[0].dt_s, layers=options["layers"],
        horizon=max(map(len, inputs)) if options["cell"] == "indrnn" else None,
        input_limits=tuple(zip(lows.tolist(), highs.tolist(), strict=True)), scale_inputs=True,
        input_names=names_from(options["inputs"]), output_names=names_from(options["outputs"]),
        **{name: options[name] for name in _LATER if name in options},
    )  # fmt: skip
    jordan = options["cell"] == "jordan"
    scale = OutputScale(np.zeros(spec.outputs), np.ones(spec.outputs)) if jordan else _scale(targets)
    if fixed_point is not None:
        limited = replace(spec, output_limits=scale.ranges)
        check_coarse(own_formats(limited, shared=fixed_point.shared_formats), allow=fixed_point.allow_coarse)
    schedule = options["schedule"]
    if options["warm_up"] and schedule != "cosine":
        raise TrainingError(f"warm_up: {options['warm_up']}; allowed with schedule {schedule!r}: 0")
    settings = Settings.check(
        schedule=Cosine(options["warm_up"]) if schedule == "cosine" else one_of(
            "schedule", schedule, SCHEDULES, error=TrainingError),
        **{name: options[name] for name in ("optimizer", "learning_rate", "epochs", "batch", "clip", "patience", "seed",
                                            "truncate")},
    )  # fmt: skip
    data = checked(spec, inputs, [(each - scale.middle) / scale.half for each in targets])
    training_data, validation = split(spec, data, share, settings.seed)
    gradient = Gradient(
        spec, options["loss"], threads=threads, fixed_point=fixed_point, output_scale=None if jordan else scale
    )
    digest = hashlib.sha256(data.inputs.tobytes() + data.targets.tobytes()).hexdigest()
    config = {"task": "train", **options, "spec": spec.to_dict(), "data_sha256": digest}
    theta = start(spec, settings.seed)
    if fixed_point is not None:  # which studies in floats do not name
        config["fixed_point"] = fixed_point.to_dict(limited)
    if begin_with is not None:
        theta, digest = _theta_of(begin_with, spec, scale)
        config |= {"begin_with": begin_with, "begin_with_sha256": digest}
    training = DataTraining(spec, gradient, training_data, validation, settings)
    return TableTraining(training, theta, validation, scale, tuple(options["outputs"]), config)


def _theta_of(path: str, spec: Spec, scale: OutputScale) -> tuple[Array, str]:
    """Return the parameters of a controller's file, for outputs in units of their range, and the file's hash."""
    archive = read_archive(path)
    expect_kind(archive, "controller", path)
    model = model_of(archive, path)
    for field in (field.name for field in fields(spec)):
        theirs, own = getattr(model.spec, field), getattr(spec, field)
        if field in SIGNAL_NAMES and not (theirs and own):
            continue  # a file without names may be of these columns
        if theirs != own:
            allowed = f"{shown(own)}, as by the tables and options"
            raise TrainingError(f"begin_with: {path}: {field}: {shown(theirs)}; allowed: {allowed}")
    return scale.scaled(spec, model.theta).astype(spec.dtype), archive.sha256


def _check_columns(field: str, names: Sequence[str], parts: Sequence[Array]) -> None:
    """Refuse columns beyond what the network holds, and warn of those without information."""
    lows, highs = _ends(parts)
    for name, low, high in zip(names, lows, highs, strict=True):
        if max(-low, high) > _MAX:
            raise TrainingError(
                f"{field}: column {name!r} reaches {low if -low > high else high:g}; allowed: magnitudes up to {_MAX:g}"
            )
        if low == high:
            warn(f"{field}: column {name!r} never changes; it is {low:g}")


def _traces(options: Mapping[str, Any]) -> list[Trace]:
    dt = options["dt"]
    if doubles := [path for path in options["data"] if options["data"].count(path) > 1]:
        allowed = "each table once: what is trained on would be kept for validation too"
        raise TrainingError(f"data: {doubles[0]} twice; allowed: {allowed}")
    traces: list[Trace] = []
    for path in options["data"]:
        known = dt if dt is not None or not traces else traces[0].dt_s
        traces.append(
            read_trace(path, options["inputs"], options["outputs"], dt_s=known, time=options["time"],
                       resample=options["resample"])
        )  # fmt: skip
    return traces


def _sequences(traces: Sequence[Trace], window: int) -> tuple[list[Array], list[Array]]:
    """Return inputs and targets of all sequences, ``[T_b, columns]``."""
    both: tuple[list[Array], list[Array]] = ([], [])
    for trace in traces:
        for found, values in zip(both, (trace.inputs, trace.targets), strict=True):
            length = min(window or len(values), len(values))
            found.extend(windows(values, length).swapaxes(0, 1))
    return both


def _ends(parts: Sequence[Array]) -> tuple[Array, Array]:
    lows, highs = (np.array(f([f(part, axis=0) for part in parts], axis=0)) for f in (np.min, np.max))
    return lows, highs


def _range(parts: Sequence[Array]) -> tuple[Array, Array]:
    """Return the lowest and highest number of each column; half apart from one that never changes."""
    lows, highs = _ends(parts)
    constant = lows == highs
    return np.where(constant, lows - 0.5, lows), np.where(constant, highs + 0.5, highs)


def _scale(targets: Sequence[Array]) -> OutputScale:
    return OutputScale.of_ranges(*_range(targets))
