"""The toolchains for exported firmware: each a compiler, and the machine or emulator that runs its code."""

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
from .harness import DeviceUnderTest
from .report import Footprint
from .stimulus import Stimulus, block_hashes, board_stimulus, expected

_TIMEOUT_S: Final = 600
_COUNTED_STEPS: Final = 256
_BYTES_A_CALL: Final = 50_000_000
_AVR_STEPS: Final = 10_000
_AVR_BLOCK: Final = 100
_AVR_COUNTED: Final = 64


class Outcome(NamedTuple):
    """The outcome of one device.

    Args:
        selftest: the self-test's result.
        actual: recorded words, ``[T, words]``.
        expected: the integer controller's words, ``[T, words]``.
        steps: number of steps.
        block: number of steps per row.
        footprint: memory, and the cost of a step.

    """

    selftest: int
    actual: NDArray[np.int64]
    expected: NDArray[np.int64]
    steps: int
    block: int = 1
    footprint: Footprint | None = None


class Toolchain(NamedTuple):
    """A compiler and the machine or emulator that runs a target's firmware; ``missing`` names missing tools."""

    target: Target
    tools: str
    missing: str
    run: Callable[[Sequence[DeviceUnderTest], Sequence[Stimulus], Path], list[Outcome]]


def toolchains(target: Target) -> list[Toolchain]:
    """Return all toolchains of a target, including those that this machine lacks."""
    if target.host:
        compilers = host_compilers()
        if not compilers:
            return [Toolchain(target, "cc", "no C compiler (gcc, clang or cc) on PATH", _nothing)]
        return [Toolchain(target, compiler, "", _host(compiler)) for compiler in compilers]
    usable = []
    if target.zig and target.unicorn:
        missing = _extra_missing("ziglang") or _extra_missing("unicorn")
        usable.append(Toolchain(target, "zig, Unicorn", missing, _unicorn(target, lambda: zig_command(target))))
    if target.gcc and target.unicorn:
        missing = _not_on_path(target.gcc[0]) or _extra_missing("unicorn")
        usable.append(Toolchain(target, "gcc, Unicorn", missing, _unicorn(target, lambda: list(target.gcc))))
    if target.gcc and target.qemu is not None:
        missing = _not_on_path(target.gcc[0]) or _not_on_path("qemu-system-arm")
        usable.append(Toolchain(target, "gcc, QEMU", missing, _qemu(target)))
    if target.simavr:
        missing = _not_on_path(target.gcc[0]) or _not_on_path("simavr")
        usable.append(Toolchain(target, "gcc, simavr", missing, _simavr(target)))
    return usable


