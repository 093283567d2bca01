"""A training on tables: from columns and options to a spec, scaled targets, and the controller in physical units."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.checks import integer, number, one_of
from neuroctl.controller import Controller
from neuroctl.errors import StabilityWarning, TrainingError
from neuroctl.spec import Spec
from neuroctl.train.data import Sequences
from neuroctl.train.dataset import dataset, split, windows
from neuroctl.train.gradients import Gradient
from neuroctl.train.optim import SCHEDULES, Cosine
from neuroctl.train.progress import Training
from neuroctl.train.settings import Settings
from neuroctl.train.starting import start
from neuroctl.train.tables import Trace, read_trace

Array = NDArray[Any]

_CELLS: Final = ("ctrnn", "elman", "indrnn", "jordan")
_LOSSES: Final = ("mse", "huber")
_CALIBRATION_STEPS: Final = 10_000


@dataclass(frozen=True)
class TableTraining:
    """A training on tables, ready to run.

    Inputs are scaled by their limits, which the spec holds. The targets are mapped to [-1, 1] for training, except for
    a Jordan network, which feeds its outputs back; the readout of the controller that is written undoes that.

    Args:
        training: data, loss and settings.
        theta: parameters to start from.
        validation: sequences that are not trained on, scaled; None without any.
        middle: of the targets' ranges ``[q]``.
        half: of their widths ``[q]``.
        outputs: names of the outputs.
        config: what determines the training's bits, as plain JSON types.

    """

    training: Training
    theta: Array
    validation: Sequences | None
    middle: Array
    half: Array
    outputs: tuple[str, ...]
    config: Mapping[str, Any]

    def controller(self, theta: Array) -> Controller:
        """Return the controller of trained parameters, with outputs in physical units."""
        spec = self.training.spec
        physical = theta.astype(np.float64)
        p = layout(spec).views(physical)
        p["W_out"][:] *= self.half[:, None]
        p["b_out"][:] = self.half * p["b_out"] + self.middle
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # it was trained with these very steps
            return Controller(spec, physical)

    def save(self, theta: Array, path: Path, meta: dict[str, Any]) -> None:
        """Write the controller of trained parameters, with inputs for choosing fixed-point formats."""
        data = self.training.data
        rows = data.inputs.swapaxes(0, 1).reshape(-1, data.inputs.shape[2]) if data.mask is None else (
            data.inputs.swapaxes(0, 1)[data.mask.T > 0])  # fmt: skip
        self.controller(theta).save(path, meta=meta, calibration=rows[:_CALIBRATION_STEPS])

    def errors(self, controller: Controller) -> dict[str, tuple[float, float]]:
        """Return root mean square error and the standard deviation of each output's targets, in physical units.

        They are of the validation sequences; without any, of those trained on.
        """
        data = self.validation or self.training.data
        weights = np.ones(data.inputs.shape[:2]) if data.mask is None else data.mask
        outputs = np.zeros(data.targets.shape)
        for b in range(data.inputs.shape[1]):
            controller.reset()
            outputs[:, b] = controller.rollout(np.ascontiguousarray(data.inputs[:, b]))
        targets = data.targets * self.half + self.middle
        counted = weights > 0
        wrong, spread = (outputs - targets)[counted], targets[counted].std(axis=0)
        errors = np.sqrt((wrong**2).mean(axis=0))
        return {name: (float(e), float(s)) for name, e, s in zip(self.outputs, errors, spread, strict=True)}


def prepare(options: Mapping[str, Any], *, threads: int | None = None) -> TableTraining:
    """Return a training for the options of ``neuroctl train``.

    Args:
        options: by name: ``data`` (paths), ``inputs`` and ``outputs`` (names of columns), ``dt``, ``time``,
            ``resample``, ``window``, ``cell``, ``neurons``, ``layers``, ``warm_up``; and those of ``fit``, with
            ``validation`` a share.
        threads: how many to use; None: one a core.

    Raises:
        TrainingError: a table or an option is not allowed.
        SpecError: the network is not allowed.

    Warns:
        UserWarning: a column never changes.

    """
    one_of("cell", options["cell"], _CELLS, error=TrainingError)
    one_of("loss", options["loss"], _LOSSES, error=TrainingError)
    traces = _traces(options)
    inputs, targets = _sequences(traces, integer("window", options["window"], 0, error=TrainingError))
    lows, highs = _range(inputs)
    spec = Spec(
        cell=options["cell"], inputs=len(options["inputs"]), neurons=options["neurons"],
        outputs=len(options["outputs"]), dt_s=traces[0].dt_s, layers=options["layers"],
        horizon=max(map(len, inputs)) if options["cell"] == "indrnn" else None,
        input_limits=tuple(zip(lows.tolist(), highs.tolist(), strict=True)), scale_inputs=True,
    )  # fmt: skip
    middle, half = _scale(targets) if options["cell"] != "jordan" else (np.zeros(spec.outputs), np.ones(spec.outputs))
    schedule = options["schedule"]
    if options["warm_up"] and schedule != "cosine":
        raise TrainingError(f"warm_up: {options['warm_up']}; allowed with schedule {schedule!r}: 0")
    settings = Settings.check(
        schedule=Cosine(options["warm_up"]) if schedule == "cosine" else one_of(
            "schedule", schedule, SCHEDULES, error=TrainingError),
        **{name: options[name] for name in ("optimizer", "learning_rate", "epochs", "batch", "clip", "patience", "seed",
                                            "truncate")},
    )  # fmt: skip
    data = dataset(spec, inputs, [(each - middle) / half for each in targets])
    share = number("validation", options["validation"], 0.0, 1.0, "0 to 1", error=TrainingError)
    training_data, validation = split(spec, data, share, settings.seed)
    gradient = Gradient(spec, options["loss"], threads=threads)
    digest = hashlib.sha256(data.inputs.tobytes() + data.targets.tobytes()).hexdigest()
    config = {"task": "train", **options, "spec": spec.to_dict(), "data_sha256": digest}
    training = Training(spec, gradient, training_data, validation, settings)
    theta = start(spec, settings.seed)
    return TableTraining(training, theta, validation, middle, half, tuple(options["outputs"]), config)


def _traces(options: Mapping[str, Any]) -> list[Trace]:
    dt = options["dt"]
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


def _range(parts: Sequence[Array]) -> tuple[Array, Array]:
    """Return the lowest and highest number of each column; half apart from one that never changes."""
    lows, highs = (np.array(f([f(part, axis=0) for part in parts], axis=0)) for f in (np.min, np.max))
    constant = lows == highs
    return np.where(constant, lows - 0.5, lows), np.where(constant, highs + 0.5, highs)


def _scale(targets: Sequence[Array]) -> tuple[Array, Array]:
    lows, highs = _range(targets)
    return 0.5 * (lows + highs), 0.5 * (highs - lows)
