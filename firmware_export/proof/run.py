"""The ways to run exported firmware: which compiler, and what executes its code."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import BackendUnavailable, ExportError, require

from ..targets import Target
from .build import (
    PAINTED_BYTES,
    DoesNotFit,
    Objects,
    build_avr,
    build_core,
    build_host,
    host_compilers,
    zig_command,
)
from .elf import read_elf
from .emulate import BUFFER_BYTES, Crashed, Machine
from .harness import Subject
from .report import Footprint
from .stimulus import Stimulus, block_hashes, board_stimulus, expected

_TIMEOUT_S: Final = 600
_COUNTED_STEPS: Final = 256
_BYTES_A_CALL: Final = 50_000_000
_AVR_STEPS: Final = 10_000
_AVR_BLOCK: Final = 100
_AVR_COUNTED: Final = 64


class Outcome(NamedTuple):
    """What one subject did.

    The self-test's result; what was recorded and what is expected, ``[T, words]``; how many steps a row stands for; the
    steps; and what a step costs.
    """

    selftest: int
    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    steps: int
    block: int = 1
    footprint: Footprint | None = None


class Way(NamedTuple):
    """One way to run a target's firmware."""

    target: Target
    tools: str
    missing: str
    run: Callable[[Sequence[Subject], Sequence[Stimulus], Path], list[Outcome]]


def ways(target: Target) -> list[Way]:
    """Return all ways to run a target's firmware; those that this machine lacks the tools for say so."""
    if target.host:
        compilers = host_compilers()
        if not compilers:
            return [Way(target, "cc", "no C compiler (gcc, clang or cc) on PATH", _nothing)]
        return [Way(target, compiler, "", _host(compiler)) for compiler in compilers]
    found = []
    if target.zig and target.unicorn:
        missing = _extra_missing("ziglang") or _extra_missing("unicorn")
        found.append(Way(target, "zig, Unicorn", missing, _unicorn(target, lambda: zig_command(target))))
    if target.gcc and target.unicorn:
        missing = _not_on_path(target.gcc[0]) or _extra_missing("unicorn")
        found.append(Way(target, "gcc, Unicorn", missing, _unicorn(target, lambda: list(target.gcc))))
    if target.gcc and target.qemu is not None:
        missing = _not_on_path(target.gcc[0]) or _not_on_path("qemu-system-arm")
        found.append(Way(target, "gcc, QEMU", missing, _qemu(target)))
    if target.simavr:
        missing = _not_on_path(target.gcc[0]) or _not_on_path("simavr")
        found.append(Way(target, "gcc, simavr", missing, _simavr(target)))
    return found


