"""Run the built harness over a script: as a process of this machine, or on an emulated core."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from firmware_export.proof.elf import read_elf
from firmware_export.proof.emulate import BUFFER_BYTES, Machine
from firmware_export.proof.report import Footprint
from firmware_export.proof.stimulus import Stimulus
from neuroctl.errors import ExportError

_HOST_TIMEOUT_S: Final = 120
_COUNTED_STEPS: Final = 256
_BYTES_A_CALL: Final = 50_000_000


class Outcome(NamedTuple):
    """The self-test's result, the records of all steps, and what a step costs."""

    selftest: int
    record: bytes
    footprint: Footprint | None


def run_host(program: Path, run: Stimulus) -> Outcome:
    """Run the host's program over the script.

    Raises:
        ExportError: it crashed, or did not end in time.

    """
    try:
        done = subprocess.run(
            [str(program)], input=run.script.tobytes(), capture_output=True, timeout=_HOST_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"did not end within {_HOST_TIMEOUT_S} s") from None
    except OSError as error:
        raise ExportError(f"cannot be run: {error.strerror}") from None
    if done.returncode != 0 or len(done.stdout) < 8:
        raise ExportError(f"crashed with code {done.returncode}")
    selftest, _ = struct.unpack_from("=ii", done.stdout)
    return Outcome(selftest, done.stdout[8:], None)


def run_core(core: str, image: Path, firmware: Path, small: Path, run: Stimulus, record_bytes: int) -> Outcome:
    """Run the linked image on an emulated core over the script, then count some steps again.

    Args:
        core: the emulator's name of the core.
        image: the linked executable.
        firmware: the object with the firmware alone, whose sizes are reported.
        small: the same, compiled for size.
        run: the script.
        record_bytes: size of one step's record.

    Raises:
        ExportError: it crashed, or did not return in time.
        BackendUnavailable: the emulator is not installed.

    """
    machine = Machine(read_elf(image), core)
    object_, small_object = read_elf(firmware), read_elf(small)
    selftest = machine.call("nc_v_selftest")
    machine.call("nc_v_start")
    script = run.script
    room = BUFFER_BYTES // (script[0].nbytes + record_bytes)
    if room < 1:
        raise ExportError(f"a step's record of {record_bytes} bytes does not fit the emulated RAM")
    # The tables' size says how long a step takes; a call has to stay far below the emulator's time limit.
    room = min(room, max(1, _BYTES_A_CALL // object_.const_bytes))
    records = []
    for start in range(0, len(script), room):
        part = script[start : start + room]
        machine.write(machine.buffer, part.tobytes())
        out = machine.buffer + (part.nbytes + 3) // 4 * 4
        machine.call("nc_v_run", machine.buffer, out, len(part))
        records.append(machine.read(out, len(part) * record_bytes))
    instructions, stack = _count(machine, run)
    footprint = Footprint(
        instructions_mean=float(np.mean(instructions)),
        instructions_min=min(instructions),
        instructions_max=max(instructions),
        code=object_.code_bytes,
        code_small=small_object.code_bytes,
        const=object_.const_bytes,
        ram=machine.call("nc_v_state_bytes") + object_.data_bytes,
        stack=stack,
    )
    return Outcome(selftest, b"".join(records), footprint)


def _count(machine: Machine, run: Stimulus) -> tuple[list[int], int]:
    """Step through some inputs from the start and some from the end: instructions of each, and the deepest stack."""
    half = _COUNTED_STEPS // 2
    inputs = np.concatenate([run.inputs[:half], run.inputs[half:][-half:]])
    state, out = machine.buffer, machine.buffer + BUFFER_BYTES // 2
    at = machine.buffer + BUFFER_BYTES // 4
    machine.call("nc_v_init", state)
    machine.paint_stack()
    instructions = []
    for row in inputs:
        machine.write(at, row.tobytes())
        instructions.append(machine.count("nc_v_step", state, at, out))
    return instructions, machine.stack_bytes()