def _nothing(devices: Sequence[DeviceUnderTest], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
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


def _outcomes(devices: Sequence[DeviceUnderTest], runs: Sequence[Stimulus], record: bytes) -> list[Outcome]:
    """Split the program's output into the devices' records."""
    outcomes, at = [], 0
    for device, run in zip(devices, runs, strict=True):
        size = 4 * device.words * len(run.inputs)
        head = record[at : at + 8]
        selftest = struct.unpack("=ii", head)[0] if len(head) == 8 else -1
        words = record[at + 8 : at + 8 + size]
        words = words[: len(words) // (4 * device.words) * 4 * device.words]
        actual = np.frombuffer(words, "<i4").reshape(-1, device.words).astype(np.int64)
        outcomes.append(Outcome(selftest, actual, expected(device, run), len(run.inputs)))
        at += 8 + size
    return outcomes


def _execute(command: Sequence[str], scratch: Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, cwd=scratch, input=data, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise Crashed(f"did not end within {_TIMEOUT_S} s") from None
    except OSError as error:
        raise ExportError(f"{command[0]}: cannot be run: {error.strerror}") from None


def _host(compiler: str) -> Callable[[Sequence[DeviceUnderTest], Sequence[Stimulus], Path], list[Outcome]]:
    def run(devices: Sequence[DeviceUnderTest], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        program = build_host(compiler, scratch)
        done = _execute([str(program)], scratch, _script(runs))
        if done.returncode != 0:
            raise Crashed(f"crashed with code {done.returncode}")
        return _outcomes(devices, runs, done.stdout)

    return run


def _qemu(target: Target) -> Callable[[Sequence[DeviceUnderTest], Sequence[Stimulus], Path], list[Outcome]]:
    def run(devices: Sequence[DeviceUnderTest], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        image = build_core(target.gcc, target, scratch, qemu=True).program
        (scratch / "script.bin").write_bytes(_script(runs))
        machine = target.qemu.machine if target.qemu else ""
        options = ["-nographic", "-monitor", "none", "-serial", "none"]
        options += ["-semihosting-config", "enable=on,target=native", "-kernel", str(image)]
        done = _execute(["qemu-system-arm", "-M", machine, *options], scratch)
        if done.returncode != 0:
            raise Crashed(f"ended with code {done.returncode}")
        return _outcomes(devices, runs, (scratch / "record.bin").read_bytes())

    return run


def _unicorn(
    target: Target, command: Callable[[], list[str]]
) -> Callable[[Sequence[DeviceUnderTest], Sequence[Stimulus], Path], list[Outcome]]:
    def run(devices: Sequence[DeviceUnderTest], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        objects = build_core(command(), target, scratch)
        machine = Machine(read_elf(objects.program), target.unicorn)
        outcomes = []
        for device, stimulus in zip(devices, runs, strict=True):
            selftest = machine.call(f"nc_v_selftest_{device.name}")
            record = _emulated(machine, device, stimulus, read_elf(objects.firmware).const_bytes)
            actual = np.frombuffer(record, "<i4").reshape(-1, device.words).astype(np.int64)
            footprint = _footprint(machine, device, stimulus, objects) if len(devices) == 1 else None
            wanted = expected(device, stimulus)
            outcomes.append(Outcome(selftest, actual, wanted, len(wanted), footprint=footprint))
        return outcomes

    return run


def _emulated(machine: Machine, device: DeviceUnderTest, stimulus: Stimulus, const_bytes: int) -> bytes:
    """Run a script on the emulated core, and return its records."""
    machine.call(f"nc_v_start_{device.name}")
    script = stimulus.script
    room = BUFFER_BYTES // (script[0].nbytes + 4 * device.words)
    if room < 1:
        raise DoesNotFit(f"a step's record of {4 * device.words} bytes does not fit the emulated RAM")
    # The size of the tables determines the time of a step; a call has to stay far below the emulator's time limit.
    room = min(room, max(1, _BYTES_A_CALL // max(1, const_bytes)))
    records = []
    for start in range(0, len(script), room):
        part = script[start : start + room]
        machine.write(machine.buffer, part.tobytes())
        out = machine.buffer + (part.nbytes + 3) // 4 * 4
        machine.call(f"nc_v_run_{device.name}", machine.buffer, out, len(part))
        records.append(machine.read(out, len(part) * 4 * device.words))
    return b"".join(records)


def _footprint(machine: Machine, device: DeviceUnderTest, run: Stimulus, objects: Objects) -> Footprint:
    """Measure the instructions of steps through the first and the last inputs, and the deepest stack."""
    half = _COUNTED_STEPS // 2
    inputs = np.concatenate([run.inputs[:half], run.inputs[half:][-half:]])
    state, out = machine.buffer, machine.buffer + BUFFER_BYTES // 2
    at = machine.buffer + BUFFER_BYTES // 4
    machine.call(f"nc_v_init_{device.name}", state)
    machine.paint_stack()
    costs = []
    for row in inputs:
        machine.write(at, row.tobytes())
        costs.append(machine.count(f"nc_v_step_{device.name}", state, at, out))
    firmware, small = read_elf(objects.firmware), read_elf(objects.small)
    return Footprint(
        "instructions",
        float(np.mean(costs)),
        min(costs),
        max(costs),
        code=firmware.code_bytes,
        code_small=small.code_bytes,
        const=firmware.const_bytes,
        ram=machine.call(f"nc_v_state_bytes_{device.name}") + firmware.data_bytes,
        stack=machine.stack_bytes(),
    )


def _simavr(target: Target) -> Callable[[Sequence[DeviceUnderTest], Sequence[Stimulus], Path], list[Outcome]]:
    def run(devices: Sequence[DeviceUnderTest], runs: Sequence[Stimulus], scratch: Path) -> list[Outcome]:
        if len(devices) != 1:
            raise ExportError("devices: the AVR's flash takes one at a time")
        device, steps = devices[0], min(len(runs[0].inputs), _AVR_STEPS)
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
        results = {mark: int(value, 16) for mark, value in lines}
        actual = np.array([[int(value, 16)] for mark, value in lines if mark == "h"], np.int64)
        wanted = block_hashes(expected(device, board_stimulus(device.q, steps, seed)), _AVR_BLOCK)
        firmware, small = read_elf(objects.firmware), read_elf(objects.small)
        footprint = Footprint(
            "cycles",
            results["s"] / _AVR_COUNTED,
            results["l"],
            results["m"],
            code=firmware.code_bytes,
            code_small=small.code_bytes,
            const=firmware.const_bytes,
            ram=results["b"] + firmware.data_bytes,
            stack=results["k"],
        )
        selftest = struct.unpack("=i", struct.pack("=I", results["t"]))[0]
        return [Outcome(selftest, actual, wanted, steps, _AVR_BLOCK, footprint)]

    return run
