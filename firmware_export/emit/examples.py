"""Values for the templates of the examples: pins, safe outputs, and the stack of a self-test."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from neuroctl.quant import QuantController

from .parts import CellC, state_struct_bytes

_CALLS_BYTES: Final = 256
"""Stack of calls and interrupts, and the variables of an Arduino's core, whose serial port alone takes 157 bytes."""
_LINK_BYTES: Final = 128
"""Further variables of a sketch with a link in an AVR's RAM, 103 bytes for any controller; the rest is for calls."""
_SYSTEM_BYTES: Final = 2048
"""Stack for printing in an operating system for microcontrollers."""
_UNO_PWM: Final = (3, 5, 6, 9, 10, 11)
_OTHER_PINS: Final = (2, 4, 7, 8, 12, 13, 44, 45, 46)
_ESP32_PINS: Final = (4, 14, 16, 17, 18, 21, 19, 22, 23, 25, 26, 27, 32, 33)
_ESP32_ADC1: Final = (0, 3, 4, 5, 6, 7)


def selftest_bytes(q: QuantController, cell: CellC) -> int:
    """Return the stack of a self-test in bytes: a state of its own, inputs, outputs, and a step's arrays."""
    return state_struct_bytes(cell.fields) + 2 * (q.spec.inputs + q.spec.outputs) + cell.scratch_bytes


def program_ram_bytes(q: QuantController, cell: CellC) -> int:
    """Return the RAM of a program with one state on a small chip while the self-test runs, in bytes."""
    return state_struct_bytes(cell.fields) + selftest_bytes(q, cell) + _CALLS_BYTES


def example_values(q: QuantController, cell: CellC) -> dict[str, Any]:
    """Return the values for the templates of the examples."""
    taken = selftest_bytes(q, cell)
    return {
        "input_pins": _named(range(6), q.spec.inputs),
        "esp32_input_pins": _named(_ESP32_ADC1, q.spec.inputs),
        "output_pins": _numbered((*_UNO_PWM, *_OTHER_PINS), q.spec.outputs),
        "esp32_output_pins": _numbered(_ESP32_PINS, q.spec.outputs),
        "safe_outputs": ", ".join(str(value) for value in safe_outputs(q)),
        "selftest_bytes": taken,
        "selftest_room_bytes": taken + _CALLS_BYTES,
        "link_room_bytes": taken + _CALLS_BYTES + _LINK_BYTES + q.spec.inputs + 5 * q.spec.outputs,  # pins, limits
        "stack_bytes": -(-(taken + _SYSTEM_BYTES) // 512) * 512,
    }


def safe_outputs(q: QuantController) -> list[int]:
    """Return for each output the integer of 0, or of the limit next to it: the value of a motor at rest."""
    limits = np.array(q.spec.output_limits or ((0.0, 0.0),) * q.spec.outputs)
    return [int(value) for value in q.formats["out"].quantize(np.clip(0.0, limits[:, 0], limits[:, 1]))]


def _named(known: range | tuple[int, ...], count: int) -> str:
    """Return analog pins by name; those beyond the names of every board are counted from the first."""
    return ", ".join(f"A{known[k]}" if k < len(known) else f"A0 + {k}" for k in range(count))


def _numbered(known: tuple[int, ...], count: int) -> str:
    """Return pins, those with PWM first; beyond the known ones the numbers go on."""
    return ", ".join(str(known[k] if k < len(known) else 50 + k) for k in range(count))
