"""The proof: compile the header that lies in a folder, run it, and compare every bit with the integer controller."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
from .proof.harness import Subject, subject, write_harness
from .proof.report import Mismatch, TargetReport, VerifyReport
from .proof.run import Outcome, Way, ways
from .proof.stimulus import stimulus
from .targets import TARGETS, Target, target_of

_MOST_STEPS: Final = 1_000_000


def verify(
    export_dir: str | Path, *, steps: int = 10_000, seed: int = 0, targets: Sequence[str] | None = None
) -> VerifyReport:
    """Prove that the C in a folder and the controller beside it give the same bits.

    The header is compiled as it lies there; nothing is generated anew. On each target, and with each of its compilers
    and emulators, it runs from reset over recorded and random inputs, extremes and resets among them, and each output
    and each word of the state, at every step, is compared with the integer controller's. (On AVR it makes up its own
    inputs, at most 10,000 steps, and a hash over all words is compared every 100 steps.) The folder's code is run:
    verify only what you trust.

    Args:
        export_dir: a folder that ``export`` wrote.
        steps: how many steps on each target.
        seed: of the random inputs.
        targets: rows of ``TARGETS``; None takes all. What this machine has no tools for, or what the core has no room
            for beside the proof's own program, is reported as skipped. A header that does not compile for one is that
            one's result.

    Raises:
        ExportError: the folder holds no export, or an argument is bad.
        FileFormatError: the ``.npz`` is damaged.

    """
    steps = integer("steps", steps, 1, _MOST_STEPS, error=ExportError)
    seed = integer("seed", seed, 0, error=ExportError)
    chosen = _chosen(targets)
    folder = Path(io.file_name(export_dir))
    entry = load(folder)
    name, q = entry.name, entry.q
    found = [report for target in chosen for way in ways(target) for report in prove([entry], way, steps, seed)]
    return VerifyReport(name, q.model_crc32, seed, tuple(found), _notes(folder, name))


def _chosen(names: Sequence[str] | None) -> list[Target]:
    if names is None:
        return [target for target in TARGETS.values() if target.verified]
    chosen = [target_of(name) for name in names]
    if not chosen or not all(target.verified for target in chosen):
        runnable = ", ".join(target.name for target in TARGETS.values() if target.verified)
        raise ExportError(f"targets: {', '.join(names) or 'none'}; allowed: one or more of {runnable}")
    return chosen


def load(folder: Path) -> Subject:
    """Return what an export folder holds.

    Raises:
        ExportError: it holds no export.
        FileFormatError: the ``.npz`` is damaged.

    """
    if not folder.is_dir():
        raise ExportError(f"export_dir: {folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    found = sorted(folder.glob("*.npz"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ExportError(f"export_dir: {folder} holds these .npz files: {names}; allowed: the one of an export")
    name = check_name(found[0].stem)
    places = [(folder / form.header.format(name=name), form.source) for form in PACKAGES.values()]
    header, source = next(((path, source) for path, source in places if path.is_file()), (None, ""))
    if header is None:
        raise ExportError(f"export_dir: {folder} holds {found[0].name} but no {name}.h; export it again")
    archive = io.read_archive(found[0])
    io.expect_kind(archive, "quant", found[0])
    q = QuantController.from_archive(archive, found[0])
    if clips_inputs(q) and f"{name}_in_clip(" not in header.read_text(encoding="utf-8", errors="replace"):
        raise ExportError(f"export_dir: {header.name} is of a version whose C did not clip inputs: export it again")
    return subject(name, header, q, folder / source.format(name=name) if source else None)


def _notes(folder: Path, name: str) -> tuple[str, ...]:
    data = read_manifest(folder / f"{name}.json")
    if data is None:
        return (f"{name}.json is missing or damaged: whether files were edited is unknown",)
    return tuple(f"{file} was edited since it was exported" for file in edited(folder, data))


def prove(subjects: Sequence[Subject], way: Way, steps: int, seed: int) -> list[TargetReport]:
    """Run exported headers one way, all in one program, and compare every bit."""

    def problem(text: str, *, ran: bool) -> list[TargetReport]:
        return [TargetReport(way.target.name, way.tools, ran=ran, problem=text) for _ in subjects]

    if way.missing:
        return problem(way.missing, ran=False)
    runs = [stimulus(entry.q, steps, seed) for entry in subjects]
    with tempfile.TemporaryDirectory() as place:
        try:
            write_harness(subjects, Path(place))
            outcomes = way.run(subjects, runs, Path(place))
        except DoesNotFit as error:
            return problem(str(error), ran=False)
        except Crashed as error:
            return problem(str(error), ran=True)
        except ExportError as error:
            return problem(f"{subjects[0].header.name}: {error}", ran=True)
    return [_compare(way, *pair) for pair in zip(subjects, outcomes, strict=True)]


def _compare(way: Way, entry: Subject, outcome: Outcome) -> TargetReport:
    found, truth, steps = outcome.found, outcome.truth, outcome.steps
    if found.shape != truth.shape:
        problem = f"gave {len(found)} records of {len(truth)}"
        return TargetReport(way.target.name, way.tools, ran=True, problem=problem, selftest=outcome.selftest)
    wrong = found != truth
    first = None
    if wrong.any():
        step, word = (int(index) for index in np.unravel_index(np.argmax(wrong), wrong.shape))
        name = entry.word_name(word) if outcome.block == 1 else f"the hash of {outcome.block} steps"
        first = Mismatch(step * outcome.block, name, int(found[step, word]), int(truth[step, word]))
    return TargetReport(
        way.target.name,
        way.tools,
        ran=True,
        steps=steps,
        mismatches=int(wrong.sum()),
        first=first,
        selftest=outcome.selftest,
        footprint=outcome.footprint,
    )
