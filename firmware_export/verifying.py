"""Verifying an export: compile its header, run it, and compare every bit with the integer controller."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from neuroctl import io
from neuroctl.checks import integer
from neuroctl.errors import ExportError
from neuroctl.quant import QuantController

from .emit import clips_inputs
from .folder import edited, read_manifest
from .names import check_name
from .packages import PACKAGES
from .proof.build import DoesNotFit
from .proof.emulate import Crashed
from .proof.harness import DeviceUnderTest, device_under_test, write_harness
from .proof.report import Mismatch, TargetReport, VerifyReport
from .proof.run import Outcome, Toolchain, toolchains
from .proof.stimulus import stimulus
from .targets import TARGETS, Target, target_of

_MAX_STEPS: Final = 1_000_000


def verify(
    export_dir: str | Path, *, steps: int = 10_000, seed: int = 0, targets: Sequence[str] | None = None,
    on_target: Callable[[TargetReport], object] | None = None,
) -> VerifyReport:  # fmt: skip
    """Verify that the C in a folder and the controller beside it give the same bits.

    The header in the folder is compiled; nothing is generated again. On each target, and with each of its compilers
    and emulators, it runs from reset over recorded and random inputs, including extremes and resets, and each output
    and each word of the state, at every step, is compared with the integer controller's. (On AVR it generates its own
    inputs, at most 10,000 steps, and a hash over all words is compared every 100 steps.) This runs code from the
    folder: verify only folders you trust.

    Args:
        export_dir: a folder that ``export`` wrote.
        steps: number of steps on each target, an integer from 1 to 1,000,000.
        seed: seed of the random inputs, an integer >= 0.
        targets: rows of ``TARGETS``; None: all. A target is reported as skipped if this machine lacks its tools, or if
            the core has no room for firmware and harness together. A failure to compile is a target's result.
        on_target: called with each target's result as soon as it is there.

    Raises:
        ExportError: the folder holds no export, or an argument is not allowed.
        FileFormatError: the ``.npz`` is damaged.

    """
    steps = integer("steps", steps, 1, _MAX_STEPS, error=ExportError)
    seed = integer("seed", seed, 0, error=ExportError)
    chosen = _chosen(targets)
    folder = Path(io.file_name(export_dir))
    device = load(folder)
    usable = [toolchain for target in chosen for toolchain in toolchains(target)]
    reports: list[TargetReport] = []
    for toolchain in usable:
        reports += verify_devices([device], toolchain, steps, seed)
        if on_target is not None:
            on_target(reports[-1])
    return VerifyReport(device.name, device.q.model_crc32, seed, tuple(reports), _notes(folder, device.name))


def _chosen(names: Sequence[str] | None) -> list[Target]:
    if names is None:
        return [target for target in TARGETS.values() if target.verified]
    chosen = [target_of(name) for name in names]
    if not chosen or not all(target.verified for target in chosen):
        runnable = ", ".join(target.name for target in TARGETS.values() if target.verified)
        raise ExportError(f"targets: {', '.join(names) or 'none'}; allowed: one or more of {runnable}")
    return chosen


def load(folder: Path) -> DeviceUnderTest:
    """Return the header and the controller of an export folder.

    Raises:
        ExportError: the folder holds no export.
        FileFormatError: the ``.npz`` is damaged.

    """
    if not folder.is_dir():
        raise ExportError(f"export_dir: {folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    models = sorted(folder.glob("*.npz"))
    if len(models) != 1:
        names = ", ".join(path.name for path in models) or "none"
        raise ExportError(f"export_dir: {folder} holds these .npz files: {names}; allowed: the one of an export")
    name = check_name(models[0].stem)
    places = [(folder / layout.header.format(name=name), layout.source) for layout in PACKAGES.values()]
    header, source = next(((path, source) for path, source in places if path.is_file()), (None, ""))
    if header is None:
        raise ExportError(f"export_dir: {folder} holds {models[0].name} but no {name}.h; export it again")
    archive = io.read_archive(models[0])
    io.expect_kind(archive, "quant", models[0])
    q = QuantController.from_archive(archive, models[0])
    if clips_inputs(q) and f"{name}_in_clip(" not in header.read_text(encoding="utf-8", errors="replace"):
        raise ExportError(f"export_dir: {header.name} is of a version whose C did not clip inputs: export it again")
    return device_under_test(name, header, q, folder / source.format(name=name) if source else None)


def _notes(folder: Path, name: str) -> tuple[str, ...]:
    data = read_manifest(folder / f"{name}.json")
    if data is None:
        return (f"{name}.json is missing or damaged: whether files were edited is unknown",)
    alarm = [f"{file} was not run, its controller was" for file in data["files"] if file.endswith(f"{name}_alarm.h")]
    return (*alarm, *(f"{file} was edited since it was exported" for file in edited(folder, data)))


def verify_devices(
    devices: Sequence[DeviceUnderTest], toolchain: Toolchain, steps: int, seed: int
) -> list[TargetReport]:
    """Run exported headers with one toolchain, all in one program, and compare every bit."""

    def problem(text: str, *, ran: bool) -> list[TargetReport]:
        return [TargetReport(toolchain.target.name, toolchain.tools, ran=ran, problem=text) for _ in devices]

    if toolchain.missing:
        return problem(toolchain.missing, ran=False)
    runs = [stimulus(device.q, steps, seed) for device in devices]
    with tempfile.TemporaryDirectory() as place:
        try:
            write_harness(devices, Path(place))
            outcomes = toolchain.run(devices, runs, Path(place))
        except DoesNotFit as error:
            return problem(str(error), ran=False)
        except Crashed as error:
            return problem(str(error), ran=True)
        except ExportError as error:
            return problem(f"{devices[0].header.name}: {error}", ran=True)
    return [_compare(toolchain, *pair) for pair in zip(devices, outcomes, strict=True)]


def _compare(toolchain: Toolchain, device: DeviceUnderTest, outcome: Outcome) -> TargetReport:
    target, tools, actual, expected = toolchain.target.name, toolchain.tools, outcome.actual, outcome.expected
    if actual.shape != expected.shape:
        problem = f"gave {len(actual)} records of {len(expected)}"
        return TargetReport(target, tools, ran=True, problem=problem, selftest=outcome.selftest)
    wrong = actual != expected
    first = None
    if wrong.any():
        step, word = (int(index) for index in np.unravel_index(np.argmax(wrong), wrong.shape))
        name = device.word_name(word) if outcome.block == 1 else f"the hash of {outcome.block} steps"
        first = Mismatch(step * outcome.block, name, int(actual[step, word]), int(expected[step, word]))
    return TargetReport(
        target,
        tools,
        ran=True,
        steps=outcome.steps,
        mismatches=int(wrong.sum()),
        first=first,
        selftest=outcome.selftest,
        footprint=outcome.footprint,
    )
