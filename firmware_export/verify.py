"""The proof: compile the header that lies in a folder, run it, and compare every bit with the integer controller."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from firmware_export.emit import dt_us
from firmware_export.folder import edited, read_manifest
from firmware_export.names import check_name
from firmware_export.proof.build import build_core, build_host, host_compiler
from firmware_export.proof.report import Mismatch, TargetReport, VerifyReport
from firmware_export.proof.run import Outcome, run_core, run_host
from firmware_export.proof.stimulus import Stimulus, expected, stimulus, unpack, word_name
from firmware_export.targets import TARGETS, Target, target_of
from neuroctl import io
from neuroctl.errors import ExportError, require
from neuroctl.quant import QuantController

_MOST_STEPS: Final = 1_000_000


def verify(
    export_dir: str | Path, *, steps: int = 10_000, seed: int = 0, targets: Sequence[str] | None = None
) -> VerifyReport:
    """Prove that the C in a folder and the controller beside it give the same bits.

    The header is compiled as it lies there; nothing is generated anew. On each target it runs from reset over
    recorded and random inputs, extremes and resets among them, and each output and each word of the state, at every
    step, is compared with the integer controller's. The folder's code is run: verify only what you trust.

    Args:
        export_dir: a folder that ``export`` wrote.
        steps: how many steps on each target.
        seed: of the random inputs.
        targets: rows of ``TARGETS``; None takes all that can be run.

    Raises:
        ExportError: the folder holds no export, the header does not compile, or an argument is bad.
        FileFormatError: the ``.npz`` is damaged.
        BackendUnavailable: a cross compiler or emulator is not installed.

    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= _MOST_STEPS:
        raise ExportError(f"steps: {steps!r}; allowed: whole numbers from 1 to {_MOST_STEPS}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ExportError(f"seed: {seed!r}; allowed: whole numbers from 0")
    chosen = _chosen(targets)
    folder = Path(export_dir)
    name, q = _load(folder)
    run = stimulus(q, steps, seed)
    truth = expected(q, run)
    reports = tuple(_prove(target, folder / f"{name}.h", q, run, truth) for target in chosen)
    return VerifyReport(name, q.model_crc32, seed, reports, _notes(folder, name))


def _chosen(names: Sequence[str] | None) -> list[Target]:
    if names is None:
        chosen = [target for target in TARGETS.values() if target.verified]
    else:
        chosen = [target_of(name) for name in names]
    if not chosen or not all(target.verified for target in chosen):
        runnable = ", ".join(target.name for target in TARGETS.values() if target.verified)
        raise ExportError(f"targets: {', '.join(names or ()) or 'none'}; allowed: one or more of {runnable}")
    if any(target.emulator for target in chosen):
        require("ziglang", "export")
        require("unicorn", "export")
    return chosen


def _load(folder: Path) -> tuple[str, QuantController]:
    if not folder.is_dir():
        raise ExportError(f"export_dir: {folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    found = sorted(folder.glob("*.npz"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ExportError(f"export_dir: {folder} holds these .npz files: {names}; allowed: the one of an export")
    name = check_name(found[0].stem)
    header = folder / f"{name}.h"
    if not header.is_file():
        raise ExportError(f"export_dir: {folder} holds {found[0].name} but no {header.name}; export it again")
    archive = io.read_archive(found[0])
    io.expect_kind(archive, "quant", found[0])
    return name, QuantController.from_archive(archive, found[0])


def _notes(folder: Path, name: str) -> tuple[str, ...]:
    data = read_manifest(folder / f"{name}.json")
    if data is None:
        return (f"{name}.json is missing or damaged: whether files were edited is unknown",)
    return tuple(f"{file} was edited since it was exported" for file in edited(folder, data))


def _prove(target: Target, header: Path, q: QuantController, run: Stimulus, truth: NDArray[np.int32]) -> TargetReport:
    compiler = host_compiler()
    if not target.emulator and compiler is None:
        return TargetReport(target.name, ran=False, problem="no C compiler (cc, gcc or clang) on PATH")
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        copy = Path(shutil.copy(header, scratch))
        defines = _defines(q, header.stem)
        if target.emulator:
            image, firmware, small = build_core(target, copy, defines, scratch)
        else:
            program = build_host(str(compiler), copy, defines, scratch)
        try:
            if target.emulator:
                size = 2 * (q.spec.outputs + 3 * q.spec.neurons)
                outcome = run_core(target.emulator, image, firmware, small, run, size)
            else:
                outcome = run_host(program, run)
        except ExportError as error:  # crashed: that is a finding, not a bad request
            return TargetReport(target.name, ran=True, problem=str(error))
    return _compare(target, q, outcome, truth)


def _defines(q: QuantController, name: str) -> dict[str, Any]:
    return {
        "NC_V_NAME": name,
        "NC_V_MACRO": name.upper(),
        "NC_V_INPUTS": q.spec.inputs,
        "NC_V_OUTPUTS": q.spec.outputs,
        "NC_V_NEURONS": q.spec.neurons,
        "NC_V_IN_FRAC_BITS": f"({q.formats['u'].frac_bits})",
        "NC_V_OUT_FRAC_BITS": f"({q.formats['out'].frac_bits})",
        "NC_V_DT_US": f"{dt_us(q.spec.dt_s)}UL",
        "NC_V_MODEL_CRC32": f"{q.model_crc32}UL",
    }


def _compare(target: Target, q: QuantController, outcome: Outcome, truth: NDArray[np.int32]) -> TargetReport:
    found = unpack(q, outcome.record)
    if found.shape != truth.shape:
        problem = f"gave {len(found)} records of {len(truth)}"
        return TargetReport(target.name, ran=True, problem=problem, selftest=outcome.selftest)
    wrong = found != truth
    first = None
    if wrong.any():
        step, word = (int(index) for index in np.unravel_index(np.argmax(wrong), wrong.shape))
        first = Mismatch(step, word_name(q, word), int(found[step, word]), int(truth[step, word]))
    return TargetReport(
        target.name,
        ran=True,
        steps=len(truth),
        mismatches=int(wrong.sum()),
        first=first,
        selftest=outcome.selftest,
        footprint=outcome.footprint,
    )