def _nothing(subjects: Sequence[Subject], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
    raise ExportError("no C compiler")


def _extra_missing(module: str) -> str:
    try:
        require(module, "export")
    except BackendUnavailable as error:
        return str(error)
    return ""


def _not_on_path(program: str) -> str:
    return "" if shutil.which(program) else f"{program} is not on PATH"


def _script(runs: Sequence[Stimulus]) -> bytes:
    return b"".join(struct.pack("=i", len(run.inputs)) + run.script.tobytes() for run in runs)


def _outcomes(subjects: Sequence[Subject], runs: Sequence[Stimulus], record: bytes) -> list[Outcome]:
    """Cut the program's output into each subject's records."""
    outcomes, at = [], 0
    for subject, run in zip(subjects, runs, strict=True):
        size = 4 * subject.words * len(run.inputs)
        head = record[at : at + 8]
        selftest = struct.unpack("=ii", head)[0] if len(head) == 8 else -1
        words = record[at + 8 : at + 8 + size]
        words = words[: len(words) // (4 * subject.words) * 4 * subject.words]
        found = np.frombuffer(words, "<i4").reshape(-1, subject.words).astype(np.int64)
        outcomes.append(Outcome(selftest, found, expected(subject, run), len(run.inputs)))
        at += 8 + size
    return outcomes


def _execute(command: Sequence[str], scratch: Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, cwd=scratch, input=data, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise Crashed(f"did not end within {_TIMEOUT_S} s") from None
    except OSError as error:
        raise ExportError(f"{command[0]}: cannot be run: {error.strerror}") from None


def _host(compiler: str) -> Callable[[Sequence[Subject], Sequence[Stimulus], Path], list[Outcome]]:
    def run(subjects: Sequence[Subject], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        program = build_host(compiler, scratch)
        done = _execute([str(program)], scratch, _script(runs))
        if done.returncode != 0:
            raise Crashed(f"crashed with code {done.returncode}")
        return _outcomes(subjects, runs, done.stdout)

    return run


def _qemu(target: Target) -> Callable[[Sequence[Subject], Sequence[Stimulus], Path], list[Outcome]]:
    def run(subjects: Sequence[Subject], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        image = build_core(target.gcc, target, scratch, qemu=True).program
        (scratch / "script.bin").write_bytes(_script(runs))
        machine = target.qemu.machine if target.qemu else ""
        options = ["-nographic", "-monitor", "none", "-serial", "none"]
        options += ["-semihosting-config", "enable=on,target=native", "-kernel", str(image)]
        done = _execute(["qemu-system-arm", "-M", machine, *options], scratch)
        if done.returncode != 0:
            raise Crashed(f"ended with code {done.returncode}")
        return _outcomes(subjects, runs, (scratch / "record.bin").read_bytes())

    return run


def _unicorn(
    target: Target, command: Callable[[], list[str]]
) -> Callable[[Sequence[Subject], Sequence[Stimulus], Path], list[Outcome]]:
    def run(subjects: Sequence[Subject], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        objects = build_core(command(), target, scratch)
        machine = Machine(read_elf(objects.program), target.unicorn)
        outcomes = []
        for subject, stimulus in zip(subjects, runs, strict=True):
            selftest = machine.call(f"nc_v_selftest_{subject.name}")
            record = _emulated(machine, subject, stimulus, read_elf(objects.firmware).const_bytes)
            found = np.frombuffer(record, "<i4").reshape(-1, subject.words).astype(np.int64)
            footprint = _footprint(machine, subject, stimulus, objects) if len(subjects) == 1 else None
            truth = expected(subject, stimulus)
            outcomes.append(Outcome(selftest, found, truth, len(truth), footprint=footprint))
        return outcomes

    return run


def _emulated(machine: Machine, subject: Subject, stimulus: Stimulus, const_bytes: int) -> bytes:
    """Run a script on the emulated core, and return its records."""
    machine.call(f"nc_v_start_{subject.name}")
    script = stimulus.script
    room = BUFFER_BYTES // (script[0].nbytes + 4 * subject.words)
    if room < 1:
        raise DoesNotFit(f"a step's record of {4 * subject.words} bytes does not fit the emulated RAM")
    # The tables' size says how long a step takes; a call has to stay far below the emulator's time limit.
    room = min(room, max(1, _BYTES_A_CALL // max(1, const_bytes)))
    records = []
    for start in range(0, len(script), room):
        part = script[start : start + room]
        machine.write(machine.buffer, part.tobytes())
        out = machine.buffer + (part.nbytes + 3) // 4 * 4
        machine.call(f"nc_v_run_{subject.name}", machine.buffer, out, len(part))
        records.append(machine.read(out, len(part) * 4 * subject.words))
    return b"".join(records)


def _footprint(machine: Machine, subject: Subject, run: Stimulus, objects: Objects) -> Footprint:
    """Step through some inputs from the start and some from the end: instructions of each, and the deepest stack."""
    half = _COUNTED_STEPS // 2
    inputs = np.concatenate([run.inputs[:half], run.inputs[half:][-half:]])
    state, out = machine.buffer, machine.buffer + BUFFER_BYTES // 2
    at = machine.buffer + BUFFER_BYTES // 4
    machine.call(f"nc_v_init_{subject.name}", state)
    machine.paint_stack()
    costs = []
    for row in inputs:
        machine.write(at, row.tobytes())
        costs.append(machine.count(f"nc_v_step_{subject.name}", state, at, out))
    firmware, small = read_elf(objects.firmware), read_elf(objects.small)
    return Footprint(
        "instructions",
        float(np.mean(costs)),
        min(costs),
        max(costs),
        code=firmware.code_bytes,
        code_small=small.code_bytes,
        const=firmware.const_bytes,
        ram=machine.call(f"nc_v_state_bytes_{subject.name}") + firmware.data_bytes,
        stack=machine.stack_bytes(),
    )


def _simavr(target: Target) -> Callable[[Sequence[Subject], Sequence[Stimulus], Path], list[Outcome]]:
    def run(subjects: Sequence[Subject], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        if len(subjects) != 1:
            raise ExportError("subjects: the AVR's flash takes one at a time")
        subject, steps = subjects[0], min(len(runs[0].inputs), _AVR_STEPS)
        seed = runs[0].seed * 2 + 1  # xorshift never starts from 0
        numbers = {
            "STEPS": f"{steps}UL",
            "SEED": f"{seed & 0xFFFFFFFF}UL",
            "BLOCK": _AVR_BLOCK,
            "COUNTED": _AVR_COUNTED,
            "PAINTED": PAINTED_BYTES,
        }
        defines = ["-DNC_V_HASHED", *(f"-DNC_V_{name}={value}" for name, value in numbers.items())]
        objects = build_avr(target.gcc, target, defines, scratch)
        done = _execute(["simavr", "-m", target.simavr, "-f", "16000000", objects.program.name], scratch)
        lines = re.findall(r"([a-z])([0-9a-f]{8})\b", (done.stdout + done.stderr).decode(errors="replace"))
        if not lines or lines[-1][0] != "k":
            raise Crashed(f"stopped early: {(done.stdout + done.stderr).decode(errors='replace')[-100:]!r}")
        told = {mark: int(value, 16) for mark, value in lines}
        found = np.array([[int(value, 16)] for mark, value in lines if mark == "h"], np.int64)
        truth = block_hashes(expected(subject, board_stimulus(subject.q, steps, seed)), _AVR_BLOCK)
        firmware, small = read_elf(objects.firmware), read_elf(objects.small)
        footprint = Footprint(
            "cycles",
            told["s"] / _AVR_COUNTED,
            told["l"],
            told["m"],
            code=firmware.code_bytes,
            code_small=small.code_bytes,
            const=firmware.const_bytes,
            ram=told["b"] + firmware.data_bytes,
            stack=told["k"],
        )
        selftest = struct.unpack("=i", struct.pack("=I", told["t"]))[0]
        return [Outcome(selftest, found, truth, steps, _AVR_BLOCK, footprint)]

    return run
